"""Vector quantisation trained on relevant documents: MoPQ, Contrast-VQ, DPQ, Poeem and RepCONC.

They share the contrastive loss over the batch's documents and choose codes anew in each step; they differ in what the
gradient does at that choice (`losses.selection`), and in what stands beside the loss. Documents' vectors are frozen, so
what reaches them is lost: where a paper passes the gradient to the encoder alone, codewords learn from reconstruction.
All start from OPQ, and all documents are encoded again at the end.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from limbeck.assignments import Assigned, Keyed, TiedLists, balanced, keyed, soft, through_vectors
from limbeck.data.vector_data import VectorData
from limbeck.documents import CodeBank
from limbeck.losses.rank import nce, nce_hardest
from limbeck.losses.terms import rank
from limbeck.recipes.chosen_anew import BOTH, Parts, relative_error, trained
from limbeck.train.history import History
from limbeck.train.system import System


@dataclass(frozen=True, kw_only=True)
class MoPQ:
    """Contrastive loss on quantised documents, with a soft-max that goes straight through the choice of codewords.

    Trains: codewords, and a linear map of the query.   Frozen: the document encoder, the rotation.
    Claim:  better retrieval than codes trained for reconstruction, although their reconstruction is worse.
    Source: Xiao et al., EMNLP 2021; temperature 1, Adam 1e-3, batches of 500, in-batch negatives. Differs: the
            temperatures of loss and choice are drawn from the data; one machine, so no cross-device negatives.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    positives: Literal["auto", "labels", "teacher"] = "auto"  # auto: labels, else the teacher's first
    temperature: float | None = None  # of the loss; None = the spread of the teacher's scores; published: 1
    choice_temperature: float | None = None  # of the choice; None = mean error of a part; published: 1
    hard_negatives: int = 0  # for each query, drawn from the top 200 of the index at the start
    made_queries: float = 0.0  # share of the training queries made from documents
    learn_query_map: bool = True
    codeword_rate: float = 0.01  # Adam's step relative to the root mean square of the codewords
    query_rate: float = 0.0001
    epochs: int = 3  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 256
    patience: int = 2
    seed: int = 0

    def parts(self, start: CodeBank, data: VectorData, *, temperature: float, scale: float) -> Parts:
        """Soft choice, contrastive loss."""
        return Parts(
            documents=Assigned(
                start.learned(),
                start.stored(),
                data.documents,
                choose=soft(temperature=self.choice_temperature or scale),
            ),
            objective={"docs": (1.0, rank(nce, temperature=temperature))},
            rates={"codewords": self.codeword_rate},
            hard_negatives=self.hard_negatives,
        )

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `folder` keeps checkpoints; a stopped run continues from them."""
        return trained(self, data, start, folder=folder, on_history=on_history, progress=progress)


@dataclass(frozen=True, kw_only=True)
class ContrastVQ:
    """MoPQ for coarse lists and codes together: the contrastive loss on the lists' centroids and on the codes.

    Trains: codewords and base centroids, which also choose the lists; a linear map of the query.
    Frozen: the document encoder, the rotation, list assignment.
    Claim:  the strongest baseline of Distill-VQ: above JPQ, RepCONC and Poeem over the same lists.
    Source: Xiao et al., SIGIR 2022, table 2 (MoPQ); staoxiao/LibVQ loss_method='contras': cross-entropy on exact,
            coarse and quantised scores, one hard negative a query. Differs as MoPQ does.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    lists: int = 200  # coarse lists; about the square root of the number of documents
    positives: Literal["auto", "labels", "teacher"] = "auto"  # auto: labels, else the teacher's first
    temperature: float | None = None  # of the loss; None = the spread of the teacher's scores; published: 1
    choice_temperature: float | None = None  # of the choice; None = mean error of a part; published: 1
    hard_negatives: int = 1  # for each query, drawn from the top 200 of the index at the start
    made_queries: float = 0.0  # share of the training queries made from documents
    learn_query_map: bool = True
    codeword_rate: float = 0.01  # Adam's step relative to the root mean square of the codewords
    base_rate: float = 0.01  # likewise
    query_rate: float = 0.0001
    epochs: int = 3  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 256
    patience: int = 2
    seed: int = 0

    def parts(self, start: CodeBank, data: VectorData, *, temperature: float, scale: float) -> Parts:
        """Soft choice over residuals; the same loss on each head."""
        loss = rank(nce, temperature=temperature)
        heads = {"docs": loss, "coarse": rank(nce, scores="coarse", temperature=temperature)}
        if self.learn_query_map:  # without it the exact scores hold nothing to train
            heads["exact"] = rank(nce, scores="exact", temperature=temperature)
        return Parts(
            documents=TiedLists(
                start.learned(),
                start.stored(),
                data.documents,
                choose=soft(temperature=self.choice_temperature or scale),
                beside=("exact",) if self.learn_query_map else (),
            ),
            objective={name: (1.0, head) for name, head in heads.items()},
            rates={"codewords": self.codeword_rate, "base": self.base_rate},
            hard_negatives=self.hard_negatives,
        )

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `folder` keeps checkpoints; a stopped run continues from them."""
        return trained(
            self, data, start, lists=self.lists, folder=folder, on_history=on_history, progress=progress
        )


@dataclass(frozen=True, kw_only=True)
class DPQ:
    """Differentiable product quantisation: keys choose, values are chosen ("sx"), or one set does both ("vq").

    Trains: keys and values, or codewords; a linear map of the query.
    Frozen: the document encoder, the rotation.
    Claim:  below JPQ at equal bytes; ranking-trained codewords above reconstruction-trained ones.
    Source: Chen, Li and Sun, ICML 2020; chentingpc/dpq_embedding_compression kd_quantizer.py (tau 1, alpha 1, beta 0);
            the form for retrieval as in MoPQ's baselines: contrastive loss + a weight times reconstruction. Differs:
            starts from OPQ instead of at random; keys respond by distance, so no batch normalisation.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    form: Literal["sx", "vq"] = "sx"  # vq: codewords learn from reconstruction alone
    reconstruction_weight: float = 0.1  # of the error relative to the start's; tried in papers: 1 to 1e-4
    positives: Literal["auto", "labels", "teacher"] = "auto"  # auto: labels, else the teacher's first
    temperature: float | None = None  # of the loss; None = the spread of the teacher's scores; published: 1
    choice_temperature: float | None = None  # tau; None = mean squared error of a part; published: 1
    made_queries: float = 0.0  # share of the training queries made from documents
    learn_query_map: bool = True
    codeword_rate: float = 0.003  # Adam's step relative to the codewords' root mean square; keys too
    query_rate: float = 0.0001
    epochs: int = 3  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 256
    patience: int = 2
    seed: int = 0

    def parts(self, start: CodeBank, data: VectorData, *, temperature: float, scale: float) -> Parts:
        """Keyed or vector-wise choice, contrastive loss and reconstruction."""
        given: Any = (start.learned(), start.stored(), data.documents)
        tau = self.choice_temperature or scale
        return Parts(
            documents=Keyed(*given, choose=keyed(temperature=tau), beside=BOTH)
            if self.form == "sx"
            else Assigned(*given, choose=through_vectors, beside=BOTH),
            objective={
                "docs": (1.0, rank(nce, temperature=temperature)),
                "reconstruction": (self.reconstruction_weight, relative_error(start, scale)),
            },
            rates={"codewords": self.codeword_rate, "keys": self.codeword_rate},
        )

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `folder` keeps checkpoints; a stopped run continues from them."""
        return trained(self, data, start, folder=folder, on_history=on_history, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Poeem:
    """The query learns to rank quantised documents, while codewords learn to reconstruct them.

    Trains: codewords (from reconstruction alone) and a linear map of the query (from the contrastive loss alone).
    Frozen: the document encoder, the rotation (the paper turns it by Givens rotations).
    Claim:  about IVF-OPQ with strong encoders; below contrastive and distilled codes.
    Source: Zhang et al., SIGIR 2021; jdcomsearch/poeem embedding.py: straight through the vector, sum of squared
            errors, cosine times 30. Differs: the temperature is drawn from the data (1/30 is reachable), starts at OPQ.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    positives: Literal["auto", "labels", "teacher"] = "auto"  # auto: labels, else the teacher's first
    temperature: float | None = None  # None = the spread of the teacher's scores; published: 1/30
    reconstruction_weight: float = 1.0  # of the sum over documents, relative to the start's error of one
    made_queries: float = 0.0  # share of the training queries made from documents
    learn_query_map: bool = True
    codeword_rate: float = 0.003  # Adam's step relative to the root mean square of the codewords
    query_rate: float = 0.0001
    epochs: int = 3  # passes over the training queries, or more where these are few:
    least_steps: int = 1000  # small collections need as many updates as large ones
    batch_size: int = 128
    patience: int = 2
    seed: int = 0

    def parts(self, start: CodeBank, data: VectorData, *, temperature: float, scale: float) -> Parts:
        """The gradient goes straight to the vector, which is frozen: codewords see reconstruction only."""
        return Parts(
            documents=Assigned(
                start.learned(), start.stored(), data.documents, choose=through_vectors, beside=BOTH
            ),
            objective={
                "docs": (1.0, rank(nce, temperature=temperature)),
                "reconstruction": (self.reconstruction_weight, relative_error(start, scale, pooled="sum")),
            },
            rates={"codewords": self.codeword_rate},
        )

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `folder` keeps checkpoints; a stopped run continues from them."""
        return trained(self, data, start, folder=folder, on_history=on_history, progress=progress)


@dataclass(frozen=True, kw_only=True)
class RepCONC:
    """Contrastive codewords under a constraint: in training each codeword of a part gets as many documents.

    Trains: codewords, and a linear map of the query.   Frozen: the document encoder, the rotation.
    Claim:  above JPQ where the document encoder learns too; with frozen documents it is not known.
    Source: Zhan et al., WSDM 2022; jingtaozhan/RepCONC: Sinkhorn 0.003 and 100 iterations, 11 hard negatives of the
            top 200, hardest 11 kept, reconstruction weight 1e-4, batches of 4096, centroids 5e-4. The second stage is
            `JPQ(...).run(data, start=repconc_system)`. Differs: temperature from the data, relative rates and weight.
    """

    code_bytes: int = 16
    bits: Literal[4, 8] = 8
    epsilon: float = 0.003  # of Sinkhorn's plan, for distances in [-1, 1]
    iterations: int = 100  # 0 = the nearest codeword, without constraint
    reconstruction_weight: float = 0.1  # of the error over the start's; published: 1e-4, absolute
    hard_negatives: int = 11  # for each query, drawn from the top 200 of the index at the start
    hardest: int = 11  # irrelevant documents that a query's loss keeps
    positives: Literal["auto", "labels", "teacher"] = "auto"  # auto: labels, else the teacher's first
    temperature: float | None = None  # of the loss; None = the spread of the teacher's scores; published: 1
    made_queries: float = 0.0  # share of the training queries made from documents
    learn_query_map: bool = True
    codeword_rate: float = 0.01  # Adam's step relative to the root mean square of the codewords
    query_rate: float = 0.0003
    epochs: int = 1  # passes over the training queries, or more where these are few:
    least_steps: int = 100  # each takes as long as twenty of the others': Sinkhorn, and many documents
    batch_size: int = 128
    patience: int = 2
    seed: int = 0

    def parts(self, start: CodeBank, data: VectorData, *, temperature: float, scale: float) -> Parts:
        """Balanced choice, contrastive loss over the hardest and reconstruction."""
        loss = partial(nce_hardest, count=self.hardest)
        return Parts(
            documents=Assigned(
                start.learned(),
                start.stored(),
                data.documents,
                choose=balanced(epsilon=self.epsilon, iterations=self.iterations),
                beside=("exact",),
            ),
            objective={
                "docs": (1.0, rank(loss, temperature=temperature)),
                "reconstruction": (self.reconstruction_weight, relative_error(start, scale, view="docs")),
            },
            rates={"codewords": self.codeword_rate},
            hard_negatives=self.hard_negatives,
        )

    def run(
        self,
        data: VectorData,
        start: System | None = None,
        *,
        folder: Path | None = None,
        on_history: Callable[[History], None] | None = None,
        progress: bool = True,
    ) -> System:
        """The fitted system. `folder` keeps checkpoints; a stopped run continues from them."""
        return trained(self, data, start, folder=folder, on_history=on_history, progress=progress)
