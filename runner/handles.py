"""The descriptors that make a process the monitor of one job, and the one thing done by them all.

Their order is that of a launch request (`runner.launcher`). Lean.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import NamedTuple

from isolation import cgroup_files


class Handles(NamedTuple):
    """Directories of the job and of its three cgroups, the control FIFO, and its network.

    `network` is None for a job in the host's network.
    """

    job_dir: int
    log_dir: int
    control: int
    job_cgroup: int
    monitor_cgroup: int
    payload_cgroup: int
    network: int | None


def kill_payload(handles: Handles) -> None:
    """Kill every process of the job, whatever it forks meanwhile. For its monitor only."""
    # cgroup.kill came with Linux 5.14. The second line is enough before it, from pid 1 of
    # the namespace, and reaches what a privileged job moved to another cgroup.
    with suppress(OSError):
        cgroup_files.write(handles.payload_cgroup, "cgroup.kill", "1")
    with suppress(ProcessLookupError):
        os.kill(-1, signal.SIGKILL)
