"""Thrift's compact protocol, as far as the page headers of Parquet need it."""

from __future__ import annotations

from typing import Any

__all__ = ["read_struct"]

_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12


def read_struct(data: bytes, start: int) -> tuple[dict[int, Any], int]:
    """Return the fields of a struct by their numbers, and where it ends.

    Source: Apache Thrift, *Compact protocol encoding*, sections "Struct encoding" and "List and Set".

    Raises:
        IndexError: the data end inside the struct.
        ValueError: a type that no such struct has.

    >>> read_struct(bytes([0x15, 0x06, 0x00]), 0)
    ({1: 3}, 3)
    """
    fields: dict[int, Any] = {}
    place, number = start, 0
    while True:
        head = data[place]
        place += 1
        if head == 0:
            return fields, place
        step, kind = head >> 4, head & 0x0F
        if step:
            number += step
        else:
            number, place = _signed(data, place)
        # Most fields are short numbers and bytes; a file has thousands of headers, so that each call less counts.
        if 4 <= kind <= 6 and data[place] < 0x80:
            fields[number] = data[place] >> 1 ^ -(data[place] & 1)
            place += 1
        elif kind == _BINARY and data[place] < 0x80:
            first = place + 1
            place = first + data[place]
            fields[number] = data[first:place]
        elif kind == _STRUCT:
            fields[number], place = read_struct(data, place)
        else:
            fields[number], place = _value(data, place, kind)


def _value(data: bytes, place: int, kind: int) -> tuple[Any, int]:
    if kind in (_TRUE, _FALSE):
        return kind == _TRUE, place
    if kind == _BYTE:
        return data[place], place + 1
    if kind in (4, 5, 6):
        return _signed(data, place)
    if kind == _DOUBLE:
        return None, place + 8
    if kind == _BINARY:
        size, place = _unsigned(data, place)
        return data[place : place + size], place + size
    if kind == _STRUCT:
        return read_struct(data, place)
    if kind in (_LIST, _SET):
        head = data[place]
        size, place = head >> 4, place + 1
        if size == 15:
            size, place = _unsigned(data, place)
        items = []
        for _ in range(size):
            item, place = _value(data, place, head & 0x0F)
            items.append(item)
        return items, place
    raise ValueError(f"a thrift field of type {kind}")


def _unsigned(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value |= (byte & 0x7F) << shift
        place += 1
        if byte < 0x80:
            return value, place
        shift += 7


def _signed(data: bytes, place: int) -> tuple[int, int]:
    value, place = _unsigned(data, place)
    return value >> 1 ^ -(value & 1), place
