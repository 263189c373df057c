"""The modules against NumPy: forward, gradients, members, effects, histories, second derivatives."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import thalweg as tw
from thalweg.recommend import DotProduct, HistoryDotProduct, NeuralRecommender
from thalweg.recommend.fused import fused_ratings, plain_ratings
from thalweg.recommend.history import ragged_rows

PAIRS = torch.tensor([[1, 2], [3, 5], [1, 5], [0, 0], [3, 5]])
TARGET = torch.tensor([4.0, 1.0, 3.5, 2.0, 5.0], dtype=torch.float64)


def made(kind: Any = DotProduct, **settings: Any) -> Any:
    torch.manual_seed(0)
    model = kind(4, 6, **settings).double()
    with torch.no_grad():
        for param in model.parameters():
            param.normal_(std=0.4)
    return model


def array(tensor: Tensor) -> np.ndarray[Any, Any]:
    return tensor.detach().numpy()


def reference(model: DotProduct, pairs: Tensor) -> tuple[Any, dict[str, Any]]:
    """Predictions and the gradients of the sum of squared errors, written out."""
    u, i = pairs[:, 0].numpy(), pairs[:, 1].numpy()
    tables = {name: array(param) for name, param in model.named_parameters()}
    p, q = tables["user_factors.weight"][u], tables["item_factors.weight"][i]
    total = (p * q).sum(1) + tables["user_bias.weight"][u, 0] + tables["item_bias.weight"][i, 0] + float(model.offset)
    low, high = model.y_range or (0.0, 1.0)
    share = 1 / (1 + np.exp(-total))
    rating = low + (high - low) * share if model.y_range else total
    slope = (high - low) * share * (1 - share) if model.y_range else np.ones_like(total)
    error = 2 * (rating - TARGET.numpy()) * slope
    grads = {name: np.zeros_like(table) for name, table in tables.items()}
    for row in range(len(u)):
        grads["user_factors.weight"][u[row]] += error[row] * q[row]
        grads["item_factors.weight"][i[row]] += error[row] * p[row]
        grads["user_bias.weight"][u[row]] += error[row]
        grads["item_bias.weight"][i[row]] += error[row]
    return rating, grads


@pytest.mark.parametrize("y_range", [(0.0, 5.5), None])
def test_forward_and_gradients_equal_numpy(y_range: tuple[float, float] | None) -> None:
    model = made(n_factors=3, y_range=y_range, offset=0.3)
    rating, grads = reference(model, PAIRS)
    found = model(PAIRS)
    ((found - TARGET) ** 2).sum().backward()
    np.testing.assert_allclose(array(found), rating, rtol=1e-12)
    for name, param in model.named_parameters():
        np.testing.assert_allclose(array(param.grad), grads[name], rtol=1e-10, atol=1e-14)


def test_the_closed_form_has_second_derivatives() -> None:
    torch.manual_seed(0)
    tables = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in ((3, 2), (4, 2), (3, 1), (4, 1))]
    rows = torch.tensor([0, 2, 2]), torch.tensor([3, 3, 1])
    offset = torch.tensor(0.2, dtype=torch.float64)

    def fused(*given: Tensor) -> Tensor:
        return fused_ratings(*rows, *given, offset, (0.0, 5.5))

    assert torch.autograd.gradcheck(fused, tables)
    assert torch.autograd.gradgradcheck(fused, tables)
    assert torch.allclose(fused(*tables), plain_ratings(*rows, *tables, offset, (0.0, 5.5)), rtol=1e-12)


def test_functional_and_eager_calls_agree() -> None:
    model = made(n_factors=3)
    state = {name: param.detach() for name, param in model.named_parameters()}
    assert torch.allclose(torch.func.functional_call(model, state, (PAIRS,)), model(PAIRS), rtol=1e-12)
    grad = torch.func.grad(lambda s: torch.func.functional_call(model, s, (PAIRS,)).sum())(state)
    model(PAIRS).sum().backward()
    assert torch.allclose(grad["user_factors.weight"], model.user_factors.weight.grad, rtol=1e-12)


@pytest.mark.parametrize("kind", [DotProduct, NeuralRecommender])
def test_members_are_the_single_models_side_by_side(kind: Any) -> None:
    settings: dict[str, Any] = {"layers": [5], "emb_szs": (3, 2)} if kind is NeuralRecommender else {"n_factors": 3}
    stack = made(kind, members=2, **settings)
    singles = [made(kind, **settings) for _ in range(2)]
    for member, single in enumerate(singles):
        whole = dict(stack.named_parameters())
        with torch.no_grad():
            for name, param in single.named_parameters():
                table = whole[name]
                if name.startswith(("weights", "biases", "output")):
                    param.copy_(table[member : member + 1])
                else:
                    width = param.shape[1]
                    param.copy_(table[:, member * width : (member + 1) * width])
    expected = torch.stack([single(PAIRS) for single in singles], dim=1)
    assert torch.allclose(stack(PAIRS), expected, rtol=1e-10)
    assert torch.allclose(stack.eval()(PAIRS), expected.mean(1), rtol=1e-10)


@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("y_range", [(0.0, 5.5), None])
@pytest.mark.parametrize("kind", [DotProduct, HistoryDotProduct, NeuralRecommender])
def test_scores_are_predictions_of_all_items(kind: Any, y_range: Any, members: int) -> None:
    settings: dict[str, Any] = {"y_range": y_range, "members": members}
    if kind is HistoryDotProduct:
        settings["seen"] = PAIRS[:3]
    if kind is not NeuralRecommender:
        settings["n_factors"] = 3
    model = made(kind, **settings).eval()
    users = torch.tensor([3, 1])
    pairs = torch.stack([users.repeat_interleave(6), torch.arange(6).repeat(2)], dim=1)
    assert torch.allclose(model.scores(users), model(pairs).reshape(2, 6), rtol=1e-10)


def test_effects_are_added_and_their_unknown_row_stays_zero() -> None:
    model = DotProduct(4, 6, 2, None, effects=[3])
    with torch.no_grad():
        model.effects[0].weight[1:] = torch.tensor([[0.5], [0.25]])
    pairs = torch.tensor([[1, 2, 0], [1, 2, 2]])
    without, with_one = model(pairs).tolist()
    assert with_one - without == pytest.approx(0.25, abs=1e-6)
    model(pairs).sum().backward()
    assert model.effects[0].weight.grad is not None
    assert model.effects[0].weight.grad[0].item() == 0


def test_features_are_mapped_linearly_onto_factors_and_bias() -> None:
    features = torch.randn(4, 3, dtype=torch.float64)
    model = made(n_factors=2, user_features=features)
    model.user_features = features  # kept in float32 by itself
    side = array(model.user_side.weight)
    own = array(model.user_factors.weight) + features.numpy() @ side[:2].T
    bias = array(model.user_bias.weight)[:, 0] + features.numpy() @ side[2]
    u, i = PAIRS.numpy().T
    total = (own[u] * array(model.item_factors.weight)[i]).sum(1) + bias[u] + array(model.item_bias.weight)[i, 0]
    np.testing.assert_allclose(array(model(PAIRS)), 5.5 / (1 + np.exp(-total)), rtol=1e-10)


def test_histories_are_sums_over_what_was_rated() -> None:
    seen = torch.tensor([[1, 2], [1, 4], [3, 2]])
    model = made(HistoryDotProduct, n_factors=2, seen=seen)
    y, z = array(model.item_history.weight), array(model.user_history.weight)
    users = np.hstack([array(model.user_factors.weight), array(model.user_bias.weight)])
    items = np.hstack([array(model.item_factors.weight), array(model.item_bias.weight)])
    users[1] += (y[2] + y[4]) / np.sqrt(2)
    users[3] += y[2]
    items[2] += (z[1] + z[3]) / np.sqrt(2)
    items[4] += z[1]
    u, i = PAIRS.numpy().T
    total = (users[u, :2] * items[i, :2]).sum(1) + users[u, 2] + items[i, 2]
    np.testing.assert_allclose(array(model(PAIRS)), 5.5 / (1 + np.exp(-total)), rtol=1e-10)
    one_sided = made(HistoryDotProduct, n_factors=2, seen=seen, both=False)
    assert one_sided.user_history is None


def test_ragged_rows_of_nothing() -> None:
    places, offsets, counts = ragged_rows(torch.tensor([0, 0, 2]), torch.tensor([0]))
    assert (len(places), offsets.tolist(), counts.tolist()) == (0, [0], [0])


def test_an_embedding_is_a_one_hot_product() -> None:
    model = made(n_factors=3)
    one_hot = torch.nn.functional.one_hot(PAIRS[:, 0], 4).double()
    assert torch.equal(one_hot @ model.user_factors.weight, model.user_factors(PAIRS[:, 0]))


@pytest.mark.parametrize(
    ("settings", "kind", "said"),
    [
        ({"n_factors": 0}, ValueError, "DotProduct: n_factors=0 must be >= 1"),
        ({"n_factors": 2.5}, TypeError, "n_factors=2.5 must be a whole number"),
        ({"y_range": (5, 1)}, ValueError, r"y_range\[1\]=1 must be > 5"),
        ({"y_range": 5}, TypeError, r"y_range=5 must be a pair \(low, high\)"),
        ({"user_features": torch.zeros(3, 2)}, ValueError, "user_features has 3 rows for 4"),
    ],
)
def test_what_cannot_be_built(settings: dict[str, Any], kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=said):
        DotProduct(4, 6, **settings)


@pytest.mark.parametrize("kind", [DotProduct, HistoryDotProduct, NeuralRecommender])
def test_learner_finder_and_surface_work_on_them(kind: Any, tmp_path: Any) -> None:
    torch.manual_seed(0)
    extra: dict[str, Any] = {"seen": PAIRS[:3]} if kind is HistoryDotProduct else {}
    model: nn.Module = kind(4, 6, **extra)
    learner = tw.Learner(model, "adamw", "mse", seed=0, device="cpu")
    data = (PAIRS.repeat(8, 1), TARGET.float().repeat(8))
    learner.lr_find(data, steps=20, verify=False)
    learner.fit_one_cycle(data, 2, 0.05, batch_size=8, run_dir=tmp_path / "run", verbose=False)
    assert (tmp_path / "run" / "checkpoints").is_dir()
    plane = tw.surface.plane(learner, data, points=3, progress=False)
    assert np.isfinite(plane.values).all()
