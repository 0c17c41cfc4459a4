"""The host as `runctl doctor` looks at it: where things are, and the shape of a finding.

Reads files and decides nothing; the features are in `isolation.host.probe` and its neighbour
`isolation.host.probe_sandbox`.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Literal, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    from isolation.host.mountinfo import Mount

Status = Literal["enforced", "unavailable"]


class Feature(NamedTuple):
    """One line of the doctor. When it is unavailable, `why` and `remedy` are given.

    An enforced one may have a `why` that says by what it is, or since which version.
    """

    name: str
    status: Status
    why: str | None = None
    remedy: str | None = None


class Host(NamedTuple):
    """What is looked at: the cgroup root with its usable controllers, and where things are.

    The functions ask the parts of this package that can tell best; private networks are not
    looked at without theirs, which gives the reason why there are none, and the remedy.
    """

    cgroup_root: str
    available: frozenset[str]
    state_dir: str
    landlock: Callable[[], Feature]
    device_filter: Callable[[], Feature]
    private_networks: Callable[[], tuple[str, str] | None] | None = None
    proc: str = "/proc"
    sysfs: str = "/sys"
    dev: str = "/dev"
    modules: str = "/lib/modules"
    mounts: tuple[Mount, ...] = ()
    state_mount: Mount | None = None


def enforced_unless(name: str, why: str | None, remedy: str) -> Feature:
    """Enforced when there is no `why`."""
    return Feature(name, "enforced") if why is None else Feature(name, "unavailable", why, remedy)


def read(host: Host, name: str) -> str | None:
    """The text of a file in /proc; None when it cannot be read."""
    return read_file(os.path.join(host.proc, name))


def read_file(path: str) -> str | None:
    """The text of a file; None when it cannot be read."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return None


def number(host: Host, name: str) -> int | None:
    """The number in a file of /proc; None when there is none."""
    text = read(host, name)
    return int(text) if text is not None and re.fullmatch(r"-?\d+\s*", text) else None
