"""Options made from the constants of a recipe: name, default, choices, and the comment as help."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from types import NoneType
from typing import Annotated, Any, Literal, get_args, get_origin

import typer
from rich.markup import escape

from limbeck.cli.recipe_source import RecipeField, RecipeSource

NAMES: Mapping[str, tuple[str, ...]] = {"code_bytes": ("--bytes", "--code-bytes")}
HELP: Mapping[str, str] = {  # where the name says it to a reader of the source, but not to a newcomer
    "code_bytes": "bytes of a document's code; must divide the vectors' width (at 8 bits)",
    "bits": "bits of a codeword's number: 8 = 256 codewords a slice, 4 = 16",
    "lists": "coarse lists, of which a search visits some; none = one scan over all codes",
    "rotate": "learn a rotation first (OPQ)",
    "loss": "what training minimises",
    "codes": "keep each document's code, or assign it again while codewords move",
    "learn_query_map": "learn a linear map of the query as well",
    "codeword_rate": "learning rate of codewords, relative to their size",
    "base_rate": "learning rate of the lists' centroids, relative to their size",
    "routing_rate": "learning rate of the vectors that choose lists, relative to their size",
    "query_rate": "learning rate of the query map",
    "epochs": "passes over the training queries",
    "batch_size": "queries a step",
    "patience": "epochs without a gain on held-out queries before training stops",
    "seed": "of everything that is drawn",
}


_TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def with_recipes(recipes: Sequence[RecipeSource]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replaces the parameter `constants` of a verb by an option for each constant of any of the recipes.

    It arrives as text, and only if it was given. What it means is known once one recipe is chosen: `constants_of`.
    """
    owners: dict[str, list[RecipeSource]] = {}
    for recipe in recipes:
        for field in recipe.fields:
            owners.setdefault(field.name, []).append(recipe)

    def decorate(run: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(run, eval_str=True)

        def collected(**arguments: Any) -> None:
            given = {name: text for name in owners if (text := arguments.pop(name)) is not None}
            run(**arguments, constants=given)

        parameters = [p for p in own.parameters.values() if p.name != "constants"]
        parameters += [_text_parameter(name, owners[name], total=len(recipes)) for name in owners]
        collected.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in parameters]
        )
        collected.__doc__, collected.__name__ = run.__doc__, run.__name__
        return collected

    return decorate


def constants_of(recipe: RecipeSource, given: Mapping[str, str]) -> dict[str, Any]:
    """The constants that were given as text, as this recipe takes them; BadParameter for those that it has not."""
    fields = {field.name: field for field in recipe.fields}
    for name in given:
        if name not in fields:
            has = ", ".join(_flag(known) for known in fields)
            raise typer.BadParameter(f"{recipe.name} has none. It has {has}.", param_hint=_flag(name))
    return {name: _value(fields[name], text) for name, text in given.items()}


def _value(field: RecipeField, text: str) -> Any:
    annotation, extras = _option(field)
    try:
        if "parser" in extras:
            return extras["parser"](text)
        if get_origin(field.type) is Literal:
            return _choice(get_args(field.type))(text)
        return _TRUTH[text.lower()] if annotation is bool else annotation(text)
    except (ValueError, KeyError):
        wanted = {int: "a whole number", float: "a number"}.get(annotation, "true or false")
        raise typer.BadParameter(f"{text!r} is not {wanted}.", param_hint=_flag(field.name)) from None
    except typer.BadParameter as error:
        raise typer.BadParameter(error.message, param_hint=_flag(field.name)) from None


def _text_parameter(name: str, owners: Sequence[RecipeSource], *, total: int) -> inspect.Parameter:
    helps = (field.help for recipe in owners for field in recipe.fields if field.name == name and field.help)
    text = escape(HELP.get(name) or next(helps, ""))
    if len(owners) < total:
        text += f" ({', '.join(recipe.name for recipe in owners)})"
    same = [field for recipe in owners for field in recipe.fields if field.name == name]
    kinds = dict.fromkeys(word for field in same for word in _words(field))
    option = typer.Option(
        *NAMES.get(name, (_flag(name),)),
        help=text,
        metavar="|".join(kinds),
        rich_help_panel="Constants; left out, they are the method's own (`limbeck systems NAME`)",
        show_default=False,
    )
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[str | None, option]
    )


def _words(field: RecipeField) -> list[str]:
    """What the text of an option may be, for its help."""
    if get_origin(field.type) is Literal:
        return [str(choice) for choice in get_args(field.type)]
    names = {int: "INTEGER", float: "FLOAT", bool: "true|false", NoneType: "none"}
    return [names.get(member, "TEXT") for member in (get_args(field.type) or (field.type,))]


def _flag(name: str) -> str:
    return NAMES.get(name, ("--" + name.replace("_", "-"),))[0]


def _option(field: RecipeField) -> tuple[Any, dict[str, Any]]:
    """The annotation that typer reads, and what it cannot read from one."""
    if get_origin(field.type) is Literal:
        choices = get_args(field.type)
        if all(isinstance(choice, str) for choice in choices):
            return field.type, {}
        metavar = "[" + "|".join(map(str, choices)) + "]"
        return Any, {"parser": _choice(choices), "metavar": metavar}
    members = [member for member in get_args(field.type) if member is not NoneType]
    if NoneType not in get_args(field.type):
        return field.type, {}
    (kind,) = members
    metavar = {int: "INTEGER|none", float: "FLOAT|none"}.get(kind, "TEXT|none")
    return Any, {"parser": _or_none(kind), "metavar": metavar}


def _choice(choices: tuple[Any, ...]) -> Callable[[Any], Any]:
    def parse(text: Any) -> Any:
        for choice in choices:
            if str(choice) == str(text):
                return choice
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(map(str, choices))}.")

    return parse


def _or_none(kind: type) -> Callable[[Any], Any]:
    def parse(text: Any) -> Any:
        if str(text).lower() in ("none", "all"):
            return None
        try:
            return kind(text)
        except ValueError:
            wanted = "a whole number" if kind is int else "a number"
            raise typer.BadParameter(f"{text!r} is neither {wanted} nor the word none.") from None

    return parse
