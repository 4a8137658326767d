"""Training: one composition (`System`), one loop (`fit`), checkpoints without pickle."""
