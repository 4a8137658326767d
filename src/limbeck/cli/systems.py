"""`limbeck systems`: the recipes, with their papers and what the checks of their claims said."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from limbeck.cli import screen
from limbeck.cli.recipe_source import RecipeSource, all_recipes, verdicts
from limbeck.errors import ConfigError


def systems(
    name: Annotated[str | None, typer.Argument(help="One recipe, with its constants.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As docs/systems.md holds it.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
) -> None:
    """List the recipes: their papers, what each trains, what stays frozen, and what the check of its claim said."""
    chosen = [_named(name)] if name else list(all_recipes().values())
    if json:
        screen.write_json([as_json(recipe) for recipe in chosen])
    elif markdown:
        screen.write_json(as_markdown(chosen).rstrip("\n"))
    else:
        for recipe in chosen:
            _show(recipe, with_constants=name is not None)


def verdict_of(recipe: RecipeSource) -> dict[str, Any]:
    """What the check of its claim said."""
    return verdicts().get(recipe.name, {"verdict": "not yet checked", "experiment": None, "figures": None})


def as_json(recipe: RecipeSource) -> dict[str, Any]:
    """Plain values."""
    parts = {label.lower(): text for label, text in recipe.parts.items()}
    constants = [{"name": f.name, "default": f.default, "help": f.help} for f in recipe.fields]
    return {
        "name": recipe.name,
        "summary": recipe.summary,
        **parts,
        "check": verdict_of(recipe),
        "constants": constants,
    }


def as_markdown(recipes: list[RecipeSource]) -> str:
    """A page: a section a recipe."""
    lines = ["# Systems", "", "Made by `limbeck systems --markdown` from the recipes' docstrings.", ""]
    for recipe in recipes:
        lines += [f"## {recipe.name}", "", recipe.summary, ""]
        lines += [f"- **{label}**: {text}" for label, text in recipe.parts.items()]
        lines += [f"- **Checked**: {_in_words(verdict_of(recipe))}", ""]
        lines += ["| constant | default | meaning |", "| :-- | :-- | :-- |"]
        lines += [
            f"| `{f.name}` | `{f.default}` | {f.help.replace('|', chr(92) + '|')} |" for f in recipe.fields
        ]
        lines.append("")
    return "\n".join(lines)


def _show(recipe: RecipeSource, *, with_constants: bool) -> None:
    from rich.padding import Padding
    from rich.text import Text

    console = screen.results()
    console.print(Text.assemble((recipe.name, "bold cyan"), "  ", recipe.summary))
    for label, text in (*recipe.parts.items(), ("Checked", _in_words(verdict_of(recipe)))):
        console.print(Padding(Text.assemble((f"{label}: ", "bold"), text), (0, 0, 0, 2), expand=False))
    if with_constants:
        console.print(Padding(Text("Constants:", style="bold"), (0, 0, 0, 2), expand=False))
        for field in recipe.fields:
            help_text = f"  {field.help}" if field.help else ""
            line = Text.assemble((f"{field.name} = {field.default!r}", "cyan"), (help_text, "dim"))
            console.print(Padding(line, (0, 0, 0, 4), expand=False))
    console.print()


def _in_words(verdict: dict[str, Any]) -> str:
    where = f" ({verdict['experiment']})" if verdict.get("experiment") else ""
    figures = f": {verdict['figures']}" if verdict.get("figures") else ""
    return f"{verdict['verdict']}{where}{figures}"


def _named(name: str) -> RecipeSource:
    known = all_recipes()
    plain = name.lower().replace("-", "").replace("_", "")
    for recipe in known.values():
        if plain == recipe.name.lower():
            return recipe
    raise ConfigError(f"there is no recipe {name!r}; there are {', '.join(known)}.")
