"""Which index serves each query, by the word of SQLite's planner."""

from __future__ import annotations

import itertools
import re
import sqlite3

import pytest

from runner import group_rows, queries
from runner.lifecycle import State
from runner.migrations import migrate
from runner.rows import Selection
from runner.selecting import Wanted

SOME = Selection(queue="q", name="b*", group_id="g", labels=(("a", None), ("b", "1"), ("c", None)))
ANY_VALUE = Selection(labels=(("a", None),))
ENDED = Selection(states=(State.ENDED,))


def pages() -> dict[str, str]:
    """The queries for pages, of some selections, for one submitter and for all."""
    found = {}
    for name, selection in {
        "": Selection(), "SOME ": SOME, "VALUE ": ANY_VALUE, "ENDED ": ENDED,
        "QUEUE ": Selection(queue="q"),
    }.items():  # fmt: skip
        for uid, ended in itertools.product((None, 1), (False, True)):
            wanted = Wanted(selection, uid, include_ended=ended)
            key = f"{name}{'OF' if uid else 'ALL'} {'ENDED' if ended else 'ACTIVE'}"
            found[f"PAGE {key}"] = wanted.page(1, 1, 1).text
            found[f"WINDOW {key}"] = wanted.window(1, 1).text
            if not ended and selection != ENDED:
                found[f"EVERY {key}"] = wanted.every(1, 1).text
    return found


def plans() -> dict[str, str]:
    every = {name: text for name, text in vars(queries).items() if isinstance(text, str)}
    every = {name: text for name, text in every.items() if not name.startswith("_")}
    every |= pages()
    every |= {
        f"GROUP {name}": text for name, text in vars(group_rows).items()
        if isinstance(text, str) and not name.startswith("_")
    }  # fmt: skip
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    found = {}
    for name, query in every.items():
        if query.startswith(("SELECT", "UPDATE", "DELETE")) and "count(*)" not in query:
            values = dict.fromkeys(re.findall(r":(\w+)", query), 1)
            rows = db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
            found[name] = "; ".join(row[3] for row in rows)
    db.close()
    return found


# Read from one end: the first page of all jobs, the oldest events. Of some rows: a subquery's, the
# counts of numbers. As many as were ever set: queues. One row that is no table's: whether there is
# any, by primary keys.
SCANS = {"OLDEST_EVENT", "FIRST_YOUNG_EVENT", "LAST_EVENT", "QUEUE_STATES", "ATTACHED"}


def test_no_query_walks_a_table_or_sorts_more_than_the_matches_of_a_prefix() -> None:
    found = plans()
    assert {"BY_ID", "WAITING", "LAUNCHED", "NEWEST_NAMED_OF", "EVENTS", "MEET_ON"} <= set(found)
    for name, plan in found.items():
        if name not in SCANS:
            assert not re.search(r"SCAN \w+\b(?! USING (COVERING )?INDEX jobs_active\b)", plan), (
                name, plan,
            )  # fmt: skip
        assert ("TEMP B-TREE" in plan) == name.endswith("BY_PREFIX"), (name, plan)


def test_a_groups_jobs_are_asked_for_by_their_group_and_counted_without_reading_a_row() -> None:
    found = plans()
    for name in ("MEMBERS", "MEMBER", "STATES", "HAS_STARTED", "FAILED_MEMBERS", "UNMET",
                 "HAS_MEMBER"):  # fmt: skip
        assert "INDEX jobs_grouped (group_id=?" in found[f"GROUP {name}"], name
    assert "(group_id=? AND member>?)" in found["GROUP MEMBERS"]
    assert "(group_id=? AND member=?)" in found["GROUP MEMBER"]
    assert "groups_named (name=?)" in found["GROUP NAMED"]
    assert "groups_keyed (submitted_by_uid=? AND idempotency_key=?)" in found["GROUP BY_KEY"]
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    (row,) = db.execute(f"EXPLAIN QUERY PLAN {group_rows.COUNTS}", {"id": "x"}).fetchall()
    assert "USING COVERING INDEX jobs_grouped (group_id=?)" in row[3]
    db.close()


def test_a_page_looks_up_the_specs_one_by_one() -> None:
    for name, plan in plans().items():
        if name.startswith("PAGE"):
            assert re.search(r"SEARCH specs USING INTEGER PRIMARY KEY \(rowid=\?\)", plan), plan


@pytest.mark.parametrize("kind", ["PAGE", "WINDOW", "EVERY"])
def test_jobs_with_a_label_are_read_by_the_label(kind: str) -> None:
    found = plans()
    # The one with a value comes first.
    by_value = r"INDEX labels_valued \(name=\? AND value=\?( AND seq>\?)?( AND seq<\?)?\)"
    assert re.search(by_value, found[f"{kind} SOME OF ACTIVE"])
    assert "INDEX labels_named (name=?" in found[f"{kind} VALUE ALL ACTIVE"]


@pytest.mark.parametrize(
    ("name", "index"),
    [
        ("AFTER", "jobs_active"),
        ("WAITING", "jobs_active"),
        ("DEPENDENTS", "dependencies_on (on_id=?)"),
        ("MEET_ON", "dependencies_on (on_id=?)"),
        ("EVENTS_OF", "events_of (uid=? AND seq>?)"),
        ("EVENTS_ABOUT", "events_about (job_id=? AND seq>?)"),
        ("BY_KEY", "jobs_keyed (submitted_by_uid=? AND idempotency_key=?)"),
    ],
)
def test_what_the_queue_asks_for_has_its_index(name: str, index: str) -> None:
    assert index in plans()[name]


def test_what_has_ended_of_groups_is_listed_from_its_place_and_counted_from_an_index() -> None:
    found = plans()
    assert "INDEX groups_ended (ended_ns>?)" in found["GROUP ENDED"]
    assert "INDEX groups_ended_of (submitted_by_uid=? AND ended_ns>?)" in found["GROUP ENDED_OF"]
    assert "PRIMARY KEY (rowid>? AND rowid<?)" in found["GROUP ENDED_MEMBERS"]
    assert "COVERING INDEX jobs_tried (submitted_by_uid=?" in found["TRIED"]
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    for query in (group_rows.COUNT_ENDED, group_rows.COUNT_ENDED_OF):
        rows = db.execute(f"EXPLAIN QUERY PLAN {query}", {"id": "x"}).fetchall()
        assert any("jobs USING COVERING INDEX jobs_grouped" in row[3] for row in rows), rows
    db.close()


@pytest.mark.parametrize("name", ["ENDED", "ENDED_OF", "UNMEASURED"])
def test_ended_jobs_are_listed_from_their_place(name: str) -> None:
    assert re.match(r"SEARCH jobs USING (COVERING )?INDEX jobs_.*>", plans()[name])


@pytest.mark.parametrize("name", ["ENDED", "ENDED_OF", "COUNT_ENDED"])
def test_listing_and_counting_ended_jobs_reads_no_row(name: str) -> None:
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    query = getattr(queries, name)
    values = dict.fromkeys(re.findall(r":(\w+)", query), 1)
    (row,) = db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
    assert "USING COVERING INDEX jobs_ended" in row[3]
    db.close()


def test_every_jobs_page_is_read_from_its_place_and_not_from_the_start() -> None:
    found = plans()
    pages = [plan for name, plan in found.items() if name.startswith(("PAGE", "WINDOW"))]
    assert len(pages) == 40
    for plan in pages:
        assert re.match(r"SEARCH (jobs|lead) USING .*(seq|rowid)<\?\)", plan), plan
