"""Races as a whole: who leaves, who stays, what is said, and going on after an interruption."""

from __future__ import annotations

import csv
import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.race.problems import Residual, classes, furthest, mlp, rows
from thalweg.race import Candidate, Halving, runner
from thalweg.race.leaderboard import standings
from thalweg.race.paired import paired_p
from thalweg.race.runner import Member, Runner
from thalweg.race.stack import Stack

GRID = tw.race.grid(["sgd", "adam"], lr=[1e-3, 1e-2, 1e-1], seeds=2)


def run(model: Any = None, candidates: Any = GRID, **settings: Any) -> tw.race.RaceResult:
    data = rows()
    given = {"loss": "mse", "epochs": 3, "batch_size": 16, "verbose": False, **settings}
    return tw.race(mlp() if model is None else model, data, rows(seed=1), candidates, **given)


class Recurrent(nn.Module):
    """A kernel that has no batching rule."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.head = nn.LSTM(2, 4, batch_first=True), nn.Linear(4, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.head(self.cell(x.reshape(len(x), 3, 2))[0][:, -1])
        return out


class Branching(nn.Module):
    """A branch that depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(6, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layer(x)
        return out * 2 if out.mean() > 0 else out


@pytest.mark.parametrize("kind", [Recurrent, Branching])
def test_what_cannot_be_stacked_runs_one_after_the_other_and_says_why(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    found = run(kind().double(), stacking="auto")
    assert len(found.notes) == 1
    assert found.notes[0].startswith("one after the other: this model cannot be stacked")
    assert [member.ended for member in found.members] == ["finished"] * len(GRID)
    with pytest.raises(ValueError, match="stacking='always' was asked for, but this model cannot be stacked"):
        run(kind().double(), stacking="always")


def test_a_kernels_own_dropout_runs_alone_and_repeats() -> None:
    model = nn.Sequential(nn.Unflatten(1, (3, 2)), nn.TransformerEncoderLayer(2, 1, 4, 0.3, batch_first=True))
    model.append(nn.Flatten()).append(nn.Linear(6, 1)).double()
    found = run(model, GRID[:4])
    assert "draws numbers in a way that no counter can give back" in found.notes[0]
    again = run(model, GRID[:4])
    assert [m.curve.tolist() for m in found.members] == [m.curve.tolist() for m in again.members]


def test_a_diverging_member_leaves_at_once_and_spoils_nobody() -> None:
    wild = Candidate({"name": "sgd", "lr": 1e12})
    calm = [Candidate({"name": "sgd", "lr": lr}) for lr in (0.01, 0.02, 0.05)]
    with_wild = run(candidates=[*calm[:2], wild, calm[2]], stacking="always", epochs=20)
    without = run(candidates=calm, stacking="always", epochs=20)
    assert [member.ended for member in with_wild.members] == ["finished", "finished", "diverged", "finished"]
    assert with_wild.members[2].step < 120
    assert np.isfinite(with_wild.members[2].curve[:-1]).all()
    for a, b in zip((0, 1, 3), (0, 1, 2), strict=True):
        assert furthest(with_wild.module(a), without.module(b)) < 1e-13
    assert with_wild.leaderboard[-1].verdict == "diverged"
    with pytest.raises(ValueError, match="member 2 diverged, so that there is no model of it"):
        with_wild.module(2)


def test_everybody_may_diverge() -> None:
    found = run(candidates=tw.race.grid("sgd", lr=[1e12, 1e13]), stacking="always")
    assert {member.ended for member in found.members} == {"diverged"}
    assert "diverged" in str(found)


def test_halving_keeps_the_best_and_trains_them_as_without() -> None:
    whole = run(epochs=9, stacking="always")
    halved = run(epochs=9, stacking="always", halving=2)
    assert halved.winner.setting == whole.winner.setting
    steps = sorted({member.step for member in halved.members})
    assert steps == [14, 27, 54]
    for member in halved.members:
        same = whole.members[member.number].curve[: member.step]
        assert np.allclose(member.curve, same, rtol=1e-10)
    assert furthest(halved.module(), whole.module(halved.best.numbers[0])) < 1e-12
    assert [s.seeds for s in halved.leaderboard] == [2] * 6, "the seeds of a setting stay together"


def test_rungs() -> None:
    from thalweg.race.halving import rungs

    assert [(r.step, r.keep) for r in rungs(27, 81, Halving(3))] == [(3, 9), (9, 3), (27, 1), (81, 1)]
    assert [(r.step, r.keep) for r in rungs(27, 8, Halving(3))] == [(3, 9), (8, 9)]
    assert [(r.step, r.keep) for r in rungs(10, 100, Halving(2, rungs=2))] == [(50, 5), (100, 5)]
    assert [(r.step, r.keep) for r in rungs(1, 5, Halving(3))] == [(5, 1)]


def test_measured_update_by_member_equals_the_stacked_one() -> None:
    model, data = mlp(), rows()
    entry = run(model, GRID[:2]).entry
    candidates = [
        Candidate(tw.optim.AdamW(lr=0.01, weight_decay=0.1), "cosine", clip_norm=0.5),
        Candidate(tw.optim.AdamW(lr=0.03), clip_norm=2.0),
    ]
    stacks = []
    for update in ("stacked", "each"):
        stack = Stack(entry, candidates, [0, 1], 40)
        stack.update = update
        stack.advance(20)
        stack.keep([1, 0])
        stack.advance(20)
        stacks.append(stack)
    for name, tensor in stacks[0].members.params.items():
        assert torch.allclose(tensor, stacks[1].members.params[name], rtol=1e-11, atol=1e-12)
    assert data[0].shape[0] == 96


def test_the_compiled_step_equals_the_eager_one() -> None:
    torch.manual_seed(0)  # no bias before the batch norm: its gradient is rounding, which Adam would make a step of
    model = nn.Sequential(
        nn.Linear(6, 5, bias=False), nn.BatchNorm1d(5), nn.Dropout(0.3), nn.ReLU(), nn.Linear(5, 3)
    ).double()
    candidates = [
        Candidate("adamw", "cosine", clip_norm=0.5, label_smoothing=0.1),
        Candidate({"name": "adamw", "lr": 0.02, "weight_decay": 0.2}, "linear"),
    ]
    given: dict[str, Any] = {"loss": "cross_entropy", "epochs": 5, "batch_size": 20, "verbose": False}
    given["stacking"] = "always"
    found = [tw.race(model, classes(), None, candidates, step=step, **given) for step in ("eager", "compiled")]
    assert "the whole step compiled" in found[1].notes
    for a, b in zip(found[0].members, found[1].members, strict=True):
        assert np.allclose(a.curve, b.curve, rtol=1e-10)
        assert furthest(found[0].module(a.number), found[1].module(b.number)) < 1e-10


def test_out_of_memory_takes_smaller_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(stacking="always", step="eager")
    advance = Stack._one

    def scarce(self: Stack, batch: Any, moment: Any) -> Tensor:
        if len(self) > 4 and self.step >= 3:
            raise torch.OutOfMemoryError("out of memory")
        return advance(self, batch, moment)

    monkeypatch.setattr(Stack, "_one", scarce)
    monkeypatch.setattr(runner, "teams", list)  # each stack by itself
    found = run(stacking="always", step="eager")
    assert "memory did not suffice for 6 members at once: chunks of 3" in found.notes
    for a, b in zip(whole.members, found.members, strict=True):
        assert np.allclose(a.curve, b.curve, rtol=1e-12)


@pytest.mark.parametrize("stacking", ["always", "never"])
def test_an_interrupted_race_goes_on_to_the_same_end(
    stacking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: dict[str, Any] = {"stacking": stacking, "halving": 2, "epochs": 9, "resume": tmp_path / "race"}
    whole = run(stacking=stacking, halving=2, epochs=9)
    block, calls = Runner._block, []

    def interrupted(self: Runner, lane: Any, count: int) -> None:
        calls.append(count)
        if len(calls) == 4:
            os.kill(os.getpid(), signal.SIGINT)
        block(self, lane, count)

    monkeypatch.setattr(Runner, "_block", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(**settings)
    monkeypatch.setattr(Runner, "_block", block)
    assert (tmp_path / "race" / "race.checkpoint").is_dir()
    with pytest.raises(ValueError, match="holds another race"):
        run(**{**settings, "batch_size": 8})
    found = run(**settings)
    assert [m.ended for m in found.members] == [m.ended for m in whole.members]
    for a, b in zip(found.members, whole.members, strict=True):
        assert np.array_equal(a.curve, b.curve)
        assert a.validations == b.validations
    assert furthest(found.module(), whole.module()) == 0
    assert not (tmp_path / "race" / "race.checkpoint").exists()


def test_nothing_is_moved_by_a_race() -> None:
    model = mlp()
    before = [param.detach().clone() for param in model.parameters()]
    state = torch.get_rng_state()
    run(model, epochs=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert all(param.grad is None for param in model.parameters())


def test_minutes_end_on_time() -> None:
    found = run(epochs=None, minutes=0.01, candidates=GRID[:4])
    ended = {member.ended for member in found.members}
    assert ended == ({"stopped"} if found.stopped else {"finished"})
    assert found.stopped in ("", "the time was up")
    assert max(member.step for member in found.members) <= found.steps


def test_validation_is_that_of_the_learner() -> None:
    found = run(nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double(), stacking="always")
    for member in found.members:
        learner = tw.Learner(found.module(member.number), "sgd", "mse", device="cpu")
        assert member.validations[-1][1] == pytest.approx(learner.evaluate(rows(seed=1))["loss"], rel=1e-12)


def test_averaged_weights_are_what_is_validated() -> None:
    rule = tw.optim.Averaged(tw.optim.SGD(lr=0.05), decay=0.9)
    model = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 1)).double()
    pair = [Candidate(rule), Candidate(rule.with_hyper({"lr": 0.1}))]
    scores = [[m.validations[-1][1] for m in run(model, pair, stacking=s).members] for s in ("always", "never")]
    assert scores[0] == pytest.approx(scores[1], rel=1e-10)


# ------------------------------------------------------------------------------------------------------------ results


def test_the_leaderboard_and_its_verdicts() -> None:
    few = run()
    assert {s.verdict for s in few.leaderboard[1:]} == {"undecided: fewer than 3 seeds"}
    scores = {
        0.1: [1.0, 1.2, 1.1, 0.9],
        0.2: [1.05, 1.1, 1.2, 0.95],
        0.3: [2.0, 2.5, 2.2, 1.9],
        0.4: [1.0, math.inf, 1.0, 1.0],
    }
    members = [
        Member(4 * place + seed, Candidate({"name": "sgd", "lr": lr}, seed=seed), 10, "finished", [], [(10, score)])
        for place, (lr, each) in enumerate(scores.items())
        for seed, score in enumerate(each)
    ]
    members[13].ended = "diverged"
    first, second, third, last = standings(members, "valid")
    assert (first.candidate.rule.lr, first.verdict) == (0.1, "best")
    assert (second.candidate.rule.lr, second.verdict) == (0.2, "cannot be told apart")
    assert (third.candidate.rule.lr, third.verdict) == (0.3, "worse")
    assert (last.candidate.rule.lr, last.verdict) == (0.4, "1 of 4 diverged")
    assert third.p == pytest.approx(2 * paired_p(*[[math.log(x) for x in scores[lr]] for lr in (0.1, 0.3)]))
    assert first.mean == pytest.approx(np.mean(scores[0.1]))
    assert first.spread == pytest.approx(np.std(scores[0.1], ddof=1))


def test_the_paired_test_is_scipys() -> None:
    scipy = pytest.importorskip("scipy.stats")
    from thalweg.race.paired import paired_p, student_tail

    rng = np.random.default_rng(0)
    for freedom in range(1, 12):
        for t in (0.0, 0.3, 1.7, 4.0, 30.0):
            assert student_tail(t, freedom) == pytest.approx(2 * scipy.t.sf(t, freedom), abs=1e-12)
    a, b = rng.normal(size=8).tolist(), rng.normal(size=8).tolist()
    assert paired_p(a, b) == pytest.approx(scipy.ttest_rel(a, b).pvalue, rel=1e-10)
    assert paired_p(a[:2], b[:2]) is None


def test_tables_figures_and_what_was_not_tried(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    found = run()
    found.to_csv(tmp_path / "race.csv")
    with (tmp_path / "race.csv").open() as file:
        read = list(csv.DictReader(file))
    assert len(read) == 12
    assert read[0]["optimizer"] == "sgd"
    assert float(read[3]["valid_loss"]) == found.members[3].validations[-1][1]
    found.to_parquet(tmp_path / "race.parquet")
    assert parquet.read_table(tmp_path / "race.parquet").to_pylist()[11]["lr"] == 0.1
    names = [name for name, *_ in found.sensitivity()]
    assert names == ["sgd", "adam"]
    _, rates, losses, _ = found.sensitivity()[0]
    assert rates.tolist() == [1e-3, 1e-2, 1e-1]
    assert losses[0] == pytest.approx(np.mean([found.members[n].validations[-1][1] for n in (0, 1)]))
    assert len(found.plot().axes) == 2
    found.write(tmp_path / "run")
    figure = json.loads((tmp_path / "run" / "figures" / "race-sensitivity.json").read_text())
    assert [trace["name"] for trace in figure["data"]] == ["sgd", "adam"]
    board = json.loads((tmp_path / "run" / "figures" / "race-board.json").read_text())
    columns = dict(zip(board["data"][0]["header"]["values"], board["data"][0]["cells"]["values"], strict=True))
    assert columns["setting"] == [found.label(standing) for standing in found.leaderboard]
    assert columns["verdict"][0] == "best"
    assert all(text in board["layout"]["meta"]["summary"] for text in found.not_tried)
    assert "<table" in found._repr_html_()
    said = " ".join(found.not_tried)
    assert "for example adamw, lion" in said
    assert "No schedule raced" in said
    assert "best rate, 0.1, is the highest tried" in said


def test_the_ensemble_predicts_with_the_mean() -> None:
    found = tw.race(
        mlp(3), classes(), classes(), tw.race.grid("adam", lr=[0.01, 0.03], seeds=2), loss="cross_entropy", epochs=5,
        verbose=False,
    )  # fmt: skip
    x = classes()[0]
    together = found.ensemble(top=3)
    order = sorted(range(4), key=lambda n: found.members[n].validations[-1][1])[:3]
    mean = torch.stack([found.module(n)(x).softmax(1) for n in order]).mean(0)
    assert torch.allclose(together(x), mean)
    with pytest.raises(ValueError, match=r"ensemble\(top=9\) needs a whole number from 1 to 4"):
        found.ensemble(9)


def test_without_validation_the_smoothed_training_loss_decides() -> None:
    found = tw.race(mlp(), rows(), None, GRID, epochs=5, batch_size=16, verbose=False)
    assert found.by == "train"
    curve = found.members[4].curve
    smoother, total = 0.0, 0.0
    for loss in curve:
        smoother, total = 0.98 * smoother + loss, 0.98 * total + 1
    assert found.members[4].smoothed == pytest.approx(smoother / total)
    assert not math.isnan(found.best.mean)


def test_a_learner_races_from_its_own_weights() -> None:
    learner = tw.Learner(Residual().double(), "adam", "mse", device="cpu", seed=0)
    candidates = [Candidate(tw.optim.Adam(lr=lr)) for lr in (1e-3, 1e-2)]
    found = learner.race(rows(), candidates, valid=rows(seed=1), epochs=3, batch_size=16, verbose=False)
    learner.fit(rows(), epochs=3, batch_size=16, lr=1e-2, verbose=False)
    assert furthest(found.module(1), learner.module) < 1e-11
