"""The list of recipes."""

import json

from limbeck.cli.recipe_source import all_recipes


def test_the_list_names_every_recipe_with_paper_and_check(run):
    shown = run("systems").stdout
    assert all(recipe.name in shown for recipe in all_recipes().values())
    assert shown.count("Source: ") == shown.count("Checked: ") == len(all_recipes())


def test_one_recipe_comes_with_its_constants_however_it_is_spelt(run):
    for name in ("DistillVQ", "distill-vq", "distill_vq"):
        assert "code_bytes = 16" in run("systems", name).stdout


def test_an_unknown_recipe_is_answered_with_those_there_are(run):
    shown = run("systems", "nonesuch")
    assert shown.exit_code == 2
    assert "DistillVQ" in shown.stderr


def test_json_holds_what_the_docstring_says(run):
    found = {recipe["name"]: recipe for recipe in json.loads(run("systems", "--json").stdout)}
    assert found["OPQ"]["frozen"] == "the encoder."
    assert found["OPQ"]["check"]["verdict"]
    assert {key: found["OPQ"]["constants"][0][key] for key in ("name", "default")} == {
        "name": "code_bytes",
        "default": 16,
    }


def test_markdown_has_a_section_a_recipe_and_a_row_a_constant(run):
    page = run("systems", "--markdown").stdout
    assert page.startswith("# Systems\n")
    for recipe in all_recipes().values():
        assert f"## {recipe.name}\n" in page
        assert all(f"| `{field.name}` |" in page for field in recipe.fields)
