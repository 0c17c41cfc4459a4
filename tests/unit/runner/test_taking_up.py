"""Jobs that their directories know better than the store: taken up, begun, or removed."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from runner import messages, parsing, records, spec, stored, taking_up
from runner.config import Config
from runner.group_rows import About, NewGroup
from runner.lifecycle import State
from runner.rows import Job, NewJob
from runner.store import Store
from runner.store_file import FullStoreError
from runner.taking_up import LOST_UID, UNKNOWN_BOOT
from runner.users import Account
from tests.unit.runner.test_salvage import Host

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


IDS = [f"3f2a0000-0000-4000-8000-00000000000{number}" for number in range(8)]


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.directories.close()


def new_job(job_id: str, *, submitted_ns: int = 5, **limits: Any) -> NewJob:
    args = {"argv": ["echo"], "cwd": "/", "name": "of-alice", "limits": limits}
    request = parsing.parse(messages.Submit, args)
    packed = spec.pack(spec.build(job_id, request, Account(1001, 1002, (), "alice"), Config()))
    return NewJob(id=job_id, submitted_by_uid=1000, uid=1001, gid=1002, name="of-alice",
                  spec=packed, submitted_ns=submitted_ns)  # fmt: skip


def launched(host: Host, store: Store, new: NewJob) -> Job:
    """A job as it is in the middle of its launch."""
    store.insert(new)
    return launched_again(host, store, new.id)


def launched_again(host: Host, store: Store, job_id: str) -> Job:
    job = store.mark_starting(job_id, 6, "boot")
    row = taking_up.row_of(job, store.labels([job_id])[job_id])
    fields = {**stored.spec(job), "base": 700_000, "row": row}
    host.directories.create(job.id, stored.pack_spec(fields), job.attempt).close()
    return job


def second_attempt(host: Host, store: Store, new: NewJob) -> Job:
    """A job whose first attempt ran and ended, and which was launched once more."""
    job = launched(host, store, new)
    (host.state / "jobs" / job.id / "exit").write_bytes(b"")
    (host.state / "jobs" / job.id / "log" / f"{0:020}.log").touch()
    store.mark_running(job.id, 77, 7, None)
    store.mark_retried(job.id, 9, ended_ns=8, reason="oom", result=b"why")
    return launched_again(host, store, job.id)


def forget_the_store(host: Host) -> None:
    for name in host.names():
        os.unlink(host.state / name)


def test_a_job_that_only_its_directory_knows_gets_its_row_again(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        store.insert(new_job(IDS[0]))
        job = launched(host, store, new_job(IDS[1], submitted_ns=77))
    forget_the_store(host)
    with contextlib.closing(host.open()) as store:
        found = store.get(job.id)
        assert store.counts()[State.QUEUED] == 0
        next_seq = store.insert(new_job(IDS[2])).seq
    assert found is not None
    names = ("id", "seq", "name", "submitted_by_uid", "uid", "gid", "submitted_ns")
    assert [getattr(found, name) for name in names] == [getattr(job, name) for name in names]
    assert (found.state, found.boot_id) == (State.STARTING, UNKNOWN_BOOT)
    assert stored.spec(found) == stored.spec(job)
    assert next_seq == job.seq + 1
    assert "1 job was not in the store" in host.said
    assert "jobs that were queued are lost" in host.said


def test_what_the_queue_knew_of_a_job_comes_back_with_it(host: Host) -> None:
    more = {
        "queue": "night", "priority": -7, "deadline_ns": 2**60, "reserved_millicpus": 5,
        "reserved_memory_bytes": 2**40, "time_limit_ms": 9, "idempotency_key": "only-once",
        "labels": {"a/b": "", "c": "d e"},
    }  # fmt: skip
    with contextlib.closing(host.open()) as store:
        new = msgspec.structs.replace(new_job(IDS[1]), **more)
        new = msgspec.structs.replace(new, spec=stored.pack_spec(stored.spec(new)))
        job = second_attempt(host, store, new)
    forget_the_store(host)
    with contextlib.closing(host.open()) as store:
        (found,) = store.launched()
        assert found == msgspec.structs.replace(job, boot_id=UNKNOWN_BOOT)
        assert found.attempt == 2
        assert store.labels([job.id]) == {job.id: more["labels"]}
        # The same request gets the same job.
        assert store.keyed(1000, "only-once") == found


def test_of_two_jobs_with_one_key_the_one_in_the_store_keeps_it(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, msgspec.structs.replace(new_job(IDS[1]), idempotency_key="k"))
    host.sql("DELETE FROM jobs", "DELETE FROM specs")
    with contextlib.closing(Store.open(str(host.path))) as store:
        other = store.insert(msgspec.structs.replace(new_job(IDS[2]), idempotency_key="k"))
    with contextlib.closing(host.open()) as store:
        assert store.keyed(1000, "k") == other
        found = store.get(IDS[1])
    assert found is not None
    assert (found.state, found.idempotency_key) == (State.STARTING, None)


def test_an_attempt_without_a_spec_is_none_and_the_one_before_is_taken_up(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = second_attempt(host, store, new_job(IDS[1]))
    (host.state / "jobs" / job.id / "attempt-2" / "spec").unlink()
    forget_the_store(host)
    with contextlib.closing(host.open()) as store:
        (found,) = store.launched()
    assert (found.attempt, found.submitted_by_uid) == (1, 1000)


def go_back(host: Host, job: Job, state: str) -> None:
    """The row of before the second attempt was launched, or before there was one."""
    if state == "queued":
        host.sql(f"UPDATE jobs SET state = 'queued' WHERE id = '{job.id}'")
        return
    values = {
        "running": "started_ns = 7, monitor_pid = 77",
        "ended": "started_ns = 7, ended_ns = 8, reason = 'oom', result = x'00'",
    }[state]
    host.sql(f"UPDATE jobs SET state = '{state}', attempt = 1, {values} WHERE id = '{job.id}'",
             "DELETE FROM attempts")  # fmt: skip


@pytest.mark.parametrize("state", ["queued", "running"])
@pytest.mark.parametrize("sign", ["log", "exit"])
def test_a_row_that_is_behind_its_attempts_gets_the_newest_that_was_begun(
    host: Host, state: str, sign: str
) -> None:
    with contextlib.closing(host.open()) as store:
        job = second_attempt(host, store, new_job(IDS[1]))
    go_back(host, job, state)
    home = host.state / "jobs" / job.id / "attempt-2"
    (home / "log" / "x" if sign == "log" else home / "exit").write_bytes(b"")
    with contextlib.closing(host.open()) as store:
        (found,) = store.launched()
    assert found == msgspec.structs.replace(job, boot_id=UNKNOWN_BOOT)
    # A power cut may leave a row like the first: `runner.store_commits`.
    assert ("it was begun (attempt 2)" in host.said) == (state != "queued")


@pytest.mark.parametrize("state", ["queued", "running"])
def test_an_attempt_that_was_not_begun_is_still_to_come(host: Host, state: str) -> None:
    with contextlib.closing(host.open()) as store:
        job = second_attempt(host, store, new_job(IDS[1]))
    go_back(host, job, state)
    with contextlib.closing(host.open()) as store:
        found = store.get(job.id)
    assert found is not None
    assert (found.state.value, found.attempt) == (state, 2 if state == "queued" else 1)
    assert host.problems.all() == []


def monitor(host: Host, job_id: str) -> None:
    cgroup = f"{host.tree.root}/job-{job_id}/monitor"
    os.makedirs(cgroup)
    with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
        file.write("77\n")


def test_a_job_that_was_run_again_by_hand_and_still_goes_has_not_ended(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = second_attempt(host, store, new_job(IDS[1]))
    go_back(host, job, "ended")
    monitor(host, job.id)
    with contextlib.closing(host.open()) as store:
        (found,) = store.launched()
        assert [(known.attempt, known.reason) for known in store.attempts(job.id)] == [(1, "oom")]
        assert store.ended.total().jobs == 0
    assert (found.state, found.attempt, found.ended_ns) == (State.STARTING, 2, None)


def test_the_last_monitor_of_the_attempt_before_does_not_begin_the_next(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = launched(host, store, new_job(IDS[1]))
        store.mark_running(job.id, 77, 7, None)
        store.mark_retried(job.id, 9, ended_ns=8, reason="oom", result=b"why")
    monitor(host, job.id)
    with contextlib.closing(host.open()) as store:
        assert [waiting.id for waiting in store.waiting()] == [job.id]


def test_an_ended_job_without_a_monitor_stays_ended(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = second_attempt(host, store, new_job(IDS[1]))
    go_back(host, job, "ended")
    os.makedirs(f"{host.tree.root}/job-{job.id}/monitor")
    with contextlib.closing(host.open()) as store:
        assert store.launched() == []


def test_nothing_is_said_when_all_is_well(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[1]))
    for _ in range(2):
        with contextlib.closing(host.open()) as store:
            assert store.counts()[State.STARTING] == 1
        assert host.problems.all() == []


def test_jobs_are_taken_up_in_the_order_of_their_submission(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = [launched(host, store, new_job(i, submitted_ns=n)) for n, i in enumerate(IDS[:5])]
    forget_the_store(host)
    rewrite(host, IDS[1], lambda fields: {**fields, "row": {**fields["row"], "seq": 1}})
    rewrite(host, IDS[2], lambda fields: {**fields, "row": {**fields["row"], "seq": 2**53}})
    with contextlib.closing(host.open()) as store:
        found = sorted(store.launched(), key=lambda job: job.submitted_ns)
        assert [job.id for job in found] == [job.id for job in jobs]
        assert sorted(job.seq for job in found) == [1, 2, 3, 4, 5]


def rewrite(host: Host, job_id: str, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    path = host.state / "jobs" / job_id / "spec"
    fields = change(records.unpack(path.read_bytes()))
    fields.pop("version")
    path.write_bytes(records.pack(fields))


@pytest.mark.parametrize(
    "row",
    [None, [], {"seq": 1}, {"seq": "1", "name": None, "submitted_by_uid": 1000, "submitted_ns": 1},
     {"seq": 1, "name": "a\nb", "submitted_by_uid": 1000, "submitted_ns": 1},
     {"seq": 1, "name": None, "submitted_by_uid": -1, "submitted_ns": 1}],
)  # fmt: skip
def test_a_job_of_whose_submitter_nothing_is_known_is_shown_to_administrators_only(
    host: Host, row: object
) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[1]))
    forget_the_store(host)
    rewrite(host, IDS[1], lambda fields: {**fields, "row": row})
    with contextlib.closing(host.open()) as store:
        (job,) = store.launched()
    assert (job.submitted_by_uid, job.uid, job.name) == (0, 1001, None)
    assert stored.spec(job)["argv"] == [b"echo"]


@pytest.mark.parametrize(
    "damage", ["gone", "noise", "a directory", "a link", "a fifo", "of another", "no directory"]
)
def test_a_job_whose_spec_cannot_be_read_is_taken_up_without_it(host: Host, damage: str) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[1]))
    forget_the_store(host)
    home = host.state / "jobs" / IDS[1]
    (home / "spec").unlink()
    if damage == "noise":
        (home / "spec").write_bytes(b"\x93noise")
    elif damage == "a directory":
        (home / "spec").mkdir()
    elif damage == "a link":
        (home / "spec").symlink_to("/etc/passwd")
    elif damage == "a fifo":
        os.mkfifo(home / "spec")
    elif damage == "of another":
        (home / "spec").write_bytes(new_job(IDS[2]).spec)
    elif damage == "no directory":
        home.rename(host.state / "away")
        home.write_bytes(b"")
    with contextlib.closing(host.open()) as store:
        (job,) = store.launched()
    assert (job.id, job.submitted_by_uid, job.uid, job.spec) == (IDS[1], 0, LOST_UID, b"")
    assert [problem.job for problem in host.problems.all()].count(IDS[1]) == 1
    with contextlib.closing(host.open()) as store:
        assert len(store.launched()) == 1


def test_the_limits_are_those_that_were_changed_to(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = launched(host, store, new_job(IDS[1], timeout_seconds=50))
        host.directories.write_limits(job.id, {"timeout_seconds": 70})
        launched(host, store, new_job(IDS[2], timeout_seconds=50))
        (host.state / "jobs" / IDS[2] / "limits").write_bytes(b"\x80")
    forget_the_store(host)
    with contextlib.closing(host.open()) as store:
        limits = [stored.spec(job)["limits"] for job in store.launched()]
    assert limits[0]["timeout_seconds"] == 70
    assert limits[1]["timeout_seconds"] == 50


def test_a_directory_that_came_back_after_its_removal_is_removed_again(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = launched(host, store, new_job(IDS[1]))
        store.mark_ended(job.id, 7, "exit", b"", is_ok=True)
        store.delete(job.id, 8, 1000)
    with contextlib.closing(host.open()) as store:
        assert store.get(job.id) is None
    assert host.directories.doomed() == [job.id]
    assert host.problems.all() == []


def set_back(host: Host, job_id: str) -> None:
    """As a write-ahead log that lost its end leaves it."""
    with contextlib.closing(sqlite3.connect(host.path)) as db, db:
        db.execute("UPDATE jobs SET state = 'queued', boot_id = NULL WHERE id = ?", (job_id,))


@pytest.mark.parametrize("sign", ["log", "exit", "monitor", "a log that is a file"])
def test_a_job_that_was_begun_is_not_queued(host: Host, sign: str) -> None:
    with contextlib.closing(host.open()) as store:
        job = launched(host, store, new_job(IDS[1]))
    set_back(host, job.id)
    home = host.state / "jobs" / job.id
    if sign == "log":
        (home / "log" / "x").write_bytes(b"")
    elif sign == "exit":
        (home / "exit").write_bytes(b"")
    elif sign == "monitor":
        cgroup = f"{host.tree.root}/job-{job.id}/monitor"
        os.makedirs(cgroup)
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("77\n")
    else:
        (home / "log").rmdir()
        (home / "log").write_bytes(b"")
    with contextlib.closing(host.open()) as store:
        (found,) = store.launched()
        events = [event.kind for event in store.events_since(0, 10)]
    assert (found.state, found.boot_id) == (State.STARTING, UNKNOWN_BOOT)
    # A power cut may take back what was not promised to anybody: no problem, and one launch.
    assert host.problems.all() == []
    assert events == ["submit", "launch", "launch"]


def test_a_job_that_was_not_begun_stays_queued(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = launched(host, store, new_job(IDS[1]))
    set_back(host, job.id)
    with contextlib.closing(host.open()) as store:
        assert [queued.id for queued in store.waiting()] == [job.id]
    assert host.problems.all() == []


def test_a_spec_that_is_garbled_in_the_store_is_that_of_the_directory(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        job = launched(host, store, new_job(IDS[1]))
        store.insert(new_job(IDS[2]))
    with contextlib.closing(sqlite3.connect(host.path)) as db, db:
        db.execute("UPDATE specs SET spec = x'93'")
    with contextlib.closing(host.open()) as store:
        found, queued = store.get(IDS[1]), store.get(IDS[2])
    assert found is not None
    assert stored.spec(found) == stored.spec(job)
    assert queued is not None
    assert queued.spec == b"\x93"
    assert "that of its directory is used" in host.said
    assert "its directory has no other" in host.said


GROUP = "9c1b0000-0000-4000-8000-000000000009"


def put_group(host: Host, store: Store, *ids: str) -> list[Job]:
    """An array of which the jobs have their spec in common, each in the middle of its launch."""
    shared = new_job(GROUP)
    about = msgspec.msgpack.encode(About(ranges=[(0, len(ids) - 1, 1)]))
    new = NewGroup(
        id=GROUP, submitted_by_uid=1000, kind="array", name=None, submitted_ns=5, max_running=None,
        idempotency_key=None, digest=b"d", about=about, spec=shared.spec,
    )  # fmt: skip
    store.insert_group(new, [
        msgspec.structs.replace(new_job(job_id), spec=b"", group_id=GROUP, member=number)
        for number, job_id in enumerate(ids)
    ])  # fmt: skip
    return [launched_again(host, store, job_id) for job_id in ids]


def test_the_jobs_of_a_sound_group_are_as_they_were(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = put_group(host, store, *IDS[:3])
    with contextlib.closing(host.open()) as store:
        assert store.launched() == jobs
    assert host.problems.all() == []


def test_a_job_of_a_group_that_only_its_directory_knows_goes_on_by_itself(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = put_group(host, store, *IDS[:2])
        expected = [stored.spec(job) for job in jobs]
    forget_the_store(host)
    with contextlib.closing(host.open()) as store:
        found = store.launched()
        assert [(job.id, job.group_id, job.member) for job in found] == [
            (job.id, None, None) for job in jobs
        ]
        assert [stored.spec(job) for job in found] == expected
        assert store.group(GROUP) is None


def test_the_spec_of_a_group_that_is_garbled_is_that_of_each_jobs_directory(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        jobs = put_group(host, store, *IDS[:2])
        expected = [stored.spec(job) for job in jobs]
    host.sql("UPDATE group_specs SET spec = x'93'")
    with contextlib.closing(host.open()) as store:
        found = store.launched()
        assert [stored.spec(job) for job in found] == expected
        assert {job.group_id for job in found} == {GROUP}
    assert host.said.count("that of its directory is used") == 2
    host.open().close()
    assert host.problems.all() == []


def test_a_group_waits_again_for_a_job_that_was_begun_once_more(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        put_group(host, store, *IDS[:2])
        for job_id, is_ok in zip(IDS, (True, False), strict=False):
            store.mark_ended(job_id, 9, "exit", b"\x81\xa7version\x01", started_ns=7, is_ok=is_ok)
        before = store.group(GROUP)
        for job_id in IDS[:2]:
            (host.state / "jobs" / job_id / "exit").write_bytes(b"")
            store.mark_retried(job_id, 10, by_uid=0)
            launched_again(host, store, job_id)
            attempt = host.directories.newest_attempt(job_id)
            assert attempt == 2
            store.mark_ended(job_id, 9, "exit", b"\x81\xa7version\x01", is_ok=job_id == IDS[0])
        assert before is not None
        assert (before.unended, before.failed, before.ended_ns) == (0, 1, 9)
    # As a log that lost its end leaves it.
    host.sql("DELETE FROM attempts", "UPDATE jobs SET attempt = 1, first_attempt = 1")
    for job_id in IDS[:2]:
        cgroup = f"{host.tree.root}/job-{job_id}/monitor"
        os.makedirs(cgroup)
        with open(f"{cgroup}/cgroup.procs", "w", encoding="ascii") as file:
            file.write("77\n")
    with contextlib.closing(host.open()) as store:
        group = store.group(GROUP)
        assert group is not None
        assert (group.unended, group.failed, group.ended_ns) == (2, 0, None)
        assert [(job.attempt, job.fate) for job in store.launched()] == [(2, None)] * 2
    host.open().close()
    assert "the store was damaged" not in host.said


def test_a_number_among_those_of_a_group_is_not_given_to_a_job_that_is_taken_up(
    host: Host,
) -> None:
    with contextlib.closing(host.open()) as store:
        put_group(host, store, *IDS[:3])
    # Its row is lost, and what it was of with it.
    host.sql(f"DELETE FROM jobs WHERE id = '{IDS[1]}'")
    host.sql("UPDATE groups SET unended = 2")
    with contextlib.closing(host.open()) as store:
        job = store.get(IDS[1])
        assert job is not None
        assert (job.seq, job.group_id) == (4, None)
        group = store.group(GROUP)
        listed, _ = store.list_jobs(
            submitted_by_uid=None, include_ended=True, limit=9, before=None, collapse=True
        )
        assert listed == [job, group]


def test_what_is_no_job_among_the_directories_is_left_alone(host: Host) -> None:
    for name in ("lost+found", "x\n", IDS[0].upper(), "removed-x", f"removed-{IDS[1]}"):
        (host.state / "jobs" / name).mkdir()
    with contextlib.closing(host.open()) as store:
        assert sum(store.counts().values()) == 0
    (said,) = host.of_the_store
    assert said.endswith(f"move it away: {IDS[0].upper()}, removed-x, x\\n")
    assert len(os.listdir(host.state / "jobs")) == 5


def test_of_many_strange_things_some_are_named_and_the_rest_counted(host: Host) -> None:
    for number in range(30):
        (host.state / "jobs" / f"file-{number:02}").touch()
    host.open().close()
    (said,) = host.of_the_store
    assert said.endswith("file-19 and 10 more")


def ended(store: Store, job_id: str) -> None:
    store.mark_ended(job_id, 9, "exit", b"\x81\xa7version\x01", started_ns=7, is_ok=True)


def test_an_ended_job_whose_directory_is_gone_is_said_and_one_that_never_began_is_not(
    host: Host,
) -> None:
    with contextlib.closing(host.open()) as store:
        for job_id in IDS[:4]:
            launched(host, store, new_job(job_id))
            ended(store, job_id)
        store.insert(new_job(IDS[4]))
        store.mark_ended(IDS[4], 9, "stopped", b"\x81\xa7version\x01", is_ok=False)
    for job_id in IDS[1:3]:
        shutil.rmtree(host.state / "jobs" / job_id)
    host.directories.doom(IDS[3])
    host.open().close()
    assert [text.rpartition(": ")[2] for text in host.of_the_store] == [", ".join(IDS[1:3])]


@pytest.mark.parametrize(("log_bytes", "is_said"), [(0, False), (5, True), (None, True)])
def test_a_directory_without_output_that_a_power_cut_has_taken_is_no_loss(
    host: Host, log_bytes: int | None, *, is_said: bool
) -> None:
    fields = {"reason": "exit", "exit_status": 0, "log_bytes": log_bytes}
    fields = {**dict.fromkeys(stored.RESULT_FIELDS), **fields}
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[0]))
        store.mark_ended(IDS[0], 9, "exit", records.pack(fields), started_ns=7, is_ok=True)
    shutil.rmtree(host.state / "jobs" / IDS[0])
    host.open().close()
    assert bool(host.of_the_store) is is_said


def test_a_number_of_a_removed_job_is_not_given_to_one_that_is_taken_up(host: Host) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[0]))
        launched(host, store, new_job(IDS[1]))
        ended(store, IDS[1])
        assert store.delete_ended([IDS[1]], 1, 0) == [IDS[1]]
        host.directories.doom(IDS[1])
        host.directories.remove_doomed(IDS[1])
    rewrite(host, IDS[0], lambda fields: {**fields, "row": None})
    host.sql("DELETE FROM jobs", "DELETE FROM specs")
    with contextlib.closing(host.open()) as store:
        (job,) = store.launched()
    assert job.seq == 3


def test_a_directory_that_cannot_be_taken_out_of_use_does_not_end_the_start(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[0]))
        ended(store, IDS[0])
        store.delete_ended([IDS[0]], 1, 0)
    monkeypatch.setattr(host.directories, "doom", lambda _job_id: os.rmdir("/proc"))
    host.open().close()
    (problem,) = host.problems.all()
    assert problem.job == IDS[0]
    assert "its directory stays: Device or resource busy" in problem.text


@pytest.mark.parametrize("begun", [False, True])
def test_a_full_disk_ends_the_start_only_where_a_job_would_be_run_again(
    host: Host, monkeypatch: pytest.MonkeyPatch, *, begun: bool
) -> None:
    with contextlib.closing(host.open()) as store:
        launched(host, store, new_job(IDS[0]))
        if begun:
            launched(host, store, new_job(IDS[1]))
    host.sql(f"DELETE FROM jobs WHERE id = '{IDS[0]}'", "DELETE FROM specs WHERE seq = 1")
    if begun:
        host.sql("UPDATE jobs SET state = 'queued', boot_id = NULL")
        (host.state / "jobs" / IDS[1] / "log" / "00000000000000000000.log").touch()

    def refuse(*_what: object) -> None:
        raise FullStoreError("database or disk is full. Make room")

    with monkeypatch.context() as full:
        full.setattr(taking_up, "write", refuse)
        if begun:
            with pytest.raises(FullStoreError):
                host.open()
        else:
            host.open().close()
            assert "taken up at the next start: database or disk is full" in host.said
    with contextlib.closing(host.open()) as store:
        assert len(store.launched()) == 1 + begun
