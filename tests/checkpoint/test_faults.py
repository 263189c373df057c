"""Full disks, failing disks, flipped bits, killed writers and two processes at once."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch

from thalweg.checkpoint import (
    BackgroundWriter,
    RunLock,
    checkpoints,
    clear_leftovers,
    latest,
    load,
    load_newest,
    name_of,
    save,
    step_of,
    whole,
)

TENSORS = {"a": torch.arange(7.0), "b": torch.arange(4, dtype=torch.int64)}
SEAMS = ("put", "sync_file", "rename", "sync_directory")


def make(run: Path, step: int) -> Path:
    return save(run / "checkpoints" / name_of(step), {**TENSORS, "n": torch.tensor(step)}, {"step": step})


class Failing:
    """Lets the calls of a seam pass until the given one, which fails as the system would."""

    def __init__(self, at: int, number: int) -> None:
        self.at, self.number, self.calls = at, number, 0

    def patch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in SEAMS:
            monkeypatch.setattr(whole, name, self._wrapped(getattr(whole, name)))

    def _wrapped(self, real: object) -> object:
        def call(*arguments: object) -> object:
            self.calls += 1
            if self.calls == self.at:
                raise OSError(self.number, os.strerror(self.number))
            return real(*arguments)  # type: ignore[operator]

        return call


def count_of_calls(tmp_path: Path, *, replacing: bool) -> int:
    with pytest.MonkeyPatch.context() as patch:
        if replacing:
            make(tmp_path / "count", 5)
        counting = Failing(-1, 0)
        counting.patch(patch)
        make(tmp_path / "count", 5)
    return counting.calls


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("replacing", [False, True])
def test_a_failure_at_any_write_leaves_the_one_before(tmp_path: Path, number: int, replacing: bool) -> None:
    calls = count_of_calls(tmp_path, replacing=replacing)
    assert calls >= 13, "three files in seven pieces, three syncs, a rename and two directories"
    for at in range(1, calls + 1):
        run = tmp_path / f"run-{at}"
        make(run, 3)
        if replacing:
            make(run, 5)
        failing = Failing(at, number)
        with pytest.MonkeyPatch.context() as patch:
            failing.patch(patch)
            with pytest.raises(OSError, match=r"could not be written \(.*\); what was there before") as caught:
                make(run, 5)
        assert caught.value.errno == number
        folder, tensors, plain, wrong = load_newest(run)
        # The last failure possible is that of the directory's own fsync, when the new one is already in place.
        assert (plain["step"], wrong) in [(3, []), (5, [])]
        assert plain["step"] == 5 or not replacing
        assert int(tensors["n"]) == plain["step"] == step_of(folder)
        assert [e.name for e in (run / "checkpoints").iterdir() if e.name.endswith(".tmp")] == []
        make(run, 7)
        assert load_newest(run)[2]["step"] == 7


@pytest.mark.parametrize("name", ["manifest.json", "state.json", "tensors.safetensors"])
def test_a_flipped_bit_in_any_byte_is_noticed_and_the_one_before_taken(tmp_path: Path, name: str) -> None:
    make(tmp_path, 3)
    newest = make(tmp_path, 5)
    content = (newest / name).read_bytes()
    for position in range(0, len(content), max(1, len(content) // 60)):
        spoiled = bytearray(content)
        spoiled[position] ^= 1 << position % 8
        (newest / name).write_bytes(spoiled)
        folder, _, plain, wrong = load_newest(tmp_path)
        assert (folder.name, plain["step"]) == (name_of(3), 3), (position, chr(content[position]))
        assert len(wrong) == 1
        assert name_of(5) in wrong[0]
        with pytest.raises(ValueError, match=r"damaged|format|complete"):
            load(newest)
    (newest / name).write_bytes(content)
    assert load_newest(tmp_path)[2]["step"] == 5


def test_a_manifest_cut_anywhere_is_noticed(tmp_path: Path) -> None:
    make(tmp_path, 3)
    newest = make(tmp_path, 5)
    content = (newest / "manifest.json").read_bytes()
    for length in range(0, len(content), 17):
        (newest / "manifest.json").write_bytes(content[:length])
        assert load_newest(tmp_path)[2]["step"] == 3


def test_none_whole_is_said_with_every_reason(tmp_path: Path) -> None:
    for step in (3, 5):
        (make(tmp_path, step) / "state.json").write_text("")
    with pytest.raises(ValueError, match=r"holds 2 checkpoints and none is whole:\n.*step-000000005.*\n.*000000003"):
        load_newest(tmp_path)


def test_a_read_only_directory_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *arguments: object, **options: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "mkdir", refuse)  # whoever runs as root may write to a read-only directory
    with pytest.raises(OSError, match=r"could not be written \(Permission denied\)"):
        make(tmp_path, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="POSIX processes")
def test_a_writer_killed_at_any_call_leaves_a_whole_checkpoint(tmp_path: Path) -> None:
    calls = count_of_calls(tmp_path, replacing=True)
    for at in range(1, calls + 1):
        run = tmp_path / f"killed-{at}"
        make(run, 3)
        make(run, 5)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # newer Pythons warn of threads, which write nothing
            child = os.fork()
        if child == 0:  # no thread but this one; nothing of the parent is touched
            remaining = at

            def wrapped(real: object) -> object:
                def call(*arguments: object) -> object:
                    nonlocal remaining
                    remaining -= 1
                    if remaining == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*arguments)  # type: ignore[operator]

                return call

            for name in SEAMS:
                setattr(whole, name, wrapped(getattr(whole, name)))
            try:
                make(run, 5)
            finally:
                os._exit(0)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status), at
        assert load_newest(run)[2]["step"] == 5, at
        assert latest(run).name == name_of(5)
        clear_leftovers(run)
        assert sorted(e.name for e in (run / "checkpoints").iterdir()) == [name_of(3), name_of(5)]
        assert load_newest(run)[2]["step"] == 5, at


def test_the_one_set_aside_counts_until_its_successor_is_there(tmp_path: Path) -> None:
    made = make(tmp_path, 5)
    made.rename(made.with_name(f".{made.name}.old"))
    (made.parent / f".{name_of(9)}.123.tmp").mkdir()
    assert [path.name for path in checkpoints(tmp_path)] == [name_of(5)]
    assert load(latest(tmp_path))[1]["step"] == 5
    clear_leftovers(tmp_path)
    assert [entry.name for entry in made.parent.iterdir()] == [name_of(5)]


HOLDER = """
import sys, time
from pathlib import Path
from thalweg.checkpoint import RunLock
lock = RunLock(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(600)
"""


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL is POSIX's")
def test_the_second_process_is_refused_and_a_dead_one_holds_nothing(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == b"held\n"
            with pytest.raises(ValueError, match=rf"is in use by process {holder.pid} on .*; two processes in one run"):
                RunLock(tmp_path)
        finally:
            holder.kill()
        holder.wait(timeout=30)
    assert (tmp_path / "lock").exists(), "a killed process cannot tidy up"
    lock = RunLock(tmp_path)
    lock.release()
    lock.release()
    assert not (tmp_path / "lock").exists()


def test_a_failure_in_the_background_is_raised_at_the_next_call() -> None:
    writer = BackgroundWriter()

    def fail() -> None:
        raise OSError(errno.ENOSPC, "disk full")

    writer.submit(fail)
    with pytest.raises(OSError, match="disk full"):
        writer.submit(lambda: None)
    writer.wait()
    order: list[int] = []
    for index in range(5):
        writer.submit(lambda index=index: order.append(index))
    writer.wait()
    assert order == [0, 1, 2, 3, 4]
