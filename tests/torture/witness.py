"""Follows the events, in whatever trouble, and writes down each that it was given.

The file survives a power cut, and the next life goes on where it ends: in the end it has to hold
what the store holds, each number once. What may follow what is `histories`'s.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Final

from tests.kernel.harness import wait_until
from tests.torture.histories import Event
from tests.torture.ledger import read_lines
from tests.torture.verdicts import DifferenceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.eventstream import EventStream
    from tests.torture.session import Session

_LEAVE_CHANCE: Final = 0.02
_SECONDS: Final = 60.0


class Witness(threading.Thread):
    """One user's follower: root's is given every event, another's those of its own jobs."""

    def __init__(self, session: Session, user: str) -> None:
        super().__init__(name=f"witness-{user}", daemon=True)
        self.user = user
        self._session = session
        self._dice = session.dice_of(self.name)
        self._path = f"{session.out}/events-{user}"
        self._stream: EventStream | None = None
        self._over = False
        self._fd = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC)
        # A line that a power cut tore is one that was not seen.
        os.write(self._fd, b"\n")
        self.seen = max((event.seq for event in self.events()), default=0)

    def run(self) -> None:
        """Until it is over; what goes wrong is a difference, and it goes on."""
        while not self._over:
            with self._session.looking_after(None):
                self._session.patiently(self._follow)
            if self._session.over.wait(0.1) and not self._over:
                # Its end is not that of the torture: there is more to come.
                self._session.counts.trace(f"{self.name} goes on")

    def _follow(self) -> None:
        client = self._session.client(self.user)
        with client.events(since=self.seen, follow=True) as stream:
            self._stream = stream
            for item in stream:
                self._take(dict(item))
                if self._over or self._dice.random() < _LEAVE_CHANCE:
                    self._session.counts.add("event resumes")
                    break

    def _take(self, item: dict[str, Any]) -> None:
        if "gap" in item:
            raise DifferenceError(f"events are missing: {item}")
        line = {"seq": item["seq"], "job": item["job"], "kind": item["kind"], "data": item["data"]}
        os.write(self._fd, json.dumps(line).encode() + b"\n")
        self.seen = item["seq"]
        self._session.counts.add(f"events of {self.user}")

    def events(self) -> list[Event]:
        """All that was given so far, in every life."""
        return [
            Event(line["seq"], line["job"], line["kind"], line["data"])
            for line in read_lines(self._path)
        ]

    def finish(self) -> None:
        """Everything has happened: it has to have seen it all. Raises DifferenceError."""
        stored = self.stored()
        newest = stored[-1][0] if stored else 0
        try:
            wait_until(lambda: self.seen >= newest, _SECONDS)
        except AssertionError:
            raise DifferenceError(
                f"{self.name}: {self.seen} of {newest} events after {_SECONDS:g} s"
            ) from None
        finally:
            self._over = True
            if self._stream is not None:
                self._stream.cancel()
            self.join(_SECONDS)
            os.close(self._fd)
        self._compare(stored)

    def _compare(self, stored: list[tuple[int, str, str]]) -> None:
        given = [(event.seq, event.job, event.kind) for event in self.events()]
        if given == stored:
            return
        pairs = zip(given, stored, strict=False)
        at = next((n for n, (one, other) in enumerate(pairs) if one != other), len(stored))
        raise DifferenceError(
            f"{len(given)} events were given to {self.user}, {len(stored)} are stored; the "
            f"{at}th: {given[at : at + 3]}, stored {stored[at : at + 3]}"
        )

    def stored(self) -> list[tuple[int, str, str]]:
        """Number, job and kind of every event in the store that this user may see."""
        path = f"{self._session.victim.state_dir}/runnerd.sqlite3"
        everybody = self.user == "root"
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return list(
                database.execute(
                    "SELECT seq, job_id, kind FROM events WHERE ? OR uid = ? ORDER BY seq",
                    (everybody, self._session.uid_of(self.user)),
                )
            )
        finally:
            database.close()


def all_events(witnesses: list[Witness]) -> Iterator[Event]:
    """What root was given."""
    return iter(next(each for each in witnesses if each.user == "root").events())
