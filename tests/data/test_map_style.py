"""A map-style Dataset in our order: every sample once, exact from any position, no generator moved."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import Dataset

from thalweg.data import MapStyleSource, MemorySource


class Noisy(Dataset[tuple[int, float]]):
    """Row numbers, each with a draw from the global generator."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[int, float]:
        return index, torch.rand(()).item()


def rows(batches: Any) -> list[list[int]]:
    return [batch[0].tolist() for batch in batches]


@given(
    n=st.integers(1, 40),
    batch_size=st.integers(1, 9),
    shuffle=st.booleans(),
    drop_last=st.booleans(),
    epoch=st.integers(0, 9),
    data=st.data(),
)
def test_it_serves_what_memory_would(
    n: int, batch_size: int, shuffle: bool, drop_last: bool, epoch: int, data: Any
) -> None:
    if drop_last and n < batch_size:
        return
    settings: Any = {"batch_size": batch_size, "shuffle": shuffle, "drop_last": drop_last, "seed": 11}
    served = MapStyleSource(Noisy(n), **settings)
    expected = rows(MemorySource((torch.arange(n),), **settings).batches(epoch))
    start = data.draw(st.integers(0, served.steps_per_epoch))
    assert rows(served.batches(epoch, start)) == expected[start:]
    for index, batch in enumerate(expected):
        assert served.rows_of(epoch, index).tolist() == batch


def test_only_the_data_set_draws_from_the_global_generator() -> None:
    served = MapStyleSource(Noisy(5), batch_size=2)
    torch.manual_seed(3)
    list(served.batches(0))
    after = torch.rand(())
    torch.manual_seed(3)
    for _ in range(5):
        torch.rand(())
    assert torch.equal(torch.rand(()), after)


def test_an_example_batch_consumes_no_randomness() -> None:
    served = MapStyleSource(Noisy(5), batch_size=2)
    before = torch.get_rng_state()
    assert rows([served.first()]) == [[0, 1]]
    assert torch.equal(before, torch.get_rng_state())


def test_gather_collates_the_rows() -> None:
    assert MapStyleSource(Noisy(5)).gather(torch.tensor([4, 0]))[0].tolist() == [4, 0]


def test_batches_are_moved() -> None:
    served = MapStyleSource(Noisy(5), batch_size=2, device="meta")
    assert next(served.batches(0))[0].device == torch.device("meta")


def test_state_fits_only_the_same_settings() -> None:
    served = MapStyleSource(Noisy(5), batch_size=2)
    served.load_state(served.state())
    with pytest.raises(ValueError, match=r"the run began with batch_size=2, but now batch_size=3"):
        MapStyleSource(Noisy(5), batch_size=3).load_state(served.state())
