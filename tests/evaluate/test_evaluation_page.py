"""The page on evaluation shows code that runs."""

import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs/concepts/evaluation.md"


def test_the_example_on_the_page_runs_and_makes_the_table():
    (example,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    names = {}
    exec(example, names)
    assert "overlap@10" in names["table"]
    assert "▼ worse than exact" in names["table"]
