"""A DataLoader passes through, and goes on in the middle of an epoch as if it had not stopped."""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Sampler,
    TensorDataset,
    WeightedRandomSampler,
)

from thalweg.data import LoaderSource, source
from thalweg.data.random_state import capture, restore

N = 23


class Augmented(Dataset[torch.Tensor]):
    """Samples with noise from torch's, NumPy's and Python's global generator."""

    def __len__(self) -> int:
        return N

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor([index, torch.rand(()).item(), np.random.rand(), random.random()])  # noqa: NPY002


class Stream(IterableDataset[torch.Tensor]):
    """A data set without a length, in a random order."""

    def __iter__(self) -> Iterator[torch.Tensor]:
        yield from torch.randperm(N)


class Shuffled(Sampler[int]):
    """A sampler that draws from Python's global generator."""

    def __iter__(self) -> Iterator[int]:
        order = list(range(N))
        random.shuffle(order)
        return iter(order)

    def __len__(self) -> int:
        return N


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


LOADERS: dict[str, Callable[[], DataLoader[Any]]] = {
    "shuffled": lambda: DataLoader(TensorDataset(torch.arange(N)), 4, shuffle=True),
    "in order": lambda: DataLoader(TensorDataset(torch.arange(N)), 4),
    "drop_last": lambda: DataLoader(TensorDataset(torch.arange(N)), 4, shuffle=True, drop_last=True),
    "a generator": lambda: DataLoader(TensorDataset(torch.arange(N)), 4, shuffle=True, generator=seeded(1)),
    "a sampler's generator": lambda: DataLoader(
        TensorDataset(torch.arange(N)), 4, sampler=RandomSampler(range(N), replacement=True, generator=seeded(2))
    ),
    "a batch sampler's generator": lambda: DataLoader(
        TensorDataset(torch.arange(N)),
        batch_sampler=BatchSampler(RandomSampler(range(N), generator=seeded(3)), 4, False),
    ),
    "weighted": lambda: DataLoader(
        TensorDataset(torch.arange(N)), 4, sampler=WeightedRandomSampler([1.0] * N, N, generator=seeded(4))
    ),
    "Python's generator": lambda: DataLoader(TensorDataset(torch.arange(N)), 4, sampler=Shuffled()),
    "augmentation": lambda: DataLoader(Augmented(), 4, shuffle=True),
    "iterable": lambda: DataLoader(Stream(), 4),
    "unbatched": lambda: DataLoader(TensorDataset(torch.arange(N)), batch_size=None, shuffle=True),
    "workers": lambda: DataLoader(Augmented(), 4, shuffle=True, num_workers=1),
}


def numbers(batch: Any) -> list[Any]:
    return (batch if isinstance(batch, torch.Tensor) else torch.stack(tuple(batch))).tolist()


def train(batches: Iterator[Any], steps: int | None = None) -> list[Any]:
    """Take batches as a loop would, with a draw of its own (dropout) after each."""
    seen: list[Any] = []
    while steps is None or len(seen) < steps:
        batch = next(batches, None)
        if batch is None:
            break
        seen.append(numbers(batch))
        torch.rand(3)
    return seen


def saved(state: Any) -> Any:
    """Return *state* after a stay in a file."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file)


@pytest.mark.parametrize("name", LOADERS)
@pytest.mark.parametrize("stop", [0, 3, 4])
def test_resuming_in_the_middle_of_an_epoch_is_exact(name: str, stop: int) -> None:
    torch.manual_seed(7)
    first = source(LOADERS[name]())
    train(first.batches(0))
    running = first.batches(1)
    train(running, stop)
    state, present = saved(first.state()), saved(capture())
    expected = [train(running), train(first.batches(2))]
    after = capture()

    torch.manual_seed(99)  # another process: nothing is as it was, and its own example batch has been looked at
    second = source(LOADERS[name]())
    second.first()
    restore(present)
    second.load_state(state)
    found = [train(second.batches(1, stop)), train(second.batches(2))]
    assert found == expected
    assert found[0]
    assert all(torch.equal(value, after[key]) for key, value in capture().items() if isinstance(value, torch.Tensor))


@pytest.mark.parametrize("name", LOADERS)
def test_stopping_between_epochs_is_exact(name: str) -> None:
    torch.manual_seed(7)
    first = source(LOADERS[name]())
    train(first.batches(0))
    state, present = saved(first.state()), saved(capture())
    expected = train(first.batches(1))
    torch.manual_seed(99)
    second = source(LOADERS[name]())
    restore(present)
    second.load_state(state)
    assert train(second.batches(1)) == expected


@pytest.mark.parametrize("name", LOADERS)
def test_an_example_batch_consumes_no_randomness(name: str) -> None:
    loader = LOADERS[name]()
    served = LoaderSource(loader)
    before = capture(served._generators)
    assert numbers(served.first())
    after = capture(served._generators)
    assert all(
        torch.equal(after[key], value) if isinstance(value, torch.Tensor) else after[key] == value
        for key, value in before.items()
    )


def test_workers_with_an_example_batch_of_an_unbatched_loader() -> None:
    loader = DataLoader(TensorDataset(torch.arange(N)), batch_size=None, num_workers=1)
    assert numbers(LoaderSource(loader).first()) == [0]


def test_batches_are_the_loaders_own() -> None:
    batches = list(LOADERS["in order"]())
    served = source(LOADERS["in order"](), batch_size=1, shuffle=True, seed=5)
    assert [numbers(batch) for batch in served.batches(0)] == [numbers(batch) for batch in batches]
    assert (served.n, served.batch_size, served.steps_per_epoch) == (N, 4, 6)
    assert type(next(served.batches(0))) is type(batches[0])


def test_a_stream_has_no_length() -> None:
    served = source(LOADERS["iterable"]())
    assert (served.n, served.steps_per_epoch) == (None, None)
    assert sum(len(batch) for batch in served.batches(0)) == N


def test_batches_are_moved() -> None:
    served = source(LOADERS["in order"](), device="meta")
    assert next(served.batches(0))[0].device == served.first()[0].device == torch.device("meta")


class Told(Shuffled):
    """A sampler that wants to know the epoch, as DistributedSampler does."""

    def __init__(self) -> None:
        self.told: list[int] = []

    def set_epoch(self, epoch: int) -> None:
        self.told.append(epoch)


@pytest.mark.parametrize("nested", [False, True])
def test_samplers_are_told_the_epoch(nested: bool) -> None:
    sampler = Told()
    data = TensorDataset(torch.arange(N))
    loader: Any = (
        DataLoader(data, batch_sampler=BatchSampler(sampler, 4, False))
        if nested
        else DataLoader(data, 4, sampler=sampler)
    )
    served = source(loader)
    for epoch in (0, 1, 5):
        list(served.batches(epoch))
    assert sampler.told == [0, 1, 5]


def test_an_unknown_position() -> None:
    served = source(LOADERS["shuffled"]())
    with pytest.raises(ValueError, match=r"batch 2 of epoch 1 was asked for.*call load_state"):
        served.batches(1, 2)
    with pytest.raises(ValueError, match=r"batch 7 of epoch 0 was asked for.* 6 batches"):
        served.batches(0, 7)
    with pytest.raises(ValueError, match=r"batch -1 of epoch 0 was asked for.* an unknown number of batches"):
        source(LOADERS["iterable"]()).batches(0, -1)


def test_a_state_of_other_data() -> None:
    state = source(LOADERS["a generator"]()).state()
    with pytest.raises(ValueError, match=r"\(epoch, now.0\) is not one of a DataLoader with 0 generators"):
        source(LOADERS["shuffled"]()).load_state(state)
    with pytest.raises(ValueError, match=r"\(empty\) is not one of a DataLoader"):
        source(LOADERS["shuffled"]()).load_state({})


def test_a_stream_that_has_become_shorter() -> None:
    long = source(_Lines(10))
    train(long.batches(0), 8)
    short = source(_Lines(5))
    short.load_state(long.state())
    with pytest.raises(ValueError, match=r"ended after 5 batches of epoch 0, but the run had read 8"):
        short.batches(0, 8)


class _Lines:
    """An iterable of batches without a length."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __iter__(self) -> Iterator[torch.Tensor]:
        return (torch.tensor([i]) for i in range(self.count))


def test_generators_are_set_back_when_replaying_fails() -> None:
    served = source(_Lines(5))
    list(served.batches(0))
    before = capture()
    with pytest.raises(ValueError, match="ended after 5"):
        served.batches(0, 9)
    assert torch.equal(before["torch"], torch.get_rng_state())


def test_an_empty_stream() -> None:
    with pytest.raises(ValueError, match=r"the _Lines gave no batch; its data are empty, or can be read only once"):
        source(_Lines(0)).first()


def test_rows_are_not_known() -> None:
    served = source(LOADERS["in order"]())
    with pytest.raises(TypeError, match=r"LoaderSource.rows_of: batch 2 of epoch 0.*instead of a DataLoader"):
        served.rows_of(0, 2)
    with pytest.raises(TypeError, match=r"LoaderSource.gather: 3 rows were asked for"):
        served.gather(torch.arange(3))
