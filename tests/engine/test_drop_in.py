"""The optimizer in anyone's loop: schedulers, scalers, hooks, closures, groups, and bad input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.optim.optimizer import register_optimizer_step_post_hook

import thalweg as tw
from tests.optim.cases import BY_ID, IDS
from tests.optim.problem import noise, set_gradients, start


@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("id", IDS)
def test_groups_with_their_own_settings_equal_two_optimizers(id: str, engine: str) -> None:
    rule = BY_ID[id].rule
    if rule.owns_rate:
        own: dict[str, Any] = {"weight_decay": 0.3}
    else:
        own = {"lr": rule.lr * 3}
    ours, first, second = start(), start()[:2], start()[2:]
    both = rule.optimizer([{"params": ours[:2]}, {"params": ours[2:], **own}], engine=engine)
    one = rule.optimizer(first, engine=engine)
    two = rule.with_hyper({**rule.hyper(), **own}).optimizer(second, engine=engine)
    if isinstance(rule, tw.optim.Muon):  # the second rule keeps its ratio to the group's rate
        two = rule.optimizer([{"params": second, **own}], engine=engine)
    for kicks in noise(5):
        for params, some in ((ours, kicks), (first, kicks[:2]), (second, kicks[2:])):
            set_gradients(params, some)
        for optimizer in (both, one, two):
            optimizer.step()
    torch.testing.assert_close(ours, [*first, *second], rtol=1e-13, atol=1e-13)


def test_the_second_rule_of_muon_keeps_its_ratio() -> None:
    rule = tw.optim.Muon(lr=0.02, other=tw.optim.SGD(lr=0.1))
    w = torch.zeros(3)
    w.grad = torch.ones(3)
    optimizer = rule.optimizer([w])
    assert optimizer.param_groups[0]["other_momentum"] == 0.0
    optimizer.param_groups[0]["lr"] = 0.01  # half, as a schedule would
    optimizer.step()
    torch.testing.assert_close(w, torch.full((3,), -0.05))


def test_use_muon_sends_a_matrix_to_the_second_rule() -> None:
    rule = tw.optim.Muon(lr=0.02, other=tw.optim.SGD(lr=0.1))
    embedding, matrix = torch.zeros(4, 4), torch.zeros(4, 4)
    optimizer = rule.optimizer([{"params": [embedding], "use_muon": False}, {"params": [matrix]}])
    embedding.grad = matrix.grad = torch.eye(4)
    optimizer.step()
    torch.testing.assert_close(embedding, -0.1 * torch.eye(4))
    assert "momentum_buffer" in optimizer.state[matrix]
    assert optimizer.state[embedding] == {}


SCHEDULERS: dict[str, Callable[[torch.optim.Optimizer], Any]] = {
    "one_cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=12),
    "cosine": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 12),
    "lambda": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "cyclic": lambda o: torch.optim.lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=3),
}


@pytest.mark.parametrize("name", SCHEDULERS)
@pytest.mark.parametrize("id", ["sgd-momentum", "adamw", "rmsprop-centered-momentum"])
def test_torchs_schedulers_drive_rate_and_momentum(name: str, id: str) -> None:
    case = BY_ID[id]
    assert case.peer is not None
    ours, theirs = start(), start()
    a, b = case.rule.optimizer(ours), case.peer(theirs)
    schedulers = SCHEDULERS[name](a), SCHEDULERS[name](b)
    for kicks in noise(10):
        set_gradients(ours, kicks)
        set_gradients(theirs, kicks)
        for optimizer, scheduler in zip((a, b), schedulers, strict=True):
            optimizer.step()
            scheduler.step()
    assert a.param_groups[0]["lr"] == b.param_groups[0]["lr"]
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-10)


def test_the_description_is_not_changed_by_a_scheduler() -> None:
    rule = tw.optim.SGD(lr=torch.tensor(0.1))
    optimizer = rule.optimizer([torch.ones(2)])
    torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    optimizer.param_groups[0]["lr"].fill_(0.7)
    assert rule.lr.item() == pytest.approx(0.1)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
def test_skip_leaves_everything_and_no_skip_changes_nothing(id: str, engine: str) -> None:
    rule = BY_ID[id].rule
    ours, theirs = start(torch.float32), start(torch.float32)
    a, b = rule.optimizer(ours, engine=engine), rule.optimizer(theirs, engine=engine)
    for t, kicks in enumerate(noise(6)):
        set_gradients(ours, kicks)
        skip = torch.tensor(float(t in (0, 3)))
        if skip:
            before = [w.clone() for w in ours]
            ours[0].grad[0, 0] = float("inf")  # type: ignore[index]
            a.apply(skip=skip)
            assert all(map(torch.equal, ours, before))
            continue
        set_gradients(theirs, kicks)
        a.apply(skip=skip)
        b.step()
    torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=2e-6)
    for mine, other in zip(ours, theirs, strict=True):
        for name in ("step", "lookahead_step", "average_step"):
            if name in a.state[mine]:
                assert torch.equal(a.state[mine][name], b.state[other][name])


@pytest.mark.parametrize("id", ["sgd-momentum", "adamw", "rmsprop", "lion", "averaged-ema"])
@pytest.mark.parametrize("unscale", [False, True])
@pytest.mark.parametrize("engine", ["auto", "compiled"])
def test_grad_scaler(id: str, engine: str, unscale: bool) -> None:
    # The second gradient overflows: that step is skipped, and the scale is halved.
    rule = BY_ID[id].rule
    scaled, plain = torch.ones(4, requires_grad=True), torch.ones(4, requires_grad=True)
    a, b = (rule.optimizer([param], clip_norm=1.0, engine=engine) for param in (scaled, plain))
    scaler = torch.amp.GradScaler("cpu", init_scale=256.0, growth_interval=100)
    slope = torch.tensor([1.0, -2.0, 0.5, 3.0])
    for t in range(4):
        a.zero_grad()
        scaler.scale((scaled * slope * (float("inf") if t == 1 else t + 1)).sum()).backward()
        if unscale:
            scaler.unscale_(a)
        scaler.step(a)
        scaler.update()
        if t != 1:
            b.zero_grad()
            (plain * slope * (t + 1)).sum().backward()
            b.step()
        assert not hasattr(a, "grad_scale")
    assert scaler.get_scale() == 128.0
    torch.testing.assert_close(scaled, plain, rtol=1e-6, atol=1e-6)


def test_hooks_and_closure_and_profiler_name() -> None:
    w = torch.ones(2, requires_grad=True)
    optimizer = tw.optim.SGD(lr=0.1).optimizer([w])
    seen: list[str] = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("pre"))
    optimizer.register_step_post_hook(lambda *_: seen.append("post"))
    handle = register_optimizer_step_post_hook(lambda *_: seen.append("global"))

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = (w**2).sum()
        assert loss.requires_grad
        loss.backward()
        return loss

    try:
        assert optimizer.step(closure).item() == 2.0
        optimizer.apply()  # the training loop's entrance runs no hooks
    finally:
        handle.remove()
    assert seen == ["pre", "post", "global"]
    torch.testing.assert_close(w.detach(), torch.full((2,), 0.6))
    assert torch.is_grad_enabled()


def test_apply_puts_grad_mode_back_after_an_error() -> None:
    w = torch.ones(2, requires_grad=True)
    optimizer = tw.optim.Adam().optimizer([w])
    w.grad = torch.sparse_coo_tensor(torch.tensor([[0]]), torch.tensor([1.0]), (2,), check_invariants=True)
    with pytest.raises(TypeError, match="sparse"):
        optimizer.apply()
    assert torch.is_grad_enabled()


def test_named_parameters_and_added_groups() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = tw.optim.AdamW(lr=0.1).optimizer(model[0].named_parameters())
    assert optimizer.param_groups[0]["param_names"] == ["weight", "bias"]
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.999)
    for p in model.parameters():
        p.grad = torch.ones_like(p)
    optimizer.step()
    optimizer.add_param_group({"params": list(model[1].named_parameters()), "lr": 0.0})
    before = model[1].weight.detach().clone()
    optimizer.step()
    assert torch.equal(model[1].weight, before)  # the group's rate is 0
    assert len(optimizer.state) == 4


def test_no_gradient_no_step() -> None:
    w = torch.ones(2)
    optimizer = tw.optim.Adam().optimizer([w], clip_norm=1.0)
    optimizer.step()
    assert torch.equal(w, torch.ones(2))
    assert not optimizer.state


def test_accumulated_micro_batches_equal_the_batch() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(12, 3, dtype=torch.float64), torch.randn(12, dtype=torch.float64)
    whole, parts = (torch.zeros(3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    a, b = (tw.optim.AdamW(lr=0.1).optimizer([w], clip_norm=0.5) for w in (whole, parts))
    for _ in range(5):
        ((x @ whole - y) ** 2).mean().backward()
        for rows in (slice(0, 5), slice(5, 6), slice(6, 12)):
            ((x[rows] @ parts - y[rows]) ** 2).sum().backward()
        a.step()
        b.apply(scale=torch.tensor(1 / 12, dtype=torch.float64))
        a.zero_grad()
        b.zero_grad()
    torch.testing.assert_close(whole, parts, rtol=1e-12, atol=1e-12)


def test_no_value_is_read_from_the_device() -> None:
    # On an accelerator each of these would wait for it.
    from torch.utils._python_dispatch import TorchDispatchMode

    class Reads(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            Reads.count += func is torch.ops.aten._local_scalar_dense.default
            return func(*args, **(kwargs or {}))

    for id in IDS:
        rule = BY_ID[id].rule
        params = start(torch.float32)
        # torch's for-each functions read their step counters, which torch keeps on the host for that.
        engine = "auto" if type(rule).__name__ in ("SGD", "Adam", "AdamW", "Adagrad") else "reference"
        optimizer = rule.optimizer(params, clip_norm=1.0, engine=engine)
        for kicks in noise(2):
            set_gradients(params, kicks)
            with Reads():
                optimizer.apply(torch.tensor(0.5), skip=torch.tensor(0.0))
        assert Reads.count == 0, id


PARAM = torch.ones(2, requires_grad=True)


@pytest.mark.parametrize(
    ("params", "error", "regex"),
    [
        ([], ValueError, r"^SGD: the parameter list is empty; pass e\.g\. model\.parameters\(\)"),
        (iter(()), ValueError, r"^SGD: the parameter list is empty"),
        (PARAM, TypeError, r"^SGD: params is a Tensor, not a list of parameters; pass a list of tensors"),
        (nn.Linear(1, 1), TypeError, r"^SGD: params is a Linear, not a list of parameters; pass model\.parameters\(\)"),
        (3, TypeError, r"^SGD: params is a int, not a list of parameters"),
        (
            [{"params": [PARAM]}, {"params": [PARAM]}],
            ValueError,
            r"^SGD: parameter 0 of the new group is in another group already, and would be updated twice",
        ),
        (
            [{"params": [("w", PARAM)]}, {"params": [("again", PARAM)]}],
            ValueError,
            r"^SGD: 'again' is in another group",
        ),
        ([{"params": [PARAM], "lr": -1.0}], ValueError, r"^SGD: lr=-1\.0 must be >= 0"),
        ([{"params": [PARAM], "nesterov": True}], ValueError, r"^SGD: nesterov=True needs momentum > 0"),
    ],
)
def test_refused(params: Any, error: type[Exception], regex: str) -> None:
    with pytest.raises(error, match=regex):
        tw.optim.SGD(lr=0.1).optimizer(params)


def test_a_refused_group_is_not_added() -> None:
    optimizer = tw.optim.Muon().optimizer([torch.ones(2, 2)])
    with pytest.raises(ValueError, match=r"^Muon: parameter 0 of group 1 has the shape \(2,\)"):
        optimizer.add_param_group({"params": [torch.ones(2)]})
    assert len(optimizer.param_groups) == 1
