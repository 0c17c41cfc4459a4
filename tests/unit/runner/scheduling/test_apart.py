"""A queue that is apart: its jobs hold nobody up, and nobody them, but each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from runner.scheduling.kinds import Going, Needs, Queue, Quota

from .conftest import NOW, Machine

if TYPE_CHECKING:
    from collections.abc import Sequence

HOOKS = Queue("hooks", 1_000_000, 4, apart=True, user_cap=2)


def of(slots: int = 1, cpus: int = 0, hooks: Queue = HOOKS) -> Machine:
    return Machine(slots, cpus, 0, Queue("default"), hooks)


def test_they_start_on_a_host_without_a_slot_and_take_none() -> None:
    m = of(1)
    m.add("endless")
    assert m.decide() == ["endless"]
    m.add("waits", 2)
    m.add("hook", 3, queue="hooks")
    assert m.scheduler.cause("hook") is None
    assert m.decide() == ["hook"]
    assert m.scheduler.going_count() == 1
    assert m.scheduler.going_count("hooks") == 1
    m.end("endless")
    assert m.decide() == ["waits"]


def test_many_of_them_keep_no_job_waiting() -> None:
    m = of(1)
    for number in range(10):
        m.add(f"hook{number}", number, queue="hooks")
    m.add("job", 99)
    assert m.decide() == ["hook0", "hook1", "hook2", "hook3", "job"]
    assert m.scheduler.cause("hook9") == "queue-cap"


def test_one_user_has_a_part_of_it_and_another_goes_past() -> None:
    m = of(0)
    for name in "abcd":
        m.add(name, 1, queue="hooks")
    m.add("other", 2, queue="hooks")
    assert m.decide() == ["a", "other", "b"]
    assert m.scheduler.cause("c") == "queue-cap"
    assert m.decide() == []
    m.end("a")
    assert m.decide() == ["c"]
    m.end("b")
    m.end("c")
    assert m.decide() == ["d"]


def test_no_quota_holds_them_and_they_count_for_none() -> None:
    m = of(9, 1000)
    m.quotas[1] = Quota(max_running=1, max_millicpus=500)
    m.add("job", cpus=500)
    m.add("next", cpus=500)
    assert m.decide() == ["job"]
    m.add("hook", queue="hooks", cpus=900)
    assert m.decide() == ["hook"]
    assert m.scheduler.usage(1) == (1, Needs(500, 0))
    m.end("job")
    assert m.decide() == ["next"]


def test_none_of_them_is_kept_room_for() -> None:
    m = of(9, 1000)
    m.add("large", cpus=900)
    assert m.decide() == ["large"]
    m.add("hook", 2, queue="hooks", cpus=900)
    m.add("small", 3, cpus=100)
    assert m.decide() == ["hook", "small"]


def test_those_of_the_last_daemon_are_counted_as_what_they_are() -> None:
    m = of(1)
    for name in ("a", "b"):
        m.scheduler.adopt(Going(name, 1, "hooks", Needs(5, 5), NOW))
    m.add("c", 1, queue="hooks")
    m.add("job", 1)
    assert m.decide() == ["job"]
    m.end("a")
    assert m.decide() == ["c"]


def test_how_many_of_a_user_wait_in_it_is_known() -> None:
    m = of(0)
    for name in "abc":
        m.add(name, 1, queue="hooks")
    m.add("job", 1)
    assert (m.scheduler.waiting_of(1), m.scheduler.waiting_apart(1)) == (4, 3)
    assert m.decide() == ["a", "b"]
    assert (m.scheduler.waiting_apart(1), m.scheduler.waiting_apart(2)) == (1, 0)
    m.scheduler.change(m.job("c", 1))
    assert m.scheduler.waiting_apart(1) == 0


def test_a_paused_queue_of_them_starts_none() -> None:
    m = of(1)
    m.scheduler.set_queue(HOOKS._replace(paused=True))
    m.add("hook", queue="hooks")
    assert m.decide() == []
    m.scheduler.set_queue(HOOKS)
    assert m.decide() == ["hook"]


_JOBS = st.lists(
    st.tuples(st.booleans(), st.integers(1, 3), st.integers(0, 2), st.booleans()), max_size=40
)


@given(_JOBS, st.integers(0, 3))
def test_they_never_pass_their_caps_nor_keep_back_what_could_start(
    jobs: Sequence[tuple[bool, int, int, bool]], slots: int
) -> None:
    m = of(slots, 2)
    going: list[tuple[str, bool, int]] = []
    known = {}
    for number, (is_hook, uid, cpus, ends) in enumerate(jobs):
        name = f"{number}"
        m.add(name, uid, cpus=cpus, queue="hooks" if is_hook else "default")
        known[name] = (name, is_hook, uid)
        going += [known[started] for started in m.decide()]
        hooks = [uid for _, is_hook, uid in going if is_hook]
        assert len(hooks) <= 4
        assert all(hooks.count(each) <= 2 for each in hooks)
        assert len(going) - len(hooks) <= slots
        waiting = [each for each in known.values() if m.scheduler.get(each[0])]
        for _, is_one, of_uid in waiting:
            assert not is_one or len(hooks) == 4 or hooks.count(of_uid) == 2
        if ends and going:
            m.end(going.pop(0)[0])
            going += [known[started] for started in m.decide()]
    while going:
        m.end(going.pop()[0])
        going += [known[started] for started in m.decide()]
    assert not any(is_hook for name, is_hook, _ in known.values() if m.scheduler.get(name))
