"""Stopping anywhere and going on gives the weights of the run that was never stopped, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import thalweg as tw

EPOCHS = 3


class StopAt(tw.Hook):
    def __init__(self, step: int) -> None:
        self.at = step

    def on_step_end(self, run: object) -> None:
        if run.step == self.at:  # type: ignore[attr-defined]
            run.stop("the test said so")  # type: ignore[attr-defined]


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(103, 8, generator=generator), torch.randint(0, 3, (103,), generator=generator)


def model(seed: int, *, norm: bool = False) -> nn.Module:
    torch.manual_seed(seed)
    middle: list[nn.Module] = [nn.BatchNorm1d(16)] if norm else []
    return nn.Sequential(nn.Linear(8, 16), *middle, nn.Dropout(0.3), nn.ReLU(), nn.Linear(16, 3))


def learner(module: nn.Module, seed: int | None, optimizer: object = "adamw", step: str = "eager") -> tw.Learner:
    return tw.Learner(
        module,
        optimizer=optimizer,
        loss="cross_entropy",
        metrics=["accuracy"],
        schedule="one_cycle",
        clip_norm=1.0,
        seed=seed,
        step=step,
    )


def served(kind: str) -> object:
    if kind == "memory":
        return data()
    generator = torch.Generator().manual_seed(11)
    return DataLoader(TensorDataset(*data()), batch_size=10, shuffle=True, generator=generator)


def fit(learner: tw.Learner, kind: str, stop: int, accumulate: int, **options: object) -> tw.History:
    torch.manual_seed(5)
    return learner.fit(
        served(kind),
        valid=data(),
        epochs=EPOCHS,
        batch_size=10,
        accumulate=accumulate,
        hooks=[StopAt(stop)],
        verbose=False,
        **options,
    )


@pytest.mark.parametrize("seed", [0, None])
@pytest.mark.parametrize("kind", ["memory", "loader"])
@pytest.mark.parametrize(("stop", "accumulate"), [(1, 1), (17, 1), (11, 1), (2, 3), (9, 3)])
def test_going_on_is_bit_identical(tmp_path: Path, kind: str, seed: int | None, stop: int, accumulate: int) -> None:
    whole, broken, resumed = model(1, norm=True), model(1, norm=True), model(2, norm=True)
    expected = fit(learner(whole, seed), kind, -1, accumulate)
    run = tmp_path / "run"
    first = fit(learner(broken, seed), kind, stop, accumulate, run_dir=run)
    assert len(first) == stop
    assert not torch.equal(broken[0].weight, whole[0].weight), "the run must really have been stopped early"
    torch.manual_seed(99)  # another state of the world
    history = learner(resumed, seed).fit(
        served(kind),
        valid=data(),
        epochs=EPOCHS,
        batch_size=10,
        accumulate=accumulate,
        hooks=[StopAt(-1)],
        verbose=False,
        resume=run,
    )
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, resumed.state_dict()[name]), name
    for column in ("step", "epoch", "loss", "smoothed", "lr", "momentum", "grad_norm"):
        assert torch.equal(torch.tensor(expected[column]), torch.tensor(history[column])), column
    same = [{k: v for k, v in row.items() if k != "seconds"} for row in expected.epochs]
    assert same == [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs]
    lines = (run / "history.csv").read_text().splitlines()
    assert len(lines) == len(expected) + 1


@pytest.mark.parametrize("optimizer", ["sgd", "averaged", "lookahead", "schedule_free_adamw", torch.optim.RMSprop])
def test_every_kind_of_optimizer_resumes(tmp_path: Path, optimizer: object) -> None:
    rules = {
        "averaged": tw.optim.Averaged(tw.optim.SGD(lr=0.1, momentum=0.9), decay=0.9),
        "lookahead": tw.optim.Lookahead(tw.optim.Adam(lr=0.01), k=3),
    }
    chosen = rules.get(optimizer, optimizer) if isinstance(optimizer, str) else optimizer
    whole, broken, resumed = model(1), model(1), model(2)

    def build(module: nn.Module) -> tw.Learner:
        return tw.Learner(module, optimizer=chosen, loss="cross_entropy", seed=0, clip_norm=1.0)

    fit(build(whole), "memory", -1, 1)
    fit(build(broken), "memory", 14, 1, run_dir=tmp_path / "run")
    fit(build(resumed), "memory", -1, 1, resume=tmp_path / "run")
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_torch_scheduler_resumes(tmp_path: Path) -> None:
    schedule = tw.schedule.from_torch(torch.optim.lr_scheduler.ReduceLROnPlateau, patience=0, factor=0.5)
    whole, broken, resumed = model(1), model(1), model(2)

    def build(module: nn.Module) -> tw.Learner:
        return tw.Learner(module, optimizer="sgd", lr=0.5, loss="cross_entropy", seed=0, schedule=schedule)

    expected = fit(build(whole), "memory", -1, 1)
    fit(build(broken), "memory", 25, 1, run_dir=tmp_path / "run")
    history = fit(build(resumed), "memory", -1, 1, resume=tmp_path / "run")
    assert torch.equal(torch.tensor(expected["lr"]), torch.tensor(history["lr"]))
    for a, b in zip(whole.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(a, b)


def test_checkpoints_every_so_many_steps_are_kept_to_the_newest(tmp_path: Path) -> None:
    fit(learner(model(1), 0), "memory", -1, 1, run_dir=tmp_path / "run", checkpoint_every="5 steps", keep=3)
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == ["step-000000020", "step-000000025", "step-000000030"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 1}, r"has finished its 3 epochs and epochs=1 were asked"),
        ({"batch_size": 20}, r"batch_size=10, but now batch_size=20"),
        ({"hooks": []}, r"has the hooks \['StopAt'\], this fit has \[\]"),
    ],
)
def test_another_run_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    fit(learner(model(1), 0), "memory", -1, 1, run_dir=tmp_path / "run")
    options = {"epochs": 4, "batch_size": 10, "hooks": [StopAt(-1)], "verbose": False, **change}
    with pytest.raises(ValueError, match=message):
        learner(model(1), 0).fit(data(), valid=data(), resume=tmp_path / "run", **options)


def test_another_model_or_rule_is_refused_by_what_differs(tmp_path: Path) -> None:
    fit(learner(model(1), 0), "memory", -1, 1, run_dir=tmp_path / "run")
    wide = nn.Sequential(nn.Linear(8, 17), nn.Dropout(0.3), nn.ReLU(), nn.Linear(17, 3))
    with pytest.raises(ValueError, match=r"another model: 0\.weight is \(16, 8\) there and \(17, 8\) here"):
        fit(learner(wide, 0), "memory", -1, 1, resume=tmp_path / "run")
    with pytest.raises(ValueError, match=r"trained with AdamW\(.*this learner has SGD\("):
        fit(learner(model(1), 0, optimizer="sgd"), "memory", -1, 1, resume=tmp_path / "run")
    with pytest.raises(ValueError, match="holds no checkpoint"):
        fit(learner(model(1), 0), "memory", -1, 1, resume=tmp_path / "nowhere")


def test_a_run_directory_is_never_overwritten(tmp_path: Path) -> None:
    fit(learner(model(1), 0), "memory", -1, 1, run_dir=tmp_path / "run")
    with pytest.raises(ValueError, match=r"already holds a run .*never overwritten"):
        fit(learner(model(1), 0), "memory", -1, 1, run_dir=tmp_path / "run")
    (tmp_path / "file").write_text("x")
    with pytest.raises(ValueError, match="there is a file of that name"):
        fit(learner(model(1), 0), "memory", -1, 1, run_dir=tmp_path / "file")
