"""The systemd that a guest boots as process 1: the machine's own, or one of Debian's.

One of Debian's is unpacked with the libraries that it needs, its C library included, into
a directory of the cache, which the guest lays over the machine's files. Programs of the
machine then run on that library, so its suite must not be older than the machine.
"""

import re
from pathlib import Path

from lane.console import LaneError, run, say
from lane.debian import Suite, version_order
from lane.kernels import CACHE, workspace

MACHINE = "machine"
PROGRAM = Path("/lib/systemd/systemd")
PACKAGE = "systemd"
# Settings stay the machine's.
KEPT = ("usr/lib", "usr/lib64", "usr/bin", "usr/sbin")


def layer(source: str) -> Path | None:
    """The directory to lay over the machine's files for a systemd, None for the machine's own."""
    if source == MACHINE:
        if not PROGRAM.exists():
            raise LaneError(
                "this machine has no systemd: apt-get install systemd, or name a suite of "
                "Debian, as in --systemd testing"
            )
        return None
    if re.fullmatch(r"[a-z]+", source) is None:
        raise LaneError(f"--systemd {source}: write {MACHINE}, or a suite such as testing")
    return _cached(source) or _fetch(source)


def _cached(suite: str) -> Path | None:
    homes = CACHE.glob(f"systemd-{suite}-*")
    return max(homes, key=lambda home: version_order(home.name), default=None)


def _fetch(name: str) -> Path:
    with workspace() as work:
        if home := _cached(name):
            return home
        suite = Suite(name, work / "apt")
        files, stage = work / "files", work / "layer"
        for package in suite.needed(PACKAGE):
            suite.unpack(package, files)
        for part in KEPT:
            if (files / part).exists():
                (stage / part).parent.mkdir(parents=True, exist_ok=True)
                (files / part).rename(stage / part)
        home = CACHE / f"systemd-{name}-{suite.version(PACKAGE)}"
        # The guest's root belongs to everybody.
        run(["chmod", "755", stage, stage / "usr"])
        stage.rename(home)
        say(f"ready: systemd {home.name.rpartition(f'{name}-')[2]} of Debian {name}")
        return home
