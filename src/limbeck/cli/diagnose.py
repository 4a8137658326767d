"""`limbeck diagnose`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from limbeck.cli import paths, screen

Folders = Annotated[
    list[Path],
    typer.Option(
        "--query-encoder",
        help="A folder that `limbeck distil-encoder` wrote. Given again: other students, or checkpoints of one.",
    ),
]


def diagnose(
    corpus: Annotated[Path, typer.Option(help="A BEIR folder with labels for both splits.")],
    query_encoders: Folders,
    teacher: Annotated[
        str | None,
        typer.Option(
            help="The encoder that they were distilled from: folder or hub name. MiniLM when left out."
        ),
    ] = None,
    train_split: Annotated[str, typer.Option(help="The queries that the students learned from.")] = "train",
    test_split: Annotated[str, typer.Option(help="Queries that no student saw.")] = "test",
    negatives: Annotated[
        int, typer.Option(min=0, help="Documents drawn for each query as not relevant.")
    ] = 1,
    scale: Annotated[
        float, typer.Option(help="Multiplies every score; 1 reads cosines as log-odds, as the theory does.")
    ] = 1.0,
    student_documents: Annotated[
        bool,
        typer.Option(
            "--student-documents", help="The students encode the documents too: nothing is inherited."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the documents that are drawn.")] = 0,
    out: Annotated[Path | None, typer.Option(help="A folder for diagnosis.json and diagnosis.png.")] = None,
    json: Annotated[bool, typer.Option("--json", help="For a machine to read.")] = False,
    quiet: bool = False,
) -> None:
    """Say where a query student loses against its teacher: five terms of the risk, and what a theorem allows them."""
    paths.dataset(corpus)
    from limbeck.jobs.diagnose import diagnose as job

    found = job(
        corpus,
        [paths.encoder(folder) for folder in query_encoders],
        teacher=teacher,
        train_split=train_split,
        test_split=test_split,
        negatives=negatives,
        scale=scale,
        student_documents=student_documents,
        seed=seed,
        progress=not quiet,
    )
    written = None if out is None else found.save(out)
    if json:
        screen.write_json(found.to_json())
        return
    from limbeck.evaluate.bound_report import summary

    screen.show_found(found.title, summary(found.students), written)
