"""Memory of one of two processes that does not hold its share: it halves for itself, and all go on alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from tests.loop.test_out_of_memory import Small, data
from tests.loop.test_processes import one_thread, pytestmark, together
from tests.loop.test_resume import StopAt

__all__ = ["one_thread", "pytestmark"]


@pytest.fixture(autouse=True)
def accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the processes be as careful as where memory may run out."""
    monkeypatch.setattr("thalweg.loop.rank_step.may_run_out", lambda device: True)


def train(memory: nn.Module, *between: nn.Module, stop: int = -1, **options: Any) -> dict[str, Any]:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(4, 6), memory, nn.Tanh(), *between, nn.Linear(6, 3)).double()
    learner = tw.Learner(module, "adam", "cross_entropy", penalty=tw.L2(1e-3), clip_norm=0.5, seed=2, device="cpu")
    settings = {"epochs": 3, "batch_size": 20, "verbose": False, "hooks": [StopAt(stop)], **options}
    history = learner.fit(data(), **settings)
    return {
        "weights": {name: tensor.clone() for name, tensor in module.state_dict().items()},
        "loss": history["loss"].tolist(),
        "grad_norm": history["grad_norm"].tolist(),
        "events": history.events,
        "failed": getattr(memory, "failed", 0),
    }


def assert_same(one: dict[str, Any], other: dict[str, Any], tolerance: float) -> None:
    for name, tensor in one["weights"].items():
        torch.testing.assert_close(tensor, other["weights"][name], rtol=tolerance, atol=tolerance)
    assert other["loss"] == pytest.approx(one["loss"], rel=1e-9)
    assert other["grad_norm"] == pytest.approx(one["grad_norm"], rel=1e-9)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("limits", [(6, 999), (999, 3)])  # each process has ten rows of a batch, and five of the last
def test_the_one_that_fails_halves_and_the_other_does_not(
    tmp_path: Path, limits: tuple[int, int], accumulate: int
) -> None:
    alone = train(nn.Identity(), accumulate=accumulate)
    work = lambda rank: train(Small(*limits) if rank else nn.Identity(), accumulate=accumulate)  # noqa: E731
    first, second = together(tmp_path, 2, work)
    assert first["failed"] == 0
    assert second["failed"] == (1 if limits[0] == 6 else 2), "once for each halving"
    assert_same(alone, first, 1e-10)
    assert_same(first, second, 0.0)
    [(_, kind, told)] = first["events"]
    assert kind == "step"
    assert told.startswith("process 1: memory did not hold a micro-batch, so 10 rows are taken in")


def test_shapes_that_went_through_are_exchanged_within_the_backward_pass(tmp_path: Path) -> None:
    from torch.nn.parallel import DistributedDataParallel

    def work(rank: int) -> int:
        calls = 0
        forward = DistributedDataParallel.forward

        def counted(self: Any, *args: Any) -> Any:
            nonlocal calls
            calls += 1
            return forward(self, *args)

        DistributedDataParallel.forward = counted  # type: ignore[method-assign]
        train(nn.Identity())
        return calls

    # Of 15 updates the first two, of which the second one has the optimizer's state in memory, and the first one of the
    # shorter last batch are exchanged afterwards.
    assert together(tmp_path, 2, work) == [12, 12]


def test_a_run_goes_on_with_each_process_s_own_pieces(tmp_path: Path) -> None:
    run = tmp_path / "run"
    make = lambda rank: Small(6) if rank else nn.Identity()  # noqa: E731
    whole = together(tmp_path / "a", 2, lambda rank: train(make(rank)))
    together(tmp_path / "b", 2, lambda rank: train(make(rank), stop=7, run_dir=run))
    resumed = together(tmp_path / "c", 2, lambda rank: train(make(rank), resume=run))
    assert [one["failed"] for one in resumed] == [0, 0]
    assert_same(whole[0], resumed[0], 0.0)


def test_one_that_cannot_halve_ends_all_with_its_message(tmp_path: Path) -> None:
    together(tmp_path, 2, lambda rank: train(Small(6 if rank else 99), nn.BatchNorm1d(6)), fails=(0, 1))
    assert "micro-batches of 10 rows, and 3 takes statistics of its whole batch" in (tmp_path / "error-1").read_text()
    assert "RuntimeError" in (tmp_path / "error-0").read_text(), "who waits for it is told by torch"


class Branches(nn.Module):
    """Uses a layer only where a batch has a row with a large first column."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.sometimes, self.never = (nn.Linear(4, 3) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.always(x)
        return out + self.sometimes(x) * (x[:, :1] > 1.5) if bool((x[:, 0] > 1.5).any()) else out


def test_parameters_that_only_one_process_used_are_updated_in_both(tmp_path: Path) -> None:
    """And one that none used keeps its value, also under weight decay, as in one process."""

    def work() -> dict[str, Tensor]:
        torch.manual_seed(0)
        module = Branches().double()
        learner = tw.Learner(module, tw.optim.AdamW(lr=0.01, weight_decay=0.1), "cross_entropy", seed=2, device="cpu")
        learner.fit(data(), epochs=2, batch_size=20, accumulate=2, verbose=False)
        return {name: tensor.clone() for name, tensor in module.state_dict().items()}

    alone = work()
    for weights in together(tmp_path, 2, lambda rank: work()):
        for name, tensor in alone.items():
            torch.testing.assert_close(tensor, weights[name], rtol=1e-10, atol=1e-12, msg=name)


def test_batch_statistics_are_the_first_process_s_in_both(tmp_path: Path) -> None:
    for accumulate in (1, 2):
        first, second = together(
            tmp_path / str(accumulate), 2, lambda rank, a=accumulate: train(nn.BatchNorm1d(6), accumulate=a)
        )
        for name, tensor in first["weights"].items():
            assert torch.equal(tensor, second["weights"][name]), name
