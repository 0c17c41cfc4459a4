"""Which job or group is meant by what somebody wrote, and that others' are none."""

from __future__ import annotations

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
    ) -> Group:
        group_id = group_id or str(uuid.uuid4())
        about = About(steps=[StepAbout(name=step) for step in steps])
        if not steps:
            about = About(ranges=[(each, each, 1) for each in indexes])
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

    def find(self, text: str, uid: int = ALICE) -> Any:
        return References(self.store, None if uid == ROOT else uid, uid).target(text, "job")

    def find_group(self, text: str, uid: int = ALICE) -> Any:
        return References(self.store, None if uid == ROOT else uid, uid).group(text, "group")

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
    desk.group(ALICE, None, "a", "test.1", "test.2", group_id=GROUP)
    assert desk.member(f"{GROUP[:8]}.a") == 0
    assert desk.member(f"{GROUP[:8]}.test.2") == 2
    # By its name alone, not by its number.
    assert desk.find(f"{GROUP[:8]}.0") is desk.find(f"{GROUP[:8]}.test") is None


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


def test_a_group_whose_look_is_damaged_hides_its_steps_and_nothing_else(desk: Desk) -> None:
    group = desk.group(ALICE, None, "a", "b")
    desk.store._db.execute("UPDATE groups SET about = x'c1'")
    assert desk.find(f"{group.id}.a") is None
    assert desk.find(group.id).id == group.id


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
