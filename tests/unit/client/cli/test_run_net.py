"""The options for networks: each becomes its field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from client import records
from client.cli.run import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]
    Submit = Callable[..., dict[str, Any]]

ASKED: list[tuple[list[str], dict[str, Any]]] = [
    (["--network", "lab"], {"name": "lab"}),
    (["--publish", "8080:80", "--publish", "127.0.0.1:53:5353/udp"],
     {"publish": [{"host_port": 8080, "port": 80, "protocol": "tcp"},
                  {"host_port": 53, "port": 5353, "protocol": "udp",
                   "host_address": "127.0.0.1"}]}),
    (["--allow-egress", "10.0.0.0/8,example.org:443", "--allow-egress", "1.1.1.1"],
     {"allow_egress": ["10.0.0.0/8", "example.org:443", "1.1.1.1"]}),
    (["--allow-egress", "none"], {"allow_egress": []}),
    (["--allow-egress", "none", "--allow-egress", "none"], {"allow_egress": []}),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "net"), ASKED, ids=lambda item: str(item)[:40])
def test_what_is_typed_is_asked_for_and_the_kind_left_to_the_daemon(
    submit: Submit, typed: list[str], net: dict[str, Any]
) -> None:
    asked = submit(*typed, "x")
    assert asked["net"] == net
    assert "network" not in asked


@pytest.mark.parametrize("kind", ["none", "host", "private"])
def test_the_kind_is_asked_for_when_it_is_typed(submit: Submit, kind: str) -> None:
    asked = submit("--net", kind, "x")
    assert asked["network"] == kind
    assert "net" not in asked


def test_every_field_can_be_typed_and_has_its_word() -> None:
    assert {name for _, net in ASKED for name in net} == set(records.Net.__annotations__)
    assert {f"net.{name}" for name in records.Net.__annotations__} <= set(OPTIONS)
    assert {f"net.publish.{name}" for name in records.Publish.__annotations__} <= set(OPTIONS)


@pytest.mark.parametrize(
    ("word", "text"),
    [("--net", "moon"), ("--net", ""), ("--publish", "80"), ("--publish", "80:80/sctp"),
     ("--publish", ""), ("--allow-egress", ""), ("--allow-egress", "a,,b")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_by_its_option(
    runctl: Runctl, daemon: FakeDaemon, word: str, text: str
) -> None:
    status, out, err = runctl("run", f"{word}={text}", "x")
    assert (status, out) == (125, "")
    assert f"'{word}'" in err
    assert not daemon.seen


@pytest.mark.parametrize("lists", [["none,10.0.0.0/8"], ["10.0.0.0/8", "none"]])
def test_nothing_and_something_to_reach_is_refused_before_anything_is_asked_for(
    runctl: Runctl, daemon: FakeDaemon, lists: list[str]
) -> None:
    words = [word for item in lists for word in ("--allow-egress", item)]
    status, out, err = runctl("run", *words, "x")
    assert (status, out) == (125, "")
    assert "--allow-egress: none and '10.0.0.0/8' given; none is allowed alone only" in err
    assert not daemon.seen


def test_a_contradiction_is_said_in_the_words_of_the_options(
    daemon: FakeDaemon, runctl: Runctl
) -> None:
    daemon.refuse(
        "submit", "invalid-argument", field="net.publish", given="network none",
        allowed="network private with it",
    )  # fmt: skip
    assert runctl("run", "--net", "none", "--publish", "8080:80", "x")[2] == (
        "runctl: --publish: --net none given; allowed: --net private with it\n"
    )
