"""Whose jobs a request means, and which: members their own alone, users by name in a thread."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import pytest

from runner.lifecycle import State
from runner.message_queue import Select
from runner.parsing import parse
from runner.policy import Peer
from runner.refusal import Refusal
from runner.rows import Selection
from runner.server.whose import selected

SERVICE: Any = SimpleNamespace(is_admin=lambda peer: peer.uid == 0)
ALICE, ROOT = (Peer(uid=uid, gid=0, groups=frozenset(), pid=os.getpid()) for uid in (4_000_000, 0))


def chosen(peer: Peer, **args: Any) -> Selection:
    return asyncio.run(selected(SERVICE, peer, parse(Select, args), "see"))


def refused(peer: Peer, **args: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        chosen(peer, **args)
    return caught.value.to_wire()


def test_a_selection_is_the_request_with_its_user_as_a_number() -> None:
    assert chosen(ROOT) == Selection()
    found = chosen(
        ROOT,
        queue="batch",
        user="root",
        name="b*",
        labels={"team": "a", "any": None},
        states=["queued", "ended"],
    )
    assert found == Selection(
        "batch", 0, "b*", (("team", "a"), ("any", None)), (State.QUEUED, State.ENDED)
    )


def test_members_may_name_themselves_and_admins_anybody() -> None:
    for user in (ALICE.uid, str(ALICE.uid)):
        assert chosen(ALICE, user=user).uid == ALICE.uid
    assert chosen(ROOT, user=ALICE.uid).uid == ALICE.uid


@pytest.mark.parametrize("user", [0, "root", "no such user"])
def test_a_member_is_refused_others_whether_there_is_such_a_user_or_not(user: object) -> None:
    assert refused(ALICE, user=user) == {
        "code": "not-permitted",
        "field": "select.user",
        "detail": "only root and the admin group see jobs of others",
    }


def test_an_admin_is_told_that_there_is_no_such_user() -> None:
    error = refused(ROOT, user="no such user")
    assert (error["code"], error["field"]) == ("invalid-argument", "select.user")
