"""Choosing a codeword in each part with a gradient that goes straight through the choice.

The forward value of each function is the hard choice: what the index will decode. They differ in who learns from it:

    function        the vectors get                  the codewords get
    pass_to_vector  the gradient as it is            nothing (DPQ-VQ, Poeem)
    pass_to_both    the gradient as it is            the gradient of those that were chosen (RepCONC)
    soft_choice     the soft-max's                   the soft-max's, all of them (MoPQ, LibVQ)
    keyed_choice    the soft-max's, through the keys values: of those that were chosen; keys: the soft-max's (DPQ-SX)

Letters: M code parts, K codewords a part, w their width. Sub-vectors are [..., M, w], codewords [M, K, w].
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


def closeness(parts: Tensor, codewords: Tensor) -> Tensor:
    """-‖x - c‖² up to +‖x‖², which no soft-max or maximum over codewords sees: [..., M, K]; K·M·w multiply-adds."""
    import torch

    products = torch.einsum("...mw,mkw->...mk", parts, codewords)
    return 2 * products - codewords.square().sum(dim=-1)


def nearest_numbers(parts: Tensor, codewords: Tensor) -> Tensor:
    """The number [..., M] of the nearest codeword in each part, without gradient."""
    import torch

    with torch.no_grad():
        return closeness(parts, codewords).argmax(dim=-1)


def gathered(codewords: Tensor, numbers: Tensor) -> Tensor:
    """The codewords [..., M, w] of numbers [..., M]; gradient reaches those that were chosen."""
    import torch

    return codewords[torch.arange(len(codewords)), numbers]


def pass_to_vector(parts: Tensor, codewords: Tensor, numbers: Tensor) -> Tensor:
    """The nearest codeword as x + sg(c - x): the codewords learn from a reconstruction term alone.

    source  DPQ-VQ (Chen et al., ICML 2020; kd_quantizer.py with tie_in_n_out); Poeem (Zhang et al., 2021)
    """
    return parts + (gathered(codewords, numbers) - parts).detach()


def pass_to_both(parts: Tensor, codewords: Tensor, numbers: Tensor) -> Tensor:
    """The nearest codeword as c + x - sg(x): both get the gradient of the output.

    source  RepCONC (Zhan et al., WSDM 2022; finetune_repconc.py: <g, continuous> + <g, quantised>)
    """
    return gathered(codewords, numbers) + (parts - parts.detach())


def soft_choice(parts: Tensor, codewords: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Forward the nearest codeword, backward as if chosen by the soft-max p over -‖x - c‖² / temperature.

    With g the gradient of the output, c̄ = Σ p c and temperature 1:
    dL/dc_k = hard_k·g + 2 p_k <c_k - c̄, g> (x - c_k) and dL/dx = 2 Cov_p(c) g.
    On unit vectors ‖x - c‖² is small, p at temperature 1 is uniform and the soft part vanishes.

    source  MoPQ (Xiao et al., EMNLP 2021); LibVQ
    """
    import torch

    choice = straight_through(closeness(parts, codewords) / temperature)
    return torch.einsum("...mk,mkw->...mw", choice, codewords)


def keyed_choice(
    parts: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    temperature: float = 1.0,
    response: Literal["euclid", "dot"] = "euclid",
) -> Tensor:
    """Keys choose, values are what is chosen. Forward the value of the best key, backward the keys' soft-max.

    response  "euclid" chooses as an ordinary product quantiser with `keys` does; "dot" is the paper's other one
    source    DPQ-SX (Chen et al., ICML 2020; kd_quantizer.py without tie_in_n_out, without its batch normalisation)
    """
    import torch

    responses = (
        closeness(parts, keys) if response == "euclid" else torch.einsum("...mw,mkw->...mk", parts, keys)
    )
    return torch.einsum("...mk,mkw->...mw", straight_through(responses / temperature), values)


def straight_through(responses: Tensor) -> Tensor:
    """One-hot of the largest response, with the gradient of the soft-max: h = p - sg(p - onehot)."""
    import torch

    soft = torch.softmax(responses, dim=-1)
    hard = torch.zeros_like(soft).scatter_(-1, responses.argmax(dim=-1, keepdim=True), 1.0)
    return hard + (soft - soft.detach())
