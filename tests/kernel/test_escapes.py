"""Nothing of an ordinary user's job gets out, in any mode; and what stopped each attempt.

`escapes` runs inside the job. Here is what each attempt must meet: the errno, and the
mechanism that this errno shows. Where two mechanisms stand behind each other the outer one
answers; `test_behind_the_filter…` takes the filter away and shows the one behind it.
"""

from __future__ import annotations

import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import uuid
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from tests.kernel import escapes, inside
from tests.kernel.harness import STATE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.records import Limits, Sandbox
    from tests.kernel.harness import Daemon

PROGRAM = pathlib.Path(escapes.__file__).read_text(encoding="utf-8")
MIB = 2**20
PIDS_MAX = 60
LIMITS: Limits = {"memory_max_bytes": 96 * MIB, "pids_max": PIDS_MAX, "timeout_seconds": 120}

FILTER = "the seccomp filter"
CAPABILITIES = "it has no such capability"
PERMISSIONS = "file permissions of its user"
NOT_TRACEABLE = "the monitor is root's and not dumpable"
PID_NAMESPACE = "the PID namespace"
NETWORK = "the network namespace"
TREE = "the job's own file tree"
READ_ONLY = "a read-only mount"
DEVICES = "its own /dev"
DROPPED = "the drop of privileges"
NOT_KEPT = "descriptors are closed over the exec"
TURNED_AWAY = "runnerd knows its jobs"
LANDLOCK = "Landlock"
ALREADY = "nothing to gain: root of its own user namespace"
KERNEL = "this kernel has no such thing"
PASSES = "ok"


def each(names: tuple[str, ...], expected: dict[str, str]) -> dict[str, dict[str, str]]:
    """The same for several attempts."""
    return {name: dict(expected) for name in names}


# attempt → errno → the mechanism that it shows. Under the default filter, in any mode.
_FILTERED = each(
    (
        "make_a_user_namespace", "make_a_mount_namespace", "change_the_host_name",
        "mount_something", "mount_by_the_new_calls", "copy_a_mount", "mount_the_v1_cgroups",
        "unmount_proc", "unmount_tmp", "make_a_mount_writable", "open_a_file_by_its_handle",
        "type_into_a_terminal", "load_a_module", "set_the_clock", "reboot", "load_another_kernel",
        "load_a_bpf_program", "watch_events_of_the_machine", "use_an_io_ring",
        "handle_page_faults", "read_the_hosts_keyring", "use_ports_of_the_machine",
        "swap_to_a_file", "account_processes",
    ),
    {"EPERM": FILTER},
)  # fmt: skip
_MONITOR = each(
    (
        "read_the_monitors_memory", "read_the_monitors_environment", "leave_by_proc_1_root",
        "leave_by_proc_1_cwd", "take_a_descriptor_of_the_monitor", "join_the_hosts_mounts",
        "join_the_hosts_network",
    ),
    {"EACCES": NOT_TRACEABLE},
)  # fmt: skip
_SYSTEM = each(
    ("write_to_sysfs", "raise_its_memory_limit", "leave_its_cgroup", "set_a_release_agent"),
    {"EROFS": READ_ONLY},
)
EXPECTED: dict[str, dict[str, str]] = {
    **_FILTERED,
    **_MONITOR,
    **_SYSTEM,
    "see_host_processes": {"ESRCH": PID_NAMESPACE},
    "signal_a_host_process": {"ESRCH": PID_NAMESPACE},
    "open_a_host_process": {"ESRCH": PID_NAMESPACE},
    "kill_the_monitor": {"EPERM": NOT_TRACEABLE},
    "trace_the_monitor": {"EPERM": NOT_TRACEABLE},
    "keep_a_descriptor": {"EBADF": NOT_KEPT},
    "make_a_user_namespace_by_clone3": {"ENOSYS": FILTER},
    # The root of a user namespace may, within its own tree.
    "change_the_root": {"EPERM": FILTER, "ok: changed": ALREADY},
    "read_anothers_file": {"EACCES": PERMISSIONS, "ENOENT": TREE},
    "write_to_the_system": {"EACCES": PERMISSIONS, "EROFS": READ_ONLY, "ok: written": TREE},
    "write_to_anothers_home": {"EACCES": PERMISSIONS, "EROFS": READ_ONLY, "ENOENT": TREE},
    "see_the_hosts_tmp": {"ENOENT": TREE},
    "become_root_by_a_setuid_program": {"EPERM": DROPPED},
    "use_runnerds_socket": {
        "EPERM": TURNED_AWAY,
        "EPIPE": TURNED_AWAY,
        "EACCES": PERMISSIONS,
        "ENOENT": TREE,
        "ECONNREFUSED": TREE,
    },
    "open_the_hosts_disk": {"ENOENT": DEVICES},
    "make_a_device_node": {"EPERM": CAPABILITIES},
    "read_the_kernels_memory": {"ENOENT": DEVICES},
    "read_kcore": {"EACCES": PERMISSIONS, "ENODATA": TREE, "ENOENT": KERNEL},
    "write_a_kernel_setting": {"EACCES": PERMISSIONS, "EROFS": READ_ONLY},
    "press_sysrq": {"EACCES": PERMISSIONS, "EROFS": READ_ONLY},
    "become_root": {"EPERM": DROPPED, "EALREADY": ALREADY},
    "get_a_capability": {"EPERM": DROPPED},
    "hide_from_the_oom_killer": {"EACCES": CAPABILITIES},
    "raise_its_priority": {"EACCES": CAPABILITIES},
    "reach_the_hosts_service": {"ECONNREFUSED": NETWORK},
    "reach_the_hosts_abstract_socket": {"ECONNREFUSED": NETWORK},
    "change_the_network": {"EPERM": CAPABILITIES},
    "listen_to_packets": {"EPERM": CAPABILITIES},
}
# With the host's network its services are there, as they are for the user outside.
IN_THE_HOSTS_NETWORK = {
    "reach_the_hosts_service": {"ok: connected": PASSES},
    "reach_the_hosts_abstract_socket": {"ok: connected": PASSES},
}
# The filter gone: what stands behind it. What passes is what the user may do outside, too.
BEHIND = {
    **each(
        (
            "make_a_mount_namespace", "change_the_host_name", "mount_something",
            "mount_by_the_new_calls", "copy_a_mount", "mount_the_v1_cgroups", "unmount_proc",
            "unmount_tmp", "make_a_mount_writable", "open_a_file_by_its_handle", "set_the_clock",
            "reboot", "swap_to_a_file", "handle_page_faults",
        ),
        {"EPERM": CAPABILITIES},
    ),
    **each(
        (
            "load_a_module", "load_another_kernel", "use_ports_of_the_machine",
            "account_processes", "watch_events_of_the_machine",
        ),
        {"ENOSYS": KERNEL, "EPERM": CAPABILITIES},
    ),
    "type_into_a_terminal": {"EIO": KERNEL, "EPERM": CAPABILITIES},
    **each(
        ("make_a_user_namespace", "make_a_user_namespace_by_clone3"), {"ok: made": PASSES}
    ),
    "use_an_io_ring": {"ok: made": PASSES},
    "load_a_bpf_program": {"ok: a map": PASSES},
    "read_the_hosts_keyring": {"ok: got it": PASSES},
    "change_the_root": {"EPERM": CAPABILITIES},
}  # fmt: skip
# A stranger's program: less is there at all.
STRICT = {
    # The directory to find it from cannot be opened.
    "open_a_file_by_its_handle": {"EACCES": LANDLOCK},
    "change_the_root": {"EPERM": FILTER},
    "trace_the_monitor": {"EPERM": FILTER},
    "raise_its_priority": {"EACCES": CAPABILITIES, "EPERM": FILTER},
    "listen_to_packets": {"EPERM": FILTER, "EAFNOSUPPORT": FILTER},
    "read_anothers_file": {"EACCES": LANDLOCK},
    "write_to_the_system": {"EACCES": LANDLOCK},
    "write_to_anothers_home": {"EACCES": LANDLOCK},
    "use_runnerds_socket": {"EPERM": TURNED_AWAY, "EPIPE": TURNED_AWAY, "EACCES": LANDLOCK},
    "make_a_device_node": {"EPERM": FILTER},
    "become_root": {"EALREADY": ALREADY},
    "get_a_capability": {"EPERM": DROPPED},
    "reach_the_hosts_abstract_socket": {"ECONNREFUSED": NETWORK, "EPERM": FILTER},
    "change_the_network": {"EPERM": FILTER},
}


@contextmanager
def target(daemon: Daemon, users: dict[str, int]) -> Iterator[dict[str, Any]]:
    """A host with something to take: a process, files, a disk, services. Gone afterwards."""
    token = f"token-{uuid.uuid4()}"
    tmp_file = f"/tmp/{token}"
    setuid = f"/usr/local/bin/{token}"
    secret = "/home/bob/secret"  # noqa: S105 - a path
    with ExitStack() as stack:
        for path, mode in ((tmp_file, 0o644), (secret, 0o600)):
            pathlib.Path(path).write_text(token, encoding="ascii")
            stack.callback(os.unlink, path)
            os.chmod(path, mode)
        os.chmod("/home/bob", 0o700)
        shutil.copy(shutil.which("id") or "id", setuid)
        stack.callback(os.unlink, setuid)
        os.chmod(setuid, 0o4755)  # noqa: S103 - the point
        victim = stack.enter_context(
            subprocess.Popen(["sh", "-c", "read x; exit", token], stdin=subprocess.PIPE)
        )
        stack.callback(victim.kill)
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{token}")
        abstract.listen()
        yield {
            "escapes-facts": True,
            "token": token,
            "host_pid": str(victim.pid),
            "anothers_file": secret,
            "tmp_file": tmp_file,
            "setuid_program": setuid,
            "socket": daemon.socket,
            "disk": "/dev/ubda",
            "host_port": str(listener.getsockname()[1]),
            "pids_max": str(PIDS_MAX),
        }
        assert victim.poll() is None
        assert pathlib.Path(secret).read_text(encoding="ascii") == token
        assert not os.path.exists("/etc/escaped")
        assert os.listdir("/home/bob").count("escaped") == 0


@contextmanager
def foreign_root(users: dict[str, int]) -> Iterator[Sandbox]:
    """A tree of alice's own, with the host's programs in it."""
    path = f"{STATE}/root-{uuid.uuid4()}"
    os.mkdir(path, 0o755)
    try:
        for name in ("bin", "lib", "lib64", "sbin"):
            os.symlink(f"usr/{name}", f"{path}/{name}")
        os.mkdir(f"{path}/usr")
        os.mkdir(f"{path}/etc", 0o755)
        os.chown(path, users["alice"], users["alice"])
        places = dict.fromkeys(("/usr", sys.base_prefix, sys.prefix))
        binds = [{"source": place, "target": place, "read_only": True} for place in places]
        yield {"filesystem": "root", "root": path, "binds": binds}  # type: ignore[typeddict-item]
    finally:
        shutil.rmtree(path)


def attack(
    daemon: Daemon, facts: dict[str, Any], sandbox: Sandbox, network: Any = None
) -> dict[str, str]:
    found = inside.run(
        daemon,
        *inside.python(PROGRAM),
        json.dumps(facts),
        limits=LIMITS,
        sandbox=sandbox,
        network=network,
    )
    assert found.result["exit_status"] == 0, found.text
    answers: dict[str, str] = json.loads(found.stdout)
    return answers


def judge(answers: dict[str, str], expected: dict[str, dict[str, str]]) -> None:
    """Each attempt met what it must; the failure names the attempt and what it got."""
    wrong = {
        name: (answer, sorted(expected[name]))
        for name, answer in answers.items()
        if answer not in expected[name]
    }
    assert wrong == {}
    assert set(answers) == set(expected)


@pytest.mark.parametrize("network", ["none", "private", "host"])
@pytest.mark.parametrize("identity", ["own-user", "userns"])
@pytest.mark.parametrize("filesystem", ["host", "readonly", "overlay", "root"])
def test_no_attempt_gets_out(
    daemon: Daemon, users: dict[str, int], filesystem: str, identity: str, network: str
) -> None:
    expected = EXPECTED | (IN_THE_HOSTS_NETWORK if network == "host" else {})
    with target(daemon, users) as facts, ExitStack() as stack:
        sandbox: Any = {"filesystem": filesystem}
        if filesystem == "root":
            sandbox = stack.enter_context(foreign_root(users))
        answers = attack(daemon, facts, {**sandbox, "userns": identity == "userns"}, network)
    judge(answers, expected)


def test_no_attempt_of_a_strangers_program_gets_out(daemon: Daemon, users: dict[str, int]) -> None:
    places: Any = list(dict.fromkeys((sys.base_prefix, sys.prefix)))
    with target(daemon, users) as facts:
        answers = attack(daemon, facts, {"preset": "untrusted", "readable": places})
    judge(answers, EXPECTED | STRICT)


def test_behind_the_filter_stands_another_mechanism(daemon: Daemon, users: dict[str, int]) -> None:
    with target(daemon, users) as facts:
        answers = attack(daemon, facts, {"seccomp": "none"})
    judge(answers, EXPECTED | BEHIND)


# Exhaustion

EXHAUSTED = {
    # No room for the interpreter's own error either: the kernel ends what asks for more.
    "exhaust_processes": {"EAGAIN"},
    "exhaust_descriptors": {"EMFILE"},
    "exhaust_files": {"oom", "ENOSPC"},
    "exhaust_pipes": {"EMFILE", "ENFILE", "oom"},
    "exhaust_kernel_memory": {"oom", "ENOMEM"},
}


@pytest.mark.parametrize("name", escapes.EXHAUSTING)
def test_what_can_be_exhausted_is_the_jobs_own(
    daemon: Daemon, users: dict[str, int], name: str
) -> None:
    with target(daemon, users) as facts:
        facts["only"] = [name]
        found = inside.run(daemon, *inside.python(PROGRAM), json.dumps(facts), limits=LIMITS)
        # Somebody else notices nothing.
        other = inside.run(daemon, "echo", "fine", user="bob")
    if found.result["reason"] == "oom":
        answer = "oom"
        assert (found.result["memory_peak_bytes"] or 0) <= 97 * MIB
    else:
        answer = json.loads(found.stdout)[name]
    assert answer in EXHAUSTED[name], found.text
    assert other.stdout == b"fine\n"


def test_every_attempt_is_looked_at() -> None:
    assert set(EXPECTED) | set(EXHAUSTED) == set(escapes.ATTEMPTS)
