"""What is trained: model, loss and data, checked before the first step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from .. import data as datas
from ..data import Source, split
from ..engine.counter_dropout import CounterDropout
from ..engine.stacked_chain import Chain, read_chain
from ..engine.stacked_forward import StackedForward, stacked_forward
from ..loop import Precision, build_groups, prepare_loss
from ..loop.modes import train_mode
from ..loss import Loss, Penalty
from ..objective import Inputs
from ..optim import Rule
from .initial import Weights, initial_weights

__all__ = ["Entry", "look_for_draws", "make_entry"]


@dataclass
class Entry:
    """A model with its loss and data, for any number of members.

    Attributes:
        module: the template; its tensors are never trained.
        loss, valid_loss: made ready for the training and the validation data.
        source: the shared batches.
        sources: seed of an order of one's own → batches in that order, made when first asked for.
        valid: batches that decide, or None.
        layers: dropouts met in a forward pass in training mode.
        draws: whether the model draws numbers that no counter can give.
    """

    module: nn.Module
    factory: Callable[[], nn.Module] | None
    loss: Loss
    valid_loss: Loss
    penalty: Penalty | None
    source: Source
    valid: Source | None
    precision: Precision
    seed: int
    no_decay: str | Sequence[str] | None
    overrides: Mapping[str, Mapping[str, Any]] | None
    own_source: Callable[[int], Source]
    layers: int = 0
    draws: bool = False
    weights: dict[int | None, Weights] = field(default_factory=dict)
    sources: dict[int, Source] = field(default_factory=dict)
    _forward: StackedForward | None = None
    _chains: dict[str, Chain | None] = field(default_factory=dict)

    @property
    def forward(self) -> StackedForward:
        """How the outputs of many members are computed, found out once: for the stacks of all rules."""
        if self._forward is None:
            train_mode(self.module)
            self._forward = stacked_forward(self.module, split(self.source.first()), self.layers)
        return self._forward

    def chain(self, which: Literal["train", "valid"]) -> Chain | None:
        """Return model and loss as the kernel for small chains knows them, or None where it does not."""
        if which not in self._chains:
            source, loss = (self.source, self.loss) if which == "train" else (self.valid, self.valid_loss)
            assert source is not None
            plain = self.penalty is None and not self.layers
            self._chains[which] = read_chain(self.forward, loss, split(source.first())) if plain else None
        return self._chains[which]

    @property
    def per_epoch(self) -> int:
        """Updates in an epoch."""
        assert self.source.steps_per_epoch is not None
        return self.source.steps_per_epoch

    @property
    def device(self) -> torch.device:
        """Where everything is."""
        return next(self.module.parameters()).device

    def source_of(self, order: int | None) -> Source:
        """Return the shared batches, or those of an order of one's own."""
        if order is None:
            return self.source
        if order not in self.sources:
            self.sources[order] = self.own_source(order)
        return self.sources[order]

    def initial(self, seed: int | None) -> Weights:
        """Return the weights that members with *seed* begin with; not to be changed."""
        if seed not in self.weights:
            self.weights.update(initial_weights(self.module, self.factory, [seed]))
        return self.weights[seed]

    def groups(self, rule: Rule) -> tuple[list[dict[str, Any]], dict[str, int]]:
        """Return (what each param group sets for itself, parameter → the number of its group).

        Raises:
            ValueError: a parameter that the rule cannot update.
        """
        # Who takes no decay must not depend on whether this very rule has any: other members of its stack may.
        decays = rule.with_hyper({"weight_decay": 0.1}) if getattr(rule, "weight_decay", None) == 0 else rule
        made, _ = build_groups(self.module, decays, no_decay=self.no_decay, overrides=self.overrides)
        own, place = [], {}
        params = dict(self.module.named_parameters())
        for number, group in enumerate(made):
            own.append({name: value for name, value in group.items() if name in rule.hyper()})
            full = rule.with_hyper(own[-1])
            for name in group["param_names"]:
                full.check_param(params[name], f"parameter {name!r}", {**full.hyper(), **own[-1]})
                place[name] = number
        return own, place


def make_entry(
    model: nn.Module,
    factory: Callable[[], nn.Module] | None,
    data: Any,
    valid: Any,
    *,
    loss: Loss,
    penalty: Penalty | None,
    precision: Precision,
    batch_size: int,
    shuffle: bool,
    drop_last: bool,
    validation_split: float,
    seed: int,
    no_decay: str | Sequence[str] | None,
    overrides: Mapping[str, Mapping[str, Any]] | None,
) -> Entry:
    """Return the entry, checked on an example batch and, in memory, on all targets.

    Raises:
        ValueError: data and model do not fit, no targets, or an unknown number of batches.
    """
    device = precision.device
    given: dict[str, Any] = {"batch_size": batch_size, "drop_last": drop_last, "device": device}
    held: Source | None
    if validation_split:
        if valid is not None:
            raise ValueError(
                f"race: validation_split={validation_split} and a validation set were both given; pass one of them."
            )
        source, held = datas.split_fraction(data, validation_split, shuffle=shuffle, seed=seed, **given)
    else:
        source = datas.source(data, shuffle=shuffle, seed=seed, **given)
        held = None if valid is None else datas.source(valid, batch_size=2 * batch_size, shuffle=False, device=device)
    if source.steps_per_epoch is None:
        raise ValueError(
            "race: the data do not say how many batches they have, and schedules and rungs must know; pass arrays, a "
            "Dataset, or a DataLoader with a length."
        )

    def own_source(order: int) -> Source:
        if not hasattr(source, "seed"):
            raise ValueError(
                f"race: a candidate has a data order of its own (order={order}), but a loader draws its own; pass "
                "arrays or a Dataset, or let all candidates share their batches."
            )
        twin: Any = copy.copy(source)  # the same tensors under another seed
        twin.seed, twin.shuffle = order, True
        return twin  # type: ignore[no-any-return]

    entry = Entry(
        module=model,
        factory=factory,
        loss=prepare_loss(loss, model, source, precision, "race")[0],
        valid_loss=loss if held is None else prepare_loss(loss, model, held, precision, "race")[0],
        penalty=penalty,
        source=source,
        valid=held,
        precision=precision,
        seed=seed,
        no_decay=no_decay,
        overrides=overrides,
        own_source=own_source,
    )
    look_for_draws(entry)
    return entry


def look_for_draws(entry: Entry) -> None:
    """Count the dropouts of a forward pass in training mode, and see whether it draws anything else."""
    module = entry.module
    args, kwargs = Inputs(module)(split(entry.source.first()))
    buffers = {name: buffer.clone() for name, buffer in module.named_buffers()}
    modes = [(part, part.training) for part in module.modules()]
    counting = CounterDropout()
    module.train()
    try:
        with torch.random.fork_rng(), torch.no_grad(), entry.precision.context():
            before = torch.get_rng_state()
            with counting:
                params: dict[str, Tensor] = dict(module.named_parameters())
                torch.func.functional_call(module, (params, buffers), args, dict(kwargs))
            entry.layers = counting.calls
            entry.draws = not torch.equal(before, torch.get_rng_state())
            if entry.device.type == "cuda":
                entry.draws = entry.draws or _draws_on_cuda(entry, counting, (args, kwargs), buffers)
    finally:
        for part, training in modes:
            part.training = training


def _draws_on_cuda(entry: Entry, counting: CounterDropout, given: Any, buffers: dict[str, Tensor]) -> bool:
    before = torch.cuda.get_rng_state(entry.device)
    counting.begin(None)
    with counting:
        params: dict[str, Tensor] = dict(entry.module.named_parameters())
        torch.func.functional_call(entry.module, (params, buffers), given[0], dict(given[1]))
    return not torch.equal(before, torch.cuda.get_rng_state(entry.device))
