"""The trained family at 16 bytes: MoPQ, RepCONC, DPQ, Poeem and JPQ against each other, OPQ and Distill-VQ.

Labels where a recipe reads any; Distill-VQ reads none, so MoPQ and JPQ are also run on the teacher's first document.
With 200 lists of which a tenth are searched: Contrast-VQ against IVF-OPQ and Distill-VQ.

About an hour on 2 cores; resumes.    python experiments/trained_family.py
"""

from ablation import ablate, with_rates_times

from limbeck.recipes.anisotropic import ScaNNVQ
from limbeck.recipes.compress import OPQ
from limbeck.recipes.contrastive_vq import DPQ, ContrastVQ, MoPQ, Poeem, RepCONC
from limbeck.recipes.distill_vq import DistillVQ
from limbeck.recipes.jpq import JPQ

LISTS = 200
VARIANTS = {
    "OPQ": OPQ(),
    "OPQ + ScaNN": ScaNNVQ(),  # starts from the same OPQ as all others
    "JPQ": JPQ(),
    "MoPQ": MoPQ(),
    "RepCONC": RepCONC(),
    "RepCONC, unconstrained": RepCONC(iterations=0),
    "DPQ": DPQ(),
    "Poeem": Poeem(),
    "Distill-VQ": DistillVQ(),
    "JPQ, no labels": JPQ(positives="teacher"),
    "MoPQ, no labels": MoPQ(positives="teacher"),
    "IVF-OPQ": OPQ(lists=LISTS),
    "Contrast-VQ": ContrastVQ(lists=LISTS),
    "IVF Distill-VQ": DistillVQ(lists=LISTS),
}
CLAIMS = [
    *[(name, "OPQ") for name in ("OPQ + ScaNN", "JPQ", "MoPQ", "RepCONC", "DPQ", "Poeem", "Distill-VQ")],
    *[("JPQ", name) for name in ("DPQ", "Poeem")],
    ("MoPQ", "DPQ"),
    ("MoPQ", "JPQ"),
    ("RepCONC", "JPQ"),
    ("RepCONC", "RepCONC, unconstrained"),
    *[("Distill-VQ", name) for name in ("JPQ", "MoPQ", "RepCONC", "JPQ, no labels", "MoPQ, no labels")],
    ("Contrast-VQ", "IVF-OPQ"),
    ("IVF Distill-VQ", "Contrast-VQ"),
]

if __name__ == "__main__":
    ablate("trained_family", VARIANTS, CLAIMS, rates=(0.3, 1.0), rate_of=with_rates_times)
