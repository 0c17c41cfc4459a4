"""Which job or group is meant by what somebody wrote, and that others' are none."""

from __future__ import annotations

import sqlite3
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.group_rows import About, Group, NewGroup, StepAbout
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.server.references import References, _splits
from runner.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALICE, BOB, ROOT = 1000, 1001, 0
GROUP = "3f2a0000-0000-4000-8000-00000000000a"


class Desk:
    """A store with groups and jobs, and who asks for them."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(str(path / "db"))

    def submit(self, uid: int, name: str | None = None, job_id: str | None = None) -> str:
        return self.store.insert(self._job(uid, name, job_id or str(uuid.uuid4()))).id

    def group(
        self,
        uid: int,
        name: str | None,
        *steps: str,
        group_id: str | None = None,
        indexes: tuple[int, ...] = (0, 1, 2),
        ranges: list[tuple[int, int, int]] | None = None,
    ) -> Group:
        group_id = group_id or str(uuid.uuid4())
        about = About(steps=[StepAbout(name=step) for step in steps])
        if not steps:
            about = About(ranges=ranges or [(each, each, 1) for each in indexes])
        new = NewGroup(
            id=group_id, submitted_by_uid=uid, kind="flow" if steps else "array", name=name,
            submitted_ns=1, max_running=None, idempotency_key=None, digest=b"",
            about=msgspec.msgpack.encode(about), spec=b"s",
        )  # fmt: skip
        members = range(len(steps)) if steps else indexes
        jobs = [
            msgspec.structs.replace(
                self._job(uid, None if name is None else f"{name}.{steps[n] if steps else n}",
                          str(uuid.uuid4())),
                group_id=group_id, member=n, spec=b"",
            )
            for n in members
        ]  # fmt: skip
        return self.store.insert_group(new, jobs)

    def _job(self, uid: int, name: str | None, job_id: str) -> NewJob:
        return NewJob(
            id=job_id, submitted_by_uid=uid, uid=uid, gid=uid, name=name, spec=b"s", submitted_ns=1
        )

    def references(self, uid: int) -> References:
        return References(self.store, None if uid == ROOT else uid, uid)

    def find(self, text: str, uid: int = ALICE) -> Any:
        return self.references(uid).target(text, "job")

    def find_group(self, text: str, uid: int = ALICE) -> Any:
        return self.references(uid).group(text, "group")

    def member(self, text: str, uid: int = ALICE) -> int | None:
        job = self.find(text, uid)
        assert not isinstance(job, Group)
        return None if job is None else job.member


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    found = Desk(tmp_path)
    yield found
    found.store.close()


def test_a_group_is_found_by_its_id_its_prefix_and_its_name(desk: Desk) -> None:
    group = desk.group(ALICE, "night", group_id=GROUP)
    for text in (GROUP, GROUP[:4], GROUP[:20], "night"):
        assert desk.find(text) == desk.find_group(text) == group
        assert desk.find(text, ROOT) == group
        assert desk.find(text, BOB) is desk.find_group(text, BOB) is None
    for text in (GROUP[:3], "nigh", "", "\0", "ä", ".", "..", ".0"):
        assert desk.find(text) is desk.find_group(text) is None


def test_a_job_of_a_group_is_found_by_the_groups_reference_and_its_number(desk: Desk) -> None:
    desk.group(ALICE, None, group_id=GROUP, indexes=(0, 7, 10))
    for text, member in ((f"{GROUP}.7", 7), (f"{GROUP[:4]}.10", 10), (f"{GROUP}.0", 0)):
        assert desk.member(text) == member
        assert desk.member(text, BOB) is None
    for text in (".1", ".07x", ".-7", ".7.0", ".99999999999999999999", ".", ". 7", ".\u0667", ".x"):
        assert desk.find(f"{GROUP}{text}") is None
    # A job is no group.
    assert desk.find_group(f"{GROUP}.7") is None


def test_a_step_is_found_by_its_name_also_one_of_a_matrix(desk: Desk) -> None:
    desk.group(ALICE, "release", "a", "test.1", "test.2", group_id=GROUP)
    assert desk.member(f"{GROUP[:8]}.a") == 0
    assert desk.member(f"{GROUP[:8]}.test.2") == 2
    # By its name alone, not by its number.
    assert desk.find(f"{GROUP[:8]}.0") is desk.find(f"{GROUP[:8]}.test") is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("release.test", "flow release has no step test; it has test.1, test.2"),
        ("release.tes", "flow release has no step tes; it has a, test.1, test.2, b, c and 2 more"),
        (
            "release.test.3",
            "flow release has no step test.3; it has a, test.1, test.2, b, c and 2 more",
        ),
        ("od.7", "array od has the indexes 0 to 3"),
        ("od.x", "array od has the indexes 0 to 3"),
        ("night", None),
        ("nigh.t", None),
        (f"{GROUP}.1", "array 3f2a0000 has the indexes 0, 2, 5"),
    ],
)
def test_of_a_group_that_has_no_such_job_it_is_said_which_it_has(
    desk: Desk, text: str, words: str | None
) -> None:
    desk.group(ALICE, "release", "a", "test.1", "test.2", "b", "c", "d", "e")
    desk.group(ALICE, "od", ranges=[(0, 3, 1)])
    desk.group(ALICE, None, group_id=GROUP, indexes=(0, 2, 5))
    found = desk.references(ALICE).lack(text)
    assert found == words
    # Others are told nothing of it.
    assert desk.references(BOB).lack(text) is None


def test_the_ranges_of_an_array_are_shown_as_they_can_be_asked_for(desk: Desk) -> None:
    ranges = [(0, 9, 3), (20, 20, 1), (30, 35, 4), (40, 41, 1), (50, 50, 9), (60, 60, 1)]
    desk.group(ALICE, "od", ranges=ranges)
    assert desk.references(ALICE).lack("od.x") == (
        "array od has the indexes 0 to 9 in steps of 3, 20, 30, 34, 40 to 41, 50 and 1 more"
    )


def test_a_job_that_was_removed_is_said_to_have_been(desk: Desk) -> None:
    desk.group(ALICE, "release", "a", "b")
    desk.group(ALICE, "od")
    for text, words in (("release.a", "step a of flow release"), ("od.1", "job 1 of array od")):
        job = desk.find(text)
        desk.store.end_queued([(job.id, "stopped", b"result")], 5)
        desk.store.delete(job.id, 6, ALICE)
        assert desk.find(text) is None
        assert desk.references(ALICE).lack(text) == f"{words} was removed"


def test_of_a_group_that_is_damaged_nothing_is_said(desk: Desk, tmp_path: Path) -> None:
    desk.group(ALICE, "release", "a", "b")
    with sqlite3.connect(tmp_path / "db") as db:
        db.execute("UPDATE groups SET about = x'c1'")
    db.close()
    assert desk.references(ALICE).lack("release.x") is None


def test_a_group_may_have_dots_in_its_name(desk: Desk) -> None:
    desk.group(ALICE, "v1.2")
    desk.group(ALICE, "v1", "build", "2.1")
    assert desk.member("v1.2.1") == 1
    assert desk.find("v1.2.1").group_id == desk.find("v1").id
    newest = desk.group(ALICE, "v1.2")
    # The job of that name that was submitted last.
    assert desk.find("v1.2.1").group_id == newest.id


def test_of_a_job_and_a_group_of_one_name_the_newer_one_is_meant(desk: Desk) -> None:
    first = desk.group(ALICE, "x")
    job = desk.submit(ALICE, "x")
    assert desk.find("x").id == job
    assert desk.find_group("x") == first
    last = desk.group(ALICE, "x")
    assert desk.find("x") == last
    assert desk.find(job).id == job


def test_ones_own_wins_so_that_nobody_puts_another_under_roots_hands(desk: Desk) -> None:
    mine = desk.submit(ROOT, "x")
    desk.group(ALICE, "x")
    assert desk.find("x", ROOT).id == mine
    own = desk.group(ROOT, "y")
    desk.group(ALICE, "y")
    desk.submit(BOB, "y")
    assert desk.find("y", ROOT) == desk.find_group("y", ROOT) == own
    assert desk.find("y.1", ROOT).group_id == own.id


def test_a_prefix_of_a_job_and_a_group_is_ambiguous_and_names_both(desk: Desk) -> None:
    job = desk.submit(ALICE, job_id="3f2a1111-0000-4000-8000-000000000001")
    group = desk.group(ALICE, None, group_id=GROUP)
    desk.group(BOB, None, group_id="3f2a2222-0000-4000-8000-00000000000a")
    with pytest.raises(Refusal) as caught:
        desk.find("3f2a")
    error = caught.value.to_wire()
    assert (error["code"], error["field"]) == ("ambiguous-job", "job")
    assert sorted(error["candidates"]) == sorted([job, group.id])
    assert desk.find_group("3f2a") == group
    with pytest.raises(Refusal, match="ambiguous-job"):
        desk.find_group("3f2a", ROOT)
    # A prefix comes before a name.
    desk.submit(ALICE, "3f2a0")
    assert desk.find("3f2a0") == group


def test_a_step_is_found_without_a_look_at_the_whole_flow(desk: Desk) -> None:
    group = desk.group(ALICE, "ci", "a", "b")
    desk.store._db.execute("UPDATE groups SET about = x'c1'")
    assert desk.member(f"{group.id}.b") == desk.member("ci.b") == 1
    assert desk.find(group.id).id == group.id
    assert desk.find("ci.\udcff") is desk.find("ci.\0") is desk.find("ci.c") is None


def test_nobody_puts_a_job_in_the_place_of_one_of_roots_own_group(desk: Desk) -> None:
    own = desk.group(ROOT, None, group_id=GROUP)
    evil = desk.submit(BOB, f"{GROUP[:8]}.1")
    also_evil = desk.submit(BOB, f"{GROUP[:8]}.7")
    assert desk.find(f"{GROUP[:8]}.1", ROOT).group_id == own.id
    # Of what it has not, nothing is meant instead.
    assert desk.find(f"{GROUP[:8]}.7", ROOT) is None
    assert desk.find(f"{GROUP[:8]}.1", BOB).id == desk.find(evil, ROOT).id == evil
    desk.submit(BOB, "night.1")
    assert desk.find("night.1", ROOT).name == "night.1"
    # Another's group is no shield, and an own job comes before all.
    desk.group(ALICE, None, group_id=f"4{GROUP[1:]}")
    mine = desk.submit(ROOT, f"4{GROUP[1:8]}.1")
    assert desk.find(f"4{GROUP[1:8]}.1", ROOT).id == mine
    assert desk.find(also_evil, ROOT).id == also_evil


@given(st.text(alphabet="a.1", max_size=8))
def test_what_is_split_is_whole_again_and_has_a_group_and_at_most_one_dot_behind_it(
    text: str,
) -> None:
    found = list(_splits(text))
    assert len(found) <= 2
    for group, member in found:
        assert f"{group}.{member}" == text
        assert group
        assert member.count(".") <= 1


def test_a_full_id_is_the_job_whatever_else_is_called_so(desk: Desk) -> None:
    job_id = desk.submit(ALICE, "first")
    desk.submit(ALICE, job_id)
    desk.group(ALICE, job_id)
    assert desk.find(job_id).id == desk.find(job_id, ROOT).id == job_id
    # To somebody else it is not there, and a name of its own means what it says.
    assert desk.find(job_id, BOB) is None
    own = desk.submit(BOB, job_id)
    assert desk.find(job_id, BOB).id == own
