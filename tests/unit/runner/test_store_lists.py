"""Pages of selected jobs, against a model; windows; what is meant by many."""

from __future__ import annotations

import fnmatch
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from runner import store_lists
from runner.lifecycle import State
from runner.rows import NewHook, NewJob, Selection
from runner.store import Job, Store

if TYPE_CHECKING:
    import pathlib
    from collections.abc import Iterator


@pytest.fixture
def kept(tmp_path: pathlib.Path) -> Iterator[Store]:
    opened = Store.open(str(tmp_path / "db"))
    yield opened
    opened.close()


def insert(kept: Store, *, by: int = 1, name: str | None = None, **more: Any) -> Job:
    return kept.insert(NewJob(
        id=str(uuid.uuid4()), submitted_by_uid=by, uid=by, gid=by, name=name, spec=b"s",
        submitted_ns=1, **more,
    ))  # fmt: skip


def page(
    kept: Store, select: Selection | None, before: int | None = None, uid: int | None = None,
    *, ended: bool = True, limit: int = 100,
) -> tuple[list[int], int | None]:  # fmt: skip
    jobs, following = kept.list_jobs(
        submitted_by_uid=uid, include_ended=ended, limit=limit, before=before, select=select
    )
    return [job.seq for job in jobs], following


def pages(kept: Store, select: Selection | None, **how: Any) -> list[int]:
    found, before = page(kept, select, **how)
    while before is not None:
        more, following = page(kept, select, before, **how)
        assert following is None or following < before
        found, before = found + more, following
    return found


def test_a_page_looks_at_so_many_rows_and_the_next_goes_on(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lists, "WINDOW", 3)
    for number in range(8):
        insert(kept, queue="rare" if number in {0, 1, 6} else "default")
    select = Selection(queue="rare")
    assert page(kept, select) == ([7], 6)
    assert page(kept, select, 6) == ([], 3)
    assert page(kept, select, 3) == ([2, 1], None)
    assert page(kept, select, limit=1) == ([7], 6)
    assert page(kept, select, 3, limit=1) == ([2], 2)
    assert page(kept, Selection(), limit=5) == ([8, 7, 6, 5, 4], 4)


def test_rows_that_an_index_leaves_out_are_not_counted_to_a_window(
    kept: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store_lists, "WINDOW", 2)
    insert(kept, labels={"a": "1"}, name="x")
    for _ in range(9):
        insert(kept, by=2)
    assert page(kept, Selection(labels=(("a", "1"),), name="x")) == ([1], None)
    assert page(kept, Selection(labels=(("a", None),), name="x")) == ([1], None)
    assert page(kept, Selection(name="x"), uid=1) == ([1], None)


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("build", ["build"]),
        ("b*", ["build", "b1", "b2"]),
        ("b?", ["b1", "b2"]),
        ("b[12]", ["b1", "b2"]),
        ("b[!1]", ["b2"]),
        ("b[^1]", ["b2"]),
        ("B*", []),
        ("*", ["build", "b1", "b2", "c_x"]),
        ("%", []),
        ("c_?", ["c_x"]),
        ("[", []),
        ("'; DROP TABLE jobs", []),
    ],
)
def test_a_name_is_a_shell_pattern(kept: Store, pattern: str, names: list[str]) -> None:
    given_names = ["build", "b1", "b2", "c_x", None]
    for name in given_names:
        insert(kept, name=name)
    found, _ = kept.list_jobs(
        submitted_by_uid=None, include_ended=True, limit=9, before=None,
        select=Selection(name=pattern),
    )  # fmt: skip
    assert [job.name for job in reversed(found)] == names


def test_a_pattern_that_backtracks_takes_no_time(kept: Store) -> None:
    insert(kept, name="a" * 64)
    assert page(kept, Selection(name="*a" * 31 + "*b")) == ([], None)


def test_nobody_sees_anothers_jobs_by_asking_for_them(kept: Store) -> None:
    insert(kept, by=1, labels={"a": "1"})
    for select in (Selection(uid=1), Selection(uid=1, labels=(("a", "1"),))):
        assert page(kept, select, uid=2) == ([], None)
        assert kept.matching(select, 2) == []
        assert page(kept, select, uid=1) == page(kept, select) == ([1], None)


STATES = list(State)
selections = st.builds(
    Selection,
    queue=st.sampled_from([None, "default", "night", "absent"]),
    uid=st.sampled_from([None, None, 1, 2]),
    name=st.sampled_from([None, None, "n*", "?1", "[!m]*"]),
    labels=st.lists(
        st.tuples(st.sampled_from(["a", "b"]), st.sampled_from([None, "0", "1"])),
        max_size=2, unique_by=lambda label: label[0],
    ).map(tuple),
    states=st.none() | st.sets(st.sampled_from(STATES), min_size=1).map(tuple),
    group_id=st.none(),
)  # fmt: skip
jobs_in = st.lists(
    st.fixed_dictionaries({
        "by": st.sampled_from([1, 2]),
        "name": st.sampled_from([None, "n1", "m1", "n"]),
        "queue": st.sampled_from(["default", "night"]),
        "labels": st.dictionaries(st.sampled_from(["a", "b"]), st.sampled_from(["0", "1"])),
        "state": st.sampled_from([State.QUEUED, State.RUNNING, State.ENDED]),
    }),
    max_size=14,
)  # fmt: skip


def is_meant(job: Job, labels: dict[str, str], select: Selection) -> bool:
    return (
        select.queue in {None, job.queue}
        and select.uid in {None, job.submitted_by_uid}
        and (select.name is None
             or (job.name is not None and fnmatch.fnmatchcase(job.name, select.name)))
        and all(name in labels and value in {None, labels[name]} for name, value in select.labels)
    )  # fmt: skip


def filled(kept: Store, jobs: list[dict[str, Any]]) -> list[Job]:
    made = []
    for fields in jobs:
        state = fields.pop("state")
        job = insert(kept, **fields)
        if state is not State.QUEUED:
            kept.mark_starting(job.id, 2, "boot")
            job = kept.mark_running(job.id, 7, 3, None)
        if state is State.ENDED:
            job = kept.mark_ended(job.id, 4, "exit", b"", is_ok=True)
        made.append(job)
    return made


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    jobs=jobs_in,
    select=selections,
    uid=st.sampled_from([None, 1]),
    ended=st.booleans(),
    window=st.integers(1, 5),
    limit=st.integers(1, 4),
)
def test_pages_hold_what_is_meant_and_nothing_else_newest_first(
    tmp_path_factory: pytest.TempPathFactory,
    jobs: list[dict[str, Any]],
    select: Selection,
    uid: int | None,
    ended: bool,  # noqa: FBT001
    window: int,
    limit: int,
) -> None:
    kept = Store.open(str(tmp_path_factory.mktemp("pages") / "db"))
    kept._db.execute("PRAGMA synchronous = OFF")
    made = filled(kept, jobs)
    labels = kept.labels([job.id for job in made])
    wide = set(State) if ended else set(State) - {State.ENDED}
    states = wide if select.states is None else set(select.states)
    meant = [job for job in made if is_meant(job, labels[job.id], select)
             and uid in {None, job.submitted_by_uid}]  # fmt: skip
    expected = [job.seq for job in reversed(meant) if job.state in states]
    before, store_lists.WINDOW = store_lists.WINDOW, window  # type: ignore[misc]
    try:
        assert pages(kept, select, uid=uid, ended=ended, limit=limit) == expected
    finally:
        store_lists.WINDOW = before  # type: ignore[misc]
    going = set(State) - {State.ENDED}
    states = going if select.states is None else going & set(select.states)
    assert kept.matching(select, uid) == [(j.id, j.state) for j in meant if j.state in states]
    kept.close()


def test_what_a_job_has_beside_its_row_is_known_without_reading_it(kept: Store) -> None:
    plain = insert(kept)
    assert kept.attached(plain) == (False, False, False)
    assert kept.attached(insert(kept, labels={"a": ""})) == (True, False, False)
    assert kept.attached(insert(kept, after=((plain.id, "ok"),))) == (False, True, False)
    hooks = (NewHook(("ended",), b"t"),)
    assert kept.attached(insert(kept, hooks=hooks)) == (False, False, True)


def test_where_nothing_is_under_way_only_ended_jobs_are_listed(kept: Store) -> None:
    assert page(kept, None, ended=False) == ([], None)
    job = insert(kept)
    assert page(kept, None, ended=False) == ([job.seq], None)
    kept.mark_ended(job.id, 2, "exit", b"r", is_ok=True)
    assert page(kept, None, ended=False) == page(kept, Selection(), ended=False) == ([], None)
    assert page(kept, Selection(states=(State.ENDED,)), ended=False) == ([job.seq], None)
    assert page(kept, None) == ([job.seq], None)
