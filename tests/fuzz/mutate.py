"""Havoc: an input changed in a few random ways, or spliced with another. Pure but for its dice.

What each change does is what byte-level fuzzers have found worth doing: bits, small sums,
numbers at the edges, pieces moved, repeated, cut, or taken from another input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

MOST_BYTES: Final = 64 * 1024
_MOST_CHANGES: Final = 6
_LONGEST_PIECE: Final = 64
# Lengths, counts and offsets go wrong at their edges; msgpack's heads are among them.
_BYTES: Final = (0, 1, 0x7F, 0x80, 0x8F, 0x90, 0xC0, 0xC4, 0xCA, 0xCB, 0xD9, 0xDC, 0xDF, 0xFF)
_WORDS: Final = tuple(
    value.to_bytes(size, order)
    for size in (2, 4, 8)
    for value in (0, 1, 2 ** (8 * size - 1) - 1, 2 ** (8 * size - 1), 2 ** (8 * size) - 1)
    for order in ("big", "little")
)


def mutated(dice: Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus, changed; never longer than MOST_BYTES."""
    data = bytearray(dice.choice(corpus))
    for _ in range(dice.randint(1, _MOST_CHANGES)):
        dice.choice(_CHANGES)(dice, data, corpus)
    return bytes(data[:MOST_BYTES])


def _place(dice: Random, data: bytearray) -> int:
    return dice.randrange(len(data)) if data else 0


def _piece(dice: Random, data: bytes | bytearray) -> bytes:
    start = dice.randrange(len(data) + 1)
    return bytes(data[start : start + dice.randint(1, _LONGEST_PIECE)])


def _flip(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    if data:
        data[_place(dice, data)] ^= 1 << dice.randrange(8)


def _add(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    if data:
        at = _place(dice, data)
        data[at] = (data[at] + dice.randint(-35, 35)) % 256


def _set(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    if data:
        data[_place(dice, data)] = dice.choice((*_BYTES, dice.randrange(256)))


def _overwrite(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    word = dice.choice(_WORDS)
    at = _place(dice, data)
    data[at : at + len(word)] = word


def _insert(dice: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    at = _place(dice, data)
    data[at:at] = _piece(dice, dice.choice((data, dice.choice(corpus))))


def _replace(dice: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    piece = _piece(dice, dice.choice(corpus))
    at = _place(dice, data)
    data[at : at + len(piece)] = piece


def _delete(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    at = _place(dice, data)
    del data[at : at + dice.randint(1, _LONGEST_PIECE)]


def _cut(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    del data[_place(dice, data) :]


def _repeat(dice: Random, data: bytearray, _corpus: Sequence[bytes]) -> None:
    at = _place(dice, data)
    data[at:at] = _piece(dice, data) * dice.randint(2, 20)


def _splice(dice: Random, data: bytearray, corpus: Sequence[bytes]) -> None:
    other = dice.choice(corpus)
    data[_place(dice, data) :] = other[dice.randrange(len(other) + 1) :]


_CHANGES: Final[list[Callable[[Random, bytearray, Sequence[bytes]], None]]] = [
    _flip, _flip, _add, _set, _set, _overwrite, _insert, _replace, _delete, _cut, _repeat, _splice,
]  # fmt: skip
