"""Recipes: one paper or close family each, as a frozen dataclass of its constants that composes and fits a `System`."""
