"""Large jobs: what is kept for the first that does not fit, and who may go past it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scheduling.kinds import Going, Needs, Queue, Quota
from runner.scheduling.reservation import FIRST_NS, LONGEST_NS
from runner.scheduling.scheduler import MOST_STARTS
from runner.scheduling.selection import DEPTH

from .conftest import NOW, SECOND, Machine


def test_small_jobs_do_not_go_past_a_large_one_into_what_it_waits_for(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    assert m.decide() == ["old"]
    m.add("large", memory=8)
    m.add("small", 2, memory=3)
    assert m.decide() == []
    assert m.why("small") == ["reserved"]
    assert m.scheduler.explain("small", m.now).because[0].on == ("large",)
    m.end("old")
    assert m.decide() == ["large"]


def test_a_small_job_that_fits_beside_the_large_one_goes_past_it(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=8)
    m.add("two", 2, memory=2)
    m.add("three", 2, memory=1)
    assert m.decide() == ["two"]
    m.end("two")
    # What went past and has ended is in nobody's way.
    assert m.decide() == ["three"]
    m.end("old")
    assert m.decide() == ["large"]


def test_a_job_that_ends_in_time_goes_past_a_large_one(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4, seconds=100)
    m.decide()
    m.add("large", memory=8)
    m.add("long", 2, memory=3, seconds=101)
    m.add("short", 2, memory=3, seconds=100)
    assert m.decide() == ["short"]
    explained = m.scheduler.explain("large", m.now)
    assert explained.start_ns == NOW + 100 * SECOND
    because = explained.because[0]
    assert (because.cause, because.needs, because.free) == ("memory", 8, 3)
    assert m.scheduler.explain("long", m.now).because[0].until_ns == NOW + 100 * SECOND


def test_what_outlasts_a_known_start_has_to_fit_with_all_that_is_there_then(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 12)
    m.add("old", 8, memory=6, seconds=100)
    m.add("forever", 8, memory=4)
    assert m.decide() == ["old", "forever"]
    m.add("large", memory=7)
    m.add("two", 2, memory=2)
    m.add("one", 2, memory=1)
    # At the end of old there are 8, of which large takes 7.
    assert m.decide() == ["one"]


def test_a_job_that_should_have_ended_says_nothing_about_when(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4, seconds=100)
    m.decide()
    m.now += 200 * SECOND
    m.add("large", memory=8)
    m.add("short", 2, memory=3, seconds=1)
    assert m.decide() == []
    assert m.scheduler.explain("large", m.now).start_ns is None


def test_a_clock_that_was_set_back_does_not_make_jobs_longer(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4, seconds=100)
    m.decide()
    m.now -= 10_000 * SECOND
    m.add("large", memory=8)
    m.add("short", 2, memory=3, seconds=101)
    assert m.decide() == []


def test_a_higher_priority_takes_no_notice_and_may_need_it_itself(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=8)
    m.decide()
    m.add("higher", 2, memory=5, priority=1)
    assert m.decide() == ["higher"]
    m.add("highest", 2, memory=9, priority=2)
    assert m.decide() == []
    m.end("old")
    m.end("higher")
    assert m.decide() == ["highest"]
    m.end("highest")
    assert m.decide() == ["large"]


def test_of_equal_jobs_the_one_whose_user_has_less_now_takes_the_reservation_over(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    for n in range(3):
        m.add(f"1.{n}", 1, memory=5)
        m.add(f"2.{n}", 2, memory=5)
    assert m.decide() == ["1.0", "2.0"]
    m.end("2.0")
    assert m.decide() == ["2.1"]
    m.end("1.0")
    assert m.decide() == ["1.1"]


def test_the_reservation_stays_though_another_user_has_a_smaller_share(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    m.add("old", 1, memory=4)
    m.add("older", 3, memory=4)
    m.decide()
    m.add("large", 1, memory=8)
    m.decide()
    m.add("rival", 2, memory=7)
    m.decide()
    m.end("old")
    assert m.decide() == []
    m.end("older")
    assert m.decide() == ["large"]


@pytest.mark.parametrize(
    "change", [{"is_held": True}, {"queue": "nowhere"}, {"needs": Needs(0, 1)}]
)
def test_a_job_that_does_not_need_it_any_more_gives_it_up(
    machine: type[Machine], change: dict[str, Any]
) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=8)
    m.add("small", 2, memory=5)
    assert m.decide() == []
    m.scheduler.change(m.scheduler.get("large")._replace(**change))
    assert m.decide()[-1:] == ["small"]


def test_a_job_that_is_stopped_gives_it_up(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=8)
    m.add("small", 2, memory=5)
    assert m.decide() == []
    m.scheduler.drop("large")
    assert m.decide() == ["small"]


def test_a_reservation_is_not_made_for_what_a_cap_or_quota_holds_back(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10, Queue("default"), Queue("one", 5, 1))
    m.quotas[1] = Quota(max_running=1)
    m.add("a", 1, memory=4, queue="one")
    assert m.decide() == ["a"]
    m.add("capped", 2, memory=8, queue="one")
    m.add("quota", 1, memory=8)
    m.add("small", 3, memory=5)
    assert m.decide() == ["small"]


def test_who_goes_past_leaves_the_large_jobs_cap_and_quota_to_it(machine: type[Machine]) -> None:
    m = machine(9, 0, 10, Queue("default"), Queue("one", 0, 1))
    m.quotas[1] = Quota(max_running=1)
    m.add("old", 8, memory=4, seconds=100)
    m.decide()
    m.add("large", 1, memory=8, queue="one")
    m.add("same queue", 2, queue="one", seconds=1)
    m.add("same user", 1, seconds=1)
    m.add("other", 2, seconds=1)
    assert m.decide() == ["other"]
    m.end("old")
    assert m.decide() == ["large"]


def test_only_so_many_jobs_are_looked_at_behind_a_large_one(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=8)
    m.decide()
    for n in range(DEPTH):
        m.add(f"unfit{n}", memory=9)
    m.add("fits", memory=1)
    assert m.decide() == []
    assert m.why("fits") == ["reserved"]
    m.scheduler.drop("unfit0")
    m.scheduler.drop("unfit1")
    m.scheduler.set_queue(Queue("default"))
    assert m.decide() == ["fits"]


@given(
    large=st.integers(5, 10),
    streams=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 9), st.booleans()), min_size=1, max_size=5
    ),
    users=st.integers(1, 4),
)
def test_a_large_job_starts_though_a_stream_of_small_ones_never_stops(
    large: int, streams: list[tuple[int, int, bool]], users: int
) -> None:
    m = Machine(4, 0, 10)
    ends: dict[str, int] = {}
    lengths: dict[str, int] = {}

    def submit() -> None:
        memory, length, is_said = streams[m.count % len(streams)]
        name = f"small{m.count}"
        lengths[name] = length
        m.add(name, m.count % users, memory=memory, **({"seconds": length} if is_said else {}))

    for second in range(60):
        if second == 5:
            m.add("large", 9, memory=large)
        while m.scheduler.waiting_count() < 12:
            submit()
        started = m.decide()
        if "large" in started:
            return
        ends |= {name: second + lengths[name] for name in started}
        m.now += SECOND
        for name in [name for name, end in ends.items() if end <= second + 1]:
            del ends[name]
            m.end(name)
    raise AssertionError("it starved")


def test_after_a_restart_what_goes_is_what_was_there_before(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.scheduler.adopt(Going("old", 1, "default", Needs(0, 4), NOW, time_limit_ms=100_000))
    m.add("large", memory=8)
    m.add("short", 2, memory=2, seconds=50)
    assert m.decide() == ["short"]
    m.scheduler.retime("old", 10_000)
    assert m.scheduler.explain("large", m.now).start_ns == NOW + 10 * SECOND


def test_one_that_grew_beside_the_large_job_leaves_less_for_others(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=5)
    m.decide()
    m.add("large", memory=6)
    m.add("beside", 2, memory=1)
    assert m.decide() == ["beside"]
    assert m.scheduler.resize("beside", Needs(0, 3))
    m.add("another", 3, memory=2)
    assert m.decide() == []
    assert m.scheduler.resize("beside", Needs(0, 1))
    assert m.decide() == ["another"]


def test_who_goes_past_leaves_the_large_jobs_group_to_it(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4, seconds=100)
    m.decide()
    m.add("large", memory=8, group="g", group_cap=1)
    m.add("sibling", seconds=1, group="g", group_cap=1, priority=-1)
    m.add("other", seconds=1, priority=-1)
    assert m.decide() == ["other"]


def test_what_ends_in_time_takes_nothing_from_what_is_left_then(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4, seconds=100)
    m.decide()
    m.add("large", memory=8)
    m.add("short", 2, memory=3, seconds=50)
    m.add("two", 3, memory=2)
    assert m.decide() == ["short", "two"]


def test_all_that_end_at_one_time_leave_their_room_together(machine: type[Machine]) -> None:
    m = machine(9, 0, 10)
    m.add("a", 8, memory=3, seconds=100)
    m.add("b", 8, memory=3, seconds=100)
    m.decide()
    m.add("large", memory=7)
    m.add("three", 2, memory=3)
    assert m.decide() == ["three"]


def test_a_cap_is_kept_by_those_who_go_past_too(machine: type[Machine]) -> None:
    m = machine(9, 0, 10, Queue("default"), Queue("one", 0, 1))
    m.quotas[4] = Quota(max_memory_bytes=1)
    m.add("old", 8, memory=4)
    m.add("own", 4, memory=1)
    m.decide()
    m.add("large", memory=7)
    m.add("first", 2, queue="one")
    m.add("second", 3, queue="one")
    # It has no quota left, but the cap holds it back alone before that.
    m.add("third", 4, memory=1, queue="one")
    m.add("fourth", 4)
    assert m.decide() == ["first", "fourth"]


def test_a_group_shows_its_next_job_when_one_that_does_not_fit_is_gone(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=8)
    m.add("g0", 2, memory=9, group="g", group_cap=1)
    m.add("g1", 2, memory=1, group="g", group_cap=1)
    assert m.decide() == []
    m.scheduler.drop("g0")
    assert m.decide() == ["g1"]


def test_a_higher_job_that_does_not_fit_takes_the_reservation_when_it_comes(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    m.add("old", 8, memory=4)
    m.decide()
    m.add("large", memory=7)
    m.decide()
    m.add("higher", 2, memory=9, priority=1)
    assert m.decide() == []
    m.add("small", 3, memory=3)
    assert m.decide() == []
    assert m.scheduler.explain("small", m.now).because[0].on == ("higher",)


def test_room_is_not_kept_for_ever_while_nobody_knows_when_there_is_enough(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    m.add("for ever", memory=1)
    m.decide()
    m.add("large", 2, memory=10)
    m.add("small", 3, memory=1)
    assert m.decide() == []
    assert m.why("small") == ["reserved"]
    m.now += FIRST_NS
    assert m.scheduler.wake_ns(m.now) == m.now
    assert m.decide() == ["small"]
    m.end("small")
    m.add("next", 3, memory=1)
    assert m.decide() == ["next"]
    # By turns, each time for longer, but never for longer than that.
    waits = []
    for n in range(12):
        m.now = m.scheduler.wake_ns(m.now) or 0
        m.decide()
        began = m.now
        m.add(f"s{n}", 3, memory=1)
        while not m.decide():
            m.now = m.scheduler.wake_ns(m.now) or 0
        waits.append(m.now - began)
        m.end(f"s{n}")
    assert 0 < max(waits) <= LONGEST_NS


def test_a_job_that_has_its_turn_while_room_is_kept_starts_as_soon_as_there_is_enough(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 10)
    m.add("long", memory=1)
    m.decide()
    m.add("large", 2, memory=10)
    m.add("small", 3, memory=1)
    m.decide()
    m.now += FIRST_NS
    assert m.decide() == ["small"]
    m.end("long")
    # The others' turn: who comes now is let past, as long as it lasts.
    m.add("next", 3, memory=1)
    assert m.decide() == ["next"]
    m.now = m.scheduler.wake_ns(m.now) or 0
    m.add("later", 3, memory=1)
    assert m.decide() == []
    m.end("small")
    m.end("next")
    assert m.decide() == ["large"]
    m.end("large")
    assert m.decide() == ["later"]


def test_starts_come_in_pieces_and_each_piece_says_that_there_is_more(
    machine: type[Machine],
) -> None:
    m = machine(100, 0, 0)
    for n in range(100):
        m.add(f"j{n}")
    sizes = []
    while m.scheduler.wake_ns(m.now) == m.now or not sizes:
        sizes.append(len(m.decide()))
    assert sum(sizes) == 100
    assert max(sizes) == MOST_STARTS
