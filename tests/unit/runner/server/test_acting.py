"""For whom the gateway may act on this host, and the lines of the log about what it asks."""

from __future__ import annotations

import asyncio
import grp
import logging
import os
import pwd
import threading
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from runner import message_queue, messages
from runner.config import Config
from runner.config_gateway import GatewayConfig
from runner.messages import ActFor
from runner.policy import Gateway, Members, Peer
from runner.refusal import Refusal
from runner.server import acting as module
from runner.server.acting import MAKES, READS, Acting, told, who
from runner.server.handlers import HANDLERS

if TYPE_CHECKING:
    from collections.abc import Callable

# Two of this host that are neither root nor each other.
FIRST, SECOND = [entry for entry in pwd.getpwall() if entry.pw_uid][:2]
GATEWAY = Peer(uid=SECOND.pw_uid, gid=SECOND.pw_gid, groups=frozenset(), pid=4321)
SOMEBODY = Peer(uid=4711, gid=4711, groups=frozenset(), pid=4322)
ASKED = ActFor(user=FIRST.pw_name, origin="CN=first, serial 3f")
ONE = msgspec.structs.replace(SOMEBODY, origin="CN=first")


def configured(**gateway: Any) -> Config:
    table = GatewayConfig(**{"user": SECOND.pw_name, **gateway})
    return msgspec.structs.replace(Config(group="no-such-group-here"), gateway=table)


def asked(config: Config, peer: Peer = GATEWAY, act_for: ActFor = ASKED) -> Peer | Refusal:
    try:
        return asyncio.run(Acting.of(config, None).peer_for(peer, act_for))
    except Refusal as refusal:
        return refusal


def refused(config: Config, peer: Peer = GATEWAY, act_for: ActFor = ASKED) -> dict[str, Any]:
    found = asked(config, peer, act_for)
    assert isinstance(found, Refusal)
    return found.to_wire()


# Whom the configuration names


@pytest.mark.parametrize("name", [FIRST.pw_name, str(FIRST.pw_uid)])
def test_a_user_who_is_named_is_acted_for_with_the_groups_of_the_user_database(name: str) -> None:
    assert asked(configured(users=(name,))) == Peer(
        uid=FIRST.pw_uid,
        gid=FIRST.pw_gid,
        groups=frozenset(os.getgrouplist(FIRST.pw_name, FIRST.pw_gid)),
        pid=GATEWAY.pid,
        origin=ASKED.origin,
    )


def test_the_members_of_a_group_that_is_named_are_acted_for() -> None:
    group = grp.getgrgid(FIRST.pw_gid).gr_name
    assert not isinstance(asked(configured(groups=(group,))), Refusal)


def test_without_names_the_members_of_the_sockets_group_are_meant_and_with_names_they_are_not() -> (
    None
):
    group = grp.getgrgid(FIRST.pw_gid).gr_name
    open_to_group = msgspec.structs.replace(configured(), group=group)
    assert not isinstance(asked(open_to_group), Refusal)
    for names in ({"users": ("4711",)}, {"groups": ()}, {"users": ()}):
        config = msgspec.structs.replace(configured(**names), group=group)
        assert refused(config)["code"] == "not-permitted"


def test_who_is_not_named_is_refused_with_a_sentence_and_the_log_says_who_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    answer = refused(configured(users=()))
    assert (answer["code"], answer["field"]) == ("not-permitted", "act_for")
    assert answer["given"] == repr(FIRST.pw_name)
    assert f"names neither uid {FIRST.pw_uid}" in answer["detail"]
    assert "CN=first, serial 3f" in caplog.text


def test_a_user_that_there_is_not_is_the_fields_fault() -> None:
    nobody = ActFor(user="no-such-user-here", origin="CN=x")
    answer = refused(configured(), act_for=nobody)
    assert (answer["code"], answer["field"]) == ("invalid-argument", "act_for.user")


@pytest.mark.parametrize("config", [Config(), configured()])
def test_who_is_not_the_gateway_learns_nothing_of_users(config: Config) -> None:
    answers = [
        refused(config, SOMEBODY, ActFor(user=user, origin="CN=x"))
        for user in (FIRST.pw_name, "no-such-user-here", 0)
    ]
    assert {answer["code"] for answer in answers} == {"not-permitted"}
    assert len({answer["detail"] for answer in answers}) == 1


def test_the_gateway_is_itself_until_it_acts_for_somebody() -> None:
    acting = Acting.of(configured(), None)
    assert acting.is_gateway(GATEWAY)
    assert not acting.is_gateway(msgspec.structs.replace(GATEWAY, origin="CN=x"))
    assert not acting.is_gateway(SOMEBODY)
    assert not Acting.of(Config(), None).is_gateway(GATEWAY)


@pytest.mark.parametrize(
    ("gateway", "words"),
    [
        ({"user": "no-such-user-here"}, "gateway.user: there is no user no-such-user-here"),
        ({"users": ("no-such-user-here",)}, "gateway.users: there is no user no-such-user-here"),
        ({"groups": ("no-such-one",)}, "gateway.groups: there is no group no-such-one"),
        ({}, "gateway.groups: there is no group no-such-group-here"),
    ],
)
def test_a_name_that_there_is_not_is_warned_about_and_counts_for_nobody(
    gateway: dict[str, Any], words: str, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(configured(**gateway))["code"] == "not-permitted"
    assert words in caplog.text


def test_root_by_another_name_is_no_gateway(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "uid_named", lambda _name: 0)
    acting = Acting.of(configured(), None)
    assert not acting.is_gateway(Peer(uid=0, gid=0, groups=frozenset(), pid=1))
    assert "root by another name" in caplog.text


def test_a_gateway_that_is_an_admin_is_warned_about(caplog: pytest.LogCaptureFixture) -> None:
    Acting.of(configured(), SECOND.pw_gid)
    assert "in the admin group" in caplog.text


# A user database that is far away


def test_a_user_database_that_does_not_answer_is_waited_for_so_long_and_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    answers = threading.Event()

    def hang(*_about: object) -> Peer:
        answers.wait(20)
        return ONE

    async def scenario() -> None:
        acting = Acting(
            Gateway(GATEWAY.uid, Members(frozenset({ONE.uid}), frozenset())), admin_gid=None
        )
        # More than there are threads for it.
        greetings = [asyncio.ensure_future(acting.peer_for(GATEWAY, ASKED)) for _ in range(5)]
        # The loop and its other threads go on.
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 7), 5) == 7
        for refusal in await asyncio.gather(*greetings, return_exceptions=True):
            assert isinstance(refusal, Refusal)
            assert refusal.to_wire()["code"] == "not-now"
        answers.set()
        assert await acting.peer_for(GATEWAY, ASKED) == ONE

    monkeypatch.setattr(module, "LOOKUP_SECONDS", 0.1)
    monkeypatch.setattr(module, "acted_for", hang)
    try:
        asyncio.run(scenario())
    finally:
        answers.set()


# What the log says


def lines_of(
    op: str, request: Any, answer: Callable[[], Any], caplog: pytest.LogCaptureFixture
) -> list[str]:
    caplog.set_level(logging.INFO)
    asyncio.run(told(ONE, op, request, answer))
    return [record.getMessage() for record in caplog.records]


def test_who_says_the_uid_and_whose_words_it_is_in() -> None:
    assert who(SOMEBODY) == "uid 4711"
    assert who(ONE) == "uid 4711 through the gateway, 'CN=first'"


def test_a_queue_that_is_changed_is_told_by_its_name(caplog: pytest.LogCaptureFixture) -> None:
    assert lines_of("queue", message_queue.SetQueue(name="batch", paused=True), dict, caplog) == [
        "queue of 'batch' asked by uid 4711 through the gateway, 'CN=first'"
    ]


def test_a_request_about_something_is_told_before_it_is_done(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def refuse() -> Any:
        raise Refusal("no-such-job")

    with pytest.raises(Refusal):
        lines_of("stop", messages.Stop(job="3f2a"), refuse, caplog)
    (line,) = (record.getMessage() for record in caplog.records)
    assert line == "stop of '3f2a' asked by uid 4711 through the gateway, 'CN=first'"


def test_what_is_made_is_told_by_the_name_that_it_got(caplog: pytest.LogCaptureFixture) -> None:
    async def made() -> dict[str, Any]:
        return {"job": "3f2a0000", "state": "queued"}

    submit = messages.Submit(argv=[b"true"], cwd=b"/")  # type: ignore[list-item, arg-type]
    assert lines_of("submit", submit, made, caplog) == [
        "submit of 3f2a0000 asked by uid 4711 through the gateway, 'CN=first'"
    ]


def test_a_request_about_nothing_single_is_told_by_its_operation(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert lines_of("prune", messages.Prune(), lambda: {"jobs": 0}, caplog) == [
        "prune asked by uid 4711 through the gateway, 'CN=first'"
    ]


def test_a_name_cannot_write_a_line_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    (line,) = lines_of("stop", messages.Stop(job="a\nroot did it\x1b[2J"), dict, caplog)
    assert line.isprintable()


def test_the_operations_that_are_told_otherwise_are_operations() -> None:
    assert set(HANDLERS) >= READS | MAKES
    assert not READS & MAKES
