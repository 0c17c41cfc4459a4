"""Deadlines of a job: each is met, none can be put off, and the first cause is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.outcome import CPU_TIME, DEADLINE, LOG_ERROR, OUTPUT_LIMIT, STOPPED, TIMEOUT
from runner.watchdog import KILL, TERMINATE, WARN, Bounds, Watchdog


def watchdog_of(
    timeout: float | None = None,
    grace: float = 10.0,
    *,
    started: float = 0.0,
    warning: float | None = None,
    cpu_time: float | None = None,
    cpus: int = 1,
    has_deadline: bool = False,
) -> Watchdog:
    bounds = Bounds(timeout, warning, cpu_time)
    return Watchdog(started, bounds, grace, cpus, has_deadline=has_deadline)


# --- the timeout ---


def test_without_a_timeout_nothing_is_ever_due() -> None:
    watchdog = watchdog_of(started=100.0)
    assert watchdog.deadline() is None
    assert watchdog.on_time(1e9) is None
    assert watchdog.cause is None


def test_a_timeout_terminates_then_kills_after_the_grace() -> None:
    watchdog = watchdog_of(5.0, started=100.0)
    assert watchdog.deadline() == 105.0
    assert watchdog.on_time(104.999) is None
    assert watchdog.cause is None
    assert watchdog.on_time(105.0) == TERMINATE
    assert watchdog.cause == TIMEOUT
    assert watchdog.deadline() == 115.0
    assert watchdog.on_time(114.999) is None
    assert watchdog.on_time(115.0) == KILL
    assert watchdog.deadline() is None
    assert watchdog.on_time(1e9) is None


def test_a_timeout_without_grace_kills_at_once() -> None:
    watchdog = watchdog_of(5.0, 0.0)
    assert watchdog.on_time(5.0) == KILL
    assert watchdog.cause == TIMEOUT
    assert watchdog.deadline() is None


# --- the deadline, by the wall clock ---


def test_without_a_deadline_the_wall_clock_is_never_looked_at() -> None:
    watchdog = watchdog_of(5.0)
    assert not watchdog.wants_wall_clock(1e9)


def test_the_wall_clock_is_looked_at_once_a_second_at_least_and_at_the_deadline() -> None:
    watchdog = watchdog_of(started=100.0, has_deadline=True)
    looks = []
    now, remaining = 100.0, 2.5
    while remaining > 0:
        assert watchdog.deadline() == now
        assert watchdog.wants_wall_clock(now)
        assert watchdog.on_wall_clock(now, remaining) is None
        assert not watchdog.wants_wall_clock(now)
        due = watchdog.deadline()
        assert due is not None
        looks.append(due)
        remaining -= due - now
        now = due
    assert looks == [101.0, 102.0, 102.5]
    assert watchdog.on_wall_clock(now, remaining) == TERMINATE
    assert watchdog.cause == DEADLINE
    assert watchdog.deadline() == now + 10.0
    assert watchdog.on_time(now + 10.0) == KILL
    assert not watchdog.wants_wall_clock(1e9)


def test_a_clock_that_is_set_counts_and_an_end_that_has_begun_is_not_put_off() -> None:
    watchdog = watchdog_of(has_deadline=True)
    assert watchdog.on_wall_clock(0.0, 3600.0) is None
    assert watchdog.on_wall_clock(1.0, -500.0) == TERMINATE
    # Set back again.
    assert not watchdog.wants_wall_clock(1e9)
    assert watchdog.deadline() == 11.0


def test_a_paused_job_goes_on_into_its_grace_at_the_deadline() -> None:
    watchdog = watchdog_of(has_deadline=True)
    assert watchdog.on_wall_clock(0.0, 5.0) is None
    assert watchdog.on_pause(0.5)
    assert watchdog.deadline() == 1.0
    assert watchdog.wants_wall_clock(1.0)
    assert watchdog.on_wall_clock(1.0, 4.0) is None
    assert watchdog.on_wall_clock(5.0, 0.0) == TERMINATE
    assert watchdog.paused_seconds(100.0) == 4.5
    assert not watchdog.on_pause(6.0)
    assert watchdog.on_time(15.0) == KILL


def test_a_deadline_shortens_the_grace_of_a_stop_which_stays_the_cause() -> None:
    watchdog = watchdog_of(has_deadline=True)
    assert watchdog.on_stop(0.0, 1000, 3600.0) == TERMINATE
    assert watchdog.wants_wall_clock(0.0)
    assert watchdog.on_wall_clock(5.0, 0.0) is None
    assert (watchdog.cause, watchdog.deadline()) == (STOPPED, 15.0)


def test_without_grace_a_deadline_kills_at_once() -> None:
    watchdog = watchdog_of(grace=0.0, has_deadline=True)
    assert watchdog.on_wall_clock(0.0, 0.0) == KILL
    assert watchdog.deadline() is None


def test_a_timeout_comes_before_a_deadline_that_is_later() -> None:
    watchdog = watchdog_of(0.5, has_deadline=True)
    assert watchdog.on_wall_clock(0.0, 100.0) is None
    assert watchdog.deadline() == 0.5
    assert watchdog.on_time(0.5) == TERMINATE
    assert watchdog.cause == TIMEOUT


# --- stops ---


def test_a_stop_terminates_then_kills_after_its_own_grace() -> None:
    watchdog = watchdog_of()
    assert watchdog.on_stop(1.0, 1000, 3.0) == TERMINATE
    assert (watchdog.cause, watchdog.stopped_by_uid) == (STOPPED, 1000)
    assert watchdog.deadline() == 4.0
    assert watchdog.on_time(4.0) == KILL


def test_a_stop_without_grace_kills_at_once_and_repeating_it_does_nothing() -> None:
    watchdog = watchdog_of()
    assert watchdog.on_stop(1.0, 1000, 0.0) == KILL
    assert watchdog.on_stop(2.0, 1000, 0.0) is None
    assert watchdog.on_time(1e9) is None


def test_repeating_a_stop_sends_no_second_sigterm() -> None:
    watchdog = watchdog_of()
    assert watchdog.on_stop(1.0, 1000, 10.0) == TERMINATE
    assert watchdog.on_stop(2.0, 1000, 10.0) is None


def test_a_later_stop_shortens_the_grace_and_never_lengthens_it() -> None:
    watchdog = watchdog_of()
    watchdog.on_stop(0.0, 1000, 10.0)
    assert watchdog.on_stop(1.0, 1000, 3600.0) is None
    assert watchdog.deadline() == 10.0
    assert watchdog.on_stop(2.0, 1000, 3.0) is None
    assert watchdog.deadline() == 5.0
    assert watchdog.on_stop(3.0, 1000, 0.0) == KILL


def test_who_stops_first_is_remembered() -> None:
    watchdog = watchdog_of()
    watchdog.on_stop(0.0, 1000, 10.0)
    watchdog.on_stop(1.0, 0, 0.0)
    assert watchdog.stopped_by_uid == 1000


def test_a_stop_after_the_timeout_does_not_take_the_blame_but_may_shorten_the_grace() -> None:
    watchdog = watchdog_of(5.0, 60.0)
    assert watchdog.on_time(5.0) == TERMINATE
    assert watchdog.on_stop(6.0, 1000, 1.0) is None
    assert watchdog.deadline() == 7.0
    assert (watchdog.cause, watchdog.stopped_by_uid) == (TIMEOUT, None)


def test_a_timeout_that_passes_during_a_stop_is_not_the_cause() -> None:
    watchdog = watchdog_of(5.0, 60.0)
    assert watchdog.on_stop(4.0, 1000, 3.0) == TERMINATE
    assert watchdog.on_time(6.0) is None
    assert watchdog.on_time(7.0) == KILL
    assert watchdog.cause == STOPPED


def test_a_stop_with_a_long_grace_does_not_lift_the_timeout() -> None:
    """A job that ignores SIGTERM must not win time by being stopped."""
    watchdog = watchdog_of(5.0, 2.0)
    assert watchdog.on_stop(1.0, 1000, 3600.0) == TERMINATE
    due = watchdog.deadline()
    assert due is not None
    assert due <= 5.0 + 2.0


# --- the warning ---


def test_a_warning_comes_once_and_so_long_before_the_timeout() -> None:
    watchdog = watchdog_of(60.0, warning=10.0)
    assert watchdog.deadline() == 50.0
    assert watchdog.on_time(49.9) is None
    assert watchdog.on_time(50.0) == WARN
    assert watchdog.deadline() == 60.0
    assert watchdog.on_time(55.0) is None
    assert watchdog.on_time(60.0) == TERMINATE


def test_a_warning_that_comes_too_late_is_not_given_beside_the_end() -> None:
    watchdog = watchdog_of(60.0, warning=10.0)
    assert watchdog.on_time(60.0) == TERMINATE
    assert watchdog.on_time(61.0) is None


def test_a_job_that_is_ending_is_not_warned() -> None:
    watchdog = watchdog_of(60.0, warning=10.0)
    watchdog.on_stop(45.0, 0, 100.0)
    assert watchdog.on_time(50.0) is None


def test_a_later_timeout_is_warned_of_again_and_an_earlier_warning_at_once() -> None:
    watchdog = watchdog_of(60.0, warning=10.0)
    assert watchdog.on_time(50.0) == WARN
    watchdog.on_update(51.0, Bounds(60.0, 10.0))
    assert watchdog.on_time(51.0) is None
    watchdog.on_update(52.0, Bounds(100.0, 10.0))
    assert watchdog.deadline() == 90.0
    assert watchdog.on_time(90.0) == WARN
    other = watchdog_of(60.0)
    other.on_update(40.0, Bounds(60.0, 30.0))
    assert other.on_time(40.0) == WARN


# --- pauses ---


def test_while_it_is_paused_nothing_is_due_and_afterwards_the_rest_of_its_time() -> None:
    watchdog = watchdog_of(60.0, warning=10.0, cpu_time=5.0)
    assert watchdog.on_pause(20.0)
    assert watchdog.deadline() is None
    assert watchdog.on_time(1e6) is None
    assert not watchdog.wants_cpu(1e6)
    watchdog.on_resume(1020.0)
    watchdog.on_cpu(1020.0, 0.1)
    assert watchdog.on_time(1049.9) is None
    assert watchdog.on_time(1050.0) == WARN
    assert watchdog.on_time(1059.9) is None
    assert watchdog.on_time(1060.0) == TERMINATE
    assert watchdog.paused_seconds(2000.0) == 1000.0


def test_pausing_a_paused_job_and_resuming_a_running_one_change_nothing() -> None:
    watchdog = watchdog_of(60.0)
    watchdog.on_resume(5.0)
    assert watchdog.on_pause(10.0)
    assert watchdog.on_pause(15.0)
    watchdog.on_resume(20.0)
    watchdog.on_resume(25.0)
    assert watchdog.paused_seconds(30.0) == 10.0
    assert watchdog.deadline() == 70.0


def test_a_job_that_is_ending_or_about_to_is_not_paused() -> None:
    watchdog = watchdog_of(60.0)
    assert not watchdog.on_pause(60.0)
    assert watchdog.on_time(60.0) == TERMINATE
    assert not watchdog.on_pause(61.0)
    stopped = watchdog_of()
    stopped.on_stop(0.0, 1, 10.0)
    assert not stopped.on_pause(1.0)


def test_a_stop_ends_a_pause_and_its_grace_runs() -> None:
    watchdog = watchdog_of(60.0)
    watchdog.on_pause(10.0)
    assert watchdog.on_stop(100.0, 7, 5.0) == TERMINATE
    assert watchdog.paused_seconds(200.0) == 90.0
    assert watchdog.on_time(105.0) == KILL


def test_output_that_was_too_much_before_the_pause_ends_the_job_after_it() -> None:
    watchdog = watchdog_of()
    watchdog.on_pause(1.0)
    assert watchdog.on_excess(2.0) is None
    watchdog.on_resume(3.0)
    assert watchdog.on_excess(3.0) == TERMINATE
    assert watchdog.on_excess(4.0) is None
    assert watchdog.deadline() == 13.0
    assert watchdog.cause == OUTPUT_LIMIT


def test_a_log_that_cannot_be_written_ends_the_job_with_its_grace_and_is_the_cause() -> None:
    watchdog = watchdog_of()
    assert watchdog.on_log_error(3.0) == TERMINATE
    assert watchdog.on_log_error(4.0) is None
    assert watchdog.deadline() == 13.0
    assert watchdog.cause == LOG_ERROR
    assert watchdog.on_excess(5.0) is None
    assert watchdog.on_log_error(13.0) == KILL
    assert watchdog.cause == LOG_ERROR


def test_a_job_that_is_ending_already_keeps_its_cause_when_its_log_fails() -> None:
    watchdog = watchdog_of()
    assert watchdog.on_stop(1.0, 1000, 5.0) == TERMINATE
    assert watchdog.on_log_error(2.0) is None
    assert watchdog.cause == STOPPED
    assert watchdog.deadline() == 6.0


def test_a_log_that_fails_in_a_pause_ends_the_job_after_it() -> None:
    watchdog = watchdog_of()
    watchdog.on_pause(1.0)
    assert watchdog.on_log_error(2.0) is None
    watchdog.on_resume(3.0)
    assert watchdog.on_log_error(3.0) == TERMINATE


def test_an_update_of_a_paused_job_counts_from_what_its_clock_says() -> None:
    watchdog = watchdog_of(60.0)
    watchdog.on_pause(20.0)
    watchdog.on_update(1000.0, Bounds(25.0))
    assert watchdog.deadline() is None
    watchdog.on_resume(1020.0)
    assert watchdog.deadline() == 1025.0


# --- updates ---


def test_a_timeout_may_be_changed_lifted_and_set_while_the_job_runs() -> None:
    watchdog = watchdog_of(5.0)
    watchdog.on_update(1.0, Bounds(50.0))
    assert watchdog.on_time(5.0) is None
    watchdog.on_update(6.0, Bounds())
    assert watchdog.deadline() is None
    watchdog.on_update(7.0, Bounds(6.5))
    assert watchdog.on_time(7.0) == TERMINATE


def test_no_update_puts_off_an_end_that_has_begun_but_one_may_hasten_it() -> None:
    watchdog = watchdog_of(5.0, 10.0)
    assert watchdog.on_time(5.0) == TERMINATE
    watchdog.on_update(6.0, Bounds())
    assert watchdog.on_time(15.0) == KILL
    stopped = watchdog_of(None, 1.0)
    stopped.on_stop(0.0, 1, 3600.0)
    stopped.on_update(1.0, Bounds(5.0))
    assert stopped.on_time(6.0) == KILL


# --- CPU time ---


def test_cpu_time_ends_a_job_like_a_timeout() -> None:
    watchdog = watchdog_of(cpu_time=2.0, grace=3.0)
    assert watchdog.deadline() == 2.0
    assert watchdog.wants_cpu(2.0)
    assert watchdog.on_cpu(2.0, 1.9) is None
    assert watchdog.deadline() == pytest.approx(2.1)
    assert watchdog.on_cpu(2.1, 2.0) == TERMINATE
    assert watchdog.cause == CPU_TIME
    assert watchdog.on_time(5.1) == KILL


def test_the_next_look_is_when_all_cpus_together_could_have_used_the_rest() -> None:
    watchdog = watchdog_of(cpu_time=100.0, cpus=4)
    assert watchdog.deadline() == 25.0
    watchdog.on_cpu(25.0, 60.0)
    assert watchdog.deadline() == 35.0
    watchdog.on_cpu(35.0, 99.999)
    assert watchdog.deadline() == pytest.approx(35.01)


def test_a_stop_with_a_long_grace_does_not_lift_the_cpu_time() -> None:
    watchdog = watchdog_of(cpu_time=5.0, grace=2.0)
    watchdog.on_stop(0.0, 1, 3600.0)
    assert watchdog.wants_cpu(5.0)
    assert watchdog.on_cpu(5.0, 5.0) is None
    assert watchdog.on_time(7.0) == KILL
    assert watchdog.cause == STOPPED


def test_cpu_time_that_is_set_later_is_looked_at_at_once() -> None:
    watchdog = watchdog_of()
    assert not watchdog.wants_cpu(50.0)
    watchdog.on_update(50.0, Bounds(cpu_time=3.0))
    assert watchdog.wants_cpu(50.0)
    assert watchdog.on_cpu(50.0, 4.0) == TERMINATE


# --- whatever happens ---


class Run:
    """A watchdog that is called at every deadline, as the run loop does it."""

    def __init__(self, bounds: Bounds, grace: float) -> None:
        self.watchdog = Watchdog(0.0, bounds, grace, 2)
        self.actions: list[tuple[float, str]] = []
        self.now = 0.0

    def note(self, action: str | None) -> None:
        if action is not None:
            self.actions.append((self.now, action))

    def until(self, end: float) -> None:
        while (due := self.watchdog.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.note(self.watchdog.on_time(self.now))
            if self.watchdog.wants_cpu(self.now):
                self.note(self.watchdog.on_cpu(self.now, 0.0))
            if self.now == due and self.watchdog.deadline() == due:
                # The float of a deadline may not pass itself by less than its last bit.
                self.now = due + 1e-9
        self.now = max(self.now, end)

    @property
    def kinds(self) -> list[str]:
        return [action for _, action in self.actions if action != WARN]

    @property
    def is_killed(self) -> bool:
        return KILL in self.kinds


seconds = st.floats(0, 100)
stops = st.tuples(st.just("stop"), st.integers(0, 9), seconds)
steps = st.lists(
    st.tuples(
        st.floats(0, 50),
        st.none() | stops | st.sampled_from([("pause",), ("resume",)]),
    ),
    max_size=12,
)


@given(timeout=st.none() | st.floats(0.001, 100), grace=st.floats(0, 20), steps=steps)
def test_whatever_is_asked_when_the_kill_is_in_time_and_comes_once(
    timeout: float | None,
    grace: float,
    steps: list[tuple[float, tuple[object, ...] | None]],
) -> None:
    """In time by the job's own clock, which no pause makes lose or gain anything."""
    run = Run(Bounds(timeout), grace)
    bound = float("inf")
    for pause, step in steps:
        run.until(run.now + pause)
        match step:
            case ("stop", int(uid), float(stop_grace)):
                if not run.is_killed:
                    bound = min(bound, run.now + stop_grace)
                run.note(run.watchdog.on_stop(run.now, uid, stop_grace))
            case ("pause",):
                was_ending = run.watchdog.cause is not None
                assert not (was_ending and run.watchdog.on_pause(run.now))
                run.watchdog.on_pause(run.now)
            case ("resume",):
                run.watchdog.on_resume(run.now)
    run.watchdog.on_resume(run.now)
    if timeout is not None:
        bound = min(bound, timeout + grace + run.watchdog.paused_seconds(run.now))
    run.until(1e6)

    assert run.kinds in ([], [KILL], [TERMINATE, KILL])
    assert bool(run.kinds) == (bound != float("inf"))
    if run.kinds:
        assert run.actions[-1][0] <= bound + 1e-6
        assert run.watchdog.cause in {TIMEOUT, STOPPED}
        assert (run.watchdog.cause == STOPPED) == (run.watchdog.stopped_by_uid is not None)


@given(timeout=st.floats(1, 100), pauses=st.lists(st.tuples(seconds, seconds), max_size=6))
def test_a_pause_neither_loses_nor_gains_time(
    timeout: float, pauses: list[tuple[float, float]]
) -> None:
    run = Run(Bounds(timeout, warning=timeout / 2), 0.0)
    ran = paused = 0.0
    for running, standing in pauses:
        run.until(run.now + running)
        if run.watchdog.cause is not None or not run.watchdog.on_pause(run.now):
            break
        ran += running
        run.until(run.now + standing)
        run.watchdog.on_resume(run.now)
        paused += standing
        assert run.watchdog.paused_seconds(run.now) == pytest.approx(paused)
    run.until(1e6)
    assert run.actions[-1] == (pytest.approx(timeout + paused, abs=1e-6), KILL)
    warnings = [when for when, action in run.actions if action == WARN]
    assert len(warnings) == 1


@given(before=st.floats(0.1, 100), after=st.none() | st.floats(0.1, 100), when=st.floats(0, 150))
def test_a_new_timeout_counts_from_the_start_of_the_job(
    before: float, after: float | None, when: float
) -> None:
    run = Run(Bounds(before), 5.0)
    run.until(when)
    run.watchdog.on_update(run.now, Bounds(after))
    run.until(1e6)
    first = run.actions[0][0] if run.actions else None
    if when >= before:
        assert first == pytest.approx(before)
    else:
        assert first == (None if after is None else pytest.approx(max(after, when)))


@given(used=st.lists(st.floats(0, 10), min_size=1, max_size=20), limit=st.floats(0.1, 50))
def test_cpu_time_is_looked_at_before_it_can_have_been_passed_by_much(
    used: list[float], limit: float
) -> None:
    """However busy the job is, no more than one shortest look on each of its CPUs is lost."""
    watchdog = Watchdog(0.0, Bounds(cpu_time=limit), 0.0, 2)
    now = total = 0.0
    for more in used:
        due = watchdog.deadline()
        if due is None:
            break
        step = max(due - now, 1e-9)
        # Nothing can use more than both CPUs.
        total += min(more, step * 2)
        now = due
        action = watchdog.on_cpu(now, total)
        assert (action == KILL) == (total >= limit)
        assert total <= limit + 0.02 + 1e-6


@pytest.mark.parametrize("grace", [0.0, 10.0])
def test_after_the_kill_nothing_is_due(grace: float) -> None:
    watchdog = watchdog_of(5.0, grace, cpu_time=100.0)
    last = None
    for _ in range(3):
        due = watchdog.deadline()
        if due is not None:
            last = watchdog.on_time(due) or last
    assert last == KILL
    assert watchdog.on_stop(100.0, 1000, 10.0) is None
    assert watchdog.on_time(1e9) is None
    assert watchdog.on_excess(1e9) is None
    assert not watchdog.on_pause(1e9)
