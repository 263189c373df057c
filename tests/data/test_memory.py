"""Data in memory: every row once, the same batches again, gathers of several batches that do not show."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from thalweg.data import MemorySource, permutation
from thalweg.data import memory as memory_module

shapes = st.tuples(st.integers(1, 70), st.integers(1, 20), st.booleans(), st.booleans(), st.integers(0, 2**40))


def make(n: int, batch_size: int, shuffle: bool, drop_last: bool, seed: int) -> MemorySource:
    rows = torch.arange(n)
    return MemorySource(
        (rows[:, None] * torch.ones(3), rows), batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, seed=seed
    )


def lists(batches: Any) -> list[list[int]]:
    return [y.tolist() for _, y in batches]


def joined(batches: list[list[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@given(shape=shapes, epoch=st.integers(0, 1000))
def test_every_row_exactly_once_per_epoch(shape: tuple[int, int, bool, bool, int], epoch: int) -> None:
    n, batch_size, shuffle, _, seed = shape
    source = make(n, batch_size, shuffle, False, seed)
    batches = lists(source.batches(epoch))
    assert len(batches) == source.steps_per_epoch
    assert sorted(joined(batches)) == list(range(n))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(shape=shapes, epoch=st.integers(0, 1000), data=st.data())
def test_the_same_batches_from_any_start(shape: tuple[int, int, bool, bool, int], epoch: int, data: Any) -> None:
    n, batch_size, *_ = shape
    if shape[3] and n < batch_size:
        return
    source = make(*shape)
    whole = list(source.batches(epoch))
    start = data.draw(st.integers(0, source.steps_per_epoch))
    resumed = list(make(*shape).batches(epoch, start))
    assert lists(resumed) == lists(whole[start:])
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(resumed, whole[start:], strict=True))


@given(shape=shapes, epoch=st.integers(0, 1000))
def test_rows_of_names_the_rows_of_a_batch(shape: tuple[int, int, bool, bool, int], epoch: int) -> None:
    n, batch_size, *_ = shape
    if shape[3] and n < batch_size:
        return
    source = make(*shape)
    for index, (x, y) in enumerate(source.batches(epoch)):
        rows = source.rows_of(epoch, index)
        assert torch.equal(rows, y)
        gathered, _ = source.gather(rows)
        assert torch.equal(gathered, x)


@given(shape=shapes)
def test_drop_last_keeps_whole_batches(shape: tuple[int, int, bool, bool, int]) -> None:
    n, batch_size, shuffle, _, seed = shape
    if n < batch_size:
        return
    batches = lists(make(n, batch_size, shuffle, True, seed).batches(0))
    assert [len(batch) for batch in batches] == [batch_size] * (n // batch_size)
    assert len(set(joined(batches))) == n // batch_size * batch_size


@pytest.mark.parametrize("gather_bytes", [0, 1, 100, 1000, 10**9])
@pytest.mark.parametrize("start", [0, 1, 5, 12, 13])
def test_how_many_batches_are_gathered_at_once_does_not_show(
    gather_bytes: int, start: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(memory_module, "GATHER_BYTES", gather_bytes)
    source = make(64, 5, True, False, 9)
    order = permutation(64, 9, 2).tolist()
    expected = [order[i : i + 5] for i in range(start * 5, 64, 5)]
    assert lists(source.batches(2, start)) == expected


def test_epochs_and_seeds_differ() -> None:
    orders = [lists(make(50, 50, True, False, seed).batches(epoch))[0] for seed in (0, 1) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_unshuffled_batches_are_slices_and_shuffled_ones_copies() -> None:
    x = torch.arange(6.0)
    sliced = next(MemorySource((x, x), batch_size=4, shuffle=False).batches(0))[0]
    assert sliced.data_ptr() == x.data_ptr()
    shuffled = MemorySource((x, x), batch_size=4)
    for batch, _ in shuffled.batches(0):
        batch.zero_()
    assert x.tolist() == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]


def test_batches_that_are_kept_are_not_overwritten() -> None:
    kept = list(make(64, 4, True, False, 0).batches(0))
    assert sorted(joined(lists(kept))) == list(range(64))


def test_torch_and_writable_float32_memory_is_shared_and_the_rest_copied() -> None:
    x = np.zeros((4, 2), np.float32)
    frozen = np.zeros(4, np.float32)
    frozen.flags.writeable = False
    source = MemorySource((x, frozen))
    assert source.leaves[0].data_ptr() == x.ctypes.data
    assert source.leaves[1].data_ptr() != frozen.ctypes.data


def test_rows_that_are_not_contiguous_are_made_so_once() -> None:
    x = torch.arange(12.0).reshape(2, 6).T
    source = MemorySource(x, batch_size=4, shuffle=False)
    assert source.leaves[0].is_contiguous()
    assert torch.equal(source.whole(), x)


def test_no_gradient_flows_into_the_data() -> None:
    x = torch.ones(4, 2, requires_grad=True)
    assert not next(MemorySource((x, x)).batches(0))[0].requires_grad


def test_whole_is_the_data_in_order() -> None:
    x, y = torch.arange(4.0), torch.arange(4)
    whole = MemorySource(((x, x), y)).whole()
    assert whole[0][1].data_ptr() == x.data_ptr()
    assert whole[1].data_ptr() == y.data_ptr()


def test_no_generator_is_touched() -> None:
    source = make(64, 8, True, False, 0)
    before = torch.get_rng_state()
    source.first()
    list(source.batches(0))
    source.rows_of(0, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_state_is_plain_and_fits_only_the_same_settings() -> None:
    source = make(10, 4, True, False, 7)
    assert source.state() == {"n": 10, "batch_size": 4, "shuffle": True, "drop_last": False, "seed": 7}
    make(10, 4, True, False, 7).load_state(source.state())
    with pytest.raises(ValueError, match=r"the run began with n=10, but now n=11"):
        make(11, 4, True, False, 7).load_state(source.state())
    with pytest.raises(ValueError, match=r"the run began with seed=7, but now seed=8"):
        make(10, 4, True, False, 8).load_state(source.state())
    with pytest.raises(ValueError, match=r"the saved state has no 'n'.*another kind of data \(it holds epoch\)"):
        source.load_state({"epoch": 3})


@pytest.mark.parametrize(("epoch", "start"), [(0, 4), (0, -1), (-1, 0)])
def test_positions_outside_an_epoch(epoch: int, start: int) -> None:
    with pytest.raises(ValueError, match=rf"batch {start} of epoch {epoch} was asked for.* an epoch has 3 batches"):
        make(10, 4, True, False, 0).batches(epoch, start)


def test_the_end_of_an_epoch_is_a_position() -> None:
    for shuffle in (True, False):
        assert list(make(10, 4, shuffle, False, 0).batches(0, 3)) == []


def test_part_takes_rows_and_keeps_columns() -> None:
    frame = pd.DataFrame({"a": [0.0, 1.0, 2.0, float("nan")], "b": [1, 2, 3, 4]})
    source = MemorySource((frame, [0, 1, 2, 3]), batch_size=2, seed=5)
    part = source.part(torch.tensor([3, 1]), shuffle=False, drop_last=False)
    assert (part.n, part.batch_size, part.seed) == (2, 2, 5)
    assert part.whole()[1].tolist() == [3, 1]
    with pytest.raises(ValueError, match=r"x is nan in row 0, column 'a'"):
        part.check()
