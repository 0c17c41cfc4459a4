"""Waiting for a change of a job: no wake-up is lost, and nothing is kept for who gave up."""

from __future__ import annotations

import asyncio

from runner.changes import Changes


def test_a_change_wakes_everybody_who_waits_for_that_job_and_nobody_else() -> None:
    async def scenario() -> None:
        changes = Changes()
        first, second, other = changes.next("a"), changes.next("a"), changes.next("b")
        changes.announce("a")
        assert (first.done(), second.done(), other.done()) == (True, True, False)

    asyncio.run(scenario())


def test_a_change_between_the_call_and_the_await_is_not_lost() -> None:
    async def scenario() -> None:
        changes = Changes()
        waiting = changes.next("a")
        changes.announce("a")
        await asyncio.wait_for(waiting, 5)

    asyncio.run(scenario())


def test_what_changed_before_the_call_does_not_count() -> None:
    async def scenario() -> None:
        changes = Changes()
        changes.announce("a")
        waiting = changes.next("a")
        await asyncio.sleep(0)
        assert not waiting.done()

    asyncio.run(scenario())


def test_who_waits_again_at_once_misses_no_change_of_a_series() -> None:
    """As a handler does it: look, and when it is not yet so, wait for the next change."""

    async def scenario() -> None:
        changes = Changes()
        state = 0

        async def until(wanted: int) -> int:
            rounds = 0
            while state < wanted:
                await changes.next("a")
                rounds += 1
            return rounds

        tasks = [asyncio.create_task(until(20)) for _ in range(5)]
        await asyncio.sleep(0)
        for _ in range(20):
            state += 1
            changes.announce("a")
            await asyncio.sleep(0)
        rounds = await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert all(1 <= count <= 20 for count in rounds)

    asyncio.run(scenario())


def test_a_change_announced_again_before_the_first_was_handled_wakes_the_new_waiter() -> None:
    """The first future's bookkeeping must not throw the second one away."""

    async def scenario() -> None:
        changes = Changes()
        first = changes.next("a")
        changes.announce("a")
        second = changes.next("a")
        await first
        await asyncio.sleep(0)
        changes.announce("a")
        await asyncio.wait_for(second, 5)

    asyncio.run(scenario())


def test_a_waiter_that_was_cancelled_is_forgotten_and_disturbs_no_other() -> None:
    async def scenario() -> None:
        changes = Changes()
        given_up, patient = changes.next("a"), changes.next("a")
        given_up.cancel()
        changes.announce("a")
        assert patient.done()
        alone = changes.next("b")
        alone.cancel()
        await asyncio.sleep(0)
        assert changes._waiting == {}

    asyncio.run(scenario())


def test_nothing_is_kept_when_nobody_waits() -> None:
    async def scenario() -> None:
        changes = Changes()
        changes.announce("a")
        waiting = changes.next("a")
        changes.announce("a")
        await waiting
        await asyncio.sleep(0)
        assert changes._waiting == {}

    asyncio.run(scenario())
