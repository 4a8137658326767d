"""JPQ's three ablations: without the ranking loss, without training codewords, without end-to-end negatives.

About 40 minutes on 2 cores; resumes.    python experiments/jpq_ablations.py
"""

from dataclasses import replace

from ablation import ablate, with_rates_times

from limbeck.recipes.compress import OPQ
from limbeck.recipes.jpq import JPQ

BASE = JPQ()
VARIANTS = {
    "OPQ": OPQ(),
    "JPQ": BASE,
    "reconstruction loss": replace(BASE, loss="reconstruction"),
    "softmax loss": replace(BASE, loss="softmax"),
    "codewords not trained": replace(BASE, train_codewords=False),
    "static negatives": replace(BASE, negatives="static"),
    "random negatives": replace(BASE, negatives="random"),
    "query map not trained": replace(BASE, learn_query_map=False),
}

if __name__ == "__main__":
    ablate(
        "jpq_ablations",
        VARIANTS,
        [("JPQ", other) for other in VARIANTS if other != "JPQ"],
        rates=(0.3, 1.0),
        rate_of=with_rates_times,
    )
