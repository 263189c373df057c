"""Headers and dictionary-encoded values of Parquet pages, by C kernels; `thalweg.data` reads files with them."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from thalweg.engine.bucket import address
from thalweg.engine.c_compiler import NoCompiler, load_kernel

__all__ = ["PAGE_FIELDS", "page_headers", "unpack_dictionary"]

PAGE_FIELDS = 8

_SOURCE = r"""
#include <string.h>
typedef long long i64;
typedef unsigned long long u64;
typedef unsigned char u8;

/* ------------------------------------------------------------------------------------------------- page headers */
typedef struct { const u8 *at, *end; int bad; } text;

static u64 natural(text *t) {
    u64 value = 0;
    for (int shift = 0; shift < 64 && t->at < t->end; shift += 7) {
        const u8 byte = *t->at++;
        value |= (u64)(byte & 127) << shift;
        if (byte < 128) return value;
    }
    t->bad = 1;
    return 0;
}

static i64 whole(text *t) {
    const u64 value = natural(t);
    return (i64)(value >> 1) ^ -(i64)(value & 1);
}

static void pass(text *t, u64 bytes) {
    if (bytes > (u64)(t->end - t->at)) t->bad = 1;
    else t->at += bytes;
}

static void fields(text *t, i64 *own, i64 *inner, int depth);

static void skip(text *t, int kind, int depth) {
    if (kind == 3) pass(t, 1);
    else if (kind >= 4 && kind <= 6) natural(t);
    else if (kind == 7) pass(t, 8);
    else if (kind == 8) pass(t, natural(t));
    else if (kind == 12 && depth < 8) fields(t, 0, 0, depth + 1);
    else if (kind > 2) t->bad = 1; /* no page header has lists */
}

/* A struct of Thrift's compact protocol: whole numbers and truths by their field numbers to `own`, those of the one
   struct that tells of the page to `inner`; all else is passed over. */
static void fields(text *t, i64 *own, i64 *inner, int depth) {
    i64 number = 0;
    while (!t->bad) {
        if (t->at >= t->end) { t->bad = 1; return; }
        const u8 head = *t->at++;
        if (!head) return;
        const int kind = head & 15;
        number = head >> 4 ? number + (head >> 4) : whole(t);
        const int kept = own && number > 0 && number < 16;
        if (kind == 1 || kind == 2) {
            if (kept) own[number] = kind == 1;
        } else if (kind >= 4 && kind <= 6) {
            const i64 value = whole(t);
            if (kept) own[number] = value;
        } else if (kind == 12 && inner && (number == 5 || number == 7 || number == 8)) {
            fields(t, inner, 0, depth + 1);
        } else skip(t, kind, depth);
    }
}

/* For every page from `start` on until `values` values are reached: type, encoding, where its bytes begin, how many
   they are in the file and uncompressed, its values, the bytes of levels that a page of version 2 begins with, and
   whether such a page is compressed. Returns the number of pages, -1 where something is no header, -2 where more than
   `most` would be needed. */
i64 page_headers(const u8 *data, i64 start, i64 size, i64 values, i64 most, i64 *found) {
    i64 count = 0;
    while (values > 0) {
        if (count == most) return -2;
        if (start < 0 || start >= size) return -1;
        i64 own[16] = {0}, inner[16];
        for (int k = 0; k < 16; k++) inner[k] = -1;
        text t = { data + start, data + (size - start < 65536 ? size : start + 65536), 0 };
        fields(&t, own, inner, 0);
        const i64 body = t.at - data, kind = own[1];
        if (t.bad || own[2] < 0 || own[3] < 0 || own[3] > size - body || inner[1] < 0) return -1;
        const int second = kind == 3;
        i64 *page = found + 8 * count++;
        page[0] = kind;
        page[1] = second ? inner[4] : inner[2];
        page[2] = body;
        page[3] = own[3];
        page[4] = own[2];
        page[5] = inner[1];
        page[6] = second ? (inner[5] > 0 ? inner[5] : 0) + (inner[6] > 0 ? inner[6] : 0) : 0;
        page[7] = second ? inner[7] != 0 : 1;
        if (kind == 0 || kind == 3) {
            if (inner[1] == 0) return -1;
            values -= inner[1];
        }
        start = body + own[3];
    }
    return values < 0 ? -1 : count;
}

/* ------------------------------------------------------------------------------------------------- dictionaries */
/* Runs and groups of eight packed numbers, each the place of a value in the dictionary; returns whether all is well. */
#define UNPACK(NAME, WORD) \
i64 NAME(const u8 *data, i64 size, i64 count, const WORD *dictionary, i64 entries, WORD *out) { \
    if (size < 1 || data[0] > 32) return 0; \
    const int bits = data[0]; \
    const u64 mask = ((u64)1 << bits) - 1; \
    text t = { data + 1, data + size, 0 }; \
    i64 k = 0; \
    while (k < count) { \
        const u64 head = natural(&t); \
        if (t.bad || head >> 1 == 0) return 0; \
        if (head & 1) { \
            const u64 groups = head >> 1; \
            const i64 left = t.end - t.at, room = count - k; \
            if (groups > (u64)size || (bits && groups * bits > (u64)left)) return 0; \
            const i64 n = (i64)groups * 8 < room ? (i64)groups * 8 : room; \
            u64 most = 0; \
            const i64 easy = !bits ? n : left < 8 ? 0 : (left - 8) * 8 / bits; /* eight bytes can be read there */ \
            for (i64 i = 0; i < n; i++) { \
                const i64 bit = i * bits, at = bit >> 3; \
                u64 word = 0; \
                if (i < easy) memcpy(&word, t.at + at, bits ? 8 : 0); \
                else memcpy(&word, t.at + at, left - at < 8 ? left - at : 8); \
                const u64 place = word >> (bit & 7) & mask; \
                most = place > most ? place : most; \
                out[k + i] = dictionary[place < (u64)entries ? place : 0]; \
            } \
            if (most >= (u64)entries) return 0; \
            t.at += groups * bits; \
            k += n; \
        } else { \
            const i64 run = (i64)(head >> 1), n = run < count - k ? run : count - k, bytes = (bits + 7) / 8; \
            u64 place = 0; \
            if (bytes > t.end - t.at) return 0; \
            memcpy(&place, t.at, bytes); \
            t.at += bytes; \
            if (place >= (u64)entries) return 0; \
            for (i64 i = 0; i < n; i++) out[k + i] = dictionary[place]; \
            k += n; \
        } \
    } \
    return 1; \
}
UNPACK(unpack_4, unsigned int)
UNPACK(unpack_8, unsigned long long)
"""


def page_headers(data: NDArray[np.uint8], start: int, values: int) -> NDArray[np.int64] | None:
    """Return what the page headers of a column chunk say, **(pages, 8)**; None where there is no kernel, or no headers.

    The columns: type, encoding, at which byte the page's own bytes begin, how many they are in the file and
    uncompressed, its values, the bytes of levels that a page of version 2 begins with, whether such a page is
    compressed (1 for others). A number that is not there is −1.

    Args:
        data: the whole file.
        start: the byte at which the first header begins.
        values: of the chunk.
    """
    library = _loaded()
    if library is None:
        return None
    most = values // 256 + 64
    while True:
        found = np.empty((most, PAGE_FIELDS), np.int64)
        count = library.page_headers(address(data), start, len(data), values, most, address(found))
        if count != -2:
            return None if count < 0 else found[:count]
        most *= 8


def unpack_dictionary(page: NDArray[np.uint8], dictionary: NDArray[Any], out: NDArray[Any]) -> bool | None:
    """Write the values that a page's places in a dictionary stand for; return whether the page is whole.

    None where there is no kernel.

    Args:
        page: the width of a place in bits, then runs and groups of places.
        dictionary: values of 4 or 8 bytes, **(entries,)**.
        out: **(n,)** of the same type.
    """
    library = _loaded()
    if library is None:
        return None
    run = library.unpack_4 if out.itemsize == 4 else library.unpack_8
    return bool(run(address(page), len(page), len(out), address(dictionary), len(dictionary), address(out)))


@lru_cache(maxsize=1)
def _loaded() -> Any:
    try:
        library = load_kernel(_SOURCE)
    except NoCompiler:
        return None
    number, place = ctypes.c_longlong, ctypes.c_void_p
    library.page_headers.argtypes = [place, number, number, number, number, place]
    for function in (library.unpack_4, library.unpack_8):
        function.argtypes = [place, number, number, place, number, place]
        function.restype = number
    library.page_headers.restype = number
    return library
