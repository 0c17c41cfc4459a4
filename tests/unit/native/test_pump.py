"""The pump in C beside the one in Python: the same steps, the same state after each, one log."""

from __future__ import annotations

import array
import errno
import fcntl
import os
import select
import struct
import tempfile
import termios
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runner import pump as pump_module
from runner.logs import writer as writer_module
from runner.logs.format import MOST_SEGMENTS, STDERR, STDOUT
from runner.logs.writer import SegmentWriter
from runner.pump import Pump, plan_output
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_QUESTION: Final = struct.Struct("<c9Q")
_NO_LIMIT: Final = 2**64 - 1
_POLICIES: Final = ("drop-oldest", "end", "block")
_ON_FULL: Final = ("wait", "drop", "end")
# The smallest step of the clock: whole nanoseconds, and exact as a number of seconds too.
_TICK_NS: Final = 15_625_000


class Output(NamedTuple):
    """What a spec and limits say of a job's output, as both sides know it."""

    most: int | None
    policy: str | None
    segment_bytes: int
    keep_bytes: int
    keep_segments: int
    on_full: str

    def spec(self) -> dict[str, Any]:
        """The part of a spec that plan_output reads."""
        names = ("segment_bytes", "keep_bytes", "keep_segments", "on_full")
        return {"logs": {name: getattr(self, name) for name in names}}

    def limits(self) -> dict[str, Any]:
        """The part of the limits."""
        return {"output_max_bytes": self.most, "output_policy": self.policy}

    def numbers(self) -> tuple[int, ...]:
        """As the C structures have it."""
        return (
            _NO_LIMIT if self.most is None else self.most,
            _POLICIES.index(self.policy or "drop-oldest"),
            self.segment_bytes,
            self.keep_bytes,
            self.keep_segments,
            _ON_FULL.index(self.on_full),
        )


PLAIN: Final = Output(None, None, 2**20, 2**23, MOST_SEGMENTS, "wait")


class Step(NamedTuple):
    """One step of the loop or of the world, by a letter (pump_driver.c)."""

    kind: str
    a: int = 0
    b: int = 0
    c: int = 0
    output: Output = PLAIN


class State(NamedTuple):
    """What can be seen from outside after a step."""

    wanted: int  # 1: standard output is read, 2: standard error, 3: both
    retry_at: int
    excess: int
    lost_errno: int
    total: int
    dropped: int
    refused: int
    held_out: int  # in the pipe; -1: it is closed
    held_err: int
    now: int


class FakeTime:
    """A clock that only steps and sleep move."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return round(self.now * 1e9)

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class SometimesFull(SegmentWriter):
    """A log whose disk is full for the next `refusals` appends."""

    refusals = 0
    refused = 0
    error = 0

    def append(self, stream: int, data: bytes | bytearray | memoryview, time_ns: int) -> None:
        if self.refusals:
            self.refusals -= 1
            self.refused += 1
            raise OSError(self.error, os.strerror(self.error))
        super().append(stream, data, time_ns)


class PythonPump:
    """The original, on pipes of its own."""

    def __init__(self, path: str, output: Output, clock: FakeTime, cleanup: ExitStack) -> None:
        clock.now = 0.0
        self._clock = clock
        plan = plan_output(output.spec(), output.limits())
        dir_fd = os.open(path, os.O_RDONLY)
        cleanup.callback(os.close, dir_fd)
        self._log = SometimesFull(
            dir_fd,
            segment_bytes=plan.segment_bytes,
            keep_bytes=plan.keep_bytes,
            keep_segments=plan.keep_segments,
        )
        cleanup.callback(self._log.close)
        self._ready: dict[int, Callable[[], None]] = {}
        self._poll = select.poll()
        self._pump = Pump(self._log, self._watch, self._unwatch)
        self._pump.follow(plan)
        self._reads, self._writes = {}, {}
        for stream in (STDOUT, STDERR):
            self._reads[stream], self._writes[stream] = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(self._writes[stream], False)
            self._pump.add(self._reads[stream], stream)
            cleanup.callback(self._hang_up, stream)
        cleanup.callback(self._pump.drain, 0.0)

    def step(self, step: Step) -> State:
        """Do it."""
        getattr(self, f"_{step.kind}")(step)
        return self.state()

    def state(self) -> State:
        """What can be seen."""
        wanted = sum(stream for stream in (1, 2) if self._reads[stream] in self._ready)
        retry_at = self._pump.retry_at
        return State(
            wanted,
            _NO_LIMIT if retry_at is None else round(retry_at * 1e9),
            self._pump.excess,
            self._pump.lost_errno,
            self._log.total_bytes,
            self._log.dropped_bytes,
            self._log.refused,
            self._held(STDOUT),
            self._held(STDERR),
            self._clock.time_ns(),
        )

    def _w(self, step: Step) -> None:
        data = bytes((7 * each + step.c) % 256 for each in range(256)) * (step.b // 256 + 1)
        if step.a in self._writes:
            with suppress(BlockingIOError, BrokenPipeError):
                os.write(self._writes[step.a], data[: step.b])

    def _t(self, _step: Step) -> None:
        for fd, _ in self._poll.poll(0):
            if fd in self._ready:
                self._ready[fd]()

    def _o(self, step: Step) -> None:
        self._clock.now = step.a / 1e9
        self._pump.on_time(self._clock.now)

    def _f(self, step: Step) -> None:
        self._pump.follow(plan_output(step.output.spec(), step.output.limits()))

    def _r(self, step: Step) -> None:
        self._log.refusals += step.a
        self._log.error = step.b

    def _h(self, step: Step) -> None:
        self._hang_up(step.a)

    def _d(self, step: Step) -> None:
        self._pump.drain(step.a / 1e9)

    def _c(self, _step: Step) -> None:
        self._log.close()

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        self._ready[fd] = action
        self._poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self._ready[fd]

    def _hang_up(self, stream: int) -> None:
        if stream in self._writes:
            os.close(self._writes.pop(stream))

    def _held(self, stream: int) -> int:
        if stream not in self._writes:
            return -1
        count = array.array("i", [0])
        fcntl.ioctl(self._writes[stream], termios.FIONREAD, count)
        return count[0]


def ask(driver: Driver, step: Step, path: str = "") -> list[int]:
    """The driver's answer."""
    question = _QUESTION.pack(step.kind.encode(), step.a, step.b, step.c, *step.output.numbers())
    return [int(word) for word in driver.ask(question + os.fsencode(path)).split()]


def files(path: str) -> dict[str, tuple[int, bytes]]:
    """Names, modes and contents of a directory."""
    found = {}
    for entry in os.scandir(path):
        with open(entry.path, "rb") as file:
            found[entry.name] = (entry.stat().st_mode, file.read())
    return found


def compare(driver: Driver, clock: FakeTime, output: Output, steps: list[Step]) -> State:
    """Both are the same after each step, and leave one log. The last state."""
    now = 0
    with ExitStack() as cleanup:
        paths = [cleanup.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        python = PythonPump(paths[0], output, clock, cleanup)
        state = State(*ask(driver, Step("b", output=output), paths[1]))
        assert state == python.state()
        for each in steps:
            # Times are given from the one before.
            step = each._replace(a=now + each.a) if each.kind in "od" else each
            state = python.step(step)
            assert State(*ask(driver, step)) == state, step
            now = state.now
        assert files(paths[1]) == files(paths[0])
    return state


@pytest.fixture(scope="module")
def pump(driver: Callable[..., str]) -> Iterator[Driver]:
    with Driver(driver("pump")) as process:
        yield process


@pytest.fixture(scope="module")
def clock() -> Iterator[FakeTime]:
    with pytest.MonkeyPatch.context() as patch:
        clock = FakeTime()
        patch.setattr(pump_module, "time", clock)
        # Nothing here waits for a disk.
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, lambda _fd: None)
        patch.setattr(writer_module, "sync_file_system", lambda _fd: None)
        yield clock


def outputs(bounds: int) -> st.SearchStrategy[Output]:
    """What may be asked of a log whose sizes are up to some bound."""
    return st.builds(
        Output,
        st.none() | st.integers(1, bounds),
        st.sampled_from([None, *_POLICIES]),
        st.integers(1, bounds),
        st.integers(1, bounds),
        st.integers(2, 20),
        st.sampled_from(_ON_FULL),
    )


ticks = st.integers(0, 40).map(lambda count: count * _TICK_NS)
streams = st.sampled_from([STDOUT, STDERR])
sizes = st.integers(0, 900) | st.integers(0, 2000) | st.sampled_from([262_144, 300_000, 2_000_000])
writes = st.tuples(streams, sizes, st.integers(0, 255)).map(lambda each: Step("w", *each))
refusals = st.tuples(st.integers(1, 5), st.sampled_from([errno.ENOSPC, errno.EDQUOT])).map(
    lambda each: Step("r", *each)
)
turns = st.just(Step("t"))
waits = ticks.map(lambda after: Step("o", after))
hang_ups = streams.map(lambda stream: Step("h", stream))


@settings(max_examples=150, deadline=None)
@given(output=outputs(3000) | outputs(2**20), data=st.data())
def test_whatever_is_written_and_whenever_there_is_no_room_both_do_the_same(
    pump: Driver, clock: FakeTime, output: Output, data: st.DataObject
) -> None:
    # An update changes limits; options of the log stay.
    follows = outputs(3000).map(
        lambda other: Step("f", output=output._replace(most=other.most, policy=other.policy))
    )
    steps = data.draw(
        st.lists(writes | turns | writes | turns | waits | refusals | follows | hang_ups,
                 max_size=40)
    )  # fmt: skip
    end = [Step("d", data.draw(ticks)), Step("c")]
    compare(pump, clock, output, [*steps, *end])


@given(output=outputs(2**50))
@example(output=PLAIN)
@example(output=PLAIN._replace(most=10**9, policy="block"))
@example(output=PLAIN._replace(most=3, policy="drop-oldest"))
def test_the_plans_are_the_same(pump: Driver, output: Output) -> None:
    plan = plan_output(output.spec(), output.limits())
    most = _NO_LIMIT if plan.most is None else plan.most
    expected = [most, plan.discards, *plan[2:5], _ON_FULL.index(plan.on_full)]
    assert ask(pump, Step("p", output=output)) == expected


@pytest.mark.parametrize("on_full", _ON_FULL)
@pytest.mark.parametrize("policy", _POLICIES)
def test_a_disk_that_stays_full_to_the_end(
    pump: Driver, clock: FakeTime, policy: str, on_full: str
) -> None:
    output = PLAIN._replace(most=700_000, policy=policy, on_full=on_full)
    full = Step("r", 10**6, errno.ENOSPC)
    steps = [Step("w", 1, 500_000), Step("w", 2, 500_000), Step("t"), full, Step("t"), Step("t")]
    state = compare(pump, clock, output, [*steps, Step("d", 64 * _TICK_NS)])
    assert state.dropped > 0
    assert state.lost_errno == (0 if on_full == "drop" else errno.ENOSPC)


def test_the_first_error_is_the_one_that_is_told(pump: Driver, clock: FakeTime) -> None:
    put, turn = Step("w", 1, 10), Step("t")
    first = [Step("r", 1, errno.ENOSPC), put, turn, Step("o", 32 * _TICK_NS)]
    second = [Step("r", 1, errno.EDQUOT), put, turn]
    output = PLAIN._replace(on_full="end")
    state = compare(pump, clock, output, [*first, *second, Step("d", 0)])
    assert (state.refused, state.dropped, state.lost_errno) == (2, 20, errno.ENOSPC)


def test_a_stream_that_is_closed_is_let_go_and_the_other_goes_on(
    pump: Driver, clock: FakeTime
) -> None:
    steps = [Step("w", 1, 10), Step("h", 1), Step("t"), Step("t"), Step("w", 2, 10), Step("t")]
    state = compare(pump, clock, PLAIN, [*steps, Step("d", 0)])
    assert (state.total, state.wanted) == (20, 0)
