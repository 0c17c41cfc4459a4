"""The command line of scripts/torture: boots guests, cuts their power, adds up.

Every life but the last is one of a guest whose power is cut at a random moment: the kernel
process of the guest is killed, its disk is kept. The last one goes on for `--seconds` and
compares everything, also what was asked in the lives before.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from random import Random, SystemRandom
from typing import Final

from tests.torture import counts
from tests.torture.counts import say
from tests.torture.plan import TROUBLE

PROJECT: Final = Path(__file__).resolve().parents[2]
_DISK: Final = "384M"
_BOOT_SECONDS: Final = 120.0
# Boot, recovery, jobs that still run, the comparison of all of them.
_REST_SECONDS: Final = 600.0
# Some cuts come while the life before is still being recovered.
_EARLY_CHANCE: Final = 0.2


def main() -> int:
    """Torture; 1 when anything differs."""
    options = _parse()
    begun = time.monotonic()
    say(f"torture: seed {options.seed}, {options.seconds:g} s, {options.power_cuts} power cuts")
    out = Path(tempfile.mkdtemp(prefix="runnerd-torture-", dir=_place()))
    try:
        failed = _all_lives(options, out)
    except KeyboardInterrupt:
        say("torture: interrupted")
        failed = True
    total = counts.total(str(out))
    found = counts.differences(str(out))
    if not total["judged"]:
        found.append("DIFFERS torture: no job came to its end")
    failed = failed or bool(found)
    say(f"\ntorture: seed {options.seed}, {time.monotonic() - begun:.0f} s in all")
    say(counts.report(total, found))
    if failed or options.keep:
        say(f"\nwhat was written is in {out}; again: {_again(options)}")
    else:
        shutil.rmtree(out)
    say("\nFAILED" if failed else "\nnothing differs, nothing is left over")
    return int(failed)


def _again(options: argparse.Namespace) -> str:
    return (
        f"scripts/torture --seed {options.seed} --seconds {options.seconds:g} "
        f"--power-cuts {options.power_cuts} --jobs-at-once {options.jobs_at_once} "
        f"--trouble {options.trouble}"
    )


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/torture", description="Torture runnerd in guests, and compare everything."
    )
    parser.add_argument("--seconds", type=float, default=30, help="of the last life (%(default)s)")
    parser.add_argument("--seed", type=int, help="what is tried (default: any)")
    parser.add_argument("--power-cuts", type=int, default=0, metavar="N", help="lives before it")
    parser.add_argument("--jobs-at-once", type=int, default=12, metavar="N", help="(%(default)s)")
    parser.add_argument(
        "--trouble",
        default=",".join(pace.name for pace in TROUBLE),
        metavar="NAME,...",
        help="only these troublemakers, to find out who it was (%(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="keep what was written")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = SystemRandom().randrange(1, 2**31)
    return options


def _place() -> str:
    """Where the guests can write: not below /run, /var/tmp or /dev, which they have anew."""
    place = tempfile.gettempdir()
    return "/tmp" if place.startswith(("/var/tmp", "/run", "/dev")) else place


def _all_lives(options: argparse.Namespace, out: Path) -> bool:
    dice = Random(f"{options.seed}/power")
    own = counts.Counts(str(out), 0)
    for life in range(1, options.power_cuts + 1):
        if _cut_life(options, out, life, dice):
            own.add("power cuts")
        else:
            own.differ(f"life {life}", "the guest ended by itself")
        own.save()
    return _last_life(options, out) != 0


def _guest(options: argparse.Namespace, out: Path, seconds: float) -> list[str]:
    limit = seconds + _REST_SECONDS if seconds else 0
    return [
        sys.executable, str(PROJECT / "scripts/vm"), "run", "--time-limit", f"{limit:g}",
        "--disk", _DISK, "--disk-image", str(out / "disk"), "--out", str(out),
        "--env", f"PYTHONPATH={PROJECT}", "--",
        sys.executable, "-m", "tests.torture.life", "--out", str(out),
        "--seed", str(options.seed), "--seconds", f"{seconds:g}",
        "--jobs-at-once", str(options.jobs_at_once), "--trouble", options.trouble,
    ]  # fmt: skip


def _cut_life(options: argparse.Namespace, out: Path, life: int, dice: Random) -> bool:
    """One guest until its power is cut; False when it ended before.

    SIGTERM makes scripts/vm kill the guest's kernel at once.
    """
    early = life > 1 and dice.random() < _EARLY_CHANCE
    delay = dice.uniform(0.1, 1.5) if early else dice.uniform(0.5, 6)
    # The ledger's line of this life comes before its recovery.
    wanted = _begun if early else _torturing
    with subprocess.Popen(_guest(options, out, 0)) as guest:
        deadline = time.monotonic() + _BOOT_SECONDS
        while not wanted(out, life) and guest.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        with suppress(subprocess.TimeoutExpired):
            guest.wait(delay)
        is_on = guest.poll() is None
        guest.send_signal(signal.SIGTERM)
    say(f"life {life}: power cut")
    return is_on


def _torturing(out: Path, life: int) -> bool:
    return (out / f"torturing-{life}").exists()


def _begun(out: Path, life: int) -> bool:
    ledger = out / "ledger"
    return ledger.exists() and ledger.read_bytes().count(b'{"what": "life"}') >= life


def _last_life(options: argparse.Namespace, out: Path) -> int:
    with subprocess.Popen(_guest(options, out, options.seconds)) as guest:
        try:
            return guest.wait()
        except KeyboardInterrupt:
            guest.send_signal(signal.SIGTERM)
            raise


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
