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
from typing import TYPE_CHECKING, Any, Final

from isolation.user_paths import refusal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_SYSTEM: Final = (
    b"/usr", b"/lib", b"/lib32", b"/lib64", b"/libx32", b"/bin", b"/sbin", b"/etc", b"/opt",
    b"/nix", b"/gnu", b"/proc", b"/sys",
)  # fmt: skip
_PRIVATE: Final = (b"/tmp", b"/dev", b"/run/user")


def paths(sandbox: Mapping[str, Any], cwd: bytes) -> tuple[list[int], list[int]] | None:
    """Descriptors of what may be read and of what may be changed; None: no restriction.

    Runs as the job, in its tree. Raises OSError for a named path that is not there.
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
    return (
        _opened(_existing(_SYSTEM)) + _opened(reading),
        _opened(_existing(_PRIVATE)) + _opened(changing),
    )


def _existing(wanted: Iterable[bytes]) -> list[bytes]:
    return [path for path in wanted if os.path.exists(path)]


def _opened(wanted: Iterable[bytes]) -> list[int]:
    return [_open(path) for path in wanted]


def _open(path: bytes) -> int:
    try:
        return os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        why = "it is not in the job's tree; a bind would put it there"
        raise refusal(errno.ENOENT, path, why) from None
