"""ScaNN's anisotropic product codes: errors that move inner products with likely queries cost more."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank
from limbeck.recipes.compress import OPQ, PQ
from limbeck.train.system import System


@dataclass(frozen=True, kw_only=True)
class ScaNNVQ:
    """Product codes under a loss that weighs a document's error along its own direction more.

    Trains: codewords (in closed form) and codes, alternating; before that the rotation if asked.
    Frozen: the encoder.
    Claim:  higher inner products survive than under PQ at equal bytes; the paper's tables have no learned rotation.
    Source: Guo et al., ICML 2020, theorems 3.4 and 4.2; google-research/scann. The loss alone: ScaNN's tree, 4-bit
            kernels and re-ordering are those of the index here.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    lists: int | None = None  # coarse lists; None = one scan over all codes
    rotate: bool = False  # OPQ first
    threshold: float | None = 0.2  # inner products above it matter; None = errors weigh alike
    rounds: int = 8  # of assignment and codewords
    seed: int = 0

    def run(self, data: VectorData, start: System | None = None) -> System:
        """Learn codewords on the documents and encode them. `start` is a system whose quantiser is refined."""
        from limbeck.quantisers.anisotropic import fit_anisotropic

        if start is None:
            recipe = OPQ if self.rotate else PQ
            start = recipe(code_bytes=self.code_bytes, bits=self.bits, lists=self.lists, seed=self.seed).run(
                data
            )
        assert isinstance(start.documents, CodeBank)
        quantiser, codes = fit_anisotropic(
            start.documents.learned(),
            data.documents,
            threshold=self.threshold,
            rounds=self.rounds,
            seed=self.seed,
        )
        return replace(start, documents=CodeBank(quantiser, codes))
