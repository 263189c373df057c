"""Groups, rates, plan, files and averaged evaluation, each on its own."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import thalweg as tw
from thalweg.loop import LayerGroup, Rates, RunDirectory, Settings, Smoother, build_groups, norm_parameters
from thalweg.loop.averaging import estimated

X = torch.randn(90, 4, generator=torch.Generator().manual_seed(0))
Y = (X[:, 0] > 0).long()


class RMSNormLike(nn.Module):
    """A norm that only its name gives away, as transformers' LlamaRMSNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, 2))


class NamedRMSNorm(RMSNormLike):
    pass


def test_norms_are_known_by_type_and_by_name() -> None:
    model = nn.ModuleDict(
        {
            "a": nn.LayerNorm(2),
            "b": nn.BatchNorm2d(2),
            "c": nn.GroupNorm(1, 2),
            "d": nn.RMSNorm(2),
            "e": NamedRMSNorm(),
            "f": nn.Linear(2, 2),
            "g": nn.InstanceNorm1d(2, affine=True),
        }
    )
    found = {name.split(".")[0] for name in norm_parameters(model)}
    assert found == set("abcdeg")


def test_groups_hold_every_parameter_once_and_tied_ones_once() -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3), nn.Linear(3, 3))
    model[2].weight = model[0].weight
    groups, rows = build_groups(model, tw.optim.AdamW(), overrides={"2.bias": {"lr": 1.0, "weight_decay": 0.5}})
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in model.parameters())
    by_name = {row.name: row for row in rows}
    assert by_name["2.bias"].lr == 1.0
    assert by_name["2.bias"].weight_decay == 0.5
    assert by_name["0.weight"].weight_decay == 0.01
    assert by_name["0.bias"].weight_decay == 0.0
    assert "matches '2.bias'" in by_name["2.bias"].why


def test_layer_groups_keep_their_ratio_under_a_schedule() -> None:
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 2, bias=False))
    layers = [LayerGroup("body", ("0.weight",), 0.001), LayerGroup("head", ("1.weight",), 0.1)]
    groups, _ = build_groups(model, tw.optim.SGD(lr=1.0), layers=layers)
    optimizer = tw.engine.RuleOptimizer(tw.optim.SGD(lr=1.0), groups)
    rates = Rates(optimizer, tw.schedule.resolve("cosine", 10))
    assert rates.names == ("lr", "momentum", "lr/body", "lr/head")
    for step in (0, 3, 9):
        rates.apply(step)
        body, head = (group["lr"] for group in optimizer.param_groups)
        assert body / head == pytest.approx(0.01, rel=1e-12)
        assert head == pytest.approx(0.1 * 0.5 * (1 + np.cos(np.pi * step / 10)), rel=1e-12)
        assert rates.current() == (head, 0.0, body, head)


def test_rates_at_a_step_do_not_depend_on_the_steps_before() -> None:
    parameter = nn.Parameter(torch.zeros(2))
    schedule = tw.schedule.resolve("one_cycle", 5000)
    one, other = (tw.optim.Adam().optimizer([parameter]) for _ in range(2))
    walked, jumped = Rates(one, schedule), Rates(other, schedule)
    for step in range(3001):
        walked.apply(step)
    jumped.apply(3000)
    assert one.param_groups[0]["lr"] == other.param_groups[0]["lr"]
    assert one.param_groups[0]["betas"] == other.param_groups[0]["betas"]


def test_a_schedule_of_what_the_rule_has_not_is_refused() -> None:
    optimizer = tw.optim.Adagrad().optimizer([nn.Parameter(torch.zeros(2))])
    with pytest.raises(ValueError, match=r"'momentum' was to be scheduled, but RuleOptimizer's groups have only"):
        Rates(optimizer, {"momentum": tw.schedule.Constant()})


def test_plateau_acts_on_the_loop_and_is_an_event(capsys: pytest.CaptureFixture[str]) -> None:
    learner = tw.Learner(
        nn.Linear(4, 2),
        optimizer="sgd",
        lr=0.0,
        loss="cross_entropy",
        device="cpu",
        schedule=tw.schedule.ReduceOnPlateau(patience=0, factor=0.5),
    )
    learner.fit((X, Y), valid=(X, Y), epochs=3, lr=1e-12, batch_size=30, log_events=True)
    history = learner.history
    assert history["lr"].tolist() == pytest.approx([1e-12] * 6 + [5e-13] * 3)
    assert [step for step, kind, _ in history.events if kind == "rate"] == [6, 9]
    assert "lr multiplied by 0.5" in capsys.readouterr().out
    with pytest.raises(ValueError, match=r"unknown monitored metric 'val_loss'"):
        learner.fit((X, Y), epochs=1, verbose=False)


def test_the_plan_counts_real_updates() -> None:
    learner = tw.Learner(nn.Linear(4, 2), optimizer="adam", loss="cross_entropy", schedule="one_cycle", device="cpu")
    plan = learner.plan((X, Y), epochs=3, batch_size=20, accumulate=2)
    assert (plan.steps_per_epoch, plan.total_steps) == (3, 9)  # batches of 20, 20 | 20, 20 | 10
    dropping = learner.plan((X, Y), epochs=3, batch_size=20, drop_last=True)
    assert (dropping.steps_per_epoch, dropping.dropped_samples) == (4, 10)
    history = learner.fit((X, Y), epochs=3, batch_size=20, accumulate=2, verbose=False)
    assert len(history) == plan.total_steps
    assert history["lr"].max() == pytest.approx(plan.rates["lr"].highest)
    assert history["lr"][-1] == pytest.approx(plan.rates["lr"].last)
    assert plan.memory == {"parameters": 40, "gradients": 40, "state": 88}
    json.dumps(plan.to_dict())
    assert plan.plot().axes
    assert "lr over 9 updates" in str(plan)


def test_ten_million_steps_are_planned_without_walking_them() -> None:
    data = torch.zeros(10_000_000, 1), torch.zeros(10_000_000, 1)
    learner = tw.Learner(nn.Linear(1, 1), optimizer="adam", loss="mse", schedule="one_cycle", device="cpu")
    calls: list[int] = []
    value = tw.schedule.OneCycle._at

    def counted(self: object, steps: np.ndarray, base: object) -> object:  # type: ignore[type-arg]
        calls.append(steps.size)
        return value(self, steps, base)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tw.schedule.OneCycle, "_at", counted)
        started = time.perf_counter()
        plan = learner.plan(data, batch_size=1)
        seconds = time.perf_counter() - started
    assert plan.total_steps == 10_000_000
    assert plan.rates["lr"].highest == pytest.approx(1e-3)
    assert sum(calls) < 1_000_000, f"every step was evaluated ({seconds:.1f} s)"


def test_the_run_directory_tells_the_whole_story(tmp_path: Path) -> None:
    learner = tw.Learner(nn.Linear(4, 2), optimizer="adam", loss="cross_entropy", metrics=["accuracy"], device="cpu")
    learner.fit((X, Y), valid=(X, Y), epochs=2, batch_size=30, run_dir=tmp_path / "run", verbose=False)
    run = tmp_path / "run"
    rows = list(csv.DictReader((run / "history.csv").read_text().splitlines()))
    assert list(rows[0])[:5] == ["step", "epoch", "loss", "smoothed", "grad_norm"]
    assert [int(row["step"]) for row in rows] == [1, 2, 3, 4, 5, 6]
    assert [int(row["epoch"]) for row in rows] == [1, 1, 1, 2, 2, 2]
    assert float(rows[3]["loss"]) == pytest.approx(learner.history["loss"][3], rel=1e-8)
    epochs = list(csv.DictReader((run / "epochs.csv").read_text().splitlines()))
    assert [row["step"] for row in epochs] == ["3", "6"]
    assert float(epochs[1]["val_accuracy"]) == pytest.approx(learner.history.epochs[1]["val_accuracy"], rel=1e-8)
    assert json.loads((run / "environment.json").read_text())["torch"] == torch.__version__
    assert json.loads((run / "plan.json").read_text())["total_steps"] == 6


def test_a_place_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="there is a file of that name"):
        RunDirectory(tmp_path / "file" / "run")
    monkeypatch.setattr("os.access", lambda *_: False)  # the tests may run as root, who may write anywhere
    with pytest.raises(ValueError, match="is read-only; choose a place you may write to"):
        RunDirectory(tmp_path / "locked")


def test_averaged_weights_are_evaluated_with_their_own_batch_statistics(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    rule = tw.optim.Averaged(tw.optim.SGD(lr=0.5), decay=None)  # the plain mean of the weights
    learner = tw.Learner(model, optimizer=rule, loss="cross_entropy", metrics=["accuracy"], device="cpu", seed=0)
    seen: dict[str, torch.Tensor] = {}

    class Sum(tw.Hook):
        count = 0

        def on_step_end(self, run: object) -> None:
            self.count += 1
            for name, param in model.named_parameters():
                seen[name] = seen.get(name, 0) + param.detach().double()

    hook = Sum()
    history = learner.fit((X, Y), valid=(X, Y), epochs=2, batch_size=30, shuffle=False, hooks=[hook], verbose=False)
    mean = {name: (total / hook.count).float() for name, total in seen.items()}
    copy = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8, momentum=None), nn.ReLU(), nn.Linear(8, 2))
    copy.load_state_dict({**model.state_dict(), **mean})
    copy[1].reset_running_stats()
    with torch.no_grad():
        for rows in torch.arange(90).split(30):
            copy(X[rows])
        copy.eval()
        expected = float(nn.functional.cross_entropy(copy(X), Y))
    assert history.history["val_loss"][-1] == pytest.approx(expected, rel=1e-5)
    assert not torch.allclose(model[0].weight, mean["0.weight"]), "the training weights are back"
    assert learner.evaluate((X, Y))["loss"] == pytest.approx(expected, rel=1e-5), "and so it is after the fit"
    other = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    loaded = tw.Learner(other, optimizer=rule, loss="cross_entropy", device="cpu").load(learner.save(tmp_path / "all"))
    assert loaded.evaluate((X, Y))["loss"] == learner.evaluate((X, Y))["loss"]


def test_estimating_batch_statistics_leaves_frozen_layers_and_the_module_alone() -> None:
    class Breaks(tw.data.MemorySource):
        def batches(self, epoch: int, start: int = 0) -> Iterator[Any]:
            yield from list(super().batches(epoch, start))[:2]
            raise OSError("the disk is gone")

    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(4).requires_grad_(False), nn.Linear(4, 8), nn.BatchNorm1d(8))
    model.train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    source = tw.data.MemorySource((X, Y), batch_size=30, shuffle=False)
    buffers = estimated(model, source)
    assert set(buffers) == {"2.running_mean", "2.running_var", "2.num_batches_tracked"}
    with torch.no_grad():
        hidden = model[1](X / (1 + 1e-5) ** 0.5)  # the frozen layer's statistics are those of a new one: 0 and 1
    torch.testing.assert_close(buffers["2.running_mean"], hidden.mean(0))
    with pytest.raises(OSError, match="the disk is gone"):
        estimated(model, Breaks((X, Y), batch_size=30, shuffle=False))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(part.training for part in model.modules())
    assert model[2].momentum == 0.1


def test_the_smoother_leaves_out_what_is_not_finite() -> None:
    smooth = Smoother(0.5).extend([1.0, float("nan"), 3.0, float("inf")])
    assert smooth == pytest.approx([1.0, 1.0, (0.25 * 1 + 0.5 * 3) / 0.75, (0.25 * 1 + 0.5 * 3) / 0.75])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accumulate": 0}, r"fit: accumulate=0 must be >= 1"),
        ({"keep": 0}, r"fit: keep=0"),
        ({"flush_every": -1}, r"fit: flush_every=-1"),
    ],
)
def test_settings_are_checked(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings(**options)
