"""Groups in the store: all or nothing, found, counted as their jobs end, shown in place of them."""

from __future__ import annotations

import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import store_groups, store_lists
from runner.group_rows import About, Group, GroupCounts, NewGroup, StepAbout
from runner.lifecycle import State
from runner.rows import DamagedRowError, Fate, NewHook, NewJob, Selection
from runner.scheduling.kinds import Dependency
from runner.store import Job, NoSuchGroupError, Store, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

ALICE, BOB = 1000, 1001


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "db")


@pytest.fixture
def kept(path: str) -> Iterator[Store]:
    with closing(Store.open(path)) as opened:
        opened._db.execute("PRAGMA synchronous = OFF")
        yield opened


def new_job(*, by: int = ALICE, **fields: Any) -> NewJob:
    given = {"id": str(uuid.uuid4()), "submitted_by_uid": by, "uid": by, "gid": by, "name": None,
             "spec": b"own", "submitted_ns": 1}  # fmt: skip
    return NewJob(**{**given, **fields})


def new_group(*, by: int = ALICE, **fields: Any) -> NewGroup:
    about = msgspec.msgpack.encode(About(ranges=[(0, 2, 1)]))
    given = {"id": str(uuid.uuid4()), "submitted_by_uid": by, "kind": "array", "name": None,
             "submitted_ns": 1, "max_running": None, "idempotency_key": None, "digest": b"d",
             "about": about, "spec": b"shared"}  # fmt: skip
    return NewGroup(**{**given, **fields})


def array(kept: Store, count: int = 3, **fields: Any) -> tuple[Group, list[str]]:
    """An array whose jobs have their spec in common; their ids."""
    new = new_group(**fields)
    jobs = [
        new_job(by=new.submitted_by_uid, group_id=new.id, member=10 * number, spec=b"")
        for number in range(count)
    ]
    return kept.insert_group(new, jobs), [job.id for job in jobs]


def flow(kept: Store, *needs: Sequence[tuple[int, str]]) -> tuple[Group, list[str]]:
    """A flow of so many steps, each with the numbers of those before it that it needs."""
    ids = [str(uuid.uuid4()) for _ in needs]
    new = new_group(kind="flow", spec=None, name="ci")
    jobs = [
        new_job(id=ids[number], group_id=new.id, member=number, spec=b"step %d" % number,
                name=f"ci.s{number}",
                after=tuple((ids[on], kind) for on, kind in each))
        for number, each in enumerate(needs)
    ]  # fmt: skip
    return kept.insert_group(new, jobs), ids


def go(kept: Store, *ids: str) -> None:
    for job_id in ids:
        kept.mark_starting(job_id, 2, "boot")
        kept.mark_running(job_id, 7, 3, None)


def end(kept: Store, job_id: str, at: int = 9, *, ok: bool = True) -> Job:
    return kept.mark_ended(job_id, at, "exit", b"r", is_ok=ok)


def standing(kept: Store, group: Group) -> tuple[int, int, int | None]:
    now = kept.group(group.id)
    assert now is not None
    return now.unended, now.failed, now.ended_ns


def fates(kept: Store, ids: list[str]) -> list[str | None]:
    found = [kept.get(job_id) for job_id in ids]
    return [job.fate for job in found if job is not None]


def told(kept: Store, kind: str) -> list[tuple[str, dict[str, str | int]]]:
    events = kept.events_since(0, 1000, None)
    return [(event.job_id, event.data) for event in events if event.kind == kind]


# Submission


def test_a_group_is_there_with_all_of_its_jobs_when_the_store_is_opened_anew(
    kept: Store, path: str
) -> None:
    before = kept.insert(new_job())
    group, ids = array(kept, 3, name="g", max_running=2, idempotency_key="k")
    assert (group.size, group.first_seq, group.unended, group.failed, group.ended_ns) == (
        3, before.seq + 1, 3, 0, None,
    )  # fmt: skip
    with closing(Store.open(path)) as again:
        assert again.group(group.id) == group
        jobs, following = again.members(group.id, -1, 10)
        assert following is None
        assert [(job.id, job.seq, job.member) for job in jobs] == [
            (job_id, group.first_seq + number, 10 * number) for number, job_id in enumerate(ids)
        ]
        assert {job.spec for job in jobs} == {b"shared"}
        assert again.counts()[State.QUEUED] == again.queued_of(ALICE) == 4
        assert again.group_about(group) == About(ranges=[(0, 2, 1)])
    submits = [job_id for job_id, _ in told(kept, "submit")]
    assert submits == [before.id, *ids]
    assert told(kept, "group-submit") == [(group.id, {"submitted_by_uid": ALICE, "jobs": 3})]


def test_those_who_follow_are_told_of_the_newest_event_of_a_submission(kept: Store) -> None:
    heard: list[dict[int, int]] = []
    kept.on_events = lambda newest: heard.append(dict(newest))
    array(kept, 5)
    assert heard == [{ALICE: 6}]


def test_a_flow_has_a_spec_labels_and_dependencies_for_each_step(kept: Store) -> None:
    _, ids = flow(kept, [], [(0, "ok")], [(0, "any"), (1, "fail")])
    assert [job.spec for job in map(kept.get, ids) if job] == [b"step 0", b"step 1", b"step 2"]
    waiting = kept.waiting()
    assert [set(each.after) for each in waiting] == [
        set(), {Dependency(ids[0], "ok")}, {Dependency(ids[0], "any"), Dependency(ids[1], "fail")},
    ]  # fmt: skip
    assert kept.waiting_of(reversed(ids)) == waiting[::-1]


def test_what_others_have_become_already_is_not_waited_for(kept: Store) -> None:
    before = kept.insert(new_job())
    new = new_group()
    jobs = [new_job(group_id=new.id, member=0, after=((before.id, "started"),))]
    kept.insert_group(new, jobs, met={before.id})
    assert kept.waiting_of([jobs[0].id])[0].after == ()


@pytest.mark.parametrize("which", ["a job's id", "the group's id", "its key"])
def test_a_group_that_cannot_be_kept_whole_leaves_nothing(kept: Store, which: str) -> None:
    group, ids = array(kept, 2, idempotency_key="k")
    new = new_group(
        id=group.id if which == "the group's id" else str(uuid.uuid4()),
        idempotency_key="k" if which == "its key" else None,
    )
    jobs = [new_job(group_id=new.id, member=number, spec=b"") for number in range(3)]
    if which == "a job's id":
        jobs[2] = msgspec.structs.replace(jobs[2], id=ids[0])
    with pytest.raises(StoreError, match="UNIQUE"):
        kept.insert_group(new, jobs)
    assert kept.counts()[State.QUEUED] == 2
    assert kept.get(jobs[0].id) is None
    assert len(told(kept, "submit")) == 2
    assert kept.insert(new_job()).seq == 3


def test_a_job_that_is_changed_alone_gets_a_spec_of_its_own(kept: Store, path: str) -> None:
    _, ids = array(kept, 3)
    kept.update(ids[1], 5, b"changed", None, {})
    go(kept, ids[2])
    kept.mark_retried(ids[2], 9, ended_ns=9, reason="oom", result=b"r", spec=b"more memory")
    expected = [b"shared", b"changed", b"more memory"]
    assert [job.spec for job in map(kept.get, ids) if job] == expected
    with closing(Store.open(path)) as again:
        assert [job.spec for job in map(again.get, ids) if job] == expected
    kept.update(ids[1], 6, b"once more", None, {})
    changed = kept.get(ids[1])
    assert changed is not None
    assert changed.spec == b"once more"


def test_the_spec_of_one_group_is_not_given_to_another(kept: Store) -> None:
    (_, one), (_, other) = array(kept, 2, spec=b"one"), array(kept, 2, spec=b"other")
    listed, _ = kept.list_jobs(submitted_by_uid=None, include_ended=True, limit=9, before=None)
    assert {job.id: job.spec for job in listed} == {
        **dict.fromkeys(one, b"one"), **dict.fromkeys(other, b"other"),
    }  # fmt: skip


# Found


def test_groups_are_found_by_id_prefix_and_name_and_nobody_finds_anothers(kept: Store) -> None:
    older, _ = array(kept, 1, name="nightly")
    newer, _ = array(kept, 1, name="nightly", id="aaaa" + older.id[4:])
    bobs, _ = array(kept, 1, name="nightly", by=BOB)
    assert kept.find_groups(older.id, ALICE) == [older]
    assert kept.find_groups(older.id[:9], ALICE) == [older]
    assert kept.find_groups("aaa", ALICE) == []
    assert kept.find_groups("nightly", ALICE) == [newer]
    assert kept.find_groups("nightly", None) == [bobs]
    assert kept.find_groups(bobs.id, ALICE) == kept.find_groups(bobs.id[:9], ALICE) == []
    assert kept.find_groups("nightl", None) == []
    for hostile in ("", "\x00", "näme", "%", "' OR 1=1 --", "\udcff"):
        assert kept.find_groups(hostile, None) == []


def test_a_key_means_the_group_that_has_it_until_that_is_removed(kept: Store) -> None:
    group, (job,) = array(kept, 1, idempotency_key="k")
    assert kept.keyed_group(ALICE, "k") == group
    assert kept.keyed_group(BOB, "k") is kept.keyed_group(ALICE, "other") is None
    end(kept, job)
    kept.delete(job, 10, ALICE)
    assert kept.keyed_group(ALICE, "k") is None


def test_what_a_flow_looks_like_is_told_and_what_is_garbled_is_said(kept: Store) -> None:
    about = About(steps=[StepAbout(name="a"), StepAbout(name="b.1", values={"v": "1"},
                                                        needs=[("a", "ok")])])  # fmt: skip
    group, _ = array(kept, 2, kind="flow", about=msgspec.msgpack.encode(about))
    assert kept.group_about(group) == about
    for damage in (b"", b"\xc1", msgspec.msgpack.encode({"steps": 7})):
        with pytest.raises(DamagedRowError, match=group.id):
            kept._db.execute("UPDATE groups SET about = ?", (damage,))
            kept.group_about(group)
    kept._db.execute("DELETE FROM groups")
    with pytest.raises(DamagedRowError, match=group.id):
        kept.group_about(group)


def test_what_a_flow_looks_like_is_not_read_where_it_is_not_asked_for(kept: Store) -> None:
    group, ids = flow(kept, (), ((0, "ok"),))
    read: list[str] = []

    def read_of(_action: int, table: str | None, column: str | None, *_: object) -> int:
        if table == "groups" and column is not None:
            read.append(column)
        return 0

    kept._db.set_authorizer(read_of)
    kept.group(group.id)
    kept.find_groups("ci", ALICE)
    kept.keyed_group(ALICE, "k")
    kept.member_named(group, "ci.s1")
    kept.steps_before([(ids[1], ids[0])])
    kept.list_jobs(submitted_by_uid=None, include_ended=True, limit=9, before=None, collapse=True)
    kept._db.set_authorizer(None)
    assert "first_seq" in read
    assert "about" not in read


def test_a_step_is_found_by_its_name_in_its_own_flow_alone(kept: Store) -> None:
    first, old = flow(kept, (), ())
    kept.insert(new_job(name="ci.s1"))
    last, new = flow(kept, (), ())
    for group, ids in ((first, old), (last, new)):
        assert [getattr(kept.member_named(group, f"ci.s{n}"), "id", None) for n in range(3)] == [
            *ids, None,
        ]  # fmt: skip
    assert kept.member_named(first, "") is kept.member_named(first, "\udcff") is None


def test_of_what_a_job_comes_after_the_steps_of_its_own_flow_have_their_names(kept: Store) -> None:
    group, ids = flow(kept, (), ((0, "ok"),))
    other = kept.insert(new_job(name="ci.s0"))
    pairs = [(ids[1], ids[0]), (ids[1], other.id), (other.id, ids[0]), (ids[1], "gone")]
    assert kept.steps_before(pairs) == {ids[0]: "s0"}
    kept._db.execute("UPDATE jobs SET name = 'x' WHERE id = ?", (ids[0],))
    assert kept.steps_before(pairs) == {}
    assert group.name == "ci"


def test_a_damaged_row_hides_its_group_and_its_jobs_stay(kept: Store) -> None:
    group, ids = array(kept, 2)
    kept._db.execute("UPDATE groups SET digest = 7")
    assert kept.group(group.id) is None
    assert kept.find_groups(group.id[:8], None) == []
    assert [job.id for job in kept.members(group.id, -1, 9)[0]] == ids
    entries, _ = kept.list_jobs(
        submitted_by_uid=None, include_ended=True, limit=9, before=None, collapse=True
    )
    assert [entry.id for entry in entries] == ids[::-1]


def test_a_job_whose_group_has_lost_its_spec_hides_itself_alone(kept: Store) -> None:
    _, ids = array(kept, 2)
    other = kept.insert(new_job())
    kept._db.execute("DELETE FROM group_specs")
    kept.update(ids[0], 5, b"own", None, {})
    listed, _ = kept.list_jobs(submitted_by_uid=None, include_ended=True, limit=9, before=None)
    assert [job.id for job in listed] == [other.id, ids[0]]


def test_members_come_in_pages_by_their_numbers(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    group, ids = array(kept, 5)
    array(kept, 5)
    found, after = [], -1
    while True:
        page, following = kept.members(group.id, after, 2)
        found += [job.id for job in page]
        if following is None:
            break
        assert following == page[-1].member
        after = following
    assert found == ids
    assert kept.members(group.id, 40, 2) == ([], None)
    monkeypatch.setattr(store_groups, "PAGE_SPEC_BYTES", len(b"shared") * 3)
    assert [job.id for job in kept.members(group.id, -1, 9)[0]] == ids[:3]
    member = kept.member(group.id, 20)
    assert member is not None
    assert member.id == ids[2]
    assert kept.member(group.id, 21) is kept.member("nobody", 20) is None
    assert kept.member_states(group.id) == [(job_id, State.QUEUED) for job_id in ids]


# Ends


def test_a_group_ends_with_the_last_of_its_jobs_and_says_so_in_the_same_commit(
    kept: Store,
) -> None:
    group, ids = array(kept, 3)
    go(kept, *ids)
    end(kept, ids[2], 9)
    end(kept, ids[0], 8)
    assert standing(kept, group) == (1, 0, None)
    assert told(kept, "group-ended") == []
    with pytest.raises(StoreError, match="interrupted"), kept._transaction():
        kept._members_moved(group.id, -1, 0, 50)
        raise StoreError("interrupted")
    assert standing(kept, group) == (1, 0, None)
    end(kept, ids[1], 11)
    assert standing(kept, group) == (0, 0, 11)
    assert told(kept, "group-ended") == [(group.id, {"ok": 1, "failed": 0})]
    now = kept.group(group.id)
    assert now is not None
    assert now.is_ok


def test_one_job_that_failed_is_a_group_that_failed(kept: Store) -> None:
    group, ids = array(kept, 2)
    go(kept, *ids)
    end(kept, ids[0], ok=False)
    end(kept, ids[1])
    assert standing(kept, group) == (0, 1, 9)
    assert fates(kept, ids) == ["failed", "ok"]
    assert told(kept, "group-ended") == [(group.id, {"ok": 0, "failed": 1})]


def test_jobs_that_are_ended_while_queued_count_at_once_for_their_groups(kept: Store) -> None:
    (one, first), (other, second) = array(kept, 3), array(kept, 2)
    alone = kept.insert(new_job())
    ends = [(job_id, "stopped", b"r") for job_id in (*first, second[0], alone.id)]
    assert kept.end_queued(ends, 20) == [*first, second[0], alone.id]
    assert standing(kept, one) == (0, 3, 20)
    assert standing(kept, other) == (1, 1, None)
    assert fates(kept, [*first, alone.id]) == ["failed"] * 4
    assert told(kept, "group-ended") == [(one.id, {"ok": 0, "failed": 3})]


@pytest.mark.parametrize(("kind", "ok"), [("ok", False), ("fail", True)])
def test_a_step_is_skipped_that_needed_something_else_of_another_and_so_down_the_chain(
    kept: Store, kind: str, ok: bool  # noqa: FBT001
) -> None:  # fmt: skip
    group, ids = flow(kept, [], [(0, kind)], [(1, "ok")], [])
    go(kept, ids[0], ids[3])
    end(kept, ids[0], ok=ok)
    assert (
        len(kept.end_queued([(ids[1], "dependency", b"r"), (ids[2], "dependency", b"r")], 9)) == 2
    )
    end(kept, ids[3])
    assert fates(kept, ids) == ["ok" if ok else "failed", "skipped", "skipped", "ok"]
    # Who was skipped does not say whether the flow is good: the other one does.
    assert standing(kept, group) == (0, int(not ok), 9)
    assert kept.group_counts(group.id) == GroupCounts(ok=1 + ok, failed=int(not ok), skipped=2)


def test_a_step_whose_predecessor_never_started_is_skipped_when_that_was_what_it_needed(
    kept: Store,
) -> None:
    _, ids = flow(kept, [], [(0, "started")])
    kept.end_queued([(ids[0], "stopped", b"r"), (ids[1], "dependency", b"r")], 9)
    assert fates(kept, ids) == ["failed", "skipped"]


def test_what_another_job_did_not_become_is_a_failure_of_the_group(kept: Store) -> None:
    outside = kept.insert(new_job())
    new = new_group(kind="flow", spec=None)
    ids = [str(uuid.uuid4()), str(uuid.uuid4())]
    kept.insert_group(new, [
        new_job(id=ids[0], group_id=new.id, member=0, after=((outside.id, "ok"),)),
        # The one of its own group has not ended yet, so that is not why.
        new_job(id=ids[1], group_id=new.id, member=1, after=((outside.id, "ok"), (ids[0], "any"))),
    ])  # fmt: skip
    kept.end_queued([(outside.id, "stopped", b"r")], 5)
    kept.end_queued([(ids[1], "dependency", b"r")], 6)
    kept.end_queued([(ids[0], "dependency", b"r")], 7)
    assert fates(kept, ids) == ["failed", "failed"]


def test_only_a_dependency_skips_a_step(kept: Store) -> None:
    group, ids = flow(kept, [], [(0, "ok")])
    kept.end_queued([(ids[0], "stopped", b"r"), (ids[1], "stopped", b"r")], 9)
    assert fates(kept, ids) == ["failed", "failed"]
    assert standing(kept, group) == (0, 2, 9)


def test_what_became_of_a_group_is_told_as_of_a_job(kept: Store) -> None:
    group, ids = array(kept, 2)
    assert kept.became([group.id]) == {group.id: Fate(State.QUEUED, None, None, None)}
    go(kept, ids[0])
    assert kept.became([group.id, "x"]) == {group.id: Fate(State.RUNNING, 3, None, None)}
    end(kept, ids[0])
    end(kept, ids[1], ok=False)
    assert kept.became([group.id]) == {group.id: Fate(State.ENDED, 3, None, None, "failed")}
    (_, (never,)) = never_ran = array(kept, 1)
    end(kept, never)
    assert kept.became([never_ran[0].id]) == {
        never_ran[0].id: Fate(State.ENDED, None, None, None, "ok")
    }


def test_counts_that_a_disk_has_garbled_keep_no_job_from_ending(kept: Store) -> None:
    group, ids = array(kept, 2)
    kept._db.execute("UPDATE groups SET unended = 1")
    end(kept, ids[0])
    end(kept, ids[1], ok=False)
    assert standing(kept, group) == (0, 1, 9)
    assert len(told(kept, "group-ended")) == 1


# Once more


def test_a_job_that_is_tried_again_by_hand_is_to_end_anew_with_its_group(kept: Store) -> None:
    group, ids = array(kept, 2)
    end(kept, ids[0], ok=False)
    end(kept, ids[1])
    kept.mark_retried(ids[0], 12, by_uid=ALICE)
    assert standing(kept, group) == (1, 0, None)
    assert fates(kept, ids) == [None, "ok"]
    kept.mark_retried(ids[1], 12, by_uid=ALICE)
    assert standing(kept, group) == (2, 0, None)
    for job_id in ids:
        end(kept, job_id, 20)
    assert standing(kept, group) == (0, 0, 20)
    assert [data["ok"] for _, data in told(kept, "group-ended")] == [0, 1]


def test_another_attempt_of_a_job_that_goes_is_nothing_to_its_group(kept: Store) -> None:
    group, ids = array(kept, 1)
    go(kept, *ids)
    kept.mark_retried(ids[0], 9, ended_ns=9, reason="oom", result=b"r")
    assert standing(kept, group) == (1, 0, None)


def test_many_are_tried_again_at_once_and_what_they_come_after_is_waited_for_anew(
    kept: Store,
) -> None:
    group, ids = flow(kept, [], [(0, "ok")], [(1, "ok")], [(2, "ok"), (0, "ok")])
    go(kept, ids[0], ids[1])
    end(kept, ids[0])
    kept.meet_many([(ids[0], "ok"), (ids[1], "started")])
    end(kept, ids[1], ok=False)
    kept.end_queued([(ids[2], "dependency", b"r"), (ids[3], "dependency", b"r")], 9)
    failed = kept.failed_members(group.id)
    assert [(row.id, row.member, row.fate, row.attempt, row.unmet) for row in failed] == [
        (ids[1], 1, "failed", 1, ()),
        (ids[2], 2, "skipped", 1, (ids[1],)),
        (ids[3], 3, "skipped", 1, (ids[2],)),
    ]
    again = [row.id for row in failed]
    assert kept.mark_retried_many([*again, "nobody", *again], 30, BOB) == again
    assert standing(kept, group) == (3, 0, None)
    assert kept.failed_members(group.id) == []
    assert [each.after for each in kept.waiting_of(again)] == [
        (), (Dependency(ids[1], "ok"),), (Dependency(ids[2], "ok"),),
    ]  # fmt: skip
    # What was met and is not tried again is met.
    assert [known.met for known in kept.dependencies(ids[3]) if known.on_id == ids[0]] == [True]
    jobs = [job for job in map(kept.get, again) if job]
    assert [(job.attempt, job.first_attempt, job.fate) for job in jobs] == [(2, 2, None)] * 3
    assert [job.spec for job in jobs] == [b"step 1", b"step 2", b"step 3"]
    assert [attempt.reason for attempt in kept.attempts(ids[1])] == ["exit"]
    assert told(kept, "retry") == [
        (ids[1], {"attempt": 2, "reason": "exit", "by_uid": BOB}),
        (ids[2], {"attempt": 2, "reason": "dependency", "by_uid": BOB}),
        (ids[3], {"attempt": 2, "reason": "dependency", "by_uid": BOB}),
    ]
    assert kept.queued_of(ALICE) == 3
    assert kept.ended.total(ALICE).jobs == 1


def test_what_was_met_among_those_that_are_tried_again_is_to_be_met_again(kept: Store) -> None:
    group, ids = flow(kept, [], [(0, "any")])
    end(kept, ids[0], ok=False)
    kept.meet_many([(ids[0], "any")])
    end(kept, ids[1], ok=False)
    kept.mark_retried_many(ids, 20, ALICE)
    assert kept.waiting_of([ids[1]])[0].after == (Dependency(ids[0], "any"),)
    assert standing(kept, group) == (2, 0, None)


def test_of_what_is_tried_again_a_deadline_that_has_passed_is_forgotten_and_no_spec_is_made(
    kept: Store,
) -> None:
    new = new_group()
    jobs = [
        new_job(group_id=new.id, member=number, deadline_ns=deadline_ns, spec=b"")
        for number, deadline_ns in enumerate((29, 30, 31, None))
    ]
    kept.insert_group(new, jobs)
    ids = [job.id for job in jobs]
    for job_id in ids:
        end(kept, job_id, ok=False)
    assert kept.mark_retried_many(ids, 30, BOB) == ids
    again = [job for job in map(kept.get, ids) if job]
    assert [job.deadline_ns for job in again] == [None, None, 31, None]
    assert {job.spec for job in again} == {new.spec}
    assert kept._db.execute("SELECT count(*) FROM specs").fetchone() == (0,)


def test_what_has_not_ended_is_not_tried_again(kept: Store) -> None:
    group, ids = array(kept, 3)
    go(kept, ids[1])
    assert kept.mark_retried_many(ids, 20, ALICE) == []
    assert told(kept, "retry") == []
    assert standing(kept, group) == (3, 0, None)


def test_the_first_that_failed_is_no_skipped_one_and_none_that_goes_again(kept: Store) -> None:
    group, ids = array(kept, 4)
    assert kept.first_failed(group.id) is None
    end(kept, ids[0])
    for job_id in ids[1:]:
        end(kept, job_id, ok=False)
    kept._db.execute(f"UPDATE jobs SET fate = 'skipped' WHERE id = '{ids[1]}'")
    assert [found.id for found in [kept.first_failed(group.id)] if found] == [ids[2]]
    kept.mark_retried_many([ids[2]], 20, ALICE)
    assert [found.id for found in [kept.first_failed(group.id)] if found] == [ids[3]]
    assert kept.first_failed("nobody") is None


def test_failed_jobs_say_where_and_until_when_they_would_wait(kept: Store) -> None:
    new = new_group()
    job = new_job(group_id=new.id, member=4, queue="night", priority=7, deadline_ns=99, spec=b"")
    kept.insert_group(new, [job])
    end(kept, job.id, ok=False)
    (row,) = kept.failed_members(new.id)
    assert (row.member, row.queue, row.priority, row.deadline_ns) == (4, "night", 7, 99)


# Changes


def test_how_many_run_at_once_is_told_of_each_that_waits(kept: Store) -> None:
    group, ids = array(kept, 2, max_running=1)
    free, others = array(kept, 1)
    alone = kept.insert(new_job())
    caps = {each.id: (each.group, each.group_cap) for each in kept.waiting()}
    assert caps == {
        ids[0]: (group.id, 1), ids[1]: (group.id, 1), others[0]: (free.id, None),
        alone.id: (None, None),
    }  # fmt: skip
    assert kept.set_group_max_running(group.id, 5, 9, BOB).max_running == 5
    assert kept.waiting_of(ids)[0].group_cap == 5
    assert kept.set_group_max_running(group.id, None, 9, BOB).max_running is None
    assert kept.waiting_of(ids)[1].group_cap is None
    assert told(kept, "group-update") == [
        (group.id, {"by_uid": BOB, "max_running": most}) for most in (5, 0)
    ]
    with pytest.raises(NoSuchGroupError):
        kept.set_group_max_running("nobody", 1, 9, BOB)


def test_many_queued_jobs_are_changed_at_once_and_others_left_out(kept: Store) -> None:
    _, ids = array(kept, 3)
    go(kept, ids[1])
    given = [*ids, "nobody"]
    assert kept.change_queued_many(given, 5, "hold", BOB, held_by_uid=BOB) == [ids[0], ids[2]]
    assert [each.is_held for each in kept.waiting()] == [True, True]
    assert kept.change_queued_many(ids, 5, "priority", BOB, priority=3) == [ids[0], ids[2]]
    assert told(kept, "priority") == [
        (job_id, {"by_uid": BOB, "priority": 3}) for job_id in (ids[0], ids[2])
    ]


# Removal


def test_a_job_that_was_removed_stays_counted_and_the_last_takes_the_group_with_it(
    kept: Store,
) -> None:
    hook = NewHook(("ended",), b"template")
    new = new_group(hooks=(hook,))
    jobs = [new_job(group_id=new.id, member=n, spec=b"", hooks=()) for n in range(3)]
    group = kept.insert_group(new, jobs)
    ids = [job.id for job in jobs]
    for job_id in ids:
        end(kept, job_id, ok=job_id != ids[0])
    assert kept.delete_ended([ids[0]], 20, ALICE) == [ids[0]]
    assert standing(kept, group) == (0, 1, 9)
    assert kept.group_counts(group.id) == GroupCounts(ok=2)
    assert kept.delete_ended(ids, 20, ALICE) == ids[1:]
    assert kept.group(group.id) is None
    for table in ("groups", "group_specs", "hooks"):
        assert kept._db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)


def test_a_group_of_which_a_job_waits_is_not_removed(kept: Store) -> None:
    group, ids = array(kept, 2)
    end(kept, ids[0])
    assert kept.delete_ended(ids, 20, ALICE) == [ids[0]]
    assert standing(kept, group) == (1, 0, None)


def test_the_hooks_of_a_job_go_with_it_and_those_of_others_stay(kept: Store) -> None:
    hook = NewHook(("ended",), b"template")
    one, other = kept.insert(new_job(hooks=(hook,))), kept.insert(new_job(hooks=(hook, hook)))
    end(kept, one.id)
    kept.delete(one.id, 20, ALICE)
    owners = kept._db.execute("SELECT owner_id, number FROM hooks ORDER BY number").fetchall()
    assert owners == [(other.id, 0), (other.id, 1)]


# Lists


def test_the_jobs_of_one_group_are_not_looked_for_among_all_others(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        kept.insert(new_job())
    group, ids = array(kept, 3)
    for _ in range(5):
        kept.insert(new_job())
    monkeypatch.setattr(store_lists, "WINDOW", 4)
    select = Selection(group_id=group.id)
    page, following = kept.list_jobs(
        submitted_by_uid=ALICE, include_ended=True, limit=9, before=None, select=select
    )
    assert [job.id for job in page] == ids[::-1]
    assert following is None
    assert kept.matching(select, ALICE) == [(job_id, State.QUEUED) for job_id in ids]
    assert kept.matching(select, BOB) == []
    nobody = Selection(group_id="nobody")
    assert kept.matching(nobody, ALICE) == []
    assert kept.list_jobs(
        submitted_by_uid=ALICE, include_ended=True, limit=9, before=None, select=nobody
    ) == ([], None)


parts = st.lists(
    st.fixed_dictionaries({
        "by": st.sampled_from([ALICE, BOB]),
        # 0: a job by itself.
        "count": st.sampled_from([0, 0, 1, 2, 3]),
        "queue": st.sampled_from(["default", "night"]),
        "ended": st.lists(st.booleans(), min_size=3, max_size=3),
        "removed": st.lists(st.booleans(), min_size=3, max_size=3),
    }),
    max_size=7,
)  # fmt: skip


def put(kept: Store, part: dict[str, Any]) -> list[Job]:
    count = part["count"]
    new = new_group(by=part["by"])
    fields: dict[str, Any] = {"by": part["by"], "queue": part["queue"]}
    jobs = [new_job(**fields, group_id=new.id, member=n, spec=b"") for n in range(count)]
    if count:
        kept.insert_group(new, jobs)
    else:
        jobs = [new_job(**fields)]
        kept.insert(jobs[0])
    for job, ended, removed in zip(jobs, part["ended"], part["removed"], strict=False):
        if ended:
            end(kept, job.id)
            if removed:
                kept.delete(job.id, 10, ALICE)
    return [job for job in (kept.get(job.id) for job in jobs) if job is not None]


def collapsed(jobs: list[Job]) -> list[str]:
    """One entry for what follows each other of the same group."""
    entries = [job.group_id or job.id for job in jobs]
    return [entry for at, entry in enumerate(entries) if at == 0 or entries[at - 1] != entry]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    parts=parts,
    queue=st.sampled_from([None, "night"]),
    uid=st.sampled_from([None, ALICE]),
    how=st.tuples(st.booleans(), st.booleans()),
    size=st.tuples(st.integers(1, 5), st.integers(1, 4)),
    chosen=st.none() | st.integers(0, 6),
)
def test_pages_hold_each_group_once_in_the_place_of_its_newest_job(
    tmp_path_factory: pytest.TempPathFactory,
    parts: list[dict[str, Any]],
    queue: str | None,
    uid: int | None,
    how: tuple[bool, bool],
    size: tuple[int, int],
    chosen: int | None,
) -> None:
    (ended, collapse), (window, limit) = how, size
    kept = Store.open(str(tmp_path_factory.mktemp("pages") / "db"))
    kept._db.execute("PRAGMA synchronous = OFF")
    made = [job for part in parts for job in put(kept, part)]
    groups = sorted({job.group_id for job in made if job.group_id})
    group_id = groups[chosen % len(groups)] if groups and chosen is not None else None
    select = Selection(queue=queue, group_id=group_id)
    meant = [
        job for job in reversed(made)
        if queue in {None, job.queue} and uid in {None, job.submitted_by_uid}
        and group_id in {None, job.group_id} and (ended or job.state is not State.ENDED)
    ]  # fmt: skip
    expected = collapsed(meant) if collapse else [job.id for job in meant]
    was, store_lists.WINDOW = store_lists.WINDOW, window  # type: ignore[misc]
    try:
        found: list[str] = []
        before = None
        while True:
            page, following = kept.list_jobs(
                submitted_by_uid=uid, include_ended=ended, limit=limit, before=before,
                select=select, collapse=collapse,
            )  # fmt: skip
            assert len(page) <= limit
            found += [entry.id for entry in page]
            if following is None:
                break
            assert before is None or following < before
            before = following
        assert found == expected
    finally:
        store_lists.WINDOW = was  # type: ignore[misc]
    going = [(job.id, job.state) for job in reversed(meant) if job.state is not State.ENDED]
    assert kept.matching(select, uid) == going
    kept.close()


def test_a_collapsed_page_ends_where_it_is_full(kept: Store) -> None:
    one, _ = array(kept, 3)
    alone = kept.insert(new_job())
    other, _ = array(kept, 3)
    args: dict[str, Any] = {"submitted_by_uid": None, "include_ended": True, "collapse": True}
    assert kept.list_jobs(limit=1, before=None, **args) == ([other], other.first_seq)
    assert kept.list_jobs(limit=1, before=other.first_seq, **args) == ([alone], alone.seq)
    assert kept.list_jobs(limit=1, before=alone.seq, **args) == ([one], None)
    assert kept.list_jobs(limit=3, before=None, **args) == ([other, alone, one], None)
