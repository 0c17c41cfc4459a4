"""Calls of hooks: due with the change that they are for, and gone with the job that they become."""

from __future__ import annotations

import itertools
import sqlite3
import uuid
from contextlib import closing
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from runner import hook_rows
from runner.group_rows import About as GroupAbout
from runner.group_rows import NewGroup
from runner.hook_rows import About, HookCall
from runner.rows import NewHook, NewJob
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from runner.rows import Job

ALICE, BOB = 1000, 1001


def new(*hooks: tuple[str, ...], by: int = ALICE, **more: Any) -> NewJob:
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()), "submitted_by_uid": by, "uid": by, "gid": by, "name": "build",
        "spec": b"spec", "submitted_ns": 1,
        "hooks": tuple(NewHook(events, b"template") for events in hooks),
    }  # fmt: skip
    return NewJob(**{**given, **more})


def group(*hooks: tuple[str, ...], **more: Any) -> NewGroup:
    given: dict[str, Any] = {
        "id": str(uuid.uuid4()), "submitted_by_uid": ALICE, "kind": "array", "name": "many",
        "submitted_ns": 1, "max_running": None, "idempotency_key": None, "digest": b"",
        "about": msgspec.msgpack.encode(GroupAbout(ranges=[(0, 1, 1)])), "spec": b"spec",
        "hooks": tuple(NewHook(events, b"template") for events in hooks),
    }  # fmt: skip
    return NewGroup(**{**given, **more})


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "runnerd.sqlite3")


@pytest.fixture
def store(path: str) -> Iterator[Store]:
    with closing(Store.open(path)) as opened:
        yield opened


def due(store: Store) -> list[HookCall]:
    found = [store.call(seq) for seq, _ in store.calls(0, 1000)]
    assert None not in found
    return [call for call in found if call is not None]


def events(store: Store) -> list[str]:
    return [call.event for call in due(store)]


def begin(store: Store, job: Job) -> None:
    store.mark_starting(job.id, 2, "boot")
    store.mark_running(job.id, 7, 3, None)


def end(store: Store, job: Job, *, is_ok: bool = True) -> None:
    store.mark_ended(job.id, 9, "exit", b"result", is_ok=is_ok)


def test_each_change_is_a_call_of_the_hooks_that_are_for_it(store: Store) -> None:
    job = store.insert(
        new(("started", "paused", "resumed", "retry", "ended"), ("ok",), ("fail",), ("started",))
    )
    begin(store, job)
    store.mark_paused(job.id, 4, ALICE)
    store.mark_resumed(job.id, 5, ALICE)
    store.mark_retried(job.id, 6, ended_ns=6, reason="oom", result=b"before")
    begin(store, job)
    end(store, job, is_ok=False)
    assert [(call.number, call.event) for call in due(store)] == [
        (0, "started"), (3, "started"), (0, "paused"), (0, "resumed"), (0, "retry"),
        (0, "started"), (3, "started"), (0, "ended"), (2, "fail"),
    ]  # fmt: skip
    assert {call.uid for call in due(store)} == {ALICE}
    assert {call.template for call in due(store)} == {b"template"}


@pytest.mark.parametrize("started_ns", [3, None])
def test_a_start_that_only_the_record_of_the_end_tells_of_is_a_call_before_that_of_the_end(
    store: Store, started_ns: int | None
) -> None:
    job = store.insert(new(("started", "retry", "ended")))
    store.mark_starting(job.id, 2, "boot")
    store.mark_retried(job.id, 6, ended_ns=5, reason="oom", result=b"before", started_ns=started_ns)
    store.mark_starting(job.id, 7, "boot")
    store.mark_ended(job.id, 9, "exit", b"result", is_ok=True, started_ns=started_ns)
    if started_ns is None:
        assert events(store) == ["retry", "ended"]
        return
    assert events(store) == ["started", "retry", "started", "ended"]
    first, _, second, _ = due(store)
    assert first.about == About(name="build", state="running", attempt=1)
    assert second.about == About(name="build", state="running", attempt=2)
    assert {first.time_ns, second.time_ns} == {started_ns}


def test_a_start_that_was_committed_is_no_call_once_more(store: Store) -> None:
    job = store.insert(new(("started", "ended")))
    begin(store, job)
    store.mark_ended(job.id, 9, "exit", b"result", is_ok=True, started_ns=4)
    assert events(store) == ["started", "ended"]


def test_a_call_says_what_has_happened_as_it_was_then(store: Store) -> None:
    job = store.insert(new(("started", "retry", "ok", "fail")))
    begin(store, job)
    store.mark_retried(job.id, 6, ended_ns=6, reason="oom", result=b"before")
    begin(store, job)
    end(store, job)
    started, retried, _, ended = due(store)
    assert started.about == About(name="build", state="running", attempt=1)
    assert (started.owner_id, started.time_ns) == (job.id, 3)
    assert retried.about == About(
        name="build", state="queued", attempt=2, reason="oom", result=b"before"
    )
    assert ended.event == "ok"
    assert ended.about == About(
        name="build", state="ended", attempt=2, reason="exit", result=b"result", is_ok=True
    )


def test_a_hook_is_run_once_for_a_change_however_many_of_its_events_that_is(store: Store) -> None:
    job = store.insert(new(("ended", "ok"), ("fail", "ended"), ("fail", "ok")))
    begin(store, job)
    end(store, job)
    assert [(call.number, call.event) for call in due(store)] == [
        (0, "ok"), (1, "ended"), (2, "ok"),
    ]  # fmt: skip


@pytest.mark.parametrize("names", list(itertools.permutations(("ended", "ok", "fail"))))
def test_the_most_particular_of_its_events_is_named_in_whatever_order_they_are(
    store: Store, names: tuple[str, ...]
) -> None:
    for is_ok, event in ((True, "ok"), (False, "fail")):
        job = store.insert(new(names))
        begin(store, job)
        end(store, job, is_ok=is_ok)
        assert due(store)[-1].event == event


def test_a_job_that_ends_in_the_queue_has_ended_and_not_well(store: Store) -> None:
    job = store.insert(new(("ok",), ("fail",), ("started",)))
    store.end_queued([(job.id, "stopped", b"result")], 5)
    assert [(call.event, call.about.reason) for call in due(store)] == [("fail", "stopped")]


def test_a_group_calls_its_hooks_when_the_last_of_its_jobs_has_ended(store: Store) -> None:
    made = group(("ended",), ("ok",), ("fail",))
    jobs = [
        new(name=f"many.{index}", spec=b"", group_id=made.id, member=index) for index in range(2)
    ]
    store.insert_group(made, jobs)
    for job, is_ok in zip(jobs, (False, True), strict=True):
        assert due(store) == []
        store.mark_starting(job.id, 2, "boot")
        store.mark_running(job.id, 7, 3, None)
        store.mark_ended(job.id, 9, "exit", b"", is_ok=is_ok)
    assert [(call.owner_id, call.event) for call in due(store)] == [
        (made.id, "ended"), (made.id, "fail"),
    ]  # fmt: skip
    assert due(store)[0].about == About(
        is_group=True, name="many", state="ended", is_ok=False, jobs=2, failed=1
    )


def test_what_has_no_hooks_makes_no_calls(store: Store) -> None:
    told: list[None] = []
    store.on_calls = lambda: told.append(None)
    job = store.insert(new())
    begin(store, job)
    end(store, job)
    assert due(store) == []
    assert told == []


def test_it_is_told_after_the_commit_that_calls_are_due(store: Store) -> None:
    told: list[int] = []
    store.on_calls = lambda: told.append(len(store.calls(0, 10)))
    job = store.insert(new(("started",), ("ok",)))
    assert told == []
    begin(store, job)
    assert told == [1]
    end(store, job)
    assert told == [1, 2]


def test_calls_are_there_again_after_a_crash_and_after_their_job_is_removed(
    store: Store, path: str
) -> None:
    job = store.insert(new(("ok",)))
    begin(store, job)
    end(store, job)
    store.delete(job.id, 10, ALICE)
    assert store.hooks(job.id) == []
    with closing(Store.open(path)) as again:
        assert events(again) == ["ok"]
        assert again.calls_of(ALICE) == (1, len(b"template"))
        assert again.calls_of(BOB) == (0, 0)


def test_a_change_that_fails_makes_no_call(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    job = store.insert(new(("started",)))
    store.mark_starting(job.id, 2, "boot")
    insert = hook_rows.INSERT_CALL
    monkeypatch.setattr(hook_rows, "INSERT_CALL", insert.replace("hook_calls", "no_such_table"))
    with pytest.raises(Exception, match="no_such_table"):
        store.mark_running(job.id, 7, 3, None)
    monkeypatch.setattr(hook_rows, "INSERT_CALL", insert)
    now = store.get(job.id)
    assert now is not None
    assert now.state == "starting"
    assert (due(store), store.calls_of(ALICE)) == ([], (0, 0))


def test_the_job_that_a_call_is_run_as_takes_its_place_or_nothing_happens(store: Store) -> None:
    job = store.insert(new(("ok",)))
    begin(store, job)
    end(store, job)
    (call,) = due(store)
    run = new(name=None, idempotency_key=f"hook:{call.seq}")
    store.insert(run, call_seq=call.seq)
    assert due(store) == []
    assert store.calls_of(ALICE) == (0, 0)
    # The same once more, as after a crash that was none: the key is taken.
    again = new(name=None, idempotency_key=f"hook:{call.seq}")
    with pytest.raises(Exception, match="UNIQUE"):
        store.insert(again, call_seq=call.seq)
    assert store.get(again.id) is None


def test_the_newest_job_of_some_keys_is_found_among_those_of_its_user_alone(store: Store) -> None:
    assert store.newest_keyed(ALICE, "hook:a:0:") is None
    for key in ("hook:a:0:002", "hook:a:0:001", "hook:a:1:009", "hook:a:", "hook:a:0"):
        store.insert(new(name=key.replace(":", "-"), idempotency_key=key))
    store.insert(new(by=BOB, idempotency_key="hook:a:0:003"))
    found = store.newest_keyed(ALICE, "hook:a:0:")
    assert found is not None
    assert found.idempotency_key == "hook:a:0:002"
    assert store.newest_keyed(BOB, "hook:a:1:") is None


def test_a_call_that_is_dropped_is_an_event_of_its_job(store: Store) -> None:
    job = store.insert(new(("ok",)))
    begin(store, job)
    end(store, job)
    (call,) = due(store)
    store.drop_call(call, 11, "the directory is gone")
    assert due(store) == []
    event = store.events_since(0, 100)[-1]
    assert (event.kind, event.job_id) == ("hook", job.id)
    assert event.data == {"event": "ok", "refused": "the directory is gone"}


def test_calls_of_one_user_are_bounded_and_what_is_beyond_is_said(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hook_rows, "MOST_CALLS", 3)
    for by in (ALICE, BOB):
        for _ in range(2):
            job = store.insert(new(("started", "ok"), by=by))
            begin(store, job)
            end(store, job)
    assert [(call.uid, call.event) for call in due(store)] == [
        (ALICE, "started"), (ALICE, "ok"), (ALICE, "started"),
        (BOB, "started"), (BOB, "ok"), (BOB, "started"),
    ]  # fmt: skip
    dropped = [event for event in store.events_since(0, 100) if event.kind == "hook"]
    assert [event.data["event"] for event in dropped] == ["ok", "ok"]
    assert "3 calls" in str(dropped[0].data["refused"])
    monkeypatch.setattr(hook_rows, "MOST_CALL_BYTES", 8 * 3)
    monkeypatch.setattr(hook_rows, "MOST_CALLS", 100)
    begin(store, store.insert(new(("started", "ok"))))
    assert store.calls_of(ALICE).jobs == 3


def test_a_damaged_call_counts_for_none(store: Store, path: str) -> None:
    begin(store, store.insert(new(("started",))))
    with closing(sqlite3.connect(path)) as other, other:
        other.execute("UPDATE hook_calls SET about = x'c1'")
    ((seq, _),) = store.calls(0, 10)
    assert store.call(seq) is None
    store.forget_call(seq)
    assert store.calls(0, 10) == []
    assert store.calls_of(ALICE) == (0, 0)


def test_the_hooks_of_a_job_are_there_as_they_were_asked_for(store: Store) -> None:
    job = store.insert(new(("ok", "fail"), ("started",)))
    assert store.hooks(job.id) == [(("ok", "fail"), b"template"), (("started",), b"template")]
    assert store.hooks("nothing") == []
