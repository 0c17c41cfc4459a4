"""What a job sees and can reach from the inside, tried as its user and as an attacker would.

Most questions are asked of an ordinary user's job and of a job of root: the latter has
fewer walls, and those that are promised must hold for it, too.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import msgpack
import pytest

from isolation.capabilities import ROOT_CAPABILITIES, bits
from tests.kernel import inside
from tests.kernel.harness import PROJECT
from tests.kernel.hostile import no_defect_in_the_log  # noqa: F401 - used by every test here

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.records import Limits, Sandbox
    from tests.kernel.harness import Daemon

# Without it nothing could be tried in a user namespace: it cannot even be made.
UNFILTERED: Sandbox = {"seccomp": "none"}
BOTH = pytest.mark.parametrize("user", ["alice", "root"])

# Runs each expression and prints what came of it: a value, or the name of the error.
ATTEMPTS = """
import ctypes, errno, json, os, signal, socket, sys
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
def read(path):
    with open(path, "rb") as file:
        return file.read(64).decode(errors="replace")
def write(path, text):
    with open(path, "w") as file:
        file.write(text)
def attempt(action):
    try:
        return str(action())
    except OSError as error:
        return errno.errorcode[error.errno]
print(json.dumps({name: attempt(action) for name, action in {%s}.items()}))
"""


def attempts(daemon: Daemon, user: str, actions: dict[str, str]) -> dict[str, str]:
    """What comes of each Python expression when a job evaluates it."""
    body = ", ".join(f"{name!r}: lambda: {action}" for name, action in actions.items())
    answer: dict[str, str] = inside.ask_python(daemon, ATTEMPTS % body, user)
    return answer


@contextmanager
def host_process(*command: str) -> Iterator[int]:
    """A process of the host, for as long as a job is tried against it."""
    process = subprocess.Popen(command)
    try:
        yield process.pid
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


# Processes


@BOTH
def test_a_job_sees_its_own_processes_and_nothing_else(daemon: Daemon, user: str) -> None:
    with host_process("sleep", "1000"):
        ended = inside.run_shell(daemon, "sleep 1000 & ps -e -o pid=,comm=", user)
    lines = [line.split() for line in ended.stdout.decode().splitlines()]
    assert [name for _, name in lines] == ["runnerd-monitor", "sh", "sleep", "ps"]
    assert lines[0][0] == "1"


@BOTH
def test_a_process_of_the_host_is_not_there_to_be_signalled(daemon: Daemon, user: str) -> None:
    # The host's number of it, and every other number that a job may guess.
    with host_process("sleep", "1000") as pid:
        tried = attempts(
            daemon,
            user,
            {
                "kill": f"os.kill({pid}, 9)",
                "look": f"read('/proc/{pid}/cmdline')",
                "guess": "[n for n in range(2, 5000) if n != os.getpid() "
                "and attempt(lambda: os.kill(n, 9)) != 'ESRCH']",
                "all": "os.kill(-1, 9)",
            },
        )
    assert tried == {"kill": "ESRCH", "look": "ENOENT", "guess": "[]", "all": "ESRCH"}


@BOTH
def test_nothing_of_the_monitor_can_be_looked_into(daemon: Daemon, user: str) -> None:
    names = (
        "root", "cwd", "exe", "fd/0", "environ", "mem", "maps", "auxv", "stack", "syscall",
        "io", "personality", "ns/mnt", "ns/net", "ns/pid", "map_files",
    )  # fmt: skip
    actions = {
        name: f"os.readlink('/proc/1/{name}')"
        if name in ("root", "cwd", "exe", "fd/0", "ns/mnt", "ns/net", "ns/pid")
        else f"os.listdir('/proc/1/{name}')"
        if name == "map_files"
        else f"read('/proc/1/{name}')"
        for name in names
    }
    actions["through root"] = "os.listdir('/proc/1/root/')"
    actions["through fd"] = "read('/proc/1/fd/3')"
    tried = attempts(daemon, user, actions)
    assert {name: error for name, error in tried.items() if error not in ("EACCES", "EPERM")} == {}


@BOTH
def test_the_monitor_cannot_be_traced_or_read_by_system_calls(daemon: Daemon, user: str) -> None:
    attach, seize = 16, 0x4206
    tried = attempts(
        daemon,
        user,
        {
            "attach": f"call(libc.ptrace({attach}, 1, 0, 0))",
            "seize": f"call(libc.ptrace({seize}, 1, 0, 0))",
            "getfd": "call(libc.syscall(438, os.pidfd_open(1), 0, 0))",
            "readv": "call(libc.process_vm_readv(1, None, 0, None, 0, 0)) and 0",
            "setns": "call(libc.setns(os.pidfd_open(1), 0x00020000))",
        },
    )
    # With nothing to copy process_vm_readv(2) returns before it looks for permission.
    assert tried.pop("readv") in ("0", "EPERM")
    assert set(tried.values()) == {"EPERM"}


def test_pid_1_takes_no_signal_from_a_user(daemon: Daemon) -> None:
    kills = {str(n): f"os.kill(1, {n})" for n in (0, 1, 2, 9, 15, 17, 19, 40)}
    assert set(attempts(daemon, "alice", kills).values()) == {"EPERM"}


def test_pid_1_outlives_every_signal_of_a_job_of_root(daemon: Daemon) -> None:
    script = """
for number in $(seq 1 31) $(seq 34 64); do kill -$number 1; done
sleep 0.3
echo here; exit 4
"""
    ended = inside.run_shell(daemon, script, "root")
    assert (ended.stdout, ended.result["reason"]) == (b"here\n", "exit"), ended
    assert ended.result["exit_code"] == 4


# Mounts


@BOTH
def test_a_job_may_neither_mount_nor_unmount(daemon: Daemon, user: str) -> None:
    tried = attempts(
        daemon,
        user,
        {
            "tmpfs": "call(libc.mount(b'x', b'/mnt', b'tmpfs', 0, None))",
            "bind": "call(libc.mount(b'/', b'/mnt', None, 4096, None))",
            "unmount /tmp": "call(libc.umount2(b'/tmp', 2))",
            "unmount /proc": "call(libc.umount2(b'/proc', 2))",
            "make /sys writable": "call(libc.mount(None, b'/sys', None, 32 | 4096, None))",
            "share": "call(libc.mount(None, b'/', None, 1 << 20, None))",
            "unshare": "call(libc.unshare(0x00020000))",
            "pivot": "call(libc.syscall(155, b'/tmp', b'/tmp'))",
            "open_tree": "call(libc.syscall(428, -100, b'/', 1))",
            "fsopen": "call(libc.syscall(430, b'tmpfs', 0))",
        },
    )
    assert set(tried.values()) == {"EPERM"}


def test_a_namespace_of_users_own_uncovers_nothing(daemon: Daemon) -> None:
    """In a user namespace a job has every capability, over what the job could reach before."""
    script = """
exec 2>&1
umount /tmp && echo uncovered
umount -l /proc && echo uncovered
umount /sys/fs/cgroup && echo uncovered
mount --bind / /mnt && echo bound
mount -o remount,bind,rw /sys && echo writable
mount -o remount,bind,rw /proc/sys && echo writable
mount -t proc proc /mnt && echo mounted
mount -t cgroup2 none /mnt && echo max > /mnt/memory.max && echo raised
mkdir /mnt/sub && echo sub
mount --rbind / /mnt; ls /mnt/tmp
kill -9 1; cat /proc/1/environ
exit 0
"""
    with open("/tmp/secret", "w", encoding="ascii") as file:
        file.write("x")
    try:
        command = (
            "unshare",
            "--user",
            "--map-root-user",
            "--mount",
            "--cgroup",
            "sh",
            "-c",
            script,
        )
        limits: Limits = {"memory_max_bytes": 64 << 20}
        ended = inside.run(daemon, *command, limits=limits, sandbox=UNFILTERED)
    finally:
        os.unlink("/tmp/secret")
    assert ended.result["exit_status"] == 0, ended.text
    lines = ended.text.split("\n")
    words = ("uncovered", "bound", "writable", "mounted", "raised", "sub", "secret")
    assert [line for line in lines if line in words] == [], ended.text


def test_a_job_of_root_finds_no_writable_settings_in_a_namespace_of_its_own(daemon: Daemon) -> None:
    with open("/proc/sys/kernel/core_pattern", encoding="ascii") as file:
        before = file.read()
    script = """
umount /proc/sys; mount -o remount,bind,rw /proc/sys; mount -t proc proc /mnt
for place in /proc /mnt; do echo '|/tmp/evil' > $place/sys/kernel/core_pattern && echo written; done
exit 0
"""
    command = (
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "--pid",
        "--fork",
        "sh",
        "-c",
        script,
    )
    ended = inside.run(daemon, *command, user="root", sandbox=UNFILTERED)
    with open("/proc/sys/kernel/core_pattern", "r+", encoding="ascii") as file:
        after = file.read()
        file.write(before)
    assert (ended.stdout, after) == (b"", before)
    assert ended.result["exit_status"] == 0, ended.text


def test_a_users_job_may_make_a_sandbox_of_its_own(daemon: Daemon) -> None:
    """As bwrap, podman and test suites of such tools do: new namespaces with a /proc of theirs."""
    command = ("unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc")
    ended = inside.run(daemon, *command, "ps", "-e", "-o", "pid=,comm=", sandbox=UNFILTERED)
    assert ended.text.split() == ["1", "ps"]


@BOTH
def test_tmp_and_shared_memory_are_the_jobs_own(daemon: Daemon, user: str) -> None:
    hosts = ("/tmp/of-the-host", "/dev/shm/of-the-host")
    for path in hosts:
        open(path, "x", encoding="ascii").close()
    try:
        script = """
ls -A /tmp /dev/shm
for place in /tmp /dev/shm; do echo x > $place/of-the-job; done
ls -A /tmp
"""
        ended = inside.run_shell(daemon, script, user)
        assert ended.text == "/dev/shm:\n\n/tmp:\nof-the-job\n"
        again = inside.run_shell(daemon, "ls -A /tmp /dev/shm", user)
        assert again.text == "/dev/shm:\n\n/tmp:\n"
        assert not os.path.exists("/tmp/of-the-job")
        assert not os.path.exists("/dev/shm/of-the-job")
    finally:
        for path in hosts:
            os.unlink(path)


@contextmanager
def session_directory(uid: int) -> Iterator[str]:
    """A user's runtime directory with a socket's name in it; what was made is removed."""
    place = f"/run/user/{uid}"
    made = [path for path in (place, "/run/user") if not os.path.exists(path)]
    os.makedirs(place, exist_ok=True)
    os.chown(place, uid, uid)
    open(f"{place}/bus-of-the-host", "x", encoding="ascii").close()
    try:
        yield place
    finally:
        os.unlink(f"{place}/bus-of-the-host")
        for path in made:
            os.rmdir(path)


@BOTH
def test_the_sockets_of_a_users_session_are_hidden(
    daemon: Daemon, users: dict[str, int], user: str
) -> None:
    uid = users.get(user, 0)
    with session_directory(uid) as place:
        script = f"ls -A /run/user; ls -A {place}; stat -c %u:%a {place}"
        ended = inside.run_shell(daemon, script, user)
    assert ended.text == f"{uid}\n{uid}:700\n"


def test_a_job_started_from_the_session_directory_does_not_see_into_it(
    daemon: Daemon, users: dict[str, int]
) -> None:
    with session_directory(users["alice"]) as place:
        ended = inside.run_shell(daemon, f"ls -A . {place}", cwd=place)
    assert "bus-of-the-host" not in ended.text


@BOTH
def test_sys_and_the_kernels_settings_are_read_only(daemon: Daemon, user: str) -> None:
    tried = attempts(
        daemon,
        user,
        {
            "core_pattern": "write('/proc/sys/kernel/core_pattern', 'core')",
            "sysrq": "write('/proc/sysrq-trigger', '')",
            "ns_last_pid": "write('/proc/sys/kernel/ns_last_pid', '77')",
            "/sys": "os.mkdir('/sys/fs/made')",
            "uevent": "write('/sys/class/mem/null/uevent', 'add')",
            "cgroup": "os.mkdir('/sys/fs/cgroup/made')",
            "cgroup.procs": "write('/sys/fs/cgroup/cgroup.procs', '0')",
            "memory.max": "write('/sys/fs/cgroup/memory.max', 'max')",
            "cgroup.kill": "write('/sys/fs/cgroup/cgroup.kill', '1')",
        },
    )
    assert set(tried.values()) <= {"EROFS", "EACCES", "EPERM"}, tried
    if user == "root":
        assert set(tried.values()) == {"EROFS"}


# Networks


@BOTH
def test_without_a_network_there_is_only_a_loopback_that_works(daemon: Daemon, user: str) -> None:
    program = """
import json, os, socket
server = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(server.getsockname())
server.accept()[0].sendall(b"ok")
def reach(family, address):
    try:
        socket.socket(family, socket.SOCK_DGRAM).connect(address)
    except OSError as error:
        return error.strerror
print(json.dumps({
    "interfaces": [name for _, name in socket.if_nameindex()],
    "sysfs": os.listdir("/sys/class/net"),
    "loopback": client.recv(2).decode(),
    "routes": open("/proc/net/route").read().count("\\n"),
    "out": reach(socket.AF_INET, ("192.0.2.1", 9)),
    "out6": reach(socket.AF_INET6, ("2001:db8::1", 9)),
}))
"""
    answer = inside.ask_python(daemon, program, user)
    unreachable = "Network is unreachable"
    assert answer.pop("out6") in (unreachable, "Address family not supported by protocol")
    assert answer == {
        "interfaces": ["lo"],
        "sysfs": ["lo"],
        "loopback": "ok",
        "routes": 1,
        "out": unreachable,
    }


def test_the_networks_of_two_jobs_and_of_the_host_are_apart(daemon: Daemon) -> None:
    listen = """
import socket, time
server = socket.create_server(("127.0.0.1", 7777))
print("listening", flush=True)
time.sleep(1000)
"""
    reach = {
        "other job": "socket.create_connection(('127.0.0.1', 7777))",
        "host": "socket.create_connection(('127.0.0.1', 7778))",
        "abstract": "socket.socket(socket.AF_UNIX).connect('\\0of-the-host')",
    }
    with (
        daemon.client() as client,
        socket.create_server(("127.0.0.1", 7778)),
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        abstract.bind("\0of-the-host")
        abstract.listen()
        job = inside.submit(client, *inside.python(listen))
        inside.wait_for_output(client, job, b"listening")
        tried = attempts(daemon, "alice", reach)
    assert set(tried.values()) == {"ECONNREFUSED"}


@BOTH
def test_the_hosts_network_is_there_when_it_was_asked_for(daemon: Daemon, user: str) -> None:
    inside.on_host("ip", "link", "add", "seen0", "type", "dummy")
    try:
        with socket.create_server(("127.0.0.1", 7778)):
            program = """
import json, os, socket
socket.create_connection(("127.0.0.1", 7778)).close()
print(json.dumps([[n for _, n in socket.if_nameindex()], os.listdir("/sys/class/net")]))
"""
            interfaces, shown = inside.ask_python(daemon, program, user, network="host")
    finally:
        inside.on_host("ip", "link", "delete", "seen0")
    assert set(interfaces) == set(shown)
    assert {"lo", "seen0"} <= set(interfaces)


def test_the_hosts_network_cannot_be_changed_by_a_job_of_root(daemon: Daemon) -> None:
    command = ("ip", "link", "add", "made0", "type", "dummy")
    ended = inside.run(daemon, *command, user="root", network="host")
    assert ended.result["exit_status"] != 0
    assert b"not permitted" in ended.stderr


# The other namespaces


@BOTH
def test_shared_memory_of_the_host_is_not_visible(daemon: Daemon, user: str) -> None:
    number = inside.on_host("ipcmk", "-M", "4096", "-p", "666").split()[-1]
    try:
        ended = inside.run_shell(daemon, f"ipcs -m | grep -c 0x; ipcrm -m {number}", user)
    finally:
        inside.on_host("ipcrm", "-m", number)
    assert ended.stdout == b"0\n"
    assert ended.result["exit_status"] != 0


@BOTH
def test_message_queues_of_the_host_are_out_of_reach(daemon: Daemon, user: str) -> None:
    hosts = "/dev/mqueue/of-the-host"
    open(hosts, "x", encoding="ascii").close()
    try:
        script = "ls /dev/mqueue; touch /dev/mqueue/of-the-job; ls /dev/mqueue"
        ended = inside.run_shell(daemon, script, user)
        left = os.listdir("/dev/mqueue")
    finally:
        for name in ("of-the-host", "of-the-job"):
            with suppress(FileNotFoundError):
                os.unlink(f"/dev/mqueue/{name}")
    assert ended.text == "of-the-job\n"
    assert left == ["of-the-host"]


@BOTH
def test_the_hosts_name_cannot_be_changed(daemon: Daemon, user: str) -> None:
    before = socket.gethostname()
    tried = attempts(
        daemon,
        user,
        {
            "same": "socket.gethostname()",
            "call": "socket.sethostname('other')",
            "file": "write('/proc/sys/kernel/hostname', 'other')",
        },
    )
    assert tried.pop("same").startswith("job-")
    assert set(tried.values()) <= {"EPERM", "EROFS", "EACCES"}
    assert socket.gethostname() == before


def test_every_namespace_is_another_than_the_hosts_and_another_jobs(daemon: Daemon) -> None:
    kinds = ("cgroup", "ipc", "mnt", "net", "pid", "uts")
    with daemon.client() as client:
        jobs = [inside.submit(client, "sleep", "1000", user=user) for user in ("alice", "root")]
        pids = [inside.wait_for_command(daemon, job, "sleep") for job in jobs]
        for kind in kinds:
            links = {os.readlink(f"/proc/{pid}/ns/{kind}") for pid in ("self", *pids)}
            assert len(links) == 3, (kind, links)


@BOTH
def test_the_cgroup_tree_of_a_job_is_its_own_cgroup(daemon: Daemon, user: str) -> None:
    script = """
cat /proc/self/cgroup
find /sys/fs/cgroup -type d
cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max
cat /sys/fs/cgroup/cgroup.procs > /tmp/pids
wc -l < /tmp/pids
"""
    limits: Limits = {"memory_max_bytes": 64 << 20, "pids_max": 33}
    ended = inside.run_shell(daemon, script, user, limits=limits)
    # The shell and its cat.
    assert ended.text.splitlines() == ["0::/", "/sys/fs/cgroup", f"{64 << 20}", "33", "2"]


# Privileges


def test_a_users_job_has_no_capability_and_can_gain_none(daemon: Daemon) -> None:
    fields = inside.status_fields(inside.run(daemon, "cat", "/proc/self/status").stdout.decode())
    sets = {name: int(value, 16) for name, value in fields.items() if name.startswith("Cap")}
    assert sets == {"CapInh": 0, "CapPrm": 0, "CapEff": 0, "CapBnd": 0, "CapAmb": 0}
    assert fields["NoNewPrivs"] == "1"
    assert fields["Uid"].split() == ["4001"] * 4
    assert fields["Gid"].split() == ["4001"] * 4


def test_a_job_of_root_has_the_short_list_and_nothing_else(daemon: Daemon) -> None:
    ended = inside.run(daemon, "cat", "/proc/self/status", user="root")
    fields = inside.status_fields(ended.stdout.decode())
    sets = {name: int(value, 16) for name, value in fields.items() if name.startswith("Cap")}
    kept = bits(ROOT_CAPABILITIES)
    assert sets == {"CapInh": 0, "CapPrm": kept, "CapEff": kept, "CapBnd": kept, "CapAmb": 0}
    assert fields["NoNewPrivs"] == "1"
    # What would undo the rest: SYS_ADMIN, SYS_PTRACE, SYS_MODULE, NET_ADMIN, MKNOD, SYS_RAWIO.
    assert [number for number in (21, 19, 16, 12, 27, 17) if kept >> number & 1] == []


def test_a_job_of_root_cannot_make_device_nodes(daemon: Daemon) -> None:
    ended = inside.run_shell(daemon, "mknod /var/tmp/disk b 98 0; ls /var/tmp", "root")
    assert b"not permitted" in ended.stderr
    assert ended.stdout == b""


def test_a_setuid_program_gives_a_job_nothing(daemon: Daemon, users: dict[str, int]) -> None:
    path = "/var/tmp/id-of-root"
    shutil.copy("/usr/bin/id", path)
    os.chmod(path, 0o4755)  # noqa: S103 - what is tested
    try:
        # Outside of a job it does: else this test would show nothing.
        outside = subprocess.run(
            [path, "-u"], user=users["alice"], group=users["alice"], extra_groups=[],
            capture_output=True, check=True,
        )  # fmt: skip
        ended = inside.run(daemon, path, "-u")
    finally:
        os.unlink(path)
    assert outside.stdout == b"0\n"
    assert ended.stdout == b"4001\n"


def test_a_setuid_program_made_in_tmp_gives_nobody_anything(daemon: Daemon) -> None:
    script = "cp /usr/bin/id /tmp/id; chmod 6755 /tmp/id; findmnt -n -o OPTIONS /tmp"
    ended = inside.run_shell(daemon, script, "root")
    assert {"nosuid", "nodev"} <= set(ended.stdout.decode().strip().split(",")), ended.text


@BOTH
def test_a_job_begins_with_three_descriptors_and_default_signals(daemon: Daemon, user: str) -> None:
    # Not os.listdir alone: its own descriptor is there while it looks.
    program = """
import json, os
fds = [n for n in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{n}")]
print(json.dumps([fds, open("/proc/self/oom_score_adj").read(), os.getsid(0) == os.getpid()]))
"""
    fds, oom_score_adj, is_leader = inside.ask_python(daemon, program, user)
    assert (sorted(fds), oom_score_adj, is_leader) == (["0", "1", "2"], "0\n", True)
    ended = inside.run(daemon, "cat", "/proc/self/status", user=user)
    fields = inside.status_fields(ended.stdout.decode())
    assert {fields[name] for name in ("SigIgn", "SigBlk", "SigCgt", "SigPnd")} == {"0" * 16}


def test_a_job_cannot_make_itself_safe_from_the_out_of_memory_killer(daemon: Daemon) -> None:
    tried = attempts(
        daemon,
        "root",
        {"lower": "write('/proc/self/oom_score_adj', '-500')", "nice": "os.nice(-5)"},
    )
    assert set(tried.values()) <= {"EACCES", "EPERM"}


# Files of the daemon and of others


def test_the_state_directory_and_other_jobs_are_out_of_a_users_reach(daemon: Daemon) -> None:
    with daemon.client() as client:
        other = inside.submit(client, "sleep", "1000", user="bob")
        inside.wait_for_command(daemon, other, "sleep")
        state = daemon.state_dir
        tried = attempts(
            daemon,
            "alice",
            {
                "list": f"os.listdir('{state}')",
                "database": f"read('{state}/runnerd.sqlite3')",
                "spec": f"read('{state}/jobs/{other}/spec')",
                "control": f"write('{state}/jobs/{other}/control', 'x')",
                "log": f"os.listdir('{state}/jobs/{other}/log')",
                "enter": f"os.chdir('{state}')",
            },
        )
        assert set(tried.values()) == {"EACCES"}
        assert client.status(other)["state"] == "running"


# What is left


LEFTOVERS = {
    "a process in the background": "sleep 1000 &",
    "a session of its own": "setsid sleep 1000 &",
    "a daemon, forked twice": "(setsid sh -c 'sleep 1000 & sleep 1000' &)",
    "a stopped process": "sleep 1000 & kill -STOP $!",
    "one that ignores every signal": "(trap '' TERM HUP INT; exec sleep 1000) &",
    "one that holds the streams open": "sleep 1000 & exec >&- 2>&-",
    "a whole family": "for i in 1 2 3 4 5 6 7 8; do (sleep 1000 & sleep 1000) & done",
    "one in a namespace of its own": "unshare -Urpf sleep 1000 & sleep 0.2",
}


@pytest.mark.parametrize("what", LEFTOVERS)
def test_when_the_first_process_ends_everything_is_gone(daemon: Daemon, what: str) -> None:
    """The `daemon` fixture proves the rest: no process, cgroup, mount or namespace is left."""
    ended = inside.run_shell(daemon, f"{LEFTOVERS[what]}\nexit 6", env={"PATH": inside.PATH})
    assert (ended.result["reason"], ended.result["exit_code"]) == ("exit", 6)
    wall = ended.result["wall_ns"]
    assert wall is not None
    assert wall < 8e9
    # Its end is told after it is true: at once, and not some time later, nothing is there.
    assert inside.job_cgroups(daemon) == []
    assert "sleep" not in inside.on_host("ps", "-e", "-o", "comm=").split()


def test_what_was_said_before_the_end_is_kept_whoever_holds_the_stream(daemon: Daemon) -> None:
    script = "(echo from the background; exec sleep 1000) & sleep 0.2; echo last; exit 0"
    ended = inside.run_shell(daemon, script)
    assert ended.stdout == b"from the background\nlast\n"


def test_a_job_of_root_cannot_leave_its_cgroup(daemon: Daemon) -> None:
    """Below the read-only tree there is another mount; and /proc/1 is in another cgroup."""
    program = f"""
import json, os, subprocess, sys
def attempt(path):
    try:
        with open(path, "w") as file:
            file.write("0")
        return "written"
    except OSError as error:
        return error.strerror
print(json.dumps([attempt(path) for path in (
    "/sys/fs/cgroup/../cgroup.procs",
    "/sys/fs/cgroup/cgroup.procs",
    "/proc/1/root/sys/fs/cgroup/cgroup.procs",
    "/proc/1/cwd/sys/fs/cgroup/cgroup.procs",
    "{daemon.cgroup_root}/daemon/cgroup.procs",
)]), flush=True)
sys.stdin.read()
import time; time.sleep(1000)
"""
    with daemon.client() as client:
        job = inside.submit(client, *inside.python(program), user="root")
        inside.wait_for_output(client, job, b"]")
        assert len(inside.pids(inside.payload_cgroup(daemon, job))) == 1
        client.stop(job, kill=True)
        client.wait(job)
        stdout, _ = inside.output(client, job)
    assert b"written" not in stdout


def test_a_monitor_that_is_killed_takes_its_whole_job_with_it(daemon: Daemon) -> None:
    with daemon.client() as client:
        job = inside.submit(client, "sh", "-c", "setsid sleep 1000 & sleep 1000")
        processes = inside.wait_for_pids(inside.payload_cgroup(daemon, job), 3)
        monitor = client.status(job)["pid"]
        assert monitor is not None
        os.kill(monitor, signal.SIGKILL)
        result = client.wait(job)["result"]
    assert result is not None
    assert (result["reason"], result["exit_status"]) == ("lost", 125)
    assert [pid for pid in processes if inside.is_alive(pid)] == []
    assert inside.job_cgroups(daemon) == []


@BOTH
def test_a_job_cannot_use_the_daemon_to_ask_for_what_it_was_denied(
    daemon: Daemon, user: str
) -> None:
    arguments = ("run", "--net", "host", "--", "ip", "link")
    command = [sys.executable, "-m", "client.cli", "--socket", daemon.socket, *arguments]
    ended = inside.run(
        daemon, *command, user=user, env={"PATH": inside.PATH, "PYTHONPATH": PROJECT}
    )
    assert (ended.stdout, ended.result["exit_status"]) == (b"", 125)
    assert b"a job may not use runnerd" in ended.stderr


@BOTH
def test_a_job_cannot_use_the_daemon_through_a_process_that_is_gone(
    daemon: Daemon, user: str
) -> None:
    """The kernel names who connected; the connection outlives that process in its parent."""
    paths = [PROJECT, os.path.dirname(os.path.dirname(msgpack.__file__))]
    program = f"""
import json, os, socket, sys
sys.path[:0] = {paths!r}
from client import protocol
answers = []
for round in range(10):
    with socket.socket(socket.AF_UNIX) as connection:
        child = os.fork()
        if child == 0:
            connection.connect({daemon.socket!r})
            os._exit(0)
        # Once as a zombie that nobody has collected, once as a number that is free again.
        os.waitid(os.P_PID, child, os.WEXITED | (os.WNOWAIT if round % 2 else 0))
        for id, op, args in (1, "hello", {{"protocol": 1, "client": "x"}}), (2, "list", {{}}):
            try:
                connection.sendall(protocol.encode_frame({{"id": id, "op": op, "args": args}}))
            except OSError:
                break
        size = connection.recv(4, socket.MSG_WAITALL)
        if size:
            length = protocol.frame_length(size)
            answers.append(protocol.decode_body(connection.recv(length, socket.MSG_WAITALL)))
print(json.dumps(answers))
"""
    answers = inside.ask_python(daemon, program, user)
    assert answers
    assert [answer for answer in answers if "error" not in answer] == []
    assert {answer["error"]["code"] for answer in answers} <= {"not-permitted"}
