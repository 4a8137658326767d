"""Fuzzes every parser under atheris, which follows the branches that bytes take. Run as a script, where atheris is.

    pip install atheris                    # beside Limbeck; not one of its dependencies
    python tests/faults/fuzz_parsers.py [PARSER ...] [-max_total_time=60 and other options of libFuzzer]

PARSER is the name of a file, such as qrels.tsv; without one, the first byte of an input chooses. Stops at the first
exception that is not a LimbeckError, and writes the input to crash-*. `--replay FILE` runs one input again.
"""

import logging
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["limbeck", "json"]):
    sys.path.insert(0, str(Path(__file__).parent))
    from parsers import PARSERS, example, parse, prepared

    from limbeck.errors import LimbeckError


def main():
    logging.disable()
    names = [argument for argument in sys.argv[1:] if argument in PARSERS] or list(PARSERS)
    with tempfile.TemporaryDirectory() as held:
        folder = prepared(Path(held) / "files")

        def one_input(data):
            name = names[data[0] % len(names)] if data else names[0]
            with suppress(LimbeckError):
                parse(folder, name, data[1:])

        if "--replay" in sys.argv:
            one_input(Path(sys.argv[sys.argv.index("--replay") + 1]).read_bytes())
            return
        seeds = Path(held) / "seeds"
        seeds.mkdir()
        for number, name in enumerate(names):
            (seeds / str(number)).write_bytes(bytes([number]) + example(name))
        options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
        atheris.Setup([sys.argv[0], str(seeds), *options], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
