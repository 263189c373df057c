"""Row-sparse updates against their definition, torch's SparseAdam, and the dense update."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import thalweg as tw
from thalweg.recommend import DotProduct, LazyRows, NeuralRecommender, row_tables

RULES = [
    tw.optim.AdamW(lr=0.05, weight_decay=0.3),
    tw.optim.Adam(lr=0.05),
    tw.optim.SGD(lr=0.1, momentum=0.9, weight_decay=0.01),
    tw.optim.Adagrad(lr=0.1),
    tw.optim.Lion(lr=0.01),
]


def batches(steps: int, size: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(1)
    made = []
    for _ in range(steps):
        users = torch.randint(0, 12, (size,), generator=generator)
        items = torch.randint(0, 9, (size,), generator=generator)
        made.append((torch.stack([users, items], dim=1), 5 * torch.rand(size, generator=generator)))
    return made


def fitted(model: Any, rule: Any, data: list[Any], *hooks: tw.Hook) -> Any:
    learner = tw.Learner(model, rule, "mse", no_decay=None, device="cpu", seed=0, step="eager", engine="reference")
    whole = torch.cat([pairs for pairs, _ in data]), torch.cat([ratings for _, ratings in data])
    size = len(data[0][1])
    learner.fit(whole, epochs=1, batch_size=size, shuffle=False, hooks=list(hooks), verbose=False)
    return learner


def new() -> DotProduct:
    torch.manual_seed(0)
    return DotProduct(12, 9, 4, std=0.3)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rows_follow_the_definition(rule: Any) -> None:
    data = batches(7)
    model = new()
    fitted(model, rule, data, LazyRows())
    tables = {name: param.detach().clone() for name, param in new().named_parameters()}
    states = {name: rule.init(table) for name, table in tables.items()}
    columns = row_tables(model)
    for pairs, ratings in data:
        leaves = {name: table.clone().requires_grad_(True) for name, table in tables.items()}
        loss = ((torch.func.functional_call(model, leaves, (pairs,)) - ratings) ** 2).mean()
        grads = torch.autograd.grad(loss, list(leaves.values()))
        for (name, table), grad in zip(tables.items(), grads, strict=True):
            whole, after = rule.update(table, grad, states[name], rule.hyper())  # the dense update of everything …
            seen = torch.zeros(len(table), dtype=torch.bool)
            seen[pairs[:, columns[name]]] = True
            tables[name] = torch.where(seen[:, None], whole, table)  # … kept on the rows touched
            states[name] = {
                key: torch.where(seen[:, None], after[key], value) if value.shape == table.shape else after[key]
                for key, value in states[name].items()
            }
    for name, param in model.named_parameters():
        torch.testing.assert_close(param.detach(), tables[name], rtol=1e-5, atol=1e-6)


def test_it_is_torchs_sparse_adam() -> None:
    data = batches(9)
    model = new()
    fitted(model, tw.optim.Adam(lr=0.05, eps=1e-12), data, LazyRows())
    theirs = new()
    for name in ("user_factors", "item_factors", "user_bias", "item_bias"):
        getattr(theirs, name).sparse = True
    optimizer = torch.optim.SparseAdam(theirs.parameters(), lr=0.05, eps=1e-12)
    for pairs, ratings in data:
        optimizer.zero_grad()
        ((theirs.rated(theirs.totals(pairs)).squeeze(1) - ratings) ** 2).mean().backward()
        optimizer.step()
    for ours, other in zip(model.parameters(), theirs.parameters(), strict=True):
        # SparseAdam adds ε before the bias correction, which is why it is next to nothing here.
        torch.testing.assert_close(ours, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_rows_in_every_batch_are_updated_as_by_the_dense_rule(rule: Any) -> None:
    pairs = torch.stack([torch.arange(12), torch.arange(12) % 9], dim=1)
    data = [(pairs, ratings.repeat(2)) for _, ratings in batches(5)]
    lazy, dense = new(), new()
    fitted(lazy, rule, data, LazyRows())
    fitted(dense, rule, data)
    for ours, other in zip(lazy.parameters(), dense.parameters(), strict=True):
        torch.testing.assert_close(ours, other, rtol=1e-5, atol=1e-6)


def test_parameters_that_are_no_tables_are_updated_too() -> None:
    torch.manual_seed(0)
    model = NeuralRecommender(12, 9, emb_szs=(3, 3), layers=[4], std=0.3)
    before = model.output.detach().clone()
    fitted(model, RULES[0], batches(3), LazyRows())
    assert not torch.equal(before, model.output)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"optimizer": "adafactor"}, "does not update single elements"),
        ({"optimizer": torch.optim.SGD, "lr": 0.1}, "does not update single elements"),
        ({"clip_norm": 1.0}, "clipping needs all gradients at once"),
    ],
)
def test_what_cannot_be_lazy(settings: dict[str, Any], said: str) -> None:
    learner = tw.Learner(new(), loss="mse", device="cpu", **settings)
    with pytest.raises(TypeError, match=said):
        learner.fit(batches(1)[0], hooks=[LazyRows()], verbose=False)


def test_it_trains_from_a_stream_of_files(tmp_path: Any) -> None:
    import numpy as np

    rng = np.random.default_rng(0)
    np.save(tmp_path / "pairs.npy", np.stack([rng.integers(1, 12, 400), rng.integers(1, 9, 400)], 1).astype(np.int32))
    np.save(tmp_path / "ratings.npy", rng.integers(1, 6, 400).astype(np.float32))
    source = tw.data.stream(tmp_path / "pairs.npy", target=tmp_path / "ratings.npy", batch_size=50)
    learner = tw.Learner(new(), tw.optim.AdamW(lr=0.05), "mse", device="cpu", seed=0)
    history = learner.fit(source, epochs=3, hooks=[LazyRows()], verbose=False)
    assert len(history["loss"]) == 24
    assert history["loss"][-5:].mean() < history["loss"][:5].mean()
