"""Hooks that contradict themselves, or that nothing could run: refused with their field."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from client import protocol
from runner.hook_checks import FACTS, FACTS_BYTES, check_of_group
from runner.message_groups import SubmitFlow
from runner.messages import Submit
from runner.parsing import parse
from runner.refusal import Refusal


def submit(*hooks: dict[str, Any], **more: Any) -> Submit:
    return parse(Submit, {"argv": ["true"], "cwd": "/", "hooks": list(hooks), **more})


def refused(*hooks: dict[str, Any], **more: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        submit(*hooks, **more)
    return caught.value.to_wire()


def hook(**more: Any) -> dict[str, Any]:
    return {"on": ["ok"], "argv": ["true"], **more}


def test_a_command_and_an_address_for_some_events_are_taken() -> None:
    found = submit(
        hook(on=["ok", "fail"]), {"on": ["started"], "url": "https://example.org:8443/x"}
    )
    assert [each.on for each in found.hooks] == [["ok", "fail"], ["started"]]
    assert found.hooks[0].retries == 3


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"on": ["ok"]}, "hooks[0].argv"),
        (hook(url="http://example.org"), "hooks[0].url"),
        (hook(on=["ok", "ok"]), "hooks[0].on[1]"),
        (hook(on=[]), "hooks[0].on"),
        (hook(on=["later"]), "hooks[0].on[0]"),
        (hook(argv=[]), "hooks[0].argv"),
        (hook(argv=[""]), "hooks[0].argv[0]"),
        (hook(argv=["true", "a\0b"]), "hooks[0].argv[1]"),
        (hook(argv=["true", "x" * 131_072]), "hooks[0].argv[1]"),
        (hook(timeout_seconds=0), "hooks[0].timeout_seconds"),
        (hook(timeout_seconds=3601), "hooks[0].timeout_seconds"),
        (hook(memory_max_bytes=1), "hooks[0].memory_max_bytes"),
        (hook(retries=11), "hooks[0].retries"),
        (hook(network="all"), "hooks[0].network"),
        (hook(user="root"), "hooks[0].user"),
    ],
)
def test_what_is_wrong_is_refused_with_its_field(wrong: dict[str, Any], field: str) -> None:
    error = refused(wrong)
    assert (error["code"], error["field"]) == ("invalid-argument", field)


@pytest.mark.parametrize(
    "url",
    [
        "https://", "https:///path", "https://u:hunter2@", "https://host:0/", "https://host:65536/",
        "https://host:secret/", "https://[::1/", "ftp://host/", "host", "https://host/a b",
        "https://ho\u0161t/", "file:///etc/passwd",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_refused(url: str) -> None:
    error = refused({"on": ["ok"], "url": url})
    assert error["field"] == "hooks[0].url"


def test_what_may_be_secret_of_a_wrong_address_is_not_repeated() -> None:
    assert "hunter2" not in str(refused({"on": ["ok"], "url": "https://user:hunter2@:1/"}))


def test_there_are_so_many_hooks_at_most() -> None:
    assert len(submit(*[hook()] * 8).hooks) == 8
    assert refused(*[hook()] * 9)["field"] == "hooks"


def test_an_environment_leaves_room_for_what_a_hook_is_told() -> None:
    room = protocol.MAX_ARGV_ENV_BYTES - FACTS_BYTES - len("true")
    parts = {f"V{index}": "x" * 100_000 for index in range(9)}
    rest = room - sum(len(name) + 1 + len(value) for name, value in parts.items())
    fitting = {**parts, "A": "x" * (rest - 2)}
    assert submit(hook(), env=fitting).hooks
    too_large = {**parts, "A": "x" * (rest - 1)}
    assert submit(env=too_large).hooks == []
    assert refused(hook(), env=too_large)["field"] == "hooks[0].argv"
    assert refused({"on": ["ok"], "url": "https://a"}, env={**too_large, "B": "abc"})
    many = {f"V{index}": "" for index in range(protocol.MAX_MAP_ITEMS - FACTS + 1)}
    assert refused(hook(), env=many)["field"] == "env"


def test_a_group_has_hooks_for_its_end_alone() -> None:
    check_of_group(submit(hook(on=["ended", "ok", "fail"])).hooks)
    with pytest.raises(Refusal) as caught:
        check_of_group(submit(hook(), hook(on=["fail", "started"])).hooks)
    assert caught.value.fields["field"] == "hooks[1].on[1]"


def test_a_flow_is_refused_for_its_hooks() -> None:
    step = msgspec.msgpack.encode({"name": "a", "submit": {"argv": ["true"], "cwd": "/"}})
    flow = {"name": "f", "steps": [step]}
    assert parse(SubmitFlow, {**flow, "hooks": [hook()]}).hooks
    for wrong in (hook(on=["paused"]), hook(url="https://a")):
        with pytest.raises(Refusal, match="hooks"):
            parse(SubmitFlow, {**flow, "hooks": [wrong]})


def test_nothing_of_a_hook_but_its_events_is_in_its_text() -> None:
    shown = repr(submit(hook(argv=["curl", "hunter2"])).hooks[0])
    assert shown == "HookRequest(on=['ok'])"
