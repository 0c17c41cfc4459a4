"""Limits that really bind, what is said when one did, and the figures in a job's result.

Times and shares are asserted generously: the guest's clock is honest, its speed is not.
"""

from __future__ import annotations

import os
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from client.errors import RequestRefused
from tests.kernel import inside
from tests.kernel.harness import STATE, wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.records import IoLimit, Limits
    from tests.kernel.harness import Daemon

MIB = 1024 * 1024
# Touches every page, a few at a time, so that the peak comes close to the limit.
HOG = "data = []\nwhile True: data.append(bytearray(65536))"
BUSY = "while :; do :; done"
CGROUP = "/sys/fs/cgroup"


def disk_number() -> str:
    """The MAJ:MIN of the guest's disk: whole, without partitions."""
    device = os.stat(STATE).st_dev
    return f"{os.major(device)}:{os.minor(device)}"


def read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().strip()


# Memory


def test_a_job_over_its_memory_limit_is_reported_as_such_in_one_line(daemon: Daemon) -> None:
    arguments = ("run", "--mem", "64M", "--", *inside.python(HOG))
    done = daemon.runctl(*arguments, user="alice")
    assert (done.stdout, done.returncode) == ("", 137)
    assert done.stderr.count("\n") == 1
    assert "was killed at its memory limit" in done.stderr
    assert "64 MiB allowed, peak 6" in done.stderr


def test_the_result_of_a_memory_hog_has_the_figures(daemon: Daemon) -> None:
    ended = inside.run_python(daemon, HOG, limits={"memory_max_bytes": 64 * MIB})
    result = ended.result
    assert (result["reason"], result["signal"], result["exit_code"]) == ("oom", 9, None)
    assert (result["oom_kills"] or 0) >= 1
    assert 60 * MIB <= (result["memory_peak_bytes"] or 0) <= 65 * MIB


def test_a_limit_is_of_the_whole_job_and_ends_all_of_it(daemon: Daemon) -> None:
    hog = " ".join(f"'{word}'" for word in inside.python("x = bytearray(40 << 20); input()"))
    # Neither is too large alone; and the first process, a shell, would stay for long.
    script = f"mkfifo /tmp/never; exec 3<>/tmp/never; {hog} <&3 & {hog} <&3 & sleep 1000"
    ended = inside.run_shell(daemon, script, limits={"memory_max_bytes": 64 * MIB})
    assert (ended.result["reason"], ended.result["exit_status"]) == ("oom", 137)
    assert (ended.result["wall_ns"] or 0) < 60e9
    # The kernel counts those that were still there when their turn came.
    assert (ended.result["oom_kills"] or 0) >= 1


def test_what_a_job_keeps_in_its_tmp_is_its_memory(daemon: Daemon) -> None:
    script = "head -c 100M /dev/zero > /tmp/file; echo on"
    ended = inside.run_shell(daemon, script, limits={"memory_max_bytes": 32 * MIB})
    assert (ended.result["reason"], ended.stdout) == ("oom", b"")


def test_a_job_within_its_memory_limit_is_left_alone(daemon: Daemon) -> None:
    program = "x = bytearray(32 << 20); print(len(x))"
    ended = inside.run_python(daemon, program, limits={"memory_max_bytes": 64 * MIB})
    assert (ended.stdout, ended.result["reason"]) == (b"33554432\n", "exit")
    assert ended.result["oom_kills"] == 0
    assert 32 * MIB <= (ended.result["memory_peak_bytes"] or 0) <= 64 * MIB


def test_the_least_memory_that_may_be_asked_for_is_enough_to_start(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--mem", "4M", "--", "echo", "hi", user="alice")
    assert (done.stdout, done.stderr, done.returncode) == ("hi\n", "", 0)


# Processes


BOMBS = {
    "bash": ["bash", "-c", ":(){ :|:& };:; sleep 1"],
    "python": inside.python(
        "import os, signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "while True:\n  try: os.fork()\n  except OSError: pass"
    ),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_fork_bomb_hurts_nobody_and_leaves_nothing(daemon: Daemon, bomb: str) -> None:
    with daemon.client() as client:
        limits: Limits = {"pids_max": 40, "timeout_seconds": 60}
        job = inside.submit(client, *BOMBS[bomb], limits=limits)
        cgroup = inside.payload_cgroup(daemon, job)
        wait_until(lambda: "max 0" not in events(cgroup), explain=lambda: client.status(job))
        assert len(inside.pids(cgroup)) <= 40
        began = time.monotonic()
        assert inside.run(daemon, "echo", "fine", user="bob").stdout == b"fine\n"
        assert time.monotonic() - began < 8
        client.stop(job, kill=True)
        result = client.wait(job, timeout_seconds=60)["result"]
    assert result is not None
    assert (result["pids_max_hits"] or 0) > 0
    assert (result["pids_peak"] or 0) <= 40
    assert inside.job_cgroups(daemon) == []


def events(cgroup: str) -> str:
    """pids.events of a job; as long as there is none, nothing was refused."""
    try:
        return read(f"{cgroup}/pids.events")
    except FileNotFoundError:
        return "max 0"


def test_runctl_says_how_many_forks_were_refused(daemon: Daemon) -> None:
    arguments = ("run", "--pids", "2", "--", "sh", "-c", "true & true & true")
    done = daemon.runctl(*arguments, user="alice")
    assert "its limit of 2 processes refused" in done.stderr


def test_one_process_is_enough_for_a_command_that_does_not_fork(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--pids", "1", "--", "echo", "hi", user="alice")
    assert (done.stdout, done.stderr, done.returncode) == ("hi\n", "", 0)


# CPU


def test_a_share_of_a_cpu_is_all_that_a_busy_job_gets(daemon: Daemon) -> None:
    with daemon.client() as client:
        job = inside.submit(client, "sh", "-c", BUSY, limits={"cpu_max_millicpus": 200})
        stat = f"{daemon.cgroup_root}/job-{job}/cpu.stat"
        wait_until(lambda: os.path.exists(stat) and throttled(stat) >= 10)
        client.stop(job, kill=True)
        result = client.wait(job)["result"]
    assert result is not None
    wall, cpu = result["wall_ns"], result["cpu_usec"]
    assert wall is not None
    assert cpu is not None
    # Ten periods of 100 ms at least; 0.2 of each, and what the start cost.
    assert wall > 0.9e9
    assert 0.05 < cpu * 1000 / wall < 0.45


def throttled(stat: str) -> int:
    """In how many periods a job was held back."""
    fields = dict(line.split() for line in read(stat).splitlines())
    return int(fields["nr_throttled"])


# IO


def test_writing_to_the_disk_is_held_to_the_rate_of_its_whole_disk(
    daemon: Daemon, users: dict[str, int]
) -> None:
    # Not the same file twice: the kernel goes on charging a file to who wrote it first.
    script = "dd if=/dev/zero of=file-$NAME bs=256K count=12 conv=fsync status=none"
    with inside.directory_on_disk(users["alice"]) as place:
        io: list[IoLimit] = [{"path": place, "write_bytes_per_second": MIB}]
        env = {"PATH": inside.PATH, "NAME": "held"}
        held = inside.run_shell(daemon, script, cwd=place, env=env, limits={"io": io})
        free = inside.run_shell(daemon, script, cwd=place)
    assert (held.text, held.result["exit_status"]) == ("", 0)
    assert held.status["limits"]["io"] == [
        {
            "path": place,
            "devices": [disk_number()],
            "read_bytes_per_second": None,
            "write_bytes_per_second": MIB,
            "read_operations_per_second": None,
            "write_operations_per_second": None,
        }
    ]
    # 3 MiB at 1 MiB/s.
    assert (held.result["wall_ns"] or 0) > 1.5e9 > (free.result["wall_ns"] or 0)
    assert (held.result["io_write_bytes"] or 0) >= 3 * MIB
    assert (free.result["io_write_bytes"] or 0) >= 3 * MIB


def test_reading_from_the_disk_is_held_to_its_rate(daemon: Daemon, users: dict[str, int]) -> None:
    with inside.directory_on_disk(users["alice"]) as place:
        with open(f"{place}/file", "wb") as file:
            file.write(bytes(3 * MIB))
        inside.on_host("sync")
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as caches:
            caches.write("3")
        io: list[IoLimit] = [{"path": place, "read_bytes_per_second": MIB}]
        ended = inside.run(daemon, "cat", "file", cwd=place, limits={"io": io})
    assert len(ended.stdout) == 3 * MIB
    assert (ended.result["wall_ns"] or 0) > 1.5e9
    assert (ended.result["io_read_bytes"] or 0) >= 3 * MIB


def test_runctl_shows_the_disk_that_a_rate_is_for(daemon: Daemon) -> None:
    limit = ("--io-write", f"{STATE}:5M", "--io-read", f"{STATE}:7M")
    done = daemon.runctl("run", "--name", "io", *limit, "--", "true", user="alice")
    assert (done.stderr, done.returncode) == ("", 0)
    shown = daemon.runctl("status", "io", user="alice").stdout
    assert f"IO of {STATE} (device {disk_number()}): read 7 MiB/s, write 5 MiB/s" in shown


@pytest.mark.parametrize(
    ("path", "why"),
    [("/dev/shm", "tmpfs"), ("/proc", "proc"), ("/", "overlay"), ("/no/such", "No such file")],
)
def test_a_rate_for_what_is_on_no_disk_is_refused_with_the_reason(
    daemon: Daemon, path: str, why: str
) -> None:
    done = daemon.runctl("run", "--io-write", f"{path}:1M", "--", "true", user="alice")
    assert (done.stdout, done.returncode) == ("", 125)
    assert "--io-write" in done.stderr
    assert path in done.stderr
    assert why in done.stderr
    with daemon.client() as client:
        assert list(client.jobs(ended=True)) == []


# What is shown


def test_status_shows_what_the_kernel_reads_back(daemon: Daemon) -> None:
    limits: Limits = {
        "memory_max_bytes": 64 * MIB + 1,
        "cpu_max_millicpus": 250,
        "pids_max": 33,
        "timeout_seconds": 99.5,
        "io": [{"path": STATE, "read_bytes_per_second": 3 * MIB}],
    }
    with daemon.client() as client:
        job = inside.submit(client, "sleep", "1000", limits=limits)
        pid = inside.wait_for_command(daemon, job, "sleep")
        shown = client.status(job)
        cgroup = f"{daemon.cgroup_root}/job-{job}"
        kernel = {
            "memory_max_bytes": int(read(f"{cgroup}/payload/memory.max")),
            "pids_max": int(read(f"{cgroup}/payload/pids.max")),
        }
        assert read(f"{cgroup}/cpu.max") == "25000 100000"
        assert read(f"{cgroup}/io.max").startswith(f"{disk_number()} rbps={3 * MIB} wbps=max")
        assert read(f"{cgroup}/payload/memory.oom.group") == "1"
        assert read(f"{cgroup}/payload/memory.swap.max") == "0"
        usage, is_alive = shown["usage"], inside.is_alive(pid)
        text = daemon.runctl("status", job).stdout
    # In whole pages.
    assert kernel == {"memory_max_bytes": 64 * MIB, "pids_max": 33}
    assert shown["limits"] == {
        **kernel,
        # What a memory limit brings along.
        "memory_swap_max_bytes": 0,
        "oom_policy": "kill",
        "cpu_max_millicpus": 250,
        "timeout_seconds": 99.5,
        "io": [
            {
                "path": STATE,
                "devices": [disk_number()],
                "read_bytes_per_second": 3 * MIB,
                "write_bytes_per_second": None,
                "read_operations_per_second": None,
                "write_operations_per_second": None,
            }
        ],
    }
    assert usage is not None
    assert usage["pids"] == 1
    assert 0 < (usage["memory_bytes"] or 0) <= (usage["memory_peak_bytes"] or 0) < 64 * MIB
    assert (shown["state"], is_alive) == ("running", True)
    for line in ("memory 64 MiB", "CPUs 0.25", "processes 33", f"IO of {STATE} (device"):
        assert line in text


def test_a_result_has_every_figure_and_they_fit_together(daemon: Daemon) -> None:
    program = """
import sys, time
data = bytearray(20 << 20)
end = time.process_time() + 0.3
while time.process_time() < end: pass
time.sleep(0.3)
sys.stdout.write("x" * 1000); sys.stderr.write("y" * 234)
"""
    before = time.time_ns()
    ended = inside.run_python(daemon, program)
    after = time.time_ns()
    status, result = ended.status, ended.result
    started, end = status["started_ns"], status["ended_ns"]
    assert started is not None
    assert end is not None
    assert before <= status["submitted_ns"] <= started < end <= after
    assert status["pid"] is None
    assert status["usage"] is None
    assert (result["reason"], result["exit_code"], result["signal"]) == ("exit", 0, None)
    assert (result["detail"], result["stopped_by_uid"]) == (None, None)
    wall, cpu = result["wall_ns"] or 0, result["cpu_usec"] or 0
    assert 0.6e9 <= wall <= end - started + 1e9
    assert 250_000 <= cpu <= wall // 1000
    assert 20 * MIB <= (result["memory_peak_bytes"] or 0) <= 60 * MIB
    assert (result["oom_kills"], result["pids_peak"], result["pids_max_hits"]) == (0, 1, 0)
    assert result["log_bytes"] == 1234
    assert None not in (result["cpu_user_usec"], result["cpu_system_usec"])
    assert None not in (result["io_read_bytes"], result["io_write_bytes"])


def test_limits_that_nobody_asked_for_come_from_the_configuration(own_daemon: Daemon) -> None:
    own_daemon.config.write_text('[jobs]\ndefault_pids_max = 77\ndefault_memory_max = "48M"\n')
    own_daemon.start()
    plain = inside.run_python(own_daemon, HOG)
    asked = inside.run(own_daemon, "true", limits={"pids_max": 5, "memory_max_bytes": 64 * MIB})
    brought = {"memory_swap_max_bytes": 0, "oom_policy": "kill"}
    assert plain.status["limits"] == {"pids_max": 77, "memory_max_bytes": 48 * MIB, **brought}
    assert plain.result["reason"] == "oom"
    assert asked.status["limits"] == {"pids_max": 5, "memory_max_bytes": 64 * MIB, **brought}


# Controllers that are not there


@contextmanager
def below(daemon: Daemon, controllers: str) -> Iterator[None]:
    """The daemon's cgroups, below one that hands down only these controllers."""
    parent = f"{CGROUP}/above-{os.path.basename(daemon.cgroup_root)}"
    daemon.cgroup_root = f"{parent}/root"
    os.mkdir(parent)
    with open(f"{parent}/cgroup.subtree_control", "w", encoding="ascii") as file:
        file.write(" ".join(f"+{name}" for name in controllers.split()))
    try:
        yield
    finally:
        if daemon.running:
            daemon.forget_all_jobs()
            daemon.stop()
        for path, _, _ in os.walk(parent, topdown=False):
            os.rmdir(path)


@pytest.mark.parametrize(
    ("controllers", "missing", "field", "limits"),
    [
        (
            "cpu memory pids",
            "io",
            "limits.io",
            {"io": [{"path": STATE, "write_bytes_per_second": MIB}]},
        ),
        ("io memory pids", "cpu", "limits.cpu_max_millicpus", {"cpu_max_millicpus": 500}),
        ("cpu io pids", "memory", "limits.memory_max_bytes", {"memory_max_bytes": 64 * MIB}),
        # Without it nobody knows whose pages are written out.
        (
            "cpu io pids",
            "memory",
            "limits.io",
            {"io": [{"path": STATE, "write_bytes_per_second": MIB}]},
        ),
        ("cpu io memory pids", "cpuset", "limits.cpu_set", {"cpu_set": "0"}),
    ],
)
def test_a_limit_without_its_controller_is_refused_with_a_remedy(
    own_daemon: Daemon, controllers: str, missing: str, field: str, limits: Limits
) -> None:
    own_daemon.config.write_text('required_controllers = ["pids"]\n')
    with below(own_daemon, controllers):
        own_daemon.start()
        with own_daemon.client() as client:
            with pytest.raises(RequestRefused) as refused:
                inside.submit(client, "true", limits=limits)
            features = {item["name"]: item for item in client.doctor()["features"]}
            assert list(client.jobs(ended=True)) == []
        assert (refused.value.code, refused.value.field) == ("limit-unavailable", field)
        assert f"the {missing} controller is not handed down" in (refused.value.detail or "")
        assert "cgroup.subtree_control" in (refused.value.detail or "")
        feature = features["cpuset.cpus" if missing == "cpuset" else f"{missing}.max"]
        assert feature["status"] == "unavailable"
        assert feature["remedy"]
        # What is there still works, and what is not there is not counted.
        ended = inside.run(own_daemon, "echo", "hi", limits={"pids_max": 20})
        assert (ended.stdout, ended.result["exit_status"]) == (b"hi\n", 0)


@pytest.mark.parametrize(
    ("field", "limits", "why", "remedy"),
    [
        ("limits.cpu_set", {"cpu_set": "0,77-78"}, "CPU 77-78 of 0,77-78", "name CPUs of 0"),
        ("limits.io_weight", {"io_weight": 200}, "no disk has the scheduler BFQ", "echo bfq"),
    ],
)
def test_what_this_machine_cannot_enforce_is_refused_with_a_remedy(
    daemon: Daemon, field: str, limits: Limits, why: str, remedy: str
) -> None:
    with daemon.client() as client:
        with pytest.raises(RequestRefused) as refused:
            inside.submit(client, "true", limits=limits)
        assert list(client.jobs(ended=True)) == []
    assert (refused.value.code, refused.value.field) == ("limit-unavailable", field)
    assert why in (refused.value.detail or "")
    assert remedy in (refused.value.detail or "")


def test_without_a_required_controller_runnerd_does_not_start(own_daemon: Daemon) -> None:
    with below(own_daemon, "memory pids"):
        started = subprocess.run(
            own_daemon.command(), capture_output=True, text=True, check=False, timeout=30,
            cwd=os.path.dirname(os.path.dirname(os.path.dirname(__file__))),
        )  # fmt: skip
    assert started.returncode != 0
    assert "the cpu controller is not handed down" in started.stderr
    assert "Traceback" not in started.stderr
