"""Leaving and taking up: nothing lost, nothing twice, whoever goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from thalweg.data import StreamDataset, StreamSource, stream
from thalweg.data.streams.ahead import Ahead
from thalweg.data.streams.order import Order

ROWS = 3001
HERE = Path(__file__).resolve().parent


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A file of numbered rows."""
    values = np.random.default_rng(0).normal(size=(ROWS, 5)).astype(np.float32)
    values[:, 0] = np.arange(ROWS)
    np.save(tmp_path / "rows.npy", values)
    return str(tmp_path / "rows.npy")


def make(path: str, **settings: Any) -> StreamSource:
    return stream(path, **{"batch_size": 64, "seed": 11, "memory": "4 MiB", **settings})


def numbers(batches: Any) -> list[list[int]]:
    return [batch[:, 0].long().tolist() for batch in batches]


def test_killed_processes_lose_no_row_and_read_none_twice(path: str) -> None:
    """Fifty-four deaths, eighteen in every order."""
    command = [sys.executable, str(HERE / "killed_runs.py"), path, "18", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for shuffle, found in zip(("block", "full", False), json.loads(done.stdout).values(), strict=True):
        assert sum(map(len, found.values())) > ROWS, "the deaths are spread over more than an epoch"
        for epoch, rows in found.items():
            whole = list(chain(*numbers(make(path, shuffle=shuffle).batches(int(epoch)))))
            if int(epoch) < len(found) - 1:
                assert sorted(rows) == list(range(ROWS))
            assert rows == whole[: len(rows)]


@pytest.mark.parametrize("shuffle", ["block", "full", False])
@pytest.mark.parametrize("ranks", [1, 2, 3, 5])
def test_ranks_share_the_batches_of_one_process(path: str, shuffle: Any, ranks: int) -> None:
    alone = numbers(make(path, shuffle=shuffle).batches(2))
    shares = [make(path, shuffle=shuffle, rank=rank, world_size=ranks) for rank in range(ranks)]
    for index, parts in enumerate(zip(*(numbers(share.batches(2)) for share in shares), strict=True)):
        together: list[int] = [-1] * len(alone[index])
        for rank, part in enumerate(parts):
            together[rank::ranks] = part
            assert shares[rank].rows_of(2, index).tolist() == part
        assert together == alone[index]


def test_the_last_batch_may_be_empty_for_a_rank_so_that_all_keep_step(path: str) -> None:
    source = make(path, batch_size=1500, rank=2, world_size=3)  # the last batch has one row, of rank 0
    assert [len(batch) for batch in source.batches(0)] == [500, 500, 0]


@pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning")  # three workers on two cores
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_a_data_loader_gives_the_same_batches_with_any_number_of_workers(path: str, workers: int) -> None:
    source = make(path, batch_size=256)
    loader = DataLoader(StreamDataset(source, epoch=1, start=3), batch_size=None, num_workers=workers)
    assert numbers(loader) == numbers(source.batches(1, 3))
    assert len(loader) == source.steps_per_epoch - 3


def test_a_data_set_begins_other_epochs_at_their_beginning(path: str) -> None:
    data = StreamDataset(make(path), epoch=1, start=3)
    data.set_epoch(1)
    assert data.start == 3
    data.set_epoch(2)
    assert numbers(data) == numbers(data.source.batches(2))


def test_a_data_set_takes_streams_only() -> None:
    with pytest.raises(TypeError, match=r"StreamDataset: got a list; give what thalweg\.data\.stream returns"):
        StreamDataset([1, 2])  # type: ignore[arg-type]


@pytest.mark.parametrize("stop", [0, 1, 17, 46, 47])
def test_remaining_goes_on_after_any_batch(path: str, stop: int) -> None:
    source = make(path)
    batches = source.batches(4)
    read = [next(batches)[:, 0].long().tolist() for _ in range(stop)]
    text = json.dumps(source.state() if stop else {**source.state(), "epoch": 4})
    assert len(text) < 1024
    other = make(path)
    other.load_state(json.loads(text))
    assert read + numbers(other.remaining()) == numbers(make(path).batches(4))


def test_reading_ahead_is_not_counted(path: str) -> None:
    source = make(path, batch_size=10)
    batches = source.batches(0)
    for _ in range(3):
        next(batches)
    assert source.state()["position"] == 30


@pytest.mark.parametrize("start", [0, 5, 46])
def test_batches_begin_anywhere(path: str, start: int) -> None:
    assert numbers(make(path).batches(3, start)) == numbers(make(path).batches(3))[start:]


def test_epochs_differ_and_repeat(path: str) -> None:
    first, second = (numbers(make(path).batches(epoch)) for epoch in (0, 1))
    assert first != second
    assert first == numbers(make(path).batches(0))
    assert first != numbers(make(path, seed=12).batches(0))
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(ROWS))


def test_block_order_mixes_rows_of_far_places(path: str) -> None:
    batch = numbers(make(path).batches(0))[0]
    assert max(batch) - min(batch) > ROWS // 2
    assert batch != sorted(batch)


def test_batches_that_are_kept_are_not_written_over(path: str) -> None:
    source = make(path)
    kept = list(source.batches(0))
    for _ in source.batches(1):
        pass
    assert numbers(kept) == [source.rows_of(0, index).tolist() for index in range(source.steps_per_epoch)]


def test_drop_last_leaves_the_rest_out(path: str) -> None:
    source = make(path, drop_last=True)
    assert source.steps_per_epoch == ROWS // 64
    assert {len(batch) for batch in source.batches(0)} == {64}


def test_some_batches_in_one_go(path: str) -> None:
    source = make(path)
    whole = numbers(source.batches(1))
    assert numbers(source.some(1, [2, 3, 11])) == [whole[2], whole[3], whole[11]]
    assert numbers(source.some(1, [])) == []


# ---------------------------------------------------------------------------------------------------------- refusals


def test_changed_files_are_refused(path: str) -> None:
    state = make(path).state()
    values = np.load(path)
    values[1500, 2] += 1
    np.save(path, values)
    with pytest.raises(ValueError, match="the files have changed since the state was saved"):
        make(path).load_state(state)


def test_a_longer_file_is_refused(path: str) -> None:
    state = make(path).state()
    np.save(path, np.concatenate([np.load(path)] * 2))
    with pytest.raises(ValueError, match=r"3001 rows then, 6002 now"):
        make(path).load_state(state)


def test_other_settings_are_refused(path: str) -> None:
    state = make(path).state()
    with pytest.raises(ValueError, match="the run began with batch_size=64, but now batch_size=32"):
        make(path, batch_size=32).load_state(state)
    with pytest.raises(ValueError, match="the run began with seed=11, but now seed=12"):
        make(path, seed=12).load_state(state)
    with pytest.raises(ValueError, match="or other columns or types are asked for"):
        make(path, columns=[0, 1]).load_state(state)


def test_other_kinds_of_state_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="belongs to another kind of data"):
        make(path).load_state({"epoch": 0})


def test_the_fingerprint_does_not_depend_on_the_folder(path: str, tmp_path: Path) -> None:
    import shutil

    (tmp_path / "other").mkdir()
    copy = shutil.copy2(path, tmp_path / "other" / "rows.npy")
    assert make(copy).fingerprint == make(path).fingerprint


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"rank": 1}, "rank=1 and world_size=None, but one says nothing without the other"),
        ({"rank": 2, "world_size": 2}, "rank=2 must be in 0 … world_size − 1 = 1"),
        ({"rank": 0, "world_size": 100}, "batch_size=64 counts the rows of all ranks together, and there are 100"),
    ],
)
def test_ranks_that_cannot_be_are_refused(path: str, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make(path, **settings)


def test_torchrun_says_the_rank(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    source = make(path)
    assert (source.rank, source.world_size) == (1, 2)
    assert torch.equal(source.rows_of(0, 0), make(path, rank=0, world_size=1).rows_of(0, 0)[1::2])


@pytest.mark.parametrize("shuffle", [False, "block"])
def test_rows_that_come_slowly_are_asked_for_ahead(shuffle: Any) -> None:
    order = Order(np.arange(0, 30_001, 100), shuffle, seed=0, window=8).epoch(0)
    asked: list[tuple[int, int]] = []

    class Reader:
        def will_need(self, blocks: Any) -> None:
            asked.extend(blocks)

    ahead = Ahead(order, Reader(), 16)  # type: ignore[arg-type]
    ahead.took(0.0, 0, 500)
    assert not asked, "rows out of the page cache need no hints"
    for first in (500, 1000, 1500):
        ahead.took(1.0, first, first + 500)
    assert not asked, "a few slow batches may have been held up by anything"
    ahead.took(1.0, 2000, 2500)
    for first in range(2500, 10_000, 500):
        ahead.took(0.0, first, first + 500)
    told = np.concatenate([np.arange(*block) for block in asked])
    assert len(np.unique(told)) == len(told), "nothing is asked for twice"
    assert set(order.rows(4000, 10_000).tolist()) <= set(told.tolist())


@pytest.mark.parametrize("shuffle", [False, "block", "full"])
def test_a_state_stays_below_a_kilobyte_whatever_the_files_are(tmp_path: Path, shuffle: Any) -> None:
    for number in range(40):
        np.save(tmp_path / f"{'a-long-name-' * 12}{number:03}.npy", np.zeros((50, 300)))
    source = stream(str(tmp_path), shuffle=shuffle, seed=2**63 - 1, batch_size=7, target=299)
    next(source.batches(10**12))
    state = source.state()
    assert len(json.dumps(state).encode()) < 1024
    again = stream(str(tmp_path), shuffle=shuffle, seed=2**63 - 1, batch_size=7, target=299)
    again.load_state(json.loads(json.dumps(state)))
    assert (again.epoch, again.batch) == (10**12, 1)


def test_two_gloo_processes_read_what_one_would(path: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    run = [*command, str(HERE / "gloo_ranks.py"), path, str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    whole = [batch[:, 0].tolist() for batch in make(path).batches(3)]
    for index, rows in enumerate(whole):
        shares = [json.loads((tmp_path / f"rank{rank}.json").read_text())["batches"][index] for rank in range(2)]
        assert [rows[0::2], rows[1::2]] == shares
    said = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert said[0]["sum"] == said[1]["sum"] == sum(map(sum, whole)), "an all-reduce after every batch kept step"
