"""Each refusal has a status in both worlds, and nothing of the inside leaves with it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from client.errors import ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused
from gateway.codes import CODES, RETRY_AFTER_SECONDS, as_refusal, code_of

PROTOCOL = Path(__file__).parents[3] / "docs/PROTOCOL.md"


def test_every_code_of_the_protocol_has_a_status() -> None:
    errors = PROTOCOL.read_text().partition("### Errors")[2].partition("## Operations")[0]
    known = set(re.findall(r"^\| `([a-z-]+)` \|", errors, flags=re.MULTILINE))
    assert len(known) > 20
    assert known <= set(CODES)


def test_what_may_be_tried_again_says_when() -> None:
    again = {code for code, how in CODES.items() if how.http in (429, 503)}
    assert again == set(RETRY_AFTER_SECONDS)


def test_a_code_that_a_newer_runnerd_has_is_no_defect_of_ours() -> None:
    assert code_of("new-one").http == 409


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RequestRefused("no-such-job"), "no-such-job"),
        (RequestRefused("cancelled"), "shutting-down"),
        (ConnectionLost("it broke"), "unavailable"),
        (
            DaemonUnavailable("missing", "/run/secret.sock", "no /run/secret.sock", ""),
            "unavailable",
        ),
        (ProtocolError("sent /etc/shadow"), "internal"),
        (KeyError("a defect"), "internal"),
    ],
)
def test_whatever_a_session_raises_becomes_a_refusal(error: Exception, code: str) -> None:
    refusal = as_refusal(error)
    assert refusal.code == code
    assert "secret" not in str(refusal)
    assert "shadow" not in str(refusal)
