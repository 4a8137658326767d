"""`limbeck make-queries`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from limbeck.cli import lists, paths, screen
from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck.jobs.make_queries import Written
    from limbeck.recipes.query_generation import QueryGeneration


def make_queries(
    out: Annotated[Path, typer.Option(help="The file of new queries, .jsonl; one there is replaced.")],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Training queries: .jsonl or .tsv, plain or .gz. A BEIR folder as --corpus brings its own."
        ),
    ] = None,
    corpus: Annotated[
        Path | None,
        typer.Option(help="A BEIR folder: its train split asks, and no new query equals one of its others."),
    ] = None,
    generator: Annotated[
        Path | None,
        typer.Option(
            help="The folder of a BART or T5, or of --save-generator. Made from the teacher when left out."
        ),
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="What a generator is made from: folder or hub name. MiniLM when left out."),
    ] = None,
    save_generator: Annotated[Path | None, typer.Option(help="A folder to keep the generator in.")] = None,
    never: Annotated[
        list[Path] | None,
        typer.Option(
            help="Queries that no new one may equal, such as those of a test; may be given several times."
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(min=0, help="Passes over the queries in training. Left out: 2, or 0 with --generator."),
    ] = None,
    noise: Annotated[
        str | None, typer.Option(help="Standard deviations, a new query for each: 0.1,0.2 when left out.")
    ] = None,
    masked: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of masked tokens: 0.1 when left out.")
    ] = None,
    seed: int = 0,
    checkpoints: Annotated[
        Path | None, typer.Option(help="A folder: training that was stopped goes on from there.")
    ] = None,
    quiet: bool = False,
) -> None:
    """Make new training queries from training queries: masked, disturbed, and said again by an encoder-decoder."""
    if queries is not None:
        paths.file(queries, "file of queries")
    if generator is not None:
        paths.existing(generator, "folder of a generator")
        if teacher is not None:
            raise ConfigError(
                "--teacher is what a generator is made from.\n\nHint: give it or --generator, not both."
            )
    from limbeck.jobs.make_queries import make_queries as job

    written = job(
        queries,
        out=out,
        corpus=None if corpus is None else paths.corpus(corpus),
        generator=generator,
        teacher=teacher,
        recipe=_recipe(epochs, noise, masked, seed=seed, is_given=generator is not None),
        never=[paths.file(path, "file of queries") for path in never or ()],
        save_generator=save_generator,
        checkpoints=checkpoints,
        progress=not quiet,
    )
    _show(written, out)


def _recipe(
    epochs: int | None, noise: str | None, masked: float | None, *, seed: int, is_given: bool
) -> QueryGeneration:
    from limbeck.recipes.query_generation import QueryGeneration

    constants: dict[str, Any] = {"seed": seed}
    if epochs is not None or is_given:
        constants["epochs"] = epochs or 0
    if noise is not None:
        constants["noise"] = lists.numbers(noise, float, option="--noise", such_as="0.1,0.2")
    if masked is not None:
        constants["masked"] = masked
    return QueryGeneration(**constants)


def _show(written: Written, out: Path) -> None:
    console = screen.results()
    for line in (
        f"{out}: {written.written:,} new queries from {written.asked:,}.",
        f"Left out: {written.known:,} equal to a training query, {written.forbidden:,} to one that is kept apart, "
        f"{written.repeated:,} to each other or empty.",
        f"Next: limbeck distil-encoder --more-queries {out}, beside what the queries came from",
    ):
        console.print(line, soft_wrap=True, markup=False)
