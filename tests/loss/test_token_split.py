"""However a batch of sequences is cut into micro-batches, masked, or spread over processes: one gradient."""

from __future__ import annotations

import itertools
import subprocess
import sys
import textwrap
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.loss.token_cases import CASES, TokenCase, V, W
from thalweg import loss as tl

B, T, D = 6, 4, 3


def whole(case: TokenCase, seed: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    hidden, head = torch.randn(B, T, D, generator=g), torch.randn(V, D, generator=g)
    labels, teacher = torch.randint(0, V, (B, T), generator=g), torch.randn(B, T, V, generator=g)
    return hidden.double(), head.double(), labels, teacher.double()


@settings(max_examples=150, deadline=None)
@given(
    case=st.sampled_from(CASES),
    cuts=st.lists(st.integers(0, B), max_size=5),
    ignored=st.lists(st.booleans(), min_size=B * T, max_size=B * T),
    rows=st.none() | st.lists(st.sampled_from([0.0, 1.0, 0.25, 3.0]), min_size=B, max_size=B),
    linear=st.booleans(),
    seed=st.integers(0, 100),
)
def test_any_split_with_any_mask_has_the_same_gradient(
    case: TokenCase, cuts: list[int], ignored: list[bool], rows: list[float] | None, linear: bool, seed: int
) -> None:
    hidden, head, labels, teacher = whole(case, seed)
    if case.masks:
        labels = labels.masked_fill(torch.tensor(ignored).view(B, T), -100)
    row_weight = None if rows is None else torch.tensor(rows, dtype=torch.float64)

    def gradients(edges: list[int]) -> tuple[Tensor, ...]:
        leaves = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        count: Any = 0
        for start, stop in itertools.pairwise(edges):
            part = slice(start, stop)
            output: Any = tl.Projected(leaves[0][part], leaves[1])
            output = output if linear else output.logits()
            target = case.target(labels[part], teacher[part])
            total, weight = case.loss(output, target, None if row_weight is None else row_weight[part])
            total.backward()
            count = count + weight
        found = [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]
        return tuple(x / count if float(count) else x for x in found)

    once, split = gradients([0, B]), gradients([0, *sorted(cuts), B])
    torch.testing.assert_close(split, once, rtol=1e-6, atol=1e-12)


def test_all_positions_masked_is_zero_over_zero_where_torch_says_nan() -> None:
    hidden, head, labels, teacher = whole(CASES[0], 0)
    nothing = torch.full_like(labels, -100)
    assert torch.isnan(F.cross_entropy(F.linear(hidden, head).flatten(0, 1), nothing.flatten()))
    for case in CASES:
        if not case.masks:
            continue
        for linear in (True, False):
            leaves = hidden.clone().requires_grad_(), head.clone().requires_grad_()
            output: Any = tl.Projected(*leaves)
            total, weight = case.loss(output if linear else output.logits(), case.target(nothing, teacher))
            total.backward()
            assert (total.item(), float(weight)) == (0.0, 0.0)
            assert not any(x.grad is None or x.grad.any() for x in leaves)
    leaf = hidden.clone().requires_grad_()
    mean = tl.linear_cross_entropy(leaf, head, nothing)
    mean.backward()
    assert mean.item() == 0.0
    assert leaf.grad is not None
    assert not leaf.grad.any()


def test_label_smoothing_with_masks_and_class_weights_is_its_definition() -> None:
    r"""The definition written out with loops over positions and classes.

    Szegedy et al. (CVPR 2016, section 7) replace the one-hot target by q = (1 - ε) [c = y] + ε / V over all V classes,
    the target's own included; torch's `CrossEntropyLoss` puts the class weight w_c inside of the sum over classes and
    divides by the sum of w_y over the positions that are not ignored. Neither counts an ignored position in the
    smoothed part, which is where implementations go wrong.
    """
    hidden, head, labels, _ = whole(CASES[0], 3)
    labels = labels.masked_fill(torch.rand(B, T, generator=torch.Generator().manual_seed(1)) < 0.4, -100)
    epsilon, log_p = 0.15, F.linear(hidden, head).log_softmax(-1)
    total, weight = 0.0, 0.0
    for b, t in itertools.product(range(B), range(T)):
        y = int(labels[b, t])
        if y == -100:
            continue
        weight += float(W[y])
        for c in range(V):
            q = (1 - epsilon) * (c == y) + epsilon / V
            total -= float(W[c]) * q * float(log_p[b, t, c])
    loss = tl.TokenCrossEntropy(label_smoothing=epsilon, class_weight=W.tolist())
    for output in (tl.Projected(hidden, head), F.linear(hidden, head)):
        found, count = loss(output, labels)
        torch.testing.assert_close((float(found), float(count)), (total, weight), rtol=1e-12, atol=0)


PROCESS = """
    import sys
    import torch
    import torch.distributed as dist
    from thalweg import loss as tl

    rank, store = int(sys.argv[1]), sys.argv[2]
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    g = torch.Generator().manual_seed(7)
    hidden, head = torch.randn(6, 4, 3, generator=g).double(), torch.randn(11, 3, generator=g).double()
    labels = torch.randint(0, 11, (6, 4), generator=g)
    labels[0], labels[3, 1:] = -100, -100
    loss = tl.TokenCrossEntropy(label_smoothing=0.1, z_loss=0.01, shift=True)

    def run(part):
        leaf = head.clone().requires_grad_()
        total, weight = loss(tl.Projected(hidden[part], leaf), labels[part])
        total.backward()
        return leaf.grad, weight.double()

    # the ranks hold different numbers of sequences, and of positions that count
    grad, weight = run(slice(0, 2) if rank == 0 else slice(2, 6))
    dist.all_reduce(grad), dist.all_reduce(weight)
    whole, count = run(slice(0, 6))
    error = (grad / weight - whole / count).abs().max()
    print(float(weight), float(count), float(error))
    dist.destroy_process_group()
"""


def test_two_processes_have_the_gradient_of_one(tmp_path: Any) -> None:
    script = textwrap.dedent(PROCESS)
    command = [sys.executable, "-c", script]
    ranks = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    for process in ranks:
        out, _ = process.communicate(timeout=120)
        assert process.returncode == 0
        weight, count, error = map(float, out.split())
        assert weight == count == 12.0
        assert error < 1e-6
