"""Disks lie: whatever they made of a file costs the job it belongs to, and nothing else.

Damage to single records is in test_survival; here the store, whole directories, files of
other kinds in the place of ours, and processes that a stale number might mean.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sqlite3
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel import harness, traces
from tests.kernel.harness import Daemon, wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_survival import (
    counting,
    has_ended,
    has_written,
    job_file,
    log_of,
    numbers,
    result_of,
)
from tests.kernel.test_users import output_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SECRET = b"of nobody's business\n"


def database(daemon: Daemon) -> str:
    return f"{daemon.state_dir}/runnerd.sqlite3"


@pytest.fixture
def gate() -> Iterator[str]:
    """A file that gated jobs wait for."""
    path = "/home/gate"
    yield path
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def gated(gate: str, last: int) -> dict[str, Any]:
    """A job that prints 1, waits, prints the numbers up to `last` and ends with 7."""
    wait = f"echo 1; until [ -e {gate} ]; do sleep 0.05; done"
    return submission("sh", "-c", f"{wait}; seq 2 {last}; exit 7")


def is_running(wire: Wire, job: str) -> bool:
    return bool(wire.ok("status", job=job)["state"] == "running")


def problems(daemon: Daemon) -> list[tuple[str, str | None]]:
    with Wire(daemon, "root") as root:
        return [(found["text"], found["job"]) for found in root.ok("doctor")["problems"]]


# --- the store ---

PAGE = 4096


def noise(path: str, start: int, length: int) -> None:
    with open(path, "r+b") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(start)
        file.write(random.Random(start).randbytes(max(0, min(length, size - start))))


def each(daemon: Daemon, act: Callable[[str], object]) -> None:
    """Do it to the database and to its log, which holds what was committed last."""
    for end in ("", "-wal"):
        act(database(daemon) + end)


STORE_DAMAGE: dict[str, Callable[[Daemon], object]] = {
    "gone": lambda daemon: each(daemon, os.unlink),
    "empty": lambda daemon: each(daemon, lambda path: os.truncate(path, 0)),
    "noise": lambda daemon: each(daemon, lambda path: noise(path, 0, 2**30)),
    "its first page": lambda daemon: each(daemon, lambda path: noise(path, 0, PAGE)),
    "all but its first page": lambda daemon: each(daemon, lambda path: noise(path, PAGE, 2**30)),
    "cut off": lambda daemon: each(daemon, lambda path: os.truncate(path, PAGE * 5 + 77)),
    "its log": lambda daemon: noise(f"{database(daemon)}-wal", 0, 2**30),
    "its log is gone": lambda daemon: os.unlink(f"{database(daemon)}-wal"),
}


@pytest.mark.parametrize("kind", STORE_DAMAGE)
def test_a_store_that_is_damaged_costs_no_job_that_was_begun(
    own_daemon: Daemon, gate: str, kind: str
) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 3\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        ended = [alice.ok("submit", counting(n, "0", n))["job"] for n in (3, 4)]
        shown = [alice.ok("wait", job=job) for job in ended]
        running = alice.ok("submit", gated(gate, 5000))["job"]
        paused = alice.ok("submit", gated(gate, 30))["job"]
        done = alice.ok("submit", counting(20, status=5))["job"]
        for job in (running, paused, done):
            wait_until(partial(has_written, own_daemon, job))
        alice.ok("pause", job=paused)
        queued = alice.ok("submit", submission("echo", "queued"))["job"]
    own_daemon.kill()
    wait_until(partial(has_ended, own_daemon, done))
    STORE_DAMAGE[kind](own_daemon)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        states = {job["job"]: job["state"] for job in alice.ok("list", ended=True)["jobs"]}
        states.pop(queued, None)
        assert states == {
            ended[0]: "ended", ended[1]: "ended", done: "ended",
            running: "running", paused: "paused",
        }  # fmt: skip
        # Its limits as they were read back, and when its start was committed, are gone.
        for job, before in zip(ended, shown, strict=True):
            after = alice.ok("status", job=job)
            assert after | {name: before[name] for name in ("limits", "started_ns")} == before
        assert alice.ok("resume", job=paused)["state"] == "running"
        began = alice.ok("status", job=running)
        assert abs(began["started_ns"] - began["submitted_ns"]) < 5 * 10**9
        assert result_of(own_daemon, done)["exit_code"] == 5
        new = alice.ok("submit", submission("echo", "new"))["job"]
        assert output_of(alice, new) == b"new\n"
        _write(b"", gate)
        for job, count in ((running, 5000), (paused, 30)):
            assert result_of(own_daemon, job)["exit_code"] == 7
            assert log_of(own_daemon, job) == numbers(count)
    assert not os.path.exists(f"{database(own_daemon)}.new")
    own_daemon.stop()
    said = len(own_daemon.log_text())
    own_daemon.start()
    assert problems(own_daemon) == [], own_daemon.log_text()[said:]


def test_a_store_that_cannot_be_used_is_kept_and_what_became_of_it_is_said(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", submission("true"))["job"]
        alice.ok("wait", job=job)
    own_daemon.kill()
    noise(database(own_daemon), 0, 2**30)
    os.unlink(f"{database(own_daemon)}-wal")
    with open(database(own_daemon), "rb") as file:
        before = file.read()
    own_daemon.start()
    (text, _job), *_others = problems(own_daemon)
    kept = text.rpartition(" ")[2]
    with open(kept, "rb") as file:
        assert file.read() == before
    assert "NOTADB" in text
    assert "1 job was not in the store" in own_daemon.log_text()
    done = own_daemon.runctl("doctor")
    assert "damaged" in done.stdout
    assert own_daemon.runctl("status", job).returncode == 0


def test_a_garbled_write_ahead_log_is_kept_and_that_queued_jobs_may_be_lost_is_said(
    own_daemon: Daemon, gate: str
) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        running = alice.ok("submit", gated(gate, 30))["job"]
        alice.ok("submit", submission("echo", "queued"))
        wait_until(partial(has_written, own_daemon, running))
    own_daemon.kill()
    noise(f"{database(own_daemon)}-wal", 0, 40)
    with open(f"{database(own_daemon)}-wal", "rb") as log:
        garbled = log.read()
    own_daemon.start()
    (said,) = [text for text, _ in problems(own_daemon) if "write-ahead log" in text]
    assert "above all jobs that were queued" in said
    kept = said.rpartition(" ")[2]
    with open(kept, "rb") as file:
        assert file.read() == garbled
    _write(b"", gate)
    assert result_of(own_daemon, running)["exit_code"] == 7
    own_daemon.kill()
    own_daemon.start()
    assert not [text for text, _ in problems(own_daemon) if "write-ahead log" in text]


def test_an_administrators_index_and_statistics_are_no_damage(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        job = alice.ok("submit", submission("sh", "-c", "exit 3"))["job"]
        alice.ok("wait", job=job)
        own_daemon.stop()
        with _sql(own_daemon) as db:
            db.execute("CREATE INDEX mine ON jobs (uid)")
            db.execute("DROP INDEX jobs_named")
            db.execute("ANALYZE")
    own_daemon.start()
    assert problems(own_daemon) == []
    assert result_of(own_daemon, job)["exit_code"] == 3
    with _sql(own_daemon) as db:
        query = "SELECT name FROM sqlite_master WHERE name IN ('mine', 'jobs_named') ORDER BY 1"
        assert [name for (name,) in db.execute(query)] == ["jobs_named", "mine"]


def test_a_page_that_rots_while_the_daemon_runs_costs_single_requests(own_daemon: Daemon) -> None:
    own_daemon.start()
    big = ["x" * 100_000] * 5
    with Wire(own_daemon) as alice:
        old = [alice.ok("submit", submission("true", *big))["job"] for _ in range(12)]
        for job in old:
            alice.ok("wait", job=job)
        for _ in range(8):
            # So that what was written before is in the database and not in its log.
            alice.ok("wait", job=alice.ok("submit", submission("true", *big))["job"])
        _checkpoint(own_daemon)
        size = os.stat(database(own_daemon)).st_size
        noise(database(own_daemon), 16 * PAGE, size)
        answers = [alice.request("status", job=job) for job in old]
        refused = [answer["error"] for answer in answers if "error" in answer]
        assert refused
        for error in refused:
            assert error["code"] in ("store-error", "no-such-job"), error
        alice.request("list", ended=True)
        assert alice.ok("doctor")["server"]
    own_daemon.stop()
    own_daemon.start()
    with Wire(own_daemon) as alice:
        for job in old:
            assert alice.ok("status", job=job)["result"]["exit_code"] == 0
        assert output_of(alice, alice.ok("submit", submission("echo", "x"))["job"]) == b"x\n"


def _checkpoint(daemon: Daemon) -> None:
    database_ = sqlite3.connect(database(daemon))
    try:
        database_.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    finally:
        database_.close()


def test_rows_that_are_garbled_cost_their_jobs_alone(own_daemon: Daemon, gate: str) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 2\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:
        ended = alice.ok("submit", counting(3, "0", 3))["job"]
        alice.ok("wait", job=ended)
        running, sound = (alice.ok("submit", gated(gate, 60))["job"] for _ in range(2))
        wait_until(lambda: alice.ok("status", job=sound)["state"] == "running")
        queued = alice.ok("submit", submission("touch", "/home/alice/ran"))["job"]
        waiting = alice.ok("submit", submission("echo", "sound"))["job"]
    own_daemon.kill()
    with _sql(own_daemon) as store:
        store.execute("PRAGMA ignore_check_constraints = ON")
        store.execute("UPDATE jobs SET state = 'xyz' WHERE id IN (?, ?)", (ended, running))
        store.execute("UPDATE jobs SET uid = 'root', name = x'ff' WHERE id = ?", (queued,))
    own_daemon.start()
    _write(b"", gate)
    assert result_of(own_daemon, ended)["exit_code"] == 3
    assert result_of(own_daemon, running)["exit_code"] == 7
    assert result_of(own_daemon, queued)["reason"] == "lost"
    assert not os.path.exists("/home/alice/ran")
    assert log_of(own_daemon, running) == log_of(own_daemon, sound) == numbers(60)
    assert log_of(own_daemon, waiting) == b"sound\n"
    for job in (ended, running, queued):
        assert own_daemon.runctl("rm", job).returncode == 0


@contextlib.contextmanager
def _sql(daemon: Daemon) -> Iterator[sqlite3.Connection]:
    store = sqlite3.connect(database(daemon))
    try:
        with store:
            yield store
    finally:
        store.close()


def test_a_job_that_the_store_believes_to_be_queued_though_it_runs_is_not_run_twice(
    own_daemon: Daemon,
) -> None:
    """A write-ahead log that lost its end takes the last commits back."""
    own_daemon.start()
    lines = "/home/alice/lines"
    script = f"echo ran >> {lines}; echo ran; sleep 2; exit 4"
    with Wire(own_daemon) as alice:
        jobs = [alice.ok("submit", submission("sh", "-c", script))["job"] for _ in range(3)]
        for job in jobs:
            wait_until(partial(has_written, own_daemon, job))
    own_daemon.kill()
    with _sql(own_daemon) as store:
        store.execute(
            "UPDATE jobs SET state = 'queued', boot_id = NULL, monitor_pid = NULL,"
            " started_ns = NULL, limits = NULL"
        )
    own_daemon.start()
    for job in jobs:
        assert result_of(own_daemon, job)["exit_code"] == 4
    with open(lines, encoding="ascii") as file:
        assert file.read() == "ran\n" * 3
    os.unlink(lines)


# --- files of jobs ---


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        subprocess.run(["rm", "-rf", path], check=True)
    else:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _replace_by_socket(path: str) -> None:
    _remove(path)
    with socket.socket(socket.AF_UNIX) as sock:
        # The path is longer than an address may be.
        fd = os.open(os.path.dirname(path), os.O_RDONLY)
        try:
            sock.bind(f"/proc/self/fd/{fd}/{os.path.basename(path)}")
        finally:
            os.close(fd)


def _rewrite(path: str, change: Callable[[bytes], bytes]) -> None:
    if not os.path.isfile(path):
        return
    with open(path, "rb") as file:
        data = file.read()
    with open(path, "wb") as file:
        file.write(change(data))


def _then(path: str, make: Callable[[str], object]) -> None:
    _remove(path)
    make(path)


FILE_DAMAGE: dict[str, Callable[[str], object]] = {
    "gone": _remove,
    "empty": lambda path: _rewrite(path, lambda _data: b""),
    "zeros": lambda path: _rewrite(path, lambda data: bytes(len(data))),
    "torn": lambda path: _rewrite(path, lambda data: data[: len(data) // 2]),
    "noise": lambda path: _rewrite(path, lambda data: random.Random(9).randbytes(len(data))),
    "one byte": lambda path: _rewrite(path, lambda data: data[:9] + b"\xfe" + data[10:]),
    "a directory": lambda path: _then(path, os.mkdir),
    "a fifo": lambda path: _then(path, os.mkfifo),
    "a link": lambda path: _then(path, partial(os.symlink, "/home/secret")),
    "a link to itself": lambda path: _then(path, partial(os.symlink, os.path.basename(path))),
    "a link to another's": lambda path: _then(path, partial(os.symlink, "../../jobs")),
    "a socket": _replace_by_socket,
    "a device": lambda path: _then(path, partial(_mknod, 0x105)),
    "a file": lambda path: _then(path, partial(_write, SECRET)),
}


def _mknod(device: int, path: str) -> None:
    os.mknod(path, 0o20600, device)


def _write(data: bytes, path: str) -> None:
    with open(path, "wb") as file:
        file.write(data)


FILES = (
    "spec", "exit", "exit.tmp", "limits", "limits.tmp", "update", "control", "log",
    f"log/{0:020}.log", f"log/{0:020}.idx", f"log/{7:020}.log", f"log/{9:020}.idx.zst", "",
)  # fmt: skip


@pytest.fixture
def secret() -> Iterator[str]:
    path = "/home/secret"
    _write(SECRET, path)
    yield path
    with open(path, "rb") as file:
        assert file.read() == SECRET
    os.unlink(path)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_files_that_are_damaged_at_random_cost_their_jobs_alone(
    own_daemon: Daemon, gate: str, secret: str, seed: int
) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 6\n")
    chance = random.Random(seed)
    own_daemon.start()
    with Wire(own_daemon) as alice:
        ended = [alice.ok("submit", counting(9, "0", n))["job"] for n in range(14)]
        before = {job: alice.ok("wait", job=job, timeout_seconds=60) for job in ended}
        running = [alice.ok("submit", gated(gate, 120))["job"] for _ in range(6)]
        for job in running:
            wait_until(partial(has_written, own_daemon, job))
        queued = [alice.ok("submit", submission("echo", "q"))["job"] for _ in range(3)]
    own_daemon.kill()
    hit = {*chance.sample(ended, 9), *chance.sample(running, 3)}
    done = {}
    for job in sorted(hit):
        name, kind = chance.choice(FILES), chance.choice(list(FILE_DAMAGE))
        done[job] = (name, kind)
        FILE_DAMAGE[kind](job_file(own_daemon, job, name).rstrip("/"))
    own_daemon.start()
    opened = len(traces.descriptors(own_daemon.pid))
    with Wire(own_daemon) as alice:
        _ask_everything(alice, [*ended, *running, *queued])
        for job in set(ended) - hit:
            assert alice.ok("status", job=job) == before[job]
            assert output_of(alice, job) == numbers(9)
        for job in hit & set(ended):
            # What the store knows of it stays.
            assert alice.ok("status", job=job)["result"] == before[job]["result"], done[job]
        for job in hit & set(running):
            alice.ok("stop", job=job, kill=True)
            ended_job = alice.ok("wait", job=job, timeout_seconds=60)
            assert ended_job["state"] == "ended", (done[job], ended_job)
        _write(b"", gate)
        for job in set(running) - hit:
            assert output_of(alice, job) == numbers(120)
            assert result_of(own_daemon, job)["exit_code"] == 7
        for job in queued:
            assert output_of(alice, job) == b"q\n"
        wait_until(lambda: len(traces.descriptors(own_daemon.pid)) <= opened,
                   explain=lambda: traces.descriptors(own_daemon.pid))  # fmt: skip
        for job in (*ended, *running, *queued):
            assert alice.ok("remove", job=job) == {"job": job}, done.get(job)
    assert os.listdir(f"{own_daemon.state_dir}/jobs") == []
    assert os.path.exists(secret)


def _ask_everything(alice: Wire, jobs: list[str]) -> None:
    """Every job answers, and its log never shows what a link leads to."""
    listed = {job["job"] for job in alice.ok("list", ended=True)["jobs"]}
    assert listed == set(jobs)
    for job in jobs:
        alice.ok("status", job=job)
        answer, data = _log(alice, job)
        assert SECRET not in data
        assert "ok" in answer or answer["error"]["code"] != "internal", answer


def _log(wire: Wire, job: str) -> tuple[Any, bytes]:
    wire.send({"id": 3_000_000_000, "op": "logs", "args": {"job": job}})
    data = b""
    while "event" in (message := wire.receive() or {}):
        data += message["event"].get("data", b"")
    return message, data


@pytest.mark.parametrize("name", [f"log/{0:020}.log", f"log/{0:020}.idx"])
@pytest.mark.parametrize("kind", ["gone", "empty", "torn", "zeros", "noise"])
def test_what_a_log_lost_at_its_end_is_a_gap_of_as_many_bytes(
    daemon: Daemon, name: str, kind: str
) -> None:
    """After a power cut: an index that points beyond the data, data that no index covers."""
    with Wire(daemon) as alice:
        job = alice.ok("submit", counting(200, "0", 0))["job"]
        assert alice.ok("wait", job=job, timeout_seconds=60)["result"]["log_bytes"] == 692
        FILE_DAMAGE[kind](job_file(daemon, job, name))
        message, data = _log(alice, job)
        assert "ok" in message, message
        if name.endswith("idx") or kind not in ("zeros", "noise"):
            # Raw data that is garbled is what it is.
            assert numbers(200).startswith(data)
        assert len(data) + sum(_gaps(alice, job)) == 692
        alice.ok("remove", job=job)


def _gaps(wire: Wire, job: str) -> list[int]:
    wire.send({"id": 3_000_000_001, "op": "logs", "args": {"job": job}})
    gaps = []
    while "event" in (message := wire.receive() or {}):
        if "gap_bytes" in message["event"]:
            gaps.append(message["event"]["gap_bytes"])
            assert message["event"]["why"] in ("damaged", "dropped")
    return gaps


def test_a_job_whose_control_is_damaged_runs_on_and_can_be_stopped(own_daemon: Daemon) -> None:
    own_daemon.start()
    kinds = ("gone", "a file", "a directory", "a link", "a socket", "a device")
    with Wire(own_daemon) as alice:
        jobs = {kind: alice.ok("submit", counting(2000, "0.05"))["job"] for kind in kinds}
        for job in jobs.values():
            wait_until(partial(has_written, own_daemon, job))
    own_daemon.kill()
    for kind, job in jobs.items():
        FILE_DAMAGE[kind](job_file(own_daemon, job, "control"))
    own_daemon.start()
    assert {job for _text, job in problems(own_daemon)} == set(jobs.values())
    with Wire(own_daemon) as alice:
        for job in jobs.values():
            refused = alice.error("pause", job=job)
            assert "cannot be told" in refused["detail"]
            assert alice.ok("stop", job=job, kill=True) == {"state": "running"}
        for job in jobs.values():
            result = alice.ok("wait", job=job, timeout_seconds=60)["result"]
            assert result["signal"] == signal.SIGKILL
            alice.ok("remove", job=job)
    assert problems(own_daemon) == []


@pytest.mark.parametrize("kind", ["noise", "a directory", "a fifo", "a link", "a socket"])
def test_an_update_that_meets_damaged_files_is_refused_and_hangs_nobody(
    own_daemon: Daemon, kind: str
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        for name in ("update", "limits.tmp", "limits"):
            job = alice.ok("submit", submission("sleep", "1000"))["job"]
            wait_until(partial(is_running, alice, job))
            path = job_file(own_daemon, job, name)
            _write(b"x", path)
            FILE_DAMAGE[kind](path)
            answer = alice.request("update", job=job, limits={"timeout_seconds": 500})
            assert "ok" in answer or answer["error"]["code"] != "internal", answer
            assert alice.ok("status", job=job)["state"] == "running"
            alice.ok("stop", job=job, kill=True)
            alice.ok("wait", job=job, timeout_seconds=60)
            alice.ok("remove", job=job)


# --- nobody else's processes, and one owner for each job ---


def test_a_stored_pid_that_is_an_innocents_is_never_signalled(own_daemon: Daemon) -> None:
    """A recycled number: the monitor of the row is somebody who has nothing to do with us."""
    own_daemon.start()
    with Wire(own_daemon) as alice:
        lost = alice.ok("submit", submission("sleep", "1000"))["job"]
        running = alice.ok("submit", submission("sleep", "1000"))["job"]
        for job in (lost, running):
            wait_until(partial(is_running, alice, job))
        monitor = alice.ok("status", job=lost)["pid"]
    # That a job runs is committed a moment after it is said.
    wait_until(lambda: _running_rows(own_daemon) == 2)
    own_daemon.kill()
    os.kill(monitor, signal.SIGKILL)
    with subprocess.Popen(["sleep", "1000"]) as innocent, contextlib.ExitStack() as at_last:
        at_last.callback(innocent.kill)
        with _sql(own_daemon) as store:
            store.execute("UPDATE jobs SET monitor_pid = ?", (innocent.pid,))
        own_daemon.start()
        assert result_of(own_daemon, lost)["reason"] == "lost"
        with Wire(own_daemon) as alice:
            limits = {"rlimits": {"nofile": [100, 100]}, "timeout_seconds": 900}
            alice.ok("update", job=running, limits=limits)
            alice.ok("pause", job=running)
            alice.ok("resume", job=running)
            alice.ok("stop", job=running, grace_seconds=1)
            assert alice.ok("wait", job=running, timeout_seconds=60)["state"] == "ended"
            for job in (lost, running):
                alice.ok("remove", job=job)
        own_daemon.stop()
        assert innocent.poll() is None
        with open(f"/proc/{innocent.pid}/limits", encoding="ascii") as file:
            assert "Max open files            100 " not in file.read()


def _running_rows(daemon: Daemon) -> int:
    with _sql(daemon) as store:
        (count,) = store.execute("SELECT count(*) FROM jobs WHERE state = 'running'").fetchone()
    return int(count)


def _second(own_daemon: Daemon, base: Path) -> Daemon:
    base.mkdir()
    second = Daemon(base)
    second.config.write_text(own_daemon.config.read_text())
    return second


def _refusal(second: Daemon) -> str:
    done = subprocess.run(second.command(), capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode != 0, done.stderr
    return done.stderr


@pytest.mark.parametrize("shared", ["state_dir", "cgroup_root"])
def test_a_second_runnerd_on_the_same_state_or_cgroups_is_refused(
    own_daemon: Daemon, tmp_path: Path, shared: str
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, _second(own_daemon, tmp_path / "second") as second:
        job = alice.ok("submit", counting(60))["job"]
        wait_until(partial(has_written, own_daemon, job))
        own = second.cgroup_root if shared == "cgroup_root" else second.state_dir
        setattr(second, shared, getattr(own_daemon, shared))
        assert "held by another runnerd" in _refusal(second)
        setattr(second, shared, own)
        assert output_of(alice, job) == numbers(60)


def test_while_an_old_launcher_lives_no_other_runnerd_begins_and_its_last_job_runs_once(
    own_daemon: Daemon,
) -> None:
    """The daemon dies with a launch under way, whose answer nobody will hear."""
    own_daemon.start()
    lines = "/home/alice/lines"
    script = f"echo ran >> {lines}; echo ran; exit 4"
    with Wire(own_daemon) as alice:
        launcher = own_daemon.launchers()[harness.launcher]
        os.kill(launcher, signal.SIGSTOP)
        try:
            job = alice.ok("submit", submission("sh", "-c", script))["job"]
            wait_until(lambda: os.path.exists(f"{own_daemon.cgroup_root}/job-{job}/monitor"))
            wait_until(lambda: os.path.exists(job_file(own_daemon, job, "exit.tmp")))
            own_daemon.kill()
            assert "held by another runnerd" in _refusal(own_daemon)
        finally:
            os.kill(launcher, signal.SIGCONT)
    own_daemon.start()
    assert result_of(own_daemon, job)["exit_code"] == 4
    with open(lines, encoding="ascii") as file:
        assert file.read() == "ran\n"
    os.unlink(lines)
