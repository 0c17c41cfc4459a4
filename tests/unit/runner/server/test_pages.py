"""How much of a list goes into one frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from client.protocol import MAX_ARGV_ENV_BYTES, MAX_FRAME_BYTES, encode_frame
from runner.server.pages import PAGE_BYTES, fitting

if TYPE_CHECKING:
    from collections.abc import Iterator


def of_bytes(size: int) -> dict[str, Any]:
    """An entry of about so many bytes."""
    return {"x": "x" * size}


@given(st.lists(st.integers(0, 1000), max_size=30), st.integers(0, 4000))
def test_a_page_is_the_longest_beginning_that_is_no_longer_than_it_may_be(
    sizes: list[int], most: int
) -> None:
    entries = [of_bytes(size) for size in sizes]
    page = fitting(entries, most)
    assert page == entries[: len(page)]
    assert bool(page) == bool(entries)
    assert len(page) <= 1 or len(encode_frame({"page": page})) <= most + 32
    if len(page) < len(entries):
        assert sum(len(encode_frame(each)) for each in entries[: len(page) + 1]) > most


def test_a_full_page_fits_into_a_frame_beside_the_longest_entry_that_there_is() -> None:
    page = fitting(of_bytes(100) for _ in range(100_000))
    frame = encode_frame({"id": 2**32 - 1, "ok": {"jobs": page, "next": 2**62}})
    # What each is counted with is a little more than what it takes.
    assert PAGE_BYTES - 200 - 4 * len(page) < len(frame) <= PAGE_BYTES + 100
    longest = of_bytes(MAX_ARGV_ENV_BYTES + 100_000)
    assert len(encode_frame({"page": [*page, *fitting([longest])]})) < MAX_FRAME_BYTES


def test_one_entry_is_a_page_whatever_it_takes_and_no_more_are_made_than_one_too_many() -> None:
    made = []

    def entries() -> Iterator[dict[str, Any]]:
        for number in range(9):
            made.append(number)
            yield of_bytes(100)

    assert len(fitting(entries(), 10)) == 1
    assert made == [0, 1]
    assert fitting([], 10) == []
