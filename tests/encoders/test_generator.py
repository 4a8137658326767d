"""A generator that has learned to repeat repeats, unless something is masked or disturbed; and always says the same."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BertConfig,
    BertModel,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)

from limbeck.encoders.generator import QueryGenerator
from limbeck.encoders.own_generator import generator_of, used_tokenizer
from limbeck.encoders.static_student import tokenizer_of
from limbeck.errors import ConfigError
from limbeck.recipes import query_generation
from limbeck.recipes.query_generation import QueryGeneration, generator_in
from limbeck.train.fit import fit

VERBS, NOUNS = (
    ("list", "remove", "print", "copy", "find", "show"),
    ("files", "users", "lines", "disks", "ports"),
)
QUERIES = [f"{verb} all {noun}" for verb in VERBS for noun in NOUNS] + ["stop", "restart the device now"]
SMALL = {"d_model": 32, "vocab_size": 40}


def word_tokenizer(marks, *, begins):
    """Words as tokens, with `marks` among them; texts end with </s>, and begin with <s> where `begins`."""
    words = sorted({word for query in QUERIES for word in query.split()})
    names = ["<pad>", "<s>", "</s>", "<unk>", *marks, *words]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    frame = "<s> $A </s>" if begins else "$A </s>"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=frame, special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    known = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    if marks == ("<mask>",):
        return PreTrainedTokenizerFast(tokenizer_object=tokenizer, mask_token="<mask>", **known)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        extra_special_tokens={str(i): mark for i, mark in enumerate(marks)},
        **known,
    )


def bart():
    """BART in everything but its size and its training."""
    torch.manual_seed(0)
    sizes = {
        f"{side}_{name}": n for side in ("encoder", "decoder") for name, n in (("layers", 1), ("ffn_dim", 64))
    }
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
    numbers = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 2}
    config = BartConfig(
        **SMALL, **sizes, **heads, **numbers, forced_eos_token_id=2, max_position_embeddings=80
    )
    return QueryGenerator(BartForConditionalGeneration(config), word_tokenizer(("<mask>",), begins=True))


def t5():
    """T5 likewise."""
    torch.manual_seed(0)
    sizes = {"num_layers": 1, "d_ff": 64, "num_heads": 2, "d_kv": 16}
    config = T5Config(**SMALL, **sizes, pad_token_id=0, eos_token_id=2, decoder_start_token_id=0)
    marks = tuple(f"<extra_id_{place}>" for place in range(3))
    return QueryGenerator(T5ForConditionalGeneration(config), word_tokenizer(marks, begins=False))


@pytest.fixture(scope="module")
def small_teacher(teacher_folder, tmp_path_factory):
    """A BERT of two layers of width 64 with random weights, and MiniLM's tokenizer."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer import modules

    from limbeck.encoders import SentenceEncoder

    folder = tmp_path_factory.mktemp("teacher")
    torch.manual_seed(0)
    sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128}
    BertModel(BertConfig(vocab_size=30522, **sizes)).save_pretrained(folder / "bert")
    AutoTokenizer.from_pretrained(teacher_folder, local_files_only=True).save_pretrained(folder / "bert")
    layers = [modules.Transformer(str(folder / "bert"), max_seq_length=64), modules.Pooling(64, "mean")]
    SentenceTransformer(modules=layers, device="cpu").save_pretrained(str(folder / "model"))
    return SentenceEncoder.open(folder / "model", precision="float32")


@pytest.fixture(scope="module")
def learned(small_teacher):
    """A generator of our own that was trained on QUERIES until it repeats them."""
    recipe = QueryGeneration(
        encoder_layers=(0,), decoder_layers=(1,), masked=0.0, epochs=60, batch_size=16, rate=5e-3
    )
    return generator_in(recipe.run(QUERIES, small_teacher, progress=False))


def draws(count, seed=0):
    return [np.random.default_rng((seed, row)) for row in range(count)]


def test_without_masks_and_noise_a_converged_auto_encoder_reproduces_its_input(learned):
    assert learned.repeated(QUERIES) == 1.0
    assert learned.again(QUERIES, masked=0.0, noise=0.0) == QUERIES


def test_masks_and_noise_make_it_say_something_else(learned):
    assert learned.again(QUERIES, masked=0.5) != QUERIES
    assert learned.again(QUERIES, masked=0.0, noise=2.0) != QUERIES


def test_the_same_seed_says_the_same_and_another_seed_another(learned):
    first = learned.again(QUERIES, masked=0.3, noise=0.5, seed=1)
    assert learned.again(QUERIES, masked=0.3, noise=0.5, seed=1) == first
    assert learned.again(QUERIES, masked=0.3, noise=0.5, seed=2) != first


def test_what_a_query_becomes_does_not_hang_on_the_batch(learned):
    together = learned.again(QUERIES, masked=0.3, noise=0.5, batch_size=32)
    assert learned.again(QUERIES, masked=0.3, noise=0.5, batch_size=3) == together


def test_a_saved_generator_says_the_same(learned, tmp_path):
    learned.save(tmp_path / "generator")
    opened = QueryGenerator.open(tmp_path / "generator")
    assert opened.again(QUERIES, noise=0.3) == learned.again(QUERIES, noise=0.3)
    assert not list((tmp_path / "generator").glob("*.bin"))


@pytest.mark.parametrize("kind", [bart, t5])
def test_bart_and_t5_learn_to_repeat_and_open_from_a_folder(kind, tmp_path):
    recipe = QueryGeneration(masked=0.0, epochs=90, batch_size=16, rate=6e-3)
    generator = generator_in(recipe.run(QUERIES, kind(), progress=False))
    assert generator.repeated(QUERIES) == 1.0
    generator.save(tmp_path / "generator")
    assert QueryGenerator.open(tmp_path / "generator").again(QUERIES, noise=0.3) == generator.again(
        QUERIES, noise=0.3
    )


@pytest.mark.parametrize("kind", [bart, t5])
def test_likelihoods_are_those_of_a_naive_loop(kind):
    generator = kind()
    tokens = generator.tokens(QUERIES[-3:])
    with torch.no_grad():
        states = generator.states(tokens, masked=0.0, noise=0.0, draws=draws(3))
        found = generator.log_likelihoods(states, tokens)
        for row in range(3):
            said = tokens.take(np.array([row])).numbers.tolist()
            logits = generator.model.float()(
                input_ids=torch.tensor([said]),
                decoder_input_ids=torch.tensor([[generator.model.config.decoder_start_token_id, *said[:-1]]]),
            ).logits[0]
            each = [float(logits[place].log_softmax(dim=0)[token]) for place, token in enumerate(said)]
            assert float(found[row]) == pytest.approx(np.mean(each), abs=0.05)  # bfloat16 where there is any


def test_noise_is_gaussian_of_the_width_that_was_asked_for_and_drawn_by_the_seed():
    generator = bart()
    tokens = generator.tokens(QUERIES * 8)
    with torch.no_grad():
        quiet, some, same, twice = (
            generator.states(tokens, masked=0.0, noise=noise, draws=draws(len(tokens))).vectors
            for noise in (0.0, 0.2, 0.2, 0.4)
        )
    torch.testing.assert_close(some, same, rtol=0, atol=0)
    torch.testing.assert_close(
        twice - quiet, 2 * (some - quiet), rtol=1e-4, atol=1e-5
    )  # float32, of sums near 3
    added = (some - quiet)[some != quiet]
    assert float(added.mean()) == pytest.approx(0.0, abs=5 * 0.2 / len(added) ** 0.5)
    assert float(added.std()) == pytest.approx(0.2, rel=0.02)


def test_training_that_was_stopped_goes_on_to_the_same_numbers(tmp_path, monkeypatch):
    recipe = QueryGeneration(epochs=25, batch_size=16)
    whole = recipe.run(QUERIES, bart(), progress=False)
    steps = iter(range(33))  # of 50

    def stopping(system, batch):
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return query_generation.repeating_step(system, batch)

    with monkeypatch.context() as patched:
        patched.setattr(
            query_generation, "fit", lambda *args, step, **more: fit(*args, step=stopping, **more)
        )
        with pytest.raises(KeyboardInterrupt):
            recipe.run(QUERIES, bart(), folder=tmp_path, progress=False)
    assert any(tmp_path.glob("step-*.safetensors"))
    resumed = recipe.run(QUERIES, bart(), folder=tmp_path, progress=False)
    expected = generator_in(whole).model.state_dict()
    for name, found in generator_in(resumed).model.state_dict().items():
        torch.testing.assert_close(found, expected[name], rtol=0, atol=0)


def test_each_noise_makes_one_new_query_of_each(learned):
    recipe = QueryGeneration(noise=(0.0, 0.3, 0.6))
    made = recipe.make(learned, QUERIES, progress=False)
    assert [(query.row, query.noise) for query in made] == [
        (row, noise) for noise in recipe.noise for row in range(len(QUERIES))
    ]
    assert [query.text for query in made[: len(QUERIES)]] == learned.again(QUERIES, seed=recipe.seed)


@settings(deadline=None, max_examples=30)
@given(
    share=st.floats(0, 1),
    seed=st.integers(0, 1000),
    rows=st.lists(st.integers(0, 31), min_size=1, max_size=9),
)
def test_special_tokens_are_never_masked_and_others_stay_as_they_were(share, seed, rows):
    generator = bart()
    tokens = generator.tokens([QUERIES[row] for row in rows])
    masked = generator.masked(tokens, share, draws(len(rows), seed))
    changed = masked.numbers != tokens.numbers
    assert set(masked.numbers[changed]) <= {generator.tokenizer.mask_token_id}
    assert not changed[np.isin(tokens.numbers, generator.tokenizer.all_special_ids)].any()
    np.testing.assert_array_equal(masked.starts, tokens.starts)


def test_the_share_of_masked_tokens_is_the_one_that_was_asked_for():
    generator = bart()
    tokens = generator.tokens(QUERIES * 200)
    words = ~np.isin(tokens.numbers, generator.tokenizer.all_special_ids)
    for share in (0.0, 0.1, 0.5, 1.0):
        masked = generator.masked(tokens, share, draws(len(tokens)))
        found = (masked.numbers != tokens.numbers).sum() / words.sum()
        assert found == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / words.sum()))  # binomial


def test_t5_gets_a_sentinel_of_its_own_for_each_token_of_a_text():
    generator = t5()
    tokens = generator.tokens(["list all files", "restart the device now"])
    masked = generator.masked(tokens, 1.0, draws(2))
    said = [
        generator.tokenizer.convert_ids_to_tokens(part.tolist()) for part in np.split(masked.numbers, [4])
    ]
    sentinels = ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    assert said == [[*sentinels, "</s>"], [*sentinels, "<extra_id_2>", "</s>"]]


def test_the_smaller_tokenizer_cuts_the_queries_as_the_teachers_does(teacher, tldr_queries):
    texts = tldr_queries[5000:7000]
    tokenizer, kept = used_tokenizer(teacher, texts)
    assert len(kept) < 6000
    theirs = tokenizer_of(teacher).encode_batch_fast(texts)
    for ours, whole in zip(tokenizer.backend_tokenizer.encode_batch_fast(texts), theirs, strict=True):
        assert kept[ours.ids].tolist() == whole.ids


def test_our_own_starts_from_the_teachers_numbers(teacher):
    generator = generator_of(teacher, QUERIES, encoder_layers=(0, 5), decoder_layers=(2,))
    whole, model = teacher.model[0].model, generator.model
    for ours, theirs in (
        (model.encoder.encoder.layer[1], whole.encoder.layer[5]),
        (model.decoder.bert.encoder.layer[0].attention, whole.encoder.layer[2].attention),
        (model.decoder.bert.encoder.layer[0].crossattention, whole.encoder.layer[2].attention),
    ):
        for left, right in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(left, right)
    tokens = model.encoder.get_input_embeddings().weight
    assert model.get_output_embeddings().weight is tokens
    assert model.decoder.get_input_embeddings().weight is tokens
    _, kept = used_tokenizer(teacher, QUERIES)
    torch.testing.assert_close(tokens, whole.get_input_embeddings().weight[kept], rtol=0, atol=0)
    assert len(kept) < 500


def test_the_same_seed_draws_the_same_generator_and_nobody_elses_numbers(small_teacher):
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, again, other = (
        generator_of(small_teacher, QUERIES, encoder_layers=(0,), decoder_layers=(1,), seed=seed)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.random.get_rng_state(), before)
    found, expected = first.model.state_dict(), again.model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    name = "decoder.cls.predictions.transform.dense.weight"
    assert not torch.equal(found[name], other.model.state_dict()[name])


def test_what_is_no_generator_is_refused(teacher_folder, tmp_path):
    with pytest.raises(ConfigError, match="no weights in safetensors"):
        QueryGenerator.open(tmp_path)
    with pytest.raises(ConfigError, match="BART or T5"):
        QueryGenerator.open(teacher_folder)
    with pytest.raises(ConfigError, match="in \\[0, 1\\]"):
        bart().again(QUERIES, masked=1.5)
    with pytest.raises(ConfigError, match="0 or more"):
        bart().again(QUERIES, noise=-0.1)
    with pytest.raises(ConfigError, match="before it has learned"):
        QueryGeneration(epochs=0).run(QUERIES, object())
