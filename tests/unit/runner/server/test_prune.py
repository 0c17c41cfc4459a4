"""`prune`: whose jobs a peer may have removed, and what is asked of the removing."""

from __future__ import annotations

import asyncio
import os
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from runner import messages
from runner.parsing import parse
from runner.policy import Peer
from runner.pruning import Pruned
from runner.refusal import Refusal
from runner.retention import Selection
from runner.rows import EndedJob
from runner.server.handlers.prune import prune

if TYPE_CHECKING:
    from collections.abc import Iterable

ADMINS = 77


def peer_with(uid: int, *groups: int) -> Peer:
    return Peer(uid=uid, gid=uid, groups=frozenset(groups), pid=os.getpid())


ALICE = peer_with(1000)
ADMIN = peer_with(1002, ADMINS)
ROOT = peer_with(0)


class Asked:
    """Stands for the removing, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.calls: list[tuple[list[int] | None, Selection, int, bool]] = []

    async def prune(
        self, uids: Iterable[int] | None, selection: Selection, by_uid: int, *, dry_run: bool
    ) -> Pruned:
        self.calls.append((None if uids is None else list(uids), selection, by_uid, dry_run))
        found = Pruned()
        found.add([EndedJob("an id", 1000, 5, 1, 4096)])
        return found


def answer(peer: Peer, **args: Any) -> tuple[dict[str, Any], Asked]:
    asked = Asked()
    service: Any = SimpleNamespace(
        pruning=asked, is_admin=lambda peer: peer.uid == 0 or ADMINS in peer.groups
    )
    nothing: Any = None
    return asyncio.run(prune(service, peer, parse(messages.Prune, args), nothing)), asked


def refused(peer: Peer, **args: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        answer(peer, **args)
    return caught.value.to_wire()


@pytest.mark.parametrize(
    ("peer", "args", "uids"),
    [
        (ALICE, {}, [1000]),
        (ALICE, {"user": 1000}, [1000]),
        (ALICE, {"user": "1000"}, [1000]),
        (ROOT, {}, [0]),
        (ROOT, {"user": "root"}, [0]),
        (ROOT, {"user": 4_000_000}, [4_000_000]),
        (ROOT, {"everybody": True}, None),
        (ADMIN, {"everybody": True}, None),
        (ADMIN, {"user": 0}, [0]),
    ],
)
def test_members_have_their_own_jobs_removed_and_admins_anybodys(
    peer: Peer, args: dict[str, Any], uids: list[int] | None
) -> None:
    found, asked = answer(peer, **args)
    assert found == {"jobs": 1, "bytes": 4096, "removed": ["an id"]}
    assert asked.calls == [(uids, Selection(None, None), peer.uid, False)]


@pytest.mark.parametrize(
    ("args", "field"),
    [({"user": 0}, "user"), ({"user": "root"}, "user"), ({"everybody": True}, "everybody")],
)
def test_a_member_is_refused_the_jobs_of_others(args: dict[str, Any], field: str) -> None:
    error = refused(ALICE, **args)
    assert (error["code"], error["field"]) == ("not-permitted", field)


@pytest.mark.parametrize("user", ["no such user", "\0", "-1", "9" * 200, "\u0661"])
def test_an_unknown_user_is_refused_and_a_member_is_not_told_that_it_is_none(user: str) -> None:
    error = refused(ROOT, user=user)
    assert (error["code"], error["field"]) == ("invalid-argument", "user")
    assert refused(ALICE, user=user)["code"] == "not-permitted"


def test_names_are_looked_up_in_a_thread_and_those_of_others_only_for_admins(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def getpwnam(name: str) -> SimpleNamespace:
        assert threading.current_thread() is not threading.main_thread()
        asked.append(name)
        return SimpleNamespace(pw_uid=77)

    def getpwuid(uid: int) -> SimpleNamespace:
        assert threading.current_thread() is not threading.main_thread()
        assert uid == ALICE.uid
        return SimpleNamespace(pw_name="alice")

    monkeypatch.setattr("runner.users._names", {})
    monkeypatch.setattr("pwd.getpwnam", getpwnam)
    monkeypatch.setattr("pwd.getpwuid", getpwuid)
    assert refused(ALICE, user="bob")["code"] == "not-permitted"
    assert asked == []
    assert answer(ALICE, user="alice")[1].calls[0][0] == [ALICE.uid]
    assert answer(ADMIN, user="bob")[1].calls[0][0] == [77]
    assert asked == ["bob"]


def test_a_user_and_everybody_contradict_each_other() -> None:
    assert refused(ROOT, user=0, everybody=True)["code"] == "invalid-argument"


@pytest.mark.parametrize(
    "args",
    [
        {"keep": -1}, {"keep": 2**54}, {"older_than_seconds": -1}, {"older_than_seconds": 1e9},
        {"keep": "all"}, {"job": "x"},
    ],
)  # fmt: skip
def test_what_is_out_of_bounds_or_unknown_is_refused(args: dict[str, Any]) -> None:
    assert refused(ROOT, **args)["code"] == "invalid-argument"


def test_what_is_removed_is_said_in_the_log_and_what_is_counted_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    _, asked = answer(ALICE, older_than_seconds=60, keep=3, dry_run=True)
    assert asked.calls[0][1:] == (Selection(60, 3), 1000, True)
    assert caplog.text == ""
    answer(ROOT, everybody=True)
    assert "1 ended jobs (4096 bytes) of everybody removed, asked by uid 0" in caplog.text
