"""A child under a filter, and what it says: `seccomp` needs no root with no_new_privs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[3]

_INSTALL = """
import ctypes, errno, os, socket, sys
from isolation import syscalls
from isolation.seccomp import filters as seccomp
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    "What a bare system call answers: its result, or the name of its errno."
    words = [ctypes.c_ulong(argument) for argument in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    return result if result >= 0 else errno.errorcode[ctypes.get_errno()]
syscalls.set_no_new_privs()
seccomp.install(bytes.fromhex(sys.argv[1]))
"""


def run(program: bytes, code: str) -> subprocess.CompletedProcess[str]:
    """Python `code` under the filter; `call(number, …)` is at hand."""
    return subprocess.run(
        [sys.executable, "-c", _INSTALL + code, program.hex()],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip


def execute(program: bytes, *command: str) -> subprocess.CompletedProcess[str]:
    """A command under the filter."""
    code = f"{_INSTALL}\nos.chdir('/')\nos.execvp(sys.argv[2], sys.argv[2:])"
    return subprocess.run(
        [sys.executable, "-c", code, program.hex(), *command],
        capture_output=True, text=True, timeout=60, check=False, cwd=ROOT,
    )  # fmt: skip
