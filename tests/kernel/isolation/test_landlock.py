"""Landlock on a kernel that has it: an allowed path opens, no other does, by whatever way."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from isolation import landlock

if TYPE_CHECKING:
    from pathlib import Path

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

CONFINE = """
import os, socket, sys
from isolation import landlock, privileges
flags = os.O_PATH | os.O_CLOEXEC
readable = [os.open(path, flags) for path in sys.argv[1].split(":") if path]
writable = [os.open(path, flags) for path in sys.argv[2].split(":") if path]
privileges.drop_to(4001, 4001, [])
landlock.restrict(readable, writable)
"""
SYSTEM = f"/usr:/bin:/lib:/lib64:/etc:{PROJECT}:{sys.prefix}:{sys.base_prefix}"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Directories of everybody, with a file each: permissions are not in the way."""
    for name in ("allowed", "readable", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
        (tmp_path / name).chmod(0o777)
        (tmp_path / name / "file").chmod(0o666)
    for parent in (tmp_path, *tmp_path.parents):
        if str(parent).startswith("/tmp/"):
            parent.chmod(0o755)
    return tmp_path


def confined(readable: str, writable: str, code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CONFINE + code, readable, writable],
        capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT,
    )  # fmt: skip


def shell(place: Path, script: str) -> subprocess.CompletedProcess[str]:
    """A script that may read the system and `readable`, and change `allowed` and /dev."""
    code = f"os.chdir({str(place)!r}); os.execv('/bin/sh', ['/bin/sh', '-c', {script!r}])"
    return confined(f"{SYSTEM}:{place}/readable", f"{place}/allowed:/dev", code)


def test_this_kernel_has_it() -> None:
    assert landlock.abi() >= 6


def test_reading_and_writing_where_it_is_allowed(place: Path) -> None:
    done = shell(
        place,
        "cat allowed/file readable/file; echo new > allowed/new; mkdir allowed/d; mkfifo allowed/p;"
        "mv allowed/new allowed/d/n; ln -s d allowed/l; : > allowed/file; rm -r allowed/d;"
        "ls allowed",
    )
    assert (done.stdout, done.stderr) == ("allowedreadablefile\nl\np\n", "")


@pytest.mark.parametrize(
    "script",
    [
        "cat other/file", "ls other", "echo x > other/file", "echo x > other/new", "rm other/file",
        "mkdir other/d", "echo x > readable/file", ": > readable/file", "rm readable/file",
        "touch readable/new", "ln readable/file readable/b", "truncate -s 0 readable/file",
        "mv allowed/file other/", "mv other/file allowed/", "ln other/file allowed/l",
        "ln -s ../other allowed/l && cat allowed/l/file", "cat allowed/../other/file",
        "cd other && cat file", "cat /proc/self/cwd/other/file", "cp /bin/true other/t",
        "exec 3< other/file", "mknod allowed/n c 1 3", "cat /proc/1/status", "ls /tmp",
    ],
)  # fmt: skip
def test_everything_else_is_refused(place: Path, script: str) -> None:
    assert shell(place, f"({script}) 2>/dev/null").returncode != 0
    assert (place / "other" / "file").read_text() == "other"
    assert (place / "readable" / "file").read_text() == "readable"
    assert sorted(os.listdir(place / "other")) == ["file"]


def test_a_single_file_can_be_allowed(place: Path) -> None:
    code = f"""
print(open("{place}/other/file").read())
open("{place}/allowed/file", "r+").truncate(1)
for path in ("{place}/other/new", "{place}/allowed/new"):
    try:
        open(path, "w")
    except PermissionError:
        print("refused")
"""
    done = confined(f"{place}/other/file:/dev/null", f"{place}/allowed/file", code)
    assert done.stdout.split() == ["other", "refused", "refused"], done.stderr
    assert (place / "allowed" / "file").read_text() == "a"


def test_devices_of_a_writable_dev_take_ioctls_and_of_a_readable_one_do_not(place: Path) -> None:
    code = """
import fcntl
def unlock():
    fd = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
    fcntl.ioctl(fd, 0x40045431, b"\\0" * 4)
    number = int.from_bytes(fcntl.ioctl(fd, 0x80045430, b"\\0" * 4), "little")
    return os.ttyname(os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY))
try:
    print(unlock().startswith("/dev/pts/"))
except PermissionError:
    print("refused")
"""
    assert confined(SYSTEM, "/dev", code).stdout == "True\n"
    assert confined(f"{SYSTEM}:/dev", "", code).stdout == "refused\n"


def test_programs_that_it_starts_are_held_too(place: Path) -> None:
    done = shell(place, "sh -c 'setsid cat other/file'")
    assert done.returncode != 0
    assert "ermission denied" in done.stderr


def test_signals_and_abstract_sockets_do_not_lead_out(place: Path) -> None:
    code = """
import signal, subprocess
try:
    os.kill(int(os.environ["OUTSIDE"]), 0)
    print("signalled")
except PermissionError:
    print("refused")
try:
    socket.socket(socket.AF_UNIX).connect("\\0test-landlock")
    print("connected")
except PermissionError:
    print("refused")
child = subprocess.Popen(["sleep", "60"])
child.kill()
print(child.wait())
"""
    import socket

    outside = subprocess.Popen(["sleep", "60"], user=4001)
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind("\0test-landlock")
            server.listen()
            done = subprocess.run(
                [sys.executable, "-c", CONFINE + code, SYSTEM, "/dev"],
                capture_output=True, text=True, timeout=60, check=False, cwd=PROJECT,
                env={**os.environ, "OUTSIDE": str(outside.pid)},
            )  # fmt: skip
        assert done.stdout.split() == ["refused", "refused", "-9"], done.stderr
    finally:
        outside.kill()
        outside.wait()


def test_named_sockets_answer_below_writable_paths_alone(place: Path) -> None:
    import socket

    if landlock.abi() < 9:
        pytest.skip("needs Landlock 9 (Linux 7.1)")
    code = f"""
for name in ("allowed", "readable"):
    try:
        socket.socket(socket.AF_UNIX).connect("{place}/" + name + "/socket")
        print("connected")
    except PermissionError:
        print("refused")
"""
    servers = []
    for name in ("allowed", "readable"):
        server = socket.socket(socket.AF_UNIX)
        server.bind(f"{place}/{name}/socket")
        os.chmod(f"{place}/{name}/socket", 0o777)  # noqa: S103
        server.listen()
        servers.append(server)
    done = confined(f"{place}/readable", f"{place}/allowed", code)
    for server in servers:
        server.close()
    assert done.stdout.split() == ["connected", "refused"], done.stderr


def test_without_no_new_privs_an_ordinary_user_cannot_restrict_itself() -> None:
    code = (
        "import os; from isolation import landlock, syscalls\n"
        "os.setresuid(4001, 4001, 4001)\nlandlock.restrict([], [])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert "PermissionError" in done.stderr
