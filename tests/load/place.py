"""A daemon to be measured, in a guest or on this machine, with places of its own."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from tests.kernel.harness import Daemon

if TYPE_CHECKING:
    from pathlib import Path

    from client.records import Limits

_CONFIG: Final = """
{controllers}
[jobs]
max_queued = {queued}
max_array = {queued}
{jobs}
[retention]
max_jobs = {kept}
max_events = {events}
"""
_MIB: Final = 1024 * 1024
_NEEDED: Final = ("cpu", "memory", "pids")
# Events that a job has in a life without incident, and some.
_EVENTS_A_JOB: Final = 8


class Place(Daemon):
    """A `Daemon` whose state is in `base`, and whose jobs are in a cgroup below `cgroups`.

    `has_limits` says whether jobs can be given memory and pids there.
    """

    def __init__(self, base: Path, cgroups: str, jobs: int, at_once: int | None) -> None:
        super().__init__(base)
        self.socket = f"{base}/runnerd.sock"
        self.state_dir = f"{base}/state"
        self.cgroup_root = f"{cgroups}/runnerd-load-{os.getpid()}"
        with open(f"{cgroups}/cgroup.controllers", encoding="ascii") as file:
            self.has_limits = set(_NEEDED) <= set(file.read().split())
        lines = [] if self.has_limits else ["default_pids_max = 0"]
        lines += [] if at_once is None else [f"max_running = {at_once}"]
        text = _CONFIG.format(
            controllers="" if self.has_limits else "required_controllers = []",
            queued=jobs + 1, jobs="\n".join(lines), kept=jobs + 1,
            events=max(1000, jobs * _EVENTS_A_JOB),
        )  # fmt: skip
        self.config.write_text(text, encoding="utf-8")

    @property
    def limits(self) -> Limits:
        """What a job that needs next to nothing is given; nothing where that is not possible."""
        if not self.has_limits:
            return {}
        return {"memory_max_bytes": 64 * _MIB, "pids_max": 16}
