"""The finder on data that are shared out over two gloo processes: the answer of one process, in both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Sampler, TensorDataset
from torch.utils.data.distributed import DistributedSampler

import thalweg as tw
from tests.loop.test_processes import one_thread, pytestmark, together

__all__ = ["one_thread", "pytestmark"]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Rows to train and to decide with; of the last batches one process has no row."""
    folder = tmp_path_factory.mktemp("rows")
    rng = np.random.default_rng(0)
    paths = []
    for name, rows in (("train", 331), ("valid", 67)):
        x = rng.standard_normal((rows, 5)).astype(np.float32)
        y = np.tanh(x.sum(1, keepdims=True)) + 0.1 * rng.standard_normal((rows, 1)).astype(np.float32)
        np.save(folder / f"{name}.npy", np.concatenate([x, y], axis=1).astype(np.float32))
        paths.append(str(folder / f"{name}.npy"))
    return paths[0], paths[1]


def learner_of(*between: nn.Module, optimizer: Any = "adam") -> Any:
    torch.manual_seed(7)
    module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), *between, nn.Linear(16, 1))
    return tw.Learner(module, optimizer, "mse", clip_norm=1.0, seed=1, device="cpu")


def stream(path: str, **options: Any) -> Any:
    return tw.data.stream(path, target=[5], **{"batch_size": 30, "seed": 4, **options})


def find(files: tuple[str, str], learner: Any = None, **options: Any) -> dict[str, Any]:
    learner = learner or learner_of()
    valid = stream(files[1]) if options.pop("held", True) else None
    data = stream(files[0], drop_last=options.pop("drop_last", False))
    found = learner.lr_find(data, valid=valid, steps=40, verify_steps=10, **options)
    return {
        "loss": np.array(found.loss),
        "suggestion": found.suggestion,
        "trials": np.array([(t.lr, t.loss, t.steps) for t in found.trials]),
    }


@pytest.mark.parametrize(
    "options",
    [
        {"verify": False},
        {"verify": False, "accumulate": 3},
        {"verify": True},
        {"verify": True, "held": False},  # training batches in another order decide
    ],
)
def test_both_find_what_one_process_finds(tmp_path: Path, files: tuple[str, str], options: dict[str, Any]) -> None:
    alone = find(files, **options)
    first, second = together(tmp_path, 2, lambda rank: find(files, **options))
    for one in (first, second):
        assert one["suggestion"] == pytest.approx(alone["suggestion"], rel=1e-9)
        np.testing.assert_allclose(one["loss"], alone["loss"], rtol=1e-4)
        np.testing.assert_allclose(one["trials"], alone["trials"], rtol=1e-4)
    for name in ("loss", "trials"):
        np.testing.assert_array_equal(first[name], second[name])
    assert bool(options["verify"]) == (len(alone["trials"]) > 0)


def test_rows_that_decide_may_be_in_memory(tmp_path: Path, files: tuple[str, str]) -> None:
    table = torch.from_numpy(np.load(files[1]))

    def work(rank: int) -> Any:
        found = learner_of().lr_find(
            stream(files[0]), valid=(table[:, :5], table[:, 5:]), steps=40, verify=True, verify_steps=10
        )
        return found.suggestion, [t.loss for t in found.trials]

    alone = work(0)
    first, second = together(tmp_path, 2, work)
    assert first == second
    assert first[1] == pytest.approx(alone[1], rel=1e-4)


def test_no_trace_is_left_in_either(tmp_path: Path, files: tuple[str, str]) -> None:
    """Weights, batch statistics, the rule's state, generators, and what a later training comes to."""

    def training(looks: bool) -> Any:
        learner = learner_of(nn.BatchNorm1d(16), nn.Dropout(0.3))
        data = stream(files[0], drop_last=True)
        learner.fit(data, epochs=1, verbose=False)
        before = state(learner)
        if looks:
            find(files, learner, verify=True, drop_last=True)
        after = state(learner)
        learner.fit(data, epochs=1, verbose=False)
        return before, after, state(learner)

    def state(learner: Any) -> list[torch.Tensor]:
        rule = [part for held in learner.optimizer.state.values() for part in held.values()]
        grads = [torch.tensor(param.grad is None) for param in learner.module.parameters()]
        everything = [*learner.module.state_dict().values(), *rule, *grads, torch.get_rng_state()]
        return [tensor.clone() for tensor in everything]

    looking = together(tmp_path / "a", 2, lambda rank: training(True))
    plain = together(tmp_path / "b", 2, lambda rank: training(False))
    for (before, after, end), (_, _, expected) in zip(looking, plain, strict=True):
        assert all(map(torch.equal, before, after))
        assert all(map(torch.equal, end, expected))


def test_a_loader_that_samples_by_rank_is_found_together(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(240, 5, generator=generator)
    data = TensorDataset(x, x.sum(1, keepdim=True).tanh())

    def work(rank: int) -> Any:
        loader = DataLoader(data, batch_size=8, sampler=DistributedSampler(data, shuffle=False))
        found = learner_of().lr_find(loader, steps=30, verify=False)
        return np.array(found.loss), found.suggestion

    first, second = together(tmp_path, 2, work)
    np.testing.assert_array_equal(first[0], second[0])
    # Batches of one process that hold the same rows: a sampler gives rank r every second row from the r-th on.
    alone = learner_of().lr_find((x, data.tensors[1]), batch_size=16, shuffle=False, steps=30, verify=False)
    np.testing.assert_allclose(first[0], alone.loss, rtol=1e-4)
    assert first[1] == second[1]


class Uneven(DistributedSampler):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 40 + 16 * self.rank

    def __iter__(self) -> Any:
        return iter(range(len(self)))


def test_loaders_of_different_lengths_are_refused_instead_of_waited_for(tmp_path: Path) -> None:
    data = TensorDataset(torch.zeros(60, 5), torch.zeros(60, 1))

    def work(rank: int) -> list[str]:
        said = []
        sampler: Sampler[int] = Uneven(data)
        loader = DataLoader(data, batch_size=8, sampler=sampler)
        for call in (
            lambda: learner_of().lr_find(loader),
            lambda: learner_of().fit(loader, epochs=1, verbose=False),
            lambda: learner_of().lr_find(stream_of_others),
            lambda: learner_of(optimizer=torch.optim.LBFGS).lr_find(stream(path)),
        ):
            try:
                call()
            except ValueError as error:
                said.append(str(error))
        return said

    path = str(tmp_path / "rows.npy")
    np.save(path, np.ones((64, 6), np.float32))
    stream_of_others = stream(path, rank=2, world_size=4)
    for finder, fit, others, rule in together(tmp_path / "a", 2, work):
        assert finder.startswith("lr_find: the processes' loaders have 5, 7 batches, by rank")
        assert fit.startswith("fit: the processes' loaders have 5, 7 batches")
        assert "lr_find: the data are process 2's share of 4, but this is process" in others
        assert rule.startswith("lr_find: LBFGS evaluates the loss several times within a step")
