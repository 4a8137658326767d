"""Artefacts inside other programs: a module for each, and only there its package is imported."""
