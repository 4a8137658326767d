"""Recipes as their source says them, read without importing them: a recipe needs numpy, its help does not."""

from __future__ import annotations

import ast
import io
import json
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

FOLDER = Path(__file__).parent.parent / "recipes"
VERDICTS = FOLDER / "verdicts.json"
PARTS = ("Trains", "Frozen", "Claim", "Source")


@dataclass(frozen=True, slots=True)
class RecipeField:
    """One constant of a recipe."""

    name: str
    type: Any
    default: Any
    help: str  # the comment behind it


@dataclass(frozen=True, slots=True)
class RecipeSource:
    """A recipe's docstring, taken apart, and its constants."""

    name: str
    module: str
    summary: str
    parts: Mapping[str, str]  # Trains, Frozen, Claim, Source
    fields: tuple[RecipeField, ...]

    def make(self, constants: Mapping[str, Any]) -> Any:
        """The recipe itself, with these constants. Imports its module."""
        from importlib import import_module

        return getattr(import_module(f"limbeck.recipes.{self.module}"), self.name)(**constants)


@cache
def all_recipes() -> dict[str, RecipeSource]:
    """Every dataclass in `limbeck.recipes` whose docstring says what it trains, by name."""
    return {
        found.name: found
        for path in sorted(FOLDER.glob("*.py"))
        for found in recipes_in(path.read_text(encoding="utf-8"), module=path.stem)
    }


def verdicts() -> dict[str, dict[str, Any]]:
    """What the check of each recipe's claim said, by recipe."""
    found: dict[str, dict[str, Any]] = json.loads(VERDICTS.read_text(encoding="utf-8"))
    return found


def recipes_in(source: str, *, module: str) -> list[RecipeSource]:
    """The recipes of one source file."""
    comments = _comments(source)
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    return [
        RecipeSource(
            name=node.name,
            module=module,
            summary=(doc := ast.get_docstring(node) or "").split("\n\n")[0].strip(),
            parts=_parts(doc),
            fields=tuple(_all_fields(node, classes, comments).values()),
        )
        for node in classes.values()
        if "Trains:" in (ast.get_docstring(node) or "")
    ]


def _comments(source: str) -> dict[int, str]:
    """Line number to the comment on it."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _all_fields(
    node: ast.ClassDef, classes: Mapping[str, ast.ClassDef], comments: Mapping[int, str]
) -> dict[str, RecipeField]:
    """Its own first, then those of the classes of this file that it inherits from."""
    found = {field.name: field for field in _fields(node, comments)}
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in classes:
            found = {**found, **_all_fields(classes[base.id], classes, comments), **found}
    return found


def _fields(node: ast.ClassDef, comments: Mapping[int, str]) -> list[RecipeField]:
    return [
        RecipeField(
            name=line.target.id,
            type=eval(ast.unparse(line.annotation), {"Literal": Literal}),  # our own source
            default=ast.literal_eval(line.value),
            help=comments.get(line.end_lineno or line.lineno, ""),
        )
        for line in node.body
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name) and line.value is not None
    ]


def _parts(doc: str) -> dict[str, str]:
    """`Trains: ...  Frozen: ...` and the like, each on its line or lines, two on one line where short."""
    parts: dict[str, str] = {}
    name = ""
    for line in doc.splitlines():
        for piece in line.split("   "):
            label, colon, text = piece.strip().partition(":")
            if colon and label in PARTS:
                name, piece = label, text
            if name and piece.strip():
                parts[name] = f"{parts.get(name, '')} {piece.strip()}".strip()
    return parts
