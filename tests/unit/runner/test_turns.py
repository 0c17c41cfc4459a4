"""Changes of one job come one after the other, and each is carried to its end."""

from __future__ import annotations

import asyncio

import pytest

from runner.refusal import Refusal
from runner.turns import Turns


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
