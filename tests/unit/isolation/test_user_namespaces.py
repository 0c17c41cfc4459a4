"""Ranges of ids: never two running jobs with one, whatever order of taking and giving back."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation import user_namespaces
from isolation.user_namespaces import BASE, COUNT, RANGE_SIZE, IdMap, Ranges

# The ids that systemd's documentation gives to others: dynamic users, containers, foreign ids.
OTHERS = [range(61184, 65536), range(524_288, 1_879_048_192), range(2_147_352_576, 2_147_418_112)]


def test_the_default_ranges_lie_where_nobody_elses_are() -> None:
    for others in OTHERS:
        assert others.stop <= BASE or others.start >= BASE + COUNT * RANGE_SIZE


def test_ranges_are_handed_out_once_and_when_all_are_taken_that_is_said() -> None:
    ranges = Ranges(1000, 10, 3)
    assert sorted(ranges.take() for _ in range(3)) == [1000, 1010, 1020]
    with pytest.raises(LookupError, match="all 3 ranges"):
        ranges.take()


def test_a_range_that_was_given_back_is_handed_out_last() -> None:
    ranges = Ranges(1000, 10, 3)
    first = ranges.take()
    ranges.release(first)
    ranges.release(first)
    others = {1000, 1010, 1020} - {first}
    assert [{ranges.take(), ranges.take()}, ranges.take()] == [others, first]


def test_what_running_jobs_have_is_not_handed_out_after_a_restart() -> None:
    ranges = Ranges(1000, 10, 3)
    ranges.recover([1010])
    assert {ranges.take(), ranges.take()} == {1000, 1020}
    ranges.release(1010)
    assert ranges.take() == 1010


def test_a_range_of_a_former_configuration_blocks_what_it_overlaps_until_given_back() -> None:
    ranges = Ranges(1000, 10, 3)
    ranges.recover([1005, 50])
    assert ranges.take() == 1020
    with pytest.raises(LookupError):
        ranges.take()
    ranges.release(1005)
    assert ranges.take() == 1000


@pytest.mark.parametrize(
    ("base", "size", "count"), [(0, 10, 1), (1, 0, 1), (1, 1, 0), (2**32 - 10, 5, 2), (-5, 1, 1)]
)
def test_ranges_out_of_bounds_are_refused(base: int, size: int, count: int) -> None:
    with pytest.raises(ValueError, match="out of bounds"):
        Ranges(base, size, count)


@given(st.lists(st.one_of(st.none(), st.integers(0, 20)), max_size=60))
def test_no_two_jobs_overlap_whatever_happens(events: list[int | None]) -> None:
    """None takes a range, a number gives the job of that place's back."""
    ranges, held = Ranges(100, 7, 5), []
    for event in events:
        if event is None:
            try:
                held.append(ranges.take())
            except LookupError:
                assert len(held) == 5
        elif event < len(held):
            ranges.release(held.pop(event))
        assert len(set(held)) == len(held)
        assert all(abs(a - b) >= 7 for a in held for b in held if a != b)
        assert all(100 <= base <= 100 + 4 * 7 for base in held)


def test_a_jobs_own_namespace_has_the_whole_range() -> None:
    uids, gids = user_namespaces.maps_of_range(BASE)
    assert uids == gids == [IdMap(0, BASE, RANGE_SIZE)]


def shown(maps: list[IdMap], on_disk: int) -> int | None:
    """As whom a mount with this map shows what `on_disk` owns."""
    found = [it for it in maps if it.inside <= on_disk < it.inside + it.size]
    assert len(found) <= 1
    return found[0].outside + on_disk - found[0].inside if found else None


@given(st.integers(1, BASE - 1), st.integers(0, 4093), st.integers(0, 2**32 - 2))
def test_no_id_of_a_range_is_on_a_disk_and_all_others_are_what_they_are(
    uid: int, place: int, on_disk: int
) -> None:
    base = BASE + place * RANGE_SIZE
    maps, gids = user_namespaces.idmap_for(uid, uid, base)
    assert maps == gids
    assert shown(maps, uid) == base
    in_range = base <= on_disk < base + RANGE_SIZE
    if on_disk != uid:
        assert shown(maps, on_disk) == (None if in_range else on_disk)


def test_nothing_is_shown_as_the_submitters_once_it_is_the_jobs() -> None:
    """What is so without a map would be written to the disk with the id that it is mapped to."""
    maps, _ = user_namespaces.idmap_for(1000, 1000, BASE)
    assert not any(it.outside <= 1000 < it.outside + it.size for it in maps)


@pytest.mark.parametrize(("uid", "gid"), [(0, 5), (5, 0), (BASE, 5), (5, BASE + 1)])
def test_the_files_of_root_and_of_a_range_become_nobodys(uid: int, gid: int) -> None:
    with pytest.raises(ValueError, match="not the number of an ordinary user"):
        user_namespaces.idmap_for(uid, gid, BASE)


def test_the_ranges_begin_somewhere_else_after_a_restart() -> None:
    assert len({Ranges().take() for _ in range(20)}) > 1


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a map of ids that are not one's own")
def test_a_namespace_is_made_without_a_process_and_without_a_descriptor_too_many() -> None:
    before = len(os.listdir("/proc/self/fd"))
    fd = user_namespaces.make([IdMap(0, BASE, 5)], [IdMap(0, BASE, 5)])
    assert os.readlink(f"/proc/self/fd/{fd}").startswith("user:[")
    assert not os.get_inheritable(fd)
    os.close(fd)
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0x40000000 | os.WNOHANG)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: a map of ids that are not one's own")
def test_a_map_that_the_kernel_refuses_leaves_nothing_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    overlapping = [IdMap(0, BASE, 5), IdMap(3, BASE + 100, 5)]
    for wrong in ([], overlapping, [IdMap(0, 2**32 - 2, 9)], [IdMap(-1, BASE)]):
        with pytest.raises(OSError, match="Invalid argument"):
            user_namespaces.make(wrong, [IdMap(0, BASE)])
    assert len(os.listdir("/proc/self/fd")) == before
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, 0x40000000 | os.WNOHANG)
