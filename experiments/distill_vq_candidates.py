"""Distill-VQ, table 3: which candidates. All of the top 200 against a sample of it, with and without in-batch; labels.

About 12 minutes on 2 cores; resumes.    python experiments/distill_vq_candidates.py
"""

from ablation import ablate

from limbeck.recipes.distill_vq import DistillVQ

BASE = DistillVQ(made_queries=0.0, batch_size=64, epochs=2, least_steps=0)
FIELDS = {
    "IB + Top-200": {"sample": None},
    "IB + Top-200, 32 drawn": {"sample": 32},
    "IB + Top-200, 2 drawn": {"sample": 2},
    "IB + Top-200, 1 drawn": {"sample": 1},
    "Top-200, own list": {"sample": None, "in_batch": False},
    "IB + Top-10": {"sample": None, "top_k": 10},
}

if __name__ == "__main__":
    from dataclasses import replace

    ablate(
        "distill_vq_candidates",
        {name: replace(BASE, **fields) for name, fields in FIELDS.items()},
        [
            ("IB + Top-200", "IB + Top-200, 1 drawn"),
            ("IB + Top-200, 32 drawn", "IB + Top-200, 1 drawn"),
            ("IB + Top-200", "IB + Top-200, 32 drawn"),
            ("IB + Top-200", "Top-200, own list"),
            ("IB + Top-200", "IB + Top-10"),
        ],
        rates=(BASE.codeword_rate,),
    )
