"""When checkpoints are written, which are kept, what a damaged one costs, and what may change on resume."""

from __future__ import annotations

import errno
import math
import shutil
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import thalweg as tw
from tests.loop.test_resume import StopAt, data, learner, model
from thalweg.checkpoint import RunLock, checkpoints, read_manifest, step_of
from thalweg.loop import Cadence
from thalweg.loop.checkpoints import _all_finite


def fit(run: Path | None, stop: int = -1, module: nn.Module | None = None, **options: Any) -> tw.History:
    options = {"epochs": 3, "batch_size": 10, "verbose": False, "hooks": [StopAt(stop)], **options}
    if run is not None:
        options["run_dir"] = run
    return learner(module if module is not None else model(1), 0).fit(data(), valid=data(), **options)


def steps(run: Path) -> list[int]:
    return [step_of(path) for path in checkpoints(run)]


def test_occasions_go_together(tmp_path: Path) -> None:
    fit(tmp_path / "run", checkpoint_every=["2 epochs", "7 steps"], keep=99)
    assert steps(tmp_path / "run") == [7, 11, 14, 21, 22, 28, 33]


def test_by_the_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(0, 10_000, 20))  # each look at it is twenty seconds later
    monkeypatch.setattr("thalweg.loop.checkpoints.time.monotonic", lambda: float(next(clock)))
    fit(tmp_path / "run", checkpoint_every="2 minutes", keep=99)
    found = steps(tmp_path / "run")
    assert found == sorted(found)
    assert len(found) >= 4
    assert all(5 <= b - a <= 7 for a, b in pairwise(found))


def test_the_best_is_kept_beside_the_newest(tmp_path: Path) -> None:
    history = fit(tmp_path / "run", checkpoint_every=["best val_loss", "1 epochs"], keep=1, epochs=6)
    losses = [row["val_loss"] for row in history.epochs]
    best = 11 * (losses.index(min(losses)) + 1)
    assert steps(tmp_path / "run") == sorted({best, 66})
    facts = read_manifest(tmp_path / "run" / "checkpoints" / f"step-{best:09d}")["facts"]
    assert facts["best"] == min(losses)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("bad", [None, math.nan, math.inf])
def test_finite_is_told_from_a_sum_and_where_that_overflows_from_each_element(
    dtype: torch.dtype, bad: float | None
) -> None:
    largest = torch.finfo(dtype).max
    for values in ([1.0, 2.0, -3.0], [largest, largest, 1.0], [largest, -largest, -math.inf if bad else 0.0]):
        tensor = torch.tensor(values, dtype=dtype)
        if bad is not None:
            tensor[1] = bad
        assert _all_finite(tensor) == bool(torch.isfinite(tensor).all()) == (bad is None)


def test_the_last_finite_one_is_never_removed(tmp_path: Path) -> None:
    class Spoil(tw.Hook):
        def on_epoch_end(self, run: Any, row: dict[str, float]) -> None:
            if run.epoch == 2:
                run.module[0].weight.data[0, 0] = float("nan")

    module = model(1)
    fit(tmp_path / "run", module=module, epochs=2, keep=1, hooks=[Spoil()])
    assert steps(tmp_path / "run") == [11, 22]
    finite = [read_manifest(path)["facts"]["finite"] for path in checkpoints(tmp_path / "run")]
    assert finite == [True, False]


def test_a_damaged_one_gives_way_and_the_weights_come_out_the_same(tmp_path: Path) -> None:
    whole, resumed = model(1), model(2)
    fit(tmp_path / "whole", module=whole)
    run = tmp_path / "run"
    fit(run, 20, checkpoint_every="5 steps", keep=3)
    assert steps(run) == [10, 15, 20]
    path = run / "checkpoints" / "step-000000020" / "tensors.safetensors"
    content = bytearray(path.read_bytes())
    content[-5] ^= 16
    path.write_bytes(content)
    said = r"the SHA-256 of tensors\.safetensors .* — taking the one before, step-000000015"
    with pytest.warns(UserWarning, match=said):
        fit(None, module=resumed, resume=run)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_full_disk_ends_the_run_with_its_reason_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from thalweg.checkpoint import whole as seams

    whole, resumed = model(1), model(2)
    fit(tmp_path / "whole", module=whole)
    real, run = seams.put, tmp_path / "run"

    def full(handle: Any, content: Any) -> None:
        if "step-000000022" in handle.name:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle, content)

    monkeypatch.setattr(seams, "put", full)
    with pytest.raises(OSError, match=r"step-000000022: could not be written \(No space left on device\)"):
        fit(run)
    monkeypatch.setattr(seams, "put", real)
    assert steps(run) == [11]
    assert not (run / "lock").exists()
    fit(None, module=resumed, resume=run)
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))


def test_a_run_in_use_is_refused(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fit(run, 15)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    lock = RunLock(run)
    with pytest.raises(ValueError, match=r"is in use by process \d+ on .*; two processes in one run would spoil it"):
        fit(None, resume=run)
    lock.release()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_changes_are_named_and_reported(tmp_path: Path) -> None:
    fit(tmp_path / "run", 15)
    made = tw.Learner(
        model(1),
        optimizer="adamw",
        lr=3e-4,
        loss="cross_entropy",
        schedule="cosine",
        seed=0,
        step="eager",
        clip_norm=1.0,
    )
    options: dict[str, Any] = {"epochs": 5, "batch_size": 20, "verbose": False, "hooks": [StopAt(-1)]}
    with pytest.raises(ValueError, match=r"began with batch_size=10, but now batch_size=20.*change=\['batch_size'\]"):
        made.fit(data(), valid=data(), resume=tmp_path / "run", **options)
    assert made.fits == 0
    with pytest.warns(UserWarning, match="resume at step 15") as told:
        history = made.fit(
            data(), valid=data(), resume=tmp_path / "run", change=["batch_size", "lr", "schedule"], **options
        )
    lines = [text for _, kind, text in history.events if kind == "changed on resume"]
    assert lines[0] == "epochs: 5 in all, were 3"
    assert lines[1] == "batch_size: 20, was 10"
    assert lines[2].startswith("schedule: lr Cosine(")
    assert lines[3] == "lr: 0.0003, was 0.001"
    assert len(lines) == 4
    assert len(told) == 3, "the number of epochs is given in any case"
    # Batch 4 of epoch 2 would have been next: row 40 is where batch 2 of twenty begins. 103 rows are 6 such batches.
    assert history["step"].max() == 15 + (6 - 2) + 3 * 6
    assert history["lr"][15] <= 3e-4


@pytest.mark.filterwarnings("ignore:resume at step 14. (schedule|batch_size. 20)")
def test_a_position_within_a_batch_moves_back_and_says_how_many_rows_come_twice(tmp_path: Path) -> None:
    fit(tmp_path / "run", 14)  # three batches of ten into the second epoch
    with pytest.warns(UserWarning, match="10 rows of this epoch come a second time"):
        history = fit(None, resume=tmp_path / "run", batch_size=20, change=["batch_size"])
    assert history["step"].max() == 14 + (6 - 1) + 6


def test_frozen_layers_may_change(tmp_path: Path) -> None:
    fit(tmp_path / "run", 15)
    module = model(1)
    module[0].weight.requires_grad_(False)
    before = torch.zeros(0)
    with pytest.warns(UserWarning, match=r"frozen: 0\.weight; were nothing"):
        fit(None, 16, module=module, resume=tmp_path / "run", change=["frozen"])
    before = module[0].weight.detach().clone()
    other = model(1)
    other[0].weight.requires_grad_(False)
    fit(None, module=other, resume=tmp_path / "run")
    assert torch.equal(other[0].weight, before), "the frozen weight stayed as it was"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("2 fortnights", r"checkpoint_every='2 fortnights' is no interval.*, '10 minutes', 'best', or a list"),
        (["5 steps", "6 steps"], r"names steps twice"),
        ("0 minutes", r"is no interval"),
        ("best of all", r"is no interval"),
    ],
)
def test_occasions_that_make_no_sense(given: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Cadence.parse(given)


def test_what_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fit: unknown change 'rate'\..*Known: accumulate, batch_size"):
        fit(None, change=["rate"])
    with pytest.raises(ValueError, match=r"is about a run that is gone on with; pass resume too"):
        fit(None, change=["lr"])
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no checkpoint"):
        fit(None, resume=tmp_path / "empty")
    with pytest.raises(ValueError, match=r"unknown column of the best 'val_acc'\. Did you mean 'val_accuracy'"):
        fit(tmp_path / "run", checkpoint_every="best val_acc")
    saved = learner(model(1), 0).save(tmp_path / "learner")
    with pytest.raises(ValueError, match=r"is none of a run \(it has no seed"):
        fit(None, resume=saved)
    shutil.rmtree(saved)


def test_an_export_is_read_by_torch(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    from thalweg.loop import export

    module = model(1)
    made = tw.Learner(module, tw.optim.AdamW(lr=1e-3), "cross_entropy", no_decay=None, seed=0, device="cpu")
    made.fit(data(), batch_size=10, verbose=False, run_dir=tmp_path / "run")
    folder = export(tmp_path / "run", tmp_path / "out")
    weights = load_file(folder / "model.safetensors")
    assert all(torch.equal(weights[name], tensor) for name, tensor in module.state_dict().items())
    plain = model(2)
    plain.load_state_dict(weights)
    optimizer = torch.optim.AdamW(plain.parameters())
    optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True))
    assert optimizer.param_groups[0]["lr"] == made.optimizer.param_groups[0]["lr"]
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        for name in ("exp_avg", "exp_avg_sq"):
            assert torch.equal(made.optimizer.state[ours][name], optimizer.state[theirs][name])
        ours.grad = torch.ones_like(ours)
        theirs.grad = torch.ones_like(theirs)
    made.optimizer.step()
    optimizer.step()
    for ours, theirs in zip(module.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-6, atol=1e-7), "the next step is torch's own"
    with pytest.raises(ValueError, match=r"holds model\.safetensors and optimizer\.pt already"):
        export(tmp_path / "run", folder)
