"""Many jobs are asked to end once each, whoever asks how often, and others wait for none of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from runner import queueing, stop_requests
from runner.changes import Changes
from runner.lifecycle import State
from runner.outside import Outside
from runner.problems import Problems
from runner.realm import Realm
from runner.refusal import Refusal
from runner.stop_requests import StopRequests
from tests.unit.runner.queue_bench import ALICE, BOB, QueueBench, on_queue, rules_of

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from runner.group_rows import Group


class Stopping:
    """Who was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int, float]] = []

    def ask(self, *about: Any) -> None:
        self.asked.append(about)


def stops_of(bench: QueueBench) -> tuple[StopRequests, Stopping]:
    nothing: Any = None
    stopping: Any = Stopping()
    realm = Realm(
        bench.store, nothing, nothing, Changes(), bench.work, Outside(), Problems(), nothing
    )
    return StopRequests(realm, bench.queueing, stopping, nothing, nothing), stopping


def ended(bench: QueueBench, group: Group) -> int:
    return sum(state is State.ENDED for _, state in bench.store.member_states(group.id))


def test_stops_of_a_group_that_come_while_one_waits_are_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(queueing, "BATCH", 2)
    caplog.set_level("INFO")

    async def test(bench: QueueBench) -> None:
        stops, stopping = stops_of(bench)
        group = await bench.array(6)
        running = bench.of(group)[0]
        bench.run(running)
        listed = 0
        states = bench.store.member_states

        def counted(group_id: str) -> Any:
            nonlocal listed
            listed += 1
            return states(group_id)

        monkeypatch.setattr(bench.store, "member_states", counted)
        first = asyncio.ensure_future(stops.group(group, ALICE.uid, 1.0))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        more = [asyncio.ensure_future(stops.group(group, ALICE.uid, 1.0)) for _ in range(60)]
        assert len(await first) == 6
        # What is there when it is their turn.
        assert await asyncio.gather(*more) == [[(running, State.RUNNING)]] * 60
        assert listed == 2
        await bench.turn()
        assert stopping.asked == [(running, ALICE.uid, 1.0)] * 2
        # By the way it is asked, or by another, it is another stop.
        assert len(await stops.group(group, ALICE.uid, 0.0)) == 1
        await bench.turn()
        assert stopping.asked[2:] == [(running, ALICE.uid, 0.0)]
        assert len(caplog.records) < 20
        await stops.close()

    on_queue(tmp_path, test)


def test_what_has_ended_since_it_was_listed_is_neither_asked_nor_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test(bench: QueueBench) -> None:
        stops, stopping = stops_of(bench)
        group = await bench.array(3)
        gone, *left = bench.of(group)
        await bench.through(gone)
        spawned: list[Any] = []
        bench.may_start = False
        caplog.clear()
        caplog.set_level("INFO")
        found = [(gone, State.RUNNING), (left[1], State.QUEUED), ("nobody", State.RUNNING)]
        monkeypatch.setattr(bench.work, "spawn", spawned.append)
        assert await stops.many(lambda: found, ALICE.uid, 0.0) == found
        assert not spawned
        # Nor one that ends while it is waited for.
        assert stops._stop(bench.job(gone), ALICE.uid, 0.0) is State.ENDED
        await bench.turn()
        assert (stopping.asked, ended(bench, group)) == ([], 2)
        assert not [each for each in caplog.messages if "stop asked" in each]
        await stops.close()

    on_queue(tmp_path, test)


def test_nobody_waits_for_the_stops_of_another_user_or_of_another_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queueing, "BATCH", 1)

    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        stops, _ = stops_of(bench)
        long = await bench.array(50)
        short = await bench.array(1, uid=BOB.uid)
        single = bench.submit(uid=BOB.uid)
        more = bench.store.member_states((await bench.array(50)).id)
        many = asyncio.ensure_future(stops.many(lambda: more, ALICE.uid, 0.0))
        hers = asyncio.ensure_future(stops.group(long, ALICE.uid, 0.0))
        await asyncio.sleep(0)
        await stops.group(short, BOB.uid, 0.0)
        await stops.many(lambda: [(single, State.QUEUED)], BOB.uid, 0.0)
        assert bench.job(single).state is State.ENDED
        assert not hers.done()
        assert not many.done()
        assert ended(bench, long) < 50
        await asyncio.gather(hers, many)
        await stops.close()

    on_queue(tmp_path, test)


def test_many_are_listed_when_it_is_their_turn_and_a_refusal_then_stops_none(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        bench.may_start = False
        stops, _ = stops_of(bench)
        group = await bench.array(4)

        def all_of_it() -> list[tuple[str, State]]:
            found = bench.store.member_states(group.id)
            if any(state is State.ENDED for _, state in found):
                raise Refusal("invalid-argument", field="expect")
            return found

        asked = [stops.many(all_of_it, ALICE.uid, 0.0) for _ in range(2)]
        first, second = await asyncio.gather(*asked, return_exceptions=True)
        assert isinstance(second, Refusal)
        assert not isinstance(first, BaseException)
        assert len(first) == 4
        assert ended(bench, group) == 4
        await stops.close()

    on_queue(tmp_path, test, rules_of(9))


def test_others_have_their_turn_between_those_that_are_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stop_requests, "_AT_ONCE", 1)

    async def test(bench: QueueBench) -> None:
        stops, _ = stops_of(bench)
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.ensure_future(other())
        found = [(f"nobody-{number}", State.RUNNING) for number in range(50)]
        await stops.many(lambda: found, ALICE.uid, 0.0)
        assert turns >= 50
        task.cancel()
        await stops.close()

    on_queue(tmp_path, test)


def test_a_job_that_begins_between_its_listing_and_its_turn_is_asked_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        stops, stopping = stops_of(bench)
        group = await bench.array(2)
        job_id = bench.of(group)[0]
        starting = bench.job(job_id)
        assert starting.state is State.STARTING
        spawned: list[Any] = []
        monkeypatch.setattr(bench.work, "spawn", spawned.append)
        await stops.many(lambda: [(job_id, State.STARTING)], ALICE.uid, 1.0)
        # Its launcher answers before the task has its first turn.
        bench.run(job_id)
        async with asyncio.timeout(5):
            await asyncio.gather(*spawned)
        assert stopping.asked == [(job_id, ALICE.uid, 1.0)]
        await stops.close()

    on_queue(tmp_path, test)
