"""What every system call here is made with: the C library, numbers, errors. Lean.

A call that fails raises the OSError that fits its errno, with a note that names the call.
"""

from __future__ import annotations

import ctypes
import os
from typing import Final

# PyDLL keeps the interpreter lock during the call: the calls between a clone3 and its exec,
# and those that change one thread's credentials, must not let another thread run between.
libc: Final = ctypes.PyDLL(None, use_errno=True)
# CDLL lets go of it: making a network namespace takes half a millisecond, in a thread.
libc_unlocked: Final = ctypes.CDLL(None, use_errno=True)

libc.syscall.restype = ctypes.c_long
long = ctypes.c_long

AT_EMPTY_PATH: Final = 0x1000


def failed(errno: int, call: str, path: str | bytes | None = None) -> OSError:
    """The OSError for an errno, of the subclass that Python has for it."""
    text = os.strerror(errno)
    error = OSError(errno, text) if path is None else OSError(errno, text, path)
    error.add_note(call)
    return error


def check(result: int, call: str, path: str | bytes | None = None) -> int:
    """`result`, unless it is negative: then the call failed, and errno says how."""
    if result < 0:
        raise failed(ctypes.get_errno(), call, path)
    return result


def by_machine(**numbers: int) -> int | None:
    """The number of an older call, which differs by architecture; None where it is not known.

    Numbers from 424 on are the same everywhere (asm-generic/unistd.h).
    """
    return numbers.get(os.uname().machine)
