"""Limbeck distils an embedding model into an index and a query encoder that you can afford to serve."""

from limbeck.version import __version__

__all__ = ["__version__"]
