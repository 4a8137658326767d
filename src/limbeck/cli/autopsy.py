"""`limbeck autopsy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import paths, screen


def autopsy(
    folder: Annotated[Path, typer.Argument(help="The folder of an index.")],
    data: Annotated[
        Path, typer.Argument(help="The BEIR folder that it was made from, or its vectors (.npy, or encoded).")
    ],
    queries: Annotated[
        Path | None, typer.Option(help="Query vectors (.npy), where the data is vectors.")
    ] = None,
    split: Annotated[str, typer.Option(help="Which queries of a BEIR folder.")] = "test",
    k: Annotated[int, typer.Option("-k", min=1, help="How deep the exact answer goes.")] = 10,
    effort: Annotated[
        float | None, typer.Option(help="Share of the coarse lists to visit, above 0 and at most 1 (all).")
    ] = None,
    teacher: Annotated[
        str | None,
        typer.Option(help="The model that made the index: folder or hub name. MiniLM when left out."),
    ] = None,
    fast_scan: Annotated[bool, typer.Option("--fast-scan", help="Search 4-bit codes by fast scan.")] = False,
    most: Annotated[int, typer.Option(min=1, help="Most queries to look at.")] = 1000,
    out: Annotated[
        Path | None, typer.Option(help="A folder for autopsy.json (every lost document) and autopsy.png.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
    quiet: bool = False,
) -> None:
    """Say why an index loses documents that exact search finds: lists not visited, distortion, ties, later steps."""
    paths.artefact(folder)
    paths.existing(data, "data")
    if queries is not None:
        paths.file(queries, ".npy file of query vectors")
    from limbeck.jobs.autopsy import autopsy as job

    found = job(
        folder,
        data if data.is_file() else paths.dataset(data),
        queries,
        split=split,
        k=k,
        effort=effort,
        teacher=teacher,
        fast_scan=fast_scan,
        most=most,
        progress=not quiet,
    )
    written = None if out is None else found.save(out)
    if json:
        screen.write_json(found.to_json())
        return
    from limbeck.evaluate.autopsy_report import summary

    table = summary(found.autopsy, query_ids=found.query_ids, document_ids=found.document_ids)
    screen.show_found(found.title, table, written)
