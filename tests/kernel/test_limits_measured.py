"""Limits measured: what a job really gets against what it was promised, by the kernel's counters.

Rates are taken over the job's own wall time, long enough that the first slices, which the
kernel gives away whole, count for little. The guest shares its machine: it may be late, and
a job may get less than it may have, so time is measured inside and never assumed.
"""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel import inside, stacks
from tests.kernel.harness import STATE, wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here
from tests.kernel.rates import is_held

if TYPE_CHECKING:
    from client.records import IoLimit, Limits
    from tests.kernel.harness import Daemon

MIB = 1024 * 1024
PAGE = os.sysconf("SC_PAGE_SIZE")

# Prints its share of the time, of what comes after half a second.
CPU = """
import json, time
end = time.monotonic() + 0.5
while time.monotonic() < end: pass
began, cpu = time.monotonic(), time.process_time()
while time.monotonic() < began + 3: pass
print(json.dumps((time.process_time() - cpu) / (time.monotonic() - began)))
"""
# Moves `count` blocks of `size` bytes, and prints how many a second after the first quarter.
IO = """
import json, mmap, os, time
how, path, size, count = {how!r}, {path!r}, {size}, {count}
block = mmap.mmap(-1, size)
direct = os.O_DIRECT if "direct" in how else 0
if "write" in how:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | direct, 0o644)
    step = lambda at: (os.pwrite(fd, block, at * size), "sync" in how and os.fdatasync(fd))
else:
    fd = os.open(path, os.O_RDONLY | direct)
    step = lambda at: os.preadv(fd, [block], at * size)
began = time.monotonic()
for at in range(count):
    if at == count // 4: began = time.monotonic()
    step(at)
print(json.dumps((count - count // 4) / (time.monotonic() - began)))
"""


def measured(daemon: Daemon, program: str, limits: Limits) -> float:
    """What a program that runs under these limits says of itself."""
    found: Any = inside.ask_python(daemon, program, limits=limits)
    return float(found)


# CPU


@pytest.mark.parametrize("millicpus", [100, 250, 600])
def test_a_busy_job_gets_its_share_of_a_cpu_within_a_tenth(daemon: Daemon, millicpus: int) -> None:
    is_held(millicpus / 1000, lambda: measured(daemon, CPU, {"cpu_max_millicpus": millicpus}))


def test_the_share_is_of_the_whole_job_however_many_processes_it_has(daemon: Daemon) -> None:
    script = "for i in 1 2 3 4; do (while :; do :; done) & done; sleep 5; kill 0"

    def share() -> float:
        ended = inside.run_shell(daemon, script, limits={"cpu_max_millicpus": 300})
        wall, cpu = ended.result["wall_ns"] or 0, ended.result["cpu_usec"] or 0
        assert wall > 4e9
        return cpu * 1000 / wall

    is_held(0.3, share)


def shares(daemon: Daemon, *limits: Limits) -> list[float]:
    """The CPU seconds of jobs that are busy until the same moment, all from nearly the same."""
    # The clock is the same for all; one that waits for its turn may not begin to count later.
    end = time.monotonic() + 5
    program = f"import time\nwhile time.monotonic() < {end}: pass"
    with daemon.client() as client:
        jobs = [
            inside.submit(client, *inside.python(program), limits={**each, "cpu_set": "0"})
            for each in limits
        ]
        results = [client.wait(job)["result"] for job in jobs]
    return [(result["cpu_usec"] or 0) / 1e6 for result in results if result is not None]


def test_a_job_that_is_idle_waits_for_one_that_is_not(daemon: Daemon) -> None:
    idle, heavy = shares(daemon, {"cpu_idle": True}, {})
    assert heavy > 3
    assert idle * 8 < heavy


def test_cpu_time_is_shared_by_weight(daemon: Daemon) -> None:
    low, high = shares(daemon, {"cpu_weight": 100}, {"cpu_weight": 300})
    # Less than three times as much, by the time that one of them had alone.
    assert 2.4 < high / low < 3.4


# IO


RATE = 4 * MIB


@pytest.mark.parametrize(
    "how", ["write direct", "write sync", "read direct", "read"], ids=lambda how: how
)
def test_bytes_are_held_to_their_rate_within_a_tenth(
    daemon: Daemon, users: dict[str, int], how: str
) -> None:
    with inside.directory_on_disk(users["alice"]) as place:
        is_held(RATE, lambda: rate_of(daemon, place, how))


def rate_of(daemon: Daemon, place: str, how: str) -> float:
    """The bytes a second of a job under RATE in a directory, in blocks of 256 KiB."""
    path, size, count = f"{place}/file", 256 * 1024, 40
    if how.startswith("read"):
        with open(path, "wb") as file:
            file.write(os.urandom(size * count))
        os.chmod(path, 0o644)
        inside.on_host("sync")
        stacks.write("/proc/sys/vm/drop_caches", "3")
    io: list[IoLimit] = [
        {"path": place, "write_bytes_per_second": RATE, "read_bytes_per_second": RATE}
    ]
    program = IO.format(how=how, path=path, size=size, count=count)
    return measured(daemon, program, {"io": io}) * size


def test_what_is_written_to_the_cache_reaches_the_disk_at_the_rate(
    daemon: Daemon, users: dict[str, int]
) -> None:
    # One fsync at the end: the kernel writes pages out in whose name they were made dirty.
    script = "exec dd if=/dev/zero of=cached bs=1M count=16 conv=fsync status=none"
    with inside.directory_on_disk(users["alice"]) as place:
        io: list[IoLimit] = [{"path": place, "write_bytes_per_second": RATE}]

        def rate() -> float:
            ended = inside.run_shell(daemon, script, cwd=place, limits={"io": io})
            assert ended.result["exit_status"] == 0, ended.text
            written, wall = ended.result["io_write_bytes"] or 0, ended.result["wall_ns"] or 0
            assert written >= 16 * MIB
            return written * 1e9 / wall

        is_held(RATE, rate)


def test_what_a_job_left_in_the_cache_is_written_at_its_rate_when_it_is_gone(
    daemon: Daemon, users: dict[str, int]
) -> None:
    with inside.directory_on_disk(users["alice"]) as place:
        io: list[IoLimit] = [{"path": place, "write_bytes_per_second": RATE}]
        script = "exec dd if=/dev/zero of=left bs=1M count=12 status=none"
        inside.run_shell(daemon, script, cwd=place, limits={"io": io})
        wait_until(lambda: inside.job_cgroups(daemon) == [])
        began = time.monotonic()
        fd = os.open(f"{place}/left", os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        assert time.monotonic() - began > 12 * MIB / RATE * 0.8


@pytest.mark.parametrize("how", ["write direct", "read direct"])
def test_operations_are_held_to_their_rate_within_a_tenth(
    daemon: Daemon, users: dict[str, int], how: str
) -> None:
    count, rate = 240, 80
    with inside.directory_on_disk(users["alice"]) as place:
        path = f"{place}/file"
        with open(path, "wb") as file:
            file.write(os.urandom(4096 * count))
        os.chown(path, users["alice"], users["alice"])
        inside.on_host("sync")
        io: list[IoLimit] = [
            {
                "path": place,
                "read_operations_per_second": rate,
                "write_operations_per_second": rate,
            }
        ]
        program = IO.format(how=how, path=path, size=4096, count=count)
        is_held(rate, lambda: measured(daemon, program, {"io": io}))


@pytest.mark.parametrize("how", ["write direct", "write sync", "read direct"])
@pytest.mark.parametrize("stack", stacks.STACKS)
def test_devices_upon_devices_are_held_to_the_same_rate(
    daemon: Daemon, users: dict[str, int], stack: str, how: str
) -> None:
    with stacks.STACKS[stack](STATE) as device, stacks.mounted(device, users["alice"]) as place:
        is_held(RATE, lambda: rate_of(daemon, place, how))


def test_the_devices_of_a_path_are_shown(daemon: Daemon, users: dict[str, int]) -> None:
    with stacks.linear(STATE) as device, stacks.mounted(device, users["alice"]) as place:
        io: list[IoLimit] = [
            {"path": place, "write_bytes_per_second": RATE, "read_operations_per_second": 50}
        ]
        ended = inside.run(daemon, "true", limits={"io": io})
        assert ended.status["limits"]["io"] == [
            {
                "path": place,
                "devices": [stacks.number_of(device)],
                "read_bytes_per_second": None,
                "write_bytes_per_second": RATE,
                "read_operations_per_second": 50,
                "write_operations_per_second": None,
            }
        ]


# Memory


def test_memory_is_limited_in_whole_pages(daemon: Daemon) -> None:
    with daemon.client() as client:
        job = inside.submit(
            client, "sleep", "1000", limits={"memory_max_bytes": 64 * MIB + 3 * PAGE + 1}
        )
        # Until then what was asked for is shown.
        wait_until(lambda: client.status(job)["state"] == "running")
        with open(f"{inside.payload_cgroup(daemon, job)}/memory.max", encoding="ascii") as file:
            assert int(file.read()) == 64 * MIB + 3 * PAGE
        assert client.status(job)["limits"]["memory_max_bytes"] == 64 * MIB + 3 * PAGE


def test_a_job_may_use_its_memory_to_the_last_pages_and_not_one_more(daemon: Daemon) -> None:
    limit = 48 * MIB
    # What the kernel takes ahead for each CPU: 64 pages (mm/memcontrol.c, MEMCG_CHARGE_BATCH).
    slack = 64 * PAGE * (os.cpu_count() or 1)

    def touching(size: int) -> inside.Ended:
        program = (
            f"import mmap\ndata = mmap.mmap(-1, {size + PAGE})\n"
            f"for at in range(0, {size}, mmap.PAGESIZE): data[at] = 1\nprint('all')"
        )
        return inside.run_python(daemon, program, limits={"memory_max_bytes": limit})

    # What a job has before it takes anything itself.
    base = touching(0).result["memory_peak_bytes"] or 0
    fits = touching((limit - base - slack - MIB) // PAGE * PAGE)
    assert (fits.stdout, fits.result["reason"]) == (b"all\n", "exit")
    assert limit - 3 * MIB < (fits.result["memory_peak_bytes"] or 0) <= limit
    over = touching(limit)
    assert (over.stdout, over.result["reason"]) == (b"", "oom")
    assert limit - slack <= (over.result["memory_peak_bytes"] or 0) <= limit


def test_a_job_may_survive_its_hungriest_process(daemon: Daemon) -> None:
    hog = " ".join(f"'{word}'" for word in inside.python("x = bytearray(100 << 20)"))
    script = f"{hog}; echo $?"
    limits: Limits = {"memory_max_bytes": 32 * MIB, "oom_policy": "continue"}
    ended = inside.run_shell(daemon, script, limits=limits)
    assert (ended.stdout, ended.result["reason"]) == (b"137\n", "exit")
    assert ended.result["oom_kills"] == 1
    assert ended.status["limits"]["oom_policy"] == "continue"


def test_above_memory_high_a_jobs_cache_is_taken_back(
    daemon: Daemon, users: dict[str, int]
) -> None:
    with inside.directory_on_disk(users["alice"]) as place:
        with open(f"{place}/file", "wb") as file:
            file.write(bytes(64 * MIB))
        os.sync()
        stacks.write("/proc/sys/vm/drop_caches", "3")
        limits: Limits = {"memory_high_bytes": 20 * MIB, "memory_max_bytes": 64 * MIB}
        ended = inside.run(daemon, "wc", "-c", "file", cwd=place, limits=limits)
    assert ended.text == f"{64 * MIB} file\n"
    assert (ended.result["memory_peak_bytes"] or 0) < 24 * MIB
    assert ended.status["limits"]["memory_high_bytes"] == 20 * MIB


# Processes


@pytest.mark.parametrize("most", [1, 2, 7])
def test_a_job_has_exactly_so_many_processes_and_threads(daemon: Daemon, most: int) -> None:
    program = """
import json, os, signal
children = []
try:
    while len(children) < 20:
        child = os.fork()
        if not child: signal.pause()
        children.append(child)
except OSError as error:
    print(json.dumps([1 + len(children), error.errno]))
for child in children: os.kill(child, signal.SIGKILL)
"""
    ended = inside.run_python(daemon, program, limits={"pids_max": most})
    assert json.loads(ended.stdout) == [most, 11]
    assert (ended.result["pids_peak"], ended.result["pids_max_hits"]) == (most, 1)


# CPUs


def test_a_job_sees_and_uses_only_the_cpus_of_its_set(daemon: Daemon) -> None:
    program = "import json, os; print(json.dumps(sorted(os.sched_getaffinity(0))))"
    last = max(os.sched_getaffinity(0))
    limits: Limits = {"cpu_set": str(last)}
    assert inside.ask_python(daemon, program, limits=limits) == [last]
    with daemon.client() as client:
        job = inside.submit(client, "sleep", "1000", limits=limits)
        wait_until(lambda: client.status(job)["state"] == "running")
        assert client.status(job)["limits"]["cpu_set"] == str(last)
