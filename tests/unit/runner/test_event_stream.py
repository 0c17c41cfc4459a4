"""Reading what has happened from a place on, and waiting for more: cheap, nothing missed."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.event_stream import BATCH_EVENTS, MAX_AT_ONCE, REST_SECONDS, Bell, EventReader
from runner.refusal import Refusal
from runner.store import NewJob, Store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ALICE, BOB = 1000, 1001


def new_job(uid: int = ALICE) -> NewJob:
    return NewJob(
        id=str(uuid.uuid4()), submitted_by_uid=uid, uid=uid, gid=uid, name=None, spec=b"spec",
        submitted_ns=7,
    )  # fmt: skip


def opened(path: Path) -> Store:
    """With a bell, as in the daemon."""
    store = Store.open(str(path / "runnerd.sqlite3"))
    # Nothing here is about the disk.
    store._db.execute("PRAGMA synchronous = OFF")
    store.on_events = Bell().ring
    return store


def bell_of(store: Store) -> Bell:
    ring: Any = store.on_events
    return cast("Bell", ring.__self__)


def reader_of(store: Store, place: int, uid: int | None, job_id: str | None) -> EventReader:
    return EventReader(store, bell_of(store), place, uid, job_id)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    kept = opened(tmp_path)
    yield kept
    kept.close()


def submit(store: Store, *uids: int) -> list[str]:
    return [store.insert(new_job(uid)).id for uid in uids]


def end_and_remove(store: Store, job_id: str) -> None:
    store.mark_ended(job_id, 9, "stopped", b"result", is_ok=False)
    store.delete(job_id, 10, ALICE)


def all_of(reader: EventReader) -> list[dict[str, Any]]:
    items = []
    while reader.is_behind:
        items += reader.read()
    return items


def numbers(items: list[dict[str, Any]]) -> list[int]:
    return [item["seq"] for item in items]


# Reading


def test_an_event_is_given_as_it_is_stored(store: Store) -> None:
    (job,) = submit(store, ALICE)
    about = {"submitted_by_uid": ALICE, "uid": ALICE}
    assert all_of(reader_of(store, 0, ALICE, None)) == [
        {"seq": 1, "time_ns": 7, "job": job, "kind": "submit", "data": about}
    ]


def test_reading_goes_on_where_it_was_in_batches(store: Store) -> None:
    submit(store, *[ALICE] * (BATCH_EVENTS + 3))
    reader = reader_of(store, 2, None, None)
    assert numbers(reader.read()) == list(range(3, BATCH_EVENTS + 3))
    assert numbers(reader.read()) == [BATCH_EVENTS + 3]
    assert all_of(reader) == []
    submit(store, BOB)
    assert numbers(reader.read()) == [BATCH_EVENTS + 4]


def test_a_user_is_given_events_of_own_jobs_alone(store: Store) -> None:
    submit(store, ALICE, BOB, ALICE)
    reader = reader_of(store, 0, BOB, None)
    assert numbers(all_of(reader)) == [2]
    # What is others' is passed: the place is a number to go on from.
    assert reader.place == 3
    assert numbers(all_of(reader_of(store, 0, None, None))) == [1, 2, 3]


def test_what_was_trimmed_is_a_gap_before_what_is_left(store: Store) -> None:
    submit(store, *[ALICE] * 5)
    store.trim_events(2, 100)
    for place, gap in ((0, 0), (2, 2)):
        items = all_of(reader_of(store, place, ALICE, None))
        assert items[0] == {"gap": True, "since": gap, "oldest": 4}
        assert numbers(items[1:]) == [4, 5]
    for place in (3, 4, 5):
        assert numbers(all_of(reader_of(store, place, ALICE, None))) == [4, 5][place - 3 :]


def test_a_gap_is_given_though_nothing_is_left(store: Store) -> None:
    submit(store, ALICE, ALICE)
    store.trim_events(0, 100)
    reader = reader_of(store, 0, ALICE, None)
    assert all_of(reader) == [{"gap": True, "since": 0, "oldest": 3}]
    assert reader.place == 2


def test_what_others_did_can_be_trimmed_without_a_gap(store: Store) -> None:
    submit(store, ALICE, BOB, BOB, BOB)
    reader = reader_of(store, 0, ALICE, None)
    assert numbers(all_of(reader)) == [1]
    store.trim_events(1, 100)
    submit(store, ALICE)
    assert numbers(all_of(reader)) == [5]


def test_of_one_job_nothing_is_missing_when_its_submission_is_there(store: Store) -> None:
    _, _, job = submit(store, ALICE, ALICE, ALICE)
    store.trim_events(1, 100)
    assert numbers(all_of(reader_of(store, 0, ALICE, job))) == [3]
    store.mark_ended(job, 9, "stopped", b"result", is_ok=False)
    store.trim_events(1, 100)
    items = all_of(reader_of(store, 0, ALICE, job))
    assert items[0] == {"gap": True, "since": 0, "oldest": 4}
    assert numbers(items[1:]) == [4]


def test_one_job_is_over_with_its_removal(store: Store) -> None:
    job, other = submit(store, ALICE, ALICE)
    reader = reader_of(store, 0, ALICE, job)
    assert [item["kind"] for item in all_of(reader)] == ["submit"]
    end_and_remove(store, other)
    assert all_of(reader) == []
    end_and_remove(store, job)
    assert [item["kind"] for item in all_of(reader)] == ["finish", "remove"]
    assert reader.is_over
    everything = reader_of(store, 0, ALICE, None)
    all_of(everything)
    assert not everything.is_over


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.one_of(st.sampled_from([ALICE, BOB]), st.integers(0, 3).map(lambda n: ("trim", n)),
                  st.just("read"))
    )
)  # fmt: skip
def test_none_is_missed_repeated_or_out_of_order_and_a_gap_says_where(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any]
) -> None:
    store = opened(tmp_path_factory.mktemp("events"))
    readers = [reader_of(store, 0, uid, None) for uid in (ALICE, BOB, None)]
    got: list[list[dict[str, Any]]] = [[], [], []]
    kept: list[int] = []
    for step in [*steps, "read"]:
        if step == "read":
            for reader, items in zip(readers, got, strict=True):
                items.extend(all_of(reader))
        elif isinstance(step, tuple):
            store.trim_events(step[1], 100)
        else:
            submit(store, step)
            kept.append(step)
    store.close()
    for uid, items in zip((ALICE, BOB, None), got, strict=True):
        place = 0
        for item in items:
            if "gap" in item:
                assert item["since"] >= place
                place = item["oldest"] - 1
            else:
                assert not is_missed(uid, kept[place : item["seq"] - 1])
                assert uid in {None, kept[item["seq"] - 1]}
                assert item["seq"] > place
                place = item["seq"]
        assert not is_missed(uid, kept[place:])


def is_missed(uid: int | None, skipped: list[int]) -> bool:
    return bool(skipped) if uid is None else uid in skipped


# Waiting


def test_who_waits_is_woken_and_who_comes_later_waits_for_the_next(store: Store) -> None:
    async def scenario() -> None:
        bell = bell_of(store)
        with bell.place(store, ALICE, ALICE):
            submit(store, ALICE)
            early = [asyncio.ensure_future(bell.rung(ALICE)) for _ in range(3)]
            await asyncio.sleep(0)
            submit(store, ALICE)
            async with asyncio.timeout(10):
                await asyncio.gather(*early)
            late = asyncio.ensure_future(bell.rung(ALICE))
            await asyncio.sleep(0)
            assert not late.done()
            submit(store, ALICE)
            async with asyncio.timeout(10):
                assert await late == 2

    asyncio.run(scenario())


def test_many_rings_wake_once_in_a_while(store: Store) -> None:
    async def scenario() -> int:
        bell, loop, woken = bell_of(store), asyncio.get_running_loop(), 0

        async def follow() -> None:
            nonlocal woken
            with bell.place(store, 0, None):
                while True:
                    await bell.rung(None)
                    woken += 1

        follower = asyncio.ensure_future(follow())
        end, number = loop.time() + 5.5 * REST_SECONDS, 0
        while loop.time() < end:
            await asyncio.sleep(0)
            number += 1
            bell.ring({ALICE: number})
        follower.cancel()
        return woken

    assert 1 <= asyncio.run(scenario()) <= 7


def test_who_sees_nothing_of_it_sleeps_on_and_moves_on_without_a_look(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[int | None] = []
    since = Store.events_since

    def noted(asked: Store, seq: int, limit: int, uid: int | None, job: str | None) -> Any:
        looks.append(uid)
        return since(asked, seq, limit, uid, job)

    monkeypatch.setattr(Store, "events_since", noted)
    got: dict[int | None, list[int]] = {ALICE: [], BOB: [], None: []}

    async def follow(reader: EventReader, uid: int | None) -> None:
        with bell_of(store).place(store, uid or 0, uid):
            while True:
                await reader.more()
                got[uid] += [item.get("seq", -1) for item in all_of(reader)]

    async def scenario() -> None:
        readers = {uid: reader_of(store, 0, uid, None) for uid in got}
        tasks = [asyncio.ensure_future(follow(reader, uid)) for uid, reader in readers.items()]
        await asyncio.sleep(0)
        submit(store, BOB, BOB, BOB)
        async with asyncio.timeout(10):
            while not (got[BOB] and got[None]):
                await asyncio.sleep(0.001)
        assert ALICE not in looks
        # What was bob's is trimmed: nothing of it is missing to alice.
        store.trim_events(0, 100)
        submit(store, ALICE)
        async with asyncio.timeout(10):
            while not (got[ALICE] and len(got[None]) == 4):
                await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())
    assert got == {ALICE: [4], BOB: [1, 2, 3], None: [1, 2, 3, 4]}
    assert looks.count(BOB) == looks.count(ALICE) == 1


def test_a_ring_between_the_waking_and_its_turn_passes_nothing(store: Store) -> None:
    async def scenario() -> list[int]:
        bell = bell_of(store)
        with bell.place(store, ALICE, ALICE):
            reader = reader_of(store, 0, ALICE, None)
            waiting = asyncio.ensure_future(reader.more())
            await asyncio.sleep(0)
            submit(store, ALICE, BOB)
            bell._audiences[ALICE]._wake()
            # The follower has not run yet.
            submit(store, ALICE, BOB)
            async with asyncio.timeout(10):
                await waiting
            return numbers(all_of(reader))

    assert asyncio.run(scenario()) == [1, 3]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.sampled_from([ALICE, BOB, "turn", "wake", "trim"]), max_size=40),
    st.sampled_from([ALICE, BOB, None]),
)
def test_a_follower_is_given_all_of_its_own_in_order_and_a_gap_for_these_alone(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Any], uid: int | None
) -> None:
    store = opened(tmp_path_factory.mktemp("events"))
    items: list[dict[str, Any]] = []
    kept: list[int] = []

    async def follow() -> None:
        reader = reader_of(store, 0, uid, None)
        with bell_of(store).place(store, ALICE, uid):
            while True:
                items.extend(all_of(reader))
                reader.pass_others()
                await reader.more()

    async def scenario() -> None:
        task = asyncio.ensure_future(follow())
        await asyncio.sleep(0)
        for step in [*steps, "wake", "turn", "turn"]:
            if step == "turn":
                await asyncio.sleep(0)
            elif step == "wake":
                bell_of(store)._audiences[uid]._wake()
            elif step == "trim":
                store.trim_events(1, 100)
            else:
                submit(store, step)
                kept.append(step)
        task.cancel()

    asyncio.run(scenario())
    store.close()
    mine = [seq for seq, whose in enumerate(kept, 1) if uid in {None, whose}]
    got = numbers([item for item in items if "seq" in item])
    gone = {
        seq for item in items if "gap" in item for seq in range(item["since"] + 1, item["oldest"])
    }
    assert got == sorted(set(got))
    assert set(got) <= set(mine) <= set(got) | gone


def test_how_far_there_is_to_go_is_asked_once_for_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Store] = []
    newest = Store.newest_event

    def noted(asking: Store) -> int:
        asked.append(asking)
        return newest(asking)

    monkeypatch.setattr(Store, "newest_event", noted)
    readers = [reader_of(store, 0, uid, None) for uid in range(20)]
    assert not any(reader.is_behind for reader in readers)
    for count in (1, 2):
        submit(store, ALICE)
        for reader in readers:
            assert reader.is_behind
            all_of(reader)
            assert reader.place == count
    # After that, each commit tells.
    assert len(asked) == 1


def test_a_ring_that_nobody_waits_for_costs_nothing() -> None:
    # Not even a loop is there: the store is used before it.
    Bell().ring({ALICE: 1})


def test_a_ring_that_those_who_wait_see_nothing_of_wakes_nobody(store: Store) -> None:
    bell = bell_of(store)
    with bell.place(store, ALICE, ALICE):
        # Without a loop: nothing is set for later.
        submit(store, BOB)
        assert (bell.newest(store), bell.newest_of(store, ALICE)) == (1, 0)


def test_one_user_has_so_many_streams_and_is_forgotten_with_the_last(store: Store) -> None:
    bell = bell_of(store)
    with contextlib.ExitStack() as places:
        for _ in range(MAX_AT_ONCE):
            places.enter_context(bell.place(store, ALICE, ALICE))
        with pytest.raises(Refusal) as caught, bell.place(store, ALICE, ALICE):
            pass
        assert caught.value.to_wire() == {
            "code": "too-many-requests", "allowed": "16 event streams at once",
        }  # fmt: skip
        with bell.place(store, BOB, BOB), bell.place(store, 0, None):
            pass
        assert set(bell._audiences) == {ALICE}
    with bell.place(store, ALICE, ALICE):
        pass
    assert not bell._audiences
    assert not bell._by_peer


def test_a_hundred_followers_do_not_slow_a_commit(store: Store) -> None:
    """A commit rings once; what the followers do comes after it, and in its turn."""
    rung: list[int] = []

    async def scenario() -> None:
        bell = bell_of(store)
        readers = [reader_of(store, 0, None, None) for _ in range(100)]

        async def follow(uid: int, reader: EventReader) -> None:
            with bell.place(store, uid, None):
                while True:
                    all_of(reader)
                    await reader.more()

        tasks = [asyncio.ensure_future(follow(*each)) for each in enumerate(readers)]
        await asyncio.sleep(0)

        def on_events(latest: Mapping[int, int]) -> None:
            rung.append(reader_places(readers))
            bell.ring(latest)

        store.on_events = on_events
        for _ in range(5):
            submit(store, 99)
        # Nobody has read yet: not within a commit, nor between two.
        assert rung == [0] * 5
        async with asyncio.timeout(10):
            while reader_places(readers) < 5:
                await asyncio.sleep(0.001)
        for task in tasks:
            task.cancel()

    asyncio.run(scenario())


def reader_places(readers: list[EventReader]) -> int:
    return min(reader.place for reader in readers)
