"""The benchmark in its mount namespace: sets the place up, takes the figures, writes the run.

Started by `command` through unshare(1). Whatever is mounted here is gone with the last process.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from tests.bench import machine, report, volume
from tests.bench.gate import Gate
from tests.bench.kinds import Run, Skipped
from tests.bench.measuring import FAILURES, measure, one_line
from tests.bench.peers import ROOT, Peers
from tests.bench.results import to_json
from tests.bench.stage import CGROUPS, RUN, Stage
from tests.bench.table import FIGURES

if TYPE_CHECKING:
    from tests.bench.kinds import Figure, Measured


_PR_SET_PDEATHSIG: Final = 1


class Order(NamedTuple):
    """What `command` wants. `skipped`: peers that could not be installed, with the reason."""

    only: list[str]
    quick: bool
    lane: bool
    rounds: int | None
    load: int | None
    patience: float
    budget: float
    disk: str
    cgroup_mount: str
    cgroup: str
    result: str
    skipped: list[list[str]]


def main(text: str) -> int:
    """Do what the order says. 1: a figure could not be taken, the others were."""
    order = Order(**json.loads(text))
    signal.signal(signal.SIGTERM, _leave)
    _end_with_parent()
    _mount(order)
    _enter_cgroup(order)
    cgroup = f"{CGROUPS}/{order.cgroup}"
    disk, told = _disk(order)
    limits = machine.lane_limits(disk) if order.lane else ()
    stage = Stage(disk, f"{order.disk}/floors", cgroup, Peers(cgroup, disk, limits), limits)
    gate = Gate(order.patience, order.budget)
    measured, failed = _take_all(order, stage, gate)
    skipped = {one.name: one for one in _absent(order, stage, failed)}
    run = Run(
        "lane" if order.lane else "native", order.quick,
        datetime.now(UTC).strftime("%Y-%m-%d %H:%M"), machine.commit(),
        {**machine.describe(), "files": told}, tuple(measured), tuple(skipped.values()),
    )  # fmt: skip
    Path(order.result).write_text(to_json(run), encoding="utf-8")
    return 1 if failed else 0


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


def _end_with_parent() -> None:
    """End in order when `command` is killed. PR_SET_PDEATHSIG(2const)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM))


def _absent(order: Order, stage: Stage, failed: list[Skipped]) -> list[Skipped]:
    return [*(Skipped(*one) for one in order.skipped), *stage.peers.skipped, *failed]


def _take_all(order: Order, stage: Stage, gate: Gate) -> tuple[list[Measured], list[Skipped]]:
    measured, failed = [], []
    for figure in chosen(order):
        try:
            one = measure(figure, stage, _sizes(order, figure), gate)
        except FAILURES as error:
            failed.append(Skipped(figure.name, one_line(error)))
            _say(f"{figure.name}: cannot be taken: {one_line(error)}\n")
            continue
        measured.append(one)
        _say("\n".join(report.figure_lines(one)) + "\n")
    return measured, failed


def chosen(order: Order) -> list[Figure]:
    """The figures that are to be taken."""
    possible = [figure for figure in FIGURES if figure.in_lane or not order.lane]
    return [figure for figure in possible if not order.only or figure.name in order.only]


def _sizes(order: Order, figure: Figure) -> Any:
    full = (order.lane and figure.in_lane_full) or figure.full
    sizes = figure.quick if order.quick else full
    if order.rounds is not None:
        sizes = sizes._replace(rounds=order.rounds)
    if order.load is not None and sizes.load:
        sizes = sizes._replace(load=order.load)
    return sizes


def _say(text: str) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(clear)
    sys.stderr.flush()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _mount(order: Order) -> None:
    """Cgroup v2 where everybody looks for it, an empty /run, the machine's tree as a root."""
    if order.cgroup_mount != CGROUPS:
        _run("mount", "--bind", order.cgroup_mount, CGROUPS)
    _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for path in (ROOT, "/run/user", "/run/lock", RUN):
        os.makedirs(path, exist_ok=True)
    _run("mount", "--bind", "/", ROOT)


def _disk(order: Order) -> tuple[str, str]:
    """Where everybody's files are to lie, and what that is. In a guest: on its disk."""
    if order.lane:
        path, told = order.disk, volume.machines_own(order.disk, "the guest's disk")
    else:
        try:
            path, told = volume.make(order.disk)
        except volume.VolumeError as error:
            path, told = order.disk, volume.machines_own(order.disk, str(error))
    # Of programs that keep something where temporary files are (task spooler does).
    os.environ["TMPDIR"] = f"{path}/tmp"
    os.makedirs(os.environ["TMPDIR"])
    _say(f"files: {told}\n")
    return path, told


def _run(*words: str) -> None:
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL)


def _enter_cgroup(order: Order) -> None:
    """A cgroup for all of it, and a leaf of it for ourselves and who is started from here."""
    below = f"{CGROUPS}/{order.cgroup}"
    os.makedirs(f"{below}/bench")
    Path(f"{below}/bench/cgroup.procs").write_text("0", encoding="ascii")
    if order.lane:
        handed = "+cpu +io +memory +pids"
        for directory in (CGROUPS, below):
            Path(directory, "cgroup.subtree_control").write_text(handed, encoding="ascii")


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
