"""`limbeck plan`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from limbeck.cli import lists, paths, screen
from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck.jobs.plan_report import Plan

UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def plan(
    corpus: Annotated[
        Path,
        typer.Argument(
            help="A BEIR folder, a file of documents, ready vectors (.npy), or a folder that `limbeck encode` wrote."
        ),
    ],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries without labels, to learn from and to judge by: .jsonl or .tsv; .npy for vectors. "
            "A BEIR folder brings its own."
        ),
    ] = None,
    documents: Annotated[
        int | None,
        typer.Option(min=1, help="How many documents to plan for. Those of the corpus when left out."),
    ] = None,
    memory: Annotated[
        str | None, typer.Option(help="Most memory of the index, such as 500MB or 2GiB.")
    ] = None,
    latency: Annotated[float | None, typer.Option(help="Most milliseconds a query, one thread.")] = None,
    quality: Annotated[
        float | None, typer.Option(help="Least share of exact search to be kept, such as 0.9, in --measure.")
    ] = None,
    measure: Annotated[
        Literal["overlap@10", "RR@10"], typer.Option(help="What --quality is about; RR@10 needs labels.")
    ] = "overlap@10",
    methods: Annotated[
        str | None,
        typer.Option(
            help="Designs to try, by comma: exact, pq, opq, distil, fast-scan, ivf-distil, limbeck, residual, "
            "rabitq, sq8, hnsw. Without residual and hnsw when left out."
        ),
    ] = None,
    code_bytes: Annotated[
        str, typer.Option("--bytes", "--code-bytes", help="Sizes to try, by comma.")
    ] = "8,16,32",
    sample: Annotated[int, typer.Option(min=300, help="Most documents to try designs on.")] = 20_000,
    teacher: Annotated[
        str | None, typer.Option(help="The model that encodes: folder or hub name. MiniLM when left out.")
    ] = None,
    similarity: Annotated[
        Literal["cosine", "dot", "l2"] | None,
        typer.Option(help="How ready vectors compare; an encoder says it itself."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As a Markdown table.")] = False,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
    quiet: bool = False,
) -> None:
    """Try designs on a sample of your corpus: what each keeps of exact search, takes, and costs at your size.

    Nothing is written. A sample of 20,000 documents takes some minutes; --methods and --bytes make it shorter.
    """
    sizes = _sizes(code_bytes)
    most = None if memory is None else _bytes(memory)
    if queries is not None:
        paths.file(queries, "file of queries")
    from limbeck.jobs.plan import plan as job

    found = job(
        paths.corpus(corpus),
        queries,
        teacher=teacher,
        similarity=similarity,
        documents=documents,
        memory=most,
        latency=latency,
        quality=quality,
        measure=measure,
        methods=None if methods is None else lists.words(methods),
        code_bytes=sizes,
        sample=sample,
        progress=not quiet,
    )
    if json:
        screen.write_json(found.to_json())
    elif markdown:
        screen.write_json(found.to_markdown().rstrip("\n"))
    else:
        _show(found)


def _show(found: Plan) -> None:
    console = screen.results()
    console.print(found.to_rich())
    best = found.best
    shown = [row for row in found.rows if row is best or (best is None and found.is_on_frontier(row))]
    if found.constraints.are_given and best is None:
        console.print(
            "No design keeps to all of this. Nearest are those that miss one thing only.", style="bold"
        )
    console.print("Best:" if best is not None else "On the frontier:", style="bold")
    for row in shown:
        console.print(f"{found.rows.index(row) + 1:3}  {row.command}", soft_wrap=True, markup=False)


def _sizes(text: str) -> list[int]:
    words = lists.words(text)
    if not words or not all(word.isdigit() and int(word) > 0 for word in words):
        raise ConfigError(f"--bytes is {text!r}; expected whole numbers, such as 8,16,32.")
    return [int(word) for word in dict.fromkeys(words)]


def _bytes(text: str) -> int:
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", text)
    if found is None or found[2].lower() not in UNITS:
        raise ConfigError(f"--memory is {text!r}; expected a size such as 500MB, 2GB or 2GiB.")
    return int(float(found[1]) * UNITS[found[2].lower()])
