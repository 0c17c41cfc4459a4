"""The store: what is kept, found and refused, against a model, and across `kill -9`."""

from __future__ import annotations

import pathlib
import sqlite3
import uuid
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from client.protocol import MAX_NAME_CHARS
from runner import store_lists
from runner.lifecycle import ImpossibleTransition, State
from runner.store import (
    Job,
    JobActiveError,
    NewJob,
    NoSuchJobError,
    NotUpdatableError,
    Store,
    StoreError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = pathlib.Path(__file__).parents[3]


def new_job(  # a job of one user, unless said otherwise
    job_id: str | None = None,
    *,
    by: int = 1000,
    name: str | None = None,
    spec: bytes = b"spec",
    submitted_ns: int = 1,
) -> NewJob:
    return NewJob(
        id=job_id or str(uuid.uuid4()),
        submitted_by_uid=by,
        uid=by,
        gid=by,
        name=name,
        spec=spec,
        submitted_ns=submitted_ns,
    )


def ended(kept: Store, job_id: str) -> Job:
    return kept.mark_ended(job_id, 9, "stopped", b"result", is_ok=False)


@pytest.fixture
def path(tmp_path: pathlib.Path) -> str:
    return str(tmp_path / "runnerd.sqlite3")


@pytest.fixture
def kept(path: str) -> Iterator[Store]:
    opened = Store.open(path)
    yield opened
    opened.close()


def test_a_job_goes_from_queued_to_ended_and_keeps_what_it_was_given(kept: Store) -> None:
    new = new_job(name="make", spec=b"\x00spec", submitted_ns=5)
    job = kept.insert(new)
    assert job == Job(
        seq=1,
        id=new.id,
        submitted_by_uid=1000,
        uid=1000,
        gid=1000,
        name="make",
        state=State.QUEUED,
        submitted_ns=5,
        started_ns=None,
        ended_ns=None,
        boot_id=None,
        monitor_pid=None,
        limits=None,
        reason=None,
        result=None,
        spec=b"\x00spec",
    )
    starting = kept.mark_starting(new.id, 6, "boot")
    assert starting == msgspec.structs.replace(job, state=State.STARTING, boot_id="boot")
    running = kept.mark_running(new.id, 4321, 7, b"limits")
    assert running == msgspec.structs.replace(
        starting, state=State.RUNNING, monitor_pid=4321, started_ns=7, limits=b"limits"
    )
    last = kept.mark_ended(new.id, 8, "exit", b"result", is_ok=True)
    assert last == msgspec.structs.replace(
        running,
        state=State.ENDED,
        monitor_pid=None,
        ended_ns=8,
        reason="exit",
        result=b"result",
        fate="ok",
    )
    assert kept.get(new.id) == last


def test_each_change_is_an_event_with_its_time(kept: Store) -> None:
    new = new_job(by=7, submitted_ns=5)
    kept.insert(new)
    kept.mark_starting(new.id, 6, "boot")
    kept.mark_requeued(new.id, 7, "no log")
    kept.mark_starting(new.id, 8, "boot")
    kept.mark_running(new.id, 4321, 9, None)
    kept.mark_ended(new.id, 10, "lost", b"", is_ok=False)
    kept.delete(new.id, 11, 0)
    events = kept.events_since(0, 100)
    assert [event.seq for event in events] == [1, 2, 3, 4, 5, 6, 7]
    assert {event.job_id for event in events} == {new.id}
    assert [(event.kind, event.time_ns, event.data) for event in events] == [
        ("submit", 5, {"submitted_by_uid": 7, "uid": 7}),
        ("launch", 6, {}),
        ("requeue", 7, {"why": "no log"}),
        ("launch", 8, {}),
        ("started", 9, {"monitor_pid": 4321}),
        ("finish", 10, {"reason": "lost"}),
        ("remove", 11, {"removed_by_uid": 0}),
    ]
    assert [event.seq for event in kept.events_since(2, 3)] == [3, 4, 5]


def running(kept: Store) -> Job:
    job = kept.insert(new_job())
    kept.mark_starting(job.id, 2, "boot")
    return kept.mark_running(job.id, 4321, 10, b"limits")


def test_a_job_remembers_how_long_it_was_paused_and_who_did_it(kept: Store) -> None:
    job = running(kept)
    paused = kept.mark_paused(job.id, 20, 7)
    assert paused == msgspec.structs.replace(job, state=State.PAUSED, paused_since_ns=20)
    assert kept.launched() == [paused]
    assert kept.counts()[State.PAUSED] == 1
    resumed = kept.mark_resumed(job.id, 50, 8)
    assert resumed == msgspec.structs.replace(job, paused_ns=30)
    kept.mark_paused(job.id, 60, 7)
    last = kept.mark_ended(job.id, 100, "stopped", b"result", is_ok=False)
    assert (last.paused_ns, last.paused_since_ns, last.monitor_pid) == (70, None, None)
    events = kept.events_since(3, 100)
    assert [(event.kind, event.time_ns, event.data) for event in events] == [
        ("pause", 20, {"by_uid": 7}),
        ("resume", 50, {"by_uid": 8}),
        ("pause", 60, {"by_uid": 7}),
        ("finish", 100, {"reason": "stopped"}),
    ]


def test_a_clock_that_is_set_back_makes_no_pause_negative(kept: Store) -> None:
    job = running(kept)
    kept.mark_paused(job.id, 100, 0)
    assert kept.mark_resumed(job.id, 50, 0).paused_ns == 0
    kept.mark_paused(job.id, 100, 0)
    assert kept.mark_ended(job.id, 60, "exit", b"", is_ok=True).paused_ns == 0


def test_new_limits_are_kept_with_who_changed_which(kept: Store) -> None:
    queued = kept.insert(new_job())
    about: dict[str, str | int] = {"by_uid": 7, "changed": "pids_max"}
    assert kept.update(queued.id, 5, b"other", None, about) == msgspec.structs.replace(
        queued, spec=b"other"
    )
    job = running(kept)
    changed = kept.update(job.id, 6, b"third", b"read back", about)
    assert changed == msgspec.structs.replace(job, spec=b"third", limits=b"read back")
    kept.mark_paused(job.id, 7, 0)
    assert kept.update(job.id, 8, b"fourth", b"again", about).limits == b"again"
    events = [event for event in kept.events_since(0, 100) if event.kind == "update"]
    assert [(event.time_ns, event.data) for event in events] == [(at, about) for at in (5, 6, 8)]


@pytest.mark.parametrize("limits", [None, b"read back"])
def test_a_job_that_starts_or_has_ended_takes_no_new_limits(
    kept: Store, limits: bytes | None
) -> None:
    job = kept.insert(new_job())
    kept.mark_starting(job.id, 2, "boot")
    before = kept.get(job.id)
    with pytest.raises(NotUpdatableError, match="starting"):
        kept.update(job.id, 3, b"other", limits, {})
    assert kept.get(job.id) == before
    last = ended(kept, job.id)
    with pytest.raises(NotUpdatableError, match="ended"):
        kept.update(job.id, 3, b"other", limits, {})
    assert kept.get(job.id) == last
    with pytest.raises(NoSuchJobError):
        kept.update("nobody", 3, b"other", limits, {})


def test_only_a_running_job_is_paused_and_only_a_paused_one_goes_on(kept: Store) -> None:
    job = running(kept)
    with pytest.raises(ImpossibleTransition):
        kept.mark_resumed(job.id, 5, 0)
    kept.mark_paused(job.id, 5, 0)
    with pytest.raises(ImpossibleTransition):
        kept.mark_paused(job.id, 6, 0)
    with pytest.raises(JobActiveError):
        kept.delete(job.id, 7, 0)


def test_a_change_that_is_not_possible_leaves_job_and_events_alone(kept: Store) -> None:
    job = kept.insert(new_job())
    with pytest.raises(ImpossibleTransition):
        kept.mark_running(job.id, 1, 2, None)
    with pytest.raises(ImpossibleTransition):
        kept.mark_requeued(job.id, 2)
    last = ended(kept, job.id)
    with pytest.raises(ImpossibleTransition):
        kept.mark_ended(job.id, 10, "exit", b"other", is_ok=True)
    assert kept.get(job.id) == last
    assert len(kept.events_since(0, 100)) == 2


def test_a_job_that_ran_unseen_gets_its_start_with_its_end(kept: Store) -> None:
    job = kept.insert(new_job())
    kept.mark_starting(job.id, 2, "boot")
    last = kept.mark_ended(job.id, 9, "exit", b"", started_ns=3, is_ok=True)
    assert (last.state, last.started_ns) == (State.ENDED, 3)
    events = [(each.kind, each.time_ns) for each in kept.events_since(0, 100)]
    assert events == [("submit", 1), ("launch", 2), ("started", 3), ("finish", 9)]
    assert kept.counts() == {**dict.fromkeys(State, 0), State.ENDED: 1}


def test_a_job_that_ended_before_it_began_has_no_start(kept: Store) -> None:
    job = kept.insert(new_job())
    kept.mark_starting(job.id, 2, "boot")
    assert kept.mark_ended(job.id, 9, "launch-error", b"", is_ok=False).started_ns is None
    kinds = [each.kind for each in kept.events_since(0, 100)]
    assert kinds == ["submit", "launch", "finish"]


def test_a_start_that_is_known_is_not_replaced(kept: Store) -> None:
    job = kept.insert(new_job())
    kept.mark_starting(job.id, 2, "boot")
    kept.mark_running(job.id, 4321, 3, None)
    assert kept.mark_ended(job.id, 9, "exit", b"", started_ns=4, is_ok=True).started_ns == 3


def test_an_unknown_job_is_an_error_to_change_and_nothing_to_read(kept: Store) -> None:
    assert kept.get("absent") is None
    with pytest.raises(NoSuchJobError, match="there is no job absent"):
        kept.mark_starting("absent", 1, "boot")
    with pytest.raises(NoSuchJobError):
        kept.delete("absent", 1, 0)


def test_an_id_is_used_once_and_a_refused_job_leaves_nothing(kept: Store) -> None:
    job = kept.insert(new_job())
    with pytest.raises(StoreError, match="UNIQUE constraint failed"):
        kept.insert(new_job(job.id))
    assert kept.counts()[State.QUEUED] == 1
    assert len(kept.events_since(0, 100)) == 1
    assert kept.insert(new_job()).state is State.QUEUED


def test_only_an_ended_job_can_be_removed_and_its_spec_goes_with_it(kept: Store, path: str) -> None:
    job = kept.insert(new_job())
    with pytest.raises(JobActiveError, match="has not ended"):
        kept.delete(job.id, 2, 0)
    ended(kept, job.id)
    kept.delete(job.id, 2, 0)
    assert kept.get(job.id) is None
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM specs").fetchone() == (0,)
    db.close()


def test_the_number_of_a_removed_job_is_not_given_again(kept: Store) -> None:
    job = kept.insert(new_job())
    ended(kept, job.id)
    kept.delete(job.id, 2, 0)
    assert kept.insert(new_job()).seq == job.seq + 1


def test_launched_and_queued_are_in_the_order_of_submission(kept: Store) -> None:
    ids = [kept.insert(new_job()).id for _ in range(5)]
    ended(kept, ids[1])
    kept.mark_starting(ids[0], 2, "boot")
    kept.mark_starting(ids[3], 2, "boot")
    kept.mark_running(ids[3], 4321, 3, None)
    assert [job.id for job in kept.launched()] == [ids[0], ids[3]]
    assert [job.id for job in kept.waiting()] == [ids[2], ids[4]]
    kept.mark_requeued(ids[0], 4)
    assert [job.id for job in kept.waiting()] == [ids[0], ids[2], ids[4]]


def test_a_repr_shows_no_spec() -> None:
    job_id = "3f2a0000-0000-4000-8000-000000000000"
    new = new_job(job_id, spec=b"SECRET=1")
    assert repr(new) == f"NewJob(id={job_id!r}, spec of 8 bytes)"
    assert "SECRET" not in str(new)


def test_a_repr_of_a_kept_job_shows_no_spec(kept: Store) -> None:
    job = kept.insert(new_job(spec=b"SECRET=1"))
    assert repr(job) == f"Job(seq=1, id={job.id!r}, state='queued', spec of 8 bytes)"


A = "aaaa1111-0000-4000-8000-000000000000"
B = "aaaa2222-0000-4000-8000-000000000000"
C = "bbbb3333-0000-4000-8000-000000000000"


@pytest.fixture
def named(kept: Store) -> Store:
    for job_id, by, name in [(A, 1, "build"), (B, 2, "build"), (C, 1, "aaaa")]:
        kept.insert(new_job(job_id, by=by, name=name))
    return kept


@pytest.mark.parametrize(
    ("text", "uid", "found"),
    [
        (A, None, [A]),
        (A, 1, [A]),
        (A, 2, []),
        ("aaaa", None, [B, A]),
        ("aaaa", 2, [B]),
        ("aaaa1", 1, [A]),
        ("aaaa1", 2, []),
        ("aaa", None, []),
        ("bbbb", 1, [C]),
        ("bbbb", 3, []),
        ("build", None, [B]),
        ("build", 1, [A]),
        ("build", 3, []),
        ("aaaa", 1, [A]),
        ("%", None, []),
        ("____", None, []),
        ("aaaa%", None, []),
        ("", None, []),
        ("é", None, []),
        ("\udcff\udcff\udcff\udcff", None, []),
        ("aaaa\0", None, []),
        ("AAAA1", None, []),
    ],
)
def test_a_job_is_found_by_id_prefix_and_name_by_who_may_see_it(
    named: Store, text: str, uid: int | None, found: list[str]
) -> None:
    assert [job.id for job in named.find(text, uid)] == found


def test_a_name_means_the_newest_job_of_that_name_ended_or_not(named: Store) -> None:
    ended(named, B)
    assert [job.id for job in named.find("build", None)] == [B]


def test_a_name_is_found_when_only_a_strangers_id_begins_with_it(named: Store) -> None:
    named.insert(new_job("cccc0000-0000-4000-8000-000000000000", by=9, name="x"))
    mine = named.insert(new_job(by=1, name="cccc"))
    assert named.find("cccc", 1) == [mine]


def test_a_prefix_of_very_many_jobs_gives_a_bounded_answer(kept: Store) -> None:
    for number in range(store_lists.MAX_MATCHES + 5):
        kept.insert(new_job(f"abcd{number:04}-0000-4000-8000-000000000000"))
    found = kept.find("abcd", 1000)
    assert len(found) == store_lists.MAX_MATCHES
    assert found[0].seq == store_lists.MAX_MATCHES + 5


def pages(kept: Store, uid: int | None, *, include_ended: bool, limit: int) -> list[list[int]]:
    found = []
    before: int | None = None
    while True:
        jobs, before = kept.list_jobs(
            submitted_by_uid=uid, include_ended=include_ended, limit=limit, before=before
        )
        found.append([job.seq for job in jobs])
        if before is None:
            return found


def test_pages_are_newest_first_and_the_last_one_says_so(kept: Store) -> None:
    for number in range(6):
        job = kept.insert(new_job(by=1 + number % 2))
        if number in {0, 3}:
            ended(kept, job.id)
    assert pages(kept, None, include_ended=True, limit=4) == [[6, 5, 4, 3], [2, 1]]
    assert pages(kept, None, include_ended=True, limit=3) == [[6, 5, 4], [3, 2, 1]]
    assert pages(kept, None, include_ended=False, limit=3) == [[6, 5, 3], [2]]
    assert pages(kept, 1, include_ended=True, limit=2) == [[5, 3], [1]]
    assert pages(kept, 1, include_ended=False, limit=2) == [[5, 3]]
    assert pages(kept, 2, include_ended=False, limit=1) == [[6], [2]]
    assert pages(kept, 3, include_ended=True, limit=5) == [[]]


def test_a_page_ends_before_its_specs_grow_too_large(kept: Store) -> None:
    large = bytes(store_lists.PAGE_SPEC_BYTES // 2)
    for spec in (large, large, large + b"x", bytes(2 * store_lists.PAGE_SPEC_BYTES), b"small"):
        kept.insert(new_job(spec=spec))
    assert pages(kept, None, include_ended=True, limit=10) == [[5], [4], [3], [2, 1]]


@pytest.mark.parametrize("before", [0, -1, -(2**70)])
def test_nothing_comes_before_the_first(kept: Store, before: int) -> None:
    kept.insert(new_job())
    page = kept.list_jobs(submitted_by_uid=None, include_ended=True, limit=5, before=before)
    assert page == ([], None)


def test_a_page_before_a_number_too_large_for_the_database_is_the_first(kept: Store) -> None:
    job = kept.insert(new_job())
    page = kept.list_jobs(submitted_by_uid=None, include_ended=True, limit=5, before=2**64 - 1)
    assert page == ([job], None)


def test_the_database_itself_refuses_rows_that_make_no_sense(kept: Store, path: str) -> None:
    job = kept.insert(new_job())
    db = sqlite3.connect(path)
    for change in (
        "state = 'ended'",
        "state = 'gone'",
        "state = 'running'",
        "state = 'running', monitor_pid = 5",
        "ended_ns = 5",
        "reason = 'exit'",
        "result = x'00'",
        "started_ns = 5",
        "state = 'ended', ended_ns = 5, reason = 'exit'",
    ):
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(f"UPDATE jobs SET {change} WHERE id = ?", (job.id,))
    db.close()


def test_a_change_that_cannot_be_written_changes_nothing(path: str) -> None:
    kept = Store.open(path)
    job = kept.insert(new_job())
    kept._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StoreError, match=r"readonly database .*writable"):
        kept.mark_starting(job.id, 2, "boot")
    assert kept.counts()[State.QUEUED] == 1
    kept._db.execute("PRAGMA query_only = OFF")
    assert kept.mark_starting(job.id, 2, "boot").state is State.STARTING
    kept.close()


@settings(max_examples=30)
@given(name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]*", fullmatch=True))
def test_a_job_of_any_name_is_found_by_it(
    tmp_path_factory: pytest.TempPathFactory, name: str
) -> None:
    name = name[:MAX_NAME_CHARS]
    kept = Store.open(str(tmp_path_factory.getbasetemp() / "names"))
    job = kept.insert(new_job(name=name))
    assert kept.find(name, 1000) == [job]
    kept.close()
