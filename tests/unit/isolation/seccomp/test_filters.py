"""Filters on this machine's own kernel: what they refuse is refused, and told to a listener."""

from __future__ import annotations

import os
import select
import signal
import socket
import sys

import pytest

from isolation import syscalls
from isolation.seccomp import (
    bpf_machine,
    denials,
)
from isolation.seccomp import (
    filters as seccomp,
)
from isolation.seccomp import (
    profiles as seccomp_profiles,
)
from isolation.seccomp.compiler import (
    ACTION,
    ALLOW,
    USER_NOTIF,
    Profile,
    Rule,
    compile_profile,
    refuse,
)
from isolation.seccomp.denials import Denials
from isolation.seccomp.syscall_table import machine
from tests.unit.isolation import filtered

NUMBERS = machine().numbers


def test_a_refused_call_gets_its_errno_and_others_go_on() -> None:
    program = compile_profile(
        Profile(ALLOW, (Rule(("mount",), refuse(13)),)), machine(), report=False
    )
    code = f"print(call({NUMBERS['mount']}, 0, 0, 0, 0, 0), call({NUMBERS['getppid']}) > 0)"
    assert filtered.run(program, code).stdout.split() == ["EACCES", "True"]


def test_calls_that_nobody_knows_yet_are_not_there() -> None:
    program = seccomp_profiles.program("default")
    code = "print(call(472), call(1000), call(0x40000000), call(0x40000000 + 39))"
    assert filtered.run(program, code).stdout.split() == ["ENOSYS"] * 4


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="needs x86_64, which also runs i386")
def test_a_call_of_i386_kills() -> None:
    """By int 0x80, with the number of getpid of i386."""
    program = seccomp_profiles.program("default")
    code = """
import mmap
code = b"\\xb8\\x14\\x00\\x00\\x00\\xcd\\x80\\xc3"
page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
page.write(code)
function = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))
print("before", flush=True)
function()
print("after")
"""
    done = filtered.run(program, code)
    assert (done.stdout, done.returncode) == ("before\n", -signal.SIGSYS)


def test_without_no_new_privs_an_ordinary_user_cannot_install_one() -> None:
    pid = os.fork()
    if pid == 0:
        try:
            syscalls.set_capabilities(0)
            seccomp.install(seccomp_profiles.program("default"))
        except PermissionError:
            os._exit(7)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7


def test_a_program_that_is_none_is_refused() -> None:
    pid = os.fork()
    if pid == 0:
        refused = 0
        syscalls.set_no_new_privs()
        for wrong in (b"", b"\xff" * 8, b"\0" * 8 * 5000):
            try:
                seccomp.install(wrong)
            except OSError:
                refused += 1
        os._exit(refused)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3


# Reports


class Reporting:
    """A child under a reporting filter, seen from its monitor."""

    def __init__(self, program: bytes, *command: str) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        out_read, out_write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.dup2(out_write, 1)
                syscalls.set_no_new_privs()
                listener = seccomp.install_reporting(program)
                seccomp.send_listener(theirs.fileno(), listener)
                os.execv(command[0], command)  # noqa: S606
            finally:
                os._exit(99)
        theirs.close()
        os.close(out_write)
        listener_fd = denials.receive_listener(ours.fileno())
        ours.close()
        assert listener_fd is not None
        self._out = out_read
        self.denials = Denials(listener_fd, program)

    def finish(self) -> str:
        """Answer until nothing more comes; what the child printed."""
        poll = select.poll()
        poll.register(self.denials, select.POLLIN)
        while poll.poll(20_000) and self.denials.on_readable():
            pass
        self.denials.close()
        os.waitpid(self.pid, 0)
        with open(self._out, encoding="utf-8") as file:
            return file.read()

    def named(self) -> dict[str, int]:
        return {
            seccomp_profiles.syscall_name(entry["number"]): entry["count"]
            for entry in self.denials.counts()
        }


def python(code: str) -> list[str]:
    preamble = (
        "import ctypes, errno\nlibc = ctypes.CDLL(None, use_errno=True)\n"
        "def call(number, *arguments):\n"
        "    result = libc.syscall(ctypes.c_long(number), *map(ctypes.c_ulong, arguments))\n"
        "    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]\n"
    )
    return [sys.executable, "-c", preamble + code]


def test_what_was_refused_is_counted_by_call_and_each_gets_its_errno() -> None:
    program = seccomp_profiles.program("strict", report=True)
    mount, socket_, setns = (NUMBERS[name] for name in ("mount", "socket", "setns"))
    child = Reporting(
        program,
        *python(
            f"print(*[call({mount}, 0, 0, 0, 0, 0) for _ in range(3)],"
            f" call({socket_}, 40, 1, 0), call({setns}, 0, 0), call(1000))"
        ),
    )
    assert child.finish().split() == ["EPERM"] * 3 + ["EAFNOSUPPORT", "EPERM", "ENOSYS"]
    assert child.named() == {"mount": 3, "setns": 1, "socket": 1}


def test_what_is_only_not_there_is_no_refusal() -> None:
    """clone3 and calls from the future: C libraries try them and fall back."""
    program = seccomp_profiles.program("default", report=True)
    code = "import threading; t = threading.Thread(target=print, args=['ran']); t.start(); t.join()"
    child = Reporting(program, *python(code))
    assert child.finish() == "ran\n"
    assert child.named() == {}


def test_more_kinds_than_are_kept_apart_are_counted_together() -> None:
    program = seccomp_profiles.program("strict", report=True)
    refused = [
        number
        for number in NUMBERS.values()
        if bpf_machine.run(program, bpf_machine.pack_data(number, machine().audit_arch)) & ACTION
        == USER_NOTIF
    ]
    assert len(refused) > denials.MOST_KINDS
    child = Reporting(program, *python(f"print(len([call(n) for n in {refused}]))"))
    assert child.finish() == f"{len(refused)}\n"
    assert len(child.named()) == denials.MOST_KINDS


def test_a_child_that_is_killed_while_it_waits_is_no_error() -> None:
    program = seccomp_profiles.program("strict", report=True)
    setns = NUMBERS["setns"]
    child = Reporting(program, *python(f"print('up', flush=True)\nwhile True: call({setns}, 0, 0)"))
    poll = select.poll()
    poll.register(child.denials, select.POLLIN)
    assert poll.poll(20_000)
    assert child.denials.on_readable()
    assert poll.poll(20_000)
    os.kill(child.pid, signal.SIGKILL)
    assert child.finish() == "up\n"
    assert child.named()["setns"] >= 1


def test_when_the_set_up_fails_there_is_no_listener() -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.close()
    assert denials.receive_listener(ours.fileno()) is None
    # The descriptor is still its owner's.
    assert ours.fileno() >= 0
    ours.close()
