"""Addresses of many tensors in one call, checked to lie in memory as they did before."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from thalweg.engine.bucket import address
from thalweg.engine.c_compiler import NoCompiler, load_kernel
from thalweg.engine.c_source import PREAMBLE
from thalweg.optim import State

__all__ = ["FEWEST", "Forms", "forms_of"]

#: Tensors from which one call pays; below, asking each of them costs no more than a few microseconds.
FEWEST = 32

# DLPack's table of functions for consumers in C: its header (version, an older table) and the fourth function, which
# fills a DLTensor from a Python object without keeping it. torch sets it on its class since 2.10.
_READ = 2 + 3
_MAJOR = 1
_NONE: list[State] = []

_SOURCE = (
    PREAMBLE
    + r"""
typedef struct {
    void *data;
    int device, device_index, ndim;
    unsigned char code, bits;
    u16 lanes;
    i64 *sizes, *strides;
    unsigned long long offset;
} Shown;

typedef struct {
    i64 *places, *record;
    i64 count, at, room, compare;
} Book;

/* Enters one tensor: where it lies, and its form, or, in a book that is written, whether it has that form. */
static i64 enter(Book *book, void *tensor, int (*show)(void *, Shown *)) {
    Shown shown;
    if (show(tensor, &shown)) return -2;
    const i64 kind = ((i64)shown.code << 40) | ((i64)shown.bits << 32) | ((i64)shown.ndim << 16)
        | ((i64)shown.device << 8) | (shown.device_index & 255);
    i64 *line = book->record + book->at;
    book->at += 1 + 2 * shown.ndim;
    if (book->at > book->room) return -1;
    if (book->compare) {
        if (line[0] != kind) return -1;
        for (int d = 0; d < shown.ndim; d++)
            if (line[1 + 2 * d] != shown.sizes[d] || line[2 + 2 * d] != shown.strides[d]) return -1;
    } else {
        line[0] = kind;
        for (int d = 0; d < shown.ndim; d++) {
            line[1 + 2 * d] = shown.sizes[d];
            line[2 + 2 * d] = shown.strides[d];
        }
    }
    book->places[book->count++] = (i64)shown.data + (i64)shown.offset;
    return 0;
}

/* Enters a list of tensors and the values of a list of dicts, `most` tensors in all. Returns the length of the record,
   -1 where a form or a number differs, -2 where a tensor cannot be shown. */
i64 read(void *tensors, i64 count, void *dicts, i64 others, i64 most, i64 *places, i64 *record, i64 room, int compare,
         void *(*item)(void *, i64), int (*next)(void *, i64 *, void **, void **), int (*show)(void *, Shown *)) {
    Book book = {places, record, 0, 0, room, compare};
    i64 wrong = 0;
    if (count > most) return -1;
    for (i64 i = 0; i < count && !wrong; i++) wrong = enter(&book, item(tensors, i), show);
    for (i64 i = 0; i < others && !wrong; i++) {
        void *dict = item(dicts, i), *key, *value;
        i64 position = 0;
        while (!wrong && next(dict, &position, &key, &value))
            wrong = book.count < most ? enter(&book, value, show) : -1;
    }
    return wrong ? wrong : book.count == most ? book.at : -1;
}
"""
)


@lru_cache(maxsize=1)
def _reader() -> Callable[..., int] | None:
    """Return the C function with its two callbacks bound, or None where torch or the machine does not have them."""
    capsule = getattr(Tensor, "__dlpack_c_exchange_api__", None)
    if capsule is None:
        return None
    try:
        function: Any = load_kernel(_SOURCE).read
    except NoCompiler:
        return None
    python: Any = ctypes.pythonapi
    open_capsule = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object, ctypes.c_char_p)(
        ("PyCapsule_GetPointer", python)
    )
    table = open_capsule(capsule, b"dlpack_exchange_api")
    words = ctypes.cast(table, ctypes.POINTER(ctypes.c_void_p))
    show = words[_READ]
    if ctypes.cast(table, ctypes.POINTER(ctypes.c_uint32))[0] != _MAJOR or not show:
        return None
    # PYFUNCTYPE keeps Python's lock and raises what torch's function leaves behind.
    pointer, integer, anything = ctypes.c_void_p, ctypes.c_int64, ctypes.py_object
    kind = ctypes.PYFUNCTYPE(
        integer, anything, integer, anything, integer, integer, pointer, pointer, integer, ctypes.c_int, *[pointer] * 3
    )
    called = kind(ctypes.cast(function, pointer).value or 0)
    item, following = (ctypes.cast(f, pointer).value for f in (python.PyList_GetItem, python.PyDict_Next))

    def read(tensors: list[Tensor], dicts: list[State], places: Any, record: Any, compare: bool) -> int:
        given = len(tensors), dicts, len(dicts), len(places)
        done: int = called(
            tensors, *given, address(places), address(record), len(record), compare, item, following, show
        )
        return done

    return read


class Forms:
    """How tensors lie in memory: device, dtype, sizes and strides of each.

    Made by :func:`forms_of`.
    """

    def __init__(self, read: Callable[..., int], count: int, record: Any) -> None:
        self._read, self._record = read, record
        self._places = np.empty(count, dtype=np.int64)

    def places(self, tensors: list[Tensor], states: list[State] = _NONE) -> Any:
        """Return the addresses of *tensors* and of what is in *states* **(n,)**, or None where a form differs.

        The array is written again by the next call.
        """
        try:
            found = self._read(tensors, states, self._places, self._record, True)
        except (BufferError, RuntimeError, TypeError):  # sparse, or another kind that has no one memory
            return None
        return self._places if found == len(self._record) else None


def forms_of(tensors: Sequence[Tensor], states: Sequence[State] = ()) -> Forms | None:
    """Return the forms of *tensors* and of all values of *states*.

    None where there are few of them, or where this torch or machine has no way to read them in one call.

    >>> import torch
    >>> forms = forms_of([torch.zeros(2, 3)] * 40)
    >>> forms is None or forms.places([torch.zeros(3, 2).t()] * 40) is None
    True
    """
    everything = [*tensors, *(value for state in states for value in state.values())]
    read = _reader() if len(everything) >= FEWEST else None
    if read is None:
        return None
    record = np.empty(sum(1 + 2 * tensor.ndim for tensor in everything), dtype=np.int64)
    try:
        done = read(list(tensors), list(states), np.empty(len(everything), dtype=np.int64), record, False)
    except (BufferError, RuntimeError, TypeError):
        return None
    return Forms(read, len(everything), record) if done == len(record) else None
