"""Directories, ends and restarts of a job with several attempts: none stands for another."""

from __future__ import annotations

import asyncio
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from runner import outcome, parsing, records, retrying, spec, stored
from runner.config import Config
from runner.disk_usage import MOST_ENTRIES, job_bytes, tree_bytes
from runner.jobdirs import JobDirectories
from runner.lifecycle import State
from runner.messages import Submit
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.users import Account
from tests.unit.runner.removal import SECOND, Bench, on_bench, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.outcome import Outcome
    from runner.rows import Job

JOB = "3f2a0000-0000-4000-8000-000000000001"
MIB = 2**20
LATER = 2**62


# --- directories ---


@pytest.fixture
def jobs(tmp_path: Path) -> Path:
    return tmp_path / "state" / "jobs"


@pytest.fixture
def directories(jobs: Path) -> Iterator[JobDirectories]:
    before = set(os.listdir("/proc/self/fd"))
    made = JobDirectories(str(jobs.parent))
    yield made
    made.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def begin_log(directories: JobDirectories, attempt: int, data: bytes = b"x") -> None:
    log = Path(directories.log_path(JOB, attempt)) / f"{0:020}.log"
    log.write_bytes(data)


def test_each_attempt_has_a_directory_of_its_own_and_nothing_is_renamed(
    directories: JobDirectories, jobs: Path
) -> None:
    inodes = {}
    for attempt in (1, 2, 3):
        files = directories.create(JOB, b"spec %d" % attempt, attempt)
        home = jobs / JOB / ("" if attempt == 1 else f"attempt-{attempt}")
        assert os.path.samestat(os.fstat(files.job_dir), home.stat())
        assert set(os.listdir(home)) >= {"control", "exit.tmp", "log", "spec"}
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        inodes[attempt] = home.stat().st_ino
        files.close()
    assert (jobs / JOB).stat().st_ino == inodes[1]
    assert [(jobs / JOB / name / "spec").read_bytes() for name in ("", "attempt-2", "attempt-3")] \
        == [b"spec 1", b"spec 2", b"spec 3"]  # fmt: skip
    assert directories.attempts(JOB) == [2, 3]
    assert directories.newest_attempt(JOB) == 3
    assert directories.strangers() == []


def test_what_an_earlier_attempt_left_says_nothing_of_a_later_one(
    directories: JobDirectories, jobs: Path
) -> None:
    directories.create(JOB, b"spec").close()
    begin_log(directories, 1)
    (jobs / JOB / "exit").write_bytes(b"a record")
    assert not directories.has_log(JOB, 2)
    assert directories.read_exit(JOB, 2) is None
    directories.create(JOB, b"spec", 2).close()
    assert (directories.has_log(JOB, 1), directories.has_log(JOB, 2)) == (True, False)
    assert (directories.has_exit(JOB, 1), directories.has_exit(JOB, 2)) == (True, False)
    # Of nobody in particular: the newest.
    assert not directories.has_log(JOB)
    assert directories.log_path(JOB) == str(jobs / JOB / "attempt-2" / "log")
    assert directories.output_bytes(JOB, 1) == 1


def test_a_second_launch_of_an_attempt_begins_that_one_afresh(
    directories: JobDirectories, jobs: Path
) -> None:
    for attempt in (1, 2, 2):
        directories.create(JOB, b"spec", attempt).close()
        assert not directories.has_log(JOB, attempt)
        begin_log(directories, attempt)
        (jobs / JOB / "mark").touch()
    assert directories.has_log(JOB, 1)
    assert (jobs / JOB / "mark").exists()


@pytest.mark.parametrize("lies_there", ["nothing", "a file", "a link"])
def test_an_attempt_whose_jobs_directory_is_gone_gets_one(
    directories: JobDirectories, jobs: Path, tmp_path: Path, lies_there: str
) -> None:
    if lies_there == "a file":
        (jobs / JOB).touch()
    elif lies_there == "a link":
        (jobs / JOB).symlink_to(tmp_path)
    directories.create(JOB, b"spec", 4).close()
    assert os.listdir(jobs / JOB) == ["attempt-4"]
    assert not (tmp_path / "attempt-4").exists()
    assert directories.read_exit(JOB, 1) is None


def test_a_monitor_is_told_by_the_directory_of_the_newest_attempt(
    directories: JobDirectories,
) -> None:
    old = directories.create(JOB, b"spec")
    new = directories.create(JOB, b"spec", 2)
    directories.send(JOB, records.CONTROL_PAUSE)
    directories.write_limits(JOB, {"timeout_seconds": 5.0})
    assert os.read(new.control, 100)
    with pytest.raises(BlockingIOError):
        os.read(old.control, 100)
    assert directories.read_limits(JOB, 1) is None
    assert directories.has_limits(JOB)
    old.close()
    new.close()


def test_a_stop_leaves_its_mark_in_the_attempt_that_was_stopped(
    directories: JobDirectories,
) -> None:
    first = directories.create(JOB, b"spec")
    assert not directories.is_stop_asked(JOB, 1)
    directories.send_stop(JOB, 1000, 3)
    directories.send_stop(JOB, 1000, 3)
    assert directories.is_stop_asked(JOB, 1)
    first.close()
    directories.create(JOB, b"spec", 2).close()
    assert (directories.is_stop_asked(JOB, 1), directories.is_stop_asked(JOB, 2)) == (True, False)
    directories.create(JOB, b"spec").close()
    assert not directories.is_stop_asked(JOB, 1)


@pytest.mark.parametrize("name", ["attempt-02", "attempt-1", "attempt-", "attempt-2x", "attempt-0"])
def test_what_only_looks_like_an_attempt_is_none(
    directories: JobDirectories, jobs: Path, name: str
) -> None:
    directories.create(JOB, b"spec").close()
    (jobs / JOB / name).mkdir()
    assert directories.attempts(JOB) == []
    assert directories.has_exit(JOB) is False


@pytest.mark.parametrize("attempt", [0, -3, 10**10])
def test_what_is_no_number_of_an_attempt_names_no_directory(
    directories: JobDirectories, attempt: int
) -> None:
    with pytest.raises(ValueError, match="not the number"):
        directories.log_path(JOB, attempt)
    with pytest.raises(ValueError, match="not the number"):
        directories.create(JOB, b"spec", attempt).close()


def test_every_attempt_is_removed_with_its_job(directories: JobDirectories, jobs: Path) -> None:
    for attempt in range(1, 5):
        directories.create(JOB, b"spec", attempt).close()
        begin_log(directories, attempt)
    directories.doom(JOB)
    directories.remove_doomed(JOB)
    assert os.listdir(jobs) == []


def test_a_directory_takes_what_all_of_its_attempts_take(
    directories: JobDirectories, jobs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert job_bytes(str(jobs / JOB)) == 0
    for attempt in (1, 2, 3):
        directories.create(JOB, b"spec", attempt).close()
        begin_log(directories, attempt, bytes(100_000))
    assert job_bytes(str(jobs / JOB)) == tree_bytes(str(jobs / JOB)) > 300_000
    asked = []
    monkeypatch.setattr("runner.disk_usage.tree_bytes", lambda _path, most: asked.append(most) or 1)
    job_bytes(str(jobs / JOB))
    assert asked == [3 * MOST_ENTRIES]


# --- ends ---


def retrying_job(job_id: str, **asked: Any) -> NewJob:
    args = {"argv": ["false"], "cwd": "/", **asked}
    request = parsing.parse(Submit, args)
    account = Account(1001, 1002, (), "alice")
    fields = spec.build(job_id, request, account, Config(), deadline_ns=asked.get("deadline_ns"))
    limits = fields["limits"]
    return NewJob(
        id=job_id, submitted_by_uid=1000, uid=1001, gid=1002, name=None, spec=spec.pack(fields),
        submitted_ns=5, deadline_ns=asked.get("deadline_ns"),
        reserved_memory_bytes=limits.get("memory_max_bytes", 0),
    )  # fmt: skip


def run(bench: Bench, job_id: str = JOB) -> Job:
    """The job's next attempt begins."""
    job = bench.store.mark_starting(job_id, 1, "boot")
    bench.directories.create(job_id, job.spec, job.attempt).close()
    return bench.store.mark_running(job_id, 77, 2, None)


def of(bench: Bench) -> Job:
    job = bench.store.get(JOB)
    assert job is not None
    return job


def failed(reason: str = "exit") -> Outcome:
    return outcome.Outcome(reason, 1 if reason == "exit" else None, None, 1)


def facts(ended_ns: int = 100 * SECOND) -> dict[str, Any]:
    return {"ended_ns": ended_ns, "started_ns": 2, "disk_bytes": 4096, "cpu_usec": 7}


def test_a_failure_is_tried_again_until_the_policy_has_no_more(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        retry = {"limit": 2, "backoff_seconds": 5, "on": ["exit", "oom"]}
        bench.store.insert(retrying_job(JOB, retry=retry))
        for attempt, reason in ((1, "exit"), (2, "oom")):
            run(bench)
            bench.ending.end(JOB, failed(reason), facts())
            job = of(bench)
            assert (job.state, job.attempt) == (State.QUEUED, attempt + 1)
            assert job.not_before_ns == (100 + 5 * attempt) * SECOND
            assert (job.started_ns, job.reason, job.result) == (None, None, None)
            assert bench.again[-1] == job
        run(bench)
        bench.ending.end(JOB, failed("exit"), facts())
        assert (of(bench).state, of(bench).reason) == (State.ENDED, "exit")
        assert (bench.ends, len(bench.again)) == (1, 2)
        earlier = bench.store.attempts(JOB)
        assert [(each.attempt, each.reason) for each in earlier] == [(1, "exit"), (2, "oom")]
        assert stored.result(earlier[0].result)["cpu_usec"] == 7

    on_bench(tmp_path, test)


def test_what_ends_well_or_has_no_policy_ends_once(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 9}))
        run(bench)
        bench.ending.end(JOB, outcome.Outcome("exit", 0, None, 0), facts())
        assert of(bench).state is State.ENDED
        other = JOB[:-1] + "2"
        bench.store.insert(retrying_job(other))
        run(bench, other)
        bench.ending.end(other, failed(), facts())
        assert (bench.ends, bench.again) == (2, [])

    on_bench(tmp_path, test)


def test_more_memory_goes_into_the_spec_and_into_what_is_promised(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        rule = {"reason": "oom", "memory_factor": 1.5, "memory_max_bytes": 200 * MIB}
        bench.store.insert(
            retrying_job(
                JOB,
                limits={"memory_max_bytes": 100 * MIB},
                retry={"limit": 5, "rules": [rule]},
            )
        )
        bench.most_memory = 180 * MIB
        sizes = []
        for _ in range(3):
            run(bench)
            bench.ending.end(JOB, failed("oom"), facts())
            limit = stored.spec(of(bench))["limits"]["memory_max_bytes"]
            sizes.append((limit // MIB, of(bench).reserved_memory_bytes // MIB))
        assert sizes == [(150, 150), (200, 180), (200, 180)]

    on_bench(tmp_path, test)


def test_after_a_stop_nothing_is_tried_again_however_it_ended(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 9}))
        run(bench)
        bench.directories.send_stop(JOB, 1000, 5)
        # Its command was about to fail just then.
        bench.ending.end(JOB, failed(), facts())
        assert (of(bench).state, of(bench).reason) == (State.ENDED, "exit")
        assert bench.again == []

    on_bench(tmp_path, test)


def test_where_it_is_not_known_whether_a_stop_was_asked_nothing_is_tried_again(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 9}))
        run(bench)
        path = Path(bench.directories.path) / JOB
        path.rename(tmp_path / "elsewhere")
        path.touch()
        bench.ending.end(JOB, failed(), facts())
        assert of(bench).state is State.ENDED
        (problem,) = bench.problems.all()
        assert "not retried" in problem.text

    on_bench(tmp_path, test)


def test_a_stop_between_two_attempts_ends_the_job(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 9, "backoff_seconds": 1000}))
        run(bench)
        bench.ending.end(JOB, failed(), facts())
        bench.ending.end(JOB, outcome.stopped_in_queue(1000), {})
        assert (of(bench).state, of(bench).reason) == (State.ENDED, "stopped")

    on_bench(tmp_path, test)


def test_a_launch_that_failed_is_tried_again_where_that_was_asked(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 1, "on": ["launch-error"]}))
        for state in (State.QUEUED, State.ENDED):
            bench.store.mark_starting(JOB, 1, "boot")
            bench.ending.end(JOB, outcome.never_started("no cgroup"), {})
            assert of(bench).state is state
        assert bench.store.attempts(JOB)[0].started_ns is None

    on_bench(tmp_path, test)


def test_where_its_users_jobs_fill_the_disk_a_job_is_not_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bench: Bench) -> None:
        bench.most_log_bytes = 1000
        bench.ended(uid=5, size=100)
        bench.ended(uid=6, size=5000)
        others = f"{JOB[:-1]}2"
        for job_id in (JOB, others):
            bench.store.insert(retrying_job(job_id, retry={"limit": 9}))
        owner = of(bench).submitted_by_uid
        bench.ended(uid=owner, size=100)
        run(bench, others)
        bench.ending.end(others, failed(), {"disk_bytes": 300})
        # It has 100 bytes more each time: 599 and what the others take is just below.
        for size, state in ((599, State.QUEUED), (600, State.ENDED)):
            run(bench)
            bench.ending.end(JOB, failed(), {"disk_bytes": size})
            assert of(bench).state is state
        assert of(bench).reason == "exit"
        assert bench.store.ended.total(owner).bytes == 700

    on_bench(tmp_path, test)
    assert "quotas.max_log_bytes" in caplog.text


def test_an_attempt_that_never_began_takes_what_those_before_did(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.most_log_bytes = 1000
        bench.store.insert(retrying_job(JOB, retry={"limit": 9, "on": ["launch-error", "exit"]}))
        run(bench)
        bench.ending.end(JOB, failed(), {"disk_bytes": 999})
        bench.store.mark_starting(JOB, 1, "boot")
        bench.ending.end(JOB, outcome.never_started("no cgroup"), {})
        assert of(bench).state is State.QUEUED
        assert bench.store.tried_bytes(of(bench).submitted_by_uid) == {JOB: 999}

    on_bench(tmp_path, test)


def test_a_retry_that_could_only_come_after_the_deadline_is_none(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        retry = {"limit": 9, "backoff_seconds": 10}
        bench.store.insert(retrying_job(JOB, retry=retry, deadline_ns=LATER))
        run(bench)
        bench.ending.end(JOB, failed(), facts(LATER - 11 * SECOND))
        assert of(bench).state is State.QUEUED
        run(bench)
        bench.ending.end(JOB, failed(), facts(LATER - 11 * SECOND))
        assert (of(bench).state, of(bench).reason) == (State.ENDED, "exit")

    on_bench(tmp_path, test)


def test_a_spec_that_is_damaged_is_not_tried_again(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        job_id = bench.queued()
        bench.store.mark_starting(job_id, 1, "boot")
        bench.ending.end(job_id, failed("launch-error"), {"disk_bytes": 1})
        assert bench.ends == 1
        job = bench.store.get(job_id)
        assert job is not None
        with pytest.raises(Refusal) as caught:
            bench.ending.again(job, 0)
        assert caught.value.code == "job-state"

    on_bench(tmp_path, test)


def test_a_job_has_so_many_attempts_of_itself_and_by_hand_and_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retrying, "MOST_ATTEMPTS", 3)

    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 9}))
        for state in (State.QUEUED, State.QUEUED, State.ENDED):
            run(bench)
            bench.ending.end(JOB, failed(), facts())
            assert of(bench).state is state
        with pytest.raises(Refusal) as caught:
            bench.ending.again(of(bench), 0)
        assert caught.value.code == "job-state"
        assert "it has had 3 attempts" in caught.value.fields["detail"]
        assert (of(bench).state, of(bench).attempt) == (State.ENDED, 3)

    on_bench(tmp_path, test)


def test_the_record_of_the_attempt_before_does_not_end_this_one(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 1}))
        run(bench)
        fields = {**dict.fromkeys(stored.RESULT_FIELDS), "job": JOB, "started_ns": 2, "ended_ns": 3}
        record = records.pack({**fields, "reason": "exit", "exit_code": 3, "exit_status": 3})
        (Path(bench.directories.path) / JOB / "exit").write_bytes(record)
        bench.ending.end(JOB, failed(), facts())
        run(bench)
        quiet: Any = bench.ending
        quiet._last_usage = lambda _job_id: {}
        quiet._remove_cgroup = lambda _job_id: None
        await bench.ending.finish(JOB)
        assert (of(bench).state, of(bench).reason) == (State.ENDED, "lost")

    on_bench(tmp_path, test)


def test_a_lost_attempt_is_tried_again_when_that_was_asked(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 1, "on": ["lost"]}))
        quiet: Any = bench.ending
        quiet._last_usage = lambda _job_id: {}
        quiet._remove_cgroup = lambda _job_id: None
        for state in (State.QUEUED, State.ENDED):
            run(bench)
            await bench.ending.lose(JOB, "its monitor is gone")
            assert of(bench).state is state

    on_bench(tmp_path, test)


def test_whoever_waits_for_the_job_hears_of_its_next_attempt(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 1}))
        run(bench)
        change = bench.changes.next(JOB)
        bench.ending.end(JOB, failed(), facts())
        async with asyncio.timeout(5):
            await change

    on_bench(tmp_path, test)


# --- by hand ---


def test_by_hand_a_job_that_has_ended_is_queued_and_its_retries_count_anew(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 1}))
        for state in (State.QUEUED, State.ENDED):
            run(bench)
            bench.ending.end(JOB, failed(), facts())
            assert of(bench).state is state
        job = bench.ending.again(of(bench), 1000)
        assert (job.state, job.attempt, job.first_attempt) == (State.QUEUED, 3, 3)
        assert bench.again[-1] == job
        for state in (State.QUEUED, State.ENDED):
            run(bench)
            bench.ending.end(JOB, failed(), facts())
            assert of(bench).state is state
        assert of(bench).attempt == 4

    on_bench(tmp_path, test)


@pytest.mark.parametrize("is_running", [False, True])
def test_by_hand_nothing_else_is_queued(tmp_path: Path, *, is_running: bool) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB))
        if is_running:
            run(bench)
        with pytest.raises(Refusal) as caught:
            bench.ending.again(of(bench), 0)
        assert caught.value.code == "job-state"
        assert "only a job that has ended" in str(caught.value.fields)
        assert bench.again == []

    on_bench(tmp_path, test)


def test_by_hand_a_deadline_that_has_passed_counts_no_more(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        for number, deadline in ((1, 7), (2, LATER)):
            job_id = JOB[:-1] + str(number)
            bench.store.insert(retrying_job(job_id, deadline_ns=deadline))
            run(bench, job_id)
            bench.ending.end(job_id, failed("deadline"), facts())
            job = bench.store.get(job_id)
            assert job is not None
            again = bench.ending.again(job, 0)
            left = None if number == 1 else LATER
            assert (again.deadline_ns, stored.spec(again)["deadline_ns"]) == (left, left)
            assert again.spec == job.spec

    on_bench(tmp_path, test)


def test_a_job_that_is_queued_again_is_not_removed_by_who_still_held_it_for_ended(
    tmp_path: Path,
) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB))
        run(bench)
        bench.ending.end(JOB, failed(), facts())
        ended = of(bench)
        bench.ending.again(ended, 0)
        with pytest.raises(Refusal) as caught:
            await bench.removing.remove(ended, 0)
        assert caught.value.code == "job-active"
        assert await bench.removing.remove_ended([JOB], 0) == []
        assert bench.left() == {JOB}

    on_bench(tmp_path, test)


def test_an_ended_job_is_measured_with_all_of_its_attempts(tmp_path: Path) -> None:
    async def test(bench: Bench) -> None:
        bench.store.insert(retrying_job(JOB, retry={"limit": 1}))
        for _ in range(2):
            job = run(bench)
            log = Path(bench.directories.log_path(JOB, job.attempt)) / f"{0:020}.log"
            log.write_bytes(bytes(50_000))
            bench.ending.end(JOB, failed(), {"ended_ns": 9})
        size = tree_bytes(f"{bench.directories.path}/{JOB}")
        await until(lambda: of(bench).disk_bytes == size > 100_000)

    on_bench(tmp_path, test)
