"""How a job ended, in C: the same verdict as the Python one, from the same facts and reports."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from isolation.payload import EXEC_STEP, EXECUTING, MAX_REPORT_BYTES, parse_report, report_of
from runner import outcome
from runner.outcome import Facts, Outcome
from tests.unit.native.frames import Driver
from tests.unit.native.test_watchdog import CAUSES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_NONE: Final = "-"


class Seen(NamedTuple):
    """What a monitor saw, the set-up's report not parsed yet."""

    wait_status: int | None
    oom_kills: int
    hit_memory_limit: bool
    cause: str | None
    stopped_by_uid: int | None
    excess: bool
    log_errno: int
    dropped_bytes: int
    report: bytes


uids = st.integers(0, 2**32 - 2)
statuses = st.integers(0, 255).map(lambda code: code << 8) | st.builds(
    lambda number, core: number | core, st.integers(1, 64), st.sampled_from([0, 0x80])
)
numbers = st.sampled_from([0, *errno.errorcode]) | st.integers(0, 5000)
steps = st.just(EXEC_STEP) | st.sampled_from(["start", "drop privileges", "zug", ""])
# Never nothing, never a 0: nothing of ours reports such a text, and C has no other end.
texts = st.binary(min_size=1).map(lambda text: text.replace(b"\0", b"?")) | st.text(min_size=1).map(
    lambda text: text.replace("\0", "?").encode("utf-8", "surrogatepass")
)
reports = st.just(EXECUTING) | st.builds(
    lambda begun, step, number, text: (
        begun + b"\0".join([step.encode(), b"%d" % number, text])[:MAX_REPORT_BYTES]
    ),
    st.sampled_from([b"", EXECUTING]),
    steps,
    numbers,
    texts,
)
seen = st.builds(
    Seen,
    st.none() | statuses | st.just(9),
    st.sampled_from([0, 1, 2**63 - 1]),
    st.booleans(),
    st.none() | st.sampled_from(CAUSES),
    st.none() | uids,
    st.booleans(),
    st.just(0) | numbers,
    st.sampled_from([0, 1, 2]) | st.integers(0, 2**63 - 1),
    reports,
)


@pytest.fixture(scope="module")
def native(driver: Callable[..., str]) -> Iterator[Driver]:
    with Driver(driver("outcome", "outcome")) as process:
        yield process


def asked(native: Driver, line: str, rest: bytes = b"") -> Outcome:
    head, _, detail = native.ask(line.encode() + b"\n" + rest).decode().partition("\n")
    reason, status, *others = head.split()
    code, number, uid = (None if word == _NONE else int(word) for word in others)
    return Outcome(reason, code, number, int(status), detail or None, uid)


def asked_to_judge(native: Driver, facts: Seen) -> Outcome:
    status, uid = facts.wait_status, facts.stopped_by_uid
    words = [
        status is not None, status or 0, facts.oom_kills, facts.hit_memory_limit,
        CAUSES.index(facts.cause), -1 if uid is None else uid, facts.excess, facts.log_errno,
        facts.dropped_bytes,
    ]  # fmt: skip
    return asked(native, " ".join(["judge", *(str(int(word)) for word in words)]), facts.report)


def judged(facts: Seen) -> Outcome:
    """What `runner.run_loop` makes of it."""
    failure = parse_report(facts.report)
    whole = Facts(*facts[:3], facts.stopped_by_uid, facts.cause, *facts[5:8])
    if failure is not None:
        whole = whole._replace(
            failed_step=failure.step,
            failed_errno=failure.errno,
            failed_text=failure.text,
            is_exec_step=failure.step == EXEC_STEP,
        )
    return outcome.judge(whole)


@settings(max_examples=2000)
@given(seen)
def test_any_facts_give_the_same_verdict(native: Driver, facts: Seen) -> None:
    assert asked_to_judge(native, facts) == judged(facts)


PLAIN = Seen(
    0, 0, hit_memory_limit=True, cause=None, stopped_by_uid=None, excess=False, log_errno=0,
    dropped_bytes=0, report=EXECUTING,
)  # fmt: skip


@given(texts, steps, numbers)
def test_a_failed_step_is_told_the_same_whatever_bytes_it_names(
    native: Driver, text: bytes, step: str, number: int
) -> None:
    report = b"\0".join([step.encode(), b"%d" % number, text])[:MAX_REPORT_BYTES]
    facts = PLAIN._replace(wait_status=125 << 8, report=report)
    assert asked_to_judge(native, facts) == judged(facts)


@pytest.mark.parametrize("report", [b"", EXECUTING, EXECUTING * 2, b"step", b"step\x005"])
def test_a_report_that_is_cut_off_is_read_the_same(native: Driver, report: bytes) -> None:
    facts = PLAIN._replace(wait_status=9, report=report)
    verdict, wanted = asked_to_judge(native, facts), judged(facts)
    assert verdict == wanted or (wanted.detail == "" and verdict.detail is None)


def test_the_longest_report_of_bytes_that_are_no_text_is_shown_whole(native: Driver) -> None:
    error = OSError(errno.ENOENT, "it is gone", b"\xff" * 4096)
    facts = PLAIN._replace(wait_status=125 << 8, report=report_of("x" * 300, error))
    assert asked_to_judge(native, facts) == judged(facts)
    assert len(judged(facts).detail or "") > 300 + 4 * 150


@given(st.text(min_size=1, max_size=500))
def test_what_never_ran_and_what_is_lost_say_why(native: Driver, text: str) -> None:
    assume("\0" not in text)
    detail = text.encode()
    assert asked(native, "lost", detail) == outcome.lost(text)
    assert asked(native, "never", detail) == outcome.never_started(text)


@pytest.mark.parametrize("number", [*errno.errorcode, 4095])
def test_a_log_that_cannot_begin_says_why(native: Driver, number: int) -> None:
    assert asked(native, f"log {number}") == outcome.no_log(number)
