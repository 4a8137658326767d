"""Frozen codes against codes chosen anew in every step (straight through) and at the end.

About 20 minutes on 2 cores, nearly all of it re-encoding; resumes.    python experiments/distill_vq_codes.py
"""

from dataclasses import replace

from ablation import ablate

from limbeck.recipes.distill_vq import DistillVQ

BASE = DistillVQ(made_queries=0.0, sample=8)

if __name__ == "__main__":
    ablate(
        "distill_vq_codes",
        {"frozen": BASE, "re-encoded": replace(BASE, codes="re-encoded")},
        [("frozen", "re-encoded")],
    )
