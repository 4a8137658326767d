import pytest

from limbeck.encoders import precision

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
