"""`list`: whose jobs, which of them, page by page, and what each is shown with."""

from __future__ import annotations

import asyncio
import os
import uuid
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from client.protocol import encode_frame
from runner import messages
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal
from runner.server.handlers.list_jobs import list_jobs
from runner.store import NewJob, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ALICE, BOB, ADMIN = (
    Peer(uid=uid, gid=uid, groups=frozenset(), pid=os.getpid()) for uid in (1000, 1001, 0)
)


class Fixture:
    """A store, and the daemon around it as the handler sees it."""

    def __init__(self, path: Path) -> None:
        self.store = Store.open(str(path / "runnerd.sqlite3"))
        self.causes: dict[str, str] = {}
        supervisor = SimpleNamespace(store=self.store, cause_of=self.causes.get)
        self.service: Any = SimpleNamespace(
            supervisor=supervisor,
            is_admin=lambda peer: peer.uid == 0,
            visible_to=lambda peer: None if peer.uid == 0 else peer.uid,
        )

    def submit(self, peer: Peer, name: str, *, queue: str = "default", **labels: str) -> str:
        new = NewJob(
            id=str(uuid.uuid4()), submitted_by_uid=peer.uid, uid=0, gid=0, name=name,
            spec=b"torn", submitted_ns=1, queue=queue, labels=labels,
        )  # fmt: skip
        return self.store.insert(new).id

    def end(self, job_id: str) -> None:
        self.store.mark_ended(job_id, 9, "stopped", b"torn", is_ok=False)

    def page(self, peer: Peer, **args: Any) -> dict[str, Any]:
        nothing: Any = None
        found = list_jobs(self.service, peer, parse(messages.List, args), nothing)
        return found if isinstance(found, dict) else asyncio.run(found)

    def names(self, peer: Peer, **select: Any) -> list[str]:
        ended = select.pop("ended", False)
        found = self.page(peer, ended=ended, select=select)["jobs"]
        return [job["name"] for job in found]


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.store.close()


def test_members_are_shown_their_jobs_and_admins_everybodys(daemon: Fixture) -> None:
    daemon.submit(ALICE, "a")
    daemon.submit(BOB, "b")
    assert daemon.names(ALICE) == ["a"]
    assert daemon.names(ADMIN) == ["b", "a"]
    assert daemon.names(ADMIN, user=1000) == ["a"]
    assert daemon.names(ALICE, user=1000) == ["a"]
    with pytest.raises(Refusal, match="not-permitted"):
        daemon.names(ALICE, user=1001)


def test_all_that_is_asked_for_must_hold(daemon: Fixture) -> None:
    daemon.submit(ALICE, "build-1", team="x")
    daemon.submit(ALICE, "build-2", queue="batch", team="y")
    daemon.submit(ALICE, "test-1", queue="batch")
    assert daemon.names(ALICE, queue="batch") == ["test-1", "build-2"]
    assert daemon.names(ALICE, name="build-*") == ["build-2", "build-1"]
    assert daemon.names(ALICE, labels={"team": None}) == ["build-2", "build-1"]
    assert daemon.names(ALICE, labels={"team": "y"}, name="build-?", queue="batch") == ["build-2"]
    assert daemon.names(ALICE, labels={"team": "y"}, queue="default") == []


def test_states_with_ended_show_ended_jobs_without_being_asked_twice(daemon: Fixture) -> None:
    daemon.end(daemon.submit(ALICE, "old"))
    daemon.submit(ALICE, "new")
    assert daemon.names(ALICE) == ["new"]
    assert daemon.names(ALICE, ended=True) == ["new", "old"]
    assert daemon.names(ALICE, states=["ended"]) == ["old"]
    assert daemon.names(ALICE, states=["queued", "ended"]) == ["new", "old"]
    assert daemon.names(ALICE, states=["queued"], ended=True) == ["new"]


def test_a_job_is_shown_with_its_labels_and_a_queued_one_with_what_it_waits_for(
    daemon: Fixture,
) -> None:
    ended = daemon.submit(ALICE, "ended")
    waits = daemon.submit(ALICE, "waits", team="x", stage="1")
    daemon.end(ended)
    daemon.causes.update({waits: "slots", ended: "behind"})
    newest, oldest = daemon.page(ALICE, ended=True)["jobs"]
    assert newest["labels"] == {"team": "x", "stage": "1"}
    assert newest["waits_for"] == "slots"
    assert oldest["labels"] == {}
    assert oldest["waits_for"] is None


def test_a_page_is_never_more_than_one_frame_holds_whatever_its_jobs_are_labelled(
    daemon: Fixture,
) -> None:
    labels = {f"{number:064}": "v" * 256 for number in range(32)}
    everybody = [daemon.submit(ALICE, f"j{number}", **labels) for number in range(1000)]
    seen: list[str] = []
    before, pages = None, 0
    while before is not None or not pages:
        page = daemon.page(ADMIN, limit=1000, before=before)
        # Raises FrameError.
        encode_frame({"id": 2**32 - 1, "ok": page})
        seen += [job["job"] for job in page["jobs"]]
        before, pages = page["next"], pages + 1
    assert seen == everybody[::-1]
    # About 10 KiB each, and a MiB of them.
    assert pages == 11


def test_pages_go_on_where_the_last_one_ended(daemon: Fixture) -> None:
    for number in range(5):
        daemon.submit(ALICE, f"j{number}", team="x")
    seen: list[str] = []
    before = None
    while True:
        page = daemon.page(ALICE, limit=2, before=before, select={"labels": {"team": "x"}})
        seen += [job["name"] for job in page["jobs"]]
        before = page["next"]
        if before is None:
            break
    assert seen == ["j4", "j3", "j2", "j1", "j0"]
