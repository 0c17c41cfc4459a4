"""How a job ended: the first cause wins, and nothing unknown is reported as a success."""

from __future__ import annotations

import errno
import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import outcome
from runner.outcome import Facts, Outcome, judge


def exited(code: int) -> int:
    """A wait status, as wait(2) packs it."""
    return code << 8


def killed(number: int, *, core: bool = False) -> int:
    return number | (0x80 if core else 0)


ENOSPC_TEXT = "its output could not be stored: No space left on device; 70000 bytes were dropped"
EIO_TEXT = "its output could not be stored: Input/output error; 1 byte was dropped"


@pytest.mark.parametrize(
    ("facts", "verdict"),
    [
        (Facts(exited(0)), Outcome("exit", 0, None, 0)),
        (Facts(exited(3)), Outcome("exit", 3, None, 3)),
        (Facts(exited(255)), Outcome("exit", 255, None, 255)),
        (Facts(killed(11)), Outcome("signal", None, 11, 139)),
        (Facts(killed(6, core=True)), Outcome("signal", None, 6, 134)),
        (Facts(killed(9)), Outcome("signal", None, 9, 137)),
        (Facts(killed(9), oom_kills=1), Outcome("oom", None, 9, 137)),
        (
            Facts(killed(9), oom_kills=1, hit_memory_limit=False),
            Outcome("oom", None, 9, 137, "the host ran out of memory"),
        ),
        (Facts(killed(15), cause="timeout"), Outcome("timeout", None, 15, 124)),
        (Facts(exited(0), cause="timeout"), Outcome("timeout", 0, None, 124)),
        (Facts(killed(15), cause="cpu-time"), Outcome("cpu-time", None, 15, 124)),
        (Facts(killed(15), cause="output-limit"), Outcome("output-limit", None, 15, 153)),
        (Facts(exited(0), excess=True), Outcome("output-limit", 0, None, 153)),
        (
            Facts(killed(15), cause="stopped", stopped_by_uid=1000),
            Outcome("stopped", None, 15, 143, None, 1000),
        ),
        (
            Facts(exited(0), cause="stopped", stopped_by_uid=0),
            Outcome("stopped", 0, None, 0, None, 0),
        ),
        (
            Facts(exited(0), log_errno=errno.ENOSPC, dropped_bytes=70000),
            Outcome("log-error", 0, None, 125, ENOSPC_TEXT),
        ),
        (
            Facts(killed(15), cause="log-error", log_errno=errno.EIO, dropped_bytes=1),
            Outcome("log-error", None, 15, 125, EIO_TEXT),
        ),
        # What is dropped by policy leaves the end to the job.
        (Facts(exited(3), dropped_bytes=70000), Outcome("exit", 3, None, 3)),
    ],
)
def test_each_cause_has_its_reason_and_its_exit_status(facts: Facts, verdict: Outcome) -> None:
    assert judge(facts) == verdict


@pytest.mark.parametrize(
    ("number", "status"),
    [
        (errno.ENOENT, 127),
        (errno.ENOTDIR, 127),
        (errno.EACCES, 126),
        (errno.ENOEXEC, 126),
        (errno.E2BIG, 126),
    ],
)
def test_a_command_that_cannot_be_executed_exits_as_in_a_shell(number: int, status: int) -> None:
    facts = Facts(
        exited(125),
        failed_step="execute the command",
        failed_errno=number,
        failed_text="x: why",
        is_exec_step=True,
    )
    assert judge(facts) == Outcome("launch-error", None, None, status, "x: why")


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EPERM, 0])
def test_a_failed_step_of_the_set_up_is_named_and_exits_with_our_own_status(number: int) -> None:
    facts = Facts(exited(125), failed_step="a step", failed_errno=number, failed_text="why")
    assert judge(facts) == Outcome("launch-error", None, None, 125, "a step: why")


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        (Facts(killed(9), 1, cause="stopped", stopped_by_uid=5, excess=True), "stopped"),
        (Facts(killed(9), oom_kills=1, cause="timeout"), "timeout"),
        (Facts(killed(9), cause="timeout", failed_step="start"), "timeout"),
        (Facts(killed(9), cause="cpu-time", excess=True), "cpu-time"),
        (Facts(killed(9), cause="log-error", log_errno=28, excess=True), "log-error"),
        (Facts(killed(9), cause="timeout", log_errno=28), "timeout"),
        (Facts(killed(9), cause="stopped", stopped_by_uid=5, log_errno=28), "stopped"),
        (Facts(killed(9), oom_kills=1, failed_step="start"), "oom"),
        (Facts(killed(9), failed_step="start"), "launch-error"),
    ],
)
def test_of_several_causes_the_first_is_named(facts: Facts, reason: str) -> None:
    assert judge(facts).reason == reason


@pytest.mark.parametrize("status", [exited(1), exited(0), killed(15), killed(6)])
def test_memory_kills_that_the_first_process_survived_are_not_its_end(status: int) -> None:
    assert judge(Facts(status, oom_kills=3)).reason in {"exit", "signal"}


unstopped = st.builds(
    Facts,
    wait_status=st.none() | st.integers(0, 255).map(exited) | st.integers(1, 64).map(killed),
    oom_kills=st.integers(0, 3),
    hit_memory_limit=st.booleans(),
    cause=st.sampled_from([None, "timeout", "cpu-time", "output-limit", "log-error"]),
    excess=st.booleans(),
    log_errno=st.sampled_from([0, errno.ENOSPC, errno.EIO, 9999]),
    dropped_bytes=st.integers(0, 2**63),
    failed_step=st.none() | st.text(max_size=5),
    failed_errno=st.sampled_from([0, errno.ENOENT, errno.EPERM]),
    failed_text=st.text(max_size=5),
    is_exec_step=st.booleans(),
)
stopped = st.builds(
    lambda facts, uid: facts._replace(cause="stopped", stopped_by_uid=uid),
    unstopped,
    st.integers(0, 2**32 - 2),
)
facts_of_all_kinds = unstopped | stopped


@given(facts_of_all_kinds)
def test_any_facts_give_a_known_reason_and_a_status_that_fits_in_a_byte(facts: Facts) -> None:
    verdict = judge(facts)
    assert verdict.reason in outcome.REASONS
    assert 0 <= verdict.exit_status <= 255
    assert verdict.exit_code is None or verdict.signal is None
    assert (verdict.stopped_by_uid is None) == (verdict.reason != "stopped")


@given(facts_of_all_kinds)
def test_a_job_counts_as_a_success_only_when_its_command_said_so(facts: Facts) -> None:
    verdict = judge(facts)
    if verdict.exit_status == 0:
        assert facts.wait_status == 0
        assert verdict.reason in {"exit", "stopped"}


@given(facts_of_all_kinds.filter(lambda facts: facts.wait_status is None))
def test_what_was_never_forked_is_never_a_success(facts: Facts) -> None:
    assert judge(facts).exit_status != 0


def test_a_job_stopped_in_the_queue_ends_as_if_by_sigterm() -> None:
    verdict = outcome.stopped_in_queue(1000)
    assert verdict[:4] == ("stopped", None, None, 128 + signal.SIGTERM)
    assert verdict.stopped_by_uid == 1000


@pytest.mark.parametrize(
    ("verdict", "reason"),
    [(outcome.lost("why"), "lost"), (outcome.never_started("why"), "launch-error")],
)
def test_what_is_not_known_or_never_ran_exits_with_our_own_status(
    verdict: Outcome, reason: str
) -> None:
    assert verdict == Outcome(reason, None, None, 125, "why")
