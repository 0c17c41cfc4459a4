"""The paths that Landlock leaves to a job. Lean. The rights are `isolation.landlock`'s.

Asked for by readable or writable paths or by a preset. A job may then read the directories
that programs need (_SYSTEM), its readable paths and read-only binds; it may change its
writable paths, its working directory (but not "/", which would be everything), its other
binds, its memory, and what every job has to itself: /tmp, /dev, /run/user. Writable means in
the tree as the job has it: in an overlay or a foreign root such changes are thrown away or
kept like all others. A foreign root is nobody's but the job's: without a named path all of it
may be read and changed.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from isolation.syscalls.mounts import AT_FDCWD, ResolveFlags, openat2

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SYSTEM: Final = (
    b"/usr", b"/lib", b"/lib32", b"/lib64", b"/libx32", b"/bin", b"/sbin", b"/etc", b"/opt",
    b"/nix", b"/gnu", b"/proc", b"/sys",
)  # fmt: skip
_ANY: Final = ResolveFlags(0)
_PRIVATE: Final = (b"/tmp", b"/dev", b"/run/user")


def paths(
    sandbox: Mapping[str, Any], cwd: bytes, *, is_new: bool = True
) -> tuple[list[int], list[int]] | None:
    """Descriptors of what may be read and of what may be changed; None: no restriction.

    Runs as the job, in its tree; `cwd` is the job's. Raises OSError for a named path that is
    not there. `is_new` False: the job runs already. Below what it may change it can have put
    links that lead elsewhere, so none is followed: a named path with one in it is an OSError,
    and of the system's directories such a one is left out (/bin leads to /usr, which is there).
    """
    readable, writable = sandbox["readable"], sandbox["writable"]
    if not readable and not writable and sandbox["preset"] is None:
        return None
    if sandbox["filesystem"] == "root" and not readable and not writable:
        return [], _opened([b"/"])
    binds = sandbox["binds"]
    reading = [*readable, *(bind[1] for bind in binds if bind[2])]
    changing = [
        *writable,
        *(bind[1] for bind in binds if not bind[2]),
        *(entry[0] for entry in sandbox["tmpfs"]),
        *([cwd] if cwd.strip(b"/") else []),
    ]
    resolve = _ANY if is_new else ResolveFlags.NO_SYMLINKS
    return (
        _existing(_SYSTEM, resolve) + _opened(reading, resolve),
        _existing(_PRIVATE, resolve) + _opened(changing, resolve),
    )


def _existing(wanted: Iterable[bytes], resolve: ResolveFlags) -> list[int]:
    opened = []
    for path in wanted:
        with suppress(FileNotFoundError, NotADirectoryError, PermissionError, _LinkError):
            opened.append(_open(path, resolve))
    return opened


def _opened(wanted: Iterable[bytes], resolve: ResolveFlags = _ANY) -> list[int]:
    return [_open(path, resolve) for path in wanted]


class _LinkError(OSError):
    """There is a link on the way, where none may be."""


def _open(path: bytes, resolve: ResolveFlags) -> int:
    try:
        return openat2(AT_FDCWD, path, os.O_PATH, resolve)
    except FileNotFoundError:
        why = "it is not in the job's tree; a bind would put it there"
        raise FileNotFoundError(errno.ENOENT, why, path) from None
    except OSError as error:
        if error.errno == errno.ELOOP and resolve:
            why = "it leads over a link, which the job may have changed by now"
            raise _LinkError(errno.ELOOP, why, path) from None
        raise
