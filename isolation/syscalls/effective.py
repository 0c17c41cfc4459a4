"""Laying one's effective capabilities aside, and taking them up again. Lean.

For the moments in which names of a user are opened: a capability such as CAP_SYS_PTRACE counts
in /proc whatever the file identity is. Giving capabilities up for good is done by `credentials`.
"""

from __future__ import annotations

import ctypes
from typing import Final

from isolation.syscalls.common import check, libc

# A look-up by index makes a function object of its own, with prototypes of its own.
_capget: Final = libc["capget"]
_capset: Final = libc["capset"]
_VERSION_3: Final = 0x20080522
# struct __user_cap_header_struct; two struct __user_cap_data_struct: effective, permitted,
# inheritable of the capabilities 0 to 31, then of 32 to 63 (linux/capability.h).
_Header = ctypes.c_uint32 * 2
_Data = ctypes.c_uint32 * 6


def lay_aside() -> int:
    """Make the effective set empty; the permitted one stays. The old set, for `take_up`."""
    return _exchange(0)


def take_up(effective: int) -> None:
    """Make the effective set what `lay_aside` answered. Raises OSError: EPERM if not permitted."""
    _exchange(effective)


def _exchange(effective: int) -> int:
    header, data = _Header(_VERSION_3, 0), _Data()
    check(_capget(header, data), "capget()")
    old = data[0] | data[3] << 32
    data[0], data[3] = effective & 0xFFFFFFFF, effective >> 32
    check(_capset(header, data), f"capset({effective:#x})")
    return old
