"""What goes over the wire. Everything that a request holds is bounded here, before any of it is used."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from limbeck.serve import limits

Mode: TypeAlias = Literal["dense", "lexical", "hybrid"]
Text: TypeAlias = Annotated[str, Field(min_length=1, max_length=limits.MOST_CHARACTERS)]
Identifier: TypeAlias = Annotated[str, Field(min_length=1, max_length=limits.MOST_ID)]
Component: TypeAlias = Annotated[float, Field(ge=-limits.LARGEST, le=limits.LARGEST)]
Vector: TypeAlias = Annotated[list[Component], Field(min_length=1, max_length=limits.MOST_DIMENSIONS)]
Integer: TypeAlias = Annotated[StrictInt, Field(ge=-(2**63), lt=2**63)]
Number: TypeAlias = Integer | FiniteFloat
Word: TypeAlias = Annotated[StrictStr, Field(max_length=limits.MOST_CHARACTERS)]
Value: TypeAlias = StrictBool | Number | Word
Floats: TypeAlias = list[float]  # `list` is also the name of a field below


class Message(BaseModel):
    """Fields that are not known are refused: a misspelt option must not be silently left out. So is null."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _no_null(cls, fields: Any) -> Any:
        if isinstance(fields, dict):
            for name, value in fields.items():
                if value is None:
                    raise ValueError(f"{name!r} is null: leave it out")
        return fields


class Some(Message):
    """A field whose value is one of these."""

    any: Annotated[list[Value], Field(min_length=1, max_length=limits.MOST_VALUES)]


class Bounds(Message):
    """A field whose value lies between bounds of one kind, at least one of them."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if not self.model_dump(exclude_none=True):
            raise ValueError("give at least one of above, least, below, most")
        return self


class Numbers(Bounds):
    """Numbers between bounds."""

    above: Number | SkipJsonSchema[None] = Field(None, description="greater than")
    least: Number | SkipJsonSchema[None] = Field(None, description="at least")
    below: Number | SkipJsonSchema[None] = Field(None, description="less than")
    most: Number | SkipJsonSchema[None] = Field(None, description="at most")


class Texts(Bounds):
    """Texts between bounds, in the order of their characters."""

    above: Word | SkipJsonSchema[None] = None
    least: Word | SkipJsonSchema[None] = None
    below: Word | SkipJsonSchema[None] = None
    most: Word | SkipJsonSchema[None] = None


Filter: TypeAlias = Annotated[
    dict[Identifier, Value | Some | Numbers | Texts],
    Field(
        max_length=limits.MOST_CONDITIONS,
        description="field of the metadata to a value, or to a range of values; all must hold",
        examples=[{"language": "en", "year": {"least": 2020}}],
    ),
]


Effort: TypeAlias = Annotated[
    float, Field(gt=0, le=1, description="share of the lists to look at; 1 = exhaustive")
]


class Options(Message):
    """What searches have in common."""

    k: int = Field(10, ge=1, le=limits.MOST_HITS, description="answers")
    mode: Mode = Field("dense", description="by vectors, by words (BM25), or by both")
    effort: Effort | SkipJsonSchema[None] = None
    where: Filter | SkipJsonSchema[None] = None
    exact: StrictBool = Field(
        default=False, description="by the vectors that the index keeps, instead of by its codes"
    )
    refine: (
        Annotated[
            int,
            Field(
                ge=1,
                le=limits.MOST_HITS,
                description="candidates to order again by the vectors that the index keeps",
            ),
        ]
        | SkipJsonSchema[None]
    ) = None
    refine_ms: (
        Annotated[float, Field(gt=0, le=10_000, description="time that it may take")] | SkipJsonSchema[None]
    ) = None
    documents: StrictBool = Field(
        default=True, description="titles, texts and metadata, not ids and scores alone"
    )


class Search(Options):
    """One query: a text, or a vector of the encoder that made the index."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["text"], "not": {"required": ["vector"]}},
                {
                    "required": ["vector"],
                    "not": {"required": ["text"]},
                    "properties": {"mode": {"const": "dense"}},
                },
            ],
            "examples": [{"text": "how to copy a file", "k": 3}],
        }
    )

    text: Text | SkipJsonSchema[None] = None
    vector: Vector | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _one_query(self) -> Search:
        if (self.text is None) == (self.vector is None):
            raise ValueError("give `text` or `vector`, one of them")
        if self.vector is not None and self.mode != "dense":
            raise ValueError(f"mode {self.mode!r} reads words: give `text`")
        return self


class Batch(Options):
    """Several queries with the same options."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["texts"], "not": {"required": ["vectors"]}},
                {
                    "required": ["vectors"],
                    "not": {"required": ["texts"]},
                    "properties": {"mode": {"const": "dense"}},
                },
            ],
            "examples": [{"texts": ["how to copy a file", "list open ports"], "k": 3}],
        }
    )

    texts: (
        Annotated[list[Text], Field(min_length=1, max_length=limits.MOST_QUERIES)] | SkipJsonSchema[None]
    ) = None
    vectors: (
        Annotated[list[Vector], Field(min_length=1, max_length=limits.MOST_QUERIES)] | SkipJsonSchema[None]
    ) = None

    @model_validator(mode="after")
    def _one_kind(self) -> Batch:
        if (self.texts is None) == (self.vectors is None):
            raise ValueError("give `texts` or `vectors`, one of them")
        if self.vectors is not None and self.mode != "dense":
            raise ValueError(f"mode {self.mode!r} reads words: give `texts`")
        if self.vectors is not None and len({len(vector) for vector in self.vectors}) > 1:
            raise ValueError("`vectors` differ in length")
        return self


class Explain(Message):
    """Documents whose place under a query is to be explained."""

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": ["text"], "not": {"required": ["vector"]}},
                {"required": ["vector"], "not": {"required": ["text"]}},
            ],
            "examples": [{"text": "how to copy a file", "ids": ["cp"]}],
        }
    )

    text: Text | SkipJsonSchema[None] = None
    vector: Vector | SkipJsonSchema[None] = None
    ids: list[Identifier] = Field(min_length=1, max_length=limits.MOST_EXPLAINED)
    effort: Effort | SkipJsonSchema[None] = None

    @model_validator(mode="after")
    def _one_query(self) -> Explain:
        if (self.text is None) == (self.vector is None):
            raise ValueError("give `text` or `vector`, one of them")
        return self


class NewDocument(Message):
    """A document to add, or to put in the place of the one with the same id."""

    id: Identifier
    title: str = Field("", max_length=limits.MOST_TEXT)
    text: str = Field("", max_length=limits.MOST_TEXT)
    metadata: dict[Identifier, Any] = Field({}, max_length=64)
    vector: Vector | SkipJsonSchema[None] = Field(None, description="left out: made from the text")


class Addition(Message):
    """Documents to add."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"documents": [{"id": "cp", "text": "copies files and folders"}]}]}
    )

    documents: list[NewDocument] = Field(min_length=1, max_length=limits.MOST_CHANGED)


class Answer(BaseModel):
    """One document, and how well it answers."""

    rank: int = Field(description="from 1")
    id: str
    score: float = Field(description="higher is better")
    title: str | None = None
    text: str | None = None
    metadata: dict[str, Any] | None = None


class Milliseconds(BaseModel):
    """Where the time of a request went."""

    encode: float
    search: float
    read: float


class Found(BaseModel):
    """The answers to one query, best first; fewer than k where there are no more."""

    answers: list[Answer]
    mode: Mode
    generation: str
    milliseconds: Milliseconds


class FoundBatch(BaseModel):
    """The answers to each query, in the order of the queries."""

    answers: list[list[Answer]]
    mode: Mode
    generation: str
    milliseconds: Milliseconds


class Explanation(BaseModel):
    """Why a document stands where it stands."""

    id: str
    decoded_score: float = Field(description="what the index computes from the codes")
    exact_score: float | None = Field(
        description="of the vector that the index keeps; null where it keeps none"
    )
    rank: int | None = Field(description="by the codes, over all lists; null beyond 1,000")
    exact_rank: int | None = Field(description="by the kept vectors; null beyond 1,000, or without them")
    list: int | None = Field(description="its inverted list; null where there are none")
    list_place: int | None = Field(description="1 = the list that this query looks at first")
    probed: bool = Field(description="whether the search looks at that list")
    parts: Floats = Field(description="what each part of the code adds to the decoded score")
    rest: float = Field(description="what the list's centroid adds to it")


class Explanations(BaseModel):
    """One for each document that was asked about, in that order."""

    explanations: list[Explanation]
    generation: str


class StoredDocument(BaseModel):
    """A document as the index holds it."""

    id: str
    title: str
    text: str
    metadata: dict[str, Any]


class Accepted(BaseModel):
    """A change that is on disk, and will be seen from the next generation on."""

    accepted: int = Field(description="documents")
    sequence: int = Field(
        description="number of the last change; `GET /index` tells the last one that is visible"
    )


class MetadataField(BaseModel):
    """A field of the metadata that searches can be filtered by."""

    name: str
    documents: int = Field(description="that have it")
    values: dict[str, int] | None = Field(description="documents of each value; null where there are many")
    least: float | None = None
    most: float | None = None


class About(BaseModel):
    """What is served."""

    name: str
    generation: str
    documents: int
    dimensions: int
    metric: str
    bytes_per_document: float = Field(description="of codes and what documents share")
    vector_bytes: int = Field(description="of an uncompressed vector, in float32")
    recipe: str
    encoder: str | None
    modes: list[Mode]
    takes_text: bool
    keeps_vectors: str | None = Field(description="float16 or int8: `exact`, `refine` and exact scores work")
    can_add_texts: bool
    can_change: bool
    fields: list[MetadataField]
    last_change: int = Field(description="number of the last change that searches see")
    pending_changes: int


class Error(BaseModel):
    """What was wrong."""

    code: str
    message: str
    field: str | None = None


class Refusal(BaseModel):
    """The body of every answer that is not a success."""

    error: Error
