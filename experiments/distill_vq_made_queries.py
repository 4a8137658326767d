"""Training queries made from documents, so that documents nobody asks for do not lose: which share pays?

About 8 minutes on 2 cores; resumes.    python experiments/distill_vq_made_queries.py
"""

from dataclasses import replace

from ablation import ablate

from limbeck.recipes.distill_vq import DistillVQ

BASE = DistillVQ()
SHARES = (0.0, 0.3, 0.5)

if __name__ == "__main__":
    ablate(
        "distill_vq_made_queries",
        {f"share {share}": replace(BASE, made_queries=share) for share in SHARES},
        [(f"share {share}", "share 0.0") for share in SHARES[1:]],
        rates=(BASE.codeword_rate,),
    )
