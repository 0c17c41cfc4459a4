"""One launch: what is made for it, what is written down; nothing stays of one that fails."""

from __future__ import annotations

import asyncio
import errno
import os
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from isolation.cgroups.limit_kinds import AppliedLimits, JobLimits
from isolation.cgroups.tree import JobFds
from isolation.errors import CgroupError, LimitUnavailable
from runner import records, stored
from runner.group_rows import About, NewGroup
from runner.handles import Given
from runner.jobdirs import JobDirectories
from runner.launch_answers import Launched, LauncherGoneError, LaunchError
from runner.launches import group_of
from runner.launching import CannotLaunchError, HostShortError, Launching, Started
from runner.provisions import Provisions
from runner.refusal import Refusal
from runner.rows import Job
from runner.store import Store
from runner.taking_up import row_of
from tests.unit.runner.test_taking_up import IDS, new_job

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.group_rows import Group
    from runner.handles import Handles
    from runner.launching import Begun

FIELDS = JobLimits.__dataclass_fields__


class Cgroup:
    """A job's three cgroups, as one ordinary directory."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def apply(self, limits: JobLimits) -> AppliedLimits:
        assert limits.monitor_memory_max_bytes == 7_000_009
        self._host.step("limits")
        return AppliedLimits(**{name: getattr(limits, name) for name in FIELDS})

    def open_fds(self) -> JobFds:
        self._host.step("cgroup descriptors")
        return JobFds(*(os.open("/", os.O_RDONLY | os.O_CLOEXEC) for _ in range(3)))

    def remove(self) -> None:
        self._host.there = False
        self._host.step("removal")


class Host:
    """Everything that a launch needs; `fails` says which step goes wrong, and how."""

    def __init__(self, base: Path) -> None:
        self.directories = JobDirectories(str(base))
        self.fails: dict[str, Exception] = {}
        self.steps: list[str] = []
        self.there = False
        self.handles: Handles | None = None
        self.asked: list[tuple[Any, ...]] = []
        self.is_there = True

    def step(self, name: str) -> None:
        self.steps.append(name)
        if name in self.fails:
            raise self.fails[name]

    # As the tree
    def create_job(self, _job_id: str) -> Cgroup:
        self.step("cgroups")
        self.there = True
        return Cgroup(self)

    def job(self, _job_id: str) -> Cgroup | None:
        return Cgroup(self) if self.there else None

    def cap(self, spec: dict[str, Any], limits: dict[str, Any]) -> int:
        assert spec["limits"] == limits
        return 7_000_000 + limits["timeout_seconds"]

    # As the provisions
    async def provide(self, _job_id: str, _spec: Any, opened: Any) -> Provisions:
        self.step("provisions")
        network = os.open("/", os.O_RDONLY | os.O_CLOEXEC)
        opened.callback(os.close, network)
        return Provisions({"network": network}, Given({}, (700_000, 700_000)), 700_000, None)

    async def release(self, _job_id: str) -> None:
        self.step("release")

    def at_hand(self, _spec: Any) -> Provisions | None:
        self.step("at hand")
        return Provisions({}, Given(), None, None)

    # As the paths
    async def find_devices(self, _spec: Any) -> dict[bytes, tuple[str, ...]]:
        self.step("devices")
        return {}

    # As the launchers
    async def launch(
        self,
        job_id: str,
        handles: Handles,
        _given: Given,
        spec: dict[str, Any],
        *,
        sync_begin: bool,
    ) -> Launched:
        assert spec["job"] == job_id
        assert sync_begin
        self.handles = handles
        for fd in handles.present().values():
            os.fstat(fd)
        self.step("launcher")
        return Launched(77, -1)

    def takes(self, _spec: Any) -> bool:
        return True

    def begin(
        self, spec: dict[str, Any], present: dict[str, int], done: Any, *, sync_begin: bool
    ) -> bool:
        assert sync_begin
        for fd in present.values():
            os.fstat(fd)
        self.asked.append((spec["job"], sorted(present), done))
        self.step("launcher")
        return self.is_there


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    before = set(os.listdir("/proc/self/fd"))
    made = Host(tmp_path)
    yield made
    made.directories.close()
    assert set(os.listdir("/proc/self/fd")) <= before


class Pool(ThreadPoolExecutor):
    """A thread, and how often it was asked for something."""

    def __init__(self) -> None:
        super().__init__(1)
        self.asked = 0

    def submit(self, *args: Any, **named: Any) -> Any:
        self.asked += 1
        return super().submit(*args, **named)


def launch(
    host: Host,
    job: Job,
    labels: dict[str, str] | None = None,
    group: tuple[Group, About] | None = None,
    pool: Pool | None = None,
) -> Started:
    async def once() -> Started:
        with pool or Pool() as given:
            parts: Any = SimpleNamespace(host=host)
            made = Launching(
                directories=parts.host.directories,
                tree=parts.host,
                provisions=parts.host,
                launchers=parts.host,
                pool=given,
                paths=parts.host,
                cap_monitor=parts.host.cap,
            )
            return await made.launch(job, labels or {}, group)

    return asyncio.run(once())


@pytest.fixture
def job(tmp_path: Path) -> Job:
    store = Store.open(str(tmp_path / "db"))
    store.insert(new_job(IDS[0], submitted_ns=55, timeout_seconds=9))
    job = store.mark_starting(IDS[0], 1, "boot")
    store.close()
    return job


def test_a_launch_gives_the_monitor_and_the_limits_as_they_were_read_back(
    host: Host, job: Job
) -> None:
    started = launch(host, job)
    assert started.monitor == Launched(77, -1)
    assert stored.limits(started.limits)["timeout_seconds"] == 9
    assert host.steps == [
        "devices", "provisions", "cgroups", "limits", "cgroup descriptors", "launcher",
    ]  # fmt: skip
    # All of them were lent.
    assert host.handles is not None
    for fd in host.handles.present().values():
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


def with_spec(job: Job, **fields: Any) -> Job:
    return msgspec.structs.replace(job, spec=stored.pack_spec({**stored.spec(job), **fields}))


def test_an_ordinary_launch_needs_no_other_thread_and_one_that_may_wait_has_one(
    host: Host, job: Job
) -> None:
    pool = Pool()
    launch(host, job, pool=pool)
    assert pool.asked == 0
    limits = stored.spec(job)["limits"]
    for slow in (
        with_spec(job, limits={**limits, "cpu_set": "0"}),
        with_spec(job, limits={**limits, "io_weight": 50}),
        with_spec(job, env={b"A": bytes(70_000)}),
    ):
        pool = Pool()
        launch(host, slow, pool=pool)
        assert pool.asked == 1


def test_the_directory_says_what_a_lost_row_said(host: Host, job: Job) -> None:
    launch(host, job, {"team": "blue"})
    fields = host.directories.read_spec(job.id)
    assert fields["row"] == {**row_of(job), "labels": {"team": "blue"}}
    assert {"seq": job.seq, "submitted_ns": 55}.items() <= fields["row"].items()
    assert host.directories.read_base(job.id) == 700_000
    assert (fields["argv"], fields["uid"]) == ([b"echo"], 1001)
    assert fields["limits"]["timeout_seconds"] == 9


def test_a_job_finds_its_id_and_its_attempt_over_what_it_was_given(host: Host, job: Job) -> None:
    fields = stored.spec(job)
    # As of a job that submits another.
    fields["env"] = {b"RUNNERD_ATTEMPT": b"7", b"RUNNERD_JOB": b"another", b"A": b"b"}
    job = msgspec.structs.replace(job, spec=stored.pack_spec(fields))
    launch(host, job)
    launch(host, msgspec.structs.replace(job, attempt=3))
    for attempt in (1, 3):
        assert host.directories.read_spec(job.id, attempt)["env"] == {
            b"A": b"b", b"RUNNERD_JOB": job.id.encode(), b"RUNNERD_ATTEMPT": b"%d" % attempt,
        }  # fmt: skip
    assert host.directories.attempts(job.id) == [3]


def array_of(store: Store) -> Group:
    common = new_job("g", timeout_seconds=9)
    group = NewGroup(
        id="g", submitted_by_uid=1000, kind="array", name=None, submitted_ns=1, max_running=None,
        idempotency_key=None, digest=b"", spec=common.spec,
        about=msgspec.msgpack.encode(About(ranges=[(4, 8, 4)])),
    )  # fmt: skip
    jobs = [
        msgspec.structs.replace(common, id=job_id, spec=b"", group_id="g", member=member)
        for job_id, member in ((IDS[1], 4), (IDS[2], 8))
    ]
    return store.insert_group(group, jobs)


def test_a_job_of_a_group_finds_that_in_its_environment(host: Host, tmp_path: Path) -> None:
    with closing(Store.open(str(tmp_path / "db"))) as store:
        array_of(store)
        job = store.mark_starting(IDS[2], 1, "boot")
        launch(host, job, group=group_of(store, job))
    fields = host.directories.read_spec(job.id)
    assert fields["job"] == job.id
    told = {b"RUNNERD_GROUP": b"g", b"RUNNERD_ARRAY_INDEX": b"8", b"RUNNERD_ARRAY_FIRST": b"4"}
    assert told.items() <= fields["env"].items()


def test_a_job_whose_group_is_lost_or_damaged_is_not_launched(tmp_path: Path) -> None:
    with closing(Store.open(str(tmp_path / "db"))) as store:
        store.insert(new_job(IDS[0]))
        alone = store.mark_starting(IDS[0], 1, "boot")
        assert group_of(store, alone) is None
        lost = msgspec.structs.replace(alone, group_id="gone", member=1)
        with pytest.raises(CannotLaunchError, match="its group gone is lost"):
            group_of(store, lost)
        array_of(store)
        job = store.mark_starting(IDS[1], 1, "boot")
        store._db.execute("UPDATE groups SET about = x'c1'")
        with pytest.raises(CannotLaunchError, match="damaged"):
            group_of(store, job)


FAILURES: dict[str, Exception] = {
    "devices": LookupError("there is no disk below /x"),
    "provisions": Refusal("invalid-argument", field="network"),
    "cgroups": CgroupError(17, "mkdir", "/x"),
    "limits": LimitUnavailable("memory.max", why="no controller", remedy="enable it"),
    "cgroup descriptors": CgroupError(24, "open", "/x"),
    "launcher": LaunchError("clone3 failed"),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_launch_that_fails_leaves_nothing_and_says_why(host: Host, job: Job, step: str) -> None:
    host.fails[step] = FAILURES[step]
    with pytest.raises(CannotLaunchError) as error:
        launch(host, job)
    assert str(error.value)
    assert not host.there
    assert host.steps[-1] == "release"


@pytest.mark.parametrize(
    ("number", "why", "remedy"),
    [(errno.ENOSPC, "No space left on device", "runctl prune"),
     (errno.EROFS, "Read-only file system", "writable"),
     (errno.EPERM, "Operation not permitted", "")],
)  # fmt: skip
def test_a_directory_that_cannot_be_made_is_said_in_words(
    host: Host, job: Job, monkeypatch: pytest.MonkeyPatch, number: int, why: str, remedy: str
) -> None:
    def refuse(job_id: str, _spec: bytes, _attempt: int) -> None:
        raise OSError(number, os.strerror(number), job_id)

    monkeypatch.setattr(host.directories, "create", refuse)
    with pytest.raises(CannotLaunchError) as error:
        launch(host, job)
    text = str(error.value)
    assert text.startswith(f"make its directory in {host.directories.path}: {why}")
    assert remedy in text
    assert "Errno" not in text
    assert job.id not in text


PASSING = [
    *[(step, CgroupError(number, "open", "/x")) for number in (errno.EMFILE, errno.ENFILE)
      for step in ("devices", "provisions", "cgroups", "limits", "cgroup descriptors")],
    ("limits", CgroupError(errno.ENOMEM, "write", "/x")),
    ("provisions", OSError(errno.EMFILE, "Too many open files")),
    ("cgroups", CgroupError(errno.EAGAIN, "mkdir", "/x")),
    ("cgroups", CgroupError(errno.ENOSPC, "mkdir", "/x")),
]  # fmt: skip


@pytest.mark.parametrize(("step", "error"), PASSING)
@pytest.mark.parametrize("attempt", [1, 2])
def test_what_the_host_lacks_for_now_is_not_the_jobs_and_leaves_no_directory(
    host: Host, job: Job, step: str, error: OSError, attempt: int
) -> None:
    if attempt > 1:
        host.directories.create(job.id, b"first").close()
    host.fails[step] = error
    with pytest.raises(HostShortError, match=str(error.strerror)):
        launch(host, msgspec.structs.replace(job, attempt=attempt))
    assert not host.there
    assert host.directories.attempts(job.id) == []
    assert host.directories.ids() == ([job.id] if attempt > 1 else [])


@pytest.mark.parametrize(
    ("step", "error"),
    [*FAILURES.items(), ("limits", CgroupError(errno.ENOSPC, "write", "/x")),
     ("provisions", OSError(errno.ENOSPC, "No space left on device"))],
)  # fmt: skip
def test_what_the_job_asked_for_is_its_own(
    host: Host, job: Job, step: str, error: Exception
) -> None:
    """ENOSPC of a namespace or a processor is no full disk, and may last for ever."""
    host.fails[step] = error
    with pytest.raises(CannotLaunchError) as caught:
        launch(host, job)
    assert isinstance(caught.value, HostShortError) == (step == "cgroup descriptors")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS])
def test_a_full_disk_is_the_hosts_and_a_broken_one_is_said_of_the_job(
    host: Host, job: Job, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    made = os.mkdir

    def full(path: str, *args: Any, **options: Any) -> None:
        if path == "log":
            raise OSError(number, os.strerror(number), path)
        made(path, *args, **options)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(CannotLaunchError) as caught:
        launch(host, job)
    is_short = number != errno.EROFS
    assert isinstance(caught.value, HostShortError) == is_short
    assert host.directories.ids() == ([] if is_short else [job.id])


def test_a_directory_that_cannot_be_removed_does_not_hide_what_is_lacking(
    host: Host, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_job_id: str, _attempt: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(host.directories, "discard", refuse)
    host.fails["cgroups"] = CgroupError(errno.EAGAIN, "mkdir", "/x")
    with pytest.raises(HostShortError, match="EAGAIN"):
        launch(host, job)


def test_another_error_of_the_system_is_said_in_words_too(host: Host, job: Job) -> None:
    host.fails["launcher"] = OSError(errno.ENOENT, "No such file or directory", "/x")
    with pytest.raises(CannotLaunchError, match=r"^/x: No such file or directory$"):
        launch(host, job)


def test_what_cannot_be_taken_back_does_not_hide_why_it_failed(host: Host, job: Job) -> None:
    host.fails = {"launcher": LaunchError("clone3 failed"), "removal": CgroupError(16, "rmdir", ""),
                  "release": OSError("the network stays")}  # fmt: skip
    with pytest.raises(CannotLaunchError, match="clone3 failed"):
        launch(host, job)


def test_a_launch_whose_outcome_is_not_known_takes_nothing_back(host: Host, job: Job) -> None:
    """Its monitor may run: somebody else looks for it."""
    host.fails["launcher"] = LauncherGoneError("it ended")
    with pytest.raises(LauncherGoneError):
        launch(host, job)
    assert host.there
    assert host.steps[-1] == "launcher"


@pytest.mark.parametrize("spec", [b"", b"\x93garbled", records.pack({"job": "another"})])
def test_a_damaged_spec_is_not_launched(host: Host, job: Job, spec: bytes) -> None:
    fields = {name: getattr(job, name) for name in Job.__struct_fields__}
    with pytest.raises(CannotLaunchError):
        launch(host, Job(**{**fields, "spec": spec}))
    assert host.steps == ["release"]
    assert not (Path(host.directories.path) / job.id).exists()


def begin(host: Host, job: Job, **replaced: Any) -> tuple[bool, list[Begun]]:
    """Whether the job was launched at once, and what was told of it so far."""
    came: list[Begun] = []
    parts: Any = SimpleNamespace(host=host)
    made = Launching(
        directories=parts.host.directories, tree=parts.host, provisions=parts.host,
        launchers=parts.host, pool=parts.host, paths=parts.host, cap_monitor=parts.host.cap,
    )  # fmt: skip
    changed = msgspec.structs.replace(job, **replaced)
    return made.begin(changed, {"team": "blue"}, None, came.append), came


def test_a_plain_job_is_made_and_asked_for_in_one_go(host: Host, job: Job) -> None:
    assert begin(host, job) == (True, [])
    assert host.steps == ["at hand", "cgroups", "limits", "cgroup descriptors", "launcher"]
    ((asked, names, _),) = host.asked
    assert (asked, names) == (
        job.id,
        ["control", "job_cgroup", "job_dir", "log_dir", "monitor_cgroup", "payload_cgroup"],
    )
    assert host.directories.read_spec(job.id)["row"] == row_of(job, {"team": "blue"})


def test_what_came_of_it_is_told_once_it_is_known(host: Host, job: Job) -> None:
    _, came = begin(host, job)
    host.asked[0][2](Launched(77, -1))
    host.asked[0][2](LaunchError("no clone"))
    (started, refused) = came
    assert isinstance(started, Started)
    assert started.monitor == Launched(77, -1)
    assert stored.limits(started.limits)["timeout_seconds"] == 9
    assert isinstance(refused, LaunchError)


@pytest.mark.parametrize("step", ["cgroups", "limits", "cgroup descriptors", "launcher"])
def test_what_fails_at_once_is_told_and_is_to_be_taken_back(
    host: Host, job: Job, step: str
) -> None:
    host.fails[step] = FAILURES[step]
    is_begun, came = begin(host, job)
    assert is_begun
    assert str(FAILURES[step]) in str(came[0])


def test_a_job_that_has_to_be_waited_for_is_not_touched(
    host: Host, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = stored.spec(job)["limits"]
    slow = with_spec(job, limits={**limits, "io_weight": 50})
    assert begin(host, slow) == (False, [])
    monkeypatch.setattr(host, "takes", lambda _spec: False)
    assert begin(host, job) == (False, [])
    monkeypatch.undo()
    monkeypatch.setattr(host, "at_hand", lambda _spec: None)
    assert begin(host, job) == (False, [])
    assert host.steps == []


def test_one_whose_launcher_is_away_just_then_leaves_no_cgroup(host: Host, job: Job) -> None:
    host.is_there = False
    assert begin(host, job) == (False, [])
    assert host.steps[-2:] == ["launcher", "removal"]
    assert not host.there


def test_a_damaged_spec_is_told_at_once(host: Host, job: Job) -> None:
    is_begun, came = begin(host, job, spec=b"\xc1")
    assert is_begun
    assert isinstance(came[0], records.RecordError)
