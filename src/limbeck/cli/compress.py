"""`limbeck distil` and `limbeck build`: from a corpus to an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from limbeck.cli import paths, screen
from limbeck.cli.recipe_flags import constants_of, with_recipes
from limbeck.cli.recipe_source import RecipeSource, all_recipes
from limbeck.errors import ConfigError

if TYPE_CHECKING:
    from limbeck.retrieve import Searcher

Corpus = Annotated[
    Path,
    typer.Option(
        help="A BEIR folder, a file of documents (.jsonl or .tsv, plain or .gz), ready vectors (.npy with ids beside "
        "it), or a folder that `limbeck encode` wrote."
    ),
]
Out = Annotated[
    Path, typer.Option(help="The folder of the new index; an index there is replaced, once this is done.")
]
Teacher = Annotated[
    str | None,
    typer.Option(
        help="A sentence-transformers model: folder or hub name. MiniLM (all-MiniLM-L6-v2) when left out."
    ),
]
Meant: TypeAlias = Literal["cosine", "dot", "l2"]
Precision: TypeAlias = Literal["float16", "int8"]


def _of(*modules: str) -> dict[str, RecipeSource]:
    return {recipe.name.lower(): recipe for recipe in all_recipes().values() if recipe.module in modules}


METHODS = _of("anisotropic", "bit_codes", "compress", "engines", "packages", "rivals")
TAUGHT = _of("contrastive_vq", "distill_vq", "jpq", "limbeck", "routed")  # by queries
Similarity = Annotated[
    Meant | None, typer.Option(help="How ready vectors compare; an encoder says it itself.")
]
Kept = Annotated[
    Precision | None,
    typer.Option(
        help="Keep the vectors on disk beside the codes, for exact answers and a second look at the best candidates."
    ),
]


@with_recipes(list(TAUGHT.values()))
def distil(
    corpus: Corpus,
    out: Out,
    method: Annotated[
        str,
        typer.Option(
            help=f"One of {', '.join(TAUGHT)}. limbeck keeps most at equal bytes, for inner products; distillvq also "
            "knows lists, 4 bits and faiss files."
        ),
    ] = "distillvq",
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Training queries, without labels: .jsonl or .tsv; .npy where the corpus is vectors. A BEIR folder "
            "brings its own; without any they are made from the documents."
        ),
    ] = None,
    teacher: Teacher = None,
    similarity: Similarity = None,
    keep_vectors: Kept = None,
    checkpoints: Annotated[
        Path | None, typer.Option(help="A folder: training that was stopped goes on from there.")
    ] = None,
    quiet: bool = False,
    *,
    constants: dict[str, str],
) -> None:
    """Distil an embedding model's ranking of a corpus into a small index.

    Encoding is kept in the cache and goes on where it was when this is stopped.
    """
    if queries is not None:
        _queries(queries)
    chosen = _method(method, TAUGHT, others=METHODS, verb="build")
    recipe = chosen.make(constants_of(chosen, constants))
    from limbeck.jobs.make import distil as job

    searcher = job(
        paths.corpus(corpus),
        queries,
        out=out,
        teacher=teacher,
        recipe=recipe,
        similarity=similarity,
        keep_vectors=keep_vectors,
        checkpoints=checkpoints,
        progress=not quiet,
    )
    _show(searcher, out)


@with_recipes(list(METHODS.values()))
def build(
    corpus: Corpus,
    out: Out,
    method: Annotated[
        str, typer.Option(help=f"One of {', '.join(METHODS)}. `limbeck systems` says what they are.")
    ] = "opq",
    teacher: Teacher = None,
    similarity: Similarity = None,
    keep_vectors: Kept = None,
    queries: Annotated[Path | None, typer.Option(hidden=True)] = None,
    quiet: bool = False,
    *,
    constants: dict[str, str],
) -> None:
    """Compress or index a corpus without training on queries: product codes (OPQ), or any engine or rival of them."""
    if queries is not None:
        raise ConfigError("`build` learns from documents alone and reads no queries; `limbeck distil` does.")
    recipe = _method(method, METHODS, others=TAUGHT, verb="distil")
    chosen = recipe.make(constants_of(recipe, constants))
    from limbeck.jobs.make import distil as job

    searcher = job(
        paths.corpus(corpus),
        out=out,
        teacher=teacher,
        recipe=chosen,
        similarity=similarity,
        keep_vectors=keep_vectors,
        progress=not quiet,
    )
    _show(searcher, out)


def _method(
    name: str, known: dict[str, RecipeSource], *, others: dict[str, RecipeSource], verb: str
) -> RecipeSource:
    plain = name.lower().replace("-", "").replace("_", "")
    if plain in known:
        return known[plain]
    hint = f" `limbeck {verb} --method {plain}` makes it." if plain in others else ""
    raise typer.BadParameter(
        f"{name!r} is not one of {', '.join(map(repr, known))}.{hint}", param_hint="--method"
    )


def _queries(path: Path) -> None:
    paths.existing(path, "file of queries")
    if path.is_dir() and paths.is_dataset(path):
        names = sorted(entry.name for entry in path.glob("queries.*"))
        raise ConfigError(
            f"{path}: is a data set; expected a file of queries.\n\n"
            f"Hint: give {path / names[0]}, or give --corpus {path} and leave --queries out."
        )


def _show(searcher: Searcher, out: Path) -> None:
    content = searcher.manifest.content
    console = screen.results()
    console.print(
        f"{out}: {len(searcher):,} documents, {content['recipe']['name']}, "
        f"{content['bytes_per_document']:.1f} bytes a document with everything counted, "
        f"made in {content['build_seconds']:.1f} s.",
        soft_wrap=True,
        markup=False,
    )
    gain = _gain(content.get("training"))
    if gain:
        console.print(gain, soft_wrap=True, markup=False)
    asks = '"a question"' if searcher.encoder else "--vectors QUERIES.npy"
    console.print(f"Next: limbeck search {out} {asks}", soft_wrap=True, markup=False)


def _gain(training: Any) -> str:
    """The figure on held-out queries before training and after the epoch that was kept."""
    if not training or training["before"] is None or training["best"] is None:
        return ""
    best = training["best"]
    after = training["epochs"][best - 1]["dev"] if best else training["before"]
    return f"Held-out figure: {training['before']:.4f} before training, {after:.4f} after (epoch {best} was kept)."
