"""A flow shown until it has ended: redrawn on a terminal, else a line for each change.

The terminal's modes are never changed and each picture is written at once, so whatever ends this
leaves nothing behind. How a flow is drawn is `client.cli.flow_tree`'s.
"""

from __future__ import annotations

import os
import re
import time
from typing import TYPE_CHECKING, Final, Protocol

from client.cli.common import flush, naming, open_client, say, short, who, write
from client.cli.flow_tree import Look, fitting_rows, heading, leaf, rows, tree
from client.cli.group_members import whole
from client.errors import ClientError
from client.patience import Patience, is_away
from client.text import printable, width

if TYPE_CHECKING:
    from client.api import Client
    from client.contexts import Target
    from client.records import GroupEnd, GroupStatus

_FAILURE: Final = 125
_EVERY_SECONDS: Final = 1.0
# Counts may stay as they are while jobs change: one is tried again, another begins.
_AFRESH_SECONDS: Final = 5.0
_COLOUR: Final = re.compile("\x1b\\[[0-9]*m")


def look() -> Look:
    """How stdout wants a flow drawn."""
    from client.cli.log_views import is_utf8, wants_colours
    from client.cli.ps import terminal_columns

    columns = terminal_columns()
    return Look(columns, columns is not None and wants_colours(), is_utf8())


def watch(target: Target | None, reference: str, *, is_there: bool = False) -> int:
    """Show a flow until it has ended; the exit status is as that of `wait`.

    `is_there`: it was submitted a moment ago, so a daemon that is away will be back.
    """
    # What is said of a daemon that is away must not come between two pictures: see _Watching.
    with open_client(target, lambda _error: None, lambda: None) as client, naming(reference):
        status = _patiently(client, reference) if is_there else whole(client, reference)
        try:
            return _Watching(client, status).watch()
        except KeyboardInterrupt:
            say(f"the flow goes on; `runctl stop {short(status['group'])}` stops it")
            raise


def _patiently(client: Client, reference: str) -> GroupStatus:
    patience = Patience(client.reconnect_seconds, lambda error: _say_away(client, error))
    while True:
        try:
            return whole(client, reference)
        except ClientError as error:
            if not is_away(error):
                raise
            patience.wait(error)


def _say_away(client: Client, error: Exception) -> None:
    name, seconds = who(client.target, error), client.reconnect_seconds
    say(f"{name} is away; waiting for it, at most {seconds:g} s")


class _Watching:
    """Asks how a flow is, again and again, also after a restart of the daemon."""

    def __init__(self, client: Client, status: GroupStatus) -> None:
        self._client = client
        self._status = status
        self._read = time.monotonic()
        self._picture: _Picture = _Drawn() if _can_redraw() else _Told()
        self._patience = Patience(client.reconnect_seconds, self._on_away)

    def watch(self) -> int:
        """Until it has ended; the exit status."""
        self._picture.show(self._status)
        while True:
            try:
                end = self._ask()
            except ClientError as error:
                if not is_away(error):
                    raise
                self._patience.wait(error)
                continue
            self._patience.progress()
            if end["state"] == "ended":
                self._picture.finish(self._status)
                return _exit_status(end)
            self._picture.show(self._status)

    def _ask(self) -> GroupEnd:
        """How the flow is when it has ended, or a moment later; its jobs read anew if needed."""
        group = self._status["group"]
        end = self._client.wait_group(group, timeout_seconds=_EVERY_SECONDS)
        is_old = time.monotonic() - self._read > _AFRESH_SECONDS
        if is_old or end["counts"] != self._status["counts"] or end["state"] == "ended":
            self._status, self._read = whole(self._client, group), time.monotonic()
        return end

    def _on_away(self, error: Exception) -> None:
        self._picture.leave()
        _say_away(self._client, error)


def _exit_status(end: GroupEnd) -> int:
    first = end["failed"]
    status = first["result"]["exit_status"] if first else 0
    return 0 if end["ok"] else status or _FAILURE


def _can_redraw() -> bool:
    from client.cli.ps import terminal_columns

    return terminal_columns() is not None and os.environ.get("TERM", "dumb") != "dumb"


class _Picture(Protocol):
    """What is told of a flow."""

    def show(self, status: GroupStatus) -> None:
        """As it is now."""

    def leave(self) -> None:
        """Something else is written now."""

    def finish(self, status: GroupStatus) -> None:
        """As it has ended."""


class _Drawn:
    """A tree that is drawn over the one before."""

    def __init__(self) -> None:
        self._widths: list[int] = []

    def show(self, status: GroupStatus) -> None:
        """Draw what fits on the terminal."""
        from shutil import get_terminal_size

        size = get_terminal_size()
        lines = fitting_rows(rows(status, look()), max(size.lines - 1, 2))
        self._write(lines, size.columns)
        self._widths = [width(_COLOUR.sub("", line)) for line in lines]

    def leave(self) -> None:
        """The next picture is drawn below this one."""
        self._widths = []

    def finish(self, status: GroupStatus) -> None:
        """Draw all of it, to stay."""
        from shutil import get_terminal_size

        self._write(tree(status, look()).splitlines(), get_terminal_size().columns)

    def _write(self, lines: list[str], columns: int) -> None:
        # A terminal that became narrower has broken the lines that stand there.
        up = sum(max(-(-taken // max(columns, 1)), 1) for taken in self._widths)
        back = f"\x1b[{up}A\r" if up else ""
        write(back + "".join(f"\x1b[2K{line}\n" for line in lines) + "\x1b[J")
        flush()


class _Told:
    """A line for each step whose state has changed, and one for the end."""

    def __init__(self) -> None:
        self._kinds: dict[str, tuple[str, int]] = {}

    def show(self, status: GroupStatus) -> None:
        """Tell what is new since the last time."""
        now_ns = time.time_ns()
        for member in status["members"]:
            found = leaf(member, now_ns)
            kind = found.state.kind if found.state else ""
            seen = (kind, member["attempt"])
            before = self._kinds.get(member["job"], ("queued", 1))
            self._kinds[member["job"]] = seen
            if seen != before and found.state:
                words = kind if kind in ("running", "paused", "queued") else found.state.words
                attempt = f" (attempt {member['attempt']})" if member["attempt"] > 1 else ""
                write(f"{printable(found.name)}: {words}{attempt}\n")
        flush()

    def leave(self) -> None:
        """Lines go on below."""

    def finish(self, status: GroupStatus) -> None:
        """Tell the rest, and how the flow ended."""
        self.show(status)
        write(f"{heading(status, time.time_ns())}\n")
