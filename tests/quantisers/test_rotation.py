import numpy as np
import pytest

from limbeck.quantisers import ProductQuantiser
from limbeck.quantisers.rotation import learn_rotation, principal_rotation, procrustes, usual_rounds
from limbeck.testing import clustered


@pytest.fixture(scope="module")
def uneven():
    """Vectors whose variance sits in the first dimensions, then mixed within pairs of dimensions."""
    return clustered(900, 16, seed=4) * np.geomspace(4, 0.1, 16).astype(np.float32)


@pytest.mark.parametrize("bits", [4, 8])
def test_distortion_never_rises_from_round_to_round(uneven, bits):
    learned = learn_rotation(uneven, 4, bits=bits, seed=0, rounds=25)
    falls = np.diff(learned.distortions)
    assert (falls <= 1e-6 * learned.distortions[0]).all()  # float32 sums of 900 x 16 squares
    assert learned.distortions[-1] < 0.98 * learned.distortions[0]


def test_the_rotation_is_orthogonal(uneven):
    matrix = learn_rotation(uneven, 4, bits=4, seed=0, rounds=5).matrix.astype(np.float64)
    assert np.allclose(matrix @ matrix.T, np.eye(16), atol=1e-5)  # float32, d=16


def test_rotated_codes_lose_less_than_plain_ones(uneven):
    errors = []
    for rotate in (False, True):
        quantiser = ProductQuantiser(code_bytes=2, bits=4, rotate=rotate).fit(uneven, seed=0)
        errors.append(np.square(uneven - quantiser.decode(quantiser.encode(uneven))).sum())
    assert errors[1] < 0.8 * errors[0]


def test_the_same_seed_gives_the_same_rotation(uneven):
    first, second, other = (
        learn_rotation(uneven, 4, bits=4, seed=seed, rounds=3).matrix for seed in (1, 1, 2)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


def test_only_a_sample_is_looked_at(uneven):
    learned = learn_rotation(uneven, 4, bits=4, seed=0, rounds=2, sample=64)
    assert learned.matrix.shape == (16, 16)


def test_principal_axes_are_dealt_out_so_that_products_of_variance_are_near(uneven):
    turned = uneven @ principal_rotation(uneven, 4).T
    logs = np.log(turned.var(axis=0)).reshape(4, 4).sum(axis=1)
    unturned = np.log(uneven.var(axis=0)).reshape(4, 4).sum(axis=1)
    assert np.ptp(logs) < 0.2 * np.ptp(unturned)
    covariance = np.cov(turned.T)
    assert np.allclose(covariance, np.diag(np.diag(covariance)), atol=1e-3)


def test_procrustes_beats_every_random_rotation(uneven):
    rng = np.random.default_rng(0)
    targets = uneven + 0.5 * rng.normal(size=uneven.shape).astype(np.float32)
    best = np.square(uneven @ procrustes(uneven, targets).T - targets).sum()
    for _ in range(20):
        other = np.linalg.qr(rng.normal(size=(16, 16)))[0]
        assert best < np.square(uneven @ other.T - targets).sum()


def test_equal_vectors_are_rotated_without_complaint():
    same = np.ones((300, 8), np.float32)
    quantiser = ProductQuantiser(code_bytes=4, rotate=True).fit(same, seed=0)
    assert np.allclose(quantiser.decode(quantiser.encode(same)), same, atol=1e-5)


@pytest.mark.parametrize(("vectors", "rounds"), [(256, 50), (20_000, 50), (32_768, 32), (10**6, 25)])
def test_small_samples_get_more_rounds(vectors, rounds):
    assert usual_rounds(vectors) == rounds
    assert len(learn_rotation(np.eye(16, dtype=np.float32), 4, bits=4, seed=0).distortions) == 50
