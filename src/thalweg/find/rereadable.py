"""Data that a finder can read more than once."""

from __future__ import annotations

from torch.utils.data import IterableDataset

from ..data import LoaderSource, Source
from .trace import equal_batches

__all__ = ["check_rereadable"]


def check_rereadable(source: Source) -> None:
    """Raise unless reading the data anew gives the same first batch.

    Only streams are looked at; two batches of theirs are read. Generators are expected to be restored by the caller.

    Raises:
        ValueError: the data can be read only once.
    """
    if not isinstance(source, LoaderSource):
        return
    data = getattr(source.loader, "dataset", source.loader)
    if data is not source.loader and not isinstance(data, IterableDataset):
        return
    try:
        first, second = source.first(), source.first()
    except ValueError as error:
        raise _only_once(data) from error
    if not equal_batches(first, second):
        raise _only_once(data)


def _only_once(data: object) -> ValueError:
    return ValueError(
        f"lr_find: the {type(data).__name__} can be read only once (reading it again does not begin anew), and a "
        "finder would use up what the training needs; pass arrays, a Dataset, or an iterable that begins anew."
    )
