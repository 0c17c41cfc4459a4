"""The command line of scripts/fuzz: run fuzz targets for a while, or one input again.

scripts/fuzz [--seconds N] [--seed N] [--driver builtin|atheris] [--crashes DIR] [TARGET ...]
scripts/fuzz --input FILE TARGET
"""

from __future__ import annotations

import argparse
import glob
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from random import SystemRandom

from tests.fuzz import driver
from tests.fuzz.driver import TARGETS, Crash, Done, say

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_RUNS = re.compile(r"stat::number_of_executed_units:\s+(\d+)")
_SECONDS = re.compile(r"Done \d+ runs in (\d+) second")


def main() -> int:
    """Parse the command line and do it; 1 when a target raised."""
    options = _parse()
    if options.input:
        (name,) = options.targets
        with open(options.input, "rb") as file:
            driver.target_module(name).one_input(file.read())
        say(f"{name}: nothing was raised")
        return 0
    say(f"seed {options.seed}, {options.driver} driver, {options.seconds:g} s for each target")
    failed = False
    for name in options.targets:
        run = _guided if options.driver == "atheris" else _builtin
        done = run(name, options)
        say(str(done))
        failed |= bool(done.crashes)
        for crash in done.crashes:
            _tell(crash)
    return int(failed)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/fuzz", description="Run fuzz targets.")
    parser.add_argument("--seconds", type=float, default=60, help="for each target (%(default)s)")
    parser.add_argument("--seed", type=int, help="the same inputs again (default: any)")
    parser.add_argument(
        "--driver",
        choices=("builtin", "atheris"),
        help="default: atheris when it is installed (`pip install atheris`)",
    )
    parser.add_argument("--crashes", default="fuzz-crashes", help="a directory (%(default)s)")
    parser.add_argument("--input", metavar="FILE", help="run this input, once")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    options = parser.parse_args()
    unknown = set(options.targets) - set(TARGETS)
    if unknown:
        parser.error(
            f"no such target: {', '.join(sorted(unknown))} (there are {', '.join(TARGETS)})"
        )
    if options.input and len(options.targets) != 1:
        parser.error("--input needs one target")
    options.targets = options.targets or list(TARGETS)
    options.driver = options.driver or ("atheris" if find_spec("atheris") else "builtin")
    if options.seed is None:
        options.seed = SystemRandom().randrange(1, 2**31)
    return options


def _builtin(name: str, options: argparse.Namespace) -> Done:
    return driver.run(name, seconds=options.seconds, seed=options.seed, crashes=options.crashes)


def _guided(name: str, options: argparse.Namespace) -> Done:
    """Under atheris, which ends its process at the first crash."""
    os.makedirs(options.crashes, exist_ok=True)
    before = set(glob.glob(f"{options.crashes}/{name}-*"))
    with tempfile.TemporaryDirectory(prefix="runnerd-fuzz-") as corpus:
        words = [name, options.seed, int(options.seconds), corpus, os.path.abspath(options.crashes)]
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.guided", *map(str, words)],
            cwd=PROJECT, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
    said = done.stdout + done.stderr
    runs, seconds = _RUNS.search(said), _SECONDS.search(said)
    new = sorted(set(glob.glob(f"{options.crashes}/{name}-*")) - before)
    crashes = [Crash(name, path, said[-3000:]) for path in new]
    if done.returncode and not crashes:
        crashes = [Crash(name, "(no input was kept)", said[-3000:])]
    return Done(
        name,
        int(runs[1]) if runs else 0,
        float(seconds[1]) if seconds else options.seconds,
        crashes,
    )


def _tell(crash: Crash) -> None:
    say(f"\n{crash.error}\nrepeat it: scripts/fuzz --input {crash.path} {crash.target}\n")


if __name__ == "__main__":
    sys.exit(main())
