"""A finder leaves no trace: everything equals, bit for bit, what it was, and fit does what it would have done."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import thalweg as tw
from thalweg.find import no_trace

X = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
Y = (X[:, 0] * X[:, 1] > 0).long()


class Noisy(nn.Module):
    """A layer that draws from a generator of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(5)

    def forward(self, x: Tensor) -> Tensor:
        return x + 0.01 * torch.randn(x.shape, generator=self.generator) if self.training else x


def model(*, own_generator: bool = False) -> nn.Module:
    torch.manual_seed(3)
    layers = [nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 2)]
    if own_generator:
        layers.insert(1, Noisy())
    return nn.Sequential(*layers)


def learner(**settings: Any) -> tw.Learner:
    given: dict[str, Any] = {"optimizer": "adamw", "loss": "cross_entropy", "device": "cpu", "seed": None} | settings
    return tw.Learner(given.pop("model", None) or model(), **given)


class Augmented(Dataset[tuple[Tensor, Tensor]]):
    """Samples that draw from every global generator, and from one of the data set's own."""

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)

    def __len__(self) -> int:
        return len(X)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        drawn = random.random() + np.random.rand() + self.rng.random() + float(torch.rand(()))  # noqa: NPY002
        return X[index] + 0.01 * drawn, Y[index]


DATA: dict[str, Callable[[], Any]] = {
    "arrays": lambda: (X, Y),
    "loader": lambda: DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True),
    "loader with a generator": lambda: DataLoader(
        TensorDataset(X, Y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(9)
    ),
    "augmented": Augmented,
    "loader over augmented": lambda: DataLoader(Augmented(), batch_size=16, shuffle=True),
}


def everything(of: tw.Learner) -> list[Any]:
    """Return all that training changes, as tensors and plain data."""
    state = of.optimizer.state_dict()
    return [
        {name: value.clone() for name, value in of.module.state_dict().items()},
        [(param.requires_grad, None if param.grad is None else param.grad.clone()) for param in of.module.parameters()],
        [module.training for module in of.module.modules()],
        copy.deepcopy(state),
        tw.checkpoint.snapshot_rng(),
        [module.generator.get_state() for module in of.module.modules() if isinstance(module, Noisy)],
        of.history.history,
        {name: values.copy() for name, values in of.history.steps.items()},
        of.fits,
    ]


def assert_equal(first: Any, second: Any) -> None:
    assert type(first) is type(second)
    if isinstance(first, Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, np.ndarray):
        assert np.array_equal(first, second, equal_nan=True)
    elif isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for a, b in zip(first, second, strict=True):
            assert_equal(a, b)
    else:
        assert first == second


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("verify", [False, True])
def test_everything_is_as_before(data: str, verify: bool) -> None:
    trained = learner(model=model(own_generator=True))
    given = DATA[data]()
    trained.fit(given, batch_size=16, schedule="cosine", verbose=False)
    trained.module[0].weight.requires_grad_(False)
    trained.module[1].eval()
    trained.module[0].bias.grad = torch.ones(16)
    before = everything(trained)
    kept = trained.module[0].bias.grad
    found = trained.lr_find(given, batch_size=16, steps=30, verify=verify, verify_steps=3)
    assert found.updates >= 20
    assert_equal(everything(trained), before)
    assert trained.module[0].bias.grad is kept


@pytest.mark.parametrize("data", DATA)
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("seed", [None, 4])
def test_fit_after_the_finder_equals_fit_alone(data: str, accumulate: int, seed: int | None) -> None:
    results = []
    settings: dict[str, Any] = {"batch_size": 16, "accumulate": accumulate}
    for with_finder in (False, True):
        given = DATA[data]()
        one = learner(seed=seed)
        random.seed(1)
        np.random.seed(1)  # noqa: NPY002 - the data set draws from it
        torch.manual_seed(1)
        if with_finder:
            one.lr_find(given, steps=25, verify=True, verify_steps=3, **settings)
        one.fit(given, epochs=2, verbose=False, **settings)
        results.append(everything(one))
    assert_equal(*([row for index, row in enumerate(result) if index != 6] for result in results))


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", "adagrad", torch.optim.AdamW, torch.optim.RMSprop])
def test_state_of_the_rule_is_the_same_object(optimizer: Any) -> None:
    one = learner(optimizer=optimizer, lr=0.01)
    one.fit((X, Y), verbose=False)
    before, values = one.optimizer.state, copy.deepcopy(one.optimizer.state_dict())
    one.lr_find((X, Y), steps=25)
    assert one.optimizer.state is before
    assert_equal(copy.deepcopy(one.optimizer.state_dict()), values)


class Failing(nn.Module):
    """Raises at the given call in training mode."""

    def __init__(self, at: int, error: type[BaseException]) -> None:
        super().__init__()
        self.inner, self.at, self.error = model(), at, error
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.calls += 1
            if self.calls == self.at:
                raise self.error("in the middle")
        result: Tensor = self.inner(x)
        return result


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("at", [1, 15, 40])
def test_everything_is_as_before_after_an_error(error: type[BaseException], at: int) -> None:
    one = learner(model=Failing(at, error))
    before = everything(one)
    with pytest.raises(error, match="in the middle"):
        one.lr_find((X, Y), batch_size=16, steps=25, verify=True, verify_steps=5)
    assert_equal(everything(one), before)


def test_two_searches_find_the_same() -> None:
    one = learner(seed=None)
    first, second = (one.lr_find((X, Y), steps=25, verify=True, verify_steps=4) for _ in range(2))
    assert np.array_equal(first.loss, second.loss)
    assert (first.suggestion, first.trials) == (second.suggestion, second.trials)


def test_attributes_of_a_sampler_are_put_back() -> None:
    data = TensorDataset(X, Y)
    sampler = torch.utils.data.DistributedSampler(data, num_replicas=2, rank=0, seed=3)
    sampler.set_epoch(17)
    learner().lr_find(DataLoader(data, batch_size=16, sampler=sampler), steps=25)
    assert sampler.epoch == 17


class Once(IterableDataset[tuple[Tensor, Tensor]]):
    """A stream whose second reading goes on where the first one was."""

    def __init__(self) -> None:
        self.samples = iter([*zip(X, Y, strict=True)] * 20)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return map(tuple, self.samples)  # type: ignore[arg-type]


class OnceBatches:
    """Batches that can be read once."""

    def __init__(self) -> None:
        self.batches = iter([(X[i : i + 8], Y[i : i + 8]) for i in range(0, 96, 8)])

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return self.batches


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (Once(), ValueError, r"lr_find: the Once can be read only once .* pass arrays, a Dataset"),
        (DataLoader(Once(), batch_size=8), ValueError, "lr_find: the Once can be read only once"),
        (OnceBatches(), ValueError, "lr_find: the OnceBatches can be read only once"),
        (((x, y) for x, y in zip(X, Y, strict=True)), TypeError, "can be read only once"),
    ],
    ids=["dataset", "loader", "iterable", "generator"],
)
def test_data_that_can_be_read_only_once_are_refused(data: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        learner().lr_find(data, batch_size=8)


def test_a_stream_that_begins_anew_is_taken() -> None:
    class Stream(IterableDataset[tuple[Tensor, Tensor]]):
        def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
            return iter(zip(X, Y, strict=True))

    assert learner().lr_find(Stream(), batch_size=8, steps=25).updates == 25


def test_a_nested_trial_can_be_rewound() -> None:
    one = learner()
    with no_trace(one.module, one.optimizer) as snapshot:
        drawn = []
        for _ in range(2):
            snapshot.rewind()
            drawn.append((torch.rand(2).tolist(), one.module[0].weight.sum().item()))
            one.module[0].weight.data.add_(1.0)
            one.optimizer.param_groups[0]["extra"] = 1
    assert drawn[0] == drawn[1]
    assert "extra" not in one.optimizer.param_groups[0]
