"""Which job is next: queues, priorities, users, ranks; caps and quotas."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.scheduling.kinds import Going, Needs, Queue, Quota

from .conftest import NOW, Machine

if TYPE_CHECKING:
    import random


def test_first_come_first_served_within_slots(machine: type[Machine]) -> None:
    m = machine(2, 0, 0)
    for name in "abc":
        m.add(name)
    assert m.decide() == ["a", "b"]
    assert m.decide() == []
    m.end("b")
    assert m.decide() == ["c"]


def test_a_queue_of_a_higher_priority_comes_first_and_then_a_higher_job(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 0, Queue("default"), Queue("urgent", 5), Queue("batch", -5))
    m.add("batch", queue="batch", priority=1000)
    m.add("low", priority=-1)
    m.add("high", priority=1)
    m.add("urgent", queue="urgent", priority=-1000)
    assert m.decide() == ["urgent", "high", "low", "batch"]


def test_rank_moves_a_job_before_its_users_others_and_nobody_elses(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    for name, uid in (("a", 1), ("b", 2), ("c", 1)):
        m.add(name, uid)
    c = m.scheduler.get("c")
    m.scheduler.change(c._replace(rank=-1))
    order = []
    for _ in range(3):
        order += m.decide()
        m.end(order[-1])
    # c has 1's place now; 2 was never served and is next.
    assert order == ["c", "b", "a"]


def test_two_queues_of_one_priority_share_as_one_and_a_user_goes_by_rank(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 0, Queue("default"), Queue("other"))
    m.add("a", queue="other")
    m.add("b")
    m.add("c", queue="other")
    assert m.decide() == ["a", "b", "c"]


def test_the_user_with_the_smallest_share_is_next(machine: type[Machine]) -> None:
    m = machine(10, 100, 100)
    for n in range(4):
        m.add(f"cpu{n}", 1, cpus=30)
        m.add(f"mem{n}", 2, memory=10)
    # Shares: 1 takes 0.3 of the CPUs with each, 2 takes 0.1 of memory or slots.
    assert m.decide() == ["cpu0", "mem0", "mem1", "mem2", "cpu1", "mem3", "cpu2"]


def test_of_equal_users_the_one_served_longest_ago_is_next(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    for n in range(3):
        for uid in (1, 2, 3):
            m.add(f"{uid}.{n}", uid)
    order = []
    for _ in range(9):
        order += m.decide()
        m.end(order[-1])
    assert [name[0] for name in order] == list("123" * 3)


@given(
    st.integers(2, 5), st.integers(1, 12), st.integers(0, 4), st.integers(0, 4),
    st.randoms(use_true_random=False),
)  # fmt: skip
def test_users_with_equal_demands_get_equal_shares_within_one_job(
    users: int, slots: int, cpus: int, memory: int, rnd: random.Random
) -> None:
    m = Machine(slots, 20, 20)
    for n in range(slots * 6 + 30):
        for uid in range(users):
            m.add(f"{uid}.{n}", uid, cpus=cpus, memory=memory)
    going = m.decide()
    for _ in range(30):
        counts = Counter({str(uid): 0 for uid in range(users)})
        counts.update(name.split(".")[0] for name in going)
        assert max(counts.values()) - min(counts.values()) <= 1
        # The user who has most loses one, as jobs of equal length would end.
        most = [name for name in going if counts[name.split(".")[0]] == max(counts.values())]
        ended = rnd.choice(most)
        going.remove(ended)
        m.end(ended)
        going += m.decide()


def test_a_cap_holds_back_its_queue_alone(machine: type[Machine]) -> None:
    m = machine(9, 10, 0, Queue("default"), Queue("one", 9, 1))
    m.add("a", queue="one", cpus=4)
    m.add("b", queue="one", cpus=10)
    m.add("c", cpus=6)
    assert m.decide() == ["a", "c"]
    assert m.why("b") == ["queue-cap", "cpus"]
    m.scheduler.set_queue(Queue("one", 9, 2))
    assert m.decide() == []
    assert m.why("b") == ["cpus"]


@pytest.mark.parametrize("closed", [Queue("q", paused=True), Queue("q", 0, 0), None])
def test_a_queue_that_is_paused_full_or_unknown_starts_nothing(
    machine: type[Machine], closed: Queue | None
) -> None:
    m = machine(9, 0, 0, Queue("default"), *([closed] if closed else []))
    m.add("a", queue="q")
    m.add("b")
    assert m.decide() == ["b"]
    m.scheduler.set_queue(Queue("q"))
    assert m.decide() == ["a"]


def test_a_group_starts_as_many_as_it_may_and_others_pass(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    for n in range(5):
        m.add(f"a{n}", group="a", group_cap=2)
    m.add("b")
    assert m.decide() == ["a0", "a1", "b"]
    assert m.why("a2") == ["group-cap"]
    m.end("a1")
    assert m.decide() == ["a2"]


def test_a_group_may_be_given_another_cap(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    for n in range(5):
        m.add(f"a{n}", group="a", group_cap=1)
    assert m.decide() == ["a0"]
    m.scheduler.change(m.scheduler.get("a4")._replace(group_cap=3))
    assert m.decide() == ["a1", "a2"]


def test_a_cap_that_is_given_to_a_group_counts_at_once_with_those_that_go(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 0)
    for n in range(3):
        m.add(f"a{n}", group="a")
    assert m.decide() == ["a0", "a1", "a2"]
    for n in range(3, 9):
        m.add(f"a{n}", group="a", is_held=n == 8)
    m.add("other", group="b", group_cap=1)
    assert m.scheduler.going_of("a") == 3
    changed = m.scheduler.cap_group("a", 4)
    assert [(job.id, job.group_cap) for job in changed] == [(f"a{n}", 4) for n in range(3, 9)]
    assert m.decide() == ["a3", "other"]
    assert m.why("a4") == ["group-cap"]
    m.scheduler.cap_group("a", 2)
    m.end("a0")
    assert m.decide() == []
    m.scheduler.cap_group("a", None)
    assert m.decide() == ["a4", "a5", "a6", "a7"]
    m.scheduler.cap_group("nobody", 1)
    assert m.decide() == []


def test_a_large_job_for_which_room_was_kept_waits_for_its_group_from_now_on(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 9)
    m.add("going", seconds=9, group="a", memory=5)
    assert m.decide() == ["going"]
    m.add("large", group="a", memory=9)
    assert m.decide() == []
    m.add("small", 2, memory=4, seconds=99)
    assert m.decide() == []
    m.scheduler.cap_group("a", 1)
    assert m.decide() == ["small"]


def test_a_users_quota_of_running_jobs_holds_back_that_user_alone(machine: type[Machine]) -> None:
    m = machine(9, 0, 0)
    m.quotas[1] = Quota(max_running=1)
    m.add("a", 1, priority=5)
    m.add("b", 1, priority=5)
    m.add("c", 2)
    m.add("d", 1, queue="default", priority=-5)
    assert m.decide() == ["a", "c"]
    assert m.why("d") == ["quota-running", "behind"]
    m.end("a")
    assert m.decide() == ["b"]


def test_later_jobs_of_a_user_do_not_take_the_quota_that_an_earlier_one_waits_for(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 100, Queue("default"), Queue("other"))
    m.quotas[1] = Quota(max_memory_bytes=10)
    m.add("going", 1, memory=5)
    m.add("large", 1, memory=8)
    m.add("small", 1, memory=1)
    m.add("elsewhere", 1, memory=1, queue="other")
    m.add("later", 1, priority=-1)
    m.add("urgent", 1, memory=1, priority=1)
    m.add("somebody", 2, memory=50)
    assert m.decide() == ["urgent", "somebody", "going"]
    assert m.why("large") == ["quota-memory"]
    assert m.why("small")[-1] == "behind"
    assert m.scheduler.explain("small", m.now).because[-1].on == ("large",)
    m.end("going")
    assert m.decide() == ["large", "small"]
    m.end("urgent")
    assert m.decide() == ["elsewhere", "later"]


def test_who_is_held_back_by_a_capped_queue_goes_on_elsewhere(machine: type[Machine]) -> None:
    m = machine(9, 0, 100, Queue("default"), Queue("one", 5, 1))
    m.quotas[1] = Quota(max_memory_bytes=10)
    m.add("going", 1, memory=5)
    assert m.decide() == ["going"]
    m.add("large", 1, memory=8, queue="one")
    m.add("small", 1, memory=1)
    assert m.decide() == []
    # Now the cap is what large waits for, and small takes nothing from it.
    m.add("other", 2, queue="one")
    assert m.decide() == ["other", "small"]


def test_what_is_beyond_the_quota_by_itself_waits_alone(machine: type[Machine]) -> None:
    m = machine(9, 0, 100)
    m.quotas[1] = Quota(max_memory_bytes=10)
    m.add("never", 1, memory=11)
    m.add("small", 1, memory=10)
    assert m.decide() == ["small"]
    assert m.why("never") == ["quota-memory"]


def test_needs_beyond_the_capacity_are_the_whole_of_it(machine: type[Machine]) -> None:
    m = machine(9, 0, 100)
    m.add("a", memory=1)
    m.add("huge", memory=10**6)
    assert m.decide() == ["a"]
    m.end("a")
    assert m.decide() == ["huge"]
    assert m.scheduler.promised() == Needs(0, 100)
    m.add("none")
    assert m.decide() == ["none"]


def test_going_jobs_are_counted_beyond_any_capacity(machine: type[Machine]) -> None:
    m = machine(2, 0, 10)
    for n in range(3):
        m.scheduler.adopt(Going(f"g{n}", 1, "default", Needs(0, 6), NOW))
    m.add("a")
    assert m.decide() == []
    assert m.why("a") == ["slots"]
    m.scheduler.release("g0")
    m.scheduler.release("g1")
    assert m.decide() == ["a"]
    assert m.scheduler.usage(1) == (2, Needs(0, 6))


def test_a_capacity_that_is_smaller_than_before_stops_nothing(machine: type[Machine]) -> None:
    m = machine(2, 0, 4)
    m.scheduler.adopt(Going("a", 1, "default", Needs(0, 5), NOW))
    m.scheduler.adopt(Going("b", 1, "default", Needs(0, 10), NOW))
    assert m.scheduler.going_count() == 2
    m.end("a")
    m.add("c", memory=20)
    assert m.decide() == []
    m.end("b")
    assert m.decide() == ["c"]


def test_a_going_job_may_be_promised_more_within_capacity_and_quota(machine: type[Machine]) -> None:
    m = machine(9, 10, 10)
    m.quotas[1] = Quota(max_memory_bytes=8)
    m.add("a", 1, memory=4, cpus=5)
    m.add("b", 2, cpus=5)
    assert m.decide() == ["a", "b"]
    assert not m.scheduler.resize("a", Needs(6, 4))
    assert m.scheduler.lacks("a", Needs(6, 4)) == "cpus"
    assert m.scheduler.lacks("a", Needs(5, 9)) == "quota-memory"
    assert m.scheduler.resize("a", Needs(5, 8))
    assert m.scheduler.resize("b", Needs(1, 2))
    assert m.scheduler.promised() == Needs(6, 10)
    with pytest.raises(KeyError):
        m.scheduler.resize("c", Needs())


def test_a_start_that_was_not_carried_out_waits_again_in_its_place(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    job = m.add("a")
    m.add("b")
    assert m.decide() == ["a"]
    m.scheduler.unstart(job)
    assert m.scheduler.going_count() == 0
    assert m.decide() == ["a"]


def test_counts_are_kept_by_queue_and_user(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("a", 1)
    m.add("b", 2, queue="x")
    s = m.scheduler
    assert m.decide() == ["a"]
    assert (s.waiting_count(), s.waiting_count("x"), s.waiting_count("default")) == (1, 1, 0)
    assert (s.going_count(), s.going_count("default"), s.going_count("x")) == (1, 1, 0)
    assert (s.waiting_of(2), s.waiting_of(1), s.waiting_of(9)) == (1, 0, 0)
    assert s.get("a") is None
    assert s.going("a").id == "a"


def test_nothing_is_left_of_what_has_ended(machine: type[Machine]) -> None:
    m = machine(2, 5, 5)
    for n in range(50):
        m.add(f"j{n}", n % 7, cpus=n % 5, queue=f"q{n % 3}" if n % 2 else "default", group="g",
              group_cap=1, not_before_ns=NOW if n % 4 else None)  # fmt: skip
    while m.decide():
        for name in list(m.scheduler._state.ledger.going):
            m.end(name)
    for name in list(m.scheduler._state.waiting):
        m.scheduler.drop(name)
    state = m.scheduler._state
    left = [state.waiting, state.users, state.groups, state.waiting_in]
    assert left == [{}, {}, {}, {}]
    assert [state.ledger.users, state.ledger.queues, state.ledger.groups] == [{}, {}, {}]
    assert list(state.lines.by_name) == ["default"]
    assert state.dependencies.__dict__ == {"_unmet": {}, "_dependents": {}, "_doomed": {}}


def test_when_the_job_that_waits_for_quota_is_gone_the_later_ones_go_on(
    machine: type[Machine],
) -> None:
    m = machine(9, 0, 100)
    m.quotas[1] = Quota(max_memory_bytes=10)
    m.add("going", 1, memory=5)
    m.add("large", 1, memory=8)
    m.add("small", 1, memory=1)
    assert m.decide() == ["going"]
    m.scheduler.drop("large")
    assert m.decide() == ["small"]


def test_a_job_of_a_full_group_that_comes_first_again_is_the_next(machine: type[Machine]) -> None:
    m = machine(1, 0, 0)
    m.add("going")
    m.decide()
    held = m.add("g0", group="g", group_cap=1, is_held=True)
    for n in range(1, 4):
        m.add(f"g{n}", group="g", group_cap=1)
    m.decide()
    m.scheduler.change(held._replace(is_held=False))
    m.end("going")
    assert m.decide() == ["g0"]
