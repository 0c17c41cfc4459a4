"""One life inside a guest: sets the scene, lets everybody loose, compares, cleans up.

    python -m tests.torture.life --out DIR --seed N --seconds S --jobs-at-once N --trouble NAME,...

`--seconds 0` goes on until the power is cut. In DIR are the ledger, the list of starts and the
blob, the daemon's logs, counters and differences: they are the machine's files.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.kernel.conftest import USERS
from tests.torture import group_verifier, leftovers, plan, programs, riders, verifier
from tests.torture.counts import say
from tests.torture.group_riders import GroupRider
from tests.torture.session import BALLAST, CLIENTS, SHARE, Session
from tests.torture.trouble import troublemakers

if TYPE_CHECKING:
    from threading import Thread

_TICK_SECONDS: Final = 0.5
_TICKS_A_LINE: Final = 6
# After the torture: for the jobs that still run, and for what holds them up.
_GRACE_SECONDS: Final = 150.0
# For so many riders of jobs one of groups.
_JOBS_A_GROUP: Final = 3
# What commands write to, each with its lines.
_LISTS: Final = ("starts", "group-starts", "hook-lines")


def main() -> int:
    """One life. 1 when anything differs."""
    options = _parse()
    prepare(options.out, options.seed)
    before = leftovers.take()
    session = Session(options.out, options.seed, options.jobs_at_once)
    innocents = leftovers.Innocents(_monitors_of_earlier_lives(options.out))
    with session.looking_after(None):
        session.bring_up()
        session.call_off_drain()
        verifier.after_power_cut(session)
        group_verifier.after_power_cut(session)
        torture(session, options.seconds, options.jobs_at_once, options.trouble.split(","))
        verifier.at_the_end(session)
    with session.looking_after(None):
        innocents.dismiss()
    with session.looking_after(None):
        _take_down(session)
        leftovers.compare(before)
    session.counts.add("starts", session.victim.starts)
    session.counts.add("starts in vain", session.victim.starts_in_vain)
    session.counts.save()
    session.ledger.close()
    session.groups.ledger.close()
    return int(session.counts.differences > 0)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="One life of the torture, inside a guest.")
    parser.add_argument("--out", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--jobs-at-once", type=int, required=True)
    parser.add_argument("--trouble", required=True)
    return parser.parse_args()


def prepare(out: str, seed: int) -> None:
    """Users, and the places that jobs use."""
    subprocess.run(["groupadd", "--force", "--system", "runnerd"], check=True)
    for name in plan.USERS:
        if name in USERS:
            subprocess.run(
                ["useradd", "--uid", str(USERS[name]), "--create-home", "--shell", "/bin/sh",
                 "--groups", "runnerd", name],
                check=True,
            )  # fmt: skip
    with suppress(FileNotFoundError):
        os.unlink(BALLAST)
    share = Path(out, "share")
    if not share.exists():
        share.mkdir()
        for name in _LISTS:
            (share / name).touch()
        (share / "blob").write_bytes(programs.make_blob(seed))
    share.chmod(0o777)
    for name in _LISTS:
        (share / name).chmod(0o666)
    for place in (SHARE, CLIENTS):
        os.makedirs(place)
    subprocess.run(["mount", "--bind", share, SHARE], check=True)


def _monitors_of_earlier_lives(out: str) -> list[int]:
    path = f"{out}/monitors"
    if not os.path.exists(path):
        return []
    with open(path, encoding="utf-8") as file, suppress(ValueError):
        return [int(pid) for pid in json.load(file)]
    return []


def torture(session: Session, seconds: float, at_once: int, trouble: list[str]) -> None:
    """Everything at once, for so long; 0 for ever."""
    begun = time.monotonic()
    crew: list[Thread] = [riders.Rider(session, f"rider-{number}") for number in range(at_once)]
    crew += [GroupRider(session, f"group-{n}") for n in range(max(1, at_once // _JOBS_A_GROUP))]
    harm = troublemakers(session, session.seed, session.life, trouble)
    for thread in (session.errands, *session.witnesses, *crew, *harm):
        thread.start()
    Path(f"{session.out}/torturing-{session.life}").touch()
    ticks = itertools.count(1)
    while not seconds or time.monotonic() < begun + seconds:
        time.sleep(_TICK_SECONDS)
        session.tick()
        if next(ticks) % _TICKS_A_LINE == 0:
            _say_how_far(session, begun)
    session.over.set()
    deadline = time.monotonic() + _GRACE_SECONDS
    for thread in (*harm, *crew):
        thread.join(max(0.1, deadline - time.monotonic()))
        if thread.is_alive():
            session.counts.differ(thread.name, "does not come to its end")
    session.counts.add("tortured seconds", round(time.monotonic() - begun))


def _say_how_far(session: Session, begun: float) -> None:
    counts = session.counts
    kills = sum(counts.get(f"kill {kind}") for kind in ("runnerd", "launcher", "both", "monitor"))
    say(
        f"life {session.life}, {time.monotonic() - begun:.0f} s: {counts.get('accepted')} jobs, "
        f"{counts.get('judged')} ended, {counts.get('bytes') / 2**20:.1f} MiB compared, "
        f"{kills} kills, {counts.differences} differences"
    )


def _take_down(session: Session) -> None:
    """End runnerd, look at what it leaves, and make the machine as it was."""
    victim = session.victim
    if victim.running:
        victim.terminate()
    database = sqlite3.connect(f"file:{victim.state_dir}/runnerd.sqlite3?mode=ro", uri=True)
    (verdict,) = database.execute("PRAGMA integrity_check").fetchone()
    database.close()
    if verdict != "ok":
        session.counts.differ("the store", verdict)
    victim.__exit__()


if __name__ == "__main__":
    sys.exit(main())
