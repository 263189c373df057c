"""The sizes of a model that the data decide: ``inputs``, ``outputs`` and ``image_shape``.

Models of tokens call the first two ``context`` and ``vocab_size``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from thalweg import data as datas
from thalweg.loss import Elementwise, Loss

from .parts import Parts

__all__ = ["SIZES", "Sizes", "sizes_of"]

#: Arguments of a model that may be ``"auto"``.
SIZES = ("inputs", "outputs", "image_shape", "context", "vocab_size")

_SAME = {"context": "inputs", "vocab_size": "outputs"}


@dataclass(frozen=True)
class Sizes:
    """What a model's arguments named so are where they are ``"auto"``; None where the data do not tell.

    Attributes:
        inputs: numbers in a row.
        outputs: classes, or numbers to predict for a row.
        image_shape: (channels, height, width) of a row that is an image.
        why: size → why it is None.
    """

    inputs: int | None
    outputs: int | None
    image_shape: tuple[int, int, int] | None
    why: dict[str, str]

    def get(self, name: str, who: str) -> Any:
        """Return the size called *name*.

        Raises:
            ValueError: the data do not tell; the message says why.
        """
        size = _SAME.get(name, name)
        value = getattr(self, size)
        if value is None:
            raise ValueError(f"{who}: {name} = 'auto', but {self.why[size]}; write the number yourself.")
        return value


def sizes_of(parts: Parts, loss: Loss) -> Sizes:
    """Return the sizes that the training part of the data and the loss imply.

    Classes are counted where the targets are whole numbers and the loss compares classes: the names of the classes
    where the data have them, else the largest target of all parts plus one.

    >>> import torch
    >>> parts = Parts("three classes", (torch.zeros(6, 4), torch.tensor([0, 1, 2, 0, 1, 2])))
    >>> from thalweg.loss import make
    >>> sizes_of(parts, make("cross_entropy"))
    Sizes(inputs=4, outputs=3, image_shape=None, why={'image_shape': 'a row has the shape (4,), which is no image'})
    """
    why: dict[str, str] = {}
    batch = datas.split(datas.source(parts.train, batch_size=1, shuffle=False).first())
    x = next((part for part in (*batch.args, *batch.kwargs.values()) if isinstance(part, Tensor)), None)
    row = () if x is None else tuple(x.shape[1:])
    inputs: int | None = None
    if x is None or len(batch.args) + len(batch.kwargs) != 1:
        why["inputs"] = "the data have not one tensor of inputs"
    else:
        inputs = x[0].numel()
    image = parts.image_shape or (row if len(row) == 3 else None)
    if image is None:
        why["image_shape"] = f"a row has the shape {row}, which is no image"
    outputs, reason = _outputs(parts, loss, batch.target)
    if outputs is None:
        why["outputs"] = reason
    return Sizes(inputs, outputs, image, why)


def _outputs(parts: Parts, loss: Loss, target: Any) -> tuple[int | None, str]:
    if not isinstance(target, Tensor):
        return None, "the data have no targets that are one tensor"
    if target.is_floating_point() or isinstance(loss, Elementwise):
        return target[0].numel(), ""
    if parts.classes:
        return len(parts.classes), ""
    highest = -1
    for part in (parts.train, parts.valid, parts.test):
        if part is None:
            continue
        source = datas.source(part, batch_size=1, shuffle=False)
        whole = datas.split(source.whole()).target if isinstance(source, datas.MemorySource) else None
        if not isinstance(whole, Tensor):
            return None, "the data come in batches, which do not say how many classes there are"
        highest = max(highest, int(whole.max()))
    return highest + 1, ""
