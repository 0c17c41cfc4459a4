"""The options of `run` for the queue: each becomes its field, and a refusal speaks of it."""

from __future__ import annotations

import typing
from typing import TYPE_CHECKING, Any

import pytest

from client import records
from client.cli import queue_params
from client.cli.run import OPTIONS
from client.cli.run_queue import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]
    Submit = Callable[..., dict[str, Any]]

GIB = 2**30
ASKED: list[tuple[list[str], dict[str, Any]]] = [
    (["--queue", "night"], {"queue": "night"}),
    (["--priority", "-5"], {"priority": -5}),
    (["--priority", "0"], {"priority": 0}),
    (["--label", "a=1", "--label", "b/c=x=y"], {"labels": {"a": "1", "b/c": "x=y"}}),
    (["--label", "a="], {"labels": {"a": ""}}),
    (["--after", "build"], {"after": [{"job": "build", "on": "ok"}]}),
    (
        ["--after", "3f2a,77aa:any", "--after", "x:fail"],
        {"after": [{"job": "3f2a", "on": "any"}, {"job": "77aa", "on": "any"},
                   {"job": "x", "on": "fail"}]},
    ),
    (["--after", "a, b:started"], {"after": [{"job": "a", "on": "started"},
                                             {"job": "b", "on": "started"}]}),
    (["--at", "@4102444800"], {"not_before_ns": 4102444800 * 10**9}),
    (["--in", "10m"], {"delay_seconds": 600.0}),
    (["--in", "0"], {"delay_seconds": 0.0}),
    (["--deadline", "2h"], {"deadline_seconds": 7200.0}),
    (["--deadline", "@4102444800"], {"deadline_ns": 4102444800 * 10**9}),
    (["--hold"], {"hold": True}),
    (["--retry", "3"], {"retry": {"limit": 3}}),
    (
        ["--retry", "3", "--backoff", "5s..5m", "--retry-on", "exit, oom,timeout"],
        {"retry": {"limit": 3, "backoff_seconds": 5.0, "backoff_max_seconds": 300.0,
                   "on": ["exit", "oom", "timeout"]}},
    ),
    (["--retry", "1", "--backoff", "0"], {"retry": {"limit": 1, "backoff_seconds": 0.0}}),
    (
        ["--retry", "9", "--retry-rule", "oom:mem=*1.5,mem-max=4G,times=3",
         "--retry-rule", "timeout:time=*2,time-max=4h"],
        {"retry": {"limit": 9, "rules": [
            {"reason": "oom", "memory_factor": 1.5, "memory_max_bytes": 4 * GIB, "limit": 3},
            {"reason": "timeout", "timeout_factor": 2.0, "timeout_max_seconds": 14400.0},
        ]}},
    ),
    (["--reserve-mem", "1G"], {"reserve": {"memory_bytes": GIB}}),
    (["--reserve-mem", "0", "--reserve-cpus", "0"], {"reserve": {"memory_bytes": 0,
                                                                 "millicpus": 0}}),
    (["--reserve-cpus", "1.5"], {"reserve": {"millicpus": 1500}}),
    (["--key", "deploy-7"], {"idempotency_key": "deploy-7"}),
]  # fmt: skip
PLAIN = {"argv", "cwd", "env", "umask", "limits"}


@pytest.mark.parametrize(("typed", "fields"), ASKED, ids=str)
def test_what_is_typed_is_asked_for(
    submit: Submit, typed: list[str], fields: dict[str, Any]
) -> None:
    asked = submit(*typed, "x")
    assert {name: value for name, value in asked.items() if name not in PLAIN} == fields


def test_every_field_of_the_queue_can_be_typed() -> None:
    typed = {name for _, fields in ASKED for name in fields}
    assert typed == {word.partition(".")[0] for word in WORDS}
    retries = [fields["retry"] for _, fields in ASKED if "retry" in fields]
    assert {name for retry in retries for name in retry} == set(records.Retry.__annotations__)
    rules = [rule for retry in retries for rule in retry.get("rules", [])]
    assert {name for rule in rules for name in rule} == set(records.RetryRule.__annotations__)


def test_the_words_are_those_of_the_protocol() -> None:
    assert set(queue_params.ONS) == set(typing.get_args(records.On))
    assert set(queue_params.STATES) == set(typing.get_args(records.State))
    never = {"stopped", "deadline", "dependency"}
    assert set(queue_params.REASONS) == set(typing.get_args(records.Reason)) - never
    assert WORDS.items() <= OPTIONS.items()


@pytest.mark.parametrize(
    ("option", "word"),
    [("--priority", "high"), ("--label", "x"), ("--label", "=x"), ("--after", ""),
     ("--after", "a,,b"), ("--after", ":ok"), ("--after", "a:"), ("--after", "a:done"),
     ("--after", "a:ok,b:fail"), ("--at", "yesterday"), ("--at", "10m"), ("--at", "@5"),
     ("--in", "-5"), ("--in", "soon"), ("--deadline", "0"), ("--deadline", "25:00"),
     ("--retry", "many"), ("--backoff", "5m..5s"), ("--backoff", "..5s"), ("--backoff", "5s.."),
     ("--retry-on", "stopped"), ("--retry-on", "exit,,oom"), ("--retry-rule", "oom"),
     ("--retry-rule", "oom:"), ("--retry-rule", "oom:mem"), ("--retry-rule", "oom:mem=1.5"),
     ("--retry-rule", "oom:mem=*"), ("--retry-rule", "oom:mem=*nan"),
     ("--retry-rule", "oom:mem=*-1"), ("--retry-rule", "oom:mem=*1_0"),
     ("--retry-rule", "oom:cpu=*2"), ("--retry-rule", "oom:mem=*2,mem=*3"),
     ("--retry-rule", "oom:times=-1"), ("--retry-rule", "stopped:mem=*2"),
     ("--reserve-mem", "some"), ("--reserve-cpus", "-1")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_before_anything_is_sent(
    daemon: FakeDaemon, runctl: Runctl, option: str, word: str
) -> None:
    status, out, err = runctl("run", "-d", "--retry", "1", f"{option}={word}", "true")
    assert (status, out) == (125, "")
    assert f"Invalid value for '{option}'" in err
    assert "given" in err
    assert daemon.seen == []


def test_a_list_of_labels_with_two_values_for_a_name_is_refused(
    daemon: FakeDaemon, runctl: Runctl
) -> None:
    status, _, err = runctl("run", "-d", "--label", "a=1", "--label", "a=2", "true")
    assert status == 125
    assert "--label: 'a' given twice, with different values" in err
    assert daemon.seen == []


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["--at", "@4102444800", "--in", "5m"], "--at and --in exclude each other"),
        (["--backoff", "5s"], "--backoff goes with --retry"),
        (["--retry-on", "oom"], "--retry-on goes with --retry"),
        (["--retry-rule", "oom:mem=*2"], "--retry-rule goes with --retry"),
    ],
)
def test_what_does_not_go_together_is_said(
    daemon: FakeDaemon, runctl: Runctl, typed: list[str], said: str
) -> None:
    status, _, err = runctl("run", "-d", *typed, "true")
    assert status == 125
    assert said in err
    assert daemon.seen == []


@pytest.mark.parametrize(
    ("field", "word"),
    [("queue", "--queue"), ("after[1].job", "--after"), ("retry.rules[0].memory_factor",
     "--retry-rule mem="), ("reserve.memory_bytes", "--reserve-mem"),
     ("deadline_seconds", "--deadline"), ("idempotency_key", "--key"), ("labels", "--label")],
)  # fmt: skip
def test_a_refusal_names_the_option(
    daemon: FakeDaemon, runctl: Runctl, field: str, word: str
) -> None:
    daemon.refuse("submit", "invalid-argument", field=field, given="7", allowed="something else")
    status, _, err = runctl("run", "-d", "true")
    assert status == 125
    assert err.startswith(f"runctl: {word}: ")
