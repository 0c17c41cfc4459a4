"""After a restart: every row of the table, and facts that are the kernel's and the disk's."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation.cgroups.tree import CgroupTree
from runner import records, stored
from runner.jobdirs import JobDirectories
from runner.lifecycle import State
from runner.reconcile import Facts, Verdict, boot_id, examine, is_frozen, is_passing, judge
from runner.rows import Job
from runner.taken_rows import UNKNOWN_BOOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JOB = "3f2a0000-0000-4000-8000-000000000001"
ANOTHER_BOOT = "00000000-0000-0000-0000-000000000000"
EXIT: dict[str, Any] = {
    "version": 1, **dict.fromkeys(stored.RESULT_FIELDS),
    "job": JOB, "reason": "exit", "exit_status": 0, "started_ns": 1, "ended_ns": 2,
}  # fmt: skip


def facts(**changes: object) -> Facts:
    nothing: dict[str, Any] = {"exit_record": None, "pidfd": None, "pid": None, "has_log": False}
    return Facts(**{**nothing, **changes})


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.PAUSED])
@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (facts(exit_record=EXIT), Verdict.FINISH),
        (facts(exit_record=EXIT, pidfd=3, pid=7, has_log=True), Verdict.FINISH),
        (facts(exit_record=EXIT, is_launch_known=False), Verdict.FINISH),
        (facts(pidfd=3, pid=7), Verdict.WATCH),
        (facts(pidfd=3, pid=7, has_log=True), Verdict.WATCH),
        (facts(has_log=True), Verdict.LOST),
        (facts(has_log=True, is_launch_known=False), Verdict.LOST),
        (facts(is_launch_known=False), Verdict.LOST),
        (facts(damage="torn"), Verdict.LOST),
        (facts(damage="torn", has_log=True), Verdict.LOST),
        (facts(cut="the machine went down"), Verdict.LOST),
        (facts(exit_record=EXIT, cut="the machine went down"), Verdict.FINISH),
    ],
)
def test_each_row_of_the_table(state: State, found: Facts, verdict: Verdict) -> None:
    assert judge(state, found) is verdict


def test_a_job_whose_launch_is_known_and_left_nothing_is_queued_again() -> None:
    assert judge(State.STARTING, facts()) is Verdict.REQUEUE


def test_a_job_that_was_running_is_never_run_a_second_time() -> None:
    assert judge(State.RUNNING, facts()) is Verdict.LOST
    assert judge(State.PAUSED, facts()) is Verdict.LOST


@given(
    state=st.sampled_from([State.STARTING, State.RUNNING]),
    found=st.builds(
        Facts,
        exit_record=st.none() | st.just(EXIT),
        pidfd=st.none() | st.just(3),
        pid=st.just(7),
        has_log=st.booleans(),
        is_launch_known=st.booleans(),
        damage=st.none() | st.just("torn"),
        cut=st.none() | st.just("the machine went down"),
        frozen=st.just(value=False),
        begun_ns=st.none(),
    ),
)
def test_a_job_runs_again_only_when_nothing_at_all_says_that_it_may_have_run(
    state: State, found: Facts
) -> None:
    if judge(state, found) is Verdict.REQUEUE:
        assert state is State.STARTING
        assert found == facts(pid=7)


def test_the_boot_has_a_name_that_stays() -> None:
    assert boot_id() == boot_id()
    assert len(boot_id()) == 36


class Host:
    """A state directory and ordinary files where the kernel would show a job's cgroups."""

    def __init__(self, path: Path) -> None:
        self.directories = JobDirectories(str(path / "state"))
        self.root = path / "cgroup"
        self.root.mkdir()
        self.tree = CgroupTree(str(self.root))

    def make_cgroup(self, *pids: int) -> None:
        for name in ("monitor", "payload"):
            (self.root / f"job-{JOB}" / name).mkdir(parents=True)
        procs = self.root / f"job-{JOB}" / "monitor" / "cgroup.procs"
        procs.write_text("".join(f"{pid}\n" for pid in pids))

    def make_directory(self) -> Path:
        self.directories.create(JOB, b"spec").close()
        return self.root.parent / "state" / "jobs" / JOB

    def examine(self, *, boot: str | None = None, **changes: Any) -> Facts:
        made = msgspec.structs.replace(job(boot or boot_id()), **changes)
        return examine(made, self.tree, self.directories)


def job(boot: str) -> Job:
    return Job(
        seq=1, id=JOB, submitted_by_uid=0, uid=0, gid=0, name=None, state=State.STARTING,
        submitted_ns=1, started_ns=None, ended_ns=None, boot_id=boot, monitor_pid=None,
        limits=None, reason=None, result=None, spec=b"spec",
    )  # fmt: skip


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    before = set(os.listdir("/proc/self/fd"))
    made = Host(tmp_path)
    yield made
    made.directories.close()
    assert set(os.listdir("/proc/self/fd")) <= before


def test_a_job_of_which_nothing_is_left_has_no_facts(host: Host) -> None:
    assert host.examine() == facts()
    host.make_cgroup()
    host.make_directory()
    assert host.examine() == facts()


def test_a_launch_of_any_boot_is_known_but_not_one_that_the_store_has_lost(host: Host) -> None:
    assert host.examine(boot=ANOTHER_BOOT).is_launch_known
    assert not host.examine(boot=UNKNOWN_BOOT).is_launch_known


def test_a_record_that_a_power_cut_left_blank_or_torn_is_none_and_no_damage(host: Host) -> None:
    path = host.make_directory() / "exit"
    for left in (b"", bytes(200), records.pack(EXIT)[:50] + bytes(50)):
        path.write_bytes(left)
        found = host.examine(boot=ANOTHER_BOOT)
        assert (found.exit_record, found.damage) == (None, None)
        assert found.cut == "the machine went down before its end was on the disk"
        assert judge(State.STARTING, found) is Verdict.LOST
        # In this boot nothing can have cut it.
        found = host.examine()
        assert (found.cut, str(found.damage)[:25]) == (None, "its exit record cannot be")


def test_a_record_that_is_whole_counts_in_any_boot(host: Host) -> None:
    (host.make_directory() / "exit").write_bytes(records.pack(EXIT))
    for boot in (boot_id(), ANOTHER_BOOT, UNKNOWN_BOOT):
        found = host.examine(boot=boot, at_once=1)
        assert judge(State.STARTING, found) is Verdict.FINISH


def test_a_launch_that_was_on_the_disk_before_its_log_may_have_run_when_the_machine_went_down(
    host: Host,
) -> None:
    host.make_directory()
    found = host.examine(boot=ANOTHER_BOOT, at_once=1)
    assert "may have run" in str(found.cut)
    assert judge(State.STARTING, found) is Verdict.LOST
    # One whose log had to be there first did not run, and in this boot what was written is there.
    for left in (host.examine(boot=ANOTHER_BOOT), host.examine(at_once=1)):
        assert left == facts()
        assert judge(State.STARTING, left) is Verdict.REQUEUE


def test_of_a_job_that_ran_when_the_machine_went_down_it_is_said_so(host: Host) -> None:
    (host.make_directory() / "log" / f"{0:020}.log").touch()
    for changes in ({"at_once": 1}, {"at_once": 0}, {"state": State.RUNNING}):
        found = host.examine(boot=ANOTHER_BOOT, **changes)
        assert found.cut == "the machine went down before its end was on the disk"


def test_a_monitor_is_the_process_in_the_jobs_own_cgroup(host: Host) -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        host.make_cgroup(process.pid)
        found = host.examine()
        assert found.pid == process.pid
        assert found.pidfd is not None
        process.communicate()
        # pidfd_open(2): readable when that very process has ended.
        assert select.select([found.pidfd], [], [], 10)[0]
        os.close(found.pidfd)


@pytest.mark.parametrize("frozen", [False, True])
def test_whether_a_job_is_frozen_is_what_the_kernel_was_told(host: Host, *, frozen: bool) -> None:
    host.make_cgroup()
    payload = host.root / f"job-{JOB}" / "payload"
    (payload / "cgroup.freeze").write_text(f"{int(frozen)}\n")
    (payload / "cgroup.events").write_text(f"populated 1\nfrozen {int(frozen)}\n")
    assert host.examine().frozen == frozen
    cgroup = host.tree.job(JOB)
    assert cgroup is not None
    assert is_frozen(cgroup) == frozen
    (payload / "cgroup.events").unlink()
    assert not is_frozen(cgroup)


def test_a_pid_that_is_gone_is_no_monitor(host: Host) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
        host.make_cgroup(process.pid)
        assert host.examine() == facts()


def test_a_pid_that_left_the_cgroup_before_it_was_held_is_no_monitor(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is there, but the cgroup no longer says that it is the monitor."""
    host.make_cgroup(os.getpid())
    held = os.pidfd_open

    def open_and_recycle(pid: int) -> int:
        (host.root / f"job-{JOB}" / "monitor" / "cgroup.procs").write_text("")
        return held(pid)

    monkeypatch.setattr(os, "pidfd_open", open_and_recycle)
    assert host.examine() == facts()


def test_a_log_that_was_begun_and_an_exit_record_are_found(host: Host) -> None:
    directory = host.make_directory()
    (directory / "log" / "00000000000000000000.log").touch()
    assert host.examine() == facts(has_log=True)
    (directory / "exit").write_bytes(records.pack(EXIT))
    assert host.examine() == facts(has_log=True, exit_record=EXIT)


@pytest.mark.parametrize("content", [b"", b"\0" * 4096, b"torn", records.pack({"a": 1})[:-1]])
def test_a_record_that_cannot_be_read_is_damage_and_not_a_missing_one(
    host: Host, content: bytes
) -> None:
    (host.make_directory() / "exit").write_bytes(content)
    found = host.examine()
    assert found.exit_record is None
    assert found.damage is not None
    assert found.damage.startswith("its exit record cannot be read: ")


def test_a_record_that_is_no_file_is_damage(host: Host) -> None:
    os.mkfifo(host.make_directory() / "exit")
    assert host.examine().damage is not None


def test_a_host_that_is_short_of_descriptors_says_nothing_of_a_job(host: Host) -> None:
    (host.make_directory() / "exit").write_bytes(b"")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 1, before[1]))
        with pytest.raises(OSError, match="Too many open files") as caught:
            while True:
                taken.append(os.dup(0))
        assert is_passing(caught.value)
        with pytest.raises(OSError, match="Too many open files"):
            host.examine()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for fd in taken:
            os.close(fd)
    assert host.examine().damage is not None
