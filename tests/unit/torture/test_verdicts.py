"""The torture's own judgement: what was not disturbed must be exact, and nothing else passes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.torture import plan, verdicts
from tests.torture.ledger import Trail
from tests.torture.programs import STDERR, STDOUT
from tests.torture.verdicts import DifferenceError, LogCheck
from tests.torture.wishes import Wishes

NONE: frozenset[str] = frozenset()
PLAIN = next(
    job for job in (plan.job_plan(1, n) for n in range(99)) if job.ending == plan.EXIT
)._replace(value=3, gaps=NONE, wishes=Wishes())


def result(**fields: Any) -> dict[str, Any]:
    usual = {
        "reason": "exit", "exit_code": 3, "signal": None, "exit_status": 3, "detail": None,
        "stopped_by_uid": None, "wall_ns": 10**9, "paused_ns": 0, "log_bytes": 0,
    }  # fmt: skip
    return {**usual, **fields}


LOST = result(reason="lost", exit_code=None, exit_status=125)

# Results


def test_the_planned_end_is_right() -> None:
    verdicts.check_result(PLAIN, Trail(0), result())
    dying = PLAIN._replace(ending=plan.SIGNAL, value=15)
    ended = result(reason="signal", exit_code=None, signal=15, exit_status=143)
    verdicts.check_result(dying, Trail(0), ended)


@pytest.mark.parametrize(
    "wrong",
    [{"exit_code": 4}, {"exit_status": 4}, {"signal": 9}, {"reason": "signal"}, {"reason": "oom"}],
)
def test_another_end_differs(wrong: dict[str, Any]) -> None:
    with pytest.raises(DifferenceError):
        verdicts.check_result(PLAIN, Trail(0), result(**wrong))


@pytest.mark.parametrize("trail", [Trail(0, monitor_killed=True), Trail(0, power_cut=True)])
def test_a_job_may_be_lost_when_that_is_explained(trail: Trail) -> None:
    verdicts.check_result(PLAIN, trail, LOST)
    with pytest.raises(DifferenceError):
        verdicts.check_result(PLAIN, trail, {**LOST, "exit_status": 0})


@pytest.mark.parametrize("trail", [Trail(0), Trail(0, disk_full=True), Trail(0, stopped_by=[1])])
def test_a_job_is_not_lost_for_anything_else(trail: Trail) -> None:
    with pytest.raises(DifferenceError, match="lost"):
        verdicts.check_result(PLAIN, trail, LOST)


def test_only_somebody_who_stopped_it_has_stopped_it() -> None:
    stopped = result(reason="stopped", stopped_by_uid=7)
    verdicts.check_result(PLAIN, Trail(0, stopped_by=[7]), stopped)
    for trail in (Trail(0), Trail(0, stopped_by=[8])):
        with pytest.raises(DifferenceError):
            verdicts.check_result(PLAIN, trail, stopped)


def test_a_lack_of_room_is_believed_when_there_was_none() -> None:
    failed = result(reason="launch-error", exit_status=125, detail="No space left on device")
    verdicts.check_result(PLAIN, Trail(0, disk_full=True), failed)
    with pytest.raises(DifferenceError):
        verdicts.check_result(PLAIN, Trail(0), failed)
    with pytest.raises(DifferenceError):
        verdicts.check_result(PLAIN, Trail(0, disk_full=True), {**failed, "detail": "EPERM"})


@pytest.mark.parametrize(("seconds", "paused", "right"), [
    (2.0, 0.0, True), (1.9, 0.0, False), (3.0, 1.5, False), (4.0, 1.5, True), (70.0, 0.0, False),
])  # fmt: skip
def test_a_time_limit_strikes_when_its_time_has_passed(
    seconds: float, paused: float, *, right: bool
) -> None:
    job = PLAIN._replace(ending=plan.TIMEOUT, limits={"timeout_seconds": 2.0})
    ended = result(
        reason="timeout", exit_code=None, signal=15, exit_status=124,
        wall_ns=int(seconds * 1e9), paused_ns=int(paused * 1e9),
    )  # fmt: skip
    if right:
        verdicts.check_result(job, Trail(0), ended)
    else:
        with pytest.raises(DifferenceError, match="time limit"):
            verdicts.check_result(job, Trail(0), ended)


def test_a_command_runs_once_in_each_attempt() -> None:
    before = [{"attempt": 1, "result": result()}]
    verdicts.check_starts(PLAIN, Trail(0, result=result()), {1: 1})
    verdicts.check_starts(PLAIN, Trail(0, result=result(), attempts=before), {1: 1, 2: 1})
    verdicts.check_starts(PLAIN, Trail(0, result=LOST), {})
    verdicts.check_starts(PLAIN, Trail(0), {})
    wrong: list[tuple[Trail, dict[int, int]]] = [
        (Trail(0, result=result()), {}),
        (Trail(0, result=result()), {1: 2}),
        (Trail(0, result=result()), {1: 1, 2: 1}),
        (Trail(0, result=result(), attempts=before), {2: 1}),
        (Trail(0, result=LOST), {1: 2}),
        (Trail(0), {1: 2}),
    ]
    for trail, counts in wrong:
        with pytest.raises(DifferenceError):
            verdicts.check_starts(PLAIN, trail, counts)


# Attempts


def attempts(*results: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"attempt": number, "result": each} for number, each in enumerate(results, 1)]


RETRIED = PLAIN._replace(
    value=0,
    wishes=Wishes(retry={"limit": 2, "backoff_seconds": 0.0}, failures=1, failure=7),
)
GOOD = result(exit_code=0, exit_status=0)
BAD = result(exit_code=7, exit_status=7)


def test_a_job_is_tried_again_until_it_ends_well() -> None:
    verdicts.check_end(RETRIED, Trail(0), attempts(BAD), GOOD)
    killed = Trail(0, monitor_killed=True)
    verdicts.check_end(RETRIED, killed, attempts(BAD, LOST), GOOD)
    verdicts.check_end(RETRIED, killed, attempts(BAD, LOST), LOST)
    verdicts.check_end(RETRIED, killed, attempts(LOST), GOOD)


@pytest.mark.parametrize(
    ("earlier", "last"),
    [
        ([], BAD),  # one that was to be tried again
        ([], GOOD),  # the first fails, as planned
        ([BAD, GOOD], GOOD),  # one too many
        ([BAD, BAD], GOOD),
        ([LOST], GOOD),  # by nothing that explains it
    ],
)
def test_attempts_that_do_not_go_by_the_policy_differ(
    earlier: list[dict[str, Any]], last: dict[str, Any]
) -> None:
    with pytest.raises(DifferenceError):
        verdicts.check_end(RETRIED, Trail(0), attempts(*earlier), last)


def test_who_stopped_a_job_keeps_it_from_being_tried_again() -> None:
    verdicts.check_end(RETRIED, Trail(0, stopped_by=[7]), [], BAD)
    stopped = result(reason="stopped", stopped_by_uid=7, exit_code=None, exit_status=143)
    in_group = Trail(0, group_stopped_by=[7])
    verdicts.check_end(PLAIN._replace(ending=plan.STOP), in_group, [], stopped)
    with pytest.raises(DifferenceError):
        verdicts.check_end(PLAIN, in_group, [], stopped)


def test_attempts_of_a_job_without_a_policy_differ_unless_it_was_retried_by_hand() -> None:
    with pytest.raises(DifferenceError, match="2 attempts"):
        verdicts.check_end(PLAIN, Trail(0), attempts(result()), result())
    by_hand = PLAIN._replace(wishes=Wishes(again=True))
    verdicts.check_end(by_hand, Trail(0, again=True), attempts(result()), result())
    with pytest.raises(DifferenceError, match="by hand"):
        verdicts.check_end(by_hand, Trail(0), attempts(result()), result())


# Logs


@given(
    st.lists(st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=9))),
    st.data(),
)
def test_an_exact_log_passes_and_one_wrong_byte_does_not(
    runs: list[tuple[int, bytes]], data: st.DataObject
) -> None:
    expected = {
        stream: b"".join(text for at, text in runs if at == stream) for stream in (STDOUT, STDERR)
    }
    check = LogCheck(expected, NONE)
    feed(check, runs)
    total = sum(map(len, expected.values()))
    check.finish(complete=True, log_bytes=total)
    assert check.compared == total
    if runs:
        wrong = data.draw(st.integers(0, len(runs) - 1))
        stream, text = runs[wrong]
        runs[wrong] = (stream, bytes([text[0] ^ 1]) + text[1:])
        with pytest.raises(DifferenceError, match="differs at its byte"):
            feed(LogCheck(expected, NONE), runs)


def feed(check: LogCheck, runs: list[tuple[int, bytes]]) -> None:
    for stream, text in runs:
        check.chunk(check.offset, stream, text)


def test_output_that_is_repeated_or_left_out_differs() -> None:
    check = LogCheck({STDOUT: b"abcdef", STDERR: b""}, NONE)
    check.chunk(0, STDOUT, b"abc")
    for offset in (0, 4):
        with pytest.raises(DifferenceError, match="from offset"):
            check.chunk(offset, STDOUT, b"d")
    with pytest.raises(DifferenceError, match="differs"):
        check.chunk(3, STDOUT, b"defg")


def test_a_log_that_ends_early_differs_when_it_must_be_complete() -> None:
    check = LogCheck({STDOUT: b"abc", STDERR: b""}, NONE)
    check.chunk(0, STDOUT, b"ab")
    check.finish(complete=False, log_bytes=2)
    for complete, log_bytes in ((True, 2), (False, 3)):
        with pytest.raises(DifferenceError):
            check.finish(complete=complete, log_bytes=log_bytes)


def test_bytes_may_be_missing_for_the_allowed_reason_only() -> None:
    check = LogCheck({STDOUT: b"abcdef", STDERR: b""}, frozenset({"dropped"}))
    check.chunk(0, STDOUT, b"ab")
    with pytest.raises(DifferenceError, match="missing"):
        check.gap(4, 2, "damaged")
    check.gap(4, 2, "dropped")
    check.chunk(4, STDOUT, b"ef")
    check.finish(complete=True, log_bytes=6)
    assert check.missing == {"dropped": 2}


def test_a_gap_that_does_not_add_up_differs() -> None:
    check = LogCheck({STDOUT: b"abcdef", STDERR: b""}, frozenset({"dropped"}))
    for offset, length in ((4, 3), (0, 0), (4, 5)):
        with pytest.raises(DifferenceError, match="a gap"):
            check.gap(offset, length, "dropped")


def test_after_a_gap_in_two_streams_only_offsets_are_compared() -> None:
    check = LogCheck({STDOUT: b"abc", STDERR: b"def"}, frozenset({"damaged"}))
    check.gap(2, 2, "damaged")
    check.chunk(2, STDERR, b"f")
    with pytest.raises(DifferenceError, match="from offset"):
        check.chunk(2, STDERR, b"f")


def test_damage_is_allowed_only_to_a_job_that_the_power_cut_ended() -> None:
    cut = Trail(0, power_cut=True)
    assert verdicts.allowed_gaps(PLAIN, cut, LOST) == {"damaged"}
    assert verdicts.allowed_gaps(PLAIN, cut, result()) == set()
    assert verdicts.allowed_gaps(PLAIN, Trail(0), LOST) == set()


def test_output_that_found_no_room_ended_the_job_where_that_was_asked_for() -> None:
    job = PLAIN._replace(logs={"on_full": "end"}, gaps=frozenset({"dropped"}))
    assert verdicts.allowed_gaps(job, Trail(0), None) == {"dropped"}
    assert verdicts.allowed_gaps(job, Trail(0), result(reason="log-error")) == {"dropped"}
    assert verdicts.allowed_gaps(job, Trail(0), result()) == set()
