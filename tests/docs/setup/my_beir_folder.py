"""`my-beir-folder`: 400 functions of the standard library with their docstrings' first sentences as queries."""

from limbeck.data.python_api import harvest

harvest("my-beir-folder", size=400, packages=())
