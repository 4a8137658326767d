"""Losses: pure functions on tensors, higher scores = better, one loss for each query, never averaged here."""
