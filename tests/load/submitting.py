"""Very many submissions by a few clients at once, each timed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.load.figures import timed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from client.records import Limits
    from tests.load.place import Place

CLIENTS: Final = 4
# What is called the beginning and the end of many.
PART: Final = 1000
ENV: Final = {"PATH": "/usr/bin:/bin"}


class Submitted(NamedTuple):
    """Ids in no particular order; when each was acknowledged and how long that took, in order."""

    ids: list[str]
    whole_s: float
    at_s: list[float]
    took_ms: list[float]

    def report(self) -> str:
        """A line: milliseconds a job, all clients together."""
        each = self.whole_s / len(self.ids) * 1e3
        return (
            f"  submitted in {self.whole_s:.1f} s: {each:.2f} ms each; "
            f"first and last {min(PART, len(self.ids))}: {pace(self.at_s, 0.0)}"
        )


def pace(at_s: list[float], begun_s: float) -> str:
    """Milliseconds for one of the first and of the last PART, of times in order, and the ratio."""
    part = min(PART, len(at_s))
    first = (at_s[part - 1] - begun_s) / part * 1e3
    last = (at_s[-1] - (at_s[-part - 1] if len(at_s) > part else begun_s)) / part * 1e3
    return f"{first:.2f} and {last:.2f} ms, ratio {last / first:.2f}"


def submit(place: Place, count: int) -> Submitted:
    """So many `true`."""
    shares = [len(range(client, count, CLIENTS)) for client in range(CLIENTS)]
    begun = time.monotonic()
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = list(chain.from_iterable(pool.map(lambda n: _some(place, n, place.limits), shares)))
    whole = time.monotonic() - begun
    done.sort(key=lambda each: each[1])
    ids, ends, took = zip(*done, strict=True)
    return Submitted(list(ids), whole, [end - begun for end in ends], list(took))


def _some(place: Place, count: int, limits: Limits) -> Iterable[tuple[str, float, float]]:
    done = []
    with place.client() as client:
        for _ in range(count):
            job, took = timed(lambda: client.submit(["true"], cwd="/", env=ENV, limits=limits))
            done.append((job, time.monotonic(), took))
    return done
