"""Forward, loss, backward, clipping and update traced as one graph and compiled."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_unflatten

from thalweg.objective import Objective
from thalweg.optim import Rule

from .clip import clip_coefficient, total_norm
from .flat_graph import CannotCompile, compiled_graph
from .optimizer import RuleOptimizer

__all__ = ["CannotCompile", "WholeStep"]

# A changing value of these never recompiles, where a schedule changes it; all else in a group is a constant.
_MOVING = ("lr", "momentum", "weight_decay")
_ELEMENTS = (torch.float32, torch.float64)

Parts = Callable[[Any], Any]


class WholeStep:
    r"""One training step as one compiled call: :math:`(w, s, \text{batch}) \mapsto (w', s')` in place.

    The objective's functional form and the rule's ``update`` are traced together (``torch.func.grad`` inside
    ``make_fx``) and compiled by the inductor; the call then goes straight to the compiled graph, past autograd, the
    module and Dynamo's guards. Rates are 0-dim tensors, so a schedule never recompiles. What guards would watch is
    watched by :meth:`fits`: the batch's shapes and dtypes, which parameters are trainable, and the groups' constants.

    Args:
        objective: model, loss and penalty, in training mode.
        optimizer: ours; its state is made and then updated in place.
        parts: takes a batch apart (``thalweg.data.split``).
        batch: an example of the batches to come.
        scheduled: hyperparameters besides ``lr`` that will change (``"momentum"``, ``"weight_decay"``).
        autocast: dtype that forward and loss run in, or None.

    Raises:
        CannotCompile: complex, sparse or half-precision parameters, stochastic rounding, a model that cannot be traced
            (branches on values), a batch statistic that is not a tensor, or no working compiler.
    """

    def __init__(
        self,
        objective: Objective,
        optimizer: RuleOptimizer,
        parts: Parts,
        batch: Any,
        *,
        scheduled: Collection[str] = (),
        autocast: torch.dtype | None = None,
    ) -> None:
        self._objective, self._optimizer, self._parts = objective, optimizer, parts
        self._autocast = autocast
        self._kept: list[Tensor] | None = None
        self._scheduled = {"lr", *scheduled}
        self._names = {id(param): name for name, param in objective.model.named_parameters()}
        self._rows = [
            (index, param)
            for index, group in enumerate(optimizer.param_groups)
            for param in group["params"]
            if param.requires_grad and id(param) in self._names
        ]
        self._refuse()
        self._params = [param.detach() for _, param in self._rows]
        chosen = {id(param) for _, param in self._rows}
        self._fixed = {
            name: param.detach() for name, param in objective.model.named_parameters() if id(param) not in chosen
        }
        self._buffers = dict(objective.model.named_buffers())
        self._states = self._take_states()
        self._moving, self._constants = self._hypers()
        self._shape = _signature(batch)
        self._leaves, self._spec = tree_flatten(batch)
        self._call = self._compile(self._leaves)

    def _refuse(self) -> None:
        if not self._rows:
            raise CannotCompile("the optimizer holds no trainable parameter of the model")
        if self._optimizer.rounder is not None:
            raise CannotCompile("stochastic rounding is not part of the compiled step")
        for _, param in self._rows:
            if param.dtype not in _ELEMENTS or param.layout is not torch.strided:
                kind = str(param.dtype).removeprefix("torch.")
                raise CannotCompile(f"the parameter {self._names[id(param)]!r} is {kind}, not float32 or float64")

    def _take_states(self) -> list[dict[str, Tensor]]:
        """Return each parameter's state; ``step`` is one tensor for all of them while this object is in use.

        A counter per parameter would be as many kernels; they are equal unless parameters joined later.
        """
        optimizer = self._optimizer
        states = [optimizer.ensure_state(optimizer.param_groups[i], [p])[0] for i, p in self._rows]
        counters = [state["step"] for state in states if "step" in state]
        self._step = counters[0].detach().to(self._params[0].device, copy=True) if counters else None
        if any(not torch.equal(counter.cpu(), counters[0].cpu()) for counter in counters):
            raise CannotCompile("parameters have made different numbers of updates")
        self._state_keys = [[key for key in state if key != "step"] for state in states]
        return states

    def _hypers(self) -> tuple[list[tuple[dict[str, Any], str, Tensor, list[float]]], list[dict[str, Any]]]:
        """Return the moving hyperparameters as tensors, and each group's constants."""
        device = self._params[0].device
        exact = torch.float32 if device.type == "mps" else torch.float64
        moving: list[tuple[dict[str, Any], str, Tensor, list[float]]] = []
        constants: list[dict[str, Any]] = []
        for group in self._optimizer.param_groups:
            own = {name: group[name] for name in self._optimizer.rule.hyper() if name in group}
            for name in _MOVING:
                value = own.get(name)
                # A momentum or decay of zero is a different graph (no buffer, no term), so it stays a constant.
                if name in self._scheduled and isinstance(value, (int, float)) and (name == "lr" or value != 0):
                    moving.append((group, name, torch.tensor(float(value), dtype=exact, device=device), [float(value)]))
                    del own[name]
            if "betas" in own and "momentum" in self._scheduled:
                values = [float(beta) for beta in own.pop("betas")]
                moving.append((group, "betas", torch.tensor(values, dtype=exact, device=device), values))
            constants.append(own)
        return moving, constants

    def fits(self, batch: Any) -> bool:
        """Whether the compiled graph is the one for this batch."""
        return _signature(batch) == self._shape

    def is_current(self) -> bool:
        """Whether trainable parameters and constant hyperparameters are still those that were compiled."""
        trainable = [p for g in self._optimizer.param_groups for p in g["params"] if p.requires_grad]
        same = len(trainable) == len(self._rows) and all(
            a is b for a, (_, b) in zip(trainable, self._rows, strict=True)
        )
        groups = self._optimizer.param_groups
        return same and all(
            group.get(name) == value
            for group, constants in zip(groups, self._constants, strict=True)
            for name, value in constants.items()
        )

    def __call__(self, batch: Any) -> tuple[Tensor, Tensor | int, Tensor, Tensor | None]:
        """Make one update from *batch* and return (sum, weight, gradient norm, penalty), on the device."""
        for group, name, tensor, last in self._moving:
            values = group[name]
            if name == "betas":
                if values[0] != last[0] or values[1] != last[1]:
                    last[:] = values
                    tensor.copy_(torch.tensor(last, dtype=tensor.dtype))
            elif values != last[0]:
                last[0] = values
                tensor.fill_(values)
        leaves, _ = tree_flatten(batch)
        out = self._call(*self._inputs, *leaves)
        weight = self._weight if self._weight is not None else out[1]
        return out[0], weight, out[2], out[3] if self._has_penalty else None

    def keep(self) -> None:
        """Copy everything that a step changes to the host, so that one that fails half-way can be undone."""
        self._kept = [tensor.to("cpu", copy=True) for tensor in self._changing]

    @property
    def undoable(self) -> bool:
        """Whether there is a copy to go back to."""
        return self._kept is not None

    def undo(self) -> None:
        """Put back what :meth:`keep` copied."""
        assert self._kept is not None, "there is nothing to go back to"
        for tensor, kept in zip(self._changing, self._kept, strict=True):
            tensor.copy_(kept)

    def forget(self) -> None:
        """Let go of what :meth:`keep` copied."""
        self._kept = None

    def release(self) -> None:
        """Write the shared step counter back to every parameter's state."""
        if self._step is not None:
            for state in self._states:
                if "step" in state:
                    state["step"].copy_(self._step)

    def reload(self) -> None:
        """Take the step counter from the states again, after updates made elsewhere."""
        if self._step is not None:
            self._step.copy_(next(state["step"] for state in self._states if "step" in state))

    def _compile(self, leaves: Sequence[Any]) -> Callable[..., Any]:
        state_values = [state[key] for state, keys in zip(self._states, self._state_keys, strict=True) for key in keys]
        counter = [] if self._step is None else [self._step]
        self._inputs = [
            *self._params,
            *self._fixed.values(),
            *self._buffers.values(),
            *state_values,
            *counter,
            *(tensor for _, _, tensor, _ in self._moving),
        ]
        self._changing = [*self._params, *self._buffers.values(), *state_values, *counter]
        self._weight: int | None = None
        self._has_penalty = self._objective.penalty_term is not None
        return compiled_graph(self._flat_step, [*self._inputs, *leaves], "the model")

    def _flat_step(self, *flat: Any) -> tuple[Any, ...]:
        """The step as a function of flat tensors, which is what gets traced."""
        cursor = iter(flat)
        params = [next(cursor) for _ in self._params]
        fixed = {name: next(cursor) for name in self._fixed}
        buffers = {name: next(cursor) for name in self._buffers}
        states = [{key: next(cursor) for key in keys} for keys in self._state_keys]
        step = None if self._step is None else next(cursor)
        hypers = [dict(constants) for constants in self._constants]
        order = {id(group): index for index, group in enumerate(self._optimizer.param_groups)}
        for group, name, _, _ in self._moving:
            tensor = next(cursor)
            hypers[order[id(group)]][name] = tuple(tensor.unbind()) if name == "betas" else tensor
        batch = tree_unflatten(list(cursor), self._spec)
        grads, (total, weight, penalty, new_buffers) = self._gradients(params, fixed, buffers, batch)
        norm = total_norm(grads)
        grads = self._clipped(grads, norm)
        outcome = []
        for (group_index, _), param, grad, state, own in zip(
            self._rows, params, grads, states, self._states, strict=True
        ):
            full = {**state, **({"step": step} if step is not None and "step" in own else {})}
            rule = self._rule(group_index)
            outcome.append(rule.update(param, grad, full, hypers[group_index]))
        # All updates are computed before any is stored: they share the step counter.
        new_step: Tensor | None = None
        for param, state, (new_param, new_state) in zip(params, states, outcome, strict=True):
            param.copy_(new_param)
            new_step = new_state.get("step", new_step)
            for key, value in state.items():
                value.copy_(new_state[key])
        if step is not None and new_step is not None:
            step.copy_(new_step)
        for name, buffer in buffers.items():
            buffer.copy_(new_buffers[name])
        return total, weight, norm, penalty

    def _rule(self, group_index: int) -> Rule:
        return self._optimizer.rule.with_hyper(self._optimizer.param_groups[group_index])

    def _clipped(self, grads: list[Tensor], norm: Tensor) -> list[Tensor]:
        optimizer = self._optimizer
        if optimizer.clip_value is not None:
            grads = [grad.clamp(-optimizer.clip_value, optimizer.clip_value) for grad in grads]
            norm = total_norm(grads)
        if optimizer.clip_norm is not None:
            coefficient = clip_coefficient(norm, optimizer.clip_norm)
            grads = [grad * coefficient for grad in grads]
        return grads

    def _gradients(
        self, params: list[Tensor], fixed: Mapping[str, Tensor], buffers: Mapping[str, Tensor], batch: Any
    ) -> tuple[list[Tensor], tuple[Tensor, Tensor, Tensor, Mapping[str, Tensor]]]:
        objective = self._objective
        names = [self._names[id(param)] for _, param in self._rows]

        def value(chosen: list[Tensor]) -> tuple[Tensor, Any]:
            named = {**dict(zip(names, chosen, strict=True)), **fixed}
            with torch.autocast(
                chosen[0].device.type, dtype=self._autocast or torch.bfloat16, enabled=self._autocast is not None
            ):
                total, weight, after = objective(named, buffers, self._parts(batch))
            if isinstance(weight, Tensor):
                positive = weight > 0
                mean = torch.where(positive, total / torch.where(positive, weight, 1), 0 * total)
            else:
                self._weight = weight  # fixed by the shapes, so it is known here and not part of the graph
                mean = total / weight if weight else 0 * total
                weight = torch.zeros(())
            penalty = objective.penalty(named)
            return mean + penalty, (total, weight, penalty, after)

        grads, extra = torch.func.grad(value, has_aux=True)(params)
        return grads, extra


def _signature(batch: Any) -> tuple[Any, ...]:
    leaves, spec = tree_flatten(batch)
    return (
        spec,
        *[(leaf.shape, leaf.dtype, leaf.stride()) if isinstance(leaf, Tensor) else leaf for leaf in leaves],
    )
