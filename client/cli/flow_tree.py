"""A flow as a tree: each step under the last one that it needs, with its state.

Pure text; where it is written, and how often, is `client.cli.flow`'s and `flow_watch`'s. Everything
that comes from elsewhere goes through `client.text.printable`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final, NamedTuple

from client.cli.common import short
from client.text import cut, printable, width

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from client.records import GroupStatus, GroupSummary, Member

# Below that many levels a step stays where it is, and says what it comes after.
_MOST_LEVELS: Final = 12
_LEAST_NAME_COLUMNS: Final = 16
_MOST_NEEDS_SHOWN: Final = 4
_GREEN, _RED, _CYAN, _DIM = "32", "31", "36", "2"


class Look(NamedTuple):
    """How a tree is drawn: cut to `columns` (None: whole), in colours, in more than ASCII."""

    columns: int | None = None
    colours: bool = False
    unicode: bool = True


class State(NamedTuple):
    """What is said behind a step; `kind` is a key of the table of signs."""

    kind: str
    words: str


class Leaf(NamedTuple):
    """A step: what it needs are names with what has to become of them. Of a plan no state."""

    name: str
    values: Mapping[str, str]
    needs: Sequence[tuple[str, str]]
    state: State | None = None


# A sign, its ASCII form, its colour.
_SIGNS: Final[Mapping[str, tuple[str, str, str]]] = {
    "ok": ("✓", "+", _GREEN),
    "failed": ("✗", "x", _RED),
    "skipped": ("–", "-", _DIM),  # noqa: RUF001  a dash is meant
    "running": ("●", "*", _CYAN),
    "paused": ("‖", "=", _CYAN),
    "queued": ("○", ".", _DIM),
}
# What is looked at first, where there is no room for all.
_RANKS: Final = {"running": 0, "paused": 1, "failed": 2}
# Of a branch that goes on, of the last one, of what is below each; and of a level too deep to show.
_LINES: Final = {True: ("├─ ", "└─ ", "│  ", "·· "), False: ("|- ", "`- ", "|  ", ".. ")}


class Row(NamedTuple):
    """A line of a tree, and what its step's state is ("" without one)."""

    text: str
    kind: str


def tree(status: GroupStatus, look: Look | None = None, now_ns: int | None = None) -> str:
    """A flow with all of its jobs: a heading, and a line for each step with its live state."""
    return "".join(f"{row.text}\n" for row in rows(status, look or Look(), now_ns))


def rows(status: GroupStatus, look: Look, now_ns: int | None = None) -> list[Row]:
    """The lines of `tree`, the heading first."""
    now = time.time_ns() if now_ns is None else now_ns
    first = Row(_fitting(heading(status, now), look), "")
    return [first, *drawn([leaf(member, now) for member in status["members"]], look)]


def fitting_rows(found: Sequence[Row], most: int) -> list[str]:
    """At most so many of the lines: the heading, what runs or failed, then the first ones."""
    if len(found) <= most:
        return [row.text for row in found]
    by_rank = sorted(range(1, len(found)), key=lambda each: _RANKS.get(found[each].kind, 3))
    shown = sorted([0, *by_rank[: max(most - 2, 0)]])
    return [*(found[each].text for each in shown), f"... {len(found) - len(shown)} more steps"]


def heading(status: GroupSummary, now_ns: int) -> str:
    """The flow in one line: "release (1a2b3c4d) has been running for 9s: 1 running, 2 ok"."""
    from client.cli.group_words import counted
    from client.units import format_age

    name = printable(status["name"] or status["kind"])
    known = {True: "ended well", False: "failed", None: f"has been {printable(status['state'])}"}
    took = (status["ended_ns"] or now_ns) - status["submitted_ns"]
    after = "for" if status["ended_ns"] is None else "after"
    state = f"{known[status['ok']]} {after} {format_age(took / 10**9)}"
    return f"{name} ({short(status['group'])}) {state}: {counted(status['counts'])}"


def leaf(member: Member, now_ns: int) -> Leaf:
    """A job of a flow as a step of its tree."""
    name = member.get("step") or str(member["member"])
    needs = [(need["step"], need.get("on", "ok")) for need in member["needs"]]
    return Leaf(name, member["values"], needs, state_of(member, now_ns))


def state_of(member: Member, now_ns: int) -> State:
    """What became of a step so far, in a word and how long that took."""
    from client.cli.group_words import has_failed, was_skipped
    from client.cli.output import age, state_word

    if member["result"] is None:
        kind = {"starting": "running"}.get(member["state"], printable(member["state"]))
        # That it comes after others is what the tree shows.
        is_plain = member.get("waits_for") == "dependency"
        words = kind if is_plain else state_word(member, now_ns)
        is_under_way = member["state"] in ("running", "paused")
        return State(kind, f"{words} {age(member, now_ns)}" if is_under_way else words)
    if has_failed(member):
        ran = f", {age(member, now_ns)}" if member["started_ns"] else ""
        return State("failed", f"failed: {state_word(member, now_ns)}{ran}")
    if was_skipped(member):
        return State("skipped", "skipped")
    return State("ok", f"ok {age(member, now_ns)}")


# Drawing


class _Line(NamedTuple):
    lead: str
    leaf: Leaf
    rest: str


def drawn(leaves: Sequence[Leaf], look: Look) -> list[Row]:
    """The lines of the steps, each with its state in a column where it has one."""
    lines = _Drawing(leaves, look).lines()
    left = [width(_text(line)) for line in lines]
    states = max((width(line.leaf.state.words) for line in lines if line.leaf.state), default=0)
    room = max(left, default=0)
    if look.columns is not None:
        room = min(room, max(look.columns - states - 2, _LEAST_NAME_COLUMNS))
    return [
        Row(_shown(line, room, look), line.leaf.state.kind if line.leaf.state else "")
        for line in lines
    ]


def _text(line: _Line) -> str:
    return f"{line.lead}{printable(line.leaf.name)}{line.rest}"


def _shown(line: _Line, room: int, look: Look) -> str:
    """A line with its state in a column, painted where colours are wanted."""
    text, state = cut(_text(line), room), line.leaf.state
    if state is None:
        return text
    padded = text + " " * (room - width(text))
    row = _fitting(f"{padded}  {state.words}", look)
    sign = _sign(state, look)
    colour = _SIGNS.get(state.kind, ("", "", _DIM))[2]
    if not look.colours or not row.startswith(padded):
        return row
    place = len(line.lead) - len(sign) - 1
    if place < 0 or len(text) < len(line.lead):
        return row
    painted = f"{row[:place]}{_paint(sign, colour)}{row[place + len(sign) : len(padded)]}"
    return f"{painted}{_paint(row[len(padded) :], colour)}"


def _paint(text: str, colour: str) -> str:
    return f"\x1b[{colour}m{text}\x1b[0m"


def _fitting(line: str, look: Look) -> str:
    return line if look.columns is None else cut(line, max(look.columns, _LEAST_NAME_COLUMNS))


def _sign(state: State | None, look: Look) -> str:
    if state is None:
        return ""
    sign, plain, _ = _SIGNS.get(state.kind, ("?", "?", _DIM))
    return sign if look.unicode else plain


class _Drawing:
    """Puts steps under those that they need."""

    def __init__(self, leaves: Sequence[Leaf], look: Look) -> None:
        self._leaves = leaves
        self._look = look
        self._index = {item.name: index for index, item in enumerate(leaves)}
        self._parents = self._found_parents()
        # How many jobs the matrix of a step has here.
        self._sizes: dict[str, int] = {}
        for item in leaves:
            base = _base(item.name)
            self._sizes[base] = self._sizes.get(base, 0) + 1

    def lines(self) -> list[_Line]:
        """All steps, each after the one that it is under. No recursion: they may be 1,000 deep."""
        children: dict[int | None, list[int]] = {}
        for index, parent in enumerate(self._parents):
            children.setdefault(parent, []).append(index)
        going, last, below, deep = _LINES[self._look.unicode]
        # What is left to draw, the next one last: a step, its lead, that of what is below it.
        stack = [(index, "", "", 0) for index in reversed(children.get(None, []))]
        lines = []
        while stack:
            index, lead, under, level = stack.pop()
            lines.append(self._line(index, lead, is_deep=level > _MOST_LEVELS))
            under_it = children.get(index, [])
            for child in reversed(under_it):
                if level >= _MOST_LEVELS:
                    stack.append((child, f"{under}{deep}", under, level + 1))
                    continue
                is_last = child == under_it[-1]
                mark, rest = (last, "   ") if is_last else (going, below)
                stack.append((child, f"{under}{mark}", f"{under}{rest}", level + 1))
        return lines

    def _line(self, index: int, lead: str, *, is_deep: bool) -> _Line:
        item = self._leaves[index]
        sign = _sign(item.state, self._look)
        values = "".join(
            f" {printable(key)}={printable(value)}" for key, value in item.values.items()
        )
        words = self._others(index, is_deep=is_deep)
        rest = f"{values and ' '}{values}" + (f"  after {words}" if words else "")
        return _Line(f"{lead}{sign} " if sign else lead, item, rest)

    def _others(self, index: int, *, is_deep: bool) -> str:
        """What a step needs besides the one that it is under; a whole matrix by its step's name."""
        item, parent = self._leaves[index], self._parents[index]
        above = None if parent is None or is_deep else self._leaves[parent].name
        counts: dict[tuple[str, str], int] = {}
        for name, on in item.needs:
            key = (_base(name), on)
            counts[key] = counts.get(key, 0) + 1
        found: dict[str, None] = {}
        for name, on in item.needs:
            base = _base(name)
            is_whole = 1 < counts[base, on] == self._sizes.get(base)
            if is_whole or name != above or on != "ok":
                found[_need(base if is_whole else name, on)] = None
        words = list(found)
        more = len(words) - _MOST_NEEDS_SHOWN
        return ", ".join(words[:_MOST_NEEDS_SHOWN]) + (f" and {more} more" if more > 0 else "")

    def _found_parents(self) -> list[int | None]:
        """For each step the last one that it needs: the one that most others come before."""
        levels = self._levels()
        parents: list[int | None] = []
        for item in self._leaves:
            known = [self._index[name] for name, _ in item.needs if name in self._index]
            parents.append(max(known, key=lambda each: (levels[each], each), default=None))
        return parents

    def _levels(self) -> list[int]:
        """How many steps come one after the other before each."""
        levels = [0] * len(self._leaves)
        left = [sum(name in self._index for name, _ in item.needs) for item in self._leaves]
        dependents: dict[int, list[int]] = {}
        for index, item in enumerate(self._leaves):
            for name, _ in item.needs:
                if name in self._index:
                    dependents.setdefault(self._index[name], []).append(index)
        ready = [index for index, count in enumerate(left) if not count]
        while ready:
            before = ready.pop()
            for index in dependents.get(before, []):
                levels[index] = max(levels[index], levels[before] + 1)
                left[index] -= 1
                if not left[index]:
                    ready.append(index)
        return levels


def _base(name: str) -> str:
    """The step of a job: "test" of "test.2"."""
    step, dot, number = name.rpartition(".")
    return step if dot and number.isdecimal() else name


def _need(name: str, on: str) -> str:
    return printable(name) if on == "ok" else f"{printable(name)} ({printable(on)})"
