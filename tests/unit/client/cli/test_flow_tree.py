"""A flow is drawn as a tree: steps under what they need, states in a column, nothing that acts."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli.flow_tree import Leaf, Look, State, drawn, fitting_rows, rows, tree
from client.text import width

SECOND = 10**9
NOW = 1_800_000_000 * SECOND
GROUP = "1a2b3c4d-5d0f-4c3e-9d7e-0c6a3b1f2e4d"
RESULT = {"reason": "exit", "exit_code": 0, "signal": None, "exit_status": 0, "wall_ns": 3 * SECOND}
COLOUR = re.compile("\x1b\\[[0-9]*m")


def member(index: int, step: str, needs: list[str], **changes: Any) -> Any:
    """A job of a flow; `result=` ends it."""
    split = [need.partition(":") for need in needs]
    found = {
        "job": f"{index:08x}-5d0f-4c3e-9d7e-0c6a3b1f2e4d", "name": f"release.{step}",
        "member": index, "step": step, "values": {}, "state": "queued", "result": None,
        "needs": [{"step": name, "on": on or "ok"} for name, _, on in split],
        "submitted_ns": NOW - 20 * SECOND, "started_ns": None, "ended_ns": None, "attempt": 1,
        "waits_for": "dependency" if needs else None, "not_before_ns": None,
    }  # fmt: skip
    if changes.get("state", "queued") != "queued":
        found["started_ns"] = NOW - 12 * SECOND
    if "result" in changes:
        found |= {"state": "ended", "started_ns": NOW - 12 * SECOND}
        changes["result"] = RESULT | changes["result"]
    return found | changes


def status(*members: Any, **changes: Any) -> Any:
    counts = {"queued": 1, "starting": 0, "running": 1, "paused": 0, "ok": 2, "failed": 0,
              "skipped": 0}  # fmt: skip
    return {
        "group": GROUP, "kind": "flow", "name": "release", "state": "running", "ok": None,
        "size": len(members), "submitted_ns": NOW - 20 * SECOND, "ended_ns": None,
        "counts": counts, "members": list(members), "next": None,
    } | changes  # fmt: skip


RELEASE = status(
    member(0, "lint", [], result={}),
    member(1, "build", [], result={}),
    member(2, "test.1", ["build", "lint:any"], state="running", values={"os": "a"}),
    member(3, "test.2", ["build", "lint:any"], result={"exit_code": 1}, values={"os": "b"}),
    member(4, "publish", ["test.1", "test.2"], result={"reason": "dependency"}, started_ns=None),
    member(5, "mourn", ["test.2:fail"], waits_for="memory"),
)


def test_a_step_is_under_the_last_one_that_it_needs() -> None:
    assert tree(RELEASE, Look(), NOW).splitlines() == [
        "release (1a2b3c4d) has been running for 20s: 1 running, 1 queued, 2 ok",
        "✓ lint                               ok 3s",
        "✓ build                              ok 3s",
        "├─ ● test.1  os=a  after lint (any)  running 12s",
        "└─ ✗ test.2  os=b  after lint (any)  failed: exit 1, 3s",
        "   ├─ – publish  after test          skipped",  # noqa: RUF001  a dash is meant
        "   └─ ○ mourn  after test.2 (fail)   queued (memory)",
    ]


def test_where_the_terminal_has_ascii_alone_so_has_the_tree() -> None:
    found = tree(RELEASE, Look(unicode=False), NOW)
    assert found.isascii()
    assert "`- x test.2  os=b" in found
    assert "   |- - publish" in found


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"state": "starting"}, "starting"),
        ({"state": "paused"}, "paused 12s"),
        ({"state": "running", "attempt": 2}, "running (attempt 2) 12s"),
        ({"state": "queued", "waits_for": "slots"}, "queued (slots)"),
        ({"result": {"reason": "oom"}}, "failed: oom, 3s"),
        ({"result": {"reason": "signal", "signal": 9}}, "failed: signal 9, 3s"),
        ({"result": {"reason": "stopped"}, "started_ns": None}, "failed: stopped"),
        ({"state": "\x1b[2Jnew"}, "\\x1b[2Jnew"),
    ],
)
def test_a_state_is_a_word_and_how_long_it_took(changes: Any, said: str) -> None:
    line = tree(status(member(0, "a", [], **changes)), Look(), NOW).splitlines()[1]
    assert line.partition("  ")[2] == said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"ok": True, "state": "ended", "ended_ns": NOW},
            "release (1a2b3c4d) ended well after 20s",
        ),
        ({"ok": False, "state": "ended", "ended_ns": NOW}, "release (1a2b3c4d) failed after 20s"),
        ({"name": None, "state": "queued"}, "flow (1a2b3c4d) has been queued for 20s"),
        ({"name": "\x1b]0;x\x07"}, "\\x1b]0;x\\x07 (1a2b3c4d) has been running"),
    ],
)
def test_the_heading_says_how_the_flow_is(changes: Any, said: str) -> None:
    assert tree(status(**changes), Look(), NOW).startswith(f"{said}")


def test_colours_are_of_the_sign_and_the_state_alone() -> None:
    painted = tree(RELEASE, Look(colours=True), NOW)
    assert COLOUR.sub("", painted) == tree(RELEASE, Look(), NOW)
    assert "\x1b[31m✗\x1b[0m test.2" in painted
    assert all(line.count("\x1b") in (0, 4) for line in painted.splitlines())


@pytest.mark.parametrize("columns", [1, 16, 20, 46, 80, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    painted = tree(RELEASE, Look(columns, colours=True), NOW)
    for line in painted.splitlines():
        assert width(COLOUR.sub("", line)) <= max(columns, 16)
        assert line.count("\x1b") % 2 == 0


def test_many_needs_are_counted() -> None:
    leaves = [Leaf(f"s{number}", {}, []) for number in range(9)]
    last = Leaf("end", {}, [(leaf.name, "ok") for leaf in leaves])
    (line,) = [row.text for row in drawn([*leaves, last], Look()) if "end" in row.text]
    assert line == "└─ end  after s0, s1, s2, s3 and 4 more"


def test_a_thousand_steps_in_a_row_stay_on_the_screen() -> None:
    leaves = [Leaf(f"s{n}", {}, [(f"s{n - 1}", "ok")] if n else []) for n in range(1000)]
    found = [row.text for row in drawn(leaves, Look())]
    assert len(found) == 1000
    assert max(map(len, found)) < 80
    assert found[999].strip() == "·· s999  after s998"


def test_where_there_is_no_room_what_runs_or_failed_is_shown() -> None:
    found = rows(RELEASE, Look(), NOW)
    assert fitting_rows(found, 7) == [row.text for row in found]
    few = fitting_rows(found, 4)
    assert [line[:11].strip() for line in few] == [
        "release (1a", "├─ ● test.1", "└─ ✗ test.2", "... 4 more",
    ]  # fmt: skip
    assert few[-1] == "... 4 more steps"


NAMES = st.sampled_from([*(f"s{n}" for n in range(8)), "m.1", "m.2", "nobody", "a\x1b[2J\n"])
NEEDS = st.lists(st.tuples(NAMES, st.sampled_from(["ok", "any", "\x07"])), max_size=4)


@given(st.dictionaries(NAMES, NEEDS, max_size=10), st.none() | st.integers(1, 90))
def test_whatever_the_steps_each_has_a_line_and_nothing_acts(
    needs: dict[str, list[tuple[str, str]]], columns: int | None
) -> None:
    names = list(needs)
    leaves = [
        # In a circle there would be no end; the daemon refuses one.
        Leaf(name, {}, [each for each in needs[name] if each[0] not in names[index:]],
             State("ok", "ok"))
        for index, name in enumerate(names)
    ]  # fmt: skip
    found = drawn(leaves, Look(columns))
    assert len(found) == len(leaves)
    assert all(row.text.isprintable() for row in found)
