from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from runner.scheduling import ordered
from runner.scheduling.ordered import Ordered

numbers = st.lists(st.integers(-20, 20), unique=True, max_size=40)


def of(items: list[int]) -> Ordered[int]:
    found: Ordered[int] = Ordered()
    for item in items:
        found.add(item)
    return found


@given(numbers, st.lists(st.integers(-25, 25)), st.integers(-25, 25))
def test_it_is_what_a_sorted_list_is(items: list[int], gone: list[int], probe: int) -> None:
    chunk = ordered._CHUNK
    ordered._CHUNK = 2
    try:
        found, expected = of(items), sorted(items)
        for item in gone:
            assert found.discard(item) == (item in expected)
            if item in expected:
                expected.remove(item)
            assert list(found) == expected
    finally:
        ordered._CHUNK = chunk
    assert len(found) == len(expected)
    assert (found.first, found.last) == ((expected[0], expected[-1]) if expected else (None, None))
    assert (probe in found) == (probe in expected)
    assert found.after(probe) == next((item for item in expected if item > probe), None)
    assert found.count_before(probe) == sum(item < probe for item in expected)
    assert found.up_to(probe, 5) == [item for item in expected if probe < item <= 5]


def test_a_large_one_is_in_order_whatever_order_it_came_in() -> None:
    items = [(n * 7919) % 10_007 for n in range(10_007)]
    found = of(items)
    assert list(found) == sorted(items)
    assert found.count_before(5000) == 5000
    assert found.after(10_006) is None
