"""However a batch is cut and masked, sums over weights give the whole."""

from __future__ import annotations

import itertools

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.loss.cases import CASES, Case
from thalweg import loss as tl

ROWS = 9
# Sums of nine rows in another order, float64.
CLOSE = {"rtol": 1e-12, "atol": 1e-13}


def accumulated(loss: tl.Loss, output: Tensor, target: Tensor, cuts: list[int], mask: Tensor | None) -> Tensor:
    total, weight = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    edges = [0, *sorted(cuts), ROWS]
    for start, stop in itertools.pairwise(edges):
        part = slice(start, stop)
        part_total, part_weight = loss(output[part], target[part], None if mask is None else mask[part])
        total, weight = total + part_total, weight + part_weight
    return torch.where(weight == 0, 0.0, total / torch.where(weight == 0, 1.0, weight))


@settings(max_examples=120)
@given(
    case=st.sampled_from(CASES),
    cuts=st.lists(st.integers(0, ROWS), max_size=4),
    mask=st.none() | st.lists(st.sampled_from([0.0, 1.0, 0.25, 3.0]), min_size=ROWS, max_size=ROWS),
    seed=st.integers(0, 1000),
)
def test_any_split_and_mask_give_the_whole(case: Case, cuts: list[int], mask: list[float] | None, seed: int) -> None:
    output, target = case.batch(ROWS, torch.Generator().manual_seed(seed))
    output.requires_grad_()
    rows = None if mask is None else torch.tensor(mask, dtype=torch.float64)
    parts = accumulated(case.loss, output, target, cuts, rows)
    whole = accumulated(case.loss, output, target, [], rows)
    torch.testing.assert_close(parts, whole, **CLOSE)
    torch.testing.assert_close(
        torch.autograd.grad(parts, output)[0], torch.autograd.grad(whole, output)[0], equal_nan=False, **CLOSE
    )


@settings(max_examples=60)
@given(case=st.sampled_from(CASES), drop=st.sets(st.integers(0, ROWS - 1), max_size=ROWS - 2), seed=st.integers(0, 99))
def test_a_mask_equals_torchs_mean_over_what_is_left(case: Case, drop: set[int], seed: int) -> None:
    output, target = case.batch(ROWS, torch.Generator().manual_seed(seed))
    keep = torch.tensor([row not in drop for row in range(ROWS)])
    total, weight = case.loss(output, target, keep)
    if float(weight):  # ignored targets may be all that is left, which torch calls NaN
        torch.testing.assert_close(total / weight, case.reference(output[keep], target[keep]), **CLOSE)
    else:
        assert float(total) == 0.0
