"""The native payload beside the Python one: the same job sees the same, to the last line."""

from __future__ import annotations

import errno
import os
import sys
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from isolation.cgroups.root import find_root
from isolation.seccomp import profiles
from tests.kernel.payloads import ALICE, GROUPS, JOB, Payloads, settled

if TYPE_CHECKING:
    from collections.abc import Iterator

SANDBOX: dict[str, Any] = {
    "preset": None, "filesystem": "host", "root": None, "keep_changes": None, "readable": [],
    "writable": [], "binds": [], "tmpfs": [], "hide": [], "hostname": "job-of-a-test",
    "userns": False, "capabilities": [], "seccomp": b"none", "seccomp_program": None,
    "report_denied": False, "devices": [], "secrets": [],
}  # fmt: skip
SPEC: dict[str, Any] = {
    "job": JOB, "argv": [b"/bin/true"], "env": {}, "cwd": b"/", "umask": 0o27, "network": "none",
    "net": {"name": None, "publish": [], "allow_egress": None}, "uid": ALICE, "gid": ALICE,
    "groups": GROUPS, "user": "alice", "limits": {}, "sandbox": SANDBOX,
    "stop_grace_seconds": 10.0, "retry": None, "deadline_ns": None,
    "logs": {
        "segment_bytes": 1 << 20, "keep_bytes": 1 << 24, "keep_segments": 16,
        "compression": "none", "on_full": "wait",
    },
}  # fmt: skip

# With nothing but the shell's own words and what looks; each section says what it is.
LOOK = r"""
say() { echo "== $1"; shift; "$@" 2>&1; }
say directory pwd
say ids id
say mask umask
say host hostname
say environment env
say open ls --time-style=+ -l /proc/self/fd
for name in status limits cgroup mountinfo oom_score_adj uid_map loginuid personality; do
    say $name cat /proc/self/$name
done
say parent sh -c 'echo $PPID; cut -d" " -f 4,5,6,7,8 /proc/self/stat'
say namespaces readlink /proc/self/ns/user
say keys sed -E 's/^[0-9a-f]+ ([^ ]+) +[0-9]+ /\1 /' /proc/keys
say devices ls --time-style=+ -lnR /dev
say private ls --time-style=+ -lan /tmp /dev/shm /run/user
say own ls --time-style=+ -land . / /proc /sys /tmp /run/user/*
say settings cat /proc/sys/kernel/core_pattern /proc/sysrq-trigger
say write sh -c 'echo x > /proc/sys/kernel/domainname'
say network cat /proc/net/dev
say groups ls /sys/fs/cgroup
say made sh -c 'echo x > /tmp/x; ls --time-style=+ -ln /tmp/x'
say room df -B1 /tmp /dev/shm /run/user /dev
say queue ls --time-style=+ -la /dev/mqueue
"""


# Executes its arguments with every signal ignored and blocked that can be.
DEAF = """
import os, signal, sys
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execvp(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture(scope="module")
def payloads(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Payloads]:
    cgroup = os.path.join(find_root().mount, f"test-{uuid.uuid4()}")
    os.mkdir(cgroup)
    yield Payloads(tmp_path_factory.mktemp("job"), cgroup)
    os.rmdir(cgroup)


def spec(*argv: str | bytes, **changes: Any) -> dict[str, Any]:
    """One like SPEC; what its surroundings are to be, by their own names."""
    sandbox = {name: changes.pop(name) for name in SANDBOX if name in changes}
    words = [os.fsencode(word) for word in argv]
    return {**SPEC, "argv": words, "sandbox": {**SANDBOX, **sandbox}, **changes}


def seen(payloads: Payloads, wanted: dict[str, Any], *before: str) -> list[str]:
    """What a job that looks around says with either payload, line by line: equal, and whole."""
    names = [name.removeprefix("CAP_") for name in wanted["sandbox"]["capabilities"]]
    program = None
    if wanted["sandbox"]["seccomp"] == b"default":
        program = profiles.program("default", capabilities=names)
    looking = {**wanted, "argv": [b"sh", b"-c", LOOK.encode()]}
    python, native = payloads.both(looking, program, before)
    assert python.report is None
    assert native.report is None
    assert (python.status, native.status) == (0, 0)
    lines = settled(native.output).splitlines()
    assert lines == settled(python.output).splitlines()
    assert "== queue" in lines
    return lines


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_job_of_an_ordinary_user_sees_the_same(payloads: Payloads, network: str) -> None:
    lines = seen(payloads, spec(network=network, env={b"A": b"b c", b"B": b"\xff\n"}))
    assert "CapEff:\t0000000000000000" in lines
    assert "NoNewPrivs:\t1" in lines


@pytest.mark.parametrize("network", ["none", "host"])
def test_a_job_of_root_sees_the_same(payloads: Payloads, network: str) -> None:
    seen(payloads, spec(network=network, uid=0, gid=0, groups=[0]))


@pytest.mark.parametrize("added", [["NET_BIND_SERVICE"], ["SYS_PTRACE", "NET_RAW", "BPF"]])
@pytest.mark.parametrize("uid", [ALICE, 0])
def test_capabilities_end_up_in_the_same_sets(
    payloads: Payloads, uid: int, added: list[str]
) -> None:
    seen(payloads, spec(uid=uid, gid=uid, groups=[], capabilities=added))


def test_the_default_filter_is_installed_the_same_way(payloads: Payloads) -> None:
    lines = seen(payloads, spec(seccomp=b"default"))
    assert "Seccomp:\t2" in lines
    assert "Seccomp_filters:\t1" in lines


@pytest.mark.parametrize("top", ["/tmp", "/dev/shm"])
@pytest.mark.parametrize("uid", [ALICE, 0])
def test_a_working_directory_below_a_private_one_is_put_back(
    payloads: Payloads, top: str, uid: int
) -> None:
    place = f"{top}/{uuid.uuid4()}"
    os.makedirs(f"{place}/in/it")
    os.chown(f"{place}/in/it", uid, uid)
    lines = seen(payloads, spec(cwd=f"{place}/in/./it/".encode(), uid=uid, gid=uid))
    assert f"{place}/in/it" in lines


def test_a_link_to_the_working_directory_leads_to_the_same(payloads: Payloads) -> None:
    link = f"/var/lib/{uuid.uuid4()}"
    os.symlink("/usr/share", link)
    try:
        assert "/usr/share" in seen(payloads, spec(cwd=link.encode()))
    finally:
        os.unlink(link)


@pytest.mark.parametrize("size", [0, 1, 4096, 1 << 20, 5_000_001])
def test_a_bound_of_private_memory_is_the_same(payloads: Payloads, size: int) -> None:
    seen(payloads, spec(limits={"scratch_max_bytes": size}))


def test_resource_limits_are_the_same(payloads: Payloads) -> None:
    rlimits = {"nofile": [100, 200], "core": [0, 0], "stack": [1 << 20, None], "nice": [5, 9]}
    seen(payloads, spec(limits={"rlimits": rlimits}))


@pytest.mark.parametrize("uid", [ALICE, 0])
def test_no_signal_that_runnerd_was_started_with_ignored_or_blocked_reaches_a_job(
    payloads: Payloads, uid: int
) -> None:
    lines = seen(payloads, spec(uid=uid, gid=uid), sys.executable, "-c", DEAF)
    for name in ("SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"):
        assert f"{name}:\t0000000000000000" in lines


def failed(payloads: Payloads, wanted: dict[str, Any]) -> tuple[str, int, str]:
    """The step, the errno and the text that both say."""
    python, native = payloads.both(wanted)
    assert native == python
    assert native.status == 125 << 8
    assert native.report is not None
    return native.report


CLOSED = b"/srv/closed-of-a-test"
LONG = b"/" + b"x" * 250


@pytest.mark.parametrize(
    ("changes", "step", "number"),
    [
        ({"cwd": b"/no/such"}, "open what the job names", errno.ENOENT),
        ({"cwd": b"/etc/passwd"}, "open what the job names", errno.ENOTDIR),
        ({"cwd": CLOSED}, "enter the working directory", errno.EACCES),
        ({"cwd": LONG}, "open what the job names", errno.ENOENT),
        ({"cwd": b"/proc/self/cwd"}, "open what the job names", errno.ELOOP),
        ({"cwd": b"/\xff\xfe"}, "open what the job names", errno.ENOENT),
        ({"hostname": "x" * 65}, "name the host", errno.EINVAL),
        (
            {"limits": {"rlimits": {"nofile": [100, 10]}}},
            "set the resource limits", errno.EINVAL,
        ),
        (
            {"limits": {"rlimits": {"nofile": [None, 10]}}},
            "set the resource limits", errno.EINVAL,
        ),
        (
            {"limits": {"rlimits": {"nofile": [1 << 40, 1 << 40]}}},
            "set the resource limits", errno.EPERM,
        ),
    ],
)  # fmt: skip
def test_a_step_that_fails_is_told_in_the_same_words(
    payloads: Payloads, changes: dict[str, Any], step: str, number: int
) -> None:
    os.mkdir(CLOSED, 0o700)
    try:
        assert failed(payloads, spec("true", **changes))[:2] == (step, number)
    finally:
        os.rmdir(CLOSED)


# More of them, with any PATH: tests/unit/native/test_payload.py.
@pytest.mark.parametrize("name", ["true", "no-such-command", "", "\udcff"])
@pytest.mark.parametrize("env", [{}, {b"PATH": b"/no:/etc:/usr/bin"}, {b"PATH": b""}])
def test_a_command_is_looked_for_in_path_with_the_same_result(
    payloads: Payloads, name: str, env: dict[bytes, bytes]
) -> None:
    python, native = payloads.both(spec(name, env=env))
    assert native == python


@pytest.mark.parametrize("name", ["/tmp/x", "/run/user/x", "/no/such", "./", "/" + "y" * 5000])
def test_a_command_with_a_path_that_cannot_be_executed_is_told_in_the_same_words(
    payloads: Payloads, name: str
) -> None:
    assert failed(payloads, spec(name))[0] == "execute the command"


def test_a_program_that_is_no_filter_executes_nothing(payloads: Payloads) -> None:
    python, native = payloads.both(spec("true", seccomp=b"default"), b"no filter")
    assert native == python
    assert native.report is not None
    assert native.report.step == "filter the system calls"
