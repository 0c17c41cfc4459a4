"""Changes of one job come one after the other, and each is carried to its end."""

from __future__ import annotations

import asyncio

import pytest

from runner.refusal import Refusal
from runner.turns import Breaths, Turns


def test_changes_of_one_job_wait_for_each_other_and_those_of_another_do_not() -> None:
    async def scenario() -> list[str]:
        turns, said = Turns(), []
        gate = asyncio.Event()

        async def change(name: str) -> str:
            said.append(f"{name} begins")
            if name == "a1":
                await gate.wait()
            said.append(f"{name} ends")
            return name

        tasks = [
            asyncio.create_task(turns.take(name[0], lambda name=name: change(name)))  # type: ignore[misc]
            for name in ("a1", "a2", "a3", "b1")
        ]
        while "b1 ends" not in said:
            await asyncio.sleep(0)
        gate.set()
        assert await asyncio.gather(*tasks) == ["a1", "a2", "a3", "b1"]
        assert not turns._locks
        assert not turns._users
        return said

    assert asyncio.run(scenario()) == [
        "a1 begins", "b1 begins", "b1 ends", "a1 ends", "a2 begins", "a2 ends",
        "a3 begins", "a3 ends",
    ]  # fmt: skip


def test_who_goes_away_takes_back_the_waiting_and_not_the_change() -> None:
    async def scenario() -> list[str]:
        turns, said = Turns(), []
        gate = asyncio.Event()

        async def change() -> None:
            await gate.wait()
            said.append("done")

        task = asyncio.create_task(turns.take("a", change))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        gate.set()
        await turns.close()
        return said

    assert asyncio.run(scenario()) == ["done"]


def test_a_refusal_reaches_who_asked_and_the_next_one_has_its_turn() -> None:
    async def scenario() -> str:
        turns = Turns()

        async def refuse() -> None:
            raise Refusal("job-state")

        async def accept() -> str:
            return "yes"

        with pytest.raises(Refusal):
            await turns.take("a", refuse)
        return await turns.take("a", accept)

    assert asyncio.run(scenario()) == "yes"


def test_what_never_ends_is_cancelled_with_the_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.turns._SETTLE_SECONDS", 0.01)

    async def scenario() -> bool:
        turns = Turns()
        task = asyncio.create_task(turns.take("a", asyncio.Event().wait))
        await asyncio.sleep(0)
        await turns.close()
        with pytest.raises(asyncio.CancelledError):
            await task
        return True

    assert asyncio.run(scenario())


def test_who_asks_for_what_waits_for_its_turn_already_shares_it() -> None:
    async def scenario() -> list[str]:
        turns, said = Turns(), []
        gate = asyncio.Event()

        async def change(name: str) -> str:
            said.append(name)
            await gate.wait()
            return name

        def ask(number: int, what: str) -> asyncio.Task[str]:
            name = f"{what}{number}"
            return asyncio.create_task(turns.share("job", what, lambda: change(name)))

        tasks = [ask(1, "a")]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        # It has begun, and may not do what is asked for now.
        tasks += [ask(2, "a"), ask(3, "a"), ask(4, "b"), ask(5, "a")]
        for _ in range(3):
            await asyncio.sleep(0)
        tasks[1].cancel()
        gate.set()
        assert await asyncio.gather(*tasks[2:]) == ["a2", "b4", "a2"]
        assert await tasks[0] == "a1"
        assert not turns._shared
        return said

    assert asyncio.run(scenario()) == ["a1", "a2", "b4"]


def test_those_who_share_are_refused_together_and_the_next_asks_anew() -> None:
    async def scenario() -> None:
        turns = Turns()
        refusals = iter((Refusal("draining"), Refusal("not-now")))

        async def change() -> None:
            raise next(refusals)

        asked = [turns.share("job", "a", change) for _ in range(3)]
        found = await asyncio.gather(*asked, return_exceptions=True)
        assert [str(each) for each in found] == [str(Refusal("draining"))] * 3
        with pytest.raises(Refusal, match="not-now"):
            await turns.share("job", "a", change)

    asyncio.run(scenario())


def test_one_of_each_user_is_done_between_two_turns_of_the_others() -> None:
    async def scenario() -> None:
        breaths = Breaths()
        done: list[int] = []

        async def heavy(uid: int) -> None:
            async with breaths.of(uid):
                done.append(uid)

        tasks = [asyncio.create_task(heavy(uid)) for uid in (1, 1, 1, 1, 2, 2)]
        while len(done) < len(tasks):
            before = len(done)
            await asyncio.sleep(0)
            new = done[before:]
            assert len(set(new)) == len(new)
        assert sorted(done) == [1, 1, 1, 1, 2, 2]
        await asyncio.gather(*tasks)
        assert not breaths._locks

    asyncio.run(scenario())


def test_who_fails_or_goes_away_keeps_nobody_from_the_next_turn() -> None:
    async def scenario() -> None:
        breaths = Breaths()

        async def heavy(error: Exception | None = None) -> None:
            async with breaths.of(1):
                if error is not None:
                    raise error

        failing = asyncio.create_task(heavy(ValueError()))
        gone, last = asyncio.create_task(heavy()), asyncio.create_task(heavy())
        await asyncio.sleep(0)
        gone.cancel()
        await last
        with pytest.raises(ValueError):  # noqa: PT011 - its own
            await failing

    asyncio.run(scenario())
