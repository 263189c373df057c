"""States move: to a file and back bit for bit, to torch's class and back, nowhere they do not belong."""

from __future__ import annotations

import copy
import io
import json
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor

import thalweg as tw
from tests.optim.cases import BY_ID, IDS, TORCH
from tests.optim.problem import noise, set_gradients, start


def steps(optimizer: torch.optim.Optimizer, params: list[Tensor], kicks: list[Any]) -> None:
    for kick in kicks:
        set_gradients(params, kick)
        optimizer.step()


def through_a_file(state: dict[str, Any]) -> dict[str, Any]:
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("id", IDS)
@pytest.mark.parametrize("engine", ["auto", "reference", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_resume_is_bit_identical(id: str, engine: str, dtype: torch.dtype) -> None:
    rule, kicks = BY_ID[id].rule, noise(10)
    through, first = start(dtype), start(dtype)
    uncut, before = rule.optimizer(through, engine=engine), rule.optimizer(first, engine=engine)
    steps(uncut, through, kicks)
    steps(before, first, kicks[:5])
    saved = through_a_file(before.state_dict())
    second = [w.clone() for w in first]
    after = rule.optimizer(second, engine=engine)
    after.load_state_dict(saved)
    steps(after, second, kicks[5:])
    for whole, resumed in zip(through, second, strict=True):
        assert torch.equal(whole, resumed)
        for name, value in uncut.state[whole].items():
            assert torch.equal(value, after.state[resumed][name]), name
            assert value.dtype is after.state[resumed][name].dtype


@pytest.mark.parametrize("id", [case.id for case in TORCH])
@pytest.mark.parametrize("engine", ["auto", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_moves_to_torch_and_back(id: str, engine: str, dtype: torch.dtype) -> None:
    case, kicks = BY_ID[id], noise(15)
    assert case.peer is not None
    ours, theirs = start(dtype), start(dtype)
    peer = case.peer(theirs)
    steps(peer, theirs, kicks)  # what torch does alone
    mine = case.rule.optimizer(ours, engine=engine)
    steps(mine, ours, kicks[:5])
    torchs = case.peer(ours)
    torchs.load_state_dict(through_a_file(mine.state_dict()))
    steps(torchs, ours, kicks[5:10])
    again = case.rule.optimizer(ours, engine=engine)
    again.load_state_dict(through_a_file(torchs.state_dict()))
    steps(again, ours, kicks[10:])
    tol = case.peer_rtol or 1e-10 if dtype is torch.float64 else 2e-5  # 15 steps of float32
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=tol, atol=tol)


def test_inner_state_of_a_wrapper_moves_to_torch() -> None:
    w, kicks = start(), noise(4)
    wrapped = tw.optim.Lookahead(tw.optim.AdamW(lr=0.01), k=100).optimizer(w)
    alone = start()
    peer = torch.optim.AdamW(alone, lr=0.01)
    steps(wrapped, w, kicks[:2])
    steps(peer, alone, kicks)
    torchs = torch.optim.AdamW(w, lr=0.01)
    torchs.load_state_dict(wrapped.state_dict())
    steps(torchs, w, kicks[2:])
    torch.testing.assert_close(w, alone, rtol=1e-10, atol=1e-10)
    back = tw.optim.Lookahead(tw.optim.AdamW(lr=0.01), k=100).optimizer(w)
    back.load_state_dict(peer.state_dict())  # its slow weights start here
    assert torch.equal(back.state[w[0]]["slow_param"], w[0])


def test_hugging_faces_adafactor_state_is_taken() -> None:
    from transformers.optimization import Adafactor

    rule, kicks = tw.optim.Adafactor(lr=None, form="paper"), noise(8)
    theirs, ours = start(), start()
    peer = Adafactor(theirs)
    steps(peer, theirs, kicks[:4])
    for mine, other in zip(ours, theirs, strict=True):
        mine.copy_(other)
    optimizer = rule.optimizer(ours)
    state = peer.state_dict()
    state["param_groups"] = [{**rule.hyper(), "params": state["param_groups"][0]["params"]}]
    optimizer.load_state_dict(state)
    steps(peer, theirs, kicks[4:])
    steps(optimizer, ours, kicks[4:])
    torch.testing.assert_close(ours, theirs, rtol=1e-11, atol=1e-11)


def test_loaded_states_are_copies_laid_out_like_their_parameters() -> None:
    conv = torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last)
    conv.grad = torch.ones_like(conv)
    optimizer = tw.optim.Adam().optimizer([conv])
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"][0]["exp_avg"] = saved["state"][0]["exp_avg"].contiguous()
    other = tw.optim.Adam().optimizer([conv])
    other.load_state_dict(saved)
    assert other.state[conv]["exp_avg"].stride() == conv.stride()
    other.state[conv]["exp_avg"].zero_()
    assert saved["state"][0]["exp_avg"].abs().sum() > 0


def test_state_dtypes_survive() -> None:
    # torch casts states to the parameter's dtype.
    w = torch.ones(3, dtype=torch.bfloat16)
    w.grad = torch.ones_like(w)
    optimizer = tw.optim.Adam().optimizer([w])
    optimizer.step()
    saved = optimizer.state_dict()
    saved["state"][0]["exp_avg_sq"] = saved["state"][0]["exp_avg_sq"].float()
    optimizer.load_state_dict(saved)
    assert optimizer.state[w]["exp_avg_sq"].dtype is torch.float32
    optimizer.step()
    assert optimizer.state[w]["exp_avg_sq"].dtype is torch.float32
    assert optimizer.state[w]["exp_avg"].dtype is torch.bfloat16


def test_groups_scheduler_marks_and_names_come_along() -> None:
    named = [("a", torch.ones(2)), ("b", torch.ones(3))]
    rule = tw.optim.AdamW(lr=0.1)
    optimizer = rule.optimizer([{"params": named[:1], "lr": 0.3}, {"params": named[1:]}])
    torch.optim.lr_scheduler.StepLR(optimizer, 1)
    other = rule.optimizer([{"params": named[:1]}, {"params": named[1:]}])
    other.load_state_dict(json.loads(json.dumps(optimizer.state_dict())))  # JSON makes lists of tuples
    first = other.param_groups[0]
    assert (first["lr"], first["initial_lr"], first["param_names"], first["betas"]) == (0.3, 0.3, ["a"], (0.9, 0.999))


@pytest.mark.parametrize(("engine", "taken"), [("auto", "torch"), ("compiled", "compiled")])
def test_pickle_and_deepcopy_go_on_alike(engine: str, taken: str) -> None:
    w = start(torch.float32)
    kicks = noise(6)
    optimizer = tw.optim.Averaged(tw.optim.Adam(lr=0.01)).optimizer(w, clip_norm=1.0, engine=engine)
    steps(optimizer, w, kicks[:3])
    for copied in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        params = copied.param_groups[0]["params"]
        mine = [x.clone() for x in w]
        reference = tw.optim.Averaged(tw.optim.Adam(lr=0.01)).optimizer(mine, clip_norm=1.0, engine=engine)
        reference.load_state_dict(optimizer.state_dict())
        steps(copied, params, kicks[3:])
        steps(reference, mine, kicks[3:])
        assert all(map(torch.equal, params, mine))
        assert copied.engine.name == taken


def test_hooks_of_state_dict_and_loading() -> None:
    w = torch.ones(2)
    optimizer = tw.optim.SGD(lr=0.1).optimizer([w])
    seen: list[str] = []
    optimizer.register_state_dict_post_hook(lambda _, state: {**state, "mine": 1})
    optimizer.register_load_state_dict_pre_hook(lambda _, state: seen.append("pre") or state)
    optimizer.register_load_state_dict_post_hook(lambda _: seen.append("post"))
    state = optimizer.state_dict()
    assert state["mine"] == 1
    optimizer.load_state_dict(state)
    assert seen == ["pre", "post"]


def adam_state() -> dict[str, Any]:
    w = torch.ones(2, 3)
    w.grad = torch.ones_like(w)
    optimizer = tw.optim.Adam().optimizer([w])
    optimizer.step()
    return optimizer.state_dict()


def rmsprop_state() -> dict[str, Any]:
    w = torch.ones(2, 3)
    w.grad = torch.ones_like(w)
    optimizer = torch.optim.RMSprop([w])
    optimizer.step()
    return optimizer.state_dict()


def other_shape() -> dict[str, Any]:
    state = adam_state()
    state["state"][0]["exp_avg"] = torch.zeros(3, 2)
    return state


def torch_adamw_state() -> dict[str, Any]:
    return torch.optim.AdamW([torch.ones(2, 3)]).state_dict()


@pytest.mark.parametrize(
    ("state", "params", "regex"),
    [
        (
            rmsprop_state,
            [(2, 3)],
            r"^Adam: the state_dict holds square_avg, step for parameter 0 of group 0, but this rule",
        ),
        (other_shape, [(2, 3)], r"^Adam: 'exp_avg' of parameter 0 of group 0 has the shape \(3, 2\) in the state_dict"),
        (
            adam_state,
            [(3, 2)],
            r"shape \(2, 3\) in the state_dict, but \(3, 2\) belongs to a parameter of shape \(3, 2\)",
        ),
        (adam_state, [(2, 3), (1,)], r"^Adam: the state_dict has groups of \[1\] parameters, this optimizer has \[2\]"),
        (torch_adamw_state, [(2, 3)], r"^Adam: group 0 of the state_dict was written by AdamW, whose weight decay"),
        (lambda: {"state": {}, "param_groups": [{"params": [0]}]}, [(2, 3)], r"^Adam: group 0 .* has no 'lr'"),
    ],
)
def test_refused(state: Any, params: list[tuple[int, ...]], regex: str) -> None:
    optimizer = tw.optim.Adam().optimizer([torch.ones(shape) for shape in params])
    before = optimizer.state_dict()
    with pytest.raises(ValueError, match=regex):
        optimizer.load_state_dict(state())
    assert optimizer.state_dict() == before
