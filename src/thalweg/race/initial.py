"""The weights that members begin with: one draw per seed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

__all__ = ["Weights", "initial_weights"]

Weights = tuple[dict[str, Tensor], dict[str, Tensor]]
Factory = Callable[[], nn.Module]


def initial_weights(
    module: nn.Module, factory: Factory | None, seeds: Iterable[int | None]
) -> dict[int | None, Weights]:
    """Return seed → (parameters, buffers) by name, copies on the module's device; no generator is moved.

    A *factory* is called under ``torch.manual_seed(seed)``. Without one the module's layers are drawn anew, by their
    ``reset_parameters()``, parts before wholes. The seed None stands for the weights as they are.

    Raises:
        ValueError: the factory's models differ in shape; a layer with weights of its own that cannot be drawn anew.
    """
    found: dict[int | None, Weights] = {}
    device = next(module.parameters()).device
    for seed in seeds:
        if seed in found:
            continue
        if seed is None:
            made = module
        else:
            with torch.random.fork_rng():
                torch.manual_seed(seed)
                made = factory() if factory is not None else _drawn(module)
            _check_shapes(module, made, seed)
        found[seed] = (
            {name: tensor.detach().to(device, copy=True) for name, tensor in made.named_parameters()},
            {name: tensor.detach().to(device, copy=True) for name, tensor in made.named_buffers()},
        )
    return found


def _drawn(module: nn.Module) -> nn.Module:
    made = copy.deepcopy(module)
    for path, part in reversed(list(made.named_modules())):  # a whole after its parts, as when they are made
        draw = getattr(part, "reset_parameters", None) or getattr(part, "_reset_parameters", None)
        if draw is not None:
            draw()
        elif next(part.parameters(recurse=False), None) is not None:
            raise ValueError(
                f"race: the candidates have seeds, and {path or 'the model'} ({type(part).__name__}) has weights of "
                "its own that cannot be drawn anew, as it has no reset_parameters(); pass a function that makes the "
                "model instead of the model, or candidates without seeds."
            )
    return made


def _check_shapes(module: nn.Module, made: nn.Module, seed: int) -> None:
    if not isinstance(made, nn.Module):
        raise TypeError(f"race: the function that makes the model returned a {type(made).__name__}; return a Module.")
    want = {name: tuple(tensor.shape) for name, tensor in [*module.named_parameters(), *module.named_buffers()]}
    got = {name: tuple(tensor.shape) for name, tensor in [*made.named_parameters(), *made.named_buffers()]}
    for name in [*want, *got]:
        if want.get(name) != got.get(name):
            raise ValueError(
                f"race: members must have one shape, but with seed {seed} {name!r} is {got.get(name, 'missing')} where "
                f"it was {want.get(name, 'missing')} before; race one model at a time."
            )
