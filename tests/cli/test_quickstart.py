"""The main job, small: harvest, encode, compress, measure, save and ask."""

import json


def test_the_quickstart_leaves_what_it_says_and_shows_the_table(has_model, run, tmp_path):
    shown = run("quickstart", "--documents", 300, "--out", tmp_path / "run", "--quiet")
    assert shown.exit_code == 0, shown.stderr
    methods = ("PQ", "OPQ", "Distill-VQ")
    for system in ("exact", "Limbeck 16", *(f"{method} {size}" for size in (16, 32) for method in methods)):
        assert system in shown.stdout
    for name in ("index/CURRENT", "report.md", "report.json", "quality.png"):
        assert (tmp_path / "run" / name).is_file()
        assert (
            str(tmp_path / "run" / name.removesuffix("/CURRENT").replace("report.json", "report.md"))
            in shown.stdout
        )
    assert "parse a date string into a datetime object" in shown.stdout
    assert f'limbeck search {tmp_path / "run" / "index"} "' in shown.stdout

    report = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    by_name = {row["system"]: row for row in report["rows"]}
    assert by_name["exact"]["measures"]["overlap@10"]["mean"] == 1
    assert by_name["OPQ 32"]["measures"]["overlap@10"]["mean"] > 0.7  # 32 bytes for 300 documents
    assert run("verify", tmp_path / "run" / "index").exit_code == 0
