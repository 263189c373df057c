"""NaN at a known step: each policy does what it says, and the history hides nothing."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw

N, BATCH = 160, 16
STEPS = N // BATCH


class Poison(nn.Module):
    """Multiplies by NaN, or by a large number, in one forward pass in training mode."""

    def __init__(self, at: int, factor: float) -> None:
        super().__init__()
        self.at, self.factor = at, factor
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        now = self.calls == self.at
        self.calls += 1
        return x * torch.where(now, self.factor, 1.0)


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(N, 5, generator=generator)
    return x, x @ torch.randn(5, 1, generator=generator)


def model(at: int = -1, factor: float = math.nan) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1), Poison(at, factor))


def learner(module: nn.Module, **settings: Any) -> tw.Learner:
    return tw.Learner(module, optimizer="adam", lr=1e-2, loss="mse", seed=3, step="eager", **settings)


def fit(module: nn.Module, guard: Any, epochs: int = 2, settings: Any = None, **options: Any) -> tw.History:
    return learner(module, **(settings or {})).fit(
        data(), epochs=epochs, batch_size=BATCH, verbose=False, guard=guard, **options
    )


def rows(epoch: int, batch: int) -> list[int]:
    """The rows of a batch, from the documented order: a permutation keyed by (seed, epoch)."""
    from thalweg.data.permutation import permutation

    return permutation(N, 3, epoch)[batch * BATCH : (batch + 1) * BATCH].tolist()


@pytest.mark.parametrize("clip", [None, 1.0])
def test_raise_names_step_rows_parameter_and_lateness(clip: float | None) -> None:
    held = learner(model(at=13), clip_norm=clip)
    shown = ", ".join(map(str, rows(1, 3)[:8]))
    message = (
        rf"the loss was nan at step 14 \(noticed at step 16, 2 updates late\), epoch 2, batch 3, rows {shown} and 8 "
        r"more; the first gradient that is not finite is that of 0\.weight\. The rate"
    )
    with pytest.raises(FloatingPointError, match=message):
        held.fit(data(), epochs=4, batch_size=BATCH, verbose=False, flush_every=4)
    loss = held.history["loss"]
    assert np.isnan(loss[13:]).all()
    assert np.isfinite(loss[:13]).all()
    assert [kind for _, kind, _ in held.history.events] == ["non-finite loss"]


def test_the_last_updates_of_an_unwatched_fit_are_judged_too() -> None:
    with pytest.raises(FloatingPointError, match="at step 20"):
        fit(model(at=19), "raise")


def test_a_gradient_alone_is_enough_and_its_parameter_is_named() -> None:
    class Steep(torch.autograd.Function):
        @staticmethod
        def forward(context: Any, x: Tensor) -> Tensor:
            return x.clone()

        @staticmethod
        def backward(context: Any, grad: Tensor) -> Tensor:
            return grad * math.inf

    class Bend(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Steep.apply(x)

    torch.manual_seed(0)
    bent = nn.Sequential(nn.Linear(5, 4), Bend(), nn.Linear(4, 1))
    with pytest.raises(FloatingPointError, match=r"norm of the gradients was .* at step 1 .* is that of 0\.weight"):
        fit(bent, "raise", flush_every=1)


@pytest.fixture(params=["host", "device"])
def latch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Both ways to decide: that of the CPU, and that of accelerators, whose operations run on the CPU as well."""
    if request.param == "device":
        monkeypatch.setattr("thalweg.learner.going_on.HostLatch", tw.loop.DeviceLatch)
    return str(request.param)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.usefixtures("latch")
def test_skip_leaves_everything_as_it_was_and_says_so(many: bool) -> None:
    """The skipped run equals, bit for bit, one that never made the step, buffers included."""
    deep = [nn.Linear(5, 5) for _ in range(9 if many else 0)]  # more than sixteen tensors are kept as one vector

    def build(at: int) -> nn.Module:
        torch.manual_seed(1)
        for layer in deep:
            layer.reset_parameters()
        return nn.Sequential(*[nn.Linear(5, 5) for _ in deep], *model(at))

    class Hold(tw.Hook):
        """Puts everything back after the seventh update, as if it had not been made."""

        def on_step_end(self, run: Any) -> None:
            if run.step == 6:
                self.kept = [t.clone() for t in run.module.state_dict().values()]
                self.optimizer = [{k: v.clone() for k, v in s.items()} for s in run.optimizer.state.values()]
            if run.step == 7:
                for tensor, kept in zip(run.module.state_dict().values(), self.kept, strict=True):
                    tensor.copy_(kept)
                for state, kept in zip(run.optimizer.state.values(), self.optimizer, strict=True):
                    for name, value in kept.items():
                        state[name].copy_(value)

    expected, skipped = build(-1), build(6)
    fit(expected, "raise", hooks=[Hold()])

    # `calls` is a buffer: putting it back makes the poisoned pass come again, so the poison is taken out after it.
    class Cure(tw.Hook):
        def on_step_end(self, run: Any) -> None:
            if run.step == 7:
                run.module[-1].at = -1

    with pytest.warns(UserWarning, match=r"the loss was nan at step 7 .* batch 6, rows .*; the update was skipped"):
        history = fit(skipped, "skip", hooks=[Cure()])
    for (name, a), b in zip(expected.state_dict().items(), skipped.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    assert np.isnan(history["loss"][6]), "the history shows the NaN"
    assert np.isfinite(np.delete(history["loss"], 6)).all()
    assert [(step, kind) for step, kind, _ in history.events] == [(7, "non-finite loss")]
    assert math.isfinite(history.epochs[0]["loss"])


@pytest.mark.usefixtures("latch")
def test_skip_takes_spikes() -> None:
    guard = tw.Guard("skip", spike=20.0, after=5)
    module = model(at=8, factor=1e4)

    class Cure(tw.Hook):
        def on_step_end(self, run: Any) -> None:
            if run.step == 9:
                run.module[-1].at = -1

    with pytest.warns(UserWarning, match="a spike, at step 9"):
        history = fit(module, guard, hooks=[Cure()])
    assert [(step, kind) for step, kind, _ in history.events] == [(9, "loss spike")]
    assert history["loss"][9] < 10 * history["loss"][7], "the weights did not move"


def test_an_unwatched_fit_skips_alike_on_host_and_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without listeners an update asks no questions; what is skipped is skipped there too."""

    class Bad(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x[:, :1] == marked).any(), math.nan, 1.0) * x

    marked = data()[0][rows(0, 4)[0], 0]
    found = []
    for kind in (tw.loop.HostLatch, tw.loop.DeviceLatch):
        monkeypatch.setattr("thalweg.learner.going_on.HostLatch", kind)
        torch.manual_seed(0)
        module = nn.Sequential(Bad(), nn.Linear(5, 1))
        with pytest.warns(UserWarning, match="the loss was nan at step 5 "):
            history = fit(module, "skip", 2)
        found.append((module[1].weight, history["loss"]))
    (host, losses), (device, others) = found
    assert torch.equal(host, device)
    assert np.array_equal(losses, others, equal_nan=True)
    assert np.isnan(losses).sum() == 2, "once per epoch"
    assert torch.isfinite(host).all()


def test_raise_takes_spikes() -> None:
    with pytest.raises(FloatingPointError, match=r"the loss was .*e\+0\d, a spike, at step 9"):
        fit(model(at=8, factor=1e4), tw.Guard(spike=20.0, after=5))


@pytest.mark.parametrize("accumulate", [1, 2])
def test_rollback_goes_back_cuts_the_rate_and_leaves_the_batches_out(tmp_path: Path, accumulate: int) -> None:
    module = model(at=13)

    class Cure(tw.Hook):
        seen: list[tuple[int, int]]

        def __init__(self) -> None:
            self.seen = []

        def on_step_end(self, run: Any) -> None:
            self.seen.append((run.step, run.batch))
            if len(self.seen) * accumulate > 13:
                run.module[-1].at = -1

    cure = Cure()
    guard = tw.Guard("rollback", cut=0.25)
    run = tmp_path / "run"
    history = fit(
        module, guard, hooks=[cure], accumulate=accumulate, run_dir=run, checkpoint_every="3 steps", flush_every=2
    )
    bad = 14 if accumulate == 1 else 7
    start = (bad - 1) // 3 * 3  # the last checkpoint before it
    kinds = [(step, kind) for step, kind, _ in history.events]
    noticed = next(step for step, kind in kinds if kind == "rollback")
    assert kinds[:2] == [(bad, "non-finite loss"), (noticed, "rollback")]
    assert 0 <= noticed - bad < 2
    text = next(text for _, kind, text in history.events if kind == "rollback")
    left = "batch 3" if accumulate == 1 else "batches 2 to 3"
    assert text == f"from step {noticed} to step-{start:09d}; lr times 0.25; {left} of epoch 2 left out"
    per_epoch = STEPS // accumulate
    assert history["step"].tolist() == [*range(1, noticed + 1), *range(start + 1, 2 * per_epoch)], "one update fewer"
    assert np.isnan(history["loss"][bad - 1]), "the NaN stays in the history"
    assert np.isfinite(history["loss"][noticed:]).all()
    assert history["lr"][:noticed].tolist() == [1e-2] * noticed
    assert np.allclose(history["lr"][noticed:], 2.5e-3)
    gone_over = cure.seen[noticed:]
    first_left_out = 3 if accumulate == 1 else 2
    assert (bad, first_left_out + 2 * accumulate) in gone_over, "the batches after them come in their place"
    assert len(history.epochs) == 2
    assert all(torch.isfinite(t).all() for t in module.state_dict().values())


def test_rollback_gives_up_after_the_most_that_are_allowed(tmp_path: Path) -> None:
    class Always(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x * math.nan

    module = nn.Sequential(nn.Linear(5, 1), Always())
    with pytest.raises(FloatingPointError, match=r"after 2 rollbacks, the most that were allowed"):
        fit(module, tw.Guard("rollback", most=2), run_dir=tmp_path / "run")


def test_a_rolled_back_run_that_is_stopped_goes_on_alike(tmp_path: Path) -> None:
    """The batches left out and the cut rate are in the checkpoint."""
    from tests.loop.test_resume import StopAt

    class Bad(nn.Module):
        """NaN for one batch of the data, whenever it comes."""

        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x[:, :1] == marked).any(), math.nan, 1.0) * x

    marked = data()[0][rows(0, 4)[0], 0]
    build = lambda: (torch.manual_seed(0), nn.Sequential(Bad(), nn.Linear(5, 1)))[1]  # noqa: E731
    whole, broken, resumed = build(), build(), build()
    settings = {"checkpoint_every": "2 steps", "flush_every": 1}
    expected = fit(whole, "rollback", 1, hooks=[StopAt(-1)], run_dir=tmp_path / "whole", **settings)
    fit(broken, "rollback", 1, hooks=[StopAt(7)], run_dir=tmp_path / "run", **settings)
    history = fit(resumed, "rollback", 1, hooks=[StopAt(-1)], resume=tmp_path / "run", **settings)
    assert np.isnan(expected["loss"][4]), "step 5 was gone over again without its batch, the fifth"
    assert expected["step"].tolist() == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9]
    assert torch.equal(whole[1].weight, resumed[1].weight)
    assert np.array_equal(expected["loss"], history["loss"], equal_nan=True)
    assert history["lr"][-1] == expected["lr"][-1] == 5e-3


@pytest.mark.parametrize(
    ("guard", "settings", "options", "message"),
    [
        ("rolback", {}, {}, r"Guard: unknown policy 'rolback'\. Did you mean 'rollback'\?"),
        (3, {}, {}, r"fit: guard=3 is a int"),
        ("rollback", {}, {}, r"guard='rollback' goes back to a checkpoint, and without a run directory"),
        ("skip", {"optimizer": torch.optim.Adam}, {}, r"guard='skip' cannot work here, because Adam cannot leave out"),
        ("skip", {"step": "compiled"}, {}, r"step='compiled' was asked for, but guard='skip' decides"),
    ],
)
def test_what_cannot_work_is_refused(guard: Any, settings: dict[str, Any], options: Any, message: str) -> None:
    made = tw.Learner(nn.Linear(5, 1), **{"optimizer": "adam", "loss": "mse", **settings})
    with pytest.raises((ValueError, TypeError), match=message):
        made.fit(data(), verbose=False, guard=guard, **options)


@pytest.mark.usefixtures("latch")
def test_nothing_waits_for_the_device_in_a_guarded_step() -> None:
    """Counted: reading a value back dispatches `_local_scalar_dense`."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Counting(TorchDispatchMode):
        reads = 0

        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.reads += "_local_scalar_dense" in str(function)
            return function(*args, **(kwargs or {}))

    counted = {}
    for guard in ("raise", tw.Guard("skip", spike=5.0)):
        for epochs in (1, 3):
            with Counting() as counting:
                fit(model(), guard, epochs)
            counted[str(guard), epochs] = counting.reads
    assert counted["raise", 1] == counted["raise", 3]
    skip = str(tw.Guard("skip", spike=5.0))
    assert counted[skip, 1] == counted[skip, 3]
