"""Vectors to codes and back: product codes with or without rotation and coarse lists, ready to be taught."""

from limbeck.quantisers.coarse import default_lists
from limbeck.quantisers.packing import pack, unpack
from limbeck.quantisers.product import ProductQuantiser

__all__ = ["ProductQuantiser", "default_lists", "pack", "unpack"]
