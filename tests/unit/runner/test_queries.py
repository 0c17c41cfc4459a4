"""Which index serves each query, by the word of SQLite's planner."""

from __future__ import annotations

import re
import sqlite3

import pytest

from runner import queries
from runner.migrations import migrate


def plans() -> dict[str, str]:
    every = {name: text for name, text in vars(queries).items() if isinstance(text, str)}
    every |= {f"PAGES[{key}]": text for key, text in queries.PAGES.items()}
    db = sqlite3.connect(":memory:", isolation_level=None)
    migrate(db)
    found = {}
    for name, query in every.items():
        if query.startswith("SELECT") and "count(*)" not in query:
            values = dict.fromkeys(re.findall(r":(\w+)", query), 1)
            rows = db.execute(f"EXPLAIN QUERY PLAN {query}", values).fetchall()
            found[name] = "; ".join(row[3] for row in rows)
    db.close()
    return found


def test_no_query_walks_a_table_or_sorts_more_than_the_matches_of_a_prefix() -> None:
    found = plans()
    assert {"BY_ID", "QUEUED", "LAUNCHED", "NEWEST_NAMED_OF", "EVENTS"} <= set(found)
    for name, plan in found.items():
        # The first page of all jobs, and the two ends of the events: read from one end of a table.
        if name not in {"PAGES[(False, True)]", "OLDEST_EVENT", "NEWEST_EVENT"}:
            assert not re.search(r"SCAN \w+\b(?! USING (COVERING )?INDEX jobs_active\b)", plan), (
                name
            )
        assert ("TEMP B-TREE" in plan) == (name == "BY_PREFIX"), (name, plan)


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
    pages = [plan for name, plan in found.items() if name.startswith("PAGES")]
    assert len(pages) == 4
    for plan in pages:
        assert re.match(r"SEARCH jobs USING .*(seq|rowid)<\?\)", plan), plan
