"""Where the tour runs: right here, or in a guest of the VM lane, and with which program.

`scripts/demo` starts it without arguments. `--inside DIRECTORY` is for the guest, which has
no network: DIRECTORY holds what was fetched on the machine.
"""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from lane.console import LaneError
from lane.debian import install

from tour.host import place_of_work, why_not_here
from tour.session import CannotStart, Session, Unexpected
from tour.shell import Failed, say, succeed
from tour.source import Program, fetch, recall

if TYPE_CHECKING:
    from types import FrameType

BUILD_TOOLS = {"gcc": "gcc", "libc6-dev": "/usr/include/stdio.h", "make": "make"}
GUEST_SECONDS = 150


def main() -> int:
    """The whole tour. 0: everything was as expected."""
    os.environ.pop("PYTHONPATH", None)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        if inside := _directory(sys.argv[1:]):
            return session(recall(inside))
        install(BUILD_TOOLS)
        # Not TMPDIR: what is fetched must be visible in the guest, whose /var/tmp is new.
        with tempfile.TemporaryDirectory(prefix="runnerd-demo-", dir="/tmp") as fetched:
            return _tour(Path(fetched))
    except (CannotStart, Failed, LaneError, Unexpected) as error:
        print(f"\nscripts/demo: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nscripts/demo: interrupted", file=sys.stderr)
        return 130


def _directory(words: list[str]) -> Path | None:
    match words:
        case []:
            return None
        case ["--inside", directory]:
            return Path(directory)
    print("usage: scripts/demo", file=sys.stderr)
    sys.exit(2)


def _tour(fetched: Path) -> int:
    say("Where does it run?")
    reason = why_not_here()
    if reason is None:
        print("This host has usable cgroup v2 controllers, and this is root: right here.")
        try:
            return session(fetch(fetched))
        except CannotStart as error:
            reason = str(error)
    if os.environ.get("RUNNERD_LANE"):
        raise CannotStart(f"not in this guest either: {reason}")
    print(f"Not on this host itself: {reason}.")
    print("So it runs in a light VM: a Linux kernel that is one process of this machine.")
    return _in_guest(fetched)


def _in_guest(fetched: Path) -> int:
    # With our interpreter: the machine's own python3 may be older.
    vm = [sys.executable, "scripts/vm"]
    succeed([*vm, "kernel"], shown="scripts/vm kernel")
    fetch(fetched)
    say("The guest boots")
    inside = f"scripts/demo --inside {fetched}"
    limit = ["--time-limit", str(GUEST_SECONDS)]
    return succeed(
        [*vm, "run", *limit, "--", *inside.split()],
        shown=f"scripts/vm run {' '.join(limit)} -- {inside}",
        statuses=range(256),
    )


def session(program: Program) -> int:
    """Everything that is shown, in a directory that is removed again."""
    with tempfile.TemporaryDirectory(prefix="runnerd-demo-", dir=place_of_work()) as name:
        work = Path(name)
        Session(work, program).run()
    if work.exists():
        raise Unexpected(f"{work} is still there")
    print(f"No file: {work} is removed.")
    say("Everything was as expected")
    return 0


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
