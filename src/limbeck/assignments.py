"""Documents whose codes are chosen anew in each step, under one of the family's straight-through rules.

    Assigned(quantiser, codes, vectors, choose=soft())                            MoPQ, Contrast-VQ
    Assigned(quantiser, codes, vectors, choose=balanced())                        RepCONC
    Assigned(quantiser, codes, vectors, choose=through_vectors, beside=BOTH)      Poeem, DPQ-VQ
    Keyed(quantiser, codes, vectors, choose=keyed())                              DPQ-SX

Letters: N documents, C candidates, M code parts, K codewords a part, w their width, d dimension.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from limbeck.documents import CodeBank, encode_in_lists
from limbeck.errors import ConfigError
from limbeck.losses import selection
from limbeck.quantisers import balanced as balance
from limbeck.types import Codes, Floats, Reps, Sums

if TYPE_CHECKING:
    from torch import Tensor
    from torch.nn import Parameter

    from limbeck.quantisers.product import ProductQuantiser

View: TypeAlias = Literal["exact", "decoded"]
Choose: TypeAlias = "Callable[[Tensor, Tensor, Tensor], Tensor]"
# sub-vectors [..., M, w], codewords that choose and codewords that score [M, K, w] -> [..., M, w]


class Assigned(CodeBank):
    """Codes chosen anew in each step with the current codewords; the vectors themselves stay as they are.

    Views: "docs", base + what `choose` gives; "exact", the vectors; "decoded", base + the nearest codewords with
    gradient, whatever `choose` lets through; with lists also "coarse" and "lists", as in `CodeBank`. The list of a
    document stays. `stored()` encodes all documents again with the learned codewords, which then assign as well.

    beside  which of "exact" and "decoded" to serve: each costs C·d floats, and its scores B·C·d multiply-adds
    cost    of a call: C·d² to rotate, C·K·d multiply-adds and C·M·K floats to choose
    """

    def __init__(
        self,
        quantiser: ProductQuantiser,
        codes: Codes,
        vectors: Floats,
        *,
        choose: Choose,
        beside: tuple[View, ...] = (),
    ) -> None:
        super().__init__(quantiser, codes)
        if codes.lists is not None and not quantiser.by_residual:
            raise ConfigError("choosing codes anew with lists needs `by_residual=True`; found False.")
        self.vectors = vectors
        self.choose = choose
        self.beside = beside

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]:
        target = self._rotated(ids)
        coarse = self._coarse(ids)
        rest = target if coarse is None else target - coarse
        parts = rest.reshape(*ids.shape, len(self.codewords), -1)  # [..., M, w]
        keys = self.keys()
        views = {"docs": self.choose(parts, keys, self.codewords)}
        if "decoded" in self.beside:
            numbers = selection.nearest_numbers(parts, keys)
            views["decoded"] = selection.gathered(self.codewords, numbers)
        served = {name: _with_base(found.flatten(start_dim=-2), coarse) for name, found in views.items()}
        if "exact" in self.beside:
            served["exact"] = target
        return {
            **{name: Reps.single(found) for name, found in served.items()},
            **self._list_views(coarse),
        }

    def keys(self) -> Tensor:
        """The codewords that choose: here those that score."""
        return self.codewords

    def _rotated(self, ids: Tensor) -> Tensor:
        import torch

        found = np.asarray(self.vectors[ids.reshape(-1).numpy()], dtype=np.float32)
        return torch.from_numpy(self.quantiser.rotate_vectors(found)).reshape(*ids.shape, -1)

    def learned(self) -> ProductQuantiser:
        """The quantiser with the learned codewords; documents added later are coded with them too."""
        quantiser = super().learned()
        chosen = {"assign.codewords": self.keys().detach().numpy().copy()}
        if quantiser.base is not None:
            chosen["assign.base"] = quantiser.base
        return quantiser.with_parts(chosen)

    def stored(self) -> Codes:
        return encode_in_lists(self.learned(), self.vectors, self.codes.lists)


class TiedLists(Assigned):
    """`Assigned` whose lists are chosen by the base centroids themselves, as in an ordinary IVF index."""

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {name: group for name, group in super().groups().items() if name != "routing"}

    def learned(self) -> ProductQuantiser:
        quantiser = super().learned()
        return quantiser if quantiser.base is None else quantiser.with_parts({"routing": quantiser.base})


class Keyed(Assigned):
    """`Assigned` with codewords that choose (keys) apart from those that score (values), both learned."""

    def __init__(
        self,
        quantiser: ProductQuantiser,
        codes: Codes,
        vectors: Floats,
        *,
        choose: Choose,
        beside: tuple[View, ...] = (),
    ) -> None:
        import torch

        super().__init__(quantiser, codes, vectors, choose=choose, beside=beside)
        self._keys = torch.nn.Parameter(torch.tensor(quantiser.parts()["assign.codewords"]))

    def keys(self) -> Tensor:
        return self._keys

    def groups(self) -> Mapping[str, list[Parameter]]:
        return {**super().groups(), "keys": [self._keys]}


class Beside(CodeBank):
    """Frozen codes, with the vectors beside them as the view "exact": what a reconstruction loss reads."""

    def __init__(self, quantiser: ProductQuantiser, codes: Codes, vectors: Floats) -> None:
        super().__init__(quantiser, codes)
        self.vectors = vectors

    def __call__(self, ids: Tensor) -> Mapping[str, Reps | Sums]:
        import torch

        found = np.asarray(self.vectors[ids.reshape(-1).numpy()], dtype=np.float32)
        exact = torch.from_numpy(self.quantiser.rotate_vectors(found)).reshape(*ids.shape, -1)
        return {**super().__call__(ids), "exact": Reps.single(exact)}


def soft(*, temperature: float) -> Choose:
    """MoPQ's choice; see `selection.soft_choice`."""
    return lambda parts, keys, codewords: selection.soft_choice(parts, codewords, temperature=temperature)


def keyed(*, temperature: float) -> Choose:
    """DPQ-SX's choice; see `selection.keyed_choice`."""
    return lambda parts, keys, values: selection.keyed_choice(parts, keys, values, temperature=temperature)


def through_vectors(parts: Tensor, keys: Tensor, codewords: Tensor) -> Tensor:
    """The choice of Poeem and DPQ-VQ: the nearest codeword, which learns nothing from it."""
    return selection.pass_to_vector(parts, codewords, selection.nearest_numbers(parts, keys))


def balanced(
    *, epsilon: float = balance.PUBLISHED_EPSILON, iterations: int = balance.PUBLISHED_ITERATIONS
) -> Choose:
    """RepCONC's choice: among the documents of one step, each codeword of a part is chosen about equally often.

    Without iterations the nearest codeword. Needs several documents in a step for each codeword.
    """

    def choose(parts: Tensor, keys: Tensor, codewords: Tensor) -> Tensor:
        if iterations == 0:
            return selection.pass_to_both(parts, codewords, selection.nearest_numbers(parts, keys))
        return selection.pass_to_both(parts, codewords, _balanced_numbers(parts, keys, epsilon, iterations))

    return choose


def _balanced_numbers(parts: Tensor, keys: Tensor, epsilon: float, iterations: int) -> Tensor:
    import torch

    flat = parts.detach().flatten(start_dim=-2).flatten(end_dim=-2)
    distances = balance.squared_distances(flat.numpy(), keys.detach().numpy())
    numbers = balance.balanced_numbers(distances, epsilon=epsilon, iterations=iterations)  # [M, C]
    return torch.from_numpy(numbers.T.copy()).reshape(parts.shape[:-1])


def typical_distance(quantiser: ProductQuantiser, vectors: Floats, *, seed: int, sample: int = 4096) -> float:
    """The mean squared distance of a sub-vector to its codeword: the scale on which a soft choice says something."""
    rows = np.sort(np.random.default_rng(seed).permutation(len(vectors))[:sample])
    some = np.asarray(vectors[rows], dtype=np.float32)
    error = some - quantiser.decode(quantiser.encode(some))
    distance = float(np.square(error).sum(axis=1).mean()) / quantiser.sub_vectors
    return max(distance, 1e-30)


def _with_base(found: Tensor, coarse: Tensor | None) -> Tensor:
    return found if coarse is None else coarse + found
