"""What a request asks for is read, or refused: whatever came, and nothing of it is changed."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import RequestRefused
from gateway.asking import Asked
from gateway.verbs import VERBS

if TYPE_CHECKING:
    from client.protocol import Message

KEYS = ("job", "group", "schedule", "name", "select", "submit", "steps", "queue", "priority",
        "user", "after", "net", "env", "argv", "hooks", "before", "everybody", "x")  # fmt: skip
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(),
                   st.binary())  # fmt: skip
keys = st.one_of(st.sampled_from(KEYS), st.text(max_size=3), st.binary(max_size=3), st.integers())
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=12,
)
plausible = st.dictionaries(st.sampled_from(KEYS), trees, max_size=5)
TRACE = {"TRACEPARENT": "t", "TRACESTATE": "s"}


@given(st.sampled_from([*VERBS, "hello", ""]), st.one_of(trees, plausible))
def test_whatever_comes_is_read_or_refused_and_left_as_it_was(op: str, args: Any) -> None:
    before = deepcopy(args)
    try:
        asked = Asked(op, args, TRACE)
        asked.about()
        asked.args()
    except RequestRefused as refused:
        assert refused.code in {"invalid-argument", "bad-request"}
    assert args == before


@given(st.lists(plausible, min_size=1, max_size=3))
def test_whatever_steps_come_they_are_sent_as_they_were_read(steps: list[Message]) -> None:
    packed = [msgpack.packb(step) for step in _without_large(steps)]
    try:
        asked = Asked("submit_flow", {"name": "f", "steps": packed})
    except RequestRefused:
        return
    assert [msgpack.unpackb(step, strict_map_key=False) for step in asked.args()["steps"]] == [
        msgpack.unpackb(step, strict_map_key=False) for step in packed
    ]
    assert len(asked.act.submitted) == len(steps)


def _without_large(value: Any) -> Any:
    """Numbers that msgpack cannot carry are not what is asked here."""
    if isinstance(value, dict):
        return {_without_large(key): _without_large(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_without_large(each) for each in value]
    return value % 2**31 if type(value) is int else value


def test_nothing_is_nested_deeper_than_the_protocol_allows() -> None:
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RequestRefused, match="nested deeper"):
        Asked("submit", {"argv": ["x"], "labels": deep})
    while isinstance(deep, list):
        deep = deep[0]


def test_what_a_submission_is_about() -> None:
    asked = Asked("submit", {
        "argv": ["a", b"bc"], "name": "n", "queue": "q", "priority": 3, "user": "u", "group": 5,
        "net": {"name": "w"}, "hooks": [{"argv": ["long", "command"]}], "after": [{"job": "j"}],
    })  # fmt: skip
    (one,) = asked.act.submitted
    assert (one.queue, one.priority, one.user, one.group, one.network) == ("q", 3, "u", 5, "w")
    assert one.command_bytes == len("long") + len("command") + 2
    assert asked.act.names == (("name", "n"),)
    assert asked.act.queues == (("hooks", "hooks"),)
    assert [(each.kind, each.text) for each in asked.references] == [("either", "j")]
    assert asked.act.request_bytes > 50


def test_without_a_queue_it_is_the_default_one() -> None:
    for queue in ({}, {"queue": None}):
        assert Asked("submit", {"argv": ["a"], **queue}).act.submitted[0].queue == "default"


@pytest.mark.parametrize(
    ("op", "args", "users"),
    [
        ("list", {"select": {"user": "bob"}}, (("select.user", "bob"),)),
        ("stop_many", {"select": {"user": 7}}, (("select.user", 7),)),
        ("prune", {"user": "bob"}, (("user", "bob"),)),
        ("prune", {"everybody": True}, (("user", "everybody"),)),
        ("prune", {}, ()),
    ],
)
def test_users_that_are_named(op: str, args: Message, users: Any) -> None:
    assert Asked(op, args).act.users == users


def test_the_log_is_told_what_is_done_and_no_secret() -> None:
    about = Asked("update", {"job": "j", "limits": {"pids_max": 5}}).about()
    assert (about["job"], about["fields"]) == ("j", "job,limits")
    about = Asked("submit_flow", {"name": "f", "steps": [msgpack.packb({"submit": {}})]}).about()
    assert (about["name"], about["steps"]) == ("f", 1)
    about = Asked("submit", {"argv": [5], "env": {"A": "secret"}}).about()
    assert (about["argv0"], about["argc"]) == ("?", 1)
    assert "secret" not in str(about)


def test_the_trace_is_in_the_environment_that_all_steps_have() -> None:
    steps = [msgpack.packb({"submit": {"env": {}}})]
    assert Asked("submit_flow", {"name": "f", "steps": steps}, TRACE).args()["env"] == TRACE
    assert "env" not in Asked("stop", {"job": "j"}, TRACE).args()
