"""`logs` and `locate` of a job with several attempts: each in its turn, none twice, none missed."""

from __future__ import annotations

import asyncio
import os
import time
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import msgpack
import pytest

from runner import messages, records, stored
from runner.changes import Changes
from runner.jobdirs import JobDirectories
from runner.logs.searches import Searches
from runner.logs.tail import LogWatcher
from runner.logs.writer import SegmentWriter
from runner.policy import Peer
from runner.problems import Problem, Problems
from runner.refusal import Refusal
from runner.server.handlers.locate import locate
from runner.server.handlers.logs import logs
from runner.server.stream import Stream
from runner.store import Store
from tests.unit.runner.test_attempts import JOB, retrying_job

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from pathlib import Path

    from runner.rows import Job
    from runner.server.service import Service

PEER = Peer(uid=1000, gid=1000, groups=frozenset(), pid=1)
Event = dict[str, Any]


class Host:
    """A store, directories and logs that the test writes; the daemon as the handlers see it."""

    def __init__(self, base: Path) -> None:
        self.store = Store.open(str(base / "db"))
        self.directories = JobDirectories(str(base))
        self.problems = Problems()
        self.changes = Changes()
        self.sent: list[Event] = []
        self.writer: SegmentWriter | None = None

    def submit(self, **asked: Any) -> None:
        self.store.insert(retrying_job(JOB, **asked))

    def start(self) -> None:
        job = self.store.mark_starting(JOB, 1, "boot")
        files = self.directories.create(JOB, job.spec, job.attempt)
        self.writer = SegmentWriter(os.dup(files.log_dir), segment_bytes=100, keep_bytes=2**40)
        files.close()
        self.store.mark_running(JOB, 77, 2, None)
        self.changes.announce(JOB)

    def write(self, data: bytes, time_ns: int = 1) -> None:
        assert self.writer is not None
        self.writer.append(1, data, time_ns)

    def fail(self, *, again: bool, log_bytes: int | None = None) -> None:
        """The attempt ends, and perhaps the job with it."""
        total = 0 if self.writer is None else self.writer.total_bytes
        fields = {**dict.fromkeys(stored.RESULT_FIELDS), "reason": "exit", "exit_status": 1}
        result = records.pack({**fields, "log_bytes": total if log_bytes is None else log_bytes})
        if again:
            self.store.mark_retried(JOB, 3, ended_ns=3, reason="exit", result=result)
        else:
            self.store.mark_ended(JOB, 3, "exit", result, is_ok=True)
        self.changes.announce(JOB)

    def attempt(self, data: bytes, *, again: bool = True) -> None:
        self.start()
        self.write(data)
        self.fail(again=again)

    @property
    def job(self) -> Job:
        job = self.store.get(JOB)
        assert job is not None
        return job

    def ask(self, handler: Any, request: Any, *then: Callable[[], None]) -> dict[str, Any]:
        """The answer; each of `then` happens when what was before it was sent."""

        async def scenario(service: Service) -> dict[str, Any]:
            work = asyncio.ensure_future(handler(service, PEER, request, self._stream()))
            for step in then:
                await self._idle()
                assert not work.done()
                step()
            return cast("dict[str, Any]", await work)

        return cast("dict[str, Any]", self._run(scenario))

    def logs(self, *then: Callable[[], None], **asked: Any) -> dict[str, Any]:
        self.sent.clear()
        return self.ask(logs, messages.Logs(JOB, **asked), *then)

    def seen(self) -> list[object]:
        """What was sent: numbers of attempts, output, and gaps as their lengths in a tuple."""
        found: list[object] = []
        for event in self.sent:
            if "attempt" in event:
                found.append(event["attempt"])
            elif "data" in event:
                found.append(event["data"])
            else:
                found.append((event["gap_bytes"], event["why"]))
        return found

    def _stream(self) -> Stream:
        def send_event(_id: int, _seq: int, event: Event) -> None:
            self.sent.append(event)

        def send_packed(_id: int, _seq: int, event: bytes) -> None:
            self.sent.append(msgpack.unpackb(event))

        out: Any = SimpleNamespace(send_event=send_event, send_packed=send_packed, is_writable=True)
        return Stream(out, 1)

    async def _idle(self) -> None:
        before = -1
        while before != len(self.sent):
            before = len(self.sent)
            for _ in range(30):
                await asyncio.sleep(0)

    def _run(self, scenario: Callable[[Service], Coroutine[Any, Any, Any]]) -> Any:
        async def whole() -> Any:
            with self._service() as service:
                async with asyncio.timeout(20):
                    return await scenario(service)

        return asyncio.run(whole())

    @contextmanager
    def _service(self) -> Iterator[Service]:
        watcher, searches = LogWatcher(asyncio.get_running_loop()), Searches()
        supervisor = SimpleNamespace(
            directories=self.directories, store=self.store, changes=self.changes
        )
        found = SimpleNamespace(
            supervisor=supervisor,
            watcher=watcher,
            searches=searches,
            problems=self.problems,
            find_job=lambda _peer, _text: self.job,
            show=lambda job: {"attempt": job.attempt, "state": job.state.value},
        )
        try:
            yield cast("Service", found)
        finally:
            searches.close()
            watcher.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    made.store.close()
    made.directories.close()


def end(answer: dict[str, Any]) -> tuple[int, int]:
    return answer["attempt"], answer["cursor"]


# --- which attempt ---


def test_without_a_word_it_is_the_newest_that_has_begun(host: Host) -> None:
    host.submit()
    assert end(host.logs()) == (1, 0)
    host.attempt(b"one")
    # The second waits.
    assert end(host.logs()) == (1, 3)
    assert host.seen() == [b"one"]
    host.start()
    host.write(b"second")
    assert end(host.logs()) == (2, 6)
    assert host.sent[0] == {"attempt": 2, "offset": 0}
    assert host.seen() == [2, b"second"]
    assert end(host.logs(cursor=4)) == (2, 6)
    assert host.sent[0] == {"attempt": 2, "offset": 4}
    assert host.seen() == [2, b"nd"]


def test_each_attempt_can_be_asked_for_by_its_number(host: Host) -> None:
    host.submit()
    host.attempt(b"one")
    host.attempt(b"two")
    host.attempt(b"three", again=False)
    for attempt, text in ((1, b"one"), (2, b"two"), (3, b"three")):
        assert end(host.logs(attempt=attempt)) == (attempt, len(text))
        assert host.seen() == [text]
        assert end(host.logs(attempt=attempt, follow=True)) == (attempt, len(text))


@pytest.mark.parametrize("asked", [0, 3, 1_000_000])
def test_an_attempt_that_there_is_not_is_refused(host: Host, asked: int) -> None:
    host.submit()
    host.attempt(b"one")
    for handler, kind in ((logs, messages.Logs), (locate, messages.Locate)):
        with pytest.raises(Refusal) as caught:
            host.ask(handler, kind(JOB, attempt=asked))
        wire = caught.value.to_wire()
        assert (wire["code"], wire["field"], wire["given"], wire["allowed"]) == (
            "invalid-argument", "attempt", str(asked), "1 to 2",
        )  # fmt: skip


def test_a_cursor_beyond_an_earlier_attempt_is_refused_whatever_the_later_has(host: Host) -> None:
    host.submit()
    host.attempt(b"one")
    host.attempt(b"longer", again=False)
    with pytest.raises(Refusal, match="0 to 3"):
        host.logs(attempt=1, cursor=4)


def test_what_an_earlier_attempt_lost_is_a_gap_by_its_own_record(host: Host) -> None:
    host.submit()
    host.start()
    host.write(b"one")
    host.fail(again=True, log_bytes=10)
    host.attempt(b"two", again=False)
    assert end(host.logs(attempt=1)) == (1, 10)
    assert host.seen() == [b"one", (7, "damaged")]


def test_an_earlier_attempt_whose_log_is_gone_is_a_gap_and_a_problem(
    host: Host, tmp_path: Path
) -> None:
    host.submit()
    host.attempt(b"one")
    os.rename(tmp_path / "jobs" / JOB / "log", tmp_path / "elsewhere")
    assert end(host.logs(attempt=1)) == (1, 3)
    assert host.seen() == [(3, "damaged")]
    assert Problem("its log is missing", JOB) in host.problems.all()


def test_locate_says_in_which_attempt_it_looked(host: Host) -> None:
    host.submit()
    host.attempt(b"1\n2\n3\n")
    host.attempt(b"one\ntwo\n", again=False)
    newest = host.ask(locate, messages.Locate(JOB, lines=1))
    assert newest == {"cursor": 4, "stdout": 4, "stderr": 8, "end": 8, "attempt": 2}
    first = host.ask(locate, messages.Locate(JOB, lines=1, attempt=1))
    assert (first["cursor"], first["attempt"]) == (4, 1)


# --- following ---


def test_who_follows_is_given_every_attempt_and_told_of_each(host: Host) -> None:
    host.submit()
    host.start()
    answer = host.logs(
        lambda: host.write(b"one"),
        lambda: host.fail(again=True),
        host.start,
        lambda: host.write(b"tw"),
        lambda: host.write(b"o"),
        lambda: host.fail(again=True),
        lambda: host.attempt(b"three", again=False),
        follow=True,
    )
    assert end(answer) == (3, 5)
    assert host.seen() == [b"one", 2, b"tw", b"o", 3, b"three"]
    assert [event.get("offset") for event in host.sent] == [0, 0, 0, 2, 0, 0]


def test_the_next_attempt_is_told_of_before_it_begins(host: Host) -> None:
    host.submit()
    host.attempt(b"one")
    seen: list[list[object]] = []

    def stop() -> None:
        seen.append(host.seen())
        host.store.mark_ended(JOB, 5, "stopped", b"r", is_ok=False)
        host.changes.announce(JOB)

    assert end(host.logs(stop, follow=True)) == (2, 0)
    assert seen == [[b"one", 2]]


def test_a_follower_who_comes_back_must_know_which_attempt_it_was(host: Host) -> None:
    host.submit(retry={"limit": 3})
    host.start()
    host.write(b"one")
    host.fail(again=False)
    host.logs(follow=True)
    assert host.seen() == [1, b"one"]
    # Whoever does not follow does not come back.
    host.logs()
    assert host.seen() == [b"one"]


def test_following_one_attempt_ends_with_it_and_waits_for_its_start(host: Host) -> None:
    host.submit()
    host.attempt(b"one")
    answer = host.logs(
        host.start,
        lambda: host.write(b"two"),
        lambda: host.fail(again=True),
        attempt=2,
        follow=True,
    )
    assert end(answer) == (2, 3)
    assert host.seen() == [b"two"]
    assert answer["status"] == {"attempt": 3, "state": "queued"}


def test_attempts_that_never_began_are_passed_through(host: Host) -> None:
    host.submit()

    def cannot_launch(*, again: bool) -> None:
        host.store.mark_starting(JOB, 1, "boot")
        host.fail(again=again, log_bytes=0)

    answer = host.logs(
        lambda: cannot_launch(again=True),
        lambda: cannot_launch(again=True),
        lambda: host.attempt(b"three"),
        lambda: cannot_launch(again=False),
        follow=True,
    )
    assert answer["status"]["state"] == "ended"
    assert host.seen() == [3, b"three", 4]


def test_a_time_that_has_passed_ends_the_wait_for_another_attempt(host: Host) -> None:
    host.submit()
    host.attempt(b"one")
    began = time.monotonic()
    host.logs(follow=True, until_ns=time.time_ns() - 2 * 10**9)
    host.logs(follow=True, until_ns=time.time_ns() - 2 * 10**9, attempt=2)
    assert time.monotonic() - began < 10
    assert b"one" not in host.seen()


def test_a_run_after_the_time_ends_it_without_the_later_attempts(host: Host) -> None:
    host.submit()
    host.start()
    host.write(b"one", 5)
    host.write(b"late", 500)
    host.fail(again=True)
    host.attempt(b"two", again=False)
    assert end(host.logs(follow=True, until_ns=10, attempt=1)) == (1, 3)
    assert host.seen() == [b"one"]


def test_a_job_that_is_removed_meanwhile_ends_its_followers(host: Host) -> None:
    host.submit()
    host.attempt(b"one")

    def remove() -> None:
        host.store.mark_ended(JOB, 5, "stopped", b"r", is_ok=False)
        host.store.delete_ended([JOB], 6, 0)
        host.changes.announce(JOB)

    found = host.job

    async def ask(service: Any, peer: Peer, request: Any, stream: Stream) -> dict[str, Any]:
        service.find_job = lambda _peer, _text: found
        return await logs(service, peer, request, stream)

    with pytest.raises(Refusal, match="no-such-job"):
        host.ask(ask, messages.Logs(JOB, follow=True), remove)
