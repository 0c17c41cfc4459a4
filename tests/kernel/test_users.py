"""Who may do what: two users who try to reach each other's jobs, and one who may not connect."""

from __future__ import annotations

import contextlib
import ctypes
import grp
import json
import os
import re
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    as_user,
    connected,
    existing,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.inside import wait_for_command

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.kernel.harness import Daemon

NAME = "secret-build"
# As the protocol's operations name one job.
ON_A_JOB: dict[str, dict[str, Any]] = {
    "status": {}, "logs": {}, "logs -f": {"follow": True}, "remove": {},
    "stop": {}, "stop --kill": {"kill": True}, "wait": {}, "wait briefly": {"timeout_seconds": 0},
}  # fmt: skip


@pytest.fixture
def alice(daemon: Daemon) -> Iterator[Wire]:
    with Wire(daemon, "alice") as wire:
        yield wire


@pytest.fixture
def bob(daemon: Daemon) -> Iterator[Wire]:
    with Wire(daemon, "bob") as wire:
        yield wire


@pytest.fixture
def root(daemon: Daemon) -> Iterator[Wire]:
    with Wire(daemon, "root") as wire:
        yield wire


def output_of(wire: Wire, job: str) -> bytes:
    """What a job wrote until its end."""
    wire.ok("wait", job=job)
    wire.send({"id": 4_000_000_000, "op": "logs", "args": {"job": job, "credit": 1024}})
    data = b""
    while "event" in (message := wire.receive() or {}):
        data += message["event"]["data"]
    assert "ok" in message, message
    return data


def said(wire: Wire, *argv: str, **more: Any) -> str:
    """What a command said as a job of this user."""
    job = wire.ok("submit", submission(*argv, **more))["job"]
    return output_of(wire, job).decode(errors="backslashreplace")


# --- somebody else's job ---


@pytest.mark.parametrize("state", ["running", "ended"])
def test_anothers_job_answers_in_every_way_like_one_that_does_not_exist(
    alice: Wire, bob: Wire, state: str
) -> None:
    job = alice.ok("submit", submission("sleep", "1000", name=NAME))["job"]
    if state == "ended":
        alice.ok("stop", job=job, kill=True)
        alice.ok("wait", job=job)
    unknown = "00000000-0000-4000-8000-000000000000"
    for verb, args in ON_A_JOB.items():
        op = verb.split()[0]
        for mine, nobodys in ((job, unknown), (job[:8], unknown[:8]), (NAME, "no-such-name")):
            refused = bob.error(op, job=mine, **args)
            absent = bob.error(op, job=nobodys, **args)
            assert refused["code"] == "no-such-job"
            assert {**refused, "given": ""} == {**absent, "given": ""}
            assert mine in refused["given"]
    assert bob.ok("list", ended=True) == {"jobs": [], "next": None}
    shown = alice.ok("status", job=job)
    assert shown["state"] == state
    assert (shown["result"] or {}).get("stopped_by_uid") == (4001 if state == "ended" else None)


def test_a_queued_job_of_another_user_is_as_invisible(own_daemon: Daemon) -> None:
    own_daemon.config.write_text("[jobs]\nmax_running = 1\n")
    own_daemon.start()
    with Wire(own_daemon, "alice") as alice, Wire(own_daemon, "bob") as bob:
        alice.ok("submit", submission("sleep", "1000"))
        queued = alice.ok("submit", submission("sleep", "1000", name=NAME))["job"]
        for verb, args in ON_A_JOB.items():
            assert bob.error(verb.split()[0], job=queued, **args)["code"] == "no-such-job"
        assert bob.ok("list")["jobs"] == []
        assert alice.ok("status", job=queued)["state"] == "queued"


def test_a_name_or_prefix_means_ones_own_job_whoever_else_has_one(alice: Wire, bob: Wire) -> None:
    alices = alice.ok("submit", submission("echo", "alice", name=NAME))["job"]
    bobs = bob.ok("submit", submission("echo", "bob", name=NAME))["job"]
    assert alice.ok("status", job=NAME)["job"] == alices
    assert bob.ok("status", job=NAME)["job"] == bobs
    # An id as a name: it leads to one's own job, not to the other's.
    trick = bob.ok("submit", submission("true", name=alices))["job"]
    assert bob.ok("status", job=alices)["job"] == trick
    assert alice.ok("status", job=alices)["job"] == alices


def test_runctl_tells_bob_the_same_of_alices_job_as_of_none(daemon: Daemon, alice: Wire) -> None:
    job = alice.ok("submit", submission("sleep", "1000", name=NAME))["job"]
    for verb in (["status"], ["logs", "-f"], ["stop"], ["wait"], ["rm"]):
        absent = daemon.runctl(*verb, "not-there", user="bob")
        for text in (job, NAME):
            done = daemon.runctl(*verb, text, user="bob")
            assert (done.returncode, done.stdout) == (125, "")
            assert done.stderr.replace(text, "not-there") == absent.stderr
    listed = daemon.runctl("ps", "--all", "--json", user="bob")
    assert (json.loads(listed.stdout), listed.returncode) == ([], 0)
    assert alice.ok("status", job=job)["state"] == "running"


def test_nothing_of_a_job_is_readable_past_the_daemon(daemon: Daemon, alice: Wire) -> None:
    job = alice.ok("submit", submission("sh", "-c", "echo secret; sleep 1000"))["job"]
    log = f"{daemon.state_dir}/jobs/{job}/log/{0:020}.log"
    wait_until(lambda: os.path.exists(log) and bool(alice.ok("status", job=job)["pid"]))
    for path in (daemon.state_dir, f"{daemon.state_dir}/jobs/{job}/log"):
        with as_user("alice"), pytest.raises(PermissionError):
            os.listdir(path)
    for name in ("spec", "control", "log/00000000000000000000.log"):
        assert not os.stat(f"{daemon.state_dir}/jobs/{job}/{name}").st_mode & 0o077
    monitor = alice.ok("status", job=job)["pid"]
    for name in ("mem", "environ", "fd/0", "root/etc", "cwd/etc"):
        with as_user("alice"), pytest.raises(PermissionError):
            os.close(os.open(f"/proc/{monitor}/{name}", os.O_RDONLY))
    killed = subprocess.run(
        ["kill", "-9", str(monitor)], user="alice", capture_output=True, check=False
    )
    assert b"not permitted" in killed.stderr


# --- root and admins ---


def test_root_sees_and_controls_every_job_and_the_owner_reads_who_it_was(
    alice: Wire, bob: Wire, root: Wire
) -> None:
    endless = submission("sh", "-c", "echo x; sleep 1000")
    jobs = {wire: wire.ok("submit", endless)["job"] for wire in (alice, bob)}
    assert {job["job"] for job in root.ok("list")["jobs"]} == set(jobs.values())
    for wire, job in jobs.items():
        assert root.ok("status", job=job[:8])["job"] == job
        root.ok("stop", job=job, kill=True)
        result = wire.ok("wait", job=job)["result"]
        assert (result["reason"], result["stopped_by_uid"]) == ("stopped", 0)
        root.ok("remove", job=job)
        assert wire.error("status", job=job)["code"] == "no-such-job"


def test_the_owner_of_a_job_is_who_submitted_it_not_whom_it_runs_as(
    alice: Wire, root: Wire
) -> None:
    job = root.ok("submit", submission("id", "-u", user="alice"))["job"]
    assert output_of(root, job) == b"4001\n"
    shown = root.ok("status", job=job)
    assert (shown["uid"], shown["user"], shown["submitted_by_uid"]) == (4001, "alice", 0)
    assert alice.error("status", job=job)["code"] == "no-such-job"


@pytest.fixture
def wheel(users: dict[str, int]) -> Iterator[str]:
    """A group with bob in it."""
    assert users
    subprocess.run(["groupadd", "wheel-test"], check=True)
    subprocess.run(["gpasswd", "--add", "bob", "wheel-test"], check=True, capture_output=True)
    yield "wheel-test"
    subprocess.run(["groupdel", "wheel-test"], check=True)


def test_members_of_the_admin_group_have_the_rights_of_an_admin_and_nobody_else(
    own_daemon: Daemon, wheel: str
) -> None:
    own_daemon.config.write_text(f'admin_group = "{wheel}"\n')
    own_daemon.start()
    with Wire(own_daemon, "alice") as alice, Wire(own_daemon, "bob") as bob:
        assert bob.ok("hello", protocol=1)["admin"] is True
        assert alice.ok("hello", protocol=1)["admin"] is False
        job = alice.ok("submit", submission("sleep", "1000"))["job"]
        assert [shown["job"] for shown in bob.ok("list")["jobs"]] == [job]
        bob.ok("stop", job=job, kill=True)
        assert alice.ok("wait", job=job)["result"]["stopped_by_uid"] == 4002
        assert said(bob, "id", "-un", user="alice") == "alice\n"
        assert alice.error("submit", submission("id", user="bob"))["code"] == "not-permitted"


def test_without_an_admin_group_the_group_of_that_number_gives_nothing(
    daemon: Daemon, alice: Wire
) -> None:
    assert "admin_group" not in daemon.config.read_text()
    assert alice.ok("hello", protocol=1) == {
        **alice.ok("hello", protocol=1), "admin": False, "uid": 4001,
    }  # fmt: skip


# --- whom a job runs as ---


def test_only_admins_may_name_another_user(alice: Wire, daemon: Daemon) -> None:
    for user in ("root", 0, "0", "bob", 4002, "4002", "00"):
        error = alice.error("submit", submission(user=user))
        assert (error["code"], error["field"]) == ("not-permitted", "user"), error
    done = daemon.runctl("run", "--user", "bob", "--", "id", user="alice")
    assert (done.returncode, done.stdout) == (125, "")
    assert "--user" in done.stderr
    assert "bob" in done.stderr
    assert existing(daemon) == ([], [], 0)
    assert said(alice, "id", "-u", user="alice") == "4001\n"


def test_a_user_that_does_not_exist_is_refused_for_root_too(root: Wire, daemon: Daemon) -> None:
    for user in ("nobody-here", 98765, "98765", "", "-1", " bob", "bob\n", "../bob"):
        error = root.error("submit", submission(user=user))
        assert (error["code"], error["field"]) == ("invalid-argument", "user"), error
    assert existing(daemon) == ([], [], 0)


WHO_AM_I = "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/self/status; id"


def test_a_job_for_another_user_has_that_users_credentials_and_none_of_roots(root: Wire) -> None:
    text = said(root, "sh", "-c", WHO_AM_I, user="bob")
    runnerd = grp.getgrnam("runnerd").gr_gid
    assert "uid=4002(bob) gid=4002(bob)" in text
    assert re.search(r"Uid:(\t4002){4}\n", text), text
    assert re.search(r"Gid:(\t4002){4}\n", text), text
    groups = re.search(r"Groups:\t(.*)\n", text)
    assert groups
    assert {int(number) for number in groups[1].split()} <= {4002, runnerd}
    assert all(caps == "0" * 16 for caps in re.findall(r"Cap(?:Inh|Prm|Eff|Bnd|Amb):\t(\w+)", text))
    assert "NoNewPrivs:\t1" in text


def test_a_job_has_the_groups_that_its_submitter_has_not_those_of_the_database(
    daemon: Daemon, root: Wire
) -> None:
    runnerd = grp.getgrnam("runnerd").gr_gid
    # She was given a group for one session (sg, newgrp), and lost the one of the database.
    sock = _connected_with_groups(daemon, 4001, 4001, [runnerd, 54321])
    with Wire.over(sock) as wire:
        groups = said(wire, "id", "-G").split()
    assert {int(number) for number in groups} == {4001, runnerd, 54321}
    assert "54321" not in said(root, "id", "-G", user="alice")


def _connected_with_groups(daemon: Daemon, uid: int, gid: int, groups: list[int]) -> socket.socket:
    before, before_gid = os.getgroups(), os.getegid()
    sock = socket.socket(socket.AF_UNIX)
    sock.settimeout(20)
    os.setgroups(groups)
    os.setegid(gid)
    os.seteuid(uid)
    try:
        sock.connect(daemon.socket)
    finally:
        os.seteuid(0)
        os.setegid(before_gid)
        os.setgroups(before)
    return sock


def test_a_connection_stays_whose_it_was_when_another_user_uses_it(daemon: Daemon) -> None:
    sock = connected(daemon, "alice")
    with as_user("bob"), Wire.over(sock) as wire:
        assert wire.ok("hello", protocol=1)["uid"] == 4001


# --- who may connect ---


def test_who_is_not_in_the_group_cannot_connect_and_hears_what_to_do(daemon: Daemon) -> None:
    with pytest.raises(PermissionError):
        connected(daemon, "mallory")
    for words in (["ps"], ["run", "--", "true"]):
        done = daemon.runctl(*words, user="mallory")
        assert (done.returncode, done.stdout) == (125, "")
        assert "permission denied" in done.stderr
        assert "sudo usermod -aG runnerd mallory" in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_one_user_may_hold_so_many_connections_and_takes_none_from_others(
    own_daemon: Daemon,
) -> None:
    own_daemon.config.write_text("[clients]\nmax_connections_per_user = 3\nmax_connections = 5\n")
    own_daemon.start()
    with contextlib.ExitStack() as stack:
        alices = [stack.enter_context(Wire(own_daemon, "alice")) for _ in range(3)]
        fourth = stack.enter_context(Wire(own_daemon, "alice", greet=False))
        (refused,) = fourth.last_words()
        assert (refused["id"], refused["error"]["code"]) == (0, "too-many-requests")
        assert refused["error"]["allowed"] == "3 connections of one user"
        done = own_daemon.runctl("ps", user="alice")
        assert done.returncode == 125
        assert "3 connections of one user" in done.stderr
        for _ in range(2):
            stack.enter_context(Wire(own_daemon, "bob"))
        sixth = stack.enter_context(Wire(own_daemon, "bob", greet=False))
        assert sixth.last_words()[0]["error"]["allowed"] == "5 connections"
        # Root is never locked out.
        roots = [stack.enter_context(Wire(own_daemon, "root")) for _ in range(5)]
        for wire in (*roots, alices[0]):
            wire.socket.close()
        wait_until(lambda: _greeted(own_daemon, "alice"))


def _greeted(daemon: Daemon, user: str) -> bool:
    with contextlib.suppress(BrokenPipeError), Wire(daemon, user, greet=False) as wire:
        return "ok" in wire.request("hello", protocol=1)
    return False


# --- paths are looked at as the user ---


@pytest.fixture
def closed_directory(users: dict[str, int]) -> Iterator[str]:
    """One of bob's, closed to everybody else, with something in it."""
    path = "/home/bob/closed"
    os.mkdir(path, 0o700)
    os.mkdir(f"{path}/inner", 0o777)
    for name in (path, f"{path}/inner"):
        os.chown(name, users["bob"], users["bob"])
    yield path
    os.rmdir(f"{path}/inner")
    os.rmdir(path)


def test_a_directory_that_the_kernel_would_not_let_her_enter_is_refused_by_name(
    daemon: Daemon, alice: Wire, bob: Wire, root: Wire, closed_directory: str
) -> None:
    missing = alice.error("submit", submission("pwd", cwd="/home/bob/missing"))
    for path in (closed_directory, f"{closed_directory}/inner", f"{closed_directory}/missing"):
        refused = alice.error("submit", submission("pwd", cwd=path))
        assert (refused["code"], refused["field"]) == ("invalid-argument", "cwd")
        assert path in refused["given"]
        assert refused["allowed"] == missing["allowed"]
    # What is below a closed directory answers alike, whether it is there or not.
    inner, absent = (
        alice.error("submit", submission("pwd", cwd=f"{closed_directory}/{name}"))
        for name in ("inner", "missing")
    )
    assert {**inner, "given": ""} == {**absent, "given": ""}
    done = daemon.runctl("run", "--cwd", closed_directory, "--", "pwd", user="alice")
    assert done.returncode == 125
    assert "--cwd" in done.stderr
    assert closed_directory in done.stderr
    refused = root.error("submit", submission("pwd", cwd=closed_directory, user="alice"))
    assert refused["field"] == "cwd"
    assert existing(daemon) == ([], [], 0)
    assert said(bob, "pwd", cwd=closed_directory) == f"{closed_directory}\n"
    assert said(root, "pwd", cwd=closed_directory) == f"{closed_directory}\n"


def test_a_link_of_hers_does_not_lead_where_she_may_not_go(
    alice: Wire, closed_directory: str
) -> None:
    link = "/home/alice/link"
    os.symlink(f"{closed_directory}/inner", link)
    try:
        assert alice.error("submit", submission("pwd", cwd=link))["field"] == "cwd"
    finally:
        os.unlink(link)


def test_the_links_of_proc_are_no_way_around_permissions(
    daemon: Daemon, alice: Wire, bob: Wire
) -> None:
    script = "mkdir /tmp/x; cd /tmp/x; exec sleep 1000"
    job = bob.ok("submit", submission("sh", "-c", script))["job"]
    pid = wait_for_command(daemon, job, "sleep")
    for path in ("/proc/1/root/etc", f"/proc/{daemon.pid}/cwd", f"/proc/{pid}/root/tmp/x",
                 f"/proc/{pid}/cwd", "/proc/1/root/nowhere"):  # fmt: skip
        with as_user("alice"), pytest.raises(PermissionError):
            os.stat(f"{path}/.")
        refused = alice.error("submit", submission("pwd", cwd=path))
        assert (refused["code"], refused["field"]) == ("invalid-argument", "cwd"), path
        limit = {"path": path, "read_bytes_per_second": 4096}
        refused = alice.error("submit", submission("pwd", limits={"io": [limit]}))
        assert (refused["code"], refused["field"]) == ("invalid-argument", "limits.io[0].path")
    assert [shown["job"] for shown in alice.ok("list", ended=True)["jobs"]] == []


def payload_pids(daemon: Daemon, job: str) -> list[int]:
    path = f"{daemon.cgroup_root}/job-{job}/payload/cgroup.procs"
    pids: list[int] = []

    def found() -> bool:
        with contextlib.suppress(OSError), open(path, encoding="ascii") as file:
            pids[:] = [int(line) for line in file]
        return bool(pids)

    wait_until(found)
    return pids


# --- what a job could take along, or hold on to ---


def test_a_job_has_no_descriptor_but_three_and_no_key_of_roots_session(
    own_daemon: Daemon,
) -> None:
    with _session_key("runnerd-test-secret", b"of root"):
        own_daemon.start()
    with Wire(own_daemon, "alice") as alice:
        script = "ls /proc/self/fd | wc -w; cat /proc/keys"
        text = said(alice, "sh", "-c", script)
    # 0, 1, 2, and the directory that ls itself reads.
    assert text.split()[0] == "4"
    assert "runnerd-test-secret" not in text


@contextlib.contextmanager
def _session_key(name: str, secret: bytes) -> Iterator[None]:
    """This process in a session keyring of its own, with a key in it: keyctl(2), add_key(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    add_key, keyctl = 248, 250  # x86_64
    join_session, this_session = 1, ctypes.c_long(-3)
    if libc.syscall(keyctl, join_session, None) < 0:
        pytest.skip("this kernel has no key retention service")
    added = libc.syscall(
        add_key, b"user", name.encode(), secret, ctypes.c_size_t(len(secret)), this_session
    )
    assert added >= 0, os.strerror(ctypes.get_errno())
    try:
        yield
    finally:
        # The daemon has taken the keyring along by now; this process begins another.
        libc.syscall(keyctl, join_session, None)


def test_whoever_holds_a_jobs_output_from_outside_cannot_keep_it_from_ending(
    daemon: Daemon, alice: Wire
) -> None:
    job = alice.ok("submit", submission("sleep", "1000"))["job"]
    pid = wait_for_command(daemon, job, "sleep")
    # Until the exec it is root's and not dumpable.
    wait_until(lambda: os.readlink(f"/proc/{pid}/exe").endswith("sleep"))
    with as_user("alice"):
        outside = os.open(f"/proc/{pid}/fd/1", os.O_WRONLY)
    writer = subprocess.Popen(["cat", "/dev/zero"], stdout=outside, stderr=subprocess.DEVNULL)
    os.close(outside)
    try:
        alice.ok("stop", job=job, kill=True)
        ended = alice.ok("wait", job=job, timeout_seconds=60)
        assert ended["state"] == "ended"
        assert ended["result"]["reason"] == "stopped"
    finally:
        writer.kill()
        writer.wait()


def test_a_job_cannot_talk_to_runnerd_and_so_leave_its_own_limits(
    daemon: Daemon, alice: Wire
) -> None:
    sibling = alice.ok("submit", submission("sleep", "1000"))["job"]
    program = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "s.settimeout(10)\n"
        f"s.connect({daemon.socket!r})\n"
        "body = b'\\x83\\xa2id\\x01\\xa2op\\xa5hello\\xa4args\\x81\\xa8protocol\\x01'\n"
        "s.sendall(len(body).to_bytes(4, 'big') + body)\n"
        "sys.stdout.buffer.write(s.recv(4096))\n"
    )
    text = said(alice, "python3", "-c", f"try:\n exec({program!r})\nexcept OSError as e: print(e)")
    assert "features" not in text, text
    assert alice.ok("status", job=sibling)["state"] == "running"
