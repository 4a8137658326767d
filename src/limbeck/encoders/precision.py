"""What the processor computes fast."""

from __future__ import annotations

from functools import cache
from pathlib import Path

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
