"""A small convolutional network for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from thalweg.errors import check_number

from .sizes import check_sizes

__all__ = ["ConvNet"]


class ConvNet(nn.Module):
    r"""Blocks of convolution, ReLU and 2×2 max pooling, then one linear layer.

    Convolutions keep height and width (zeros at the edges); each pooling halves them, rounding down.

    Args:
        image_shape: (channels, height, width) of an image, each >= 1. Rows that are flat are reshaped to it.
        outputs: numbers the model returns for an image, q >= 1.
        channels: channels of each block's convolution, each >= 1; two blocks by default.
        kernel: height and width of the convolutions, an odd number >= 1.
        dropout: share of the last block's values set to 0 in training, in [0, 1).

    Shapes:
        x **(B, C, H, W)**, or anything with as many numbers per row → **(B, q)**.

    Raises:
        TypeError, ValueError: a size that is no whole number >= 1, an even kernel, a dropout outside [0, 1), or more
            blocks than the image can be halved.

    >>> import torch
    >>> model = ConvNet((1, 28, 28), 10)
    >>> model(torch.zeros(2, 784)).shape, sum(p.numel() for p in model.parameters())
    (torch.Size([2, 10]), 20490)
    """

    def __init__(
        self,
        image_shape: Sequence[int],
        outputs: int,
        channels: Sequence[int] = (16, 32),
        kernel: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if len(image_shape) != 3:
            raise ValueError(
                f"ConvNet: image_shape={list(image_shape)} has {len(image_shape)} sizes; give channels, height, width."
            )
        depth, height, width = image_shape
        check_sizes("ConvNet", outputs=outputs, kernel=kernel, channels_of_the_image=depth, height=height, width=width)
        check_sizes("ConvNet", **{f"channels[{i}]": count for i, count in enumerate(channels)})
        check_number("ConvNet", "dropout", dropout, low=0.0, high=1.0, high_open=True)
        if not channels:
            raise ValueError("ConvNet: channels=[] leaves no convolution; give one number of channels per block.")
        if kernel % 2 == 0:
            raise ValueError(
                f"ConvNet: kernel={kernel} is even and has no middle; choose {kernel - 1} or {kernel + 1}."
            )
        if min(height, width) >> len(channels) == 0:
            raise ValueError(
                f"ConvNet: {len(channels)} blocks halve the image {len(channels)} times, and {height}×{width} has no "
                "pixel left then; use fewer channels (one number per block)."
            )
        self.image_shape = (depth, height, width)
        layers: list[nn.Module] = []
        for count in channels:
            layers += [nn.Conv2d(depth, count, kernel, padding=kernel // 2), nn.ReLU(), nn.MaxPool2d(2)]
            depth, height, width = count, height // 2, width // 2
        self.blocks = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(depth * height * width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        features = self.blocks(x.reshape(len(x), *self.image_shape)).flatten(1)
        logits: Tensor = self.output(self.dropout(features))
        return logits
