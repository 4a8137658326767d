"""The OpenAPI description, held against the server by schemathesis: valid requests are taken, others are refused."""

import shutil
import subprocess
from pathlib import Path

import pytest

CONFIGURATION = Path(__file__).with_name("schemathesis.toml")


@pytest.mark.long
def test_the_server_does_what_its_description_says(own_folder, start):
    program = shutil.which("schemathesis")
    if program is None:
        pytest.skip("schemathesis is not installed: pip install schemathesis")
    server = start(own_folder)
    command = [
        program,
        "--config-file",
        str(CONFIGURATION),
        "run",
        f"http://127.0.0.1:{server.port}/openapi.json",
    ]
    ran = subprocess.run(
        [*command, "--max-examples", "200", "--seed", "1"], capture_output=True, text=True, timeout=1200
    )
    assert ran.returncode == 0, ran.stdout
