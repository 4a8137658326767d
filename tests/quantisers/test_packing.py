import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limbeck.errors import ShapeError
from limbeck.quantisers import pack, unpack


@given(rows=st.integers(0, 9), pairs=st.integers(1, 8), bits=st.sampled_from([4, 8]), seed=st.integers(0, 99))
def test_unpack_is_the_inverse_of_pack(rows, pairs, bits, seed):
    numbers = np.random.default_rng(seed).integers(2**bits, size=(rows, 2 * pairs)).astype(np.uint8)
    packed = pack(numbers, bits=bits)
    assert packed.shape == (rows, 2 * pairs * bits // 8)
    assert np.array_equal(unpack(packed, bits=bits), numbers)


def test_4_bit_codes_are_packed_as_faiss_packs_them():
    numbers = np.arange(16, dtype=np.uint8).reshape(2, 8)
    codewords = np.arange(16, dtype=np.float32)
    coder = faiss.ProductQuantizer(8, 8, 4)
    faiss.copy_array_to_vector(np.tile(codewords, 8), coder.centroids)
    assert np.array_equal(coder.compute_codes(numbers.astype(np.float32)), pack(numbers, bits=4))


def test_the_first_4_bit_code_is_in_the_low_half():
    assert pack(np.array([[1, 2]], np.uint8), bits=4).tolist() == [[0x21]]


def test_an_odd_number_of_4_bit_codes_is_refused():
    with pytest.raises(ShapeError, match="even"):
        pack(np.zeros((1, 3), np.uint8), bits=4)
