"""Search over rows: exact, and over codes. Immutable once built."""

from limbeck.index.compressed import CodeIndex
from limbeck.index.flat import Flat

__all__ = ["CodeIndex", "Flat"]
