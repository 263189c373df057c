"""The compiled engine: kernels made from traces, their caching, and what they refuse."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

import thalweg as tw
from tests.optim.cases import BY_ID, IDS
from thalweg.engine import CompiledEngine, RuleOptimizer, c_compiler, plans
from thalweg.engine.bucket import CHUNK, chunks_of

pytestmark = pytest.mark.skipif(bool(c_compiler.unavailable()), reason="there is no C compiler here")

O = tw.optim  # noqa: E741 - as in the table of cases


def make(rule: O.Rule, params: list[Tensor], engine: str = "compiled", **settings: Any) -> RuleOptimizer:
    optimizer = rule.optimizer(params, engine=engine, **settings)
    assert isinstance(optimizer, RuleOptimizer)
    return optimizer


def randoms(shapes: list[tuple[int, ...]], dtype: torch.dtype = torch.float32, seed: int = 0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]


def step(optimizer: RuleOptimizer, params: list[Tensor], seed: int) -> None:
    for param, grad in zip(params, randoms([tuple(p.shape) for p in params], seed=seed), strict=True):
        param.grad = torch.empty_like(param).copy_(grad)
    optimizer.step()


@pytest.mark.parametrize("id", IDS)
def test_no_rule_is_left_to_the_fallback(id: str, recwarn: pytest.WarningsRecorder) -> None:
    params = randoms([(4, 3), (5,)])
    optimizer = make(BY_ID[id].rule, params)
    step(optimizer, params, 1)
    layout = optimizer._slots[0].memo["buckets"]
    assert layout.rest == []
    assert layout.buckets or layout.matrices
    assert [str(w.message) for w in recwarn] == []


def test_a_thousand_rates_are_one_kernel() -> None:
    # A rule of its own settings, so that neither this process nor the disk has its kernel yet.
    params = randoms([(3, 2)])
    optimizer = make(O.Averaged(O.AdamW(), decay=0.5, start=7, every=917), params)
    before = len(c_compiler._loaded)
    group = optimizer.param_groups[0]
    for t in range(1000):
        group["lr"], group["betas"] = 1e-3 * t, (0.9 - 1e-5 * t, 0.99 + 1e-6 * t)
        group["weight_decay"], group["eps"] = 1e-2 + 1e-5 * t, 1e-8 * (1 + t)
        params[0].grad = torch.ones(3, 2)
        optimizer.step()
    assert len(c_compiler._loaded) == before + 1


class _Operations(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def test_no_step_waits_for_a_value() -> None:
    params = randoms([(300, 200), (7,)])
    optimizer = make(O.Averaged(O.Lookahead(O.AdamW())), params, clip_norm=1.0)
    step(optimizer, params, 0)
    for param in params:
        param.grad = torch.ones_like(param)
    with _Operations() as operations:
        for rate in (1e-3, 2e-3, 3e-3):
            optimizer.param_groups[0]["lr"] = rate
            optimizer.apply(skip=torch.zeros(()))
    assert operations.seen
    assert not [name for name in operations.seen if "local_scalar" in name or "item" in name or "is_nonzero" in name]


def test_work_is_cut_by_sizes_alone() -> None:
    rows, bounds = chunks_of([3 * CHUNK + 5, 10, 0, 2 * CHUNK])
    covered = {i: sum(stop - start for tensor, start, stop in rows.tolist() if tensor == i) for i in range(4)}
    assert covered == {0: 3 * CHUNK + 5, 1: 10, 2: 0, 3: 2 * CHUNK}
    assert bounds[0] == 0
    assert bounds[-1] == len(rows)


@pytest.mark.parametrize("id", ["adamw", "adafactor", "averaged-lookahead"])
def test_the_number_of_threads_does_not_matter(id: str) -> None:
    found = []
    for threads in (1, 2):
        params = randoms([(400, 300), (5000,), (7, 11)])
        before = torch.get_num_threads()
        try:
            torch.set_num_threads(threads)
            optimizer = make(BY_ID[id].rule, params, clip_norm=0.5)
            for t in range(3):
                step(optimizer, params, t)
        finally:
            torch.set_num_threads(before)
        found.append([*params, optimizer.last_norm])
    assert all(map(torch.equal, *found))


def test_clipping_leaves_the_gradients_alone() -> None:
    params = randoms([(400, 100), (3,)])
    optimizer = make(O.AdamW(), params, clip_norm=1e-3)
    for param in params:
        param.grad = torch.full_like(param, 2.0)
    optimizer.step()
    assert all(bool((param.grad == 2.0).all()) for param in params if param.grad is not None)
    assert float(optimizer.last_norm) == pytest.approx(2.0 * 40_003**0.5, rel=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_norms_equal_those_in_float64(dtype: torch.dtype) -> None:
    grads = [g.to(dtype) for g in randoms([(100, 700), (3,), (0,), (), (5, 2)])]
    wanted = torch.stack([g.double().norm() for g in grads])
    engine = CompiledEngine()
    each = engine.norms(grads)
    assert each is not None
    torch.testing.assert_close(each.double(), wanted, rtol=1e-6, atol=0)
    torch.testing.assert_close(engine.total_norm(grads).double(), wanted.norm(), rtol=1e-6, atol=0)


def test_norms_of_what_no_kernel_takes() -> None:
    engine = CompiledEngine()
    gaps = torch.ones(4, 6)[:, ::2]
    assert engine.norms([gaps]) is None
    assert float(engine.total_norm([gaps])) == pytest.approx(12**0.5)
    assert float(engine.total_norm([torch.ones(2), torch.ones(2, dtype=torch.float64)])) == pytest.approx(2.0)
    assert float(engine.total_norm([])) == 0.0


@pytest.mark.parametrize("id", ["adamw", "nadam", "adafactor", "muon", "averaged-lookahead"])
def test_a_step_that_is_skipped_changes_nothing(id: str) -> None:
    params = randoms([(4, 3), (5,)])
    optimizer = make(BY_ID[id].rule, params)
    step(optimizer, params, 0)
    kept = [p.clone() for p in params], [{n: v.clone() for n, v in optimizer.state[p].items()} for p in params]
    for param in params:
        param.grad = torch.full_like(param, float("nan"))
    optimizer.apply(skip=torch.ones(()))
    assert all(map(torch.equal, params, kept[0]))
    for param, state in zip(params, kept[1], strict=True):
        assert all(torch.equal(optimizer.state[param][name], value) for name, value in state.items())
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.apply(skip=torch.zeros(()))
    assert not torch.equal(params[0], kept[0][0])


def test_autograd_notices_that_a_saved_parameter_has_changed() -> None:
    w = torch.nn.Parameter(torch.ones(3))
    optimizer = make(O.SGD(lr=0.1), [w])
    loss = (w**3).sum()
    w.grad = torch.ones(3)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


def test_memory_that_is_moved_is_followed() -> None:
    w = torch.ones(3)
    optimizer = make(O.SGD(lr=1.0, momentum=0.5), [w])
    for _ in range(2):
        w.grad = torch.ones(3)
        optimizer.step()
    w.data = torch.zeros(3)
    optimizer.state[w]["momentum_buffer"].data = torch.zeros(3)
    w.grad = torch.ones(3)
    optimizer.step()
    assert w.tolist() == [-1.0] * 3


def test_sparse_and_dense_in_one_group() -> None:
    embedding, dense = torch.ones(4, 2), torch.ones(3)
    optimizer = make(O.Adagrad(lr=1.0), [embedding, dense])
    embedding.grad = torch.sparse_coo_tensor(torch.tensor([[1]]), torch.ones(1, 2), (4, 2), check_invariants=True)
    dense.grad = torch.ones(3)
    optimizer.step()
    torch.testing.assert_close(embedding, torch.tensor([[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [1.0, 1.0]]))
    torch.testing.assert_close(dense, torch.zeros(3))


class Branching(O.SGD):
    """A rule that looks at a value, which no kernel can."""

    def update(self, param: Tensor, grad: Tensor, state: Any, hyper: Any) -> Any:
        return (param - hyper["lr"] * grad if bool(grad.sum() > 0) else param), state


def test_a_rule_without_a_kernel_is_said_once() -> None:
    params = randoms([(3,)])
    optimizer = make(Branching(lr=0.1), params)
    params[0].grad = torch.ones(3)
    wanted = params[0] - 0.1
    with pytest.warns(UserWarning, match=r"^engine='compiled': Branching has no kernel: .* Going on with torch's"):
        optimizer.step()
    torch.testing.assert_close(params[0], wanted)
    optimizer.step()  # a second warning would be an error here


@pytest.fixture
def no_compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(plans, "_said", set())
    c_compiler.unavailable.cache_clear()
    yield
    monkeypatch.undo()
    c_compiler.unavailable.cache_clear()


def test_no_compiler_is_said_once_and_torch_goes_on(no_compiler: None) -> None:
    params = randoms([(3,)])
    with pytest.warns(UserWarning, match=r"no C compiler was found \(cc, gcc or clang on the PATH, or CC\)"):
        optimizer = make(O.AdamW(), params)
    assert optimizer.engine.name == "torch"
    assert "compiled was asked for, but no C compiler" in optimizer.engine_reason
    assert make(O.AdamW(), params).engine.name == "torch"
    assert make(O.Lion(), params).engine.name == "reference"  # said again, in whatever words, it would be an error here
    engine, why = tw.engine.choose_engine("auto", O.RMSprop(), [torch.empty(512, 512)] * 96)
    assert engine.name == "torch"
    assert why.endswith("no C compiler was found (cc, gcc or clang on the PATH, or CC)")


def test_auto_says_once_that_a_compiler_is_missing(no_compiler: None) -> None:
    large = [torch.empty(512, 512)] * 96
    with pytest.warns(
        UserWarning, match=r"^Lion: no C compiler .* so updates run on engine='reference', which is slow"
    ):
        assert tw.engine.choose_engine("auto", O.Lion(), large)[0].name == "reference"
    assert tw.engine.choose_engine("auto", O.AdamW(), large)[0].name == "torch"


def test_a_compiler_that_fails_is_said_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "cc"
    broken.write_text("#!/bin/sh\necho 'this compiler is broken' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("CC", str(broken))
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(plans, "_said", set())
    monkeypatch.setattr(c_compiler, "_loaded", {})
    c_compiler._machine.cache_clear()
    try:
        params = randoms([(3,)])
        optimizer, other = make(O.AdamW(), params), make(O.AdamW(), twin := [params[0].clone()], "reference")
        params[0].grad = twin[0].grad = torch.ones(3)
        with pytest.warns(UserWarning, match=r"no kernel can be compiled: cc failed: this compiler is broken"):
            optimizer.step()
        other.step()
        torch.testing.assert_close(params[0], twin[0])
    finally:
        c_compiler._machine.cache_clear()


_FRESH = """
import torch, thalweg as tw
from thalweg.engine import c_compiler
w = torch.ones(3)
w.grad = torch.ones(3)
tw.optim.SGD(lr=0.5).optimizer([w], engine="compiled").step()
print(c_compiler.builds(), w.tolist())
"""


def test_kernels_are_kept_for_the_next_process(tmp_path: Path) -> None:
    environment = {**os.environ, "THALWEG_CACHE": str(tmp_path)}

    def run() -> str:
        command = [sys.executable, "-c", _FRESH]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout.strip()

    assert run() == "1 [0.5, 0.5, 0.5]"
    assert run() == "0 [0.5, 0.5, 0.5]"
    for path in (tmp_path / "kernels").iterdir():
        path.write_bytes(b"half a file")
    assert run() == "1 [0.5, 0.5, 0.5]"


def test_bfloat16_states_are_half_as_large_and_right_on_average() -> None:
    # The second moment must come down from 100 to 1 by steps far below half a unit of bfloat16.
    def second_moment(engine: str) -> tuple[float, int]:
        w = torch.zeros(4000)
        optimizer = make(O.AdamW(lr=0.0, betas=(0.9, 0.99)), [w], engine, state_dtype="bfloat16")
        w.grad = torch.full_like(w, 10.0)
        for _ in range(300):
            optimizer.step()
        w.grad = torch.full_like(w, 1.0)
        for _ in range(900):
            optimizer.step()
        state = optimizer.state[w]
        assert state["exp_avg"].dtype is state["exp_avg_sq"].dtype is torch.bfloat16
        return float(state["exp_avg_sq"].float().mean()), state["exp_avg_sq"].element_size()

    value, size = second_moment("compiled")
    exact = 1 + (100 * (1 - 0.99**300) - 1) * 0.99**900
    assert size == 2
    # The mean of 4,000 elements, each a walk of some tens of roundings of 2^-9: below one per cent.
    assert value == pytest.approx(exact, rel=0.02)


def test_bfloat16_states_go_on_from_a_state_dict() -> None:
    ours, theirs = randoms([(40,)]), randoms([(40,)])
    a = make(O.Averaged(O.AdamW(lr=0.1)), ours, state_dtype="bfloat16", rounding_seed=3)
    for t in range(3):
        step(a, ours, t)
    theirs[0].copy_(ours[0])
    b = make(O.Averaged(O.AdamW(lr=0.1)), theirs, state_dtype="bfloat16", rounding_seed=5)
    b.load_state_dict(a.state_dict())
    for t in range(3, 6):
        step(a, ours, t)
        step(b, theirs, t)
    assert torch.equal(ours[0], theirs[0])
    assert a.state[ours[0]]["average"].dtype is torch.float32
    wide = make(O.AdamW(), randoms([(40,)]))
    step(wide, list(wide.param_groups[0]["params"]), 0)
    c = make(O.AdamW(), randoms([(40,)]), state_dtype="bfloat16")
    c.load_state_dict(wide.state_dict())
    assert c.state[c.param_groups[0]["params"][0]]["exp_avg"].dtype is torch.bfloat16


def test_state_dtypes_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^AdamW: state_dtype='float16' must be 'bfloat16' or None; float16 has no"):
        make(O.AdamW(), [torch.ones(2)], state_dtype="float16")


def test_what_auto_takes_where_states_are_rounded_at_random() -> None:
    # torch's fused kernels do not round at random: what the kernel saves is measured against the equation.
    params = [torch.empty(60, 60) for _ in range(60)]
    wide, half = make(O.AdamW(), params, "auto"), make(O.AdamW(), params, "auto", state_dtype="bfloat16")
    assert (wide.engine.name, half.engine.name) == ("torch", "compiled")
    few = make(O.AdamW(), params[:1], "auto", state_dtype="bfloat16")
    assert few.engine.name == "reference"
    assert few.engine_reason.startswith("torch has no kernel that rounds at random; a kernel of our own would not pay")
    pure = [param.bfloat16() for param in params]
    assert make(O.AdamW(), pure, "auto", stochastic_rounding=True).engine.name == "compiled"
    assert make(O.AdamW(), params, "auto", stochastic_rounding=True).engine.name == "torch"  # nothing to round


@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_a_learner_keeps_its_states_in_bfloat16(engine: str, tmp_path: Path) -> None:
    X, y = torch.randn(64, 8), torch.randint(0, 2, (64,))

    def made() -> tw.Learner:
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
        return tw.compile(
            model, optimizer="adamw", lr=1e-3, loss="cross_entropy", engine=engine, state_dtype="bfloat16", seed=0
        )

    whole, half, again = made(), made(), made()
    plan = whole.plan((X, y), epochs=4, batch_size=8)
    assert plan.memory["state"] == plan.memory["parameters"] + 4 * 4  # two moments of half the size, four counters
    whole.fit((X, y), epochs=4, batch_size=8, verbose=False)
    half.fit((X, y), epochs=2, batch_size=8, verbose=False, run_dir=tmp_path)
    again.fit((X, y), epochs=4, batch_size=8, verbose=False, run_dir=tmp_path, resume=tmp_path)
    state = again.optimizer.state[again.module[0].weight]
    assert state["exp_avg"].dtype is state["exp_avg_sq"].dtype is torch.bfloat16
    assert all(map(torch.equal, whole.module.parameters(), again.module.parameters()))


def test_state_dtype_is_a_setting_of_our_rules() -> None:
    with pytest.raises(ValueError, match=r"^Learner: state_dtype='bfloat16' needs one of Thalweg's rules"):
        tw.compile(torch.nn.Linear(2, 1), optimizer=torch.optim.Adam, loss="mse", state_dtype="bfloat16")
    learner, _ = tw.recipe.load("digits", ["train.state_dtype='bfloat16'"]).build()
    assert learner.state_dtype == "bfloat16"
    assert learner.optimizer.state_dtype is torch.bfloat16


def test_muon_in_batches_equals_one_at_a_time() -> None:
    shapes = [(16, 8), (8, 24), (16, 8), (5,), (16, 8), (3, 2, 4)]
    rule = O.Muon(lr=0.02, other=O.AdamW(lr=0.003))
    ours, theirs = randoms(shapes, torch.float64), randoms(shapes, torch.float64)
    a, b = make(rule, ours, clip_norm=1.0), make(rule, theirs, "reference", clip_norm=1.0)
    for t in range(4):
        step(a, ours, t)
        step(b, theirs, t)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, rtol=1e-9, atol=1e-9)


def test_what_auto_takes() -> None:
    large = [torch.empty(512, 512)] * 96
    small = [torch.empty(50, 784), torch.empty(50)]

    def chosen(rule: O.Rule, params: list[Tensor], steps: int | None = None) -> tuple[str, str]:
        engine, why = tw.engine.choose_engine("auto", rule, params, steps)
        return engine.name, why

    assert chosen(O.AdamW(), large)[0] == "compiled"
    assert "an assumed 1,000 updates" in chosen(O.AdamW(), large)[1]
    assert chosen(O.AdamW(), large, 10)[0] == "torch"
    assert "would not pay for its" in chosen(O.AdamW(), large, 10)[1]
    assert chosen(O.AdamW(), small)[0] == "torch"
    assert chosen(O.Lion(), small)[0] == "reference"
    assert chosen(O.Lion(), small, 100_000)[0] == "compiled"
    assert chosen(O.AdamW(), [torch.empty(9999, 9999, device="meta")])[0] == "torch"


def test_the_plan_says_which_engine_and_why() -> None:
    X, y = torch.randn(64, 8), torch.randint(0, 2, (64,))
    model = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
    learner = tw.compile(model, optimizer="lion", lr=1e-3, loss="cross_entropy", seed=0)
    few, many = learner.plan((X, y), epochs=1, batch_size=8), learner.plan((X, y), epochs=2000, batch_size=8)
    assert few.engine == "reference"
    assert many.engine == "compiled"
    assert "16,000 updates" in many.engine_why
