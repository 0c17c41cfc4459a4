"""The verbs of groups: who may, and what is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from client import protocol
from runner import stored
from runner.rows import NewHook
from runner.server import grouped
from tests.unit.runner.queue_bench import ALICE, BOB, ROOT, QueueBench, on_queue, rules_of
from tests.unit.runner.server.test_queue_handlers import Desk

if TYPE_CHECKING:
    from pathlib import Path

    from runner.group_rows import Group


def desk_on(bench: QueueBench) -> Desk:
    desk = Desk(bench)
    desk.supervisor.groups = bench.groups
    return desk


async def all_through(bench: QueueBench, group: Group, *failing: int) -> None:
    while jobs := [each for each in bench.store.launched() if each.group_id == group.id]:
        for job in jobs:
            await bench.through(job.id, 3 if job.member in failing else 0)


def test_a_group_is_shown_with_a_page_of_its_jobs(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(5, name="many", cap=1)
        shown = await desk.ask(ALICE, "group", group="many")
        assert (shown["group"], shown["size"], shown["state"]) == (group.id, 5, "running")
        assert (shown["first"], shown["last"], shown["max_running"]) == (0, 4, 1)
        assert [each["member"] for each in shown["members"]] == [0, 1, 2, 3, 4]
        assert [each["waits_for"] for each in shown["members"][:3]] == [
            None, "group-cap", "group-cap"
        ]  # fmt: skip
        assert shown["next"] is None
        page = await desk.ask(ALICE, "group", group=group.id, after=1, limit=2)
        assert ([each["member"] for each in page["members"]], page["next"]) == ([2, 3], 3)
        page = await desk.ask(ALICE, "group", group=group.id, after=3, limit=2)
        assert ([each["name"] for each in page["members"]], page["next"]) == (["many.4"], None)
        page = await desk.ask(ALICE, "group", group=group.id, limit=0)
        assert (page["members"], page["next"]) == ([], None)

    on_queue(tmp_path, test, rules_of(9))


def test_a_page_of_a_group_is_never_more_than_a_frame_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown_ = grouped.shown

    def heavy(*about: Any) -> dict[str, Any]:
        return {**shown_(*about), "argv": ["x" * 100_000]}

    monkeypatch.setattr(grouped, "shown", heavy)

    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(25)
        seen: list[int] = []
        after: int | None = -1
        while after is not None:
            page = await desk.ask(ROOT, "group", group=group.id, after=after)
            assert len(page["members"]) <= 11
            protocol.encode_frame({"id": 1, "ok": page})
            seen += [each["member"] for each in page["members"]]
            after = page["next"]
        assert seen == list(range(25))

    on_queue(tmp_path, test)


def test_a_flow_is_shown_with_its_steps(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.flow([], [(0, "any")])
        shown = await desk.ask(ALICE, "group", group=group.id)
        assert [each["step"] for each in shown["members"]] == ["s0", "s1"]
        assert shown["members"][1]["needs"] == [{"step": "s0", "on": "any"}]
        assert shown["members"][1]["waits_for"] == "dependency"
        found = await desk.ask(ALICE, "why", job=f"{group.id}.s1")
        assert found["because"][0]["on"] == [shown["members"][0]["job"]]

    on_queue(tmp_path, test)


def test_jobs_are_listed_with_their_group_their_step_and_their_fate(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        bench.submit()
        await bench.array(2)
        flow = await bench.flow([], [(0, "ok")], name="release")
        await all_through(bench, flow, 0)
        jobs = (await desk.ask(ALICE, "list", ended=True))["jobs"]
        assert [(each["group_name"], each["step"], each["fate"]) for each in jobs] == [
            ("release", "s1", "skipped"), ("release", "s0", "failed"),
            (None, None, None), (None, None, None), (None, None, None),
        ]  # fmt: skip
        found = await desk.ask(ALICE, "group", group="release")
        assert [(each["step"], each["fate"]) for each in found["members"]] == [
            ("s0", "failed"), ("s1", "skipped"),
        ]  # fmt: skip
        skipped = found["members"][1]
        assert skipped["result"]["detail"] == (
            f"it was to come after step s0 ({found['members'][0]['job'][:8]}, ok),"
            " which ended: exit, status 3"
        )

    on_queue(tmp_path, test, rules_of(9))


def test_the_group_of_many_jobs_is_read_once_for_a_page(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        await bench.array(30)
        bench.submit()
        read: list[str] = []
        read_group = bench.store.group

        def group(group_id: str) -> Group | None:
            read.append(group_id)
            return read_group(group_id)

        bench.store.group = group  # type: ignore[method-assign]
        assert len((await desk.ask(ALICE, "list"))["jobs"]) == 31
        assert len(read) == 1

    on_queue(tmp_path, test)


def test_a_group_is_shown_with_its_hooks(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(1, group_hooks=(NewHook(("ended",), b"garbled"),))
        assert (await desk.ask(ALICE, "group", group=group.id))["hooks"] == [
            {"number": 0, "on": ["ended"], "command": None, "host": None, "last": None}
        ]

    on_queue(tmp_path, test)


def test_of_a_job_that_a_group_has_not_it_is_said_which_it_has(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        await bench.flow([], [], name="release")
        error = await desk.error(ALICE, "stop", job="release.test")
        assert (error["code"], error["detail"]) == (
            "no-such-job", "flow release has no step test; it has s0, s1"
        )  # fmt: skip
        assert "detail" not in await desk.error(BOB, "stop", job="release.test")
        assert "detail" not in await desk.error(ALICE, "stop", job="nobody.test")

    on_queue(tmp_path, test)


def test_a_group_is_queued_until_one_of_it_has_started_whatever_was_stopped(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        bench.may_start = False
        group = await bench.array(3)
        jobs = bench.of(group)

        async def state() -> str:
            found: str = (await desk.ask(ALICE, "group", group=group.id))["state"]
            return found

        await bench.queueing.stop(jobs[:1], ALICE.uid)
        assert await state() == "queued"
        bench.may_start = True
        bench.queueing.soon()
        await bench.turn()
        assert await state() == "running"
        await bench.queueing.stop(jobs[2:], ALICE.uid)
        await bench.through(jobs[1], 1)
        assert await state() == "ended"

    on_queue(tmp_path, test)


def test_a_stop_of_a_group_means_what_has_not_ended_of_it(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(4)
        await bench.through(bench.of(group)[0])
        answer = await desk.ask(ALICE, "stop_group", group=group.id, kill=True)
        assert answer == {"group": group.id, "jobs": 3, "queued": 2, "running": 1}
        ((jobs, uid, grace),) = desk.supervisor.stopped
        assert ([job for job, _ in jobs], uid, grace) == (bench.of(group)[1:], ALICE.uid, 0.0)

    on_queue(tmp_path, test)


def test_a_retry_of_a_group_is_answered_with_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(3, name="a")
        await all_through(bench, group, 0, 2)
        monkeypatch.setattr(stored, "spec", lambda _job: {"deadline_ns": None})
        assert await desk.ask(ALICE, "retry_group", group="a") == {"group": group.id, "jobs": 2}
        error = await desk.error(ALICE, "retry_group", group="a")
        assert (error["code"], error["field"]) == ("not-now", "group")

    on_queue(tmp_path, test, rules_of(9))


def test_a_retry_of_a_step_takes_along_what_was_skipped_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.flow([], [(0, "ok")])
        await all_through(bench, group, 0)
        bench.may_start = False
        monkeypatch.setattr(stored, "spec", lambda _job: {"deadline_ns": None})
        answer = await desk.ask(ALICE, "retry", job=f"{group.id}.s0")
        assert answer == {"job": bench.of(group)[0], "state": "queued", "attempt": 2}
        assert {bench.job(job).state.value for job in bench.of(group)} == {"queued"}
        assert desk.supervisor.retried == []
        # One of an array goes alone.
        array = await bench.array(2)
        await desk.ask(ALICE, "retry", job=f"{array.id}.1")
        assert desk.supervisor.retried == [(bench.of(array)[1], ALICE.uid)]

    on_queue(tmp_path, test, rules_of(9))


def test_a_retry_is_refused_where_no_directory_can_be_made(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = Desk(bench, str(tmp_path / "gone"))
        group = await bench.array(1)
        error = await desk.error(ALICE, "retry_group", group=group.id)
        assert error["code"] == "store-error"

    on_queue(tmp_path, test)


def test_who_waits_is_told_of_the_first_job_that_failed(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(4, name="a")
        asked = {"group": "a", "timeout_seconds": 0.01}
        early = await desk.ask(ALICE, "wait_group", **asked)
        assert (early["state"], early["ok"], early["failed"]) == ("running", None, None)
        waiting = asyncio.ensure_future(desk.ask(ALICE, "wait_group", group="a"))
        await asyncio.sleep(0)
        await all_through(bench, group, 1, 3)
        ended = await waiting
        assert (ended["state"], ended["ok"]) == ("ended", False)
        assert ended["counts"] == {
            "queued": 0, "starting": 0, "running": 0, "paused": 0, "ok": 2, "failed": 2,
            "skipped": 0, "removed": 0,
        }  # fmt: skip
        failed = ended["failed"]
        assert (failed["name"], failed["member"]) == ("a.1", 1)
        assert failed["result"]["exit_status"] == 3
        bench.store.delete_ended([bench.of(group)[1]], 9, 0)
        ended = await desk.ask(ALICE, "wait_group", group="a")
        assert ended["failed"]["name"] == "a.3"

    on_queue(tmp_path, test, rules_of(9))


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("wait_group", {"group": "a", "timeout_seconds": 0.0}), ("group", {"group": "a"}),
        ("group", {"group": "a", "limit": 0}), ("list", {"collapse": True}),
    ],
)  # fmt: skip
def test_of_one_user_one_group_is_counted_in_a_turn_of_the_loop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, op: str, args: dict[str, Any]
) -> None:
    """Else a thousand requests of one connection keep everybody waiting."""
    counted = grouped.summary
    turn = 0
    turns: dict[int, list[int]] = {}

    async def test(bench: QueueBench) -> None:
        nonlocal turn
        desk = desk_on(bench)
        for peer in (ALICE, BOB):
            await bench.array(3, uid=peer.uid, name="a")

        def summary(service: Any, group: Group) -> dict[str, Any]:
            turns.setdefault(group.submitted_by_uid, []).append(turn)
            return counted(service, group)

        monkeypatch.setattr(grouped, "summary", summary)
        asked = [
            asyncio.ensure_future(desk.ask(peer, op, **args))
            for peer in (ALICE, ALICE, ALICE, ALICE, BOB, BOB)
        ]
        while not all(each.done() for each in asked):
            await asyncio.sleep(0)
            turn += 1
        await asyncio.gather(*asked)
        assert [len(turns[peer.uid]) for peer in (ALICE, BOB)] == [4, 2]
        assert all(len(set(each)) == len(each) for each in turns.values())
        assert max(turns[BOB.uid]) <= max(turns[ALICE.uid])

    on_queue(tmp_path, test)


def test_a_group_that_is_removed_while_somebody_waits_is_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(1)

        async def gone(_group_id: str) -> None:
            return None

        monkeypatch.setattr(bench.groups, "wait_ended", gone)
        error = await desk.error(ALICE, "wait_group", group=group.id)
        assert (error["code"], error["detail"]) == ("no-such-job", "it was removed")

    on_queue(tmp_path, test)


def test_a_group_is_held_changed_and_removed(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        bench.may_start = False
        group = await bench.array(3, name="a")
        told = {"group": group.id}
        assert await desk.ask(ALICE, "hold_group", group="a") == {**told, "jobs": 3, "held": True}
        free = await desk.ask(ROOT, "hold_group", group=group.id, held=False)
        assert free == {**told, "jobs": 3, "held": False}
        changed = await desk.ask(ALICE, "update_group", group="a", max_running=2, priority=-1)
        assert changed == {**told, "max_running": 2, "jobs": 3}
        changed = await desk.ask(ALICE, "update_group", group="a", max_running=None)
        assert changed == {**told, "max_running": None, "jobs": 0}
        error = await desk.error(ALICE, "remove_group", group="a")
        assert (error["code"], error["given"]) == ("not-now", group.id[:8])
        assert "3 of its jobs have not ended" in error["detail"]
        await bench.queueing.stop(bench.of(group), ALICE.uid)
        assert await desk.ask(ALICE, "remove_group", group="a") == {**told, "jobs": 3}

    on_queue(tmp_path, test)


def test_somebody_elses_group_is_refused_exactly_as_one_that_does_not_exist(
    tmp_path: Path,
) -> None:
    ops = (
        "group", "stop_group", "retry_group", "wait_group", "hold_group", "update_group",
        "remove_group",
    )  # fmt: skip

    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(2, name="hers")
        for op in ops:
            error = await desk.error(BOB, op, group="hers")
            assert error == {
                "code": "no-such-job", "field": "group", "given": "'hers'",
                "detail": "no array or flow of yours matches",
            }  # fmt: skip
            assert error == {
                **await desk.error(BOB, op, group="none"), "given": "'hers'"
            }  # fmt: skip
            assert (await desk.error(BOB, op, group=group.id))["code"] == "no-such-job"
        single = bench.submit(name="single")
        assert (await desk.error(ALICE, "group", group=single))["code"] == "no-such-job"

    on_queue(tmp_path, test)


def test_what_is_asked_of_a_job_is_refused_for_a_group_with_what_it_is(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(2, name="many")
        for op in ("status", "stop", "retry", "hold", "release", "why", "wait", "remove"):
            error = await desk.error(ALICE, op, job="many")
            assert error == {
                "code": "is-group", "field": "job", "given": "'many'", "group": group.id,
                "kind": "array", "jobs": 2,
            }  # fmt: skip
            assert (await desk.error(BOB, op, job="many"))["code"] == "no-such-job"
        shown = await desk.ask(ALICE, "hold", job="many.1")
        assert shown["job"] == bench.of(group)[1]

    on_queue(tmp_path, test)


def test_lists_show_a_group_as_one_line_and_select_its_jobs(tmp_path: Path) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        before = bench.submit()
        group = await bench.array(3, name="many")
        after = bench.submit()
        desk.supervisor.cause_of = bench.queueing.cause  # type: ignore[method-assign]
        listed = await desk.ask(ALICE, "list", collapse=True)
        newest, line, oldest = listed["jobs"]
        assert (newest["job"], oldest["job"]) == (after, before)
        assert line["group_summary"]["group"] == group.id
        assert line["group_summary"]["counts"]["queued"] == 3
        page = await desk.ask(ALICE, "list", collapse=True, limit=2)
        rest = await desk.ask(ALICE, "list", collapse=True, limit=2, before=page["next"])
        assert [job["job"] for job in rest["jobs"]] == [before]
        chosen = await desk.ask(ALICE, "list", select={"group": "many"})
        assert [job["member"] for job in chosen["jobs"]] == [2, 1, 0]
        assert {job["group"] for job in chosen["jobs"]} == {group.id}
        error = await desk.error(BOB, "list", select={"group": "many"})
        assert (error["code"], error["field"]) == ("no-such-job", "select.group")
        assert (await desk.error(BOB, "stop_many", select={"group": group.id}))["code"] == (
            "no-such-job"
        )

    on_queue(tmp_path, test)


def test_a_page_that_is_full_behind_a_group_goes_on_below_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    summary = grouped.summary

    def heavy(*about: Any) -> dict[str, Any]:
        return {**summary(*about), "argv": ["x" * 1_000_000]}

    monkeypatch.setattr(grouped, "summary", heavy)

    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        groups = [await bench.array(3) for _ in range(3)]
        seen: list[str] = []
        before = None
        while before is not None or not seen:
            page = await desk.ask(ALICE, "list", collapse=True, before=before)
            assert len(page["jobs"]) == 1
            seen += [entry["group_summary"]["group"] for entry in page["jobs"]]
            before = page["next"]
        assert seen == [group.id for group in reversed(groups)]

    on_queue(tmp_path, test)


def test_why_names_the_figures_of_a_full_group_and_a_group_that_is_waited_for(
    tmp_path: Path,
) -> None:
    async def test(bench: QueueBench) -> None:
        desk = desk_on(bench)
        group = await bench.array(3, cap=1)
        told = await desk.ask(ALICE, "why", job=f"{group.id}.2")
        full, behind = told["because"]
        assert full["group"] == {
            "group": group.id, "kind": "array", "max_running": 1, "running": 1
        }  # fmt: skip
        assert (full["cause"], behind["cause"], behind["group"]) == ("group-cap", "behind", None)
        after = bench.submit(after=((group.id, "ok"),))
        for peer in (ALICE, ROOT):
            (because,) = (await desk.ask(peer, "why", job=after))["because"]
            assert (because["cause"], because["on"]) == ("dependency", [group.id])

    on_queue(tmp_path, test, rules_of(9))
