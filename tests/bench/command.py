"""`scripts/bench`: gets the peers, makes a place that leaves no trace, and reports.

The measuring is `inside`'s, in a mount namespace of its own. What lies outside of that, a
directory and a cgroup, is made and removed here, whatever happened in between.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from tests.bench import report
from tests.bench.inside import Order
from tests.bench.peers import install, missing
from tests.bench.plot import svg
from tests.bench.results import ResultError, file_name, from_json, last_kept, to_json, worse
from tests.bench.stage import PROJECT, remove_cgroups
from tests.bench.table import FIGURES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.kinds import Run

KEPT: Final = PROJECT / "docs" / "bench"
DOCUMENT: Final = PROJECT / "docs" / "PERFORMANCE.md"
_OUT: Final = PROJECT / "build" / "bench"
_BASE: Final = "/var/lib"
_LANE_SECONDS: Final = 3600
# Seconds for a batch, and how many times that in all: four minutes.
_PATIENCE: Final = 20.0
_QUICK_PATIENCE: Final = 1.0
_TIMES_PATIENT: Final = 12


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and report. 1: a figure could not be taken. 2: it cannot begin."""
    options = parse(arguments)
    if options.list:
        _say("\n".join(f"{figure.name:12} {figure.what}" for figure in FIGURES))
        return 0
    if os.geteuid() != 0:
        return _refuse("only root can measure: jobs need namespaces, mounts and cgroups")
    if not options.no_install and not options.guest:
        _report_missing()
    try:
        run, status = _in_lane(options) if options.lane else _here(options)
        if options.guest:
            return status
        _report(options, run)
    except (OSError, RuntimeError, ResultError, subprocess.SubprocessError) as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        return 130
    return status


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="Measure runnerd beside its peers, and beside the floor."
    )
    names = [figure.name for figure in FIGURES]
    parser.add_argument(
        "--only", action="append", default=[], choices=names, metavar="NAME",
        help="this figure alone; may be repeated: " + ", ".join(names),
    )  # fmt: skip
    parser.add_argument("--quick", action="store_true", help="few repetitions: does it work?")
    parser.add_argument("--lane", action="store_true", help="in a guest, with all limits set")
    parser.add_argument("--list", action="store_true", help="only say which figures there are")
    parser.add_argument("--rounds", type=_positive, metavar="N", help="turns of each contender")
    parser.add_argument(
        "--load", type=_positive, metavar="N",
        help="jobs or bytes, of figures that have so many; not a result to keep",
    )  # fmt: skip
    parser.add_argument(
        "--patience", type=float, default=None, metavar="SECONDS",
        help="how long a batch waits for an idle machine (20; quick: 1)",
    )  # fmt: skip
    parser.add_argument("--no-install", action="store_true", help="get no peers with apt-get")
    parser.add_argument(
        "--out", type=Path, default=_OUT, metavar="DIR", help="result and plot (build/bench)"
    )
    parser.add_argument(
        "--record", action="store_true", help="keep it: docs/bench and the table of PERFORMANCE.md"
    )
    parser.add_argument("--guest", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    partial = options.quick or options.only or options.rounds or options.load
    if options.record and partial:
        parser.error("--record keeps whole runs: not with --quick, --only, --rounds or --load")
    return options


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _refuse(why: str) -> int:
    sys.stderr.write(f"bench: {why}\n")
    return 2


def _report_missing() -> None:
    if missing():
        _say(f"getting {', '.join(missing())}")
    for one in install():
        _say(f"without {one.name}: {one.why}")


# Here


def _here(options: argparse.Namespace) -> tuple[Run, int]:
    """A run on this machine."""
    base = "/var/lib/runnerd" if options.guest else _BASE
    disk = tempfile.mkdtemp(prefix="runnerd-bench-", dir=base)
    mount = cgroup_mount(Path("/proc/self/mounts").read_text(encoding="utf-8"))
    cgroup = os.path.basename(disk)
    try:
        status = _inside(_order(options, disk, mount, cgroup))
        text = Path(f"{disk}/result.json").read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RuntimeError("it ended before there was a result") from None
    finally:
        remove_cgroups(f"{mount}/{cgroup}")
        # The mounts below it were another namespace's: here it holds nothing but files.
        shutil.rmtree(disk, ignore_errors=True)
    if options.guest:
        (options.out / "result.json").write_text(text, encoding="utf-8")
    return from_json(text), status


def _order(options: argparse.Namespace, disk: str, mount: str, cgroup: str) -> Order:
    usual = _QUICK_PATIENCE if options.quick else _PATIENCE
    patience = usual if options.patience is None else options.patience
    return Order(
        options.only, options.quick, options.guest, options.rounds, options.load, patience,
        patience * _TIMES_PATIENT, disk, mount, cgroup, f"{disk}/result.json",
        [[name, "not installed"] for name in missing()],
    )  # fmt: skip


def cgroup_mount(mounts: str) -> str:
    """Where cgroup v2 is. proc_pid_mounts(5). Raises RuntimeError when it is nowhere."""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) > 2 and fields[2] == "cgroup2":
            return fields[1]
    raise RuntimeError("cgroup v2 is not mounted")


def _inside(order: Order) -> int:
    """Run `inside` in a mount namespace, and see to its end whatever becomes of us."""
    words = ["unshare", "--mount", "--propagation", "private", "--", sys.executable]
    words += ["-m", "tests.bench.inside", json.dumps(order._asdict())]
    process = subprocess.Popen(words, cwd=PROJECT, stdin=subprocess.DEVNULL)
    signal.signal(signal.SIGTERM, _leave)
    try:
        return process.wait()
    finally:
        # A Ctrl-C of the terminal reached it too: it takes down what it has, and then ends.
        if process.poll() is None:
            process.terminate()
            process.wait()


def _leave(number: int, _frame: object) -> NoReturn:
    raise SystemExit(128 + number)


# In the lane


def _in_lane(options: argparse.Namespace) -> tuple[Run, int]:
    """A run in a guest, whose kernel has every controller."""
    with tempfile.TemporaryDirectory(prefix="runnerd-bench-") as out:
        command = [sys.executable, "-m", "tests.bench", "--guest", "--no-install", "--out", out]
        command += [word for name in options.only for word in ("--only", name)]
        command += ["--quick"] if options.quick else []
        command += ["--rounds", str(options.rounds)] if options.rounds else []
        words = [str(PROJECT / "scripts" / "vm"), "run", "--time-limit", str(_LANE_SECONDS)]
        words += ["--out", out, "--env", f"PYTHONPATH={PROJECT}", "--", *command]
        done = subprocess.run(words, check=False, cwd=PROJECT, stdin=subprocess.DEVNULL)
        try:
            text = Path(out, "result.json").read_text(encoding="utf-8")
        except FileNotFoundError:
            raise RuntimeError(
                f"the guest ended with {done.returncode}, without a result"
            ) from None
    return from_json(text), done.returncode


# What came of it


def _report(options: argparse.Namespace, run: Run) -> None:
    before = last_kept(KEPT, run.kind) if KEPT.is_dir() else None
    _say("\n".join(report.run_lines(run)))
    if before is not None:
        _say("\n".join(report.change_lines(worse(run, before), before)))
    options.out.mkdir(parents=True, exist_ok=True)
    _write(options.out / run.kind, run)
    _say(f"written: {options.out}/{run.kind}.json and .svg")
    if options.record:
        _record(run)


def _write(stem: Path, run: Run) -> None:
    stem.with_suffix(".json").write_text(to_json(run), encoding="utf-8")
    stem.with_suffix(".svg").write_text(svg(run), encoding="utf-8")


def _record(run: Run) -> None:
    """Keep a run: its files, and the table of the document with the newest of each kind."""
    if not report.is_sound(run):
        raise RuntimeError(f"not kept: {report.busy_line(run)}")
    KEPT.mkdir(parents=True, exist_ok=True)
    _write(KEPT / file_name(run), run)
    newest = [one for kind in ("native", "lane") if (one := last_kept(KEPT, kind)) is not None]
    document = DOCUMENT.read_text(encoding="utf-8")
    text = report.put_between(document, report.markdown(newest))
    DOCUMENT.write_text(text, encoding="utf-8")
    _say(f"kept in {KEPT} and {DOCUMENT}")
