"""One linear layer: linear regression under ``mse``, logistic regression under ``cross_entropy``."""

from __future__ import annotations

from torch import Tensor, nn

from .sizes import check_sizes

__all__ = ["LinearModel"]


class LinearModel(nn.Module):
    r"""One linear layer on flattened rows, :math:`o = W x + b`.

    Args:
        inputs: numbers in a row, p >= 1.
        outputs: numbers the model returns for a row, q >= 1.
        bias: whether there is b.

    Shapes:
        x **(B, …)** with p numbers per row → **(B, q)**.

    Raises:
        TypeError, ValueError: a size that is no whole number >= 1.

    >>> import torch
    >>> model = LinearModel(784, 10)
    >>> model(torch.zeros(2, 1, 28, 28)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 7850)
    """

    def __init__(self, inputs: int, outputs: int, bias: bool = True) -> None:
        super().__init__()
        check_sizes("LinearModel", inputs=inputs, outputs=outputs)
        self.output = nn.Linear(inputs, outputs, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.output(x.flatten(1))
        return logits
