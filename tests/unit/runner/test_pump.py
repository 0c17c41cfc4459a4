"""Output on its way into the log: no byte lost, repeated or out of order, disk full or not."""

from __future__ import annotations

import errno
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner import pump as pump_module
from runner.logs.format import STDERR, STDOUT
from runner.logs.reader import Chunk, Gap, LogReader
from runner.logs.writer import SegmentWriter
from runner.message_logs import MOST_SEGMENTS
from runner.pump import OutputPlan, Pump, plan_output

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
DEADLINE_SECONDS = 20.0
PLAN = OutputPlan(None, False, 2**20, 2**23, 2**62)  # noqa: FBT003


class SometimesFull(SegmentWriter):
    """A log whose disk is full for the next `refusals` appends."""

    refusals = 0
    refused = 0
    before_append = staticmethod(lambda: None)

    def append(self, stream: int, data: bytes | bytearray | memoryview, time_ns: int) -> None:
        self.before_append()
        if self.refusals:
            self.refusals -= 1
            self.refused += 1
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        super().append(stream, data, time_ns)


class Bench:
    """A pump between real pipes and a real log, turned as the monitor's loop turns it."""

    def __init__(self, path: str, cleanup: ExitStack, compression: str = "none") -> None:
        self.path = path
        dir_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        cleanup.callback(os.close, dir_fd)
        self.log = SometimesFull(
            dir_fd, segment_bytes=2**20, keep_bytes=2**23, compression=compression
        )
        cleanup.callback(self.log.close)
        self._cleanup = cleanup
        self._poll = select.poll()
        self.ready: dict[int, Callable[[], None]] = {}
        self.pump = Pump(self.log, self._watch, self._unwatch)
        self.reads: dict[int, int] = {}
        self.writes: dict[int, int] = {}
        for stream in (STDOUT, STDERR):
            self.reads[stream], self.writes[stream] = os.pipe2(os.O_CLOEXEC)
            self.pump.add(self.reads[stream], stream)
            cleanup.callback(self.hang_up, stream)

    def _watch(self, fd: int, action: Callable[[], None]) -> None:
        assert fd not in self.ready
        self.ready[fd] = action
        self._poll.register(fd, select.POLLIN)

    def _unwatch(self, fd: int) -> None:
        self._poll.unregister(fd)
        del self.ready[fd]

    def hang_up(self, stream: int) -> None:
        """The job closes its end."""
        if (fd := self.writes.pop(stream, -1)) >= 0:
            os.close(fd)

    def turn(self, timeout_ms: int = 0) -> None:
        for fd, _ in self._poll.poll(timeout_ms):
            if fd in self.ready:
                self.ready[fd]()

    def turn_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not condition():
            assert time.monotonic() < deadline
            self.turn(10)
            self.pump.on_time(time.monotonic())

    def fill(self, stream: int) -> None:
        """Write until the pipe takes no more."""
        fd = self.writes[stream]
        os.set_blocking(fd, False)
        with suppress(BlockingIOError):
            while True:
                os.write(fd, bytes(65536))

    def finish(self) -> None:
        """As after the end of a job; closes the read ends."""
        self.pump.drain(time.monotonic() + DEADLINE_SECONDS)
        for stream in list(self.writes):
            self.hang_up(stream)

    def output(self) -> dict[int, bytes]:
        """What a reader of the log sees of each stream."""
        return self.streams_and_whole()[0]

    def streams_and_whole(self) -> tuple[dict[int, bytes], bytes]:
        whole = b""
        split = {STDOUT: b"", STDERR: b""}
        with LogReader(self.path) as reader:
            while (piece := reader.read(len(whole))) is not None:
                assert isinstance(piece, Chunk)
                whole += piece.data
                position = 0
                for stream, length, _ in piece.runs:
                    split[stream] += piece.data[position : position + length]
                    position += length
        return split, whole


@pytest.fixture(autouse=True)
def no_descriptor_left() -> Iterator[None]:
    before = set(os.listdir("/proc/self/fd"))
    yield
    assert set(os.listdir("/proc/self/fd")) <= before


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with ExitStack() as cleanup:
        yield Bench(str(tmp_path), cleanup)


@pytest.fixture
def quick_retry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pump_module, "_RETRY_SECONDS", 0.002)


def test_output_goes_to_the_log_in_its_order_and_by_its_stream(bench: Bench) -> None:
    for stream, text in ((STDOUT, b"one "), (STDERR, b"two "), (STDOUT, b"three")):
        os.write(bench.writes[stream], text)
        bench.turn_until(lambda: not select.select(list(bench.reads.values()), [], [], 0)[0])
    bench.finish()
    assert bench.streams_and_whole() == (
        {STDOUT: b"one three", STDERR: b"two "},
        b"one two three",
    )


def test_output_is_dated_by_the_wall_clock(bench: Bench) -> None:
    before = time.time_ns()
    os.write(bench.writes[STDOUT], b"x")
    bench.finish()
    with LogReader(bench.path) as reader:
        piece = reader.read(0)
    assert isinstance(piece, Chunk)
    assert before <= piece.runs[0][2] <= time.time_ns()


def test_a_stream_that_the_job_closes_is_let_go_and_the_other_goes_on(bench: Bench) -> None:
    os.write(bench.writes[STDOUT], b"last words")
    bench.hang_up(STDOUT)
    bench.turn_until(lambda: set(bench.ready) == {bench.reads[STDERR]})
    os.write(bench.writes[STDERR], b"still here")
    bench.finish()
    assert bench.output() == {STDOUT: b"last words", STDERR: b"still here"}
    assert bench.ready == {}


def test_draining_takes_what_is_in_the_pipes_without_waiting_for_their_end(bench: Bench) -> None:
    """A process outside may still hold the write end: its end-of-file may never come."""
    data = os.urandom(65536)
    for stream in (STDOUT, STDERR):
        assert os.write(bench.writes[stream], data) == len(data)
    bench.pump.drain(time.monotonic() + DEADLINE_SECONDS)
    assert bench.output() == {STDOUT: data, STDERR: data}
    assert bench.pump.lost_errno == 0
    for stream in (STDOUT, STDERR):
        with pytest.raises(BrokenPipeError):
            os.write(bench.writes[stream], b"x")


def test_draining_when_everything_was_closed_is_harmless(bench: Bench) -> None:
    for stream in (STDOUT, STDERR):
        bench.hang_up(stream)
    bench.turn_until(lambda: not bench.ready)
    bench.finish()
    assert bench.output() == {STDOUT: b"", STDERR: b""}


def test_a_writer_outside_the_job_cannot_keep_the_drain_going(bench: Bench) -> None:
    """A job may have handed its stdout to a process that writes on and on.

    Here it writes whenever the pump is busy with the log, as a process on another CPU may.
    """
    refills = 0

    def refill() -> None:
        nonlocal refills
        refills += 1
        if refills < 1000:
            os.write(bench.writes[STDOUT], b"more")

    os.write(bench.writes[STDOUT], b"what the job wrote")
    bench.log.before_append = refill
    bench.pump.drain(time.monotonic() + DEADLINE_SECONDS)
    assert bench.output()[STDOUT].startswith(b"what the job wrote")
    assert refills < 20


def test_on_a_full_disk_nothing_is_read_so_that_the_job_blocks(bench: Bench) -> None:
    bench.log.refusals = 10**9
    os.write(bench.writes[STDOUT], b"x")
    os.write(bench.writes[STDERR], b"y")
    bench.turn()
    assert bench.pump.retry_at is not None
    assert bench.ready == {}
    assert bench.log.refused == 1
    for stream in (STDOUT, STDERR):
        bench.fill(stream)
    bench.turn()
    assert bench.log.refused == 1
    bench.log.refusals = 0
    bench.finish()


def test_the_same_bytes_are_tried_again_when_it_is_time_and_not_before(bench: Bench) -> None:
    bench.log.refusals = 2
    os.write(bench.writes[STDOUT], b"kept")
    bench.turn()
    assert bench.pump.retry_at is not None
    bench.pump.on_time(bench.pump.retry_at - 0.001)
    assert bench.log.refused == 1
    bench.pump.on_time(bench.pump.retry_at)
    assert bench.log.refused == 2
    os.write(bench.writes[STDOUT], b" and more")
    bench.pump.on_time(bench.pump.retry_at + 1)
    assert bench.pump.retry_at is None
    assert set(bench.ready) == set(bench.reads.values())
    bench.finish()
    assert bench.output()[STDOUT] == b"kept and more"


@pytest.mark.usefixtures("quick_retry")
def test_when_there_is_room_again_in_time_draining_loses_nothing(bench: Bench) -> None:
    bench.log.refusals = 5
    for stream in (STDOUT, STDERR):
        os.write(bench.writes[stream], b"x" * 65536)
    bench.finish()
    assert bench.output() == {STDOUT: b"x" * 65536, STDERR: b"x" * 65536}
    assert (bench.log.refused, bench.pump.lost_errno) == (5, 0)


@pytest.mark.usefixtures("quick_retry")
def test_draining_gives_up_at_its_deadline_and_says_why(bench: Bench) -> None:
    bench.log.refusals = 10**9
    for stream in (STDOUT, STDERR):
        os.write(bench.writes[stream], b"lost")
    started = time.monotonic()
    bench.pump.drain(started + 0.1)
    assert 0.1 <= time.monotonic() - started < 2
    assert bench.pump.lost_errno == errno.ENOSPC
    assert bench.log.refused > 1
    for fd in bench.reads.values():
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)


@pytest.mark.usefixtures("quick_retry")
def test_a_disk_that_was_full_before_the_end_is_waited_for_in_the_drain(bench: Bench) -> None:
    bench.log.refusals = 3
    os.write(bench.writes[STDERR], b"pending")
    bench.turn()
    assert bench.pump.retry_at is not None
    os.write(bench.writes[STDOUT], b"in the pipe")
    bench.finish()
    assert bench.output() == {STDOUT: b"in the pipe", STDERR: b"pending"}


# --- output that finds no room and does not wait for it ---


def pieces(bench: Bench) -> list[tuple[int, bytes] | Gap]:
    """What a reader of the log sees from its beginning: data and gaps, joined."""
    found: list[tuple[int, bytes] | Gap] = []
    at = 0
    with LogReader(bench.path) as reader:
        while (piece := reader.read(at)) is not None:
            if isinstance(piece, Chunk):
                found.append((at, piece.data))
                at += len(piece.data)
            else:
                found.append(piece)
                at = piece.offset
    return found


@pytest.mark.parametrize("on_full", ["drop", "end"])
def test_what_finds_no_room_is_dropped_and_counted_and_the_job_never_waits(
    bench: Bench, on_full: str
) -> None:
    bench.pump.follow(PLAN._replace(on_full=on_full))
    bench.log.refusals = 1
    for text in (b"lost", b"and this"):
        os.write(bench.writes[STDOUT], text)
        bench.turn()
    # The second was not even tried: it is not yet time.
    assert (bench.log.refused, bench.log.dropped_bytes, bench.log.total_bytes) == (1, 12, 12)
    assert bench.pump.retry_at is None
    assert set(bench.ready) == set(bench.reads.values())
    assert bench.pump.lost_errno == (errno.ENOSPC if on_full == "end" else 0)
    bench.finish()


@pytest.mark.usefixtures("quick_retry")
def test_writing_resumes_behind_a_gap_when_there_is_room_again(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(on_full="drop"))
    os.write(bench.writes[STDOUT], b"before ")
    bench.turn()
    bench.log.refusals = 1
    os.write(bench.writes[STDERR], b"lost")
    bench.turn()
    time.sleep(0.01)
    os.write(bench.writes[STDOUT], b"after")
    bench.turn()
    bench.finish()
    assert pieces(bench) == [(0, b"before "), Gap(4, 11, "dropped"), (11, b"after")]
    assert (bench.log.dropped_bytes, bench.log.total_bytes) == (4, 16)


def test_a_full_disk_is_not_asked_at_every_read(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeTime()
    monkeypatch.setattr(pump_module, "time", clock)
    bench.pump.follow(PLAN._replace(on_full="drop"))
    bench.log.refusals = 10**9
    for step in range(100):
        clock.now = step / 100
        os.write(bench.writes[STDOUT], b"x")
        bench.turn()
    assert bench.log.refused == 4  # at 0, 0.25, 0.5 and 0.75 s
    assert bench.log.dropped_bytes == 100
    bench.finish()


class FakeTime:
    """A clock that stands."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time_ns(self) -> int:
        return int(self.now * 1e9)


def test_the_end_of_a_job_that_drops_waits_for_no_disk(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(on_full="drop"))
    bench.log.refusals = 10**9
    for stream in (STDOUT, STDERR):
        os.write(bench.writes[stream], bytes(50_000))
    started = time.monotonic()
    bench.finish()
    assert time.monotonic() - started < 5
    assert (bench.log.dropped_bytes, bench.log.total_bytes) == (100_000, 100_000)
    assert bench.pump.lost_errno == 0


def test_the_last_output_of_a_job_that_ends_on_a_full_disk_is_lost_and_said(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(on_full="end"))
    bench.log.refusals = 10**9
    os.write(bench.writes[STDOUT], bytes(50_000))
    bench.finish()
    assert bench.log.dropped_bytes == 50_000
    assert bench.pump.lost_errno == errno.ENOSPC


def test_the_first_error_is_the_one_that_is_told(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(on_full="end"))
    bench.log.refusals = 1
    os.write(bench.writes[STDOUT], b"x")
    bench.turn()
    bench.log.refusals = 0
    os.write(bench.writes[STDOUT], b"y")
    bench.finish()
    assert bench.pump.lost_errno == errno.ENOSPC


@pytest.mark.usefixtures("quick_retry")
def test_what_waited_for_room_until_the_end_is_counted_to_the_byte(bench: Bench) -> None:
    os.write(bench.writes[STDOUT], b"kept")
    bench.turn()
    bench.log.refusals = 10**9
    os.write(bench.writes[STDOUT], b"pending")
    bench.turn()
    os.write(bench.writes[STDOUT], bytes(30_000))
    os.write(bench.writes[STDERR], bytes(5000))
    bench.pump.drain(time.monotonic() + 0.05)
    assert bench.pump.lost_errno == errno.ENOSPC
    assert bench.log.dropped_bytes == 7 + 30_000 + 5000
    assert bench.log.total_bytes == 4 + bench.log.dropped_bytes


@pytest.mark.usefixtures("quick_retry")
def test_what_is_given_up_counts_only_as_far_as_it_was_allowed(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10))
    bench.log.refusals = 10**9
    os.write(bench.writes[STDOUT], b"0123456789abcdef")
    bench.pump.drain(time.monotonic() + 0.05)
    assert (bench.log.dropped_bytes, bench.log.total_bytes) == (10, 10)


def test_what_was_dropped_counts_as_output(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10, discards=True, on_full="drop"))
    bench.log.refusals = 1
    os.write(bench.writes[STDOUT], b"012345")
    bench.turn()
    os.write(bench.writes[STDOUT], b"6789abcdef")
    bench.turn_until(lambda: bench.pump.excess)
    bench.finish()
    assert (bench.log.dropped_bytes, bench.log.total_bytes) == (10, 10)


def test_where_the_job_is_to_wait_at_its_limit_what_was_dropped_counts_too(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10, on_full="drop"))
    bench.log.refusals = 1
    os.write(bench.writes[STDOUT], b"012345")
    bench.turn()
    os.write(bench.writes[STDOUT], b"6789abcdef")
    bench.turn()
    bench.turn()
    assert bench.ready == {}
    assert not bench.pump.excess
    assert (bench.log.dropped_bytes, bench.log.total_bytes) == (10, 10)
    bench.finish()


def test_a_job_whose_whole_limit_was_dropped_at_once_waits_too(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10, on_full="drop"))
    bench.log.refusals = 1
    os.write(bench.writes[STDOUT], b"0123456789abcdef")
    bench.turn()
    assert bench.ready == {}
    assert not bench.pump.excess
    bench.finish()


@settings(max_examples=60)
@given(
    events=st.lists(
        st.one_of(
            st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=3000)),
            st.integers(1, 3),
            st.none(),
        ),
        max_size=25,
    ),
    on_full=st.sampled_from(["drop", "end"]),
)
def test_each_byte_is_in_the_log_at_its_place_or_in_a_gap_of_its_size(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    events: list[tuple[int, bytes] | int | None],
    on_full: str,
) -> None:
    with ExitStack() as cleanup:
        bench = Bench(str(tmp_path_factory.mktemp("log")), cleanup)
        clock = FakeTime()
        patch = cleanup.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(pump_module, "time", clock)
        bench.pump.follow(PLAN._replace(on_full=on_full))
        whole = b""
        for event in events:
            if event is None:
                clock.now += 1
            elif isinstance(event, int):
                bench.log.refusals += event
            else:
                os.write(bench.writes[event[0]], event[1])
                whole += event[1]
                bench.turn()
        bench.finish()
        end = 0
        for piece in pieces(bench):
            if isinstance(piece, Gap):
                assert (piece.offset, piece.why) == (end + piece.gap_bytes, "dropped")
                end = piece.offset
            else:
                assert piece == (end, whole[end : end + len(piece[1])])
                end += len(piece[1])
        assert bench.log.total_bytes == len(whole)
        # What was dropped last is in no segment: the exit record tells it.
        assert end <= len(whole)
        stored = sum(len(piece[1]) for piece in pieces(bench) if not isinstance(piece, Gap))
        assert bench.log.dropped_bytes == len(whole) - stored


# --- compression ---


def test_segments_are_compressed_in_step_with_the_output(tmp_path: Path) -> None:
    with ExitStack() as cleanup:
        bench = Bench(str(tmp_path), cleanup, compression="zstd")
        bench.pump.follow(PLAN._replace(segment_bytes=100_000, keep_bytes=2**30))
        data = b"".join(b"%d\n" % number for number in range(300_000))
        for start in range(0, len(data), 50_000):
            os.write(bench.writes[STDOUT], data[start : start + 50_000])
            bench.turn()
        names = os.listdir(bench.path)
        assert sum(name.endswith(".log.zst") for name in names) > 10
        # At most one waits, one is under way, one is written.
        assert sum(name.endswith(".log") for name in names) <= 3
        bench.finish()
        assert bench.output()[STDOUT] == data


# --- limits on all of a job's output ---

SIZES = {"segment_bytes": 1000, "keep_bytes": 5000, "keep_segments": 9}
SPEC = {"logs": {**SIZES, "compression": "none", "on_full": "drop"}}
ALL = 2**62


@pytest.mark.parametrize(
    ("limits", "plan"),
    [
        ({}, (None, False, 1000, 5000, 9)),
        ({"output_policy": "drop-oldest"}, (None, False, 1000, 5000, 9)),
        ({"output_max_bytes": 8000}, (None, False, 1000, 8000, 9)),
        ({"output_max_bytes": 2000, "output_policy": "drop-oldest"}, (None, False, 500, 2000, 9)),
        ({"output_max_bytes": 2000, "output_policy": "end"}, (2000, True, 1000, ALL, ALL)),
        ({"output_max_bytes": 2000, "output_policy": "block"}, (2000, False, 1000, ALL, ALL)),
        # In no more files than half of what may be kept of them.
        (
            {"output_max_bytes": 10**9, "output_policy": "block"},
            (10**9, False, 488_282, ALL, ALL),
        ),
    ],
)
def test_the_limits_say_what_becomes_of_output(
    limits: dict[str, object], plan: tuple[object, ...]
) -> None:
    assert plan_output(SPEC, limits) == (*plan, "drop")


@given(
    segment=st.integers(1, 2**40),
    keep=st.integers(1, 2**50),
    segments=st.integers(2, MOST_SEGMENTS),
    most=st.none() | st.integers(1, 2**50),
    policy=st.sampled_from([None, "drop-oldest", "block", "end"]),
)
def test_no_plan_removes_what_is_promised_or_has_a_segment_beyond_what_is_kept(
    *, segment: int, keep: int, segments: int, most: int | None, policy: str | None
) -> None:
    sizes = {"segment_bytes": segment, "keep_bytes": keep, "keep_segments": segments}
    limits = {"output_max_bytes": most, "output_policy": policy}
    plan = plan_output({"logs": {**sizes, "on_full": "wait"}}, limits)
    assert 1 <= plan.segment_bytes <= plan.keep_bytes
    if most is not None and policy in {"block", "end"}:
        # Even where each byte has an index record of its own.
        assert plan.keep_bytes > 25 * most
        assert plan.keep_segments > 25 * most
        assert most / plan.segment_bytes <= MOST_SEGMENTS / 2
    else:
        assert plan.keep_segments == segments
        assert plan.keep_bytes == (keep if most is None else most)


def test_what_is_beyond_the_limit_is_thrown_away_and_told(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10, discards=True))
    os.write(bench.writes[STDOUT], b"0123456")
    bench.turn()
    assert not bench.pump.excess
    os.write(bench.writes[STDERR], b"789")
    bench.turn()
    assert not bench.pump.excess
    os.write(bench.writes[STDOUT], b"more")
    bench.turn_until(lambda: bench.pump.excess)
    # Whatever it says until its end, it never blocks for want of a reader.
    for _ in range(100):
        os.write(bench.writes[STDERR], bytes(30_000))
        bench.turn()
    bench.finish()
    assert bench.streams_and_whole()[1] == b"0123456789"


def test_a_read_that_would_pass_the_limit_is_cut_at_it(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10, discards=True))
    os.write(bench.writes[STDOUT], b"0123456789abc")
    bench.turn_until(lambda: bench.pump.excess)
    bench.finish()
    assert bench.output()[STDOUT] == b"0123456789"


def test_exactly_the_limit_and_then_the_end_is_no_excess(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10, discards=True))
    os.write(bench.writes[STDOUT], b"0123456789")
    bench.turn()
    bench.hang_up(STDOUT)
    bench.hang_up(STDERR)
    bench.turn_until(lambda: not bench.ready)
    bench.finish()
    assert not bench.pump.excess


def test_at_the_limit_nothing_is_read_until_there_is_more_room(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10))
    os.write(bench.writes[STDOUT], b"0123456789abcdef")
    bench.turn()
    assert bench.ready == {}
    assert not bench.pump.excess
    bench.pump.follow(PLAN._replace(most=12))
    bench.turn()
    assert bench.ready == {}
    bench.pump.follow(PLAN._replace(most=5))
    assert bench.ready == {}
    assert not bench.pump.excess
    bench.pump.follow(PLAN)
    assert set(bench.ready) == set(bench.reads.values())
    bench.finish()
    assert bench.output()[STDOUT] == b"0123456789abcdef"
    assert not bench.pump.excess


def test_what_a_job_left_in_the_pipe_beyond_the_limit_is_told_at_its_end(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10))
    os.write(bench.writes[STDOUT], b"0123456789abcdef")
    bench.finish()
    assert bench.pump.excess
    assert bench.output()[STDOUT] == b"0123456789"


def test_a_full_disk_at_the_limit_keeps_every_byte_up_to_it(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(most=10))
    bench.log.refusals = 1
    os.write(bench.writes[STDOUT], b"0123456789")
    bench.turn()
    assert bench.pump.retry_at is not None
    bench.pump.follow(PLAN._replace(most=14))
    assert bench.ready == {}
    bench.pump.on_time(bench.pump.retry_at)
    os.write(bench.writes[STDOUT], b"abcdef")
    bench.turn()
    assert bench.ready == {}
    bench.finish()
    assert bench.output()[STDOUT] == b"0123456789abcd"


def test_no_read_is_longer_than_a_segment(bench: Bench) -> None:
    bench.pump.follow(PLAN._replace(segment_bytes=1000, keep_bytes=4000))
    data = os.urandom(60_000)
    os.write(bench.writes[STDOUT], data)
    bench.finish()
    sizes = [entry.stat().st_size for entry in os.scandir(bench.path)]
    assert 4000 <= sum(sizes) <= 6000
    assert bench.log.total_bytes == 60_000


writing = st.lists(
    st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=400)), max_size=20
)


@settings(max_examples=40)
@given(writes=writing, most=st.integers(1, 3000), discards=st.booleans(), raised=st.booleans())
def test_exactly_as_much_as_is_allowed_is_stored(
    tmp_path_factory: pytest.TempPathFactory,
    *,
    writes: list[tuple[int, bytes]],
    most: int,
    discards: bool,
    raised: bool,
) -> None:
    with ExitStack() as cleanup:
        bench = Bench(str(tmp_path_factory.mktemp("log")), cleanup)
        bench.pump.follow(PLAN._replace(most=most, discards=discards))
        for stream, data in writes:
            os.write(bench.writes[stream], data)
            bench.turn()
        if raised and not bench.pump.excess:
            bench.pump.follow(PLAN)
            most = 10**9
        bench.finish()
        wrote = sum(len(data) for _, data in writes)
        assert bench.log.total_bytes == min(wrote, most)
        assert bench.pump.excess == (wrote > most)


events = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([STDOUT, STDERR]), st.binary(min_size=1, max_size=9000)),
        st.integers(1, 4),  # so many appends will find the disk full
        st.none(),  # the loop turns, and it is time to try again
    ),
    max_size=25,
)


@settings(max_examples=60)
@given(events=events)
def test_whatever_is_written_and_whenever_the_disk_is_full_the_log_has_each_byte_once(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[int, bytes] | int | None]
) -> None:
    wrote = {STDOUT: b"", STDERR: b""}
    with ExitStack() as cleanup:
        bench = Bench(str(tmp_path_factory.mktemp("log")), cleanup)
        for event in events:
            if event is None:
                bench.turn()
                bench.pump.on_time(time.monotonic() + 60)
            elif isinstance(event, int):
                bench.log.refusals += event
            elif len(wrote[event[0]]) < 50_000:  # less than any pipe holds: never blocks
                stream, data = event
                os.write(bench.writes[stream], data)
                wrote[stream] += data
        bench.log.refusals = 0
        bench.pump.on_time(time.monotonic() + 60)
        bench.finish()
        assert bench.output() == wrote
        assert bench.log.total_bytes == sum(map(len, wrote.values()))


@pytest.mark.usefixtures("quick_retry")
def test_a_fast_writer_and_a_disk_that_is_full_now_and_then(bench: Bench) -> None:
    """More than a pipe holds, so the writer blocks and is let go again and again."""
    data = {stream: os.urandom(1_500_000) for stream in (STDOUT, STDERR)}
    writing = dict(bench.writes)

    def write_all(stream: int) -> None:
        rest = memoryview(data[stream])
        while rest:
            rest = rest[os.write(writing[stream], rest[:50_001]) :]

    threads = [threading.Thread(target=write_all, args=(stream,)) for stream in data]
    for thread in threads:
        thread.start()
    bench.log.refusals = 3
    bench.turn_until(lambda: not any(thread.is_alive() for thread in threads))
    bench.log.refusals = 3
    bench.finish()
    assert bench.output() == data


REAL_FULL = """
import os, resource, select, sys, threading, time
from runner import pump
from runner.logs.writer import SegmentWriter
pump._RETRY_SECONDS = 0.002
soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
log = SegmentWriter(os.open(sys.argv[1], os.O_RDONLY), segment_bytes=2**30, keep_bytes=2**40)
watched = {}
made = pump.Pump(log, lambda fd, action: watched.update({fd: action}), watched.pop)
read, write = os.pipe()
made.add(read, 1)
data = bytes(range(256)) * 200
os.write(write, data)
watched[read]()
print(made.retry_at is not None, log.total_bytes)
room = threading.Timer(0.1, resource.setrlimit, (resource.RLIMIT_FSIZE, (soft, hard)))
room.start()
made.drain(time.monotonic() + 20)
log.close()
with open(os.path.join(sys.argv[1], "0" * 20 + ".log"), "rb") as file:
    print(file.read() == data, made.lost_errno)
"""


def test_a_file_that_the_kernel_lets_grow_no_further_loses_nothing(tmp_path: Path) -> None:
    """RLIMIT_FSIZE: the kernel takes a part of the write, then refuses with EFBIG."""
    done = subprocess.run(
        [sys.executable, "-c", REAL_FULL, str(tmp_path)],
        capture_output=True, check=True, cwd=ROOT, text=True, timeout=30,
        preexec_fn=lambda: signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
    )  # fmt: skip
    assert done.stdout == "True 0\nTrue 0\n"
