"""Distill-VQ, table 3: ListNet against MSE, Margin-MSE, RankNet and reverse KL, with the same candidates.

One of the teacher's top 200 for each query, in-batch, no labels: RankNet's pairs forbid larger pools.
About 6 minutes on 2 cores; resumes.    python experiments/distill_vq_losses.py
"""

from ablation import ablate

from limbeck.recipes.distill_vq import DistillVQ

LOSSES = ("listnet", "mse", "margin_mse", "ranknet", "reverse_kl")

if __name__ == "__main__":
    ablate(
        "distill_vq_losses",
        {loss: DistillVQ(loss=loss, sample=1, made_queries=0.0) for loss in LOSSES},
        [("listnet", other) for other in LOSSES[1:]],
    )
