"""What `logs` sends and `locate` answers: gaps, times, credit, damage, refusals."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgpack
import pytest

from runner import messages, records, stored
from runner.lifecycle import State
from runner.logs.format import index_name, log_name
from runner.logs.reader import LogReader
from runner.logs.searches import Searches
from runner.logs.tail import LogWatcher
from runner.logs.writer import SegmentWriter
from runner.policy import Peer
from runner.problems import Problem, Problems
from runner.refusal import Refusal
from runner.server.handlers.locate import locate
from runner.server.handlers.logs import logs
from runner.server.stream import Outgoing, Stream

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from runner.logs.locating import Wanted
    from runner.server.service import Service

JOB = "3f2a0000-0000-4000-8000-000000000001"
PEER = Peer(uid=1000, gid=1000, groups=frozenset(), pid=1)
SECOND = 10**9


class Socket:
    """As a stream sees where its events go."""

    def __init__(self, send_event: object, log: Fixture) -> None:
        self.send_event = cast("Callable[[int, int, Any], None]", send_event)
        self._log = log

    def send_packed(self, request_id: int, seq: int, event: bytes) -> None:
        self.send_event(request_id, seq, msgpack.unpackb(event))

    @property
    def is_writable(self) -> bool:
        return self._log.is_writable

    async def writable(self) -> None:
        if not self.is_writable:
            await asyncio.Event().wait()


class Fixture:
    """A job whose log the test writes, and the daemon around it as the handlers see it."""

    def __init__(self, path: Path) -> None:
        self.path = path / "log"
        self.path.mkdir()
        self.state = State.RUNNING
        self.result: bytes | None = None
        self.problems = Problems()
        self.is_writable = True
        self.waiting: list[asyncio.Future[None]] = []
        self.sent: list[dict[str, Any]] = []
        self.streams: list[Stream] = []
        self._dir_fd = os.open(self.path, os.O_RDONLY)
        self.writer = SegmentWriter(self._dir_fd, segment_bytes=100, keep_bytes=2**40)

    def close(self) -> None:
        self.writer.close()
        os.close(self._dir_fd)

    def job(self) -> Any:
        return SimpleNamespace(
            id=JOB, state=self.state, result=self.result, spec=b"torn", started_ns=1, attempt=1
        )

    def end(self, **result: Any) -> None:
        """The job ends; whoever waits for that is told."""
        fields = {**dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 0}
        fields |= {"log_bytes": self.writer.total_bytes}
        self.result = records.pack({**fields, **result})
        self.state = State.ENDED
        for future in self.waiting:
            if not future.done():
                future.set_result(None)

    def append(self, data: bytes, time_ns: int = 1, stream: int = 1) -> None:
        self.writer.append(stream, data, time_ns)

    def run(self, scenario: Callable[[Service], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            loop = asyncio.get_running_loop()
            watcher = LogWatcher(loop)
            searches = Searches()
            try:
                async with asyncio.timeout(20):
                    return await scenario(self._service(watcher, searches))
            finally:
                searches.close()
                watcher.close()

        return asyncio.run(whole())

    def logs(self, *then: Callable[[], None], **asked: Any) -> int:
        """The cursor at the end; each of `then` happens when what was before it was sent."""

        async def scenario(service: Service) -> int:
            request = messages.Logs(JOB, **asked)
            work = asyncio.ensure_future(logs(service, PEER, request, self.stream()))
            for step in then:
                await self.idle()
                step()
            answer = await work
            return cast("int", answer["cursor"])

        return cast("int", self.run(scenario))

    def locate(self, **asked: Any) -> dict[str, Any]:
        async def scenario(service: Service) -> dict[str, Any]:
            return await locate(service, PEER, messages.Locate(JOB, **asked), self.stream())

        return cast("dict[str, Any]", self.run(scenario))

    def stream(self) -> Stream:
        def send_event(_id: int, _seq: int, event: dict[str, Any]) -> None:
            self.sent.append(event)

        out = Socket(send_event, self)
        self.streams.append(Stream(cast("Outgoing", out), 1))
        return self.streams[-1]

    async def idle(self) -> None:
        """Until nothing is sent any more."""
        before = -1
        while before != len(self.sent):
            before = len(self.sent)
            for _ in range(20):
                await asyncio.sleep(0)

    def _service(self, watcher: LogWatcher, searches: Searches) -> Service:
        def ended(_job: str) -> asyncio.Future[None]:
            self.waiting.append(asyncio.get_running_loop().create_future())
            return self.waiting[-1]

        supervisor = SimpleNamespace(
            directories=SimpleNamespace(
                log_path=lambda _job, _attempt: str(self.path), has_log=lambda _job, _attempt: True
            ),
            store=SimpleNamespace(get=lambda _job: self.job()),
            changes=SimpleNamespace(next=ended),
        )
        found = SimpleNamespace(
            supervisor=supervisor,
            watcher=watcher,
            searches=searches,
            problems=self.problems,
            find_job=lambda _peer, _text: self.job(),
            show=lambda _job: {},
        )
        return cast("Service", found)

    def text(self) -> bytes:
        return b"".join(event.get("data", b"") for event in self.sent)

    def gaps(self) -> list[tuple[int, int, str]]:
        events = [event for event in self.sent if "gap_bytes" in event]
        return [(event["gap_bytes"], event["offset"], event["why"]) for event in events]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Fixture]:
    fixture = Fixture(tmp_path)
    yield fixture
    fixture.close()


def refusal_of(call: Callable[[], object]) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        call()
    return caught.value.to_wire()


def test_an_event_has_what_the_protocol_says(log: Fixture) -> None:
    log.append(b"one", 7)
    log.writer.skip(4)
    log.append(b"two", 8, 2)
    assert log.logs() == 10
    assert log.sent == [
        {"offset": 0, "runs": [[1, 3, 7]], "data": b"one"},
        {"gap_bytes": 4, "offset": 7, "why": "dropped"},
        {"offset": 7, "runs": [[2, 3, 8]], "data": b"two"},
    ]


def test_what_was_dropped_last_is_the_last_event_once_the_job_has_ended(log: Fixture) -> None:
    log.append(b"one")
    log.writer.skip(50)
    assert log.logs() == 3
    assert log.gaps() == []
    log.end(log_dropped_bytes=50)
    log.sent.clear()
    assert log.logs() == 53
    assert log.gaps() == [(50, 53, "dropped")]
    log.sent.clear()
    # Who was told of it comes back with its cursor.
    assert log.logs(cursor=53) == 53
    assert log.logs(cursor=20) == 53
    assert log.gaps() == [(33, 53, "dropped")]
    assert refusal_of(lambda: log.logs(cursor=54))["field"] == "cursor"


def test_a_tail_that_is_missing_without_having_been_dropped_is_damaged(log: Fixture) -> None:
    log.append(b"one")
    log.append(b"two")
    log.end(reason="lost", log_dropped_bytes=None)
    os.truncate(log.path / index_name(0), 30)
    assert log.logs() == 6
    assert log.gaps() == [(3, 6, "damaged")]


def test_a_log_that_is_gone_is_a_gap_of_all_that_was_written_and_a_problem(log: Fixture) -> None:
    log.append(b"abc")
    log.end()
    shutil.rmtree(log.path)
    assert log.logs() == log.logs(cursor=3) == 3
    assert log.sent == [{"gap_bytes": 3, "offset": 3, "why": "damaged"}]
    assert Problem("its log is missing", JOB) in log.problems.all()
    with pytest.raises(Refusal, match="0 to 3"):
        log.logs(cursor=4)


def test_the_log_of_a_running_job_that_is_gone_is_no_empty_output(log: Fixture) -> None:
    shutil.rmtree(log.path)
    with pytest.raises(Refusal, match="cannot be read"):
        log.logs()


def test_output_that_is_missing_is_a_problem_of_the_job(log: Fixture) -> None:
    log.end(log_bytes=7, log_dropped_bytes=0)
    log.logs()
    assert log.problems.all() == [Problem("7 bytes of its output before byte 7 are gone", JOB)]


def test_a_follower_is_sent_everything_and_the_gap_at_the_end(log: Fixture) -> None:
    log.append(b"one")

    def drop_and_end() -> None:
        log.append(b"three")
        log.writer.skip(9)
        log.end(log_dropped_bytes=9)

    assert log.logs(lambda: log.append(b"two"), drop_and_end, follow=True) == 20
    assert log.text() == b"onetwothree"
    assert log.gaps() == [(9, 20, "dropped")]


@pytest.mark.parametrize("follow", [False, True])
def test_the_stream_ends_before_the_first_run_that_is_later(log: Fixture, follow: bool) -> None:  # noqa: FBT001
    for number, time_ns in enumerate((10, 20, 20, 30, 15)):
        log.append(bytes([65 + number]), time_ns)
    assert log.logs(until_ns=20, follow=follow) == 3
    assert log.text() == b"ABC"
    assert log.logs(until_ns=9, follow=follow) == 0
    assert log.logs(until_ns=20, cursor=4) == 5
    assert log.text() == b"ABCE"


def test_a_follower_with_a_time_ends_at_a_later_run(log: Fixture) -> None:
    far = 2**62
    log.append(b"one", far)
    assert log.logs(lambda: log.append(b"two", far + 1), until_ns=far, follow=True) == 3
    assert log.text() == b"one"


def test_a_follower_with_a_time_ends_when_that_has_passed_and_nothing_came(log: Fixture) -> None:
    log.append(b"one", 5)
    assert log.logs(until_ns=10, follow=True) == 3


def test_past_the_time_the_end_of_an_ended_job_is_no_gap(log: Fixture) -> None:
    log.append(b"one", 5)
    log.append(b"two", 15)
    log.end()
    assert log.logs(until_ns=10) == 3
    assert log.gaps() == []


def test_nothing_is_read_that_may_not_be_sent(
    log: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So a slow reader costs one piece at the most, however much there is."""
    for number in range(200):
        log.append(b"x" * 50, number)
    reads: list[int] = []
    read = LogReader.read
    monkeypatch.setattr(
        LogReader,
        "read",
        lambda self, cursor, **how: reads.append(cursor) or read(self, cursor, **how),
    )

    async def scenario(service: Service) -> None:
        stream = log.stream()
        request = messages.Logs(JOB, credit=0)
        work = asyncio.ensure_future(logs(service, PEER, request, stream))
        await log.idle()
        assert reads == []
        for granted in (1, 2, 5):
            already = len(log.sent)
            stream.grant(granted)
            await log.idle()
            assert len(log.sent) - already == granted
            assert len(reads) == len(log.sent)
        # Another reader is not held up by it.
        fast = asyncio.ensure_future(
            logs(service, PEER, messages.Logs(JOB, credit=1024), log.stream())
        )
        assert (await fast)["cursor"] == 10_000
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    log.run(scenario)


@pytest.mark.parametrize("in_the_way", ["credit", "socket"])
def test_who_waits_to_be_read_holds_no_output(
    log: Fixture, monkeypatch: pytest.MonkeyPatch, in_the_way: str
) -> None:
    for number in range(9):
        log.append(b"x" * 50, number)
    asked: list[str] = []
    read, rest = LogReader.read, LogReader.rest
    monkeypatch.setattr(
        LogReader,
        "read",
        lambda self, *args, **how: asked.append("read") or read(self, *args, **how),
    )
    monkeypatch.setattr(LogReader, "rest", lambda self: asked.append("rest") or rest(self))

    async def scenario(service: Service) -> None:
        stream = log.stream()
        request = messages.Logs(JOB, credit=1 if in_the_way == "credit" else 9)
        work = asyncio.ensure_future(logs(service, PEER, request, stream))
        if in_the_way == "socket":
            log.is_writable = False
        await log.idle()
        assert asked == (["read", "rest"] if in_the_way == "credit" else ["rest"])
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work

    log.run(scenario)


def test_what_a_power_cut_ate_between_two_segments_was_not_dropped(
    log: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(b"x" * 90)
    log.writer.skip(5)
    log.append(b"y")
    # While it runs there was no power cut.
    log.logs()
    log.end(log_dropped_bytes=5)
    log.logs()
    log.end(log_dropped_bytes=0)
    log.logs()
    log.end(reason="lost", log_bytes=None, log_dropped_bytes=None)
    log.logs()
    for on_full in ("wait", "drop"):
        monkeypatch.setattr(stored, "spec", lambda _job, how=on_full: {"logs": {"on_full": how}})
        log.logs()
    whys = ["dropped", "dropped", "damaged", "damaged", "damaged", "dropped"]
    assert log.gaps() == [(5, 95, why) for why in whys]


def test_damage_is_told_once_with_the_job(log: Fixture) -> None:
    for number in range(8):
        log.append(b"x" * 50, number)
    (log.path / index_name(100)).write_bytes(b"\xff" * 48)
    log.logs()
    log.logs()
    assert log.gaps()[0] == (100, 200, "damaged")
    (problem,) = log.problems.all()
    assert problem.job == JOB
    assert problem.text.startswith(index_name(100))
    assert log.locate(lines=9)["end"] == 400
    assert len(log.problems.all()) == 1


@pytest.mark.parametrize("attempt", [0, 2])
def test_another_attempt_is_refused(log: Fixture, attempt: int) -> None:
    expected = {
        "code": "invalid-argument", "field": "attempt", "given": str(attempt), "allowed": "1",
    }  # fmt: skip
    assert refusal_of(lambda: log.logs(attempt=attempt)) == expected
    assert refusal_of(lambda: log.locate(attempt=attempt)) == expected
    assert log.logs(attempt=1) == 0


def test_a_log_that_cannot_be_read_is_refused_with_the_reason(log: Fixture) -> None:
    (log.path / log_name(0)).unlink()
    (log.path / log_name(0)).symlink_to("elsewhere")
    for call in (log.logs, lambda: log.locate(lines=1)):
        refusal = refusal_of(call)
        assert refusal["code"] == "store-error"
        assert "the job's log cannot be read" in refusal["detail"]


def test_a_search_for_which_there_is_no_descriptor_is_refused_with_the_reason(
    log: Fixture,
) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def scenario(service: Service) -> dict[str, Any]:
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
        try:
            return await locate(service, PEER, messages.Locate(JOB), log.stream())
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, before)

    refusal = refusal_of(lambda: log.run(scenario))
    assert refusal["code"] == "store-error"
    assert "the job's log cannot be read" in refusal["detail"]


def test_lines_and_times_are_located(log: Fixture) -> None:
    log.append(b"one\ntwo\n", 10)
    log.append(b"err\n", 20, 2)
    log.append(b"three\n", 30)
    assert log.locate() == {"cursor": 0, "stdout": 0, "stderr": 0, "end": 18, "attempt": 1}
    assert log.locate(lines=2) == {"cursor": 8, "stdout": 12, "stderr": 8, "end": 18, "attempt": 1}
    assert log.locate(lines=2, streams=(1,)) == {
        "cursor": 4, "stdout": 4, "stderr": 18, "end": 18, "attempt": 1,
    }  # fmt: skip
    assert log.locate(since_ns=11) == {
        "cursor": 8,
        "stdout": 8,
        "stderr": 8,
        "end": 18,
        "attempt": 1,
    }
    assert log.locate(until_ns=20, lines=1) == {
        "cursor": 8, "stdout": 12, "stderr": 8, "end": 12, "attempt": 1,
    }  # fmt: skip


def test_a_job_that_never_began_has_nothing_to_locate(log: Fixture) -> None:
    log.path = log.path / "absent"
    assert log.locate(lines=5) == {"cursor": 0, "stdout": 0, "stderr": 0, "end": 0, "attempt": 1}
    log.path = log.path.parent


def test_a_search_that_is_cancelled_ends_and_closes_its_reader_after_its_turn(
    log: Fixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    log.append(b"one")
    began, go_on, closed = threading.Event(), threading.Event(), []

    def slow(reader: LogReader, _wanted: Wanted) -> Iterator[None]:
        began.set()
        assert go_on.wait(20)
        assert not closed
        reader.end()
        yield None

    close = LogReader.close
    monkeypatch.setitem(Searches.__init__.__globals__, "search", slow)
    monkeypatch.setattr(LogReader, "close", lambda self: closed.append(self) or close(self))

    async def scenario(service: Service) -> None:
        work = asyncio.ensure_future(locate(service, PEER, messages.Locate(JOB), log.stream()))
        await asyncio.to_thread(began.wait, 20)
        work.cancel()
        with pytest.raises(asyncio.CancelledError):
            await work
        assert not closed
        go_on.set()
        while not closed:
            await asyncio.sleep(0.001)

    log.run(scenario)
