"""Metrics over tokens against closed forms, torchmetrics and torch's own functions; sums first, one division."""

from __future__ import annotations

import math
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics.text import Perplexity as TheirPerplexity

from thalweg import metric as metrics
from thalweg.loss import CrossEntropy, Projected, TokenCrossEntropy
from thalweg.metric import BitsPerByte, BitsPerCharacter, Perplexity, Reading, TokenAccuracy, token_scores

V = 11


def batch(b: int = 3, t: int = 5, seed: int = 0, ignored: float = 0.3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(b, t, V, generator=generator, dtype=torch.float64)
    target = torch.randint(V, (b, t), generator=generator)
    return logits, torch.where(torch.rand(b, t, generator=generator) < ignored, -100, target)


def test_the_scores_are_those_of_torch() -> None:
    logits, target = batch()
    scores = token_scores(logits, target)
    flat = logits.reshape(-1, V)
    expected = F.cross_entropy(flat, target.reshape(-1), reduction="none")
    torch.testing.assert_close(scores.nll, expected, rtol=1e-12, atol=1e-12)
    kept = target.reshape(-1) != -100
    assert torch.equal(scores.counted, kept)
    order = flat.argsort(dim=1, descending=True, stable=True)
    rank = (order == target.reshape(-1, 1)).int().argmax(1)
    assert torch.equal(scores.rank[kept], rank[kept])


def test_equal_scores_come_in_the_order_of_argmax() -> None:
    logits = torch.zeros(V, V)
    scores = token_scores(logits, torch.arange(V))
    assert torch.equal(scores.rank, torch.arange(V))
    accuracy = TokenAccuracy()
    accuracy.update(logits, torch.arange(V))
    assert float(accuracy.compute()) == pytest.approx((logits.argmax(1) == torch.arange(V)).double().mean().item())


def test_perplexity_is_torchmetrics_and_the_closed_form() -> None:
    ours, theirs = Perplexity(), TheirPerplexity(ignore_index=-100)
    total, count = 0.0, 0
    for seed, (b, t) in enumerate([(3, 5), (1, 9), (4, 2)]):  # of different sizes: a mean of means differs
        logits, target = batch(b, t, seed)
        ours.update(logits, target)
        theirs.update(logits.float(), target)
        total += float(F.cross_entropy(logits.reshape(-1, V), target.reshape(-1), reduction="sum"))
        count += int((target != -100).sum())
    assert float(ours.compute()) == pytest.approx(math.exp(total / count), rel=1e-12)
    assert float(ours.compute()) == pytest.approx(float(theirs.compute()), rel=1e-5)


def test_a_mean_of_means_would_be_another_number() -> None:
    metric, means = Perplexity(), []
    for target in (torch.tensor([[0, 1, 2, 3]]), torch.tensor([[4, -100, -100, -100]])):
        logits = batch(1, 4, seed=len(means))[0]
        metric.update(logits, target)
        means.append(F.cross_entropy(logits[0], target[0]).item())
    sums = 4 * means[0] + means[1]
    assert float(metric.compute()) == pytest.approx(math.exp(sums / 5), rel=1e-12)
    assert abs(sums / 5 - sum(means) / 2) > 0.1


@pytest.mark.parametrize("k", [1, 2, 5])
def test_accuracy_counts_targets_among_the_highest(k: int) -> None:
    logits, target = batch(6, 7, seed=3)
    metric = TokenAccuracy(top_k=k)
    metric.update(logits, target)
    kept = target != -100
    right = (logits.topk(k, -1).indices == target[..., None]).any(-1)
    assert float(metric.compute()) == pytest.approx(right[kept].double().mean().item(), rel=1e-15)


def test_the_shift_compares_with_the_next_target() -> None:
    logits, target = batch(4, 6, seed=5)
    shifted, plain = Perplexity(shift=True), Perplexity()
    shifted.update(logits, target)
    plain.update(logits[:, :-1], target[:, 1:])
    assert float(shifted.compute()) == float(plain.compute())


def test_a_cap_of_the_loss_is_part_of_the_model() -> None:
    logits, target = batch(4, 6, seed=6)
    loss = TokenCrossEntropy(softcap=2.0)
    metric = metrics.make("perplexity", logits, target, loss)
    metric.update(logits, target)
    total, weight = loss(logits, target)
    assert float(metric.compute()) == pytest.approx(float((total / weight).exp()), rel=1e-12)


@pytest.mark.parametrize(("scale", "softcap", "bias"), [(1.0, None, False), (0.25, None, True), (1.0, 5.0, False)])
def test_logits_that_are_not_made_give_the_same(
    scale: float, softcap: float | None, bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[token_scores.__module__], "_BLOCK", 4 * V)  # several blocks of four rows
    hidden = torch.randn(3, 5, 4, dtype=torch.float64)
    weight = torch.randn(V, 4, dtype=torch.float64)
    projected = Projected(hidden, weight, torch.randn(V, dtype=torch.float64) if bias else None, scale, softcap)
    _, target = batch()
    for reading in (Reading(), Reading(shift=True), Reading(ignore_index=3)):
        known = torch.where(target == -100, 3, target) if reading.ignore_index == 3 else target
        ours, theirs = token_scores(projected, known, reading), token_scores(projected.logits(), known, reading)
        torch.testing.assert_close(ours.nll, theirs.nll, rtol=1e-12, atol=1e-12)
        assert torch.equal(ours.rank, theirs.rank)


def test_half_precision_hidden_states_meet_a_head_in_full_precision() -> None:
    hidden, weight = torch.randn(2, 3, 4).bfloat16(), torch.randn(V, 4)
    scores = token_scores(Projected(hidden, weight), torch.zeros(2, 3, dtype=torch.int64))
    assert scores.nll.dtype == torch.float32
    assert torch.isfinite(scores.nll).all()


def test_bits_per_byte_and_per_character() -> None:
    logits, target = batch(3, 5, seed=8)
    sizes = torch.arange(V) % 4
    nats = float(F.cross_entropy(logits.reshape(-1, V), target.reshape(-1), reduction="sum"))
    kept = target[target != -100]
    for metric, units in (
        (BitsPerByte(), len(kept)),
        (BitsPerByte(sizes), int(sizes[kept].sum())),
        (BitsPerCharacter(), len(kept)),
        (BitsPerCharacter(token_characters=sizes.tolist()), int(sizes[kept].sum())),
    ):
        metric.update(logits, target)
        assert float(metric.compute()) == pytest.approx(nats / math.log(2) / units, rel=1e-12)


@given(st.lists(st.integers(0, 12), max_size=3), st.integers(0, 100))
def test_any_split_into_batches_gives_the_same(cuts: list[int], seed: int) -> None:
    logits, target = batch(12, 3, seed)
    whole = {"perplexity": Perplexity(), "token_accuracy": TokenAccuracy(2), "bits": BitsPerByte(torch.arange(V) + 1)}
    parts = {name: metric.clone() for name, metric in whole.items()}
    loss = SimpleNamespace(activation="softmax", predict=None)
    metrics.update_all(whole, loss, logits, target)
    edges = sorted({0, 12, *cuts})
    for start, stop in pairwise(edges):
        metrics.update_all(parts, loss, logits[start:stop], target[start:stop])
    if bool((target != -100).any()):
        assert metrics.values(parts) == pytest.approx(metrics.values(whole), rel=1e-12)


def work(rank: int, address: str, results: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    logits, target = batch(5, 4, seed=11)
    own = slice(0, 4) if rank == 0 else slice(4, 5)
    made = [Perplexity(), TokenAccuracy(), BitsPerByte(torch.arange(V))]
    for metric in made:
        metric.update(logits[own], target[own])
    torch.save([float(metric.compute()) for metric in made], f"{results}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_with_different_shares_are_exact(tmp_path: Path) -> None:
    arguments = (f"file://{tmp_path / 'meet'}", str(tmp_path))
    torch.multiprocessing.start_processes(work, arguments, nprocs=2, start_method="fork")  # nothing to import again
    logits, target = batch(5, 4, seed=11)
    expected = []
    for metric in (Perplexity(), TokenAccuracy(), BitsPerByte(torch.arange(V))):
        metric.update(logits, target)
        expected.append(float(metric.compute()))
    for rank in range(2):
        assert torch.load(tmp_path / f"{rank}.pt") == pytest.approx(expected, rel=1e-12)


# ------------------------------------------------------------------------------------------------------------- names


def test_names_take_their_reading_from_the_loss() -> None:
    logits, target = batch()
    loss = TokenCrossEntropy(ignore_index=-1, label_smoothing=0.2, shift=True, softcap=30.0)
    for name, k in (
        *(("perplexity", None), ("bits_per_byte", None), ("bits_per_character", None)),
        *(("token_accuracy", 1), ("token_top5_accuracy", 5), ("accuracy", 1), ("acc", 1), ("top3_accuracy", 3)),
    ):
        metric: Any = metrics.make(name, logits, target, loss)
        assert metric.reading == Reading(-1, True, 30.0, -1)
        assert getattr(metric, "top_k", None) == k


def test_perplexity_does_not_know_the_smoothing_of_the_loss() -> None:
    logits, target = batch()
    values = []
    for loss in (TokenCrossEntropy(), TokenCrossEntropy(label_smoothing=0.3, z_loss=0.1)):
        held = metrics.make_all(["perplexity"], logits, target, loss)
        metrics.update_all(held, loss, logits, target)
        values.append(metrics.values(held))
    assert values[0] == values[1]


def test_with_a_loss_over_classes_they_are_dim_1() -> None:
    logits, target = batch()
    loss = CrossEntropy()
    held = metrics.make_all(["perplexity", "token_accuracy"], logits.movedim(-1, 1), target, loss)
    metrics.update_all(held, loss, logits.movedim(-1, 1), target)
    total, weight = loss(logits.movedim(-1, 1), target)
    assert metrics.values(held)["perplexity"] == pytest.approx(float((total / weight).exp()), rel=1e-12)


def test_metrics_of_both_kinds_stand_side_by_side() -> None:
    logits, target = batch(ignored=0.0)
    loss = TokenCrossEntropy()

    def highest(prediction: Tensor, target: Tensor) -> Tensor:
        return prediction.amax(-1).mean()

    held = metrics.make_all(["token_accuracy", highest], logits, target, loss)
    metrics.update_all(held, loss, logits, target)
    assert metrics.values(held)["highest"] == pytest.approx(float(logits.softmax(-1).amax(-1).mean()))


def test_what_is_refused() -> None:
    logits, target = batch()
    loss = TokenCrossEntropy()
    with pytest.raises(ValueError, match=r"bits_per_byte': the vocabulary has 300 tokens, so that a token is no byte"):
        metrics.make("bits_per_byte", torch.zeros(1, 2, 300), torch.zeros(1, 2, dtype=torch.int64), loss)
    with pytest.raises(ValueError, match=r"perplexity': needs one score per class .* \(3, 5, 11\) for targets \(3, 5,"):
        metrics.make("perplexity", logits, logits, loss)
    with pytest.raises(TypeError, match=r"Perplexity: reads scores, and got predictions"):
        metrics.update(Perplexity(), logits.softmax(-1), target)
    with pytest.raises(ValueError, match=r"positions of shape \(3, 5\) and the targets \(3, 4\)"):
        Perplexity().update(logits, target[:, 1:])
    with pytest.raises(ValueError, match=r"top_k=0 must be >= 1"):
        TokenAccuracy(top_k=0)
    with pytest.raises(ValueError, match=r"BitsPerByte: the lengths of the tokens have shape \(2,\) and must"):
        BitsPerByte([1.0, -1.0])
    with pytest.raises(TypeError, match=r"Perplexity: takes scores, and predictions have been through a softmax"):
        metrics.make(TheirPerplexity(), logits, target, loss)
