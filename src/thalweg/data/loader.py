"""A user's DataLoader, unchanged, with a position that can be resumed exactly."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, IterableDataset

from .base import Source
from .batch import Batch, to_device
from .first_batch import check_batch
from .random_state import capture, restore, untouched
from .settings import check_start

__all__ = ["LoaderSource"]


class LoaderSource(Source):
    """The batches of a ``DataLoader``, or of any other iterable of batches that can be iterated again.

    The loader keeps its own batch size, order, workers and collation; batches are only moved to *device*. A sampler,
    batch sampler or data set with a ``set_epoch`` is told the epoch (``DistributedSampler`` needs it).

    **Resuming.** A loader draws its order from generators when its iterator is made. `batches` therefore notes the
    states of torch's CPU generator, Python's, NumPy's global one and the loader's own generators before it makes the
    iterator, and `state` holds them. To resume in the middle of an epoch:

    1. restore the run's own generators as they were when the state was saved;
    2. ``load_state(state)``, then ``batches(epoch, start)``, which sets the generators back to the beginning of the
       epoch, makes the iterator, reads *start* batches past, and then sets the generators to what step 1 left.

    The order, and what a data set draws from those generators in this process or in fresh workers, is then the one of
    the uninterrupted run. What worker processes kept alive by ``persistent_workers=True`` have drawn in earlier epochs
    is not known here.

    Args:
        loader: a ``torch.utils.data.DataLoader``, or an iterable of batches.
        device: where batches are moved; None leaves them where the loader puts them.

    Raises:
        ValueError: the loader has no batches.

    >>> from torch.utils.data import TensorDataset
    >>> loader = DataLoader(TensorDataset(torch.arange(3.0)), batch_size=2)
    >>> [x.tolist() for [x] in LoaderSource(loader).batches(epoch=0)]
    [[0.0, 1.0], [2.0]]
    """

    def __init__(self, loader: Any, *, device: torch.device | str | None = None) -> None:
        self.loader = loader
        self.device = torch.device(device) if device is not None else None
        self.batch_size = getattr(loader, "batch_size", None)
        self.steps_per_epoch = _length(loader)
        dataset = getattr(loader, "dataset", None)
        self.n = None if isinstance(dataset, IterableDataset) else _length(dataset)
        if self.steps_per_epoch == 0:
            raise ValueError(
                f"data.source: the {type(loader).__name__} has no batches (its data hold {self.n or 0} samples); give "
                "it data, or lower its batch_size where it has drop_last=True."
            )
        self._generators = _own_generators(loader)
        self._begun: tuple[int, dict[str, Any]] | None = None  # the epoch, and the generators before its iterator
        self._resumed = False  # whether `_begun` came from a saved state and has not been replayed yet

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        check_start(self, epoch, start)
        known = self._begun is not None and self._begun[0] == epoch
        if start and not known:
            raise ValueError(
                f"data: batch {start} of epoch {epoch} was asked for, but where a DataLoader's epoch began is only "
                "known for the epoch that runs or was saved; call load_state with the saved state first."
            )
        self._set_epoch(epoch)
        if self._begun is not None and known and (start or self._resumed):
            iterator = self._replay(self._begun[1], epoch, start)
        else:
            self._begun = (epoch, capture(self._generators))
            iterator = iter(self.loader)
        self._resumed = False
        return (to_device(batch, self.device) for batch in iterator) if self.device is not None else iterator

    def _replay(self, begun: dict[str, Any], epoch: int, start: int) -> Iterator[Batch]:
        with untouched(self._generators):
            restore(begun, self._generators)
            iterator: Iterator[Batch] = iter(self.loader)
            for position in range(start):
                if next(iterator, self) is self:
                    raise ValueError(
                        f"data: the loader ended after {position} batches of epoch {epoch}, but the run had read "
                        f"{start}; resume with the data that the run began with."
                    )
        return iterator

    def _set_epoch(self, epoch: int) -> None:
        batch_sampler = getattr(self.loader, "batch_sampler", None)
        places = (
            getattr(self.loader, "sampler", None),
            batch_sampler,
            getattr(batch_sampler, "sampler", None),
            getattr(self.loader, "dataset", None),
        )
        for place in {id(place): place for place in places}.values():
            set_epoch = getattr(place, "set_epoch", None)
            if callable(set_epoch):
                set_epoch(epoch)

    def first(self) -> Batch:
        """Return an example batch. Every generator is set back; an iterable data set is begun once more for it."""
        with untouched(self._generators):
            return to_device(_first_of(self.loader), self.device)

    def check(self) -> None:
        """Look at the first batch only: the others are not known before they are read."""
        check_batch(self.first())

    def state(self) -> dict[str, Any]:
        now = {f"now.{i}": generator.get_state() for i, generator in enumerate(self._generators)}
        if self._begun is None:
            return {"epoch": None, **now}
        epoch, begun = self._begun
        return {"epoch": epoch, **now, **{f"begun.{name}": value for name, value in begun.items()}}

    def load_state(self, state: dict[str, Any]) -> None:
        count = sum(name.startswith("now.") for name in state)
        if "epoch" not in state or count != len(self._generators):
            raise ValueError(
                f"data: the saved state ({', '.join(sorted(state)) or 'empty'}) is not one of a DataLoader with "
                f"{len(self._generators)} generators of its own; resume with the data that the run began with."
            )
        for i, generator in enumerate(self._generators):
            generator.set_state(state[f"now.{i}"])
        begun = {name.removeprefix("begun."): value for name, value in state.items() if name.startswith("begun.")}
        self._resumed = state["epoch"] is not None
        self._begun = (int(state["epoch"]), begun) if self._resumed else None


def _length(sized: Any) -> int | None:
    """Return ``len(sized)``, or None where it has none; a loader over an IterableDataset says so by TypeError."""
    try:
        return len(sized)
    except (TypeError, NotImplementedError):
        return None


def _own_generators(loader: Any) -> list[torch.Generator]:
    """Return the torch generators that the loader and its samplers hold, each once."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    holders = (loader, getattr(loader, "sampler", None), batch_sampler, getattr(batch_sampler, "sampler", None))
    found = [getattr(holder, "generator", None) for holder in holders]
    return list({id(item): item for item in found if isinstance(item, torch.Generator)}.values())


def _first_of(loader: Any) -> Batch:
    plain = isinstance(loader, DataLoader) and type(loader).__iter__ is DataLoader.__iter__
    if plain and loader.num_workers and not isinstance(loader.dataset, IterableDataset):
        # In this process: workers cost a start each, and persistent ones would go on from here in the first epoch.
        if loader.batch_sampler is None:
            return loader.collate_fn(loader.dataset[next(iter(loader.sampler))])
        return loader.collate_fn([loader.dataset[index] for index in next(iter(loader.batch_sampler))])
    for batch in loader:
        return batch
    raise ValueError(
        f"data.source: the {type(loader).__name__} gave no batch; its data are empty, or can be read only once and "
        "have been read."
    )
