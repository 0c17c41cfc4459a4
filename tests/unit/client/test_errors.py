"""Prose for people: what failed, on what, why, what to do."""

from __future__ import annotations

import time

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
    "network": "--net",
    "net.publish": "--publish",
    "limits.timeout_seconds": "--timeout",
    "limits.warning_seconds": "--warn",
    "limits.net_egress_bits_per_second": "--net-egress",
    "limits.io.read_operations_per_second": "--io-read-iops",
    "limits.rlimits": "--rlimit",
    "sandbox.filesystem": "--fs",
    "sandbox.preset": "--sandbox",
    "sandbox.root": "--root",
    "sandbox.seccomp": "--seccomp",
    "net.allow_egress": "--allow-egress",
    "sandbox.keep_changes": "--keep-changes",
    "sandbox.binds.source": "--bind",
}
_scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary())


@pytest.mark.parametrize("kind", [ConnectionLost, DaemonUnavailable, ProtocolError, RequestRefused])
def test_every_error_is_a_client_error(kind: type[Exception]) -> None:
    assert issubclass(kind, ClientError)


def refused(field: str, given_: str, allowed: str) -> RequestRefused:
    return RequestRefused("invalid-argument", field=field, given=given_, allowed=allowed)


def test_a_size_out_of_bounds_is_shown_in_units() -> None:
    error = refused("limits.memory_max_bytes", "1024", "4194304 to 1125899906842624")
    said = "1 KiB given; 4 MiB to 1 PiB allowed"
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
         "--timeout: -1.0 s given; 0.001 s to 3650 d allowed"),
        ("limits.timeout_seconds", "8639999913600.0", "0.001 to 315360000",
         "--timeout: 99999999 d given; 0.001 s to 3650 d allowed"),
        ("limits.timeout_seconds", "1e+400", "0.001 to 315360000",
         "--timeout: 1e+400 s given; 0.001 s to 3650 d allowed"),
        ("grace_seconds", "7200.0", "0 to 3600",
         "grace_seconds: 2 h given; 0 s to 1 h allowed"),
        ("limits.io[1].read_bytes_per_second", "1", "4096 to 1125899906842624",
         "--io-read: 1 byte a second given; 4 KiB to 1 PiB a second allowed"),
        ("limits.pids_max", "0", "1 to 4194304", "limits.pids_max: 0 given; 1 to 4194304 allowed"),
        ("argv[3]", "10485760 bytes", "at most 131071 bytes",
         "argv[3]: 10485760 bytes given; at most 131071 bytes allowed"),
        ("network", "'vlan'", "'none' or 'host'",
         "--net: 'vlan' given; allowed: 'none' or 'host'"),
        ("net.publish[0]", "network none", "network private with it",
         "--publish: --net none given; allowed: --net private with it"),
        ("limits.warning_seconds", "90.0", "less than timeout_seconds, which it comes before",
         "--warn: 1 min 30 s given; allowed: less than --timeout, which it comes before"),
        ("limits.net_egress_bits_per_second", "100", "8000 to 1000000000000",
         "--net-egress: 100 bit a second given; 8 kbit to 1 Tbit a second allowed"),
        ("limits.io[0].read_operations_per_second", "0", "1 to 1000000000",
         "--io-read-iops: 0 a second given; 1 to 1000000000 a second allowed"),
        ("sandbox.keep_changes", "b'/x'", "nothing, unless filesystem is overlay or root",
         "--keep-changes: '/x' given; not allowed, unless --fs is overlay or root"),
        ("limits.rlimits[...][0]", "-1", "0 to 5", "--rlimit: -1 given; 0 to 5 allowed"),
        ("limits.memory_max_bytes", "4194304", "at least 268435456, which it uses now",
         "--mem: 4 MiB given; allowed: at least 256 MiB, which it uses now"),
        ("limits.memory_high_bytes", "67108864", "at most memory_max_bytes, 33554432",
         ("limits.memory_high_bytes: 64 MiB given; at most --mem, 32 MiB allowed")),
        ("limits.memory_max_bytes", "4194305", "at most 4194304",
         "--mem: 4194305 bytes given; at most 4 MiB allowed"),
        ("limits.keep_segments", "3", "nothing, with filesystem overlay, which keeps everything",
         "limits.keep_segments: 3 given; not allowed with --fs overlay, which keeps everything"),
        ("limits.timeout_seconds", "5", "more than 60.500, the seconds that it has run",
         "--timeout: 5 s given; allowed: more than 1 min, the seconds that it has run"),
        ("sandbox.binds[3].source", "b'/x'", "a path", "--bind: '/x' given; allowed: a path"),
        ("net.allow_egress[0]", "'10.0.0.1/8'",
         "'10.0.0.1/8' is no network: its first address would be 10.0.0.0/8",
         ("--allow-egress: '10.0.0.1/8' given; allowed: '10.0.0.1/8' is no network: its first "
          "address would be 10.0.0.0/8")),
        ("sandbox.filesystem", "'root'", "root with it: a directory, tar archive",
         "--fs: 'root' given; allowed: --root with it: a directory, tar archive"),
        ("sandbox.filesystem", "'host'", "overlay or root, with preset untrusted",
         "--fs: 'host' given; allowed: overlay or root, with --sandbox untrusted"),
        ("limits.warning_seconds", "10.0", "timeout_seconds with it",
         "--warn: 10 s given; allowed: --timeout with it"),
        ("env['A.B']", "'A.B'", "a name without '='",
         "--env (env['A.B']): 'A.B' given; allowed: a name without '='"),
        ("cwd", "nothing", "it is required", "cwd: nothing given; it is required"),
    ],
)  # fmt: skip
def test_a_wrong_field_says_what_was_given_and_what_is_allowed(
    field: str, given_: str, allowed: str, text: str
) -> None:
    assert describe(refused(field, given_, allowed), OPTIONS) == text


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (RequestRefused("no-such-queue", field="queue", given="'gpu'", allowed="batch, default"),
         "--queue: 'gpu' given; there is no such queue; allowed: batch, default"),
        (RequestRefused("quota-exceeded", given="101 queued jobs", allowed="at most 100"),
         ("101 queued jobs given; your quota has no room for it; `runctl queues` shows it; "
         "at most 100 allowed")),
        (RequestRefused("quota-exceeded", given="12345678 bytes of output",
                        allowed="less than 10485760 bytes", detail="quotas.max_log_bytes says so"),
         "11.8 MiB of output given; quotas.max_log_bytes says so; allowed: less than 10 MiB"),
        (RequestRefused("quota-exceeded", field="limits.cpu_max_millicpus", given="2500",
                        allowed="4000 millicpus in all", detail="others have 2000 millicpus"),
         "--cpus: 2.5 CPUs given; others have 2 CPUs; allowed: 4 CPUs in all"),
        (RequestRefused("quota-exceeded", field="reserve.memory_bytes", given="12345678",
                        allowed="at most 10485760"),
         ("reserve.memory_bytes: 11.8 MiB given; your quota has no room for it; `runctl queues` "
         "shows it; at most 10 MiB allowed")),
        (RequestRefused("key-in-use", field="idempotency_key", given="'nightly'"),
         ("--key: 'nightly' given; the key was used for another command; use another one, or "
          "remove that job once it ended")),
        (RequestRefused("invalid-argument", field="delay_seconds", given="30.0",
                        allowed="nothing, with not_before_ns"),
         "delay_seconds: 30 s given; not allowed with --at"),
        (RequestRefused("no-such-job", field="after[1].job", given="'3f2a'"),
         "--after: '3f2a' given; no job of yours matches; `runctl ps --all` lists them"),
        (RequestRefused("ambiguous-job", field="before", given="'3f2a'", candidates=["a", "b"]),
         "before: '3f2a' given; several jobs match; give more of the id: a, b"),
        (RequestRefused("job-state", field="before", given="running", detail="it is running"),
         "before: it is running"),
    ],
)  # fmt: skip
def test_what_the_queue_refuses_is_said_with_its_figures_in_units(
    error: RequestRefused, text: str
) -> None:
    options = {"queue": "--queue", "idempotency_key": "--key", "not_before_ns": "--at"}
    options["after.job"] = "--after"
    assert describe(error, {**OPTIONS, **options}) == text


def test_a_time_is_shown_by_the_readers_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC-2")
    time.tzset()
    try:
        error = refused("not_before_ns", "1700000000000000000", "a time from 1763810000000000000")
        said = "2023-11-15 00:13:20 given; allowed: a time from 2025-11-22 13:13:20"
        assert describe(error, {"not_before_ns": "--at"}) == f"--at: {said}"
        assert "-5 given" in describe(refused("deadline_ns", "-5", "0 to 9223372036854775807"))
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize(
    ("given_", "text"),
    [
        ("b'/'", "'/'"),
        ("b''", "''"),
        (r"b'/h\xc3\xa9'", "'/hé'"),
        (r"b'/\xff\x1b\n'", r"'/\xff\x1b\n'"),
        ('b"/it\'s"', '"/it\'s"'),
        (r"""b'/"it\'s"'""", r'''"/"it's""'''),
        (r"b'/a\\b'", r"'/a\b'"),
        ("b'/aaa…", "'/aaa…"),
        (r"b'/a\xc…", "'/a…"),
        ("b'/a' and b'/b'", "b'/a' and b'/b'"),
        (r"b'/\q'", r"b'/\q'"),
        ("\"b'/x'\"", "\"b'/x'\""),
    ],
)
def test_a_path_that_came_as_bytes_is_shown_like_text(given_: str, text: str) -> None:
    assert describe(refused("x", given_, "y")) == f"x: {text} given; allowed: y"


@given(st.binary(), st.integers(0, 100))
def test_whatever_bytes_are_given_are_shown_like_text(path: bytes, cut: int) -> None:
    said = describe(refused("x", ascii(path), "y"))
    assert said.isprintable()
    assert not said.startswith("x: b")
    assert not describe(refused("x", f"{ascii(path)[:-1][: 2 + cut]}…", "y")).startswith("x: b")


def test_the_daemons_own_sentence_is_passed_on() -> None:
    error = RequestRefused(
        "limit-unavailable", field="limits.memory_max_bytes", detail="no memory controller; do X"
    )
    assert describe(error, OPTIONS) == "--mem: no memory controller; do X"


def test_a_job_in_another_state_is_named_with_what_may_be_done() -> None:
    error = RequestRefused("job-state", given="queued", detail="it has not started; wait")
    assert describe(error) == "it has not started; wait"
    error.job = "build"
    assert describe(error) == "build: it has not started; wait"
    error.detail = None
    assert describe(error) == "build: the job is not in a state for that; it is queued"


def test_a_limit_below_the_use_says_what_was_asked_and_what_is_used() -> None:
    error = RequestRefused(
        "limit-below-use", field="limits.memory_max_bytes", given="4194304",
        detail="it uses 268435456 bytes now",
    )  # fmt: skip
    said = "--mem: 4 MiB given; it uses 256 MiB now"
    assert describe(error, OPTIONS) == said


def test_an_ambiguous_job_lists_the_candidates() -> None:
    error = RequestRefused("ambiguous-job", given="3f2a", candidates=["3f2a1", "3f2a2"])
    assert describe(error) == "3f2a: several jobs match; give more of the id: 3f2a1, 3f2a2"


def test_a_code_without_data_still_says_what_to_do() -> None:
    assert "runctl ps --all" in describe(RequestRefused("no-such-job"))
    assert "same release" in describe(RequestRefused("unsupported-protocol"))
    assert describe(RequestRefused("internal")) == "runnerd has a defect; its log has the details"
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
