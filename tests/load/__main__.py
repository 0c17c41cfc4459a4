"""The command line of scripts/load: boots a guest that is large enough, or measures right here.

What is measured is `tests.load.run`'s. In a guest it needs no root; `--here` does.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Final

PROJECT: Final = Path(__file__).resolve().parents[2]
# Per job: its directory and six files on ext4, one inode for each 16 KiB of the disk.
_DISK_KIB_A_JOB: Final = 192
_SECONDS_A_JOB: Final = 1.0
_LEAST_SECONDS: Final = 600


def main() -> int:
    """Measure; 1 when a job or an event is missing, is one too many, or is wrong."""
    options = _parse()
    counts = {"--run": options.run, "--wait": options.wait, "--array": options.array}
    measure = ["tests.load.run", *(word for each in counts.items() for word in map(str, each))]
    if options.at_once is not None:
        measure += ["--at-once", str(options.at_once)]
    if options.here is not None:
        command = [sys.executable, "-m", *measure, "--cgroups", options.here]
    else:
        command = [*_guest(sum(counts.values())), sys.executable, "-m", *measure,
                   "--state", "/var/lib/runnerd"]  # fmt: skip
    return subprocess.run(command, cwd=PROJECT, check=False).returncode


def _guest(jobs: int) -> list[str]:
    seconds = _LEAST_SECONDS + _SECONDS_A_JOB * jobs
    disk = 1024 + jobs * _DISK_KIB_A_JOB // 1024
    return [
        sys.executable, str(PROJECT / "scripts/vm"), "run", "--time-limit", f"{seconds:g}",
        "--disk", f"{disk}M", "--env", f"PYTHONPATH={PROJECT}", "--",
    ]  # fmt: skip


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/load",
        description="Very many jobs with a real daemon: figures, and every job accounted for.",
    )
    parser.add_argument("--run", type=int, metavar="N", help="jobs that all run (default: 1000)")
    parser.add_argument("--wait", type=int, default=0, metavar="N", help="jobs that all wait")
    parser.add_argument("--array", type=int, default=0, metavar="N", help="jobs of one array")
    parser.add_argument("--at-once", type=int, metavar="N", help="how many run at once")
    parser.add_argument(
        "--here", metavar="DIRECTORY", help="no guest: as root, with cgroups below DIRECTORY"
    )
    options = parser.parse_args()
    if options.run is None:
        options.run = 0 if options.wait or options.array else 1000
    if min(options.run, options.wait, options.array) < 0 or (options.at_once or 1) < 1:
        parser.error("--run, --wait and --array are at least 0, --at-once is at least 1")
    return options


if __name__ == "__main__":
    sys.exit(main())
