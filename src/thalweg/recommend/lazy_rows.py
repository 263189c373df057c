"""Updates that touch only the rows a batch has seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from thalweg.data import split
from thalweg.engine import RuleOptimizer
from thalweg.loop import Hook
from thalweg.loop.run import Run

__all__ = ["LazyRows", "row_tables"]


class LazyRows(Hook):
    r"""Replaces the step: gathers the rows that the batch names, updates these, and writes them back.

    Definition. Let T be a table (an embedding's weight) and :math:`R_t` the rows that batch t names. With
    ``(w, s) ← rule(w, g, s)`` the rule's dense update of one row,

    .. math::
        (T_r, S_r) \leftarrow \begin{cases} \text{rule}(T_r, g_r, S_r) & r \in R_t \\
        (T_r, S_r) & \text{otherwise} \end{cases}

    so moments and decay of a row advance only in the updates in which the row is seen, while the step counter, and with
    it the bias correction and every schedule, counts all updates. On the rows touched this is the dense update; a row
    that every batch names is updated as without this hook. It is torch's ``SparseAdam`` for any rule that treats
    elements one by one, with decay. Parameters that are no tables are updated as always.

    The cost of an update depends on the batch, not on the size of the tables.

    Args:
        columns: table's parameter name → column of the batch's pairs that indexes it; None asks the model
            (`row_tables`).

    Raises:
        TypeError: the optimizer is not one of Thalweg's rules, or its rule looks at whole tensors.

    >>> import thalweg as tw
    >>> from thalweg.recommend import DotProduct
    >>> _ = torch.manual_seed(0)
    >>> model = DotProduct(1000, 1000, 4)
    >>> before = model.user_factors.weight.detach().clone()
    >>> learner = tw.Learner(model, tw.optim.AdamW(lr=0.1), device="cpu")
    >>> pairs, ratings = torch.tensor([[3, 5], [7, 5]]), torch.tensor([4.0, 2.0])
    >>> _ = learner.fit((pairs, ratings), epochs=2, hooks=[LazyRows()], verbose=False)
    >>> (model.user_factors.weight != before).any(1).nonzero().flatten().tolist()
    [3, 7]
    """

    def __init__(self, columns: dict[str, int] | None = None) -> None:
        self._columns = columns
        self._tables: dict[str, int] = {}
        self._buffers: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def on_fit_begin(self, run: Run) -> None:
        optimizer = run.optimizer
        if not isinstance(optimizer, RuleOptimizer) or optimizer.rule.scope != "element":
            rule = repr(getattr(optimizer, "rule", type(optimizer).__name__))
            raise TypeError(
                f"LazyRows: {rule} does not update single elements, so that rows cannot be updated alone; use SGD, "
                "Adam, AdamW, Adagrad or another rule of Thalweg whose scope is 'element'."
            )
        if optimizer.clip_norm is not None or optimizer.clip_value is not None:
            raise TypeError("LazyRows: clipping needs all gradients at once; leave clip_norm and clip_value out.")
        self._tables = row_tables(run.module) if self._columns is None else dict(self._columns)
        self._buffers = row_buffers(run.module)
        self._names = {id(param): name for name, param in run.module.named_parameters()}

    def step(self, run: Run, batch: Any) -> tuple[Tensor, Tensor | int]:
        """Make one update from *batch*; returns the loss as (sum, weight)."""
        optimizer = run.optimizer
        assert isinstance(optimizer, RuleOptimizer)
        parts = split(batch)
        pairs = parts.args[0].long()
        seen = [torch.unique(pairs[:, column], return_inverse=True) for column in range(pairs.shape[1])]
        local = torch.stack([inverse for _, inverse in seen], dim=1)
        params = dict(run.module.named_parameters())
        leaves: dict[str, Tensor] = {}
        for name, param in params.items():
            if param.requires_grad:
                column = self._tables.get(name)
                part = param.detach() if column is None else param.detach().index_select(0, seen[column][0])
                leaves[name] = part.requires_grad_(True)
        given: dict[str, Any] = dict(leaves)
        for name, column in self._buffers.items():
            given[name] = run.module.get_buffer(name)[seen[column][0]]
        output = torch.func.functional_call(run.module, given, (local,))
        total, weight = run.objective.loss(output, parts.target, parts.row_weight)
        wanted = list(leaves.values())
        grads = dict(zip(leaves, torch.autograd.grad(total / weight, wanted, allow_unused=True), strict=True))
        with torch.no_grad():
            self._update(optimizer, params, leaves, grads, [rows for rows, _ in seen])
        return total.detach(), weight

    def _update(
        self,
        optimizer: RuleOptimizer,
        params: dict[str, nn.Parameter],
        leaves: dict[str, Tensor],
        grads: Mapping[str, Tensor | None],
        seen: list[Tensor],
    ) -> None:
        for group in optimizer.param_groups:
            chosen = [self._names[id(param)] for param in group["params"]]
            chosen = [name for name in chosen if grads.get(name) is not None]
            if not chosen:
                continue
            states = optimizer.ensure_state(group, [params[name] for name in chosen])
            rows = [None if (column := self._tables.get(name)) is None else seen[column] for name in chosen]
            parts = [
                {key: _part(value, params[name], index) for key, value in state.items()}
                for name, state, index in zip(chosen, states, rows, strict=True)
            ]
            values = [leaves[name].detach() for name in chosen]
            optimizer.engine.step(
                optimizer.rule,
                values,
                [grad for name in chosen if (grad := grads[name]) is not None],
                parts,
                group,
                overwrite=True,
            )
            for name, state, part, value, index in zip(chosen, states, parts, values, rows, strict=True):
                if index is None:
                    continue
                params[name].index_copy_(0, index, value)
                for key, whole in state.items():
                    if whole.shape == params[name].shape:
                        whole.index_copy_(0, index, part[key])
                    elif part[key] is not whole:
                        state[key] = part[key]


def _part(state: Tensor, param: Tensor, rows: Tensor | None) -> Tensor:
    """Return the rows of a state that is shaped like its parameter; a counter as it is."""
    return state if rows is None or state.shape != param.shape else state.index_select(0, rows)


def row_tables(module: nn.Module) -> dict[str, int]:
    """Return table's parameter name → column of the pairs that indexes it, for the models of this package.

    >>> from thalweg.recommend import DotProduct
    >>> row_tables(DotProduct(3, 3, 2, effects=[5]))["effects.0.weight"]
    2
    """
    found = {}
    for name, _ in module.named_parameters():
        head = name.split(".")
        if head[0] in ("user_factors", "user_bias"):
            found[name] = 0
        elif head[0] in ("item_factors", "item_bias"):
            found[name] = 1
        elif head[0] == "effects":
            found[name] = 2 + int(head[1])
    return found


def row_buffers(module: nn.Module) -> dict[str, int]:
    """Return buffer name → column, for side features."""
    columns = {"user_features": 0, "item_features": 1}
    return {name: columns[name] for name, _ in module.named_buffers() if name in columns}
