"""Distill-VQ, table 3: are labels needed? GT + in-batch + one of the top 200 against the same without labels.

About 4 minutes on 2 cores; resumes.    python experiments/distill_vq_labels.py
"""

from dataclasses import replace

from ablation import ablate

from limbeck.recipes.distill_vq import DistillVQ

ONE = DistillVQ(sample=1, made_queries=0.0)
BASE = DistillVQ(made_queries=0.0)

if __name__ == "__main__":
    ablate(
        "distill_vq_labels",
        {
            "GT + IB + 1 drawn": replace(ONE, use_labels=True),
            "IB + 1 drawn": ONE,
            "GT + IB + 32 drawn": replace(BASE, use_labels=True),
            "IB + 32 drawn": BASE,
        },
        [
            ("IB + 32 drawn", "GT + IB + 1 drawn"),
            ("GT + IB + 1 drawn", "IB + 1 drawn"),
            ("GT + IB + 32 drawn", "IB + 32 drawn"),
        ],
        rates=(BASE.codeword_rate,),
    )
