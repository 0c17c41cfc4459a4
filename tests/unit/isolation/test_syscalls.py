"""System calls that need no privilege: they do what they say, and errors name the call."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from isolation import syscalls
from isolation.syscalls import CloneFlags, MountFlags, OpenTreeFlags, ResolveFlags, mounts, openat2
from isolation.syscalls.mounts import MountAttributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from enum import IntFlag
    from types import ModuleType

ROOT = Path(__file__).parents[3]
HEADERS = Path("/usr/include")
PATH_ONLY = os.O_PATH


def test_a_file_system_is_synced_and_a_failure_names_the_call(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        mounts.sync_file_system(file.fileno())
        fd = file.fileno()
    with pytest.raises(OSError, match="Bad file descriptor") as caught:
        mounts.sync_file_system(fd)
    assert caught.value.__notes__ == [f"syncfs({fd})"]


def test_writing_back_is_started_and_a_failure_names_the_call(tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as file:
        file.write(b"x" * 5000)
        file.flush()
        mounts.start_writing_back(file.fileno())
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    with pytest.raises(OSError, match="Illegal seek") as caught:
        mounts.start_writing_back(read_fd)
    os.close(read_fd)
    assert caught.value.__notes__ == [f"sync_file_range({read_fd})"]


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


def in_a_child(script: str, *args: str, fds: tuple[int, ...] = ()) -> list[str]:
    """What a Python process that imports `syscalls` prints, line by line."""
    program = f"import os, sys\nfrom isolation import syscalls\n{script}"
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        capture_output=True, check=True, cwd=ROOT, text=True, timeout=30, pass_fds=fds,
    )  # fmt: skip
    return done.stdout.splitlines()


# openat2


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "top" / "inner").mkdir(parents=True)
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "top" / "file").write_text("content")
    (tmp_path / "top" / "to-file").symlink_to("file")
    (tmp_path / "top" / "up").symlink_to("../secret")
    (tmp_path / "top" / "absolute").symlink_to(tmp_path / "secret")
    fd = os.open(tmp_path / "top", os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


def error_of(dir_fd: int, path: str | bytes, resolve: ResolveFlags) -> OSError:
    with pytest.raises(OSError, match=r"\[Errno \d+\]") as caught:
        openat2(dir_fd, path, PATH_ONLY, resolve)
    return caught.value


@pytest.mark.parametrize(
    "path", ["..", "../secret", "inner/../../secret", "/", "/etc", "up", "absolute"]
)
def test_nothing_leads_out_of_a_directory_that_is_to_be_stayed_beneath(
    tree: int, path: str
) -> None:
    assert error_of(tree, path, ResolveFlags.BENEATH).errno == errno.EXDEV


def test_links_of_the_kernels_own_are_refused_as_well(tree: int) -> None:
    path = f"/proc/self/fd/{tree}"
    assert error_of(tree, path, ResolveFlags.NO_MAGICLINKS).errno == errno.ELOOP


@pytest.mark.parametrize("path", ["file", b"file", "inner/../file", "to-file"])
def test_what_lies_beneath_is_opened_close_on_exec(tree: int, path: str | bytes) -> None:
    fd = openat2(tree, path, os.O_RDONLY, ResolveFlags.BENEATH)
    try:
        assert os.read(fd, 100) == b"content"
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)


def test_a_file_is_made_with_the_mode_that_was_asked_for(tree: int, tmp_path: Path) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    os.close(openat2(tree, "new", flags, ResolveFlags.BENEATH, 0o600))
    assert (tmp_path / "top" / "new").stat().st_mode & 0o777 == 0o600


def test_an_error_is_of_its_class_names_the_path_and_notes_the_call(tree: int) -> None:
    error = error_of(tree, "absent", ResolveFlags.BENEATH)
    assert isinstance(error, FileNotFoundError)
    assert (error.errno, error.filename) == (errno.ENOENT, "absent")
    (note,) = error.__notes__
    assert note.startswith(f"openat2({tree}, 'absent', ")
    assert "BENEATH" in note


def test_a_path_that_is_not_utf_8_is_opened(tmp_path: Path) -> None:
    name = os.fsencode(tmp_path) + b"/caf\xe9"
    os.close(os.open(name, os.O_CREAT | os.O_WRONLY))
    for path in (name, os.fsdecode(name)):
        os.close(openat2(-100, path, os.O_RDONLY, ResolveFlags.NO_MAGICLINKS))


# Descriptors


CLOSED = """
extra = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
keep = [0, 1, 2, extra[3], extra[4], extra[11]]
syscalls.close_all_except({})
def is_open(fd):
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True
print([fd for fd in range(200) if is_open(fd)] == sorted(keep), len(keep))
"""


@pytest.mark.parametrize(
    "argument", ["keep", "reversed(keep)", "keep + keep", "iter(keep)", "keep + [9999]"]
)
def test_every_descriptor_is_closed_but_those_to_keep(argument: str) -> None:
    assert in_a_child(CLOSED.format(argument)) == ["True 6"]


def test_descriptors_far_above_the_limit_are_closed_too() -> None:
    script = """
import resource
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
high = min(hard, 4000) - 1
resource.setrlimit(resource.RLIMIT_NOFILE, (high + 1, hard))
os.dup2(0, high)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
syscalls.close_all_except([0, 1, 2])
print(os.path.exists(f"/proc/self/fd/{high}"))
"""
    assert in_a_child(script) == ["False"]


def test_descriptors_are_marked_so_that_an_exec_closes_them() -> None:
    script = """
fd = os.dup(1)
os.set_inheritable(fd, True)
os.set_inheritable(1, True)
syscalls.close_on_exec_from(3)
print(os.get_inheritable(fd), os.get_inheritable(1), flush=True)
os.execv("/bin/sh", ["sh", "-c", f"test -e /proc/self/fd/{fd} && echo open || echo closed"])
"""
    assert in_a_child(script) == ["False True", "closed"]


# What a process says of itself


def test_a_process_takes_a_name_of_at_most_fifteen_bytes() -> None:
    script = """
for name in ("short", "exactly-15-byte", "longer than fifteen bytes"):
    syscalls.set_process_name(name)
    print(open("/proc/self/comm").read().strip())
"""
    assert in_a_child(script) == ["short", "exactly-15-byte", "longer than fif"]


def test_no_new_privileges_is_for_good() -> None:
    script = """
syscalls.set_no_new_privs()
print([line.split()[1] for line in open("/proc/self/status") if line.startswith("NoNewPrivs")])
"""
    assert in_a_child(script) == ["['1']"]


def test_a_process_that_is_not_dumpable_belongs_to_root() -> None:
    """Its files in /proc, that is: proc(5). Seen where it is not root's anyway."""
    script = """
if os.geteuid() == 0:
    os.setresuid(65534, 65534, 65534)
    syscalls.set_dumpable(dumpable=True)
owners = [os.stat("/proc/self/environ").st_uid]
syscalls.set_dumpable(dumpable=False)
owners.append(os.stat("/proc/self/environ").st_uid)
print(owners[0] == os.geteuid(), owners[1])
"""
    assert in_a_child(script) == ["True 0"]


def test_capabilities_can_be_given_up_and_not_taken_back() -> None:
    script = """
syscalls.set_capabilities(0)
print([line.split()[1] for line in open("/proc/self/status") if line.startswith(("CapE", "CapP"))])
try:
    syscalls.set_capabilities(1)
except PermissionError as error:
    print(error.__notes__)
"""
    assert in_a_child(script) == [
        "['0000000000000000', '0000000000000000']",
        "['capset(0x1, inheritable=0x0)']",
    ]


# Errors


def test_a_clone_into_what_is_no_cgroup_is_refused_and_nothing_is_forked(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError, match=r"\[Errno \d+\]") as caught:
            syscalls.clone3(CloneFlags(0), fd, signal.SIGCHLD)
    finally:
        os.close(fd)
    assert caught.value.errno in {errno.EBADF, errno.EINVAL}
    assert re.fullmatch(r"clone3\(flags=0x[0-9a-f]+\)", caught.value.__notes__[0])
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)


def test_after_a_refused_clone_the_interpreter_forks_as_before() -> None:
    """clone3 runs inside CPython's own fork protocol, whose locks must be let go."""
    script = """
import signal, threading
from isolation.syscalls import CloneFlags
for _ in range(3):
    try:
        syscalls.clone3(CloneFlags(0), 0, signal.SIGCHLD)
    except OSError:
        pass
thread = threading.Thread(target=print, args=("threads",)); thread.start(); thread.join()
import json
sys.stdout.flush()
pid = os.fork()
if pid == 0:
    print("forks", flush=True)
    os._exit(0)
os.waitpid(pid, 0)
"""
    assert in_a_child(script) == ["threads", "forks"]


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda fd: syscalls.setns(fd, CloneFlags.NEWNET), errno.EINVAL),
        (lambda _fd: syscalls.setns(-1, CloneFlags.NEWNET), errno.EBADF),
        (lambda _fd: syscalls.open_tree(-1, OpenTreeFlags.CLOEXEC), errno.EBADF),
        # The privilege is asked about before the number.
        (
            lambda _fd: syscalls.drop_bounding_capability(1000),
            errno.EPERM if os.geteuid() else errno.EINVAL,
        ),
        (syscalls.peer_groups, errno.ENOTSOCK),
    ],
)  # fmt: skip
def test_a_call_that_fails_raises_its_errno_and_notes_itself(call: object, number: int) -> None:
    assert callable(call)
    with (
        open("/dev/null", "rb") as file,
        pytest.raises(OSError, match=os.strerror(number)) as caught,
    ):
        call(file.fileno())
    assert caught.value.errno == number
    assert re.match(r"\w+\(", caught.value.__notes__[0])


def test_the_groups_of_a_peer_are_those_of_its_process() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX)
    with ours, theirs:
        assert sorted(syscalls.peer_groups(ours.fileno())) == sorted(os.getgroups())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: CAP_SETGID")
def test_more_groups_than_a_small_buffer_holds_are_all_told() -> None:
    script = """
import socket
os.setgroups(range(5000, 6000))
ours, theirs = socket.socketpair(socket.AF_UNIX)
print(sorted(syscalls.peer_groups(ours.fileno())) == list(range(5000, 6000)))
"""
    assert in_a_child(script) == ["True"]


@pytest.mark.skipif(os.geteuid() == 0, reason="needs somebody who is not root")
def test_without_privilege_nobody_becomes_another() -> None:
    with pytest.raises(PermissionError) as caught:
        syscalls.set_thread_file_identity(os.geteuid() + 1, os.getegid(), ())
    assert caught.value.__notes__ == ["setgroups([])"]


# Numbers


def defined(header: str) -> dict[str, int]:
    """The plain numeric constants of a kernel header."""
    path = HEADERS / header
    if not path.exists():
        pytest.skip(f"needs {path} (Debian: linux-libc-dev)")
    found = {}
    pattern = (
        r"^\s*(?:#\s*define\s+)?(\w+)\s*=?\s*\(?(0x[0-9a-fA-F]+|\d+)(?:ULL|U|L)?\)?,?\s*(?:/\*|$)"
    )
    for name, number in re.findall(pattern, path.read_text(), re.MULTILINE):
        found[name] = int(number, 0)
    return found


def arch_header(name: str) -> str:
    machine = os.uname().machine
    for candidate in (f"{machine}-linux-gnu/asm/{name}", f"asm/{name}"):
        if (HEADERS / candidate).exists():
            return candidate
    return f"asm/{name}"


@pytest.mark.parametrize(
    ("flags", "prefix", "header"),
    [
        (CloneFlags, "CLONE_", "linux/sched.h"),
        (MountFlags, "MS_", "linux/mount.h"),
        (MountAttributes, "MOUNT_ATTR_", "linux/mount.h"),
        (ResolveFlags, "RESOLVE_", "linux/openat2.h"),
    ],
)
def test_flags_have_the_numbers_of_the_kernels_headers(
    flags: type[IntFlag], prefix: str, header: str
) -> None:
    known = defined(header)
    for flag in flags:
        name = f"{prefix}{flag.name}"
        if name == "MS_PRIVATE":  # (1<<18) there
            assert flag == 1 << 18
        else:
            assert known[name] == flag


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (module, name)
        for module in (syscalls.mounts, syscalls.process, syscalls.credentials)
        for name in vars(module)
        if name.startswith("_SYS_")
    ],
)
def test_system_calls_have_the_numbers_of_the_kernels_headers(
    module: ModuleType, name: str
) -> None:
    header = "unistd_64.h" if os.uname().machine == "x86_64" else "unistd.h"
    known = defined(arch_header(header))
    key = f"__NR_{name.removeprefix('_SYS_').lower()}"
    if key not in known:
        known = defined("asm-generic/unistd.h")
    assert known[key] == getattr(module, name)


@pytest.mark.parametrize(
    ("structure", "size"),
    [
        (syscalls.process._CloneArgs, 88),  # CLONE_ARGS_SIZE_VER2
        (syscalls.mounts._MountAttr, 32),  # MOUNT_ATTR_SIZE_VER0
        (syscalls.credentials._CapData, 12),
    ],
)
def test_structures_have_the_sizes_that_the_kernel_takes(
    structure: type[ctypes.Structure], size: int
) -> None:
    assert ctypes.sizeof(structure) == size
    assert syscalls.mounts._OPEN_HOW.size == 24  # OPEN_HOW_SIZE_VER0


# Mounts, as far as nobody may make one here


def test_whether_a_file_may_be_used_is_asked_on_its_descriptor(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o600)
    fd = os.open(tmp_path / "file", os.O_PATH)
    try:
        mounts.check_access(fd, os.R_OK | os.W_OK)
        with pytest.raises(PermissionError) as caught:
            mounts.check_access(fd, os.X_OK)
    finally:
        os.close(fd)
    assert caught.value.__notes__ == [f"faccessat2({fd}, {os.X_OK})"]


@pytest.mark.parametrize(
    ("call", "note"),
    [
        (lambda: mounts.mount_setattr(-1, MountAttributes.RDONLY), "mount_setattr(-1, "),
        (lambda: mounts.move_mount(-1, "/nowhere"), "move_mount(-1, '/nowhere')"),
        (lambda: mounts.move_mount(-1, -1), "move_mount(-1, -1)"),
        (lambda: mounts.pivot_root("/nowhere", "/nowhere"), "pivot_root('/nowhere', "),
        (lambda: mounts.detach_mount("/nowhere"), "umount2('/nowhere')"),
        (
            lambda: mounts.new_mount("no-such-fs", {}, MountAttributes.RDONLY),
            "fsopen('no-such-fs')",
        ),
    ],
)
def test_a_call_on_mounts_that_fails_names_itself(call: Callable[[], None], note: str) -> None:
    with pytest.raises(OSError, match=r"\[Errno \d+\]") as caught:
        call()
    assert caught.value.__notes__[0].startswith(note)


def test_effective_capabilities_are_laid_aside_and_taken_up_again() -> None:
    script = """
from isolation.syscalls import effective
def seen(name):
    with open("/proc/thread-self/status") as file:
        return next(line.split()[1] for line in file if line.startswith(name))
before = seen("CapEff"), seen("CapPrm")
old = effective.lay_aside()
print(int(seen("CapEff"), 16), seen("CapPrm") == before[1], old == int(before[0], 16))
effective.take_up(old)
print((seen("CapEff"), seen("CapPrm")) == before)
"""
    assert in_a_child(script) == ["0 True True", "True"]
