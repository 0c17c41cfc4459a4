"""The options for a job's log: each becomes its field, and a refusal speaks of it."""

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
    (["--log-segment", "1M"], {"segment_bytes": 2**20}),
    (["--log-keep-segments", "8"], {"keep_segments": 8}),
    (["--log-compression", "zstd"], {"compression": "zstd"}),
    (["--log-full", "drop"], {"on_full": "drop"}),
    (["--log-segment", "64K", "--log-full", "end"], {"segment_bytes": 65536, "on_full": "end"}),
]


@pytest.mark.parametrize(("typed", "logs"), ASKED, ids=str)
def test_what_is_typed_is_asked_for(submit: Submit, typed: list[str], logs: dict[str, Any]) -> None:
    assert submit(*typed, "x")["logs"] == logs


def test_where_nothing_is_typed_nothing_is_asked_for(submit: Submit) -> None:
    assert "logs" not in submit("x")


def test_every_field_can_be_typed_and_has_its_word() -> None:
    # `keep_bytes` is asked for as a limit, --output-max.
    fields = set(records.Logs.__annotations__) - {"keep_bytes"}
    assert {name for _, logs in ASKED for name in logs} == fields
    assert {f"logs.{name}" for name in fields} <= set(OPTIONS)


@pytest.mark.parametrize(
    ("option", "word"),
    [("--log-segment", "big"), ("--log-keep-segments", "few"), ("--log-compression", "gzip"),
     ("--log-full", "panic")],
)  # fmt: skip
def test_what_cannot_be_read_is_refused_before_anything_is_sent(
    daemon: FakeDaemon, runctl: Runctl, option: str, word: str
) -> None:
    status, out, err = runctl("run", "-d", option, word, "true")
    assert (status, out) == (125, "")
    assert option in err
    assert word in err
    assert daemon.args("submit") == []


def test_a_refusal_names_the_option(daemon: FakeDaemon, runctl: Runctl) -> None:
    daemon.refuse(
        "submit", "invalid-argument", field="logs.segment_bytes", given="2048",
        allowed="at least 4096",
    )  # fmt: skip
    status, _, err = runctl("run", "-d", "--log-segment", "2K", "true")
    assert status == 125
    assert "--log-segment" in err
    assert "at least 4096" in err
