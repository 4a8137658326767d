"""Why a query student answers worse than its teacher, term by term of EmbedDistill's bound."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from limbeck.data.dataset import Dataset
from limbeck.encoders.collection import encode_dataset, encode_texts
from limbeck.encoders.fingerprint import check_pair, space_of
from limbeck.encoders.opening import open_encoder
from limbeck.errors import ConfigError, EncoderMismatch
from limbeck.evaluate.bound import Sample, Telescope, draw_pairs, telescope
from limbeck.jobs.material import metric_of, opened_encoder
from limbeck.storage.durable import make_folders, write_file

if TYPE_CHECKING:
    from limbeck.encoders.onnx import OnnxEncoder
    from limbeck.encoders.sentence import SentenceEncoder
    from limbeck.encoders.static import StaticEncoder


@dataclass(frozen=True, kw_only=True)
class About:
    """What students were diagnosed on."""

    data: str
    train_split: str
    test_split: str
    teacher: str  # digest of its fingerprint
    negatives: int  # documents of each query that count as not relevant, beside those judged
    inherited_documents: bool
    seed: int


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """The terms of each student, by name."""

    about: About
    students: Mapping[str, Telescope]

    @property
    def title(self) -> str:
        """Data set and splits."""
        return f"{self.about.data}: {self.about.train_split} and {self.about.test_split}"

    def to_json(self) -> str:
        """Every figure of every student."""
        from limbeck.evaluate.bound_report import as_json

        return as_json(self.students, about=asdict(self.about))

    def save(self, folder: Path) -> tuple[Path, Path]:
        """`diagnosis.json` and `diagnosis.png` in the folder. raises MissingExtra without matplotlib"""
        from limbeck.evaluate.bound_plot import plot_bound

        make_folders(folder)
        written = folder / "diagnosis.json"
        write_file(written, self.to_json().encode())
        return written, plot_bound(self.students, folder / "diagnosis.png", title=self.title)


def diagnose(
    corpus: Path | str | Dataset,
    query_encoders: Sequence[Path | str],
    *,
    teacher: Path | str | SentenceEncoder | None = None,
    train_split: str = "train",
    test_split: str = "test",
    negatives: int = 1,
    scale: float = 1.0,
    student_documents: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> Diagnosis:
    """Hold query encoders, or checkpoints of one, against their teacher on the pairs of two labelled splits.

    query_encoders     folders that `limbeck distil-encoder` wrote
    teacher            the encoder that they were distilled from; MiniLM when left out
    negatives          documents drawn for each query as not relevant, the same for all students
    scale              of all scores: see `limbeck.evaluate.bound.telescope`
    student_documents  the student encodes the documents too, instead of inheriting the teacher's vectors
    cost               one encoding of corpus and queries by the teacher (cached), one of the queries by each student
    raises             EncoderMismatch for a student of another teacher
    """
    if not query_encoders:
        raise ConfigError(
            "there is no student to diagnose.\n\nHint: give --query-encoder FOLDER, once for each."
        )
    dataset = corpus if isinstance(corpus, Dataset) else Dataset.open(corpus)
    for split in (train_split, test_split):
        dataset.split(split)  # one that is not there is refused before anything is encoded
    model = opened_encoder(teacher)
    _refuse_distances(model)
    opened = {name: _student(Path(folder), model) for name, folder in _named(query_encoders).items()}
    collection = encode_dataset(dataset, model, [train_split, test_split], progress=progress)
    pairs = {
        name: draw_pairs(split.labels, len(dataset.corpus), negatives=negatives, seed=seed)
        for name, split in collection.splits.items()
    }
    students = {}
    for name, student in opened.items():
        own = encode_texts(dataset.corpus, student, "doc", progress=progress) if student_documents else None
        samples = {
            split: Sample(
                pairs=pairs[split],
                student_queries=student.encode_query(encoded.queries.texts),
                teacher_queries=encoded.vectors,
                teacher_documents=collection.documents,
                student_documents=own,
            )
            for split, encoded in collection.splits.items()
        }
        students[name] = telescope(samples[train_split], samples[test_split], scale=scale)
    about = About(
        data=dataset.name,
        train_split=train_split,
        test_split=test_split,
        teacher=model.fingerprint.digest,
        negatives=negatives,
        inherited_documents=not student_documents,
        seed=seed,
    )
    return Diagnosis(about=about, students=students)


def _student(folder: Path, teacher: SentenceEncoder) -> StaticEncoder | OnnxEncoder:
    """The encoder in the folder. raises EncoderMismatch where it learned from another teacher"""
    student = open_encoder(folder)
    try:
        check_pair(space_of(student), teacher.fingerprint)
    except EncoderMismatch as mismatch:
        what = str(mismatch).partition(";")[0]
        raise EncoderMismatch(
            f"{folder}: this student was distilled from another teacher: {what}.\n\n"
            "Hint: give as --teacher the encoder that it was distilled from."
        ) from None
    return student


def _refuse_distances(teacher: SentenceEncoder) -> None:
    """Raises ConfigError for a teacher whose scores are no inner products of its vectors."""
    similarity = teacher.fingerprint.similarity
    if metric_of(similarity, normalise=teacher.fingerprint.normalise) != "ip":
        raise ConfigError(
            f"this teacher compares by {similarity!r}; the bound is about inner products and has nothing to say here."
        )


def _named(folders: Sequence[Path | str]) -> dict[str, Path | str]:
    """Folders by their last name, or by the whole path where two share it."""
    paths = list(dict.fromkeys(map(Path, folders)))
    counts = Counter(path.resolve().name for path in paths)
    return {path.resolve().name if counts[path.resolve().name] == 1 else str(path): path for path in paths}
