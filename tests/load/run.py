"""The measurements, where this process is: jobs that all run, jobs that all wait, an array.

    python -m tests.load.run [--run N] [--wait N] [--array N] [--cgroups DIRECTORY] ...

As root. Prints figures; 1 when a job or an event is missing, is one too many, or is wrong.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tests.load import account
from tests.load.figures import Given, Onlooker, memory, say, spread, timed
from tests.load.place import Place
from tests.load.submitting import ENV, Submitted, pace, submit

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from client.api import Client

_SECONDS_A_JOB: Final = 3.0
_LOOK_SECONDS: Final = 0.2
_PARTS: Final = 10
_PAGE: Final = 500
_QUEUE: Final = "default"


def _questions(client: Client, job: str) -> dict[str, Callable[[], object]]:
    """What people ask: a page of `ps`, `why` and `status` of one job, the queues."""
    return {
        f"ps {_PAGE}": lambda: next(client.jobs(ended=True, page=_PAGE)),
        "why": lambda: client.why(job),
        "status": lambda: client.status(job),
        "queues": client.queues,
    }


def run_all(place: Place, count: int) -> None:
    """So many `true` are queued, then all run. Raises AccountError."""
    say(f"{count} jobs that run, {'with memory.max and pids.max' if place.limits else 'no limits'}")
    place.start()
    with place.client() as client:
        submitted = _queue_up(client, place, count)
        with place.client() as asking, Onlooker(_questions(asking, submitted.ids[-1])) as onlooker:
            begun_ns = time.time_ns()
            whole = timed(lambda: _run(client, count))[1] / 1e3
        say(f"  all ended in {whole:.1f} s: {whole / count * 1e3:.1f} ms each")
        say(f"  asked meanwhile:\n{onlooker.report()}\n  {_memory(place)}")
        account.all_ran_once(client, submitted.ids)
        ended = sorted(job["ended_ns"] or 0 for job in client.jobs(ended=True, page=1000))
        times = pace([at / 1e9 for at in ended], begun_ns / 1e9)
        say(f"  first and last to end: {times}")
        _check_limits(client, place, submitted.ids[:: max(1, count // 100)])
    say("  each ended with exit 0, in attempt 1, after one submit, launch, started, finish")
    place.stop()


def _queue_up(client: Client, place: Place, count: int) -> Submitted:
    client.set_queue(_QUEUE, paused=True)
    say(f"  runnerd: {_memory(place)}")
    submitted = submit(place, count)
    say(f"{submitted.report()}\n  {_memory(place)}")
    return submitted


def _run(client: Client, count: int) -> None:
    """Until all have ended; how many are left is said ten times."""
    client.set_queue(_QUEUE, paused=False)
    deadline, said = time.monotonic() + _SECONDS_A_JOB * count, count
    while left := _unended(client):
        if left <= said - count / _PARTS:
            said = left
            say(f"    {left} left")
        if time.monotonic() > deadline:
            raise account.AccountError(f"{left} jobs have not ended")
        time.sleep(_LOOK_SECONDS)


def _unended(client: Client) -> int:
    return sum(queue["queued"] + queue["running"] for queue in client.queues()["queues"])


def _check_limits(client: Client, place: Place, jobs: Sequence[str]) -> None:
    for job in jobs:
        limits = client.status(job)["limits"]
        for name, wanted in place.limits.items():
            if limits.get(name) != wanted:
                raise account.AccountError(f"{job}: {name} was {limits.get(name)}, not {wanted}")


def wait_all(place: Place, count: int) -> None:
    """So many wait; they are asked about, outlive a restart, and are stopped. AccountError."""
    say(f"{count} jobs that wait")
    place.start()
    with place.client() as client:
        submitted = _queue_up(client, place, count)
        _ask(client, submitted)
    say(f"  runnerd ended in {timed(place.stop)[1]:.0f} ms")
    say(f"  and answered in {timed(place.start)[1]:.0f} ms\n  {_memory(place)}")
    with place.client() as client:
        _ask(client, submitted)
        _stop(place, client, submitted)
        account.all_stopped_unrun(client, submitted.ids)
    say("  each was there after the restart, and ended as stopped before it ran")
    place.stop()


def array_all(place: Place, count: int) -> None:
    """So many as one array wait; it is asked about and changed, outlives a restart, is stopped."""
    say(f"{count} jobs as one array")
    place.start()
    with place.client() as client:
        client.set_queue(_QUEUE, paused=True)
        other = client.submit(["true"], cwd="/", env=ENV)
        group = _meanwhile(place, other, "submitted", lambda: _submit_array(client, place, count))
        say(f"  {_memory(place)}")
        _ask_group(client, group)
    say(f"  runnerd ended in {timed(place.stop)[1]:.0f} ms")
    say(f"  and answered in {timed(place.start)[1]:.0f} ms")
    with place.client() as client:
        _meanwhile(place, other, "held", lambda: client.hold_group(group))
        _meanwhile(place, other, "released", lambda: client.release_group(group))
        _meanwhile(place, other, "capped", lambda: client.update_group(group, max_running=7))
        _meanwhile(place, other, "stopped", lambda: client.stop_group(group))
        _meanwhile(place, other, "tried again", lambda: client.retry_group(group))
        _meanwhile(place, other, "stopped again", lambda: client.stop_group(group))
        account.all_stopped_unrun(client, _members(client, group, count))
        _meanwhile(place, other, "removed", lambda: client.remove_group(group))
        say(f"  {_memory(place)}")
    place.stop()


def _submit_array(client: Client, place: Place, count: int) -> str:
    answer = client.submit_array(
        ["true"], ranges=[(0, count - 1, 1)], cwd="/", env=ENV, limits=place.limits, name="many"
    )
    return answer["group"]


def _members(client: Client, group: str, count: int) -> list[str]:
    """The ids of its jobs, which have to be that many; the other job is stopped beside them."""
    jobs = [member["job"] for member in client.members(group)]
    if len(jobs) != count:
        raise account.AccountError(f"an array of {count} has {len(jobs)} jobs")
    (other,) = client.jobs(page=_PAGE)
    client.stop(other["job"])
    return [*jobs, other["job"]]


def _meanwhile(place: Place, job: str, what: str, act: Callable[[], Given]) -> Given:
    """Do it, and say how long it took and how long others waited meanwhile."""
    questions: dict[str, Callable[[], object]]
    with place.client() as asking:
        questions = {"others": lambda: asking.status(job)}
        with Onlooker(questions, pause_seconds=0.01) as onlooker:
            given, took = timed(act)
    say(f"    {what:<26}{took:>9.1f} ms; others waited: {spread(onlooker.took['others'])}")
    return given


def _ask_group(client: Client, group: str) -> None:
    asked: dict[str, Callable[[], object]] = {
        "ps, as one line": lambda: next(client.entries()),
        "ps, its first page": lambda: client.group(group),
        "ps, all its jobs": lambda: sum(1 for _ in client.members(group)),
        "status of many.0": lambda: client.status("many.0"),
        "why of many.0": lambda: client.why("many.0"),
    }
    for name, question in asked.items():
        say(f"    {name:<26}{timed(question)[1]:>9.1f} ms")


def _ask(client: Client, submitted: Submitted) -> None:
    first, last = submitted.ids[0], submitted.ids[-1]
    asked: dict[str, Callable[[], object]] = {
        f"ps, the newest {_PAGE}": lambda: next(client.jobs(page=_PAGE)),
        "ps, all pages": lambda: sum(1 for _ in client.jobs(page=1000)),
        "why of the oldest": lambda: client.why(first),
        "why of the newest": lambda: client.why(last),
        "status": lambda: client.status(last),
        "queues": client.queues,
        "stop --all, only counted": lambda: client.stop_many({}, dry_run=True),
        "hold and release": lambda: (client.hold(last), client.release(last)),
        "move --top": lambda: client.move(last, top=True),
    }
    for name, question in asked.items():
        say(f"    {name:<26}{timed(question)[1]:>9.1f} ms")


def _stop(place: Place, client: Client, submitted: Submitted) -> None:
    with place.client() as asking, Onlooker(_questions(asking, submitted.ids[0])) as onlooker:
        took = timed(lambda: client.stop_many({}))[1]
    say(f"  stop --all: {took / 1e3:.1f} s, {took / len(submitted.ids):.2f} ms each")
    say(f"  asked meanwhile:\n{onlooker.report()}\n  {_memory(place)}")


def _memory(place: Place) -> str:
    now, most = memory(place.pid)
    return f"{now / 1024:.0f} MiB of memory, at most {most / 1024:.0f}"


def main() -> int:
    """Measure what was asked for."""
    options = _parse()
    measures = ((options.run, run_all), (options.wait, wait_all), (options.array, array_all))
    for count, measure in measures:
        if not count:
            continue
        with tempfile.TemporaryDirectory(prefix="load-", dir=options.state) as base:
            at_once = options.at_once
            with Place(Path(base), options.cgroups, count, at_once) as place:
                try:
                    measure(place, count)
                except account.AccountError as wrong:
                    sys.stderr.write(f"load: {wrong}\n{place.log_text()[-2000:]}\n")
                    return 1
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.run", description="Measure here, as root.")
    parser.add_argument("--run", type=int, default=0, metavar="N", help="jobs that run")
    parser.add_argument("--wait", type=int, default=0, metavar="N", help="jobs that wait")
    parser.add_argument("--array", type=int, default=0, metavar="N", help="jobs of one array")
    parser.add_argument("--at-once", type=int, metavar="N", help="as jobs.max_running")
    parser.add_argument("--cgroups", default="/sys/fs/cgroup", metavar="DIRECTORY")
    parser.add_argument("--state", metavar="DIRECTORY", help="on the disk to be measured")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
