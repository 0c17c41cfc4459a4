"""Prose for people: what failed, on what, why, what to do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.errors import (
    ClientError,
    ConnectionLost,
    DaemonUnavailable,
    ProtocolError,
    RequestRefused,
    describe,
)

OPTIONS = {
    "limits.memory_max_bytes": "--mem",
    "limits.cpu_max_millicpus": "--cpus",
    "limits.io.read_bytes_per_second": "--io-read",
    "env": "--env",
}
_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())


@pytest.mark.parametrize("kind", [ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused])
def test_every_error_is_a_client_error(kind: type[Exception]) -> None:
    assert issubclass(kind, ClientError)


def refused(field: str, given_: str, allowed: str) -> RequestRefused:
    return RequestRefused("invalid-argument", field=field, given=given_, allowed=allowed)


def test_a_size_out_of_bounds_is_shown_in_units() -> None:
    error = refused("limits.memory_max_bytes", "1024", "4194304 to 1125899906842624")
    said = "1024 bytes given; 4 MiB to 1 PiB allowed"
    assert describe(error) == f"limits.memory_max_bytes: {said}"
    assert describe(error, OPTIONS) == f"--mem: {said}"
    assert str(error) == describe(error)


@pytest.mark.parametrize(
    ("field", "given_", "allowed", "text"),
    [
        (
            "limits.cpu_max_millicpus",
            "5",
            "10 to 1024000",
            "--cpus: 0.005 CPUs given; 0.01 to 1024 CPUs allowed",
        ),
        ("limits.timeout_seconds", "-1.0", "0.001 to 315360000",
         "limits.timeout_seconds: -1.0 s given; 0.001 s to 3650 d allowed"),
        ("limits.timeout_seconds", "8639999913600.0", "0.001 to 315360000",
         "limits.timeout_seconds: 99999999 d given; 0.001 s to 3650 d allowed"),
        ("limits.timeout_seconds", "1e+400", "0.001 to 315360000",
         "limits.timeout_seconds: 1e+400 s given; 0.001 s to 3650 d allowed"),
        ("grace_seconds", "7200.0", "0 to 3600",
         "grace_seconds: 2 h given; 0 s to 1 h allowed"),
        ("limits.io[1].read_bytes_per_second", "1", "4096 to 1125899906842624",
         "--io-read: 1 byte a second given; 4 KiB to 1 PiB a second allowed"),
        ("limits.pids_max", "0", "1 to 4194304", "limits.pids_max: 0 given; 1 to 4194304 allowed"),
        ("argv[3]", "10485760 bytes", "at most 131071 bytes",
         "argv[3]: 10485760 bytes given; at most 131071 bytes allowed"),
        ("network", "'vlan'", "'none' or 'host'",
         "network: 'vlan' given; allowed: 'none' or 'host'"),
        ("env['A.B']", "'A.B'", "a name without '='",
         "--env (env['A.B']): 'A.B' given; allowed: a name without '='"),
        ("cwd", "nothing", "it is required", "cwd: nothing given; it is required"),
    ],
)  # fmt: skip
def test_a_wrong_field_says_what_was_given_and_what_is_allowed(
    field: str, given_: str, allowed: str, text: str
) -> None:
    assert describe(refused(field, given_, allowed), OPTIONS) == text


def test_the_daemons_own_sentence_is_passed_on() -> None:
    error = RequestRefused(
        "limit-unavailable", field="limits.memory_max_bytes", detail="no memory controller; do X"
    )
    assert describe(error, OPTIONS) == "--mem: no memory controller; do X"


def test_an_ambiguous_job_lists_the_candidates() -> None:
    error = RequestRefused("ambiguous-job", given="3f2a", candidates=["3f2a1", "3f2a2"])
    assert describe(error) == "3f2a: several jobs match; give more of the id: 3f2a1, 3f2a2"


def test_a_code_without_data_still_says_what_to_do() -> None:
    assert "runctl ps --all" in describe(RequestRefused("no-such-job"))
    assert "same release" in describe(RequestRefused("unsupported-protocol"))
    assert "its log" in describe(RequestRefused("internal", detail="KeyError"))


def test_a_job_named_by_too_few_letters_is_told_so() -> None:
    assert "at least 4 characters" in describe(RequestRefused("no-such-job", given="ab"))
    assert "at least" not in describe(RequestRefused("no-such-job", given="abcd"))


def test_a_code_of_a_later_daemon_is_shown() -> None:
    assert describe(RequestRefused("on-fire")) == "runnerd refused it (on-fire)"


@given(
    st.fixed_dictionaries(
        {"code": st.text()},
        optional={
            "field": st.one_of(st.none(), st.text()),
            "given": _scalars,
            "allowed": _scalars,
            "detail": _scalars,
            "candidates": st.one_of(_scalars, st.lists(_scalars, max_size=3)),
        },
    )
)
def test_whatever_the_wire_brings_becomes_one_printable_line(error: dict[str, object]) -> None:
    assert describe(RequestRefused.from_wire(error), OPTIONS).isprintable()


@pytest.mark.parametrize("error", [None, 1, "x", [], {}, {"code": 5}, {"detail": "x"}])
def test_an_error_without_a_code_is_a_protocol_error(error: object) -> None:
    with pytest.raises(ProtocolError, match="without a code"):
        RequestRefused.from_wire(error)


def test_other_errors_are_described_by_their_text() -> None:
    assert describe(ConnectionLost("it is\x1b gone")) == "it is\\x1b gone"
    assert describe(ValueError()) == "ValueError"
