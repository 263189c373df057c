"""A multilayer perceptron."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from thalweg.errors import check_number, unknown_name

from .sizes import check_sizes

__all__ = ["ACTIVATIONS", "MLP", "NORMS"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}

NORMS: dict[str, type[nn.Module] | None] = {"none": None, "batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class MLP(nn.Module):
    r"""Linear layers with an activation between them, on flattened rows.

    .. math:: h_{l+1} = \operatorname{dropout}(\phi(\operatorname{norm}(W_l h_l + b_l))), \qquad o = W_L h_L + b_L

    Weights begin as torch's ``nn.Linear`` makes them.

    Args:
        inputs: numbers in a row, p >= 1.
        outputs: numbers the model returns for a row, q >= 1.
        hidden: widths of the hidden layers, each >= 1; an empty list leaves one linear layer.
        activation: ``"relu"``, ``"gelu"``, ``"silu"`` or ``"tanh"``.
        dropout: share of hidden values set to 0 in training, in [0, 1).
        norm: ``"none"``, ``"batch"`` or ``"layer"``, before the activation.

    Shapes:
        x **(B, …)** with p numbers per row → **(B, q)**.

    Raises:
        TypeError, ValueError: a size that is no whole number >= 1, an unknown activation or norm, a dropout outside
            [0, 1).

    >>> import torch
    >>> model = MLP(784, 10, hidden=[50])
    >>> model(torch.zeros(2, 784)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 39760)
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        hidden: Sequence[int] = (64,),
        activation: str = "relu",
        dropout: float = 0.0,
        norm: str = "none",
    ) -> None:
        super().__init__()
        check_sizes("MLP", inputs=inputs, outputs=outputs, **{f"hidden[{i}]": width for i, width in enumerate(hidden)})
        check_number("MLP", "dropout", dropout, low=0.0, high=1.0, high_open=True)
        if activation not in ACTIVATIONS:
            raise unknown_name("MLP", "activation", activation, ACTIVATIONS)
        if norm not in NORMS:
            raise unknown_name("MLP", "norm", norm, NORMS)
        kind = NORMS[norm]
        layers: list[nn.Module] = []
        width = inputs
        for after in hidden:
            layers.append(nn.Linear(width, after))
            if kind is not None:
                layers.append(kind(after))
            layers.append(ACTIVATIONS[activation]())
            if dropout:
                layers.append(nn.Dropout(dropout))
            width = after
        self.hidden = nn.Sequential(*layers)
        self.output = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(self.hidden(x.flatten(1)))
        return logits
