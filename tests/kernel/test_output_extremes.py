"""Output as strange and as fast as it comes: each stream byte for byte, and its cost the job's."""

from __future__ import annotations

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from client import protocol
from client.logstream import LogChunk
from tests.kernel import inside
from tests.kernel.harness import wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from client.api import Client
    from client.records import Logs
    from tests.kernel.harness import Daemon

KIB = 1024
MIB = 1024 * 1024

KEPT: list[Logs] = [
    {},
    {"segment_bytes": 64 * KIB, "keep_segments": 4096},
    {"segment_bytes": 64 * KIB, "keep_segments": 4096, "compression": "zstd"},
]
each_way_to_keep_it = pytest.mark.parametrize("logs", KEPT, ids=["plain", "segments", "zstd"])


@each_way_to_keep_it
def test_single_bytes_arrive_one_by_one_in_their_order(daemon: Daemon, logs: Logs) -> None:
    program = """
import os
for number in range(30_000):
    os.write(1 + number % 3 % 2, bytes([number * 7 % 256]))
"""
    expected = {1: bytearray(), 2: bytearray()}
    for number in range(30_000):
        expected[1 + number % 3 % 2].append(number * 7 % 256)
    ended = inside.run_python(daemon, program, logs=logs)
    assert ended.stdout == expected[1]
    assert ended.stderr == expected[2]
    assert ended.result["log_bytes"] == 30_000


@each_way_to_keep_it
def test_bytes_that_are_no_text_arrive_as_they_are(daemon: Daemon, logs: Logs) -> None:
    """NULs, invalid UTF-8, escape sequences, a torn character at the end of each write."""
    program = """
import os
every = bytes(range(256)) * 16
for number in range(150):
    os.write(1, every[number:] + b"\\xf0\\x9f\\x98")
    os.write(2, bytes(4096) + b"\\x80\\x1b[2J\\r" + every[:number])
"""
    every = bytes(range(256)) * 16
    ended = inside.run_python(daemon, program, logs=logs)
    assert ended.stdout == b"".join(every[n:] + b"\xf0\x9f\x98" for n in range(150))
    assert ended.stderr == b"".join(bytes(4096) + b"\x80\x1b[2J\r" + every[:n] for n in range(150))


@pytest.mark.parametrize(
    "logs", [{}, {"segment_bytes": MIB, "compression": "zstd"}], ids=["plain", "zstd"]
)
def test_a_line_of_a_hundred_mebibytes_is_whole(daemon: Daemon, logs: Logs) -> None:
    size = 100 * MIB
    program = f"""
import os
for _ in range({size // MIB}):
    data = b"x" * {MIB}
    while data:
        data = data[os.write(1, data):]
"""
    seen, total = hashlib.sha256(), 0
    with daemon.client() as client:
        job = inside.submit(client, *inside.python(program), logs=logs)
        with client.logs(job, follow=True) as log:
            for item in log:
                assert isinstance(item, LogChunk), item
                assert (item.offset, item.stream) == (total, protocol.STDOUT)
                seen.update(item.data)
                total += len(item.data)
        result = client.wait(job)["result"]
    assert result is not None
    assert (total, result["log_bytes"], result["exit_code"]) == (size, size, 0)
    assert seen.hexdigest() == hashlib.sha256(b"x" * size).hexdigest()


@each_way_to_keep_it
def test_two_streams_at_full_speed_are_each_in_order(daemon: Daemon, logs: Logs) -> None:
    """Each word is its own number, in writes of all sizes, by two processes at once."""
    program = """
import os, random
stream = 2 if os.fork() == 0 else 1
chance, number, end = random.Random(stream), 0, 500_000
while number < end:
    last = min(end, number + chance.choice([1, 3, 50, 5000, 20_000]))
    data = b"".join(b"%07d " % word for word in range(number, last))
    while data:
        data = data[os.write(stream, data):]
    number = last
if stream == 1:
    os.wait()
else:
    os._exit(0)
"""
    expected = b"".join(b"%07d " % word for word in range(500_000))
    ended = inside.run_python(daemon, program, logs=logs)
    assert ended.result["exit_code"] == 0, ended.text[-500:]
    assert ended.stdout == expected
    assert ended.stderr == expected
    assert ended.result["log_bytes"] == 2 * len(expected)


def test_what_writing_the_log_costs_is_charged_to_the_job(daemon: Daemon) -> None:
    """The monitor writes and compresses, in the job's cgroup; the daemon has no part in it."""
    size = 64 * MIB
    program = f"""
import os, time
block = bytes(range(256)) * 1024
for _ in range({size} // len(block)):
    data = block
    while data:
        data = data[os.write(1, data):]
time.sleep(1000)
"""
    logs: Logs = {"segment_bytes": MIB, "compression": "zstd"}
    with daemon.client() as client:
        job = inside.submit(client, *inside.python(program), logs=logs)
        slice_ = f"{daemon.cgroup_root}/job-{job}"
        wait_until(lambda: client.status(job)["state"] == "running")
        before = cpu_seconds(daemon.pid)
        pid = client.status(job)["pid"]
        with open(f"/proc/{pid}/cgroup", encoding="ascii") as file:
            assert file.read().strip().endswith(f"/job-{job}/monitor")
        directory = f"{daemon.state_dir}/jobs/{job}/log"
        last = f"{size - 2 * MIB:020}"
        wait_until(lambda: max(os.listdir(directory), default="") > last, 60)
        # The job is silent now, and still each segment but the one being written is compressed.
        wait_until(lambda: sum(name.endswith(".log") for name in os.listdir(directory)) == 1)
        daemons = cpu_seconds(daemon.pid) - before
        monitors = usage_usec(f"{slice_}/monitor") / 1e6
        payloads = usage_usec(f"{slice_}/payload") / 1e6
        peak = int(read(f"{slice_}/monitor/memory.peak"))
        written = sum(
            int(word.removeprefix("wbytes="))
            for word in read(f"{slice_}/io.stat").split()
            if word.startswith("wbytes=")
        )
        client.stop(job, kill=True)
        result = client.wait(job)["result"]
    assert result is not None
    assert monitors > 0.02
    # The job's account is the sum, and it goes on a little until the end.
    assert (result["cpu_usec"] or 0) / 1e6 >= monitors + payloads
    assert daemons < 0.2 + monitors / 10
    assert 0 < peak < 96 * MIB
    assert written > 0


def usage_usec(cgroup: str) -> int:
    return int(read(f"{cgroup}/cpu.stat").split()[1])


def read(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far (proc(5))."""
    fields = read(f"/proc/{pid}/stat").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# A thousand take minutes on the guest's one CPU, and this is one of many tests.
JOBS = int(os.environ.get("RUNNERD_TEST_JOBS", "250"))
THREADS = 8


def test_many_jobs_of_one_line_are_each_exact(daemon: Daemon) -> None:
    with daemon.client() as client, ThreadPoolExecutor(THREADS) as pool:
        ended = list(pool.map(lambda number: one_line(client, number), range(JOBS)))
    assert len({job for job, *_ in ended}) == JOBS
    for number, (job, output, log_bytes, status) in enumerate(ended):
        line = f"line {number} of {JOBS}\n".encode()
        assert (output, log_bytes, status) == ((line, b""), len(line), 0), job


def one_line(
    client: Client, number: int
) -> tuple[str, tuple[bytes, bytes], int | None, int | None]:
    job = inside.submit(client, "/bin/echo", f"line {number} of {JOBS}")
    result = client.wait(job)["result"]
    assert result is not None
    return job, inside.output(client, job), result["log_bytes"], result["exit_code"]
