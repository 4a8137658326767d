"""Text as tokens: what lexical search reads instead of vectors."""

from limbeck.text.analysers import ANALYSERS, Analyser, analyser_for, open_analyser

__all__ = ["ANALYSERS", "Analyser", "analyser_for", "open_analyser"]
