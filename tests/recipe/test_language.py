"""Recipes over text: what the data hold, what the models compute, what is shown, and that a run goes on exactly."""

from __future__ import annotations

import json
import math
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.recipe.tiny import without_pictures
from thalweg.recipe import RunSummary, load, resume, run
from thalweg.recipe.language import characters, tinyshakespeare, translation
from thalweg.recipe.language.generate import greedy, sample
from thalweg.recipe.models import Decoder, EncoderDecoder

TEXT = "to be or not to be that is the question\n" * 40
ARTICLES = (("ein", "a"), ("kein", "no"), ("mein", "my"), ("dein", "your"))
NOUNS = (("haus", "house"), ("baum", "tree"), ("tisch", "table"), ("hund", "dog"), ("tag", "day"))
PAIRS = [(f"{a} {b}", f"{c} {d}") for a, c in ARTICLES for b, d in NOUNS]


@pytest.fixture
def text(tmp_path: Path) -> str:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return str(path)


@pytest.fixture
def dictionary(tmp_path: Path) -> str:
    path = tmp_path / "de-en"
    path.write_text("".join(f"{german} :: {english}\n" for german, english in PAIRS))
    return str(path)


# -------------------------------------------------------------------------------------------------------- the data


def test_every_character_is_a_target_once(text: str) -> None:
    data = characters(text, context=16)
    known = "".join(data.classes)
    assert known == "".join(sorted(set(TEXT)))
    x, y = data.train
    assert x.shape == y.shape == (int(0.9 * len(TEXT) - 1) // 16, 16)
    read = ["".join(known[i] for i in part.reshape(-1).tolist()) for part in (x, y)]
    assert TEXT.startswith(read[0])
    assert TEXT[1:].startswith(read[1])
    held = "".join(known[i] for i in data.valid[0][0].tolist())
    assert TEXT[int(0.9 * len(TEXT)) :].startswith(held)
    overlapping = characters(text, context=16, stride=4).train[0]
    assert torch.equal(overlapping[1, :-4], overlapping[0, 4:])


def test_a_text_that_is_too_short(text: str) -> None:
    with pytest.raises(ValueError, match=r"has 1600 characters, of which 1440 train, and a window takes 161"):
        characters(text, context=160)
    with pytest.raises(ValueError, match=r"data: valid=1.0 must be > 0 and < 1"):
        characters(text, valid=1.0)


def test_tinyshakespeare_is_looked_for_where_data_sets_are(text: str, tmp_path: Path) -> None:
    (tmp_path / "tinyshakespeare.txt").write_text(TEXT)
    assert tinyshakespeare(root=str(tmp_path), context=16).name == "tinyshakespeare"
    with pytest.raises(FileNotFoundError, match=r"data 'tinyshakespeare': there is neither"):
        tinyshakespeare(root=str(tmp_path / "elsewhere"))


def test_pairs_become_rows_that_decode_to_them(dictionary: str) -> None:
    data = translation(dictionary, vocabulary=40, valid=4)
    rows, held = data.train, data.valid
    assert len(rows["labels"]) + len(held["labels"]) == len(PAIRS)
    assert torch.equal(rows["attention_mask"], rows["input_ids"] != 0)
    tokens = data.classes

    def words(row: Tensor) -> str:
        ids = row[row >= 0].tolist()
        return "".join(tokens[i] for i in ids[: ids.index(2)]).replace("▁", " ").strip()

    pairs = [pair for part in (rows, held) for pair in zip(part["input_ids"], part["labels"], strict=True)]
    read = {(words(source), words(target)) for source, target in pairs}
    assert read == set(PAIRS)
    assert bool((rows["labels"] == -100).any()), "rows of different lengths are filled with what is ignored"
    english = {words(row) for row in held["labels"]}
    assert english.isdisjoint({words(row) for row in rows["labels"]})


def test_pairs_that_are_too_few(dictionary: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"20 pairs were found, of which valid=30 leaves 0 to train on"):
        translation(dictionary, valid=30)
    with pytest.raises(FileNotFoundError, match=r"run `thalweg data trans-de-en`, or name a dictionary"):
        translation(root=str(tmp_path))


# ------------------------------------------------------------------------------------------------------ the models


def test_the_decoder_does_not_see_what_comes() -> None:
    model = Decoder(11, 8, d_model=16, layers=2, heads=2).eval()
    tokens = torch.randint(11, (2, 8))
    changed = tokens.clone()
    changed[:, 5:] = (changed[:, 5:] + 1) % 11
    torch.testing.assert_close(model(tokens)[:, :5], model(changed)[:, :5])
    assert not torch.allclose(model(tokens)[:, 5:], model(changed)[:, 5:])
    assert model.head.weight is model.embedding.weight
    with pytest.raises(ValueError, match=r"Decoder: got 9 tokens in a row, and context=8"):
        model(torch.zeros(1, 9, dtype=torch.int64))
    with pytest.raises(ValueError, match=r"Decoder: d_model=10 cannot be split among heads=4; choose a multiple of 4"):
        Decoder(11, 8, d_model=10)


def test_a_block_is_torchs_own_layer() -> None:
    """The same weights in ``nn.TransformerEncoderLayer`` (normalised first) give the same."""
    model = Decoder(11, 8, d_model=16, layers=1, heads=2).eval()
    block = model.blocks[0]
    theirs = nn.TransformerEncoderLayer(16, 2, 64, 0.0, F.gelu, batch_first=True, norm_first=True).eval()
    with torch.no_grad():
        theirs.self_attn.in_proj_weight.copy_(
            torch.cat([block.attention.query.weight, block.attention.key_value.weight])
        )
        theirs.self_attn.in_proj_bias.zero_()
        theirs.self_attn.out_proj.weight.copy_(block.attention.output.weight)
        theirs.self_attn.out_proj.bias.zero_()
        for mine, other in ((block.inner[0], theirs.linear1), (block.inner[2], theirs.linear2)):
            other.load_state_dict(mine.state_dict())
    x = torch.randn(2, 8, 16)
    mask = nn.Transformer.generate_square_subsequent_mask(8)
    torch.testing.assert_close(block(x), theirs(x, src_mask=mask, is_causal=True), rtol=1e-5, atol=1e-6)


def test_the_encoder_decoder_reads_its_targets_late_and_no_padding() -> None:
    model = EncoderDecoder(20, d_model=16, layers=1, heads=2).eval()
    labels = torch.tensor([[5, 6, 2], [7, 2, -100]])
    assert model.prepare_decoder_input_ids_from_labels(labels).tolist() == [[1, 5, 6], [1, 7, 2]]
    source = torch.tensor([[4, 5, 2, 0], [4, 2, 0, 0]])
    late = model.prepare_decoder_input_ids_from_labels(labels)
    filled = torch.where(source == 0, 9, source)
    torch.testing.assert_close(model(source, source != 0, late), model(filled, source != 0, late))
    assert not torch.allclose(model(source, None, late), model(filled, None, late))
    with pytest.raises(ValueError, match=r"EncoderDecoder: there are no decoder_input_ids"):
        model(source)


def test_samples_are_drawn_from_the_seed_alone() -> None:
    model = Decoder(11, 8, d_model=16, layers=1, heads=2).eval()
    before = torch.get_rng_state()
    begin = torch.zeros(2, 1, dtype=torch.int64)
    first, again, other = (sample(model, begin, 12, context=8, seed=seed) for seed in (1, 1, 2))
    assert first.shape == (2, 13)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(before, torch.get_rng_state())


def test_greedy_takes_the_highest_until_every_row_has_ended() -> None:
    def step(tokens: Tensor) -> Tensor:
        logits = F.one_hot((tokens + torch.tensor([[1], [2]])) % 10, 10).float()
        return logits

    made = greedy(step, torch.tensor([[1], [2]]), 9, end=4)
    assert made.tolist() == [[1, 2, 3, 4], [2, 4, 6, 8]]


# ---------------------------------------------------------------------------------------------------------- a run


def small(text: str, **train: Any) -> dict[str, Any]:
    return {
        "name": "small",
        "published": "2 bits, somewhere",
        "model": {"name": "decoder", "d_model": 16, "layers": 1, "heads": 2, "dropout": 0.1},
        "data": {"name": "characters", "file": text, "context": 16, "sample_length": 20},
        "optimizer": {"name": "adamw", "lr": 1e-2},
        "loss": {"name": "token_cross_entropy"},
        "metrics": ["bits_per_character", "token_accuracy"],
        "train": {"epochs": 3, "batch_size": 16, **train},
    }


def test_a_run_shows_samples_and_the_published_figure(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pictures(monkeypatch)
    summary = run(small(text), tmp_path / "run")
    out = capsys.readouterr().out
    assert [f"after epoch {epoch}\n  | " in out for epoch in (1, 2, 3)] == [True] * 3
    assert (tmp_path / "run" / "samples.txt").read_text().count("after epoch") == 3
    # bits are nats over ln 2, and the whole vocabulary knows less than its size says
    assert summary.valid["bits_per_character"] == pytest.approx(summary.valid["loss"] / math.log(2), rel=1e-6)
    assert summary.valid["bits_per_character"] < math.log2(len(set(TEXT)))
    assert re.search(r"^published +2 bits, somewhere$", str(summary), re.MULTILINE)
    assert RunSummary.read(tmp_path / "run") == summary
    assert json.loads((tmp_path / "run" / "plan.json").read_text())["logits"].startswith("made: of fewer than")


# a longer run is said to be one, which is what is wanted here
@pytest.mark.filterwarnings("ignore:resume at step:UserWarning")
def test_a_run_that_is_gone_on_with_ends_alike(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_pictures(monkeypatch)
    straight = run(small(text), tmp_path / "straight", verbose=False)
    run(small(text, epochs=1), tmp_path / "broken", verbose=False)
    gone_on = resume(tmp_path / "broken", overrides=["train.epochs=3"], verbose=False)
    assert gone_on.valid == straight.valid
    samples = [(tmp_path / name / "samples.txt").read_text() for name in ("straight", "broken")]
    assert samples[0] == samples[1]


def test_translations_are_shown_and_learnt(
    dictionary: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    without_pictures(monkeypatch)
    recipe = load("translate", [
        f"data.file={dictionary}", "data.vocabulary=80", "data.valid=2", "model.d_model=32", "model.layers=1",
        "model.dropout=0.0", "train.epochs=30", "train.batch_size=9", "optimizer.lr=1e-2",
    ])  # fmt: skip
    summary = run(recipe, tmp_path / "run")
    shown = capsys.readouterr().out.split("after epoch 30\n")[1]
    held = [line for line in shown.splitlines() if line.startswith("  | ")]
    assert len(held) == 2
    assert all(" → " in line and line.endswith(")") for line in held)
    assert summary.valid["perplexity"] < 20
    assert summary.loss < 1.5, "smoothed by 0.1 over 80 tokens, the least is about 0.85"


def test_one_override_takes_adafactor(dictionary: str) -> None:
    recipe = load("translate", ["optimizer=adafactor", f"data.file={dictionary}", "data.valid=2", "data.vocabulary=80"])
    learner, _ = recipe.build()
    assert type(learner.rule).__name__ == "Adafactor"
    assert load(tomllib.loads(recipe.to_toml())).optimizer == recipe.optimizer


def test_what_is_published_is_of_one_size() -> None:
    assert "2.71 bits per character" in load("char-lm").published
    assert load("char-lm", ["optimizer.lr=1e-3"]).published
    assert not load("char-lm", ["model.layers=6"]).published
    assert not load("char-lm", ["data.context=256"]).published
    assert "1.88" in load("char-lm").published
    assert 1.88 / math.log(2) == pytest.approx(2.71, abs=0.005)
