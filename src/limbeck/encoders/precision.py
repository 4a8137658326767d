"""What the processor computes fast."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

from limbeck.errors import ConfigError

Precision: TypeAlias = Literal["auto", "float32", "bfloat16"]
Chosen: TypeAlias = Literal["float32", "bfloat16"]
CPU_INFO = Path("/proc/cpuinfo")
_NATIVE = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # the last one is Arm's


@cache
def has_native_bfloat16() -> bool:
    """The processor multiplies bfloat16 itself. Without that, bfloat16 is emulated and slower than float32.

    Reads /proc/cpuinfo; False where there is none (macOS, Windows), since float32 is always right.
    """
    try:
        lines = CPU_INFO.read_text(errors="replace").splitlines()
    except OSError:
        return False
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return any(not _NATIVE.isdisjoint(of_one_core) for of_one_core in flags)


def chosen(precision: Precision, *, device: str = "cpu") -> Chosen:
    """What is computed in: "auto" = bfloat16 where the device multiplies it itself; ConfigError for another name."""
    if precision not in ("auto", "float32", "bfloat16"):
        raise ConfigError(f"`precision` must be 'auto', 'float32' or 'bfloat16', found {precision!r}.")
    if precision == "auto":
        return "bfloat16" if _has_fast_bfloat16(device) else "float32"
    return precision


@contextmanager
def multiplying_in(precision: Chosen, *, device: str = "cpu") -> Iterator[None]:
    """Matrices are multiplied in it, parameters and sums stay in float32.

    cost  of a training step in bfloat16 on a CPU: 3/5 of float32's. Attention stays in float32 there: the gradient of
          the fused one takes nine times as long in bfloat16
    """
    import torch

    if precision == "float32":
        yield
        return
    with (
        torch.autocast(device, torch.bfloat16),
        _attention_in_float32() if device == "cpu" else nullcontext(),
    ):
        yield


def _attention_in_float32() -> AbstractContextManager[None]:
    import torch
    from torch.overrides import TorchFunctionMode

    attention = torch.nn.functional.scaled_dot_product_attention

    def widened(value: Any) -> Any:
        return value.float() if torch.is_tensor(value) and value.is_floating_point() else value

    class InFloat32(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if function is not attention:
                return function(*args, **(kwargs or {}))
            with torch.autocast("cpu", enabled=False):
                options = {name: widened(value) for name, value in (kwargs or {}).items()}
                return attention(*(widened(value) for value in args), **options)

    return InFloat32()


def _has_fast_bfloat16(device: str) -> bool:
    import torch

    if device == "cpu":
        return has_native_bfloat16() and bool(torch.backends.mkldnn.is_available())  # type: ignore[no-untyped-call]
    return device == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
