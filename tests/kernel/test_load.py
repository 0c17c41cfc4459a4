"""Many jobs at once, much output, little room for it: nothing is lost, mixed up or left."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import TYPE_CHECKING

from client.logstream import LogChunk, LogGap
from tests.kernel import inside
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here
from tests.load import account

if TYPE_CHECKING:
    from client.api import Client
    from tests.kernel.harness import Daemon

JOBS = 200
WAITING = 1000
THREADS = 8
MIB = 1024 * 1024
KIB = 1024


def test_two_hundred_jobs_from_eight_threads_are_each_exact(daemon: Daemon) -> None:
    with daemon.client() as client, ThreadPoolExecutor(THREADS) as pool:
        ended = list(pool.map(lambda number: echo(client, number), range(JOBS)))
        stored = list(client.jobs(ended=True))
    for number, (job, status, stdout, stderr) in enumerate(ended):
        assert (status, stdout, stderr) == (number % 100, f"{number}\n".encode(), b""), job
    assert len({job for job, *_ in ended}) == JOBS
    assert {summary["job"] for summary in stored} == {job for job, *_ in ended}
    assert Counter(summary["state"] for summary in stored) == {"ended": JOBS}
    assert inside.job_cgroups(daemon) == []


def echo(client: Client, number: int) -> tuple[str, int | None, bytes, bytes]:
    """One job that says its number, and ends with it."""
    job = inside.submit(client, "sh", "-c", f"echo {number}; exit {number % 100}")
    stdout, stderr = inside.output(client, job)
    result = client.wait(job)["result"]
    return job, result and result["exit_code"], stdout, stderr


def test_a_hundred_megabytes_arrive_exactly_and_are_charged_to_the_job(daemon: Daemon) -> None:
    program = """
import hashlib, os
block = hashlib.shake_128(b"any").digest(1 << 20)
for number in range(100):
    data = number.to_bytes(8, "big") + block[8:]
    while data:
        data = data[os.write(1, data):]
"""
    block = hashlib.shake_128(b"any").digest(MIB)
    expected = hashlib.sha256()
    for number in range(100):
        expected.update(number.to_bytes(8, "big") + block[8:])
    seen, size = hashlib.sha256(), 0
    with daemon.client() as client:
        job = inside.submit(client, *inside.python(program), limits={"memory_max_bytes": 32 * MIB})
        with client.logs(job, follow=True) as log:
            for item in log:
                assert isinstance(item, LogChunk), item
                seen.update(item.data)
                size += len(item.data)
        result = client.wait(job)["result"]
    assert (size, seen.hexdigest()) == (100 * MIB, expected.hexdigest())
    assert result is not None
    assert (result["reason"], result["exit_code"], result["log_bytes"]) == ("exit", 0, 100 * MIB)
    # All of it is on the disk at the end, and it was the job that wrote it.
    assert (result["io_write_bytes"] or 0) >= 100 * MIB
    assert (result["memory_peak_bytes"] or 0) <= 32 * MIB


LINE = 16
# Each line is the offset at which it stands.
OFFSETS = """
import os
for start in range(0, {size}, {chunk}):
    os.write(1, b"".join(b"%015d\\n" % at for at in range(start, start + {chunk}, {line})))
"""


def lines(start: int, end: int) -> bytes:
    """What stands between two offsets."""
    first = start - start % LINE
    text = b"".join(b"%015d\n" % at for at in range(first, end, LINE))
    return text[start - first : end - first]


def test_output_beyond_what_is_kept_is_replaced_by_an_exact_gap(own_daemon: Daemon) -> None:
    segment, keep, size = 64 * KIB, 256 * KIB, 4 * MIB
    own_daemon.config.write_text(f"[logs]\nsegment_bytes = {segment}\nkeep_bytes = {keep}\n")
    own_daemon.start()
    program = OFFSETS.format(size=size, chunk=8 * KIB, line=LINE)
    with own_daemon.client() as client:
        job = inside.submit(client, *inside.python(program))
        check_account(list(client.logs(job, follow=True)), size)
        items = list(client.logs(job))
        inner = list(client.logs(job, cursor=size - 100))
        status = client.status(job)
        directory = f"{own_daemon.state_dir}/jobs/{job}/log"
        kept = sum(os.stat(f"{directory}/{name}").st_size for name in os.listdir(directory))
        runctl = own_daemon.runctl("logs", job)
    assert status["result"] is not None
    assert status["result"]["log_bytes"] == size
    gap = items[0]
    assert isinstance(gap, LogGap)
    assert gap.gap_bytes == gap.offset > 0
    assert not any(isinstance(item, LogGap) for item in items[1:])
    check_account(items, size)
    # The newest that was to be kept is there, and little besides: a segment and one read.
    assert size - gap.offset >= keep - segment - 256 * KIB
    assert keep * 0.9 <= kept <= keep + segment + 256 * KIB
    assert b"".join(item.data for item in inner if isinstance(item, LogChunk)) == lines(
        size - 100, size
    )
    assert runctl.stdout.encode() == lines(gap.offset, size)
    assert runctl.stderr.count("\n") == 1
    assert "was removed by retention" in runctl.stderr


def check_account(items: list[LogChunk | LogGap], size: int) -> None:
    """Every byte is there at its place, or in a gap that says so; none twice."""
    at = 0
    for item in items:
        if isinstance(item, LogGap):
            assert item.offset == at + item.gap_bytes
            at = item.offset
        else:
            assert item.offset == at
            assert item.data == lines(at, at + len(item.data))
            at += len(item.data)
    assert at == size


def test_jobs_that_must_wait_start_one_after_the_other_in_their_order(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with own_daemon.client() as client:
        jobs = [inside.submit(client, "sh", "-c", "exit 0") for _ in range(5)]
        ended = [client.wait(job) for job in jobs]
    times = [(job["started_ns"] or 0, job["ended_ns"] or 0) for job in ended]
    assert all(before[1] <= after[0] for before, after in pairwise(times))


def test_a_thousand_jobs_wait_over_a_kill_and_are_stopped_together(own_daemon: Daemon) -> None:
    own_daemon.start()
    with own_daemon.client() as client, ThreadPoolExecutor(THREADS) as pool:
        client.set_queue("default", paused=True)
        jobs = set(pool.map(lambda _: inside.submit(client, "true"), range(WAITING)))
        before = list(client.jobs())
        own_daemon.kill()
        own_daemon.start()
        # The same, in the same order.
        assert list(client.jobs()) == before
        assert {job["job"] for job in before} == jobs
        stopped = client.stop_many({}, expect=WAITING)
        assert (stopped["jobs"], stopped["queued"], stopped["running"]) == (WAITING, WAITING, 0)
        account.all_stopped_unrun(client, jobs)
        assert client.prune(everybody=True)["jobs"] == WAITING
