"""What the machine is, for whoever reads a result later. Nothing that identifies it."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

from tests.bench.stage import PROJECT


def describe() -> dict[str, str]:
    """Processor, kernel, memory, Python."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {
        "cpu": _cpu(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "kernel": platform.release().partition("-")[0],
        "memory": f"{pages / (1 << 30):.0f} GiB",
        "python": platform.python_version(),
    }


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def commit() -> str:
    """The commit that is measured, with a plus where files differ from it; else "unknown"."""
    head, changed = (
        subprocess.run(
            ["git", "-C", str(PROJECT), *words], check=False, capture_output=True, text=True
        )
        for words in (("rev-parse", "--short=12", "HEAD"), ("status", "--porcelain", "-uno"))
    )
    if head.returncode != 0:
        return "unknown"
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def lane_limits(disk: str) -> tuple[str, ...]:
    """The limits of everybody in the lane, as the kernel's files take them. cgroup v2's manual."""
    device = os.stat(disk).st_dev
    return (
        f"memory.max={256 << 20}",
        "pids.max=64",
        "cpu.max=100000 100000",
        f"io.max={os.major(device)}:{os.minor(device)} wbps={1 << 30}",
    )
