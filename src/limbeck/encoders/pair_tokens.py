"""Two texts as one list of tokens: only the document is ever cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from limbeck.encoders.pair_pooling import DOCUMENT, NEITHER, QUERY, PairTokens
from limbeck.encoders.texts import check_texts
from limbeck.errors import ConfigError, DataError, ShapeError

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer


class PairTokenizer:
    """Gives "[CLS] q [SEP] d [SEP]", or as the model's own tokenizer joins two texts.

    reads_types  the model has vectors for segments (BERT); else every type is 0
    """

    def __init__(self, tokenizer: Tokenizer, *, max_length: int, pad: int, reads_types: bool) -> None:
        if max_length < 1 + tokenizer.num_special_tokens_to_add(is_pair=True):
            raise ConfigError(
                f"`max_length` must leave room for tokens of both texts; found {max_length}, of which "
                f"{tokenizer.num_special_tokens_to_add(is_pair=True)} are special."
            )
        tokenizer.no_padding()
        tokenizer.enable_truncation(max_length, strategy="only_second")
        self.tokenizer = tokenizer
        self.max_length = max_length
        self.pad = pad
        self.reads_types = reads_types

    def __call__(self, queries: Sequence[str], documents: Sequence[str]) -> PairTokens:
        """Pair i is query i with document i.

        raises  DataError for a query that alone fills `max_length`
        """
        if len(queries) != len(documents):
            raise ShapeError(f"{len(queries)} queries and {len(documents)} documents are no pairs.")
        check_texts(queries)
        check_texts(documents)
        return self._joined(self._encoded(list(zip(queries, documents, strict=True))))

    def _encoded(self, pairs: list[tuple[str, str]]) -> list[Encoding]:
        try:
            return list(self.tokenizer.encode_batch(pairs))
        except Exception as error:  # tokenizers raises nothing narrower
            longest = max((query for query, _ in pairs), key=len)
            raise DataError(
                f"a query leaves no room for its document in {self.max_length} tokens ({error}); the longest begins "
                f"{longest[:60]!r}.\n\nHint: raise `max_length`, or shorten the query: it is never cut."
            ) from error

    def _joined(self, encodings: Sequence[Encoding]) -> PairTokens:
        import torch

        width = max((len(encoding) for encoding in encodings), default=1)
        ids = np.full((len(encodings), width), self.pad, dtype=np.int64)
        types = np.zeros_like(ids)
        segments = np.full_like(ids, NEITHER)
        lengths = np.array([len(encoding) for encoding in encodings], dtype=np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding)] = encoding.ids
            segments[row, : len(encoding)] = [_SEGMENT[place] for place in encoding.sequence_ids]
            if self.reads_types:
                types[row, : len(encoding)] = encoding.type_ids
        mask = np.arange(width) < lengths[:, None]
        return PairTokens(*(torch.from_numpy(array) for array in (ids, mask, types, segments)))


_SEGMENT = {None: NEITHER, 0: QUERY, 1: DOCUMENT}
