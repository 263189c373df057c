"""The two latches decide alike, on the device and on the host, and keep buffers out of what is skipped."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import thalweg as tw
from thalweg.loop import DeviceLatch, HostLatch, Latch
from thalweg.loop.spikes import Averages

LOSSES = st.one_of(st.floats(0.125, 8.0, width=32), st.sampled_from([1e4, math.nan, math.inf, -math.inf]), st.just(0.0))
UPDATES = st.lists(
    st.tuples(LOSSES, st.sampled_from([0, 1, 4]), st.sampled_from([1.0, math.nan, math.inf])), max_size=30
)


def decisions(latch: Latch, updates: list[tuple[float, int, float]], *, on_device: bool = False) -> list[bool]:
    out = []
    for loss, weight, norm in updates:
        latch.before()
        norms = [torch.tensor(1.0), torch.tensor(norm)]
        total = torch.linalg.vector_norm(torch.stack(norms))
        given_weight = torch.tensor(weight) if on_device else weight
        out.append(bool(latch.skip(torch.tensor(loss), given_weight, total if latch.wants_total else norms)))
    return out


@settings(max_examples=60, deadline=None)
@given(updates=UPDATES, spike=st.sampled_from([None, 3.0]))
def test_both_decide_alike_and_as_the_averages_say(
    updates: list[tuple[float, int, float]], spike: float | None
) -> None:
    guard, module = tw.Guard("skip", spike=spike, after=3), nn.BatchNorm1d(2)
    on_host, on_device = HostLatch(guard, module), DeviceLatch(guard, module)
    expected, averages = [], Averages()
    near = False
    for loss, weight, norm in updates:
        bad = not math.isfinite(loss) or not math.isfinite(norm)
        if not bad and weight and spike is not None:
            bound = averages.mean + spike * averages.spread
            near |= math.isclose(loss / weight, bound, rel_tol=1e-4)  # float32 on the device, float64 on the host
            bad = averages.is_spike(loss / weight, guard)
        expected.append(bad)
    assert decisions(on_host, updates) == expected
    if not near:
        assert decisions(on_device, updates, on_device=True) == expected
        ours, theirs = on_host.state()["averages"], on_device.state()["averages"]
        if theirs is not None:
            np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", [HostLatch, DeviceLatch])
@pytest.mark.parametrize("bad", [False, True])
def test_buffers_are_put_back_only_where_the_update_is_skipped(kind: type[Latch], bad: bool) -> None:
    module = nn.BatchNorm1d(2)
    latch = kind(tw.Guard("skip"), module)
    latch.before()
    before = [buffer.clone() for buffer in module.buffers()]
    module(torch.full((4, 2), math.nan if bad else 3.0))
    loss = torch.tensor(math.nan if bad else 1.0)
    assert float(latch.skip(loss, 4, torch.tensor(1.0))) == bad
    for buffer, was in zip(module.buffers(), before, strict=True):
        assert torch.equal(buffer, was) == bad
        assert torch.isfinite(buffer).all()
    assert latch.held_back == (bad and kind is HostLatch)
    assert (latch.flag is None) == (kind is HostLatch)


@pytest.mark.parametrize(("first", "second"), [(HostLatch, DeviceLatch), (DeviceLatch, HostLatch)])
def test_what_one_has_seen_the_other_goes_on_with(first: type[Latch], second: type[Latch]) -> None:
    guard, module = tw.Guard("skip", spike=3.0, after=4), nn.Linear(2, 2)
    updates = [(1.0, 1, 1.0), (1.25, 1, 1.0), (0.75, 1, 1.0), (1.0, 1, 1.0), (50.0, 1, 1.0), (1.0, 1, 1.0)]
    one, other = first(guard, module), second(guard, module)
    assert decisions(one, updates[:4]) == [False] * 4
    other.load_state(one.state())
    assert decisions(other, updates[4:]) == [True, False]
    fresh = second(guard, module)
    assert decisions(fresh, updates[4:]) == [False, False], "it would not have known without"


def test_norms_of_many_tensors_are_one_vector() -> None:
    latch = HostLatch(tw.Guard("skip"), nn.Linear(2, 2))
    vector = torch.ones(40)
    assert not latch.skip(torch.tensor(1.0), 1, vector)
    vector[17] = math.inf
    assert latch.skip(torch.tensor(1.0), 1, vector)
    assert not latch.skip(torch.tensor(1.0), 1, None), "no gradient was looked at"
