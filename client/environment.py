"""The environment that a job is given: the caller's own, or a clean one. No connection.

What may be in one is `client.submission`'s to check; the daemon adds nothing to it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pwd import struct_passwd

_LC_CTYPE: Final = b"LC_CTYPE"
# PEP 538: what Python puts in LC_CTYPE when the locale is C, or is not there.
_COERCED: Final = (b"C.UTF-8", b"C.utf8", b"UTF-8")
CLEAN_PATH: Final = b"/usr/local/bin:/usr/bin:/bin"


def own_environment() -> dict[bytes, bytes]:
    """The caller's environment, without the LC_CTYPE that Python gave itself (PEP 538).

    A job would sort and speak otherwise than the same command without runctl.
    """
    environment = {key: os.environb[key] for key in os.environb}
    if environment.get(_LC_CTYPE) in _COERCED:
        before = _initial_environment().get(_LC_CTYPE)
        if before is None:
            del environment[_LC_CTYPE]
        else:
            environment[_LC_CTYPE] = before
    return environment


def _initial_environment() -> dict[bytes, bytes]:
    """What execve(2) gave us: setenv(3) does not write there. Else the present one."""
    try:
        with open("/proc/self/environ", "rb") as file:
            items = file.read().split(b"\0")
    except OSError:
        return dict(os.environb)
    return {name: value for name, equals, value in (i.partition(b"=") for i in items) if equals}


def clean_environment(user: str | int | None = None) -> dict[bytes, bytes]:
    """PATH, the HOME, USER, LOGNAME and SHELL of `user` (default: us), and our LANG if set.

    Nothing else of ours: no token, no proxy, no agent's socket. A user that this host does
    not know has no names either. No TERM: a job has no terminal.
    """
    environment = {b"PATH": CLEAN_PATH}
    if (entry := _entry(user)) is not None:
        environment |= {
            b"HOME": os.fsencode(entry.pw_dir),
            b"USER": os.fsencode(entry.pw_name),
            b"LOGNAME": os.fsencode(entry.pw_name),
            b"SHELL": os.fsencode(entry.pw_shell or "/bin/sh"),
        }
    if lang := os.environb.get(b"LANG"):
        environment[b"LANG"] = lang
    return environment


def _entry(user: str | int | None) -> struct_passwd | None:
    import pwd

    try:
        if isinstance(user, str):
            return pwd.getpwnam(user)
        return pwd.getpwuid(os.geteuid() if user is None else user)
    except (KeyError, OverflowError, ValueError, UnicodeEncodeError):
        return None
