"""What the program says of recipes is what the recipes are."""

import dataclasses
import json
import typing

import pytest

from limbeck.cli.recipe_flags import HELP
from limbeck.cli.recipe_source import PARTS, all_recipes, recipes_in, verdicts


@pytest.mark.parametrize("name", ["PQ", "OPQ", "DistillVQ"])
def test_fields_read_from_the_source_are_those_of_the_dataclass(name):
    source = all_recipes()[name]
    recipe = type(source.make({}))
    hints = typing.get_type_hints(recipe)
    expected = [(field.name, hints[field.name], field.default) for field in dataclasses.fields(recipe)]
    assert [(field.name, field.type, field.default) for field in source.fields] == expected


@pytest.mark.parametrize("name", ["LayerQueries", "ModelQueries"])
def test_inherited_fields_come_behind_its_own(name):
    source = all_recipes()[name]
    expected = {field.name: field.default for field in dataclasses.fields(source.make({}))}
    assert {field.name: field.default for field in source.fields} == expected
    assert "layers" in [field.name for field in source.fields[:2]]
    assert source.fields[-1].name == "seed"


@pytest.mark.parametrize("recipe", all_recipes().values(), ids=lambda recipe: recipe.name)
def test_every_recipe_says_what_it_trains_what_stays_frozen_its_claim_and_its_source(recipe):
    assert set(recipe.parts) == set(PARTS)
    assert recipe.summary


@pytest.mark.parametrize("recipe", all_recipes().values(), ids=lambda recipe: recipe.name)
def test_every_constant_has_a_help_text(recipe):
    assert [field.name for field in recipe.fields if not (field.help or field.name in HELP)] == []


def test_every_recipe_has_a_verdict_and_no_verdict_is_without_a_recipe():
    assert set(verdicts()) == set(all_recipes())
    assert all(set(found) == {"verdict", "experiment", "figures"} for found in verdicts().values())


def test_parts_of_a_docstring_may_take_one_line_or_several():
    source = '''
class R:
    """It does.

    Trains: a, b.   Frozen: c: all of it.
    Claim:  better
            than before.
    Source: Someone, 2020.
    """
    size: int = 3  # how large
'''
    (recipe,) = recipes_in(source, module="r")
    assert recipe.parts == {
        "Trains": "a, b.",
        "Frozen": "c: all of it.",
        "Claim": "better than before.",
        "Source": "Someone, 2020.",
    }
    assert recipe.fields[0].help == "how large"


def test_constants_given_as_options_reach_the_artefact(run, vectors, tmp_path):
    made = run(
        *("distil", "--corpus", vectors / "docs.npy", "--queries", vectors / "queries.npy"),
        *("--similarity", "cosine", "--out", tmp_path / "i", "--bytes", 8, "--bits", 4, "--sample", "none"),
        *("--rotate", "false", "--loss", "mse", "--epochs", 1, "--temperature", "0.2"),
    )
    assert made.exit_code == 0, made.stderr
    (manifest,) = (tmp_path / "i").glob("gen-*/manifest.json")
    constants = json.loads(manifest.read_text())["content"]["recipe"]["constants"]
    chosen = {"code_bytes": 8, "bits": 4, "sample": None, "rotate": False, "loss": "mse", "temperature": 0.2}
    assert {name: constants[name] for name in chosen} == chosen


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--bits", "5", "not one of 4, 8"),
        ("--lists", "many", "neither a whole number nor the word none"),
        ("--temperature", "warm", "neither a number nor the word none"),
        ("--loss", "cosine", "listnet"),
    ],
)
def test_values_that_cannot_be_are_refused_with_those_that_can(run, option, value, says):
    shown = run("distil", "--corpus", "x", "--out", "y", option, value)
    assert shown.exit_code == 2
    assert says in " ".join(shown.stderr.replace("│", " ").split())
