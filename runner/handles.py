"""The descriptors that make a process the monitor of one job, and the one thing done by them all.

Their order is that of a launch request (`runner.launcher`). Lean.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from isolation.cgroups import files as cgroup_files

if TYPE_CHECKING:
    from collections.abc import Mapping


class Handles(NamedTuple):
    """Directories of the job and of its three cgroups, the control FIFO, and what it enters.

    The rest is None where a job has none: `network` and `userns` are namespaces, `idmap` is
    the user namespace that shows the caller's files as the job's own, `seccomp` a file that
    holds the filter program.
    """

    job_dir: int
    log_dir: int
    control: int
    job_cgroup: int
    monitor_cgroup: int
    payload_cgroup: int
    network: int | None = None
    userns: int | None = None
    idmap: int | None = None
    seccomp: int | None = None

    def present(self) -> dict[str, int]:
        """Those that there are, by name: what a launch request names and carries."""
        return {name: fd for name, fd in self._asdict().items() if fd is not None}


class Given(NamedTuple):
    """What a launch passes on beside descriptors, in plain values.

    `files` are contents that lie over these paths of the job's tree. `ids` are the host's
    uid and gid that the job's root has in a user namespace, None without one.
    """

    files: Mapping[bytes, bytes] = MappingProxyType({})
    ids: tuple[int, int] | None = None


def kill_payload(handles: Handles) -> None:
    """Kill every process of the job, whatever it forks meanwhile. For its monitor only."""
    # cgroup.kill came with Linux 5.14. The second line is enough before it, from pid 1 of
    # the namespace, and reaches what a privileged job moved to another cgroup.
    with suppress(OSError):
        cgroup_files.write(handles.payload_cgroup, "cgroup.kill", "1")
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
