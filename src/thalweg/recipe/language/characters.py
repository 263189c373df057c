"""A text, a character at a time."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from thalweg.data.characters import Characters, find_text
from thalweg.errors import check_number

from ..models.sizes import check_sizes
from ..parts import Parts
from .generate import sample

__all__ = ["characters", "tinyshakespeare"]


def characters(
    file: str, context: int = 64, stride: int | None = None, valid: float = 0.1, sample_length: int = 200
) -> Parts:
    """Return a text in windows of characters; the target of each is the one that follows it.

    The beginning trains and the end validates, as it is usual for text, whose neighbouring windows know each other.

    Args:
        file: a text in UTF-8.
        context: characters in a window, T.
        stride: characters from one training window to the next; None takes T: each is a target once per epoch.
        valid: the share of the text that validates, in (0, 1).
        sample_length: characters of the sample after each epoch.

    Returns:
        Parts with x and y **(n, T)** int64.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the text is too short for a window to train and one to validate.
    """
    return _windows(file, "characters", context, stride, valid, sample_length)


def tinyshakespeare(
    file: str | None = None,
    context: int = 64,
    stride: int | None = None,
    valid: float = 0.1,
    sample_length: int = 200,
    root: str | None = None,
) -> Parts:
    """Return the 1.1 million characters of Shakespeare's plays that A. Karpathy collected (2015), in windows.

    Args:
        file: where the text lies; None looks for ``tinyshakespeare.txt`` in the folder of data sets.
        context, stride, valid, sample_length: as for :func:`characters`.
        root: the folder of data sets; None takes the environment variable ``THALWEG_DATA``, else ``data``.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = find_text("tinyshakespeare", file, root)
    return _windows(str(path), "tinyshakespeare", context, stride, valid, sample_length)


def _windows(file: str, name: str, context: int, stride: int | None, valid: float, sample_length: int) -> Parts:
    check_sizes("data", context=context, stride=context if stride is None else stride, sample_length=sample_length)
    check_number("data", "valid", valid, low=0.0, low_open=True, high=1.0, high_open=True)
    text = find_text(name, file).read_text(encoding="utf-8")
    known = Characters(text)
    numbers = known.encode(text)
    first = int(len(numbers) * (1 - valid))
    parts = [_cut(numbers[:first], context, stride or context), _cut(numbers[first:], context, context)]
    if not all(len(x) for x, _ in parts):
        raise ValueError(
            f"data {file}: has {len(text)} characters, of which {first} train, and a window takes {context + 1}; give "
            "a longer text, or a smaller context."
        )
    show = partial(_show, known=known, context=context, length=sample_length)
    return Parts(name, parts[0], parts[1], classes=tuple(known.known), show=show)


def _cut(numbers: Tensor, context: int, stride: int) -> tuple[Tensor, Tensor]:
    """Return windows and what follows each of their places."""
    if len(numbers) <= context:
        return numbers.new_empty(0, context), numbers.new_empty(0, context)
    windows = numbers.unfold(0, context + 1, stride)
    return windows[:, :-1].contiguous(), windows[:, 1:].contiguous()


def _show(model: nn.Module, epoch: int, known: Characters, context: int, length: int) -> str:
    """Return a text that the model goes on with from a line break, drawn by the epoch's number."""
    start = known.known.find("\n")
    device = next(model.parameters()).device
    begin = torch.full((1, 1), max(start, 0), dtype=torch.int64, device=device)
    drawn = sample(model, begin, length, context=context, seed=epoch)
    return known.decode(drawn[0, 1:].cpu()).strip("\n")
