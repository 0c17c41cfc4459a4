"""What is done to the service costs no job anything: no byte, no exit code, no limit."""

from __future__ import annotations

import os
import select
import signal
import subprocess
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from client.api import Client
from client.errors import ClientError
from tests.kernel.harness import PROJECT, wait_until
from tests.kernel.inside import output, pids, python, submit, wait_for_output
from tests.systemd.unit import NAME, run, runctl, seconds, systemctl

if TYPE_CHECKING:
    from client.records import JobResult
    from tests.systemd.unit import Unit

EXIT_CODE = 7


def counting(last: int, pause: float = 0.004) -> list[str]:
    """A job that prints 1 to `last`, one write each, and exits with 7."""
    return python(
        "import os, time\n"
        f"for number in range(1, {last + 1}):\n"
        "    os.write(1, b'%d\\n' % number)\n"
        f"    time.sleep({pause})\n"
        f"raise SystemExit({EXIT_CODE})\n"
    )


def numbers(last: int) -> bytes:
    return b"".join(b"%d\n" % number for number in range(1, last + 1))


def result(client: Client, job: str) -> JobResult:
    """Once it has ended."""
    found = client.wait(job, timeout_seconds=60)["result"]
    assert found is not None
    return found


def shell(client: Client, script: str, **options: Any) -> str:
    return submit(client, "sh", "-c", script, **options)


def given(process: subprocess.Popen[bytes]) -> None:
    """Return when it has printed something."""
    assert process.stdout is not None
    assert select.select([process.stdout], [], [], 20)[0]


# --- the unit itself ---


def test_systemd_has_nothing_to_say_against_the_unit(unit: Unit) -> None:
    done = run("systemd-analyze", "verify", "--man=no", f"/etc/systemd/system/{NAME}", check=False)
    assert [line for line in (done.stdout + done.stderr).splitlines() if NAME in line] == []


def test_when_start_returns_clients_are_served(unit: Unit) -> None:
    for _ in range(2):
        unit.restart()
        with Client() as client:
            assert client.doctor()["cgroup_root"] == unit.root
    assert unit.show("ActiveState") == "active"
    assert "0 running" in unit.show("StatusText")
    assert "Traceback" not in unit.journal()


def test_the_directories_are_for_whom_they_are_for(unit: Unit) -> None:
    assert os.stat("/var/lib/runnerd").st_mode & 0o7777 == 0o700
    assert os.stat("/run/runnerd").st_mode & 0o7777 == 0o755
    assert os.stat("/run/runnerd/runnerd.sock").st_mode & 0o777 == 0o660


def test_the_journal_has_what_runnerd_says(unit: Unit) -> None:
    with Client() as client:
        job = submit(client, "true")
        result(client, job)
    assert f"job {job} ended: exit, status 0" in unit.journal()


# --- restarts ---


def test_a_restart_costs_a_follower_no_byte_and_a_waiter_no_exit_code(unit: Unit) -> None:
    last = 1500
    foreground = runctl("run", "--name", "counter", "--", *counting(last))
    given(foreground)
    follower = runctl("logs", "-f", "counter")
    given(follower)
    for _ in range(3):
        unit.restart()
    for process, status in ((foreground, EXIT_CODE), (follower, 0)):
        stdout, stderr = process.communicate(timeout=60)
        assert stdout == numbers(last), stderr
        assert process.returncode == status, stderr
    with Client() as client:
        assert result(client, "counter")["exit_code"] == EXIT_CODE
        assert output(client, "counter") == (numbers(last), b"")


def test_a_restart_leaves_each_job_as_it_is(unit: Unit) -> None:
    unit.configure("[jobs]\nmax_running = 4\n")
    unit.restart()
    with Client() as client:
        running = submit(client, "sleep", "1000", limits={"memory_max_bytes": 64 << 20})
        paused = submit(client, "sleep", "1000")
        wait_until(lambda: client.status(paused)["state"] == "running")
        client.pause(paused)
        networked = submit(client, "sleep", "1000", network="private")
        counted = submit(client, *counting(300))
        queued = submit(client, "sh", "-c", "exit 3")
        wait_until(lambda: bool(unit.payload(networked)) and bool(unit.payload(running)))
        before = {job: unit.payload(job) for job in (running, paused, networked)}
        unit.restart()
        states = {job["job"]: job["state"] for job in client.jobs()}
        assert states[running] == states[networked] == "running"
        assert states[paused] == "paused"
        assert states[queued] in {"queued", "starting", "running"}
        assert {job: unit.payload(job) for job in before} == before
        assert unit.job_file(paused, "payload", "cgroup.freeze") == "1"
        assert result(client, counted)["exit_code"] == EXIT_CODE
        assert result(client, queued)["exit_code"] == 3
        assert client.resume(paused) == "running"


def test_a_kill_brings_runnerd_back_and_costs_nothing(unit: Unit) -> None:
    last = 1500
    with Client() as client:
        job = submit(client, *counting(last))
        follower = runctl("logs", "-f", job)
        given(follower)
        unit.kill()
        assert unit.show("NRestarts") == "1"
        stdout, stderr = follower.communicate(timeout=60)
        assert stdout == numbers(last), stderr
        assert result(client, job)["exit_code"] == EXIT_CODE


def test_systemd_does_not_give_up_on_a_runnerd_that_cannot_start(unit: Unit) -> None:
    with Client() as client:
        job = submit(client, "sleep", "1000")
        wait_until(lambda: bool(unit.payload(job)))
        before = unit.payload(job)
        unit.drop_in("fails", "[Service]\nExecStart=\nExecStart=/bin/false\nRestartSec=0\n")
        assert run("systemctl", "restart", NAME, check=False).returncode != 0
        # By default systemd leaves it at five within ten seconds.
        wait_until(lambda: int(unit.show("NRestarts")) > 8, 30, unit.status)
        unit.drop_in("fails", "")
        wait_until(lambda: unit.show("ActiveState") == "active", 30, unit.status)
        assert client.status(job)["state"] == "running"
        assert unit.payload(job) == before


def test_a_runnerd_that_hangs_is_replaced(unit: Unit) -> None:
    unit.drop_in("watchdog", "[Service]\nWatchdogSec=5s\n")
    unit.restart()
    last = 2500
    with Client() as client:
        job = submit(client, *counting(last))
        wait_for_output(client, job, b"1\n")
        hanging = unit.main_pid
        os.kill(hanging, signal.SIGSTOP)
        wait_until(lambda: unit.main_pid not in {0, hanging}, 60, unit.status)
        assert result(client, job)["exit_code"] == EXIT_CODE
        assert output(client, job) == (numbers(last), b"")


def test_a_stop_leaves_the_jobs_and_a_start_has_them_again(unit: Unit) -> None:
    with Client() as client:
        long = submit(client, "sleep", "1000")
        brief = submit(client, *counting(300))
        wait_for_output(client, brief, b"1\n")
        wait_until(lambda: bool(unit.payload(long)))
        before = unit.payload(long)
    unit.stop()
    assert unit.show("ActiveState") == "inactive"
    assert unit.own_pids() == []
    assert unit.payload(long) == before
    wait_until(partial(unit.has_record, brief), 20)
    unit.start()
    with Client() as client:
        assert client.status(long)["state"] == "running"
        assert result(client, brief)["exit_code"] == EXIT_CODE
        assert output(client, brief) == (numbers(300), b"")


def test_a_launcher_that_does_not_end_holds_up_the_next_runnerd_and_no_job(unit: Unit) -> None:
    with Client() as client:
        job = submit(client, *counting(1500))
        wait_for_output(client, job, b"1\n")
        launcher = max(unit.launcher_pids)
        os.kill(launcher, signal.SIGSTOP)
        before = unit.main_pid
        systemctl("kill", "--kill-whom=main", "--signal=KILL", NAME)
        held = "held by another runnerd"
        wait_until(lambda: held in unit.journal(), 30, unit.status)
        os.kill(launcher, signal.SIGCONT)
        wait_until(
            lambda: unit.show("ActiveState") == "active" and unit.main_pid != before,
            30, unit.status,
        )  # fmt: skip
        assert result(client, job)["exit_code"] == EXIT_CODE
        assert output(client, job) == (numbers(1500), b"")


def test_launchers_that_are_killed_take_nothing_along(unit: Unit) -> None:
    with Client() as client:
        main, launchers = unit.main_pid, unit.launcher_pids
        for launcher in launchers:
            os.kill(launcher, signal.SIGKILL)
        wait_until(
            lambda: (
                len(unit.launcher_pids) == len(launchers) and not launchers & unit.launcher_pids
            ),
            20,
        )
        assert result(client, submit(client, "true"))["exit_code"] == 0
        assert unit.main_pid == main


# --- what systemd does meanwhile ---


def test_nothing_that_systemd_does_touches_the_cgroups_of_jobs(unit: Unit) -> None:
    limits: Any = {"memory_max_bytes": 64 << 20, "pids_max": 50, "cpu_weight": 30}
    with Client() as client:
        job = submit(client, "sleep", "1000", limits=limits)
        wait_until(lambda: bool(unit.payload(job)))
        before = unit.job_cgroups()
        for change in (
            ("daemon-reload",), ("daemon-reexec",),
            # Each of these makes systemd think about the controllers of its whole tree.
            ("set-property", "--runtime", NAME, "CPUWeight=200", "IOWeight=200"),
            ("set-property", "--runtime", "lane.service", "CPUWeight=50"),
            ("stop", NAME), ("daemon-reload",), ("start", NAME),
            ("kill", "--signal=KILL", NAME), ("kill", "--signal=KILL", "runnerd"),
        ):  # fmt: skip
            systemctl(*change)
            assert unit.job_file(job, "payload", "memory.max") == str(64 << 20), change
            assert unit.job_file(job, "payload", "pids.max") == "50", change
            assert unit.job_file(job, "", "cpu.weight") == "30", change
            assert unit.job_cgroups() == before, change
            with open(f"{unit.root}/cgroup.subtree_control", encoding="ascii") as file:
                assert set(file.read().split()) == {"cpu", "cpuset", "io", "memory", "pids"}
        wait_until(lambda: unit.show("ActiveState") == "active", 30, unit.status)
        assert client.status(job)["state"] == "running"


def test_a_restart_has_nothing_to_complain_of(unit: Unit) -> None:
    with Client() as client:
        job = submit(client, "sleep", "1000")
        wait_until(lambda: bool(unit.payload(job)))
        before = unit.journal()
        unit.restart()
    assert unit.show("Result") == "success"
    said = unit.journal().removeprefix(before)
    assert "Starting runnerd" in said
    assert "left-over" not in said
    assert "remains running" not in said


def test_limits_hold_after_a_restart(unit: Unit) -> None:
    limits: Any = {"memory_max_bytes": 32 << 20}
    with Client() as client:
        job = submit(client, *python(
            "import os, time\n"
            "while not os.path.exists('/home/alice/go'): time.sleep(0.05)\n"
            "bytearray(64 << 20)\n"
        ), limits=limits)  # fmt: skip
        wait_until(lambda: bool(unit.payload(job)))
        unit.restart()
        with open("/home/alice/go", "w", encoding="ascii"):
            pass
        assert result(client, job)["reason"] == "oom"
    # OOMPolicy=continue: it is nothing to the service.
    assert unit.show("ActiveState") == "active"
    assert unit.show("NRestarts") == "0"
    os.unlink("/home/alice/go")


def test_a_job_has_none_of_the_settings_of_the_service(unit: Unit) -> None:
    script = (
        "cat /proc/self/oom_score_adj; grep Sig[IB] /proc/self/status;"
        "env | grep -E 'NOTIFY|INVOCATION|JOURNAL|WATCHDOG|STATE_DIR|RUNTIME_DIR'; ulimit -Sn"
    )
    wanted = b"0\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n1024\n"
    with Client() as client:
        assert output(client, shell(client, script)) == (wanted, b"")
        job = submit(client, "sleep", "1000")
        wait_until(lambda: bool(unit.payload(job)))
        # Its monitor outlives a host that is short of memory.
        [monitor] = pids(f"{unit.root}/job-{job}/monitor")
        with open(f"/proc/{monitor}/oom_score_adj", encoding="ascii") as file:
            assert file.read() == "-500\n"
        entered = runctl("exec", job, "--", "sh", "-c", script)
        assert entered.communicate(timeout=30)[0] == wanted


def test_what_a_job_hides_stays_hidden_over_a_stop(unit: Unit) -> None:
    sandbox: Any = {"hide": ["/run/runnerd"]}
    script = "until [ -e /home/alice/go ]; do sleep 0.1; done; ls -A /run/runnerd 2>&1"
    with Client() as client:
        job = shell(client, script, sandbox=sandbox)
        wait_until(lambda: bool(unit.payload(job)))
        unit.stop()
        unit.start()
        assert os.path.exists("/run/runnerd/runnerd.sock")
        with open("/home/alice/go", "w", encoding="ascii"):
            pass
        stdout, _ = output(client, job)
        assert b"runnerd.sock" not in stdout
    os.unlink("/home/alice/go")


# --- shutdown policies ---


def test_a_stop_that_waits_for_its_jobs_is_given_the_time(unit: Unit) -> None:
    unit.configure('[shutdown]\npolicy = "wait"\ntimeout_seconds = 60\n')
    unit.drop_in("time", "[Service]\nTimeoutStopSec=1\n")
    unit.restart()
    with Client() as client:
        job = submit(client, *counting(10, pause=0.4))
        wait_for_output(client, job, b"1\n")
    assert seconds(unit.stop) > 2
    assert unit.show("Result") == "success"
    assert unit.has_record(job)


def test_a_stop_that_stops_its_jobs_leaves_none(unit: Unit) -> None:
    unit.configure('[shutdown]\npolicy = "stop"\n')
    unit.restart()
    with Client() as client:
        job = submit(client, "sleep", "1000")
        wait_until(lambda: bool(unit.payload(job)))
    unit.stop()
    assert unit.job_cgroups() == set()
    unit.start()
    with Client() as client:
        assert result(client, job)["reason"] == "stopped"


# --- from one way of running it to another ---


def _answers() -> bool:
    with Client() as client, suppress(ClientError):
        return bool(client.hello())
    return False


def test_jobs_of_a_runnerd_that_was_started_by_hand_are_taken_over(unit: Unit) -> None:
    unit.stop()
    by_hand = [*python("")[:1], "-m", "runner.main"]
    process = subprocess.Popen(by_hand, cwd=PROJECT, stderr=subprocess.DEVNULL)
    wait_until(_answers, 20)
    with Client() as client:
        job = submit(client, *counting(1500))
        wait_for_output(client, job, b"1\n")
    process.terminate()
    assert process.wait(20) == 0
    unit.start()
    with Client() as client:
        assert result(client, job)["exit_code"] == EXIT_CODE
        assert output(client, job) == (numbers(1500), b"")
