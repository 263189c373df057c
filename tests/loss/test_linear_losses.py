"""From hidden states and a head: the value and every gradient of the same loss on full logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tests.loss.token_cases import CASES, TokenCase, V, W
from thalweg import loss as tl
from thalweg.loss import linear_chunks

B, T, D = 3, 5, 4
# sums in another order; float32 as the issue of this loss asks, float64 to the last digits
TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5}

every_case = pytest.mark.parametrize("case", CASES, ids=str)
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=["f64", "f32"])

MASKS: dict[str, Callable[[Tensor], Tensor]] = {
    "none": lambda y: y,
    "padded": lambda y: y.masked_fill(torch.arange(T) >= torch.tensor([5, 2, 3])[:, None], -100),
    "a-whole-row": lambda y: y.masked_fill(torch.tensor([False, True, False])[:, None], -100),
    "all": lambda y: torch.full_like(y, -100),
    "all-but-one": lambda y: torch.full_like(y, -100).index_put((torch.tensor(2), torch.tensor(4)), torch.tensor(7)),
}


def masked(*names: str, shift: bool = False) -> pytest.MarkDecorator:
    """Every case with every mask that it can have: without labels nothing is ignored, nor a teacher alone shifted."""
    pairs = [
        pytest.param(case, name, id=f"{case}-{name}")
        for case in CASES
        for name in names
        if case.masks or (name == "none" and not (shift and isinstance(case.loss, tl.Distillation)))
    ]
    return pytest.mark.parametrize(("case", "mask"), pairs)


@pytest.fixture(params=["one-chunk", "three-rows"])
def chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test once with all rows in a chunk, and once with three, taken two and one at a time."""
    if request.param == "three-rows":
        monkeypatch.setattr(linear_chunks, "chunk_rows", lambda rows, classes, itemsize: 3)
        monkeypatch.setattr(
            linear_chunks, "blocks", lambda chunk: (slice(i, min(i + 2, len(chunk))) for i in range(0, len(chunk), 2))
        )


@dataclasses.dataclass
class Data:
    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    labels: Tensor
    teacher: Tensor

    def copy(self) -> Data:
        made = [x if x is None else x.detach().clone().requires_grad_() for x in (self.hidden, self.weight, self.bias)]
        return Data(*made, self.labels, self.teacher)  # type: ignore[arg-type]

    @property
    def output(self) -> tl.Projected:
        return tl.Projected(self.hidden, self.weight, self.bias)

    def gradients(self, value: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(value, [x for x in (self.hidden, self.weight, self.bias) if x is not None]))


def data(dtype: torch.dtype = torch.float64, mask: str = "none", bias: bool = True, seed: int = 0) -> Data:
    g = torch.Generator().manual_seed(seed)

    def randn(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    labels = MASKS[mask](torch.randint(0, V, (B, T), generator=g))
    return Data(2 * randn(B, T, D), randn(V, D), randn(V) if bias else None, labels, 2 * randn(B, T, V)).copy()


def expected(case: TokenCase, batch: Data, shift: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Return the reference's sum, weight, and values at the positions (B, T), by selecting what counts."""
    logits = F.linear(batch.hidden, batch.weight, batch.bias)
    labels, teacher = batch.labels, batch.teacher
    counted = torch.ones(B, T, dtype=torch.bool)
    if shift:
        labels = torch.cat([labels[:, 1:], torch.full((B, 1), -100)], 1)
        counted[:, -1] = False
        if not case.masks:
            teacher = torch.cat([teacher[:, 1:], teacher[:, :1]], 1)  # soft targets belong to the position before too
    if case.masks:
        counted &= labels != -100
    chosen, target = logits[counted], labels[counted]
    values = case.reference(chosen, target, teacher[counted])
    weights = case.weight(chosen, target)
    placed = torch.zeros(B, T, dtype=logits.dtype).masked_scatter(counted, values)
    return values.sum(), weights.sum(), placed


@pytest.mark.usefixtures("chunks")
@every_dtype
@masked(*MASKS)
def test_equals_torch_on_full_logits(case: TokenCase, mask: str, dtype: torch.dtype) -> None:
    ours, theirs = data(dtype, mask), data(dtype, mask)
    total, weight = case.loss(ours.output, case.target(ours.labels, ours.teacher))
    wanted, wanted_weight, _ = expected(case, theirs)
    near = {"rtol": TOLERANCE[dtype], "atol": TOLERANCE[dtype]}
    torch.testing.assert_close(total, wanted, **near)
    assert float(weight) == pytest.approx(float(wanted_weight), rel=TOLERANCE[dtype])
    for mine, reference in zip(ours.gradients(total), theirs.gradients(wanted), strict=True):
        torch.testing.assert_close(mine, reference, **near)


@masked("none", "padded")
def test_logits_and_projected_agree(case: TokenCase, mask: str) -> None:
    one, two = data(mask=mask), data(mask=mask)
    target = case.target(one.labels, one.teacher)
    case.loss.check(one.output, target)
    case.loss.check(two.output.logits(), target)
    linear, full = case.loss(one.output, target), case.loss(two.output.logits(), target)
    torch.testing.assert_close(linear, full, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(one.gradients(linear[0]), two.gradients(full[0]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(
        case.loss.per_row(one.output, target), case.loss.per_row(two.output.logits(), target), strict=True
    ):
        torch.testing.assert_close(torch.as_tensor(mine), torch.as_tensor(reference), rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(case.loss.predict(one.output), case.loss.predict(two.output.logits()))


@masked("none", "padded", "all", shift=True)
def test_shift_is_done_once_and_counted_right(case: TokenCase, mask: str) -> None:
    loss = dataclasses.replace(case.loss, shift=True)
    ours, theirs = data(mask=mask), data(mask=mask)
    total, weight = loss(ours.output, case.target(ours.labels, ours.teacher))
    wanted, wanted_weight, placed = expected(case, theirs, shift=True)
    torch.testing.assert_close(total, wanted, rtol=1e-12, atol=1e-12)
    assert float(weight) == pytest.approx(float(wanted_weight), rel=1e-12)
    each = loss.per_position(data(mask=mask).output, case.target(ours.labels, ours.teacher))
    torch.testing.assert_close(each.detach(), placed.detach(), rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours.gradients(total), theirs.gradients(wanted), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("chunks")
@every_case
def test_each_position_with_its_own_upstream_gradient(case: TokenCase) -> None:
    mask = "padded" if case.masks else "none"
    ours, theirs = data(mask=mask), data(mask=mask)
    upstream = torch.linspace(-1.0, 2.0, B * T, dtype=torch.float64).view(B, T)
    each = case.loss.per_position(ours.output, case.target(ours.labels, ours.teacher))
    _, _, placed = expected(case, theirs)
    torch.testing.assert_close(each, placed, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(
        ours.gradients((each * upstream).sum()), theirs.gradients((placed * upstream).sum()), strict=True
    ):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@every_case
def test_row_weights_are_those_of_full_logits(case: TokenCase) -> None:
    mask = "padded" if case.masks else "none"
    ours, theirs = data(mask=mask), data(mask=mask)
    rows = torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64)
    with torch.no_grad():
        ours.hidden[1] = float("nan")  # left out, whatever stands there
    target = case.target(ours.labels, ours.teacher)
    linear, full = case.loss(ours.output, target, rows), case.loss(theirs.output.logits(), target, rows)
    torch.testing.assert_close(linear, full, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours.gradients(linear[0]), theirs.gradients(full[0]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@every_case
def test_functional_gradient_and_members(case: TokenCase) -> None:
    mask = "padded" if case.masks else "none"
    batch = data(mask=mask)
    target = case.target(batch.labels, batch.teacher)

    def mean(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        total, count = case.loss(tl.Projected(hidden, weight, bias), target)
        return total / count

    def full(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        total, count = case.loss(F.linear(hidden, weight, bias), target)
        return total / count

    members = [
        torch.stack([x.detach(), 0.5 * x.detach(), -x.detach()]) for x in (batch.hidden, batch.weight, batch.bias)
    ]
    solo = [torch.func.grad_and_value(full, (0, 1, 2))(*(x[i] for x in members)) for i in range(3)]
    alone = torch.func.grad_and_value(mean, (0, 1, 2))(*(x[1] for x in members))
    torch.testing.assert_close(alone, solo[1], rtol=1e-12, atol=1e-12)
    grads, values = torch.vmap(torch.func.grad_and_value(mean, (0, 1, 2)))(*members)
    torch.testing.assert_close(values, torch.stack([value for _, value in solo]), rtol=1e-12, atol=1e-12)
    for index, grad in enumerate(grads):
        torch.testing.assert_close(grad, torch.stack([found[index] for found, _ in solo]), rtol=1e-12, atol=1e-12)
    # and the other way round: the gradient of a sum over members
    outer = torch.func.grad(lambda *x: torch.vmap(mean)(*x).sum(), (0, 1, 2))(*members)
    torch.testing.assert_close(outer, grads, rtol=1e-12, atol=1e-12)


def test_members_that_share_hidden_states_or_labels_differ_per_member() -> None:
    batch = data(mask="padded", bias=False)
    labels = torch.stack([batch.labels, batch.labels.roll(1, 0)])
    weights = torch.stack([batch.weight.detach(), 2 * batch.weight.detach()])

    def mean(weight: Tensor, labels: Tensor) -> Tensor:
        return tl.linear_cross_entropy(batch.hidden.detach(), weight, labels)

    grads = torch.vmap(torch.func.grad(mean))(weights, labels)
    for grad, weight, own in zip(grads, weights, labels, strict=True):
        leaf = weight.clone().requires_grad_()
        wanted = F.cross_entropy(F.linear(batch.hidden.detach(), leaf).flatten(0, 1), own.flatten())
        torch.testing.assert_close(grad, torch.autograd.grad(wanted, leaf)[0], rtol=1e-12, atol=1e-12)


def test_jacobian_of_each_position() -> None:
    batch = data(mask="padded")

    def each(hidden: Tensor) -> Tensor:
        return tl.linear_cross_entropy(hidden, batch.weight.detach(), batch.labels, reduction="none")

    def full(hidden: Tensor) -> Tensor:
        logits = F.linear(hidden, batch.weight.detach())
        return F.cross_entropy(logits.flatten(0, 1), batch.labels.flatten(), reduction="none").view(B, T)

    hidden = batch.hidden.detach()
    torch.testing.assert_close(torch.func.jacrev(each)(hidden), torch.func.jacrev(full)(hidden), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_a_second_derivative_is_refused(reduction: Any) -> None:
    batch = data()

    def value(hidden: Tensor, weight: Tensor) -> Tensor:
        return tl.linear_cross_entropy(hidden, weight, batch.labels, reduction=reduction).sum()

    (grad,) = torch.autograd.grad(value(batch.hidden, batch.weight), batch.hidden, create_graph=True)
    with pytest.raises(
        RuntimeError, match=r"TokenCrossEntropy: the linear loss was differentiated twice.*; pass logits"
    ):
        grad.square().sum().backward()

    def inner(hidden: Tensor) -> Tensor:
        return torch.func.grad(value)(hidden, batch.weight.detach()).square().sum()

    with pytest.raises(RuntimeError, match="differentiated twice"):
        torch.func.grad(inner)(batch.hidden.detach())


def test_backward_twice_through_a_retained_graph() -> None:
    ours, theirs = data(mask="padded"), data(mask="padded")
    loss = tl.linear_cross_entropy(ours.hidden, ours.weight, ours.labels, ours.bias)
    loss.backward(torch.tensor(3.0, dtype=torch.float64), retain_graph=True)
    first = ours.weight.grad
    assert first is not None
    kept = first.clone()
    ours.weight.grad = None
    loss.backward(torch.tensor(0.5, dtype=torch.float64))
    logits = F.linear(theirs.hidden, theirs.weight, theirs.bias)
    wanted = theirs.gradients(F.cross_entropy(logits.flatten(0, 1), theirs.labels.flatten()))
    torch.testing.assert_close(first, kept, rtol=0, atol=0)  # what was handed out is not touched again
    torch.testing.assert_close(kept, 3.0 * wanted[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.weight.grad, 0.5 * wanted[1], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.hidden.grad, 3.5 * wanted[0], rtol=1e-12, atol=1e-12)


def test_a_tied_head_gets_both_gradients() -> None:
    def run(linear: bool) -> Tensor:
        g = torch.Generator().manual_seed(3)
        table = torch.randn(V, D, generator=g, dtype=torch.float64).requires_grad_()
        ids = torch.randint(0, V, (B, T), generator=g)
        hidden = torch.tanh(F.embedding(ids, table))
        if linear:
            loss = tl.linear_cross_entropy(hidden, table, ids, shift=True)
        else:
            loss = F.cross_entropy(F.linear(hidden, table)[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        return torch.autograd.grad(loss, table)[0]

    torch.testing.assert_close(run(True), run(False), rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("frozen", ["hidden", "weight", "bias", "hidden and weight"])
def test_what_is_frozen_costs_no_product_and_gets_no_gradient(frozen: str, products: Callable[..., Any]) -> None:
    batch = data()
    parts = {"hidden": batch.hidden, "weight": batch.weight, "bias": batch.bias}
    for name in frozen.split(" and "):
        parts[name].requires_grad_(False)
    with products() as shapes:
        loss = tl.linear_cross_entropy(batch.hidden, batch.weight, batch.labels, batch.bias)
        loss.backward()
    for name, part in parts.items():
        assert (part.grad is None) == (name in frozen.split(" and "))
    rows = sum(shape[0] for shape in shapes if shape[1:] == (D, V))  # logits (R, D) @ (D, V)
    back = sum(shape[0] for shape in shapes if shape[1:] == (V, D))  # hidden (R, V) @ (V, D)
    head = sum(shape[1] for shape in shapes if (shape[0], shape[2]) == (V, D))  # weight (V, R) @ (R, D)
    assert (rows, back, head) == (B * T, 0 if "hidden" in frozen else B * T, 0 if "weight" in frozen else B * T)


def test_no_gradient_is_made_where_none_is_asked_for(products: Callable[..., Any]) -> None:
    batch = data()
    with products() as shapes, torch.no_grad():
        tl.linear_cross_entropy(batch.hidden, batch.weight, batch.labels)
    assert {shape[1:] for shape in shapes} == {(D, V)}


@pytest.mark.usefixtures("chunks")
def test_ignored_rows_reach_no_product(products: Callable[..., Any]) -> None:
    batch = data(mask="padded")
    with products() as shapes:
        tl.linear_cross_entropy(batch.hidden, batch.weight, batch.labels).backward()
    counted = int((batch.labels != -100).sum())
    assert counted == 10
    assert sum(shape[0] for shape in shapes if shape[1:] == (D, V)) == counted


@pytest.mark.usefixtures("chunks")
@every_case
def test_where_rows_cannot_be_counted_they_are_zeros(case: TokenCase, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on an accelerator, where dropping rows would wait for their number."""
    mask = "padded" if case.masks else "none"
    ours, theirs = data(mask=mask), data(mask=mask)
    rows = torch.tensor([2.0, 0.0, 0.5], dtype=torch.float64)
    target = case.target(ours.labels, ours.teacher)
    wanted, weight = case.loss(theirs.output, target, rows)
    monkeypatch.setattr(linear_chunks, "kept_rows", lambda keep: None)
    with torch.no_grad():
        ours.hidden[1] = float("nan")
    total, count = case.loss(ours.output, target, rows)
    torch.testing.assert_close((total, count), (wanted, weight), rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours.gradients(total), theirs.gradients(wanted), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)
    each = case.loss.per_position(data(mask=mask).output, target)
    torch.testing.assert_close(each.detach(), expected(case, data(mask=mask))[2].detach(), rtol=1e-12, atol=1e-12)


def test_the_models_own_scale_and_cap() -> None:
    ours, theirs = data(mask="padded"), data(mask="padded")
    output = tl.Projected(ours.hidden, ours.weight, ours.bias, scale=D**-0.5, softcap=1.5)
    total, weight = tl.TokenCrossEntropy()(output, ours.labels)
    logits = 1.5 * torch.tanh(F.linear(theirs.hidden * D**-0.5, theirs.weight, theirs.bias) / 1.5)
    wanted = F.cross_entropy(logits.flatten(0, 1), theirs.labels.flatten())
    torch.testing.assert_close(output.logits(), logits, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(total / weight, wanted, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours.gradients(total / weight), theirs.gradients(wanted), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("chunks")
@pytest.mark.parametrize("cap", [None, 2.0])
def test_a_teacher_without_logits(cap: float | None) -> None:
    g = torch.Generator().manual_seed(5)
    ours, theirs = data(mask="padded"), data(mask="padded")
    states, head = torch.randn(B, T, 7, generator=g).double(), torch.randn(V, 7, generator=g).double()
    teacher = tl.Projected(states.requires_grad_(), head.requires_grad_(), scale=0.5, softcap=cap)
    loss = tl.Distillation(temperature=2.0, hard_weight=0.3)
    linear = loss(ours.output, (ours.labels, teacher))
    full = loss(theirs.output.logits(), (theirs.labels, teacher.logits()))
    beside = loss(theirs.output.logits(), {"labels": theirs.labels, "teacher": teacher})
    torch.testing.assert_close(linear, full, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(beside, full, rtol=1e-12, atol=1e-12)
    for mine, reference in zip(ours.gradients(linear[0]), theirs.gradients(full[0]), strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)
    for total, _ in (loss(ours.output, (ours.labels, teacher)), loss(theirs.output.logits(), (ours.labels, teacher))):
        total.backward()
        assert states.grad is None  # the teacher learns nothing


@pytest.mark.parametrize("shape", [(1, 1), (17, 3), (3, 17), (2, 3, 5)], ids=str)
def test_any_number_of_rows_against_any_width(shape: tuple[int, ...]) -> None:
    g = torch.Generator().manual_seed(2)
    *lead, width = shape
    hidden = torch.randn(*shape, generator=g, dtype=torch.float64).requires_grad_()
    weight = torch.randn(width, V, generator=g, dtype=torch.float64).t().requires_grad_()  # not contiguous
    labels = torch.randint(0, V, lead, generator=g, dtype=torch.int32)
    ours = torch.autograd.grad(tl.linear_cross_entropy(hidden, weight, labels), (hidden, weight))
    wanted = F.cross_entropy((hidden @ weight.t()).view(-1, V), labels.flatten().long())
    theirs = torch.autograd.grad(wanted, (hidden, weight))
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


@pytest.mark.usefixtures("chunks")
def test_gradients_by_finite_differences() -> None:
    batch = data(mask="padded")
    labels = batch.labels

    def mean(hidden: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return tl.linear_cross_entropy(
            hidden, weight, labels, bias, label_smoothing=0.1, class_weight=W, z_loss=0.01, softcap=3.0, shift=True
        )

    assert torch.autograd.gradcheck(mean, (batch.hidden, batch.weight, batch.bias))


@pytest.mark.parametrize("scale", [1.0, 20.0], ids=["bounded", "beyond the bound"])
@pytest.mark.parametrize("with_bias", [False, True])
def test_large_and_small_logits_take_either_way_to_the_same_loss(scale: float, with_bias: bool) -> None:
    from thalweg.loss.cross_entropy_rows import CrossEntropyRows

    taken: list[bool] = []
    plain = CrossEntropyRows.differentiate_bounded_

    def seen(self: CrossEntropyRows, logits: Tensor, rows: Any, bound: float) -> Any:
        found = plain(self, logits, rows, bound)
        taken.append(found is not None)
        return found

    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(n, 6, generator=generator, dtype=torch.float64) for n in (9, 11))
    bias = torch.randn(11, generator=generator, dtype=torch.float64) if with_bias else None
    hidden, weight = (scale * hidden).requires_grad_(), weight.requires_grad_()
    target = torch.randint(11, (9,), generator=generator)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(CrossEntropyRows, "differentiate_bounded_", seen)
        found = tl.linear_cross_entropy(hidden, weight, target, bias)
        ours = torch.autograd.grad(found, (hidden, weight))
    assert taken == [scale == 1.0]
    expected = F.cross_entropy(F.linear(hidden, weight, bias), target)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)
    for one, other in zip(ours, torch.autograd.grad(expected, (hidden, weight)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)
