import pytest
import torch

from limbeck.encoders import precision
from limbeck.errors import ConfigError

X86 = "processor\t: 0\nflags\t\t: fpu avx512f {} sse\n\nprocessor\t: 1\n"
ARM = "Features\t: fp asimd {} sve\n"


@pytest.fixture
def cpu(tmp_path, monkeypatch):
    path = tmp_path / "cpuinfo"
    monkeypatch.setattr(precision, "CPU_INFO", path)
    precision.has_native_bfloat16.cache_clear()
    yield path.write_text
    precision.has_native_bfloat16.cache_clear()


@pytest.mark.parametrize("text", [X86.format("avx512_bf16"), X86.format("amx_bf16"), ARM.format("bf16")])
def test_processors_that_multiply_bfloat16_are_known(cpu, text):
    cpu(text)
    assert precision.has_native_bfloat16()


@pytest.mark.parametrize("text", [X86.format("avx512_vnni"), ARM.format("i8mm"), "", "model name: bf16\n"])
def test_other_processors_stay_with_float32(cpu, text):
    cpu(text)
    assert not precision.has_native_bfloat16()


def test_without_cpuinfo_float32_it_is(cpu):
    assert not precision.has_native_bfloat16()


@pytest.mark.parametrize(("native", "taken"), [(True, "bfloat16"), (False, "float32")])
def test_auto_takes_what_the_processor_multiplies_and_a_name_stays(monkeypatch, native, taken):
    monkeypatch.setattr(precision, "has_native_bfloat16", lambda: native)
    assert precision.chosen("auto") == taken
    assert precision.chosen("float32") == "float32"
    assert precision.chosen("bfloat16") == "bfloat16"


def test_other_precisions_are_refused_by_name():
    with pytest.raises(ConfigError, match="found 'float16'"):
        precision.chosen("float16")


def test_in_bfloat16_products_are_rounded_and_attention_is_not():
    left, right = torch.randn(8, 16), torch.randn(16, 8)
    queries = torch.randn(1, 2, 5, 8)
    attention = torch.nn.functional.scaled_dot_product_attention
    with precision.multiplying_in("bfloat16"):
        rounded, attended = left @ right, attention(queries.bfloat16(), queries, value=queries)
    assert rounded.dtype == torch.bfloat16
    wide = queries.bfloat16().float()
    torch.testing.assert_close(attended, attention(wide, queries, queries), atol=0, rtol=0)
    with precision.multiplying_in("float32"):
        assert (left @ right).dtype == torch.float32
    assert (left @ right).dtype == torch.float32
