"""Two launchers, one of them in C: who runs which job, and what becomes of jobs without it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from client.logstream import LogChunk
from runner import native_jobs, native_program
from tests.kernel import inside, traces
from tests.kernel.harness import Daemon, wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.skipif(
    not any(map(shutil.which, ("cc", "gcc", "clang"))), reason="the native launcher is not built"
)

SPECIAL: inside.Options = {"sandbox": {"filesystem": "readonly"}}
PREPARED_NETWORKS = 2


def monitor_of(daemon: Daemon, **options: object) -> str:
    """Which program the monitor of a job is, by the kernel's word."""
    with daemon.client() as client:
        job = inside.submit(client, "sleep", "1000", **options)  # type: ignore[arg-type]
        inside.wait_for_command(daemon, job, "sleep")
        pid = client.status(job)["pid"]
        name = os.path.basename(os.readlink(f"/proc/{pid}/exe"))
        client.stop(job, kill=True)
        client.wait(job)
    return name


def is_native(name: str) -> bool:
    return name == "runnerd-launch"


def test_plain_jobs_are_the_native_ones_and_all_others_pythons(own_daemon: Daemon) -> None:
    own_daemon.start("native")
    for network in ("none", "host"):
        assert is_native(monitor_of(own_daemon, network=network))
    assert not is_native(monitor_of(own_daemon, **SPECIAL))
    assert not is_native(monitor_of(own_daemon, network="private"))
    assert not is_native(monitor_of(own_daemon, logs={"compression": "zstd"}))


def test_all_are_pythons_where_the_native_one_is_not_wanted(own_daemon: Daemon) -> None:
    own_daemon.start("python")
    assert set(own_daemon.launchers()) == {"python"}
    assert not is_native(monitor_of(own_daemon))
    assert "native_launcher is false" in own_daemon.runctl("doctor").stdout


def test_while_plain_jobs_alone_run_the_daemon_makes_no_network(own_daemon: Daemon) -> None:
    own_daemon.start("native")
    assert inside.run(own_daemon, "true").result["exit_status"] == 0
    assert "net" not in traces.descriptors(own_daemon.pid)
    with open(f"/proc/{own_daemon.pid}/status", encoding="ascii") as file:
        threads = int(inside.status_fields(file.read())["Threads"])
    assert inside.run(own_daemon, "true", **SPECIAL).result["exit_status"] == 0
    # From now on some are kept ready.
    wait_until(
        lambda: traces.descriptors(own_daemon.pid).count("net") == PREPARED_NETWORKS,
        explain=lambda: traces.descriptors(own_daemon.pid),
    )
    with open(f"/proc/{own_daemon.pid}/status", encoding="ascii") as file:
        assert int(inside.status_fields(file.read())["Threads"]) > threads


def test_every_plain_job_has_a_network_of_its_own_from_either(own_daemon: Daemon) -> None:
    """As many as are prepared, and more."""
    own_daemon.start("native")
    text = "readlink /proc/self/ns/net; grep -c . /proc/net/dev; echo .; exec sleep 1000"
    seen = [os.readlink("/proc/self/ns/net")]
    with own_daemon.client() as client:
        # All at once: the kernel gives the number of one that has gone to another.
        for number in range(9):
            options = SPECIAL if number % 3 == 0 else {}
            job = inside.submit(client, "sh", "-c", text, **options)
            inside.wait_for_output(client, job, b".\n")
            said = b"".join(item.data for item in client.logs(job) if isinstance(item, LogChunk))
            namespace, lines, _ = said.decode().split()
            # Two lines of headings, and lo.
            assert lines == "3"
            seen.append(namespace)
        for job in [each["job"] for each in client.jobs()]:
            client.stop(job, kill=True)
            client.wait(job)
    assert len(set(seen)) == len(seen)


@contextmanager
def in_its_place(base: Path, text: str) -> Iterator[None]:
    """A script instead of the program, for as long as it takes."""
    path = base / "another"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    subprocess.run(["mount", "--bind", path, native_program.PATH], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", native_program.PATH], check=True)


def test_a_program_of_another_version_is_not_used_and_the_doctor_says_so(
    own_daemon: Daemon, tmp_path: Path
) -> None:
    with in_its_place(tmp_path, "PATH=/usr/bin:/bin; echo 1000"):
        own_daemon.start("native", used="python")
        assert not is_native(monitor_of(own_daemon))
        done = own_daemon.runctl("doctor")
        assert "is of version '1000'" in done.stdout
        assert own_daemon.log_text().count("is of version '1000'") == 1
        own_daemon.stop()


def test_one_that_crashes_when_it_is_started_again_is_given_up_and_no_job_notices(
    own_daemon: Daemon, tmp_path: Path
) -> None:
    own_daemon.start("native")
    crashing = f'[ "$1" = --version ] && exec echo {native_jobs.VERSION}\nkill -SEGV $$'
    with in_its_place(tmp_path, crashing), own_daemon.client() as client:
        wait_until(lambda: "native" in own_daemon.launchers())
        os.kill(own_daemon.launchers()["native"], signal.SIGKILL)
        jobs = [inside.submit(client, "sh", "-c", "exit 7") for _ in range(4)]
        wait_until(lambda: client.doctor()["launcher"]["kind"] == "python")
        jobs += [inside.submit(client, "sh", "-c", "exit 7") for _ in range(2)]
        for job in jobs:
            result = client.wait(job)["result"]
            assert result is not None
            assert result["exit_status"] == 7
        assert "it ended with status -11" in str(client.doctor()["launcher"]["why"])
    assert own_daemon.log_text().count("is given up until runnerd starts again") == 1


def test_a_job_goes_on_over_a_change_of_its_launcher_and_ends_the_same(own_daemon: Daemon) -> None:
    """What one launcher began the next daemon has again, whichever it uses itself."""
    with own_daemon.client() as client:
        jobs = []
        for launcher in ("native", "python"):
            own_daemon.start(launcher)
            jobs.append(inside.submit(client, "sh", "-c", "echo begun; sleep 1000"))
            inside.wait_for_output(client, jobs[-1], b"begun")
            own_daemon.kill()
        own_daemon.start("native")
        for job in jobs:
            client.stop(job)
            result = client.wait(job)["result"]
            assert result is not None
            assert (result["reason"], result["signal"]) == ("stopped", signal.SIGTERM)
