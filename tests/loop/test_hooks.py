"""Hooks are called where they say, and a step may be replaced, also by one that has a state of its own."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import thalweg as tw
from thalweg.loop import Hook

ROWS, BATCH = 20, 8  # batches of 8, 8 and 4


def rows() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 4, generator=generator)
    return x, (x[:, 0] > 0).long()


X, Y = rows()


def learner(**options: Any) -> tw.Learner:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.2), nn.ReLU(), nn.Linear(8, 2))
    return tw.Learner(
        module, **{"optimizer": "adam", "lr": 0.01, "loss": "cross_entropy", "device": "cpu", "seed": 0, **options}
    )


def fit(given: tw.Learner, *hooks: Hook, **options: Any) -> tw.History:
    return given.fit((X, Y), hooks=hooks, **{"batch_size": BATCH, "epochs": 2, "verbose": False, **options})


# ------------------------------------------------------------------------------------------------------------ order


class Diary(Hook):
    """Writes down each call with what the run says of itself."""

    def __init__(self, name: str = "", into: list[tuple[Any, ...]] | None = None) -> None:
        self.name = name
        self.calls: list[tuple[Any, ...]] = [] if into is None else into

    def note(self, place: str, run: Any) -> None:
        self.calls.append((self.name + place, run.step, run.epoch, run.batch))

    def on_fit_begin(self, run: Any) -> None:
        self.note("fit begin", run)

    def on_epoch_begin(self, run: Any) -> None:
        self.note("epoch begin", run)

    def on_step_end(self, run: Any) -> None:
        self.note("step end", run)

    def on_epoch_end(self, run: Any, row: dict[str, float]) -> None:
        assert row is run.history.epochs[-1]
        assert {"epoch", "step", "loss", "val_loss", "seconds"} <= set(row)
        assert (row["epoch"], row["step"]) == (run.epoch, run.step)
        assert len(run.history) == run.step, "what was recorded has been flushed before the epoch's end"
        self.note("epoch end", run)

    def on_fit_end(self, run: Any) -> None:
        self.note("fit end", run)


WHOLE = [
    ("fit begin", 0, 0, 0),
    ("epoch begin", 0, 0, 0),
    ("step end", 1, 0, 1),
    ("step end", 2, 0, 2),
    ("step end", 3, 0, 3),
    ("epoch end", 3, 1, 0),
    ("epoch begin", 3, 1, 0),
    ("step end", 4, 1, 1),
    ("step end", 5, 1, 2),
    ("step end", 6, 1, 3),
    ("epoch end", 6, 2, 0),
    ("fit end", 6, 2, 0),
]


def test_hooks_are_called_in_order_and_see_step_epoch_and_batch() -> None:
    diary = Diary()
    fit(learner(), diary, valid=(X, Y))
    assert diary.calls == WHOLE


def test_several_hooks_are_called_in_the_order_given_at_each_place() -> None:
    shared: list[tuple[Any, ...]] = []
    fit(learner(), Diary("a ", shared), Diary("b ", shared), valid=(X, Y))
    assert [call[0] for call in shared] == [f"{name}{place}" for place, *_ in WHOLE for name in ("a ", "b ")]


def test_a_step_is_an_update_not_a_micro_batch() -> None:
    diary = Diary()
    fit(learner(), diary, valid=(X, Y), accumulate=2, epochs=1)
    # Three micro-batches: a window of two, and one of what is left.
    assert diary.calls == [
        ("fit begin", 0, 0, 0),
        ("epoch begin", 0, 0, 0),
        ("step end", 1, 0, 2),
        ("step end", 2, 0, 3),
        ("epoch end", 2, 1, 0),
        ("fit end", 2, 1, 0),
    ]


def test_the_parameters_have_been_updated_at_a_steps_end() -> None:
    seen: list[Tensor] = []

    class Look(Hook):
        def on_step_end(self, run: Any) -> None:
            seen.append(run.module[0].weight.detach().clone())

    given = learner()
    before = given.module[0].weight.detach().clone()
    fit(given, Look(), epochs=1)
    assert not torch.equal(seen[0], before)
    assert not torch.equal(seen[1], seen[0])
    assert torch.equal(seen[2], given.module[0].weight)


def test_a_stop_ends_the_fit_after_the_present_step_and_without_the_epochs_end() -> None:
    class Stop(Diary):
        def on_step_end(self, run: Any) -> None:
            super().on_step_end(run)
            if run.step == 2:
                run.stop("enough")
                run.stop("a second reason does not replace the first")

    hook = Stop()
    history = fit(learner(), hook, valid=(X, Y))
    assert hook.calls == [*WHOLE[:4], ("fit end", 2, 0, 2)]
    assert len(history) == 2
    assert history.events[-1] == (2, "stopped", "enough")


def test_a_hook_without_overrides_changes_nothing() -> None:
    plain, hooked = learner(), learner()
    fit(plain)
    fit(hooked, Hook())
    for a, b in zip(plain.module.parameters(), hooked.module.parameters(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("given", [Diary, "early", lambda run: None], ids=["class", "name", "function"])
def test_what_is_no_hook_is_refused(given: Any) -> None:
    with pytest.raises(TypeError, match=r"^fit: .* is no hook; derive a class from tw\.Hook and pass an instance"):
        fit(learner(), given)


# ---------------------------------------------------------------------------------------------------- replaced steps


class Own(Hook):
    """The ordinary update written by hand; `form` decides what is returned."""

    def __init__(self, form: str) -> None:
        self.form = form
        self.losses: list[float] = []
        self.seen: list[tuple[int, int, int, bool]] = []

    def step(self, run: Any, batch: tuple[Tensor, Tensor]) -> Any:
        self.seen.append((run.step, run.epoch, run.batch, run.module.training))
        x, y = batch
        loss = F.cross_entropy(run.module(x), y)
        loss.backward()
        run.optimizer.step()
        run.optimizer.zero_grad()
        self.losses.append(loss.item())
        weight = len(x)
        return {
            "loss": loss,
            "pair": (loss * weight, weight),
            "tensors": (loss * weight, torch.tensor(weight)),
            "nothing": None,
        }[self.form]


@pytest.mark.parametrize("form", ["loss", "pair", "tensors", "nothing"])
def test_the_ordinary_step_written_by_hand_trains_alike(form: str) -> None:
    plain, replaced = learner(), learner()
    expected = fit(plain, schedule="one_cycle")
    hook = Own(form)
    history = fit(replaced, hook, schedule="one_cycle")
    for name, tensor in plain.module.state_dict().items():
        torch.testing.assert_close(replaced.module.state_dict()[name], tensor, rtol=1e-6, atol=1e-7)
    assert hook.seen == [(3 * epoch + i, epoch, i + 1, True) for epoch in range(2) for i in range(3)]
    for column in ("step", "epoch", "lr", "momentum"):
        assert history[column].tolist() == expected[column].tolist(), column
    if form == "nothing":
        assert all(math.isnan(value) for value in history["loss"])
    else:
        assert history["loss"].tolist() == pytest.approx(hook.losses, rel=1e-6)
        assert history["loss"].tolist() == pytest.approx(expected["loss"].tolist(), rel=1e-5)


def test_a_pair_weighs_the_batches_in_the_epochs_mean_and_a_bare_loss_does_not() -> None:
    weighed, bare = Own("pair"), Own("loss")
    for hook, weights in ((weighed, (8, 8, 4)), (bare, (1, 1, 1))):
        history = fit(learner(), hook, epochs=1)
        mean = sum(w * loss for w, loss in zip(weights, hook.losses, strict=True)) / sum(weights)
        assert history.history["loss"][0] == pytest.approx(mean, rel=1e-6)
        assert history["weight"].tolist() == list(weights)
    first, second, last = weighed.losses
    assert abs((first + second + last) / 3 - (8 * first + 8 * second + 4 * last) / 20) > 1e-4, "the two means differ"


def test_a_pair_of_no_weight_is_a_loss_of_zero() -> None:
    class Empty(Hook):
        def step(self, run: Any, batch: Any) -> tuple[Tensor, Tensor]:
            return torch.tensor(0.0), torch.tensor(0)

    history = fit(learner(), Empty(), epochs=1)
    assert history["loss"].tolist() == [0.0, 0.0, 0.0]
    assert history.history["loss"] == [0.0]


def test_step_end_follows_a_replaced_step_and_its_graph_is_not_kept() -> None:
    class Both(Diary):
        def step(self, run: Any, batch: tuple[Tensor, Tensor]) -> Tensor:
            self.note("step", run)
            self.loss = F.cross_entropy(run.module(batch[0]), batch[1])
            return self.loss

        def on_step_end(self, run: Any) -> None:
            assert not run.recorder._loss[-1].requires_grad
            self.note("step end", run)

    hook = Both()
    given = learner()
    before = {name: tensor.clone() for name, tensor in given.module.state_dict().items()}
    fit(given, hook, epochs=1, valid=(X, Y))
    assert [call[:2] for call in hook.calls[2:8]] == [
        ("step", 0),
        ("step end", 1),
        ("step", 1),
        ("step end", 2),
        ("step", 2),
        ("step end", 3),
    ]
    for name, tensor in given.module.state_dict().items():
        assert torch.equal(tensor, before[name]), "the loop makes no update of its own"


@pytest.mark.parametrize(
    ("returned", "kind"),
    [
        (0.5, "float"),
        ("0.5", "str"),
        (torch.zeros(3), "Tensor"),
        ((torch.zeros(()),), "tuple"),
        ((0.5, 3), "tuple"),
        ({"loss": torch.zeros(())}, "dict"),
    ],
    ids=["float", "string", "one value per row", "a tuple of one", "a sum that is no tensor", "dict"],
)
def test_what_a_step_may_not_return(returned: Any, kind: str) -> None:
    class Bad(Hook):
        def step(self, run: Any, batch: Any) -> Any:
            return returned

    message = rf"^hook step: returned {kind}; return the loss as a 0-dim tensor, as \(sum, weight\), or None"
    with pytest.raises(TypeError, match=message):
        fit(learner(), Bad())


def test_a_replaced_step_and_accumulation_exclude_each_other() -> None:
    with pytest.raises(ValueError, match=r"hook Own replaces the step, so accumulate=2 has nothing to act on"):
        fit(learner(), Own("loss"), accumulate=2)


def test_an_error_in_a_step_comes_through_and_what_was_recorded_stays() -> None:
    class Breaks(Own):
        def step(self, run: Any, batch: Any) -> Any:
            if run.step == 2:
                raise RuntimeError("the user's own")
            return super().step(run, batch)

    given = learner()
    with pytest.raises(RuntimeError, match="the user's own"):
        fit(given, Breaks("loss"))
    assert len(given.history) == 2


# ------------------------------------------------------------------------------------------- two networks, and resume


class Two(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Linear(6, 2))
        self.right = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.right(self.left(x))
        return out


class InTurn(Hook):
    """Two optimizers, updated in turn; their state is the hook's."""

    def __init__(self, given: tw.Learner, stop: int = -1) -> None:
        module: Any = given.module
        self.stop = stop
        self.optimizers = [
            tw.optim.Adam(lr=0.05).optimizer(module.left.parameters()),
            torch.optim.RMSprop(module.right.parameters(), lr=0.01, momentum=0.9),
        ]

    def step(self, run: Any, batch: tuple[Tensor, Tensor]) -> tuple[Tensor, int]:
        x, y = batch
        for optimizer in self.optimizers:
            run.module.zero_grad()
            total = F.cross_entropy(run.module(x), y, reduction="sum")
            (total / len(x)).backward()
            optimizer.step()
        return total, len(x)

    def on_step_end(self, run: Any) -> None:
        if run.step == self.stop:
            run.stop("the test said so")

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {}, {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state(self, tensors: dict[str, Tensor], plain: dict[str, Any]) -> None:
        for optimizer, state in zip(self.optimizers, plain["optimizers"], strict=True):
            optimizer.load_state_dict(state)


@pytest.mark.parametrize("stop", [1, 3, 5])
def test_two_optimizers_in_a_hook_go_on_bit_for_bit(tmp_path: Path, stop: int) -> None:
    def train(stop: int, **options: Any) -> tuple[tw.Learner, tw.History]:
        torch.manual_seed(7)
        given = tw.Learner(Two(), optimizer="sgd", lr=0.1, loss="cross_entropy", device="cpu", seed=0)
        return given, fit(given, InTurn(given, stop), epochs=3, **options)

    whole, expected = train(-1)
    broken, _ = train(stop, run_dir=tmp_path / "run")
    assert not torch.equal(whole.module.right.weight, broken.module.right.weight)
    resumed, history = train(-1, resume=tmp_path / "run")
    for name, tensor in whole.module.state_dict().items():
        assert torch.equal(tensor, resumed.module.state_dict()[name]), name
    assert history["loss"].tolist() == expected["loss"].tolist()
    assert [row["loss"] for row in history.epochs] == [row["loss"] for row in expected.epochs]
