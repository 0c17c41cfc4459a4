"""A further command in a job: it is where the job is and what the job is, and no more than that."""

from __future__ import annotations

import os
import shutil
import signal
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from client import protocol
from client.errors import ConnectionLost, RequestRefused
from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    memory_grows_less_than,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
)
from tests.kernel.inside import (
    is_alive,
    payload_cgroup,
    pids,
    python,
    status_fields,
    submit,
    wait_for_command,
    wait_for_output,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from client.api import Client
    from client.records import ExecResult, Sandbox
    from tests.kernel.harness import Daemon

MIB = 1024 * 1024
SLEEP = ("sleep", "1000")
STATUS = ("cat", "/proc/self/status")


class Done(NamedTuple):
    """A command that has ended."""

    result: ExecResult
    stdout: str
    stderr: str


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    with daemon.client() as client:
        yield client


def execute(client: Client, job: str, *argv: str, **options: Any) -> Done:
    written: dict[int, list[bytes]] = {protocol.STDOUT: [], protocol.STDERR: []}
    with client.exec(job, list(argv), **options) as stream:
        for chunk in stream:
            written[chunk.stream].append(chunk.data)
    assert stream.result is not None
    out, err = (b"".join(parts).decode(errors="replace") for parts in written.values())
    return Done(stream.result, out, err)


def said(client: Client, job: str, *argv: str, **options: Any) -> str:
    """What a command that succeeds writes."""
    done = execute(client, job, *argv, **options)
    assert done.result["exit_status"] == 0, done
    return done.stdout


def start(daemon: Daemon, client: Client, *argv: str, **options: Any) -> str:
    job = submit(client, *(argv or SLEEP), **options)
    wait_until(lambda: client.status(job)["state"] == "running")
    return job


def refusal(client: Client, job: str, *argv: str, **options: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as caught:
        execute(client, job, *(argv or ("true",)), **options)
    return caught.value


def has_gone(client: Client, job: str, pid: int) -> None:
    wait_until(lambda: not is_alive(pid))
    assert client.status(job)["state"] == "running"


# --- where it is ---


@pytest.mark.parametrize(
    "sandbox",
    [
        {},
        {"filesystem": "readonly"},
        {"filesystem": "overlay"},
        {"filesystem": "root"},
        {"userns": True},
        {"userns": True, "filesystem": "overlay"},
        {"userns": True, "filesystem": "root"},
        {"seccomp": "none"},
        {"preset": "untrusted"},
        {"readable": ["/home/alice"]},
    ],
    ids=str,
)
def test_it_is_in_every_namespace_and_the_cgroup_of_the_job_as_its_user(
    daemon: Daemon, client: Client, tmp_path: Path, sandbox: Any
) -> None:
    if sandbox.get("filesystem") == "root":
        sandbox = {**sandbox, "filesystem": None, "root": "/"}
        sandbox = {key: value for key, value in sandbox.items() if value}
    # What the guest has below / cannot be shown as another user's; "/" itself need not be.
    cwd = "/" if sandbox == {"userns": True} else "/home/alice"
    job = start(daemon, client, sandbox=sandbox, cwd=cwd)
    first = wait_for_command(daemon, job, "sleep")
    with client.exec(job, ["sh", "-c", "cat /proc/self/status; exec sleep 1001"]) as stream:
        text = next(stream).data.decode()
        second = wait_for_command(daemon, job, "sleep", other_than=first)
        for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup", "user"):
            links = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in (first, second)}
            assert len(links) == 1, (kind, links)
        for name in ("root", "cwd"):
            assert os.readlink(f"/proc/{first}/{name}") == os.readlink(f"/proc/{second}/{name}")
        fields = [status_fields(read_status(pid)) for pid in (first, second)]
        for field in (
            "Uid", "Gid", "Groups", "Umask", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb",
            "NoNewPrivs", "Seccomp", "Seccomp_filters", "SigIgn", "SigBlk",
        ):  # fmt: skip
            assert fields[0][field] == fields[1][field], field
        # But for the library that it may still be loading.
        wait_until(lambda: sorted(os.listdir(f"/proc/{second}/fd")) == ["0", "1", "2"])
        assert int(status_fields(text)["Pid"]) > 2
    has_gone(client, job, second)


def read_status(pid: int) -> str:
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        return file.read()


def test_a_job_that_is_still_being_set_up_is_waited_for_and_never_entered_half_made(
    daemon: Daemon, client: Client
) -> None:
    """Its first process is in the host's mount namespace at first."""
    for _ in range(8):
        job = start(daemon, client, sandbox={"filesystem": "overlay"})
        own = said(client, job, "sh", "-c", "readlink /proc/self/ns/mnt; cat /proc/2/comm").split()
        assert own[0] != os.readlink("/proc/self/ns/mnt")
        assert own[1] == "sleep"


def test_it_sees_the_files_processes_and_host_name_that_the_job_sees(
    daemon: Daemon, client: Client
) -> None:
    script = "echo secret > /tmp/private; mkdir /tmp/own; echo ready; exec sleep 1000"
    job = start(daemon, client, "sh", "-c", script, sandbox={"hostname": "inside"})
    wait_for_output(client, job, b"ready")
    assert said(client, job, "cat", "/tmp/private") == "secret\n"
    assert said(client, job, "hostname") == "inside\n"
    assert said(client, job, "cat", "/proc/2/comm") == "sleep\n"
    assert said(client, job, "pwd", cwd="/tmp/own") == "/tmp/own\n"
    assert said(client, job, "sh", "-c", "umask; ulimit -c") == said(
        client, job, "sh", "-c", "umask; ulimit -c"
    )
    # And it changes what the job sees.
    said(client, job, "sh", "-c", "echo other > /tmp/from-exec")
    assert said(client, job, "cat", "/tmp/from-exec") == "other\n"
    assert not os.path.exists("/tmp/from-exec")


def test_it_has_the_network_of_the_job(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client, network="private")
    address = client.status(job)["net"]["address"]
    assert address
    program = (
        "import socket; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM);"
        f"s.bind(({address!r}, 0)); print('bound')"
    )
    assert said(client, job, *python(program)) == "bound\n"
    alone = start(daemon, client)
    assert execute(client, alone, *python(program)).result["exit_status"] == 1


def test_it_has_the_resource_limits_that_apply_now(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client, limits={"rlimits": {"nofile": [100, 200]}})
    ask = ("sh", "-c", "ulimit -Sn; ulimit -Hn")
    assert said(client, job, *ask) == "100\n200\n"
    client.update(job, {"rlimits": {"nofile": [50, 60]}})
    assert said(client, job, *ask) == "50\n60\n"


# --- its environment ---


def test_it_has_the_environment_of_the_job_with_what_is_asked_for_over_it(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client, env={"PATH": "/usr/bin:/bin", "A": "job", "B": "job"})
    lines = said(client, job, "env", env={"B": "mine", "C": "mine"}).split()
    assert {"A=job", "B=mine", "C=mine"} <= set(lines)
    assert said(client, job, "/usr/bin/env", clean_env=True, env={"C": "mine"}) == "C=mine\n"


def test_a_user_gets_a_clean_environment_of_the_jobs_user(daemon: Daemon, client: Client) -> None:
    job = submit(client, *SLEEP, user="alice")
    done = daemon.runctl("exec", "--clean-env", "--env", "X=1", job, "--", "env")
    assert done.returncode == 0, done.stderr
    assert {"HOME=/home/alice", "USER=alice", "X=1"} <= set(done.stdout.split())


# --- what confines the job confines it ---


def test_memory_that_it_takes_counts_and_the_job_is_killed(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client, limits={"memory_max_bytes": 64 * MIB})
    hog = python("held = bytearray(500 << 20); print('too much')")
    done = execute(client, job, *hog)
    assert (done.result["signal"], done.result["exit_status"], done.stdout) == (9, 137, "")
    # When the job has gone first, its own result has the figures.
    words = (
        "the kernel killed it: the job is at its memory limit", "it ended with its job",
    )  # fmt: skip
    assert done.result["detail"] in words
    ended = client.wait(job)["result"]
    assert ended is not None
    assert ended["reason"] == "oom"


def test_processes_that_it_starts_count(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client, limits={"pids_max": 4})
    done = execute(client, job, *python("import os; [os.fork() for _ in range(5)]"))
    assert done.result["exit_status"] == 1
    assert "BlockingIOError" in done.stderr


def test_a_job_at_its_limit_of_processes_takes_no_command(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client, limits={"pids_max": 1})
    wait_for_command(daemon, job, "sleep")
    done = execute(client, job, "true")
    assert done.result["exit_status"] == 125
    assert "the job is at its limit of processes" in (done.result["detail"] or "")


def test_the_filter_of_system_calls_holds(daemon: Daemon, client: Client) -> None:
    probe = python("import os, ctypes; l = ctypes.CDLL(None, use_errno=True);"
                   "r = l.syscall(321, 0, 0, 0); print(r, ctypes.get_errno())")  # fmt: skip
    for sandbox, counted in (({"seccomp": "strict"}, False), ({"report_denied": True}, True)):
        job = start(daemon, client, sandbox=sandbox)
        assert said(client, job, *probe).startswith("-1 "), counted
        assert status_fields(said(client, job, *STATUS))["Seccomp"] == "2"


@pytest.mark.parametrize("capability", ["NET_BIND_SERVICE"])
def test_it_has_the_capabilities_of_the_job_and_no_other(
    daemon: Daemon, client: Client, capability: str
) -> None:
    job = start(daemon, client, sandbox={"capabilities": [capability]})
    fields = status_fields(said(client, job, *STATUS))
    assert int(fields["CapEff"], 16) == int(fields["CapBnd"], 16) == 1 << 10


def test_landlock_holds_and_no_link_that_the_job_made_widens_it(
    daemon: Daemon, client: Client
) -> None:
    home = f"/home/alice/{uuid.uuid4()}"
    os.makedirs(f"{home}/open/inner")
    os.makedirs(f"{home}/closed")
    try:
        with open(f"{home}/closed/file", "w", encoding="ascii") as file:
            file.write("closed")
        for path in ("", "open", "open/inner", "closed", "closed/file"):
            os.chown(f"{home}/{path}", 4001, 4001)
        sandbox: Sandbox = {"writable": [f"{home}/open"], "readable": [f"{home}/open/inner"]}
        job = start(daemon, client, sandbox=sandbox, cwd=f"{home}/open")
        done = execute(client, job, "cat", f"{home}/closed/file")
        assert (done.result["exit_status"], done.stdout) == (1, "")
        assert said(client, job, "sh", "-c", "echo x > file; cat file") == "x\n"
        # The job puts a link in the place of a path that it was submitted with.
        said(client, job, "sh", "-c", f"rmdir inner && ln -s {home}/closed inner")
        done = execute(client, job, "cat", f"{home}/closed/file")
        assert (done.result["exit_status"], done.stdout) == (125, "")
        where = f"confine to paths: {home}/open/inner: it leads over a link"
        assert where in str(done.result)
    finally:
        shutil.rmtree(home)


# --- its output and its end ---


def test_its_output_comes_as_it_is_written_and_stdout_is_told_from_stderr(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client)
    with client.exec(job, ["sh", "-c", "echo out; sleep 0.3; echo err >&2; exec sleep 1001"]) as it:
        assert next(it) == (protocol.STDOUT, b"out\n")
        assert next(it) == (protocol.STDERR, b"err\n")
    with client.logs(job) as log:
        assert list(log) == []


@pytest.mark.parametrize(
    ("command", "status", "word"),
    [
        (["sh", "-c", "exit 7"], 7, None),
        (["sh", "-c", "kill -9 $$"], 137, None),
        (["nosuch"], 127, "not found in PATH"),
        (["/etc/passwd"], 126, "Permission denied"),
        (["/etc"], 126, "Permission denied"),
    ],
)
def test_its_exit_status_is_that_of_run(
    daemon: Daemon, client: Client, command: list[str], status: int, word: str | None
) -> None:
    job = start(daemon, client)
    done = daemon.runctl("exec", job, "--", *command)
    assert done.returncode == status, done.stderr
    assert (word or "") in done.stderr
    assert bool(done.stderr) == bool(word)


def test_a_directory_that_the_job_has_not_is_said_to_be_missing(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client)
    result = execute(client, job, "true", cwd="/no/such").result
    assert result["exit_status"] == 125
    assert "/no/such: no such directory in the job's own tree" in (result["detail"] or "")


def test_much_output_arrives_whole_and_a_slow_reader_costs_the_daemon_nothing(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client)
    total = 64 * MIB
    command = ["head", "-c", str(total), "/dev/zero"]
    with memory_grows_less_than(daemon, 24), client.exec(job, command) as stream:
        first = next(stream)
        wait_until(lambda: len(pids(payload_cgroup(daemon, job))) == 2)
        # Other clients are served meanwhile, and the command waits.
        until = time.monotonic() + 0.5
        while time.monotonic() < until:
            assert client.status(job)["state"] == "running"
            assert len(pids(payload_cgroup(daemon, job))) == 2
        assert len(first.data) + sum(len(chunk.data) for chunk in stream) == total
    assert stream.result is not None
    assert stream.result["exit_status"] == 0


def test_what_stays_in_the_background_goes_on_and_holds_nobody_up(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client)
    done = execute(client, job, "sh", "-c", "sleep 1002 & echo started")
    assert (done.result["exit_status"], done.stdout) == (0, "started\n")
    assert len(pids(payload_cgroup(daemon, job))) == 2


# --- signals, and other ends ---


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_runctl_is_the_commands(daemon: Daemon, client: Client, number: int) -> None:
    job = start(daemon, client)
    name = signal.Signals(number).name.removeprefix("SIG")
    script = f"trap 'echo got; exit 3' {name}; echo ready; while :; do sleep 0.05; done"
    runctl = daemon.spawn_runctl("exec", job, "--", "sh", "-c", script)
    assert runctl.stdout is not None
    assert runctl.stdout.readline() == b"ready\n"
    runctl.send_signal(number)
    out, _ = runctl.communicate(timeout=20)
    assert (out, runctl.returncode) == (b"got\n", 3)


def test_a_second_interrupt_kills_what_ignores_the_first(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client)
    script = "trap '' INT; echo ready; sleep 1003"
    runctl = daemon.spawn_runctl("exec", job, "--", "sh", "-c", script)
    assert runctl.stdout is not None
    assert runctl.stderr is not None
    assert runctl.stdout.readline() == b"ready\n"
    runctl.send_signal(signal.SIGINT)
    assert b"again" in runctl.stderr.readline()
    runctl.send_signal(signal.SIGINT)
    runctl.communicate(timeout=20)
    assert runctl.returncode == 137
    # What it had started is killed with it.
    wait_until(lambda: len(pids(payload_cgroup(daemon, job))) == 1)


def test_a_client_that_goes_away_or_cancels_takes_its_command_with_it(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client)
    cgroup = payload_cgroup(daemon, job)
    args = {"job": job, "argv": ["sh", "-c", "sleep 1004; true"]}
    with Wire(daemon, "root") as wire:
        wire.send({"id": 7, "op": "exec", "args": args})
        wait_until(lambda: len(pids(cgroup)) == 3)
        wire.send({"id": 7, "op": "cancel", "args": {}})
        answer = wire.receive()
        assert answer is not None
        assert answer["error"]["code"] == "cancelled"
        wait_until(lambda: len(pids(cgroup)) == 1)
        wire.send({"id": 8, "op": "exec", "args": args})
        wait_until(lambda: len(pids(cgroup)) == 3)
    wait_until(lambda: len(pids(cgroup)) == 1)


def test_a_reader_that_closes_the_output_ends_the_command(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client)
    runctl = daemon.spawn_runctl("exec", job, "--", "yes")
    assert runctl.stdout is not None
    assert runctl.stdout.read(2) == b"y\n"
    runctl.stdout.close()
    assert runctl.wait(20) == 141
    runctl.stderr.close() if runctl.stderr else None
    wait_until(lambda: len(pids(payload_cgroup(daemon, job))) == 1)


def test_when_the_job_ends_the_command_is_gone(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client)
    with client.exec(job, ["sh", "-c", "trap '' TERM; echo ready; sleep 1005; sleep 1"]) as stream:
        assert next(stream).data == b"ready\n"
        client.stop(job, kill=True)
        assert list(stream) == []
    assert stream.result is not None
    assert (stream.result["signal"], stream.result["exit_status"]) == (9, 137)
    assert stream.result["detail"] == "it ended with its job"
    ended = client.wait(job)["result"]
    assert ended is not None
    assert ended["reason"] == "stopped"


def test_a_paused_job_takes_its_commands_into_the_pause(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client)
    with client.exec(job, ["sh", "-c", "echo ready; sleep 0.1; echo done"]) as stream:
        assert next(stream).data == b"ready\n"
        with daemon.client() as other:
            other.pause(job)
            error = refusal(other, job)
            assert (error.code, error.given) == ("job-state", "paused")
            assert "runctl resume" in (error.detail or "")
            other.resume(job)
        assert next(stream).data == b"done\n"


def test_the_end_of_the_daemon_ends_the_command_and_not_the_job(own_daemon: Daemon) -> None:
    own_daemon.start()
    with own_daemon.client() as client:
        job = start(own_daemon, client)
        cgroup = payload_cgroup(own_daemon, job)
        with client.exec(job, ["sh", "-c", "echo ready; sleep 1006; true"]) as stream:
            assert next(stream).data == b"ready\n"
            own_daemon.kill()
            with pytest.raises(ConnectionLost):
                list(stream)
    wait_until(lambda: len(pids(cgroup)) == 1)
    own_daemon.start()
    with own_daemon.client() as client:
        assert client.status(job)["state"] == "running"
        assert said(client, job, "echo", "again") == "again\n"


# --- refusals ---


def test_a_job_that_waits_or_has_ended_is_refused_with_its_state(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n[network]\nlinger_seconds = 0\n")
    own_daemon.start()
    with own_daemon.client() as client:
        running = start(own_daemon, client)
        waiting = submit(client, "true")
        error = refusal(client, waiting)
        assert (error.code, error.given) == ("job-state", "queued")
        assert "has not started" in (error.detail or "")
        client.stop(running, kill=True)
        client.wait(waiting)
        error = refusal(client, waiting)
        assert (error.code, error.given) == ("job-state", "ended")


def test_the_job_of_somebody_else_is_refused_as_one_that_does_not_exist(
    daemon: Daemon, client: Client
) -> None:
    with Wire(daemon, "alice") as alice, Wire(daemon, "bob") as bob:
        args = {"argv": list(SLEEP), "cwd": "/", "env": {}, "name": "mine"}
        job = alice.ok("submit", args)["job"]
        none = bob.error("exec", job="0" * 8, argv=["true"])
        for name in (job, "mine"):
            error = bob.error("exec", job=name, argv=["true"])
            assert {**error, "given": None} == {**none, "given": None}
        wait_until(lambda: client.status(job)["state"] == "running")
        assert said(client, job, "id", "-un", env={"PATH": "/usr/bin:/bin"}) == "alice\n"


def test_a_command_that_cannot_be_one_is_refused_with_the_field(
    daemon: Daemon, client: Client
) -> None:
    job = start(daemon, client)
    with Wire(daemon, "root") as wire:
        for args, field in (
            ({"argv": []}, "argv"),
            ({"argv": [""]}, "argv[0]"),
            ({"argv": ["a\0b"]}, "argv[0]"),
            ({"argv": ["true"], "cwd": "relative"}, "cwd"),
            ({"argv": ["true"], "env": {"": "x"}}, "env['']"),
            ({"argv": ["true"], "tty": True}, "tty"),
        ):
            error = wire.error("exec", {"job": job, **args})
            assert (error["code"], error["field"].replace('b"', "").replace("b'", "'")) == (
                "invalid-argument", field,
            )  # fmt: skip


def test_one_user_has_sixteen_at_once(daemon: Daemon, client: Client) -> None:
    job = start(daemon, client)
    with Wire(daemon, "root") as wire:
        for number in range(16):
            args = {"job": job, "argv": ["sleep", "1007"]}
            wire.send({"id": 100 + number, "op": "exec", "args": args})
        wait_until(lambda: len(pids(payload_cgroup(daemon, job))) == 17)
        error = wire.error("exec", job=job, argv=["true"])
        assert (error["code"], error["allowed"]) == ("too-many-requests", "16 commands at once")
    wait_until(lambda: len(pids(payload_cgroup(daemon, job))) == 1)
    said(client, job, "true")


# --- a hostile job ---


@pytest.mark.parametrize("userns", [False, True])
def test_where_a_job_has_made_namespaces_the_command_is_still_the_jobs_user_without_rights(
    daemon: Daemon, client: Client, *, userns: bool
) -> None:
    script = "mount -t tmpfs none /mnt && echo inner > /mnt/file && echo ready; exec sleep 1008"
    job = start(
        daemon, client, "unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script,
        sandbox={"seccomp": "none", "userns": userns},
    )  # fmt: skip
    wait_for_output(client, job, b"ready")
    first = wait_for_command(daemon, job, "sleep")
    assert said(client, job, "cat", "/mnt/file") == "inner\n"
    fields = status_fields(said(client, job, *STATUS))
    assert fields["Uid"].split()[0] == ("0" if userns else "4001")
    assert not int(fields["CapEff"], 16) & 1 << 21, "CAP_SYS_ADMIN"
    own = said(client, job, "readlink", "/proc/self/ns/user").strip()
    assert own != os.readlink(f"/proc/{first}/ns/user")
    assert (own == os.readlink("/proc/self/ns/user")) is not userns


def test_a_job_of_root_cannot_look_into_the_process_before_its_exec(
    daemon: Daemon, client: Client
) -> None:
    """It watches for new processes and opens what it can of each: /proc/PID/exe, fd, root."""
    program = """
import os
print("ready", flush=True)
def is_ours(name):
    with open(f"/proc/{name}/comm") as file:
        return file.read().startswith("runnerd")
while True:
    for name in os.listdir("/proc"):
        for what in ("exe", "root", "cwd", "fd/0", "fd/3", "fd/5", "ns/mnt"):
            try:
                if not name.isdigit() or name in ("1", "2") or not is_ours(name):
                    break
                got = os.readlink(f"/proc/{name}/{what}")
                # Not what was executed meanwhile.
                if is_ours(name):
                    print("GOT", what, got, flush=True)
            except OSError as error:
                print("DENIED", error.errno, flush=True)
"""
    job = start(daemon, client, *python(program), user="root")
    wait_for_output(client, job, b"ready")
    for _ in range(30):
        said(client, job, "true")
    with client.logs(job) as log:
        text = b"".join(item.data for item in log)  # type: ignore[union-attr]
    assert b"GOT" not in text
    assert b"DENIED 13" in text
    assert client.status(job)["state"] == "running"


def test_nothing_is_imported_from_the_tree_of_the_job(daemon: Daemon, client: Client) -> None:
    """A step that fails makes its report without a codec or module that was not there before."""
    job = start(daemon, client, sandbox={"root": "/"}, cwd="/")
    result = execute(client, job, "true", cwd=b"/\xff\xc3").result
    assert result["exit_status"] == 125
    assert "no such directory" in (result["detail"] or "")
