"""What the supervision has others do for a job: questions, changes, giving back.

Private networks and the job's own file systems are made for a launch and known by the job's
id; the supervision only says when. Functions, so that neither side imports the other.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Devices = dict[bytes, tuple[str, ...]]


class Outside(NamedTuple):
    """None: this daemon cannot do it, and refuses it where it was asked for.

    - `find_devices(spec)`: `UserPaths.find_devices` of the daemon's one instance.
    - `set_bandwidth(job id, egress, ingress)`: bits a second, None for no limit.
    - `set_scratch(job id, bytes)`: the size of its private directories, None for the default.
    - `cap_monitor(spec, limits)`: how much memory the monitor of such a job may use.
    - `release(job id)`: it has ended; again is harmless.
    - `holds(job id)`: whether there is something to release.

    The two that set raise OSError, LimitUnavailable or LimitBelowUse and have changed nothing
    then; `release` raises OSError.
    """

    find_devices: Callable[[dict[str, Any]], Awaitable[Devices]] | None = None
    set_bandwidth: Callable[[str, int | None, int | None], Awaitable[None]] | None = None
    set_scratch: Callable[[str, int | None], Awaitable[None]] | None = None
    release: Callable[[str], Awaitable[None]] | None = None
    holds: Callable[[str], bool] | None = None
    cap_monitor: Callable[[dict[str, Any], dict[str, Any]], int] | None = None
