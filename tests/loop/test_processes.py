"""Two gloo processes train as one does: the same losses, norms, weights; only the first one writes."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as distributed
from torch import Tensor, nn

import thalweg as tw
from thalweg.loop import Processes, shared

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked from this one"),
    pytest.mark.skipif(not distributed.is_gloo_available(), reason="gloo is not built in"),
]
Work = Callable[[int], Any]


def together(folder: Path, world_size: int, work: Work, *, fails: tuple[int, ...] = ()) -> list[Any]:
    """Run *work* in so many processes with a process group, and return what each returned."""
    folder.mkdir(parents=True, exist_ok=True)
    children = []
    for rank in range(world_size):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child:
            children.append(child)
            continue
        status = 1
        try:
            warnings.resetwarnings()
            warnings.simplefilter("ignore")
            torch.set_num_threads(1)
            store = distributed.FileStore(str(folder / "store"), world_size)
            distributed.init_process_group("gloo", store=store, rank=rank, world_size=world_size)
            torch.save(work(rank), folder / f"result-{rank}")
            distributed.destroy_process_group()
            status = 0
        except BaseException:
            (folder / f"error-{rank}").write_text(traceback.format_exc())
        finally:
            os._exit(status)
    statuses = [os.waitpid(child, 0)[1] for child in children]
    for rank, status in enumerate(statuses):
        if rank not in fails:
            said = folder / f"error-{rank}"
            assert status == 0, said.read_text() if said.exists() else status
    results = []
    for rank in range(world_size):
        path = folder / f"result-{rank}"
        results.append(torch.load(path, weights_only=False) if path.exists() else None)
    return results


@pytest.fixture(autouse=True)
def one_thread() -> Any:
    """Threads of torch do not survive a fork."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def data(n: int = 101) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(n, 5, generator=generator), torch.randint(0, 3, (n,), generator=generator)


def tokens() -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(0, 11, (60, 7), generator=generator)
    lengths = torch.randint(1, 7, (60, 1), generator=generator)
    return {"input_ids": ids, "labels": ids.masked_fill(torch.arange(7) > lengths, -100)}


class Words(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(11, 6), nn.Linear(6, 11)

    def forward(self, input_ids: Tensor) -> Tensor:
        return self.out(self.embed(input_ids))


def train(kind: str, stop: int = -1, **options: Any) -> dict[str, Any]:
    from tests.loop.test_resume import StopAt

    torch.manual_seed(7)
    if kind.startswith("stream "):
        module = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 1))
        learner = tw.Learner(module, "adam", "mse", lr=1e-2, clip_norm=0.5, seed=1, device="cpu")
        given = tw.data.stream(kind.removeprefix("stream "), target=[5], batch_size=10, seed=4)
        valid = None
    elif kind == "tokens":
        module: nn.Module = Words()
        learner = tw.Learner(module, "sgd", "token_cross_entropy", lr=0.5, clip_norm=0.7, seed=1, device="cpu")
        given: Any = tokens()
        valid: Any = tokens()
    else:
        module = nn.Sequential(nn.Linear(5, 16), nn.Tanh(), nn.Linear(16, 3))
        learner = tw.Learner(
            module,
            "adamw",
            "cross_entropy",
            ["accuracy"],
            schedule="one_cycle",
            penalty=tw.L2(1e-4),
            clip_norm=0.5,
            seed=1,
            device="cpu",
        )
        given, valid = data(), data(37)
    settings = {"batch_size": 10, "epochs": 10, "verbose": False, "valid": valid, "hooks": [StopAt(stop)], **options}
    history = learner.fit(given, **settings)
    return {
        "weights": {name: t.clone() for name, t in module.state_dict().items()},
        "steps": {name: np.array(values) for name, values in history.steps.items()},
        "epochs": [{k: v for k, v in row.items() if k != "seconds"} for row in history.epochs],
        "events": history.events,
    }


def assert_close(one: dict[str, Any], other: dict[str, Any], tolerance: float = 1e-5) -> None:
    for name, tensor in one["weights"].items():
        assert torch.allclose(tensor, other["weights"][name], rtol=tolerance, atol=tolerance), name
    for name in ("loss", "grad_norm", "lr", "weight"):
        assert np.allclose(one["steps"][name], other["steps"][name], rtol=tolerance, atol=tolerance, equal_nan=True)
    for a, b in zip(one["epochs"], other["epochs"], strict=True):
        assert a.keys() == b.keys()
        assert all(abs(a[key] - b[key]) <= tolerance * max(1.0, abs(a[key])) for key in a)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("rows", {}),  # 101 rows in batches of ten: the last batch has one row, and the second process none
        ("rows", {"accumulate": 3}),
        ("tokens", {"epochs": 17}),  # each process holds another number of tokens
    ],
)
def test_two_processes_train_as_one(tmp_path: Path, kind: str, options: dict[str, Any]) -> None:
    alone = train(kind, **options)
    assert len(alone["steps"]["loss"]) >= (40 if "accumulate" in options else 100)
    first, second = together(tmp_path, 2, lambda rank: train(kind, **options))
    assert_close(alone, first)
    for name, tensor in first["weights"].items():
        assert torch.equal(tensor, second["weights"][name]), f"{name} is the same in both, bit for bit"
    assert first["epochs"] == second["epochs"]
    assert np.array_equal(first["steps"]["loss"], second["steps"]["loss"])


def test_a_stream_is_split_by_rank(tmp_path: Path) -> None:
    """Rows on disk: each process reads every second one of each batch, the last of which is not full."""
    path = tmp_path / "rows.npy"
    rng = np.random.default_rng(0)
    x = rng.standard_normal((203, 5)).astype(np.float32)
    np.save(path, np.concatenate([x, x.sum(1, keepdims=True)], axis=1))
    alone = train(f"stream {path}", epochs=4)
    assert len(alone["steps"]["loss"]) == 4 * 21
    run = tmp_path / "run"
    first, _ = together(tmp_path / "a", 2, lambda rank: train(f"stream {path}", 33, epochs=4, run_dir=run))
    assert first["steps"]["weight"][:3].tolist() == [10, 10, 10], "of both together"
    with pytest.warns(UserWarning, match="processes: 1, were 2"):
        resumed = train(f"stream {path}", epochs=4, resume=run)
    assert_close(alone, resumed)
    assert_close(alone, together(tmp_path / "b", 2, lambda rank: train(f"stream {path}", epochs=4))[0])


def test_early_stopping_and_the_best_weights_are_the_same_in_both(tmp_path: Path) -> None:
    options = {"early_stopping": tw.EarlyStopping("val_accuracy", patience=2), "epochs": 30}
    alone = train("rows", **options)
    first, second = together(tmp_path, 2, lambda rank: train("rows", **options))
    assert 0 < len(alone["epochs"]) < 30
    assert len(first["epochs"]) == len(second["epochs"]) == len(alone["epochs"])
    assert_close(alone, first)


def test_only_the_first_writes_and_another_number_goes_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    alone = train("rows")
    first, second = together(tmp_path / "a", 2, lambda rank: train("rows", 40, run_dir=run))
    assert len(first["steps"]["loss"]) == len(second["steps"]["loss"]) == 40
    assert not list(run.glob("**/.*"))
    assert len((run / "history.csv").read_text().splitlines()) == 41
    assert not (run / "lock").exists()
    # Two went on for forty updates, one for twenty more, three to the end.
    with pytest.warns(UserWarning, match=r"processes: 1, were 2, so that dropout and the like draw anew"):
        train("rows", 60, resume=run)
    results = together(tmp_path / "b", 3, lambda rank: train("rows", resume=run))
    assert_close(alone, results[0])


def test_a_stop_asked_of_one_process_stops_both_at_the_same_step(tmp_path: Path) -> None:
    class Ask(tw.Hook):
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def on_step_end(self, run: Any) -> None:
            if self.rank == 1 and run.step == 13:
                run.stop("SIGTERM received")

    first, second = together(tmp_path, 2, lambda rank: train("rows", hooks=[Ask(rank)]))
    assert len(first["steps"]["loss"]) == len(second["steps"]["loss"]) == 13
    assert first["events"][-1] == (13, "stopped", "another process was asked to stop")


def test_a_process_that_dies_ends_the_others_with_an_error(tmp_path: Path) -> None:
    class Die(tw.Hook):
        def __init__(self, rank: int) -> None:
            self.rank = rank

        def on_step_end(self, run: Any) -> None:
            if self.rank == 1 and run.step == 13:
                os.kill(os.getpid(), signal.SIGKILL)

    together(tmp_path, 2, lambda rank: train("rows", hooks=[Die(rank)]), fails=(0, 1))
    said = (tmp_path / "error-0").read_text()
    assert "RuntimeError" in said
    assert not (tmp_path / "error-1").exists()


def test_what_cannot_work_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Own(tw.Hook):
        def step(self, run: Any, batch: Any) -> None:
            raise AssertionError

    def refused(rank: int) -> list[str]:
        said = []
        for options in ({"batch_size": 1}, {"valid": (data(1))}, {"hooks": [Own()]}):
            try:
                train("rows", **options)  # type: ignore[arg-type]
            except ValueError as error:
                said.append(str(error))
        return said

    batch, valid, hook = together(tmp_path, 2, refused)[0]
    assert batch.startswith("data: batch_size=1 counts the rows of all processes together, and there are 2")
    assert valid.startswith("fit: 1 rows of validation do not go round 2 processes")
    assert hook.startswith("fit: Own replaces the step")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "7")
    with pytest.raises(ValueError, match=r"device='cuda' asks for NCCL .* but process 7 of this machine has none"):
        Processes.join("cuda")


def test_what_the_first_one_alone_finds_wrong_ends_all_with_its_message(tmp_path: Path) -> None:
    def work(rank: int) -> tuple[int, list[int], str]:
        called: list[int] = []

        def refuse() -> None:
            called.append(rank)
            raise FileNotFoundError("there is no such directory")

        try:
            shared(refuse)
        except (FileNotFoundError, ValueError) as error:
            return shared(lambda: 7 + rank), called, str(error)
        raise AssertionError

    first, second = together(tmp_path, 2, work)
    assert first == (7, [0], "there is no such directory")
    assert second == (7, [], "there is no such directory")


def test_a_rule_that_needs_whole_matrices_refuses_sharded_ones(tmp_path: Path) -> None:
    def refused(rank: int) -> str:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import Shard, distribute_tensor

        module = nn.Linear(8, 8, bias=False)
        learner = tw.Learner(module, tw.optim.Muon(lr=0.1), "mse", device="cpu")
        mesh = init_device_mesh("cpu", (1,))
        sharded = nn.Parameter(distribute_tensor(module.weight.detach(), mesh, [Shard(0)]))
        learner.optimizer.param_groups[0]["params"] = [sharded]
        try:
            learner.fit((torch.zeros(4, 8), torch.zeros(4, 8)), verbose=False)
        except ValueError as error:
            return str(error)
        return ""

    (said,) = together(tmp_path, 1, refused)
    assert said.startswith(
        "Muon: looks at a whole matrix of weights, but a parameter of shape (8, 8) is sharded over 1"
    )
