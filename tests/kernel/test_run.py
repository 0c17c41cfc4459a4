"""The main path through a terminal: output, exit codes, and what a job is told to be."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.kernel import inside
from tests.kernel.harness import wait_until
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

# A job that says when it is there, and does something at SIGTERM. `wait` and not `sleep`
# alone: a shell runs its trap only between commands.
ON_TERM = "trap '{}' TERM; echo ready; while :; do sleep 5 & wait $!; done"
# SIGTERM goes to every process of a job; an ignored signal stays ignored over an exec.
DEAF = "trap '' TERM; echo ready; while :; do sleep 5; done"


@contextmanager
def directory(path: str, owner: int, mode: int = 0o755) -> Iterator[str]:
    """A directory of somebody's, with what was put in it, for as long as a test needs it."""
    os.makedirs(path)
    os.chown(path, owner, owner)
    os.chmod(path, mode)
    try:
        yield path
    finally:
        for top, names, files in os.walk(path, topdown=False):
            for name in files:
                os.unlink(f"{top}/{name}")
            for name in names:
                (os.unlink if os.path.islink(f"{top}/{name}") else os.rmdir)(f"{top}/{name}")
        os.rmdir(path)


@contextmanager
def foreground(daemon: Daemon, script: str) -> Iterator[subprocess.Popen[bytes]]:
    """A runctl whose job has said that it is ready."""
    process = daemon.spawn_runctl("run", "--", "sh", "-c", script, user="alice")
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
    finally:
        process.kill()
        process.communicate()


# Output


def test_output_goes_where_the_job_sent_it_and_the_exit_code_is_the_jobs(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--", "sh", "-c", "echo out; echo err >&2; exit 3", user="alice")
    assert (done.stdout, done.stderr, done.returncode) == ("out\n", "err\n", 3)


def test_five_megabytes_of_any_bytes_come_out_exactly_as_they_were_written(daemon: Daemon) -> None:
    size = 5_000_000
    program = f"""
import hashlib, os
data = hashlib.shake_128(b"any").digest({size})
os.write(2, b"\\xff\\xfe\\x00\\xc3(")
sent = 0
while sent < len(data):
    sent += os.write(1, data[sent:])
os.write(2, b"\\x00\\n")
"""
    process = daemon.spawn_runctl("run", "--", *inside.python(program), user="alice")
    stdout, stderr = process.communicate(timeout=60)
    expected = hashlib.shake_128(b"any").digest(size)
    assert b"\0" in expected
    assert (process.returncode, stderr) == (0, b"\xff\xfe\x00\xc3(\x00\n")
    assert len(stdout) == size
    assert stdout == expected


def test_a_job_may_open_its_streams_again_by_name(daemon: Daemon) -> None:
    script = "echo a > /dev/stdout; echo b >> /dev/stderr; echo c > /proc/self/fd/1"
    done = daemon.runctl("run", "--", "sh", "-c", script, user="alice")
    assert (done.stdout, done.stderr, done.returncode) == ("a\nc\n", "b\n", 0)


def test_stdin_is_empty_and_always_at_its_end(daemon: Daemon) -> None:
    script = "readlink /proc/self/fd/0; cat; read line || echo end"
    done = daemon.runctl("run", "--", "sh", "-c", script, user="alice")
    assert (done.stdout, done.returncode) == ("/dev/null\nend\n", 0)


# Who and where


def test_a_job_is_the_user_who_asked_with_their_groups(
    daemon: Daemon, users: dict[str, int]
) -> None:
    ask = ("id", "-u"), ("id", "-g"), ("id", "-G")
    expected = [inside.on_host(*command, "alice").strip() for command in ask]
    script = "; ".join(" ".join(command) for command in ask)
    done = daemon.runctl("run", "--", "sh", "-c", script, user="alice")
    assert done.stdout.splitlines() == expected
    assert expected[0] == str(users["alice"])
    assert len(expected[2].split()) > 1


def test_directory_and_umask_are_the_callers(daemon: Daemon) -> None:
    process = daemon.spawn_runctl(
        "run", "--", "sh", "-c", "pwd; umask", user="alice", cwd="/home/alice", umask=0o027
    )
    assert process.communicate(timeout=30) == (b"/home/alice\n0027\n", b"")


def test_the_environment_is_the_callers_and_which_job_it_is(daemon: Daemon) -> None:
    odd = {"ODD": "a b\n=c ", "EMPTY": ""}
    env = {**odd, "PATH": inside.PATH}
    arguments = ("--env", "ODD", "--env", "NEW=x=y", "--env", "EMPTY=", "--", "env", "-0")
    done = daemon.runctl("run", *arguments, user="alice", env=env)
    seen = dict(item.split("=", 1) for item in done.stdout.split("\0")[:-1])
    outside = daemon._as_user("alice", "/", env)["env"]
    # And which job and attempt it is, by our word.
    assert (len(seen.pop("RUNNERD_JOB")), seen.pop("RUNNERD_ATTEMPT")) == (36, "1")
    assert seen == {**outside, "NEW": "x=y"}


def test_a_caller_without_a_locale_gets_no_other_one_in_the_job(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--", "env", user="alice", env={"LANG": "C"})
    assert "LANG=C" in done.stdout.splitlines()
    assert "LC_CTYPE" not in done.stdout


def test_a_variable_given_with_env_wins_over_the_callers(daemon: Daemon) -> None:
    arguments = ("--env", "ODD=job", "--", "sh", "-c", "echo $ODD")
    done = daemon.runctl("run", *arguments, user="alice", env={"ODD": "caller"})
    assert done.stdout == "job\n"


def test_a_variable_that_is_not_set_cannot_be_passed_on(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--env", "NO_SUCH", "--", "true", user="alice")
    assert done.returncode == 125
    assert "NO_SUCH" in done.stderr


def test_cwd_may_be_relative_to_the_callers_directory(
    daemon: Daemon, users: dict[str, int]
) -> None:
    with directory("/home/alice/sub", users["alice"]):
        arguments = ("run", "--cwd", "sub", "--", "pwd")
        done = daemon.runctl(*arguments, user="alice", cwd="/home/alice")
    assert (done.stdout, done.stderr) == ("/home/alice/sub\n", "")


def test_a_directory_below_tmp_is_the_only_thing_of_the_hosts_tmp_in_the_job(
    daemon: Daemon, users: dict[str, int]
) -> None:
    alice = users["alice"]
    with directory("/tmp/above", alice), directory("/tmp/beside", alice):
        os.makedirs("/tmp/above/hidden")
        os.makedirs("/tmp/above/place")
        os.chown("/tmp/above/place", alice, alice)
        script = "pwd; find /tmp | sort; echo made > here; echo lost > /tmp/there"
        arguments = ("run", "--cwd", "/tmp/above/place", "--", "sh", "-c", script)
        done = daemon.runctl(*arguments, user="alice")
        assert (done.stderr, done.returncode) == ("", 0)
        assert done.stdout.split() == ["/tmp/above/place", "/tmp", "/tmp/above", "/tmp/above/place"]
        with open("/tmp/above/place/here", encoding="ascii") as file:
            assert file.read() == "made\n"
        assert os.stat("/tmp/above/place/here").st_uid == alice
        assert not os.path.exists("/tmp/there")


def test_a_link_into_tmp_leads_to_the_directory_that_it_names(
    daemon: Daemon, users: dict[str, int]
) -> None:
    with directory("/tmp/real", users["alice"]), directory("/home/alice/links", users["alice"]):
        os.symlink("/tmp/real", "/home/alice/links/one")
        arguments = ("run", "--cwd", "/home/alice/links/one", "--", "sh", "-c", "pwd; touch here")
        done = daemon.runctl(*arguments, user="alice")
        assert (done.stdout, done.stderr) == ("/tmp/real\n", "")
        assert os.listdir("/tmp/real") == ["here"]


@pytest.mark.parametrize("kind", ["missing", "a file", "closed to the user"])
def test_a_directory_that_the_user_cannot_enter_is_refused_by_name(
    daemon: Daemon, kind: str
) -> None:
    with directory("/home/alice/closed", 0, 0o700) as closed:
        path = {"missing": "/no/such", "a file": "/etc/passwd", "closed to the user": closed}[kind]
        done = daemon.runctl("run", "--cwd", path, "--", "true", user="alice")
    assert done.returncode == 125
    assert "--cwd" in done.stderr
    assert path in done.stderr


def test_a_name_stands_for_the_job(daemon: Daemon) -> None:
    assert (
        daemon.runctl("run", "--name", "one.2-x", "--", "echo", "hi", user="alice").stdout == "hi\n"
    )
    assert daemon.runctl("logs", "one.2-x", user="alice").stdout == "hi\n"


def test_a_detached_job_goes_on_alone_and_can_be_waited_for(daemon: Daemon) -> None:
    script = "read line; sleep 0.3; echo late; exit 9"
    detached = daemon.runctl("run", "--detach", "--", "sh", "-c", script, user="alice")
    job = detached.stdout.strip()
    assert (len(job), detached.stderr, detached.returncode) == (36, "", 0)
    waited = daemon.runctl("wait", job, user="alice")
    assert (waited.stdout, waited.returncode) == (f"{job[:8]} ended with exit code 9\n", 9)
    assert daemon.runctl("logs", job, user="alice").stdout == "late\n"


# How it ends


def test_every_exit_code_is_passed_on(daemon: Daemon) -> None:
    codes = [0, 1, 2, 100, 124, 125, 126, 127, 128, 137, 143, 254, 255]
    with daemon.client() as client:
        jobs = [inside.submit(client, "sh", "-c", f"exit {code}") for code in codes]
        results = [client.wait(job)["result"] for job in jobs]
    assert [result and result["reason"] for result in results] == ["exit"] * len(codes)
    assert [result and result["exit_code"] for result in results] == codes
    assert [result and result["exit_status"] for result in results] == codes
    assert [result and result["signal"] for result in results] == [None] * len(codes)


def test_a_signal_that_we_did_not_send_is_told_from_ours(daemon: Daemon) -> None:
    numbers = [
        signal.SIGHUP,
        signal.SIGABRT,
        signal.SIGKILL,
        signal.SIGSEGV,
        signal.SIGTERM,
        40,
        64,
    ]
    with daemon.client() as client:
        jobs = [inside.submit(client, "sh", "-c", f"kill -{int(n)} $$") for n in numbers]
        results = [client.wait(job)["result"] for job in jobs]
    assert [result and result["reason"] for result in results] == ["signal"] * len(numbers)
    assert [result and result["signal"] for result in results] == numbers
    assert [result and result["exit_status"] for result in results] == [128 + n for n in numbers]
    assert [result and result["exit_code"] for result in results] == [None] * len(numbers)


def test_runctl_says_which_signal_it_was_and_exits_with_128_more(daemon: Daemon) -> None:
    done = daemon.runctl("run", "--", "sh", "-c", "kill -9 $$", user="alice")
    assert done.returncode == 137
    assert done.stderr.count("\n") == 1
    assert "was killed by signal 9 (SIGKILL)" in done.stderr


def test_a_job_that_overstays_its_time_limit_exits_with_124(daemon: Daemon) -> None:
    began = time.monotonic()
    done = daemon.runctl("run", "--timeout", "0.3", "--", "sleep", "30", user="alice")
    assert time.monotonic() - began < 10
    assert (done.stdout, done.returncode) == ("", 124)
    assert done.stderr.count("\n") == 1
    assert "ended at its time limit" in done.stderr


def test_a_job_that_ends_well_when_its_time_is_up_has_timed_out_all_the_same(
    daemon: Daemon,
) -> None:
    script = ON_TERM.format("echo bye; exit 0")
    ended = inside.run_shell(daemon, script, limits={"timeout_seconds": 1})
    assert ended.stdout == b"ready\nbye\n"
    assert (ended.result["reason"], ended.result["exit_code"]) == ("timeout", 0)
    assert ended.result["exit_status"] == 124


def test_a_job_that_ignores_sigterm_is_killed_when_the_grace_is_over(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nstop_grace_seconds = 0.3\n")
    own_daemon.start()
    ended = inside.run_shell(own_daemon, DEAF, limits={"timeout_seconds": 0.5})
    assert (ended.result["reason"], ended.result["signal"]) == ("timeout", signal.SIGKILL)
    assert ended.result["exit_status"] == 124
    wall = ended.result["wall_ns"]
    assert wall is not None
    assert 0.8e9 <= wall < 8e9


def test_stop_gives_the_job_its_grace_and_then_kills_it(daemon: Daemon) -> None:
    with daemon.client() as client:
        job = inside.submit(client, "sh", "-c", DEAF)
        inside.wait_for_output(client, job, b"ready")
        stopped = daemon.runctl("stop", "--grace", "0.2", job)
        result = client.status(job)["result"]
    assert (stopped.stdout, stopped.returncode) == (f"{job[:8]} was stopped by root\n", 0)
    assert result is not None
    assert (result["reason"], result["signal"], result["exit_status"]) == ("stopped", 9, 137)


def test_a_stopped_job_keeps_the_exit_code_that_it_chose(daemon: Daemon) -> None:
    with foreground(daemon, ON_TERM.format("exit 5")) as process:
        assert daemon.runctl("ps", user="alice").stdout.count("\n") == 2
        job = next(line for line in daemon.runctl("ps", user="alice").stdout.splitlines()[1:])
        assert daemon.runctl("stop", job.split()[0], user="alice").returncode == 0
        _, stderr = process.communicate(timeout=20)
    assert process.returncode == 5
    assert b"was stopped" in stderr


@pytest.mark.parametrize(
    ("what", "status"),
    [
        ("not executable", 126),
        ("a directory", 126),
        ("of no known format", 126),
        ("empty", 126),
        ("not there", 127),
        ("below a file", 127),
        ("a script without its interpreter", 127),
    ],
)
def test_a_command_that_cannot_run_is_told_from_one_that_is_not_found(
    daemon: Daemon, users: dict[str, int], what: str, status: int
) -> None:
    with directory("/home/alice/bin", users["alice"]) as place:
        program(f"{place}/plain", b"#!/bin/sh\n", 0o644)
        program(f"{place}/garbage", b"\x00\x01garbage", 0o755)
        program(f"{place}/empty", b"", 0o755)
        program(f"{place}/script", b"#!/no/such/interpreter\n", 0o755)
        command = {
            "not executable": f"{place}/plain",
            "a directory": place,
            "of no known format": f"{place}/garbage",
            "empty": f"{place}/empty",
            "not there": f"{place}/nothing",
            "below a file": f"{place}/plain/nothing",
            "a script without its interpreter": f"{place}/script",
        }[what]
        ended = inside.run(daemon, command)
    assert ended.result["reason"] == "launch-error"
    assert ended.result["exit_status"] == status
    assert (ended.result["exit_code"], ended.result["signal"]) == (None, None)
    assert command in (ended.result["detail"] or "")
    assert (ended.stdout, ended.stderr) == (b"", b"")


def program(path: str, content: bytes, mode: int) -> None:
    """A file that may be a program or not."""
    with open(path, "wb") as file:
        file.write(content)
    os.chmod(path, mode)


def test_a_command_is_looked_for_in_the_path_of_the_job(
    daemon: Daemon, users: dict[str, int]
) -> None:
    with directory("/home/alice/bin", users["alice"]) as place:
        program(f"{place}/tool", b"#!/bin/sh\necho found\n", 0o755)
        found = daemon.runctl("run", "--env", f"PATH={place}:/bin", "--", "tool", user="alice")
    missing = daemon.runctl("run", "--", "tool", user="alice")
    assert (found.stdout, found.returncode) == ("found\n", 0)
    assert (missing.stdout, missing.returncode) == ("", 127)
    assert missing.stderr.count("\n") == 1
    assert "tool" in missing.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "--mem", "12Q", "--", "true"),
        ("run", "--no-such-option", "--", "true"),
        ("run", "--mem", "1K", "--", "true"),
        ("run", "--user", "root", "--", "true"),
        ("run", "--name", "no spaces", "--", "true"),
        ("run", "--", ""),
        ("run",),
    ],
    ids=" ".join,
)
def test_what_is_refused_exits_with_125_and_runs_nothing(
    daemon: Daemon, arguments: tuple[str, ...]
) -> None:
    done = daemon.runctl(*arguments, user="alice")
    assert (done.stdout, done.returncode) == ("", 125)
    assert done.stderr
    with daemon.client() as client:
        assert list(client.jobs(ended=True)) == []


def test_without_a_daemon_runctl_exits_with_125(daemon: Daemon) -> None:
    done = daemon.runctl("--socket", "/run/no/such.sock", "run", "--", "true", user="alice")
    assert (done.stdout, done.returncode) == ("", 125)
    assert "/run/no/such.sock" in done.stderr


# Ctrl-C


def test_ctrl_c_stops_the_job_and_the_exit_code_is_what_it_makes_of_it(daemon: Daemon) -> None:
    with foreground(daemon, ON_TERM.format("echo bye; exit 7")) as process:
        process.send_signal(signal.SIGINT)
        stdout, stderr = process.communicate(timeout=20)
    assert (stdout, process.returncode) == (b"bye\n", 7)
    assert b"stopping" in stderr
    assert b"was stopped\n" in stderr


def test_a_second_ctrl_c_kills_a_job_that_does_not_listen(daemon: Daemon) -> None:
    with foreground(daemon, DEAF) as process:
        process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert b"again to kill" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=8)
    assert process.returncode == 137
    assert b"killing" in stderr


def test_sigquit_kills_at_once(daemon: Daemon) -> None:
    with foreground(daemon, DEAF) as process:
        process.send_signal(signal.SIGQUIT)
        _, stderr = process.communicate(timeout=8)
    assert process.returncode == 137
    assert b"killing" in stderr


@pytest.mark.parametrize("redirection", [">/dev/full", ">&-"])
@pytest.mark.parametrize("script", ["seq 100000", "echo hi", "echo hi; exit 3"])
def test_output_that_could_not_be_delivered_is_never_a_success(
    daemon: Daemon, script: str, redirection: str
) -> None:
    runctl = daemon._runctl_command(("run", "--", "sh", "-c", script))
    line = f"exec {shlex.join(runctl)} {redirection}"
    done = subprocess.run(
        ["/bin/sh", "-c", line], **daemon._as_user("alice", "/", None),
        stderr=subprocess.PIPE, timeout=30, check=False,
    )  # fmt: skip
    assert done.returncode == 125
    assert b"cannot write to stdout" in done.stderr


def test_a_reader_that_goes_away_ends_the_job_as_it_would_a_plain_command(daemon: Daemon) -> None:
    script = "echo ready; while :; do echo more; sleep 0.05; done"
    with foreground(daemon, script) as process, daemon.client() as client:
        assert process.stdout is not None
        process.stdout.close()
        process.stdout = None
        wait_until(lambda: list(client.jobs(ended=False)) == [])
        (job,) = client.jobs(ended=True)
    assert job["result"] is not None
    assert job["result"]["reason"] == "stopped"
