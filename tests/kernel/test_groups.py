"""Arrays and flows with real jobs: one thing to submit, to wait for, to stop and to try again.

What is decided of them is tested in tests/unit/runner; here it is what users see, and that it holds
when runnerd is killed.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from tests.kernel.harness import wait_until
from tests.kernel.hostile import (
    Wire,
    no_defect_in_the_log,  # noqa: F401 - used by every test here
    submission,
)
from tests.kernel.test_drain import configure
from tests.kernel.test_queue import GATES, causes, gates, order, reason_of, submit

if TYPE_CHECKING:
    from tests.kernel.harness import Daemon

NOTED = f"echo $RUNNERD_ARRAY_INDEX >> {GATES}/order"


def array(wire: Wire, script: str, *ranges: list[int], **more: Any) -> str:
    """An array of jobs that run a script of the shell; `cap` of them at once."""
    asked = {"ranges": list(ranges), "max_running": more.pop("cap", None)}
    answer = wire.ok("submit_array", submit=submission("sh", "-c", script, **more), array=asked)
    assert (answer["kind"], answer["existing"]) == ("array", False)
    group: str = answer["group"]
    return group


def step(name: str, script: str, *needs: str, **more: Any) -> bytes:
    """A step of a flow; of each need its name, perhaps with ":fail" behind it."""
    asked = {
        "name": name,
        "submit": {**submission("sh", "-c", script), **more},
        "needs": [{"step": need.partition(":")[0], "on": need.partition(":")[2] or "ok"}
                  for need in needs],
    }  # fmt: skip
    packed: bytes = msgpack.packb(asked)
    return packed


def flow(wire: Wire, *steps: bytes, **more: Any) -> str:
    group: str = wire.ok("submit_flow", {"name": "f", "steps": list(steps), **more})["group"]
    return group


def ended(wire: Wire, group: str) -> dict[str, Any]:
    """The group once it has ended."""
    shown: dict[str, Any] = wire.ok("wait_group", group=group, timeout_seconds=60)
    assert shown["state"] == "ended", shown
    return shown


def members(wire: Wire, group: str) -> dict[str | int, dict[str, Any]]:
    """Its jobs, by their indexes or the names of their steps."""
    shown = wire.ok("group", group=group)["members"]
    return {each["step"] or each["member"]: each for each in shown}


def said(name: str, status: int = 0) -> str:
    """What a step runs: it adds its name to the file of `gates`."""
    return f"echo {name} >> {GATES}/order; exit {status}"


def counts_of(wire: Wire, group: str) -> dict[str, int]:
    """Those that are not 0."""
    counts = wire.ok("group", group=group, limit=0)["counts"]
    return {name: count for name, count in counts.items() if count}


# --- arrays ---


def test_an_array_runs_each_index_once_and_never_more_at_once_than_it_may(
    own_daemon: Daemon,
) -> None:
    configure(own_daemon, "[jobs]\nmax_running = 12\n")
    own_daemon.start()
    most = 0
    note = f"$RUNNERD_ARRAY_INDEX >> {GATES}/order"
    with gates(), Wire(own_daemon) as alice:
        script = f"echo +{note}; sleep 0.1; echo -{note}"
        group = array(alice, script, [0, 19, 1], cap=3, name="many")
        while (shown := alice.ok("group", group=group, limit=0))["state"] != "ended":
            counts = shown["counts"]
            most = max(most, counts["starting"] + counts["running"])
        assert (shown["ok"], shown["size"], most) == (True, 20, 3)
        begun = [line for line in order() if line[0] == "+"]
        assert sorted(begun) == sorted(f"+{index}" for index in range(20))
        at_once = accumulate(1 if line[0] == "+" else -1 for line in order())
        assert max(at_once) <= 3
        named = alice.ok("status", job="many.7")
        assert (named["group"], named["member"], named["name"]) == (group, 7, "many.7")


def test_an_array_is_one_line_of_a_list_and_its_jobs_are_named_by_its_id(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        group = array(alice, "exit $RUNNERD_ARRAY_INDEX", [2, 6, 2], [9, 9, 1], hold=True)
        single = submit(alice, submission("true"), hold=True)
        line, other = alice.ok("list", collapse=True)["jobs"][::-1]
        assert other["job"] == single
        summary = line["group_summary"]
        assert (summary["group"], summary["state"], summary["size"]) == (group, "queued", 4)
        assert (summary["first"], summary["last"]) == (2, 9)
        assert len(alice.ok("list", select={"group": group})["jobs"]) == 4
        found = alice.ok("status", job=f"{group[:8]}.4")
        assert (found["member"], found["group"]) == (4, group)
        refused = alice.error("status", job=group)
        assert (refused["code"], refused["group"], refused["jobs"]) == ("is-group", group, 4)
        for text in (group, group[:8], f"{group}.4"):
            assert bob.error("group", group=text)["code"] == "no-such-job"
            assert bob.error("status", job=text)["code"] == "no-such-job"
        for op in ("stop_group", "retry_group", "wait_group", "hold_group", "remove_group"):
            assert bob.error(op, group=group)["code"] == "no-such-job"
        assert bob.error("update_group", group=group, max_running=1)["code"] == "no-such-job"
        assert alice.error("remove_group", group=group)["code"] == "not-now"
        assert alice.ok("hold_group", group=group, held=False)["jobs"] == 4
        assert ended(alice, group)["failed"]["member"] == 2
        assert alice.ok("remove_group", group=group)["jobs"] == 4
        assert alice.error("group", group=group)["code"] == "no-such-job"


def test_a_stop_ends_what_waits_at_once_and_what_runs_and_is_never_retried(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice:
        group = array(alice, "sleep 600", [0, 19, 1], cap=2, retry={"limit": 3})
        wait_until(lambda: counts_of(alice, group).get("running") == 2)
        assert causes(alice, f"{group}.19")[0] == "group-cap"
        (because,) = (b for b in alice.ok("why", job=f"{group}.19")["because"]
                      if b["cause"] == "group-cap")  # fmt: skip
        assert because["group"]["max_running"] == because["group"]["running"] == 2
        answer = alice.ok("stop_group", group=group, grace_seconds=1)
        assert (answer["jobs"], answer["queued"], answer["running"]) == (20, 18, 2)
        shown = ended(alice, group)
        assert (shown["ok"], shown["counts"]["failed"]) == (False, 20)
        jobs = members(alice, group).values()
        assert {job["result"]["reason"] for job in jobs} == {"stopped"}
        assert {job["attempt"] for job in jobs} == {1}


def test_only_what_failed_of_an_array_is_tried_again(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice:
        script = f"{NOTED}; [ -e {GATES}/good ] || [ $(($RUNNERD_ARRAY_INDEX % 3)) != 0 ]"
        group = array(alice, script, [0, 9, 1])
        assert (shown := ended(alice, group))["ok"] is False
        assert (shown["counts"]["ok"], shown["counts"]["failed"]) == (6, 4)
        assert (shown["failed"]["member"], shown["failed"]["result"]["exit_status"]) == (0, 1)
        open_it("good")
        assert alice.ok("retry_group", group=group)["jobs"] == 4
        assert ended(alice, group)["ok"] is True
        attempts = {index: job["attempt"] for index, job in members(alice, group).items()}
        assert attempts == {index: 1 if index % 3 else 2 for index in range(10)}
        assert sorted(map(int, order())) == sorted([*range(10), 0, 3, 6, 9])
        refused = alice.error("retry_group", group=group)
        assert (refused["code"], refused["field"]) == ("not-now", "group")


def test_jobs_come_after_an_array_as_they_do_after_a_job(own_daemon: Daemon) -> None:
    own_daemon.start()
    gate = f"until [ -e {GATES}/g ]; do sleep 0.02; done"
    with gates() as open_it:
        with Wire(own_daemon) as alice:
            bad = array(alice, f"{gate}; exit $RUNNERD_ARRAY_INDEX", [0, 1, 1], name="bad")
            good = array(alice, gate, [0, 2, 1], name="good")
            jobs = {
                (on, ref): submit(alice, submission("true"), after=[{"job": ref, "on": on}])
                for ref in ("bad", "good")
                for on in ("ok", "any", "fail")
            }
            assert alice.ok("why", job=jobs["ok", "good"])["because"][0]["on"] == [good]
            after = [{"job": good, "on": "started"}]
            refused = alice.error("submit", submission("true"), after=after)
            assert (refused["code"], refused["field"]) == ("invalid-argument", "after[0].on")
        own_daemon.kill()
        own_daemon.start()
        open_it("g")
        with Wire(own_daemon) as alice:
            assert ended(alice, bad)["ok"] is False
            assert ended(alice, good)["ok"] is True
            assert {key: reason_of(alice, job) for key, job in jobs.items()} == {
                ("ok", "bad"): "dependency", ("any", "bad"): "exit", ("fail", "bad"): "exit",
                ("ok", "good"): "exit", ("any", "good"): "exit", ("fail", "good"): "dependency",
            }  # fmt: skip
            # What is asked of a group that has ended is answered at once.
            late = submit(alice, submission("true"), after=[{"job": "bad", "on": "ok"}])
            assert reason_of(alice, late) == "dependency"


def test_an_array_outlives_its_daemon_at_any_moment(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates():
        with Wire(own_daemon) as alice:
            group = array(alice, f"{NOTED}; sleep 0.05", [0, 39, 1], cap=4)
        for _ in range(4):
            done = len(order())
            wait_until(lambda done=done: len(order()) > done or done == 40)  # type: ignore[misc]
            own_daemon.kill()
            own_daemon.start()
            with Wire(own_daemon) as alice:
                counts = alice.ok("group", group=group, limit=0)["counts"]
                assert counts["starting"] + counts["running"] <= 4
        with Wire(own_daemon) as alice:
            shown = ended(alice, group)
            assert (shown["ok"], shown["counts"]["ok"]) == (True, 40)
            assert sorted(map(int, order())) == list(range(40))
            own_daemon.kill()
            own_daemon.start()
        with Wire(own_daemon) as alice:
            assert alice.ok("group", group=group)["ok"] is True


def test_another_cap_counts_at_once_and_what_is_held_stays(own_daemon: Daemon) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "root") as root:
        group = array(alice, "sleep 600", [0, 9, 1], cap=1)
        wait_until(lambda: counts_of(alice, group) == {"queued": 9, "running": 1})
        answer = alice.ok("update_group", group=group, max_running=3, priority=-7)
        assert answer == {"group": group, "max_running": 3, "jobs": 9}
        wait_until(lambda: counts_of(alice, group) == {"queued": 7, "running": 3})
        refused = alice.error("update_group", group=group, priority=500)
        assert (refused["code"], refused["field"]) == ("not-permitted", "priority")
        assert root.ok("hold_group", group=group)["jobs"] == 7
        assert alice.error("hold_group", group=group, held=False)["code"] == "not-permitted"
        alice.ok("update_group", group=group, max_running=None)
        shown = members(alice, group)[9]
        assert (shown["priority"], shown["waits_for"]) == (-7, "held")
        assert root.ok("hold_group", group=group, held=False)["jobs"] == 7
        wait_until(lambda: counts_of(alice, group) == {"running": 10})
        alice.ok("stop_group", group=group, kill=True)


# --- flows ---


def test_a_diamond_runs_in_its_order(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates(), Wire(own_daemon) as alice:
        group = flow(
            alice,
            step("last", said("last"), "left", "right"), step("left", said("left"), "first"),
            step("right", said("right"), "first"), step("first", said("first")),
            step("never", said("never"), "left:fail"),
        )  # fmt: skip
        shown = ended(alice, group)
        # A step that is for a failure does not fail the flow by never running.
        assert (shown["ok"], shown["counts"]["ok"], shown["counts"]["skipped"]) == (True, 4, 1)
        found = order()
        assert (found[0], sorted(found[1:3]), found[3:]) == ("first", ["left", "right"], ["last"])
        named = members(alice, group)
        assert named["last"]["needs"] == [
            {"step": "left", "on": "ok"}, {"step": "right", "on": "ok"}
        ]  # fmt: skip
        assert named["never"]["result"]["reason"] == "dependency"
        assert alice.ok("status", job="f.left")["job"] == named["left"]["job"]


def test_a_flow_goes_on_from_where_it_failed(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice:
        group = flow(
            alice,
            step("a", said("a")),
            step("b", f"echo b >> {GATES}/order; [ -e {GATES}/good ]", "a"),
            step("c", said("c"), "b"), step("d", said("d"), "c"),
            step("cleanup", said("cleanup"), "b:fail"), step("report", said("report"), "d:any"),
        )  # fmt: skip
        follower = submit(alice, submission("true"), after=[{"job": group, "on": "fail"}])
        shown = ended(alice, group)
        assert (shown["ok"], shown["failed"]["name"]) == (False, "f.b")
        counts = {"ok": 3, "failed": 1, "skipped": 2}
        assert counts_of(alice, group) == counts
        assert sorted(order()) == ["a", "b", "cleanup", "report"]
        assert reason_of(alice, follower) == "exit"
        open_it("good")
        own_daemon.kill()
        own_daemon.start()
    with Wire(own_daemon) as alice:
        assert members(alice, group)["c"]["result"]["reason"] == "dependency"


def test_a_retried_flow_runs_what_failed_and_came_after_it_in_order(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates() as open_it, Wire(own_daemon) as alice:
        group = flow(
            alice,
            step("a", said("a")),
            step("b", f"echo b >> {GATES}/order; [ -e {GATES}/good ]", "a"),
            step("c", said("c"), "b"), step("d", said("d"), "c", "a"),
        )  # fmt: skip
        assert ended(alice, group)["ok"] is False
        assert order() == ["a", "b"]
        open_it("good")
        assert alice.ok("retry_group", group=group)["jobs"] == 3
        shown = ended(alice, group)
        assert (shown["ok"], shown["failed"], counts_of(alice, group)) == (True, None, {"ok": 4})
        assert order() == ["a", "b", "b", "c", "d"]
        assert alice.error("retry_group", group="f")["code"] == "not-now"


def test_a_flow_that_is_stopped_ends_as_a_whole(own_daemon: Daemon) -> None:
    own_daemon.start()
    with gates(), Wire(own_daemon) as alice:
        group = flow(
            alice,
            step("runs", "sleep 600"), step("waits", said("waits"), "runs"),
            step("cleanup", said("cleanup"), "runs:fail"), step("any", said("any"), "runs:any"),
        )  # fmt: skip
        wait_until(lambda: counts_of(alice, group).get("running") == 1)
        assert alice.ok("stop_group", group="f", kill=True)["queued"] == 3
        assert ended(alice, group)["ok"] is False
        assert order() == []


# --- what is refused ---


def test_what_is_wrong_with_a_group_is_refused_and_nothing_of_it_is_queued(
    own_daemon: Daemon,
) -> None:
    configure(own_daemon, "[jobs]\nmax_array = 100\n[quotas]\nmax_queued = 50\n")
    own_daemon.start()
    with Wire(own_daemon) as alice:

        def error(op: str, **args: Any) -> tuple[str, str | None]:
            refused = alice.error(op, **args)
            assert alice.ok("list", ended=True)["jobs"] == []
            return refused["code"], refused.get("field")

        def of_array(ranges: Any, **more: Any) -> tuple[str, str | None]:
            asked = {"ranges": ranges, **more.pop("array", {})}
            return error("submit_array", submit=submission("true", **more), array=asked)

        def of_flow(*steps: bytes) -> tuple[str, str | None]:
            return error("submit_flow", name="f", steps=list(steps))

        invalid = "invalid-argument"
        assert of_array([[0, 10**9, 1]]) == (invalid, "array.ranges")
        assert of_array([[0, 100, 1]]) == (invalid, "array.ranges")
        assert of_array([[0, 50, 1]])[0] == "quota-exceeded"
        assert of_array([[5, 4, 1]])[0] == invalid
        assert of_array([[0, 3, 1], [3, 3, 1]])[0] == invalid
        assert of_array([[0, 3, 1]], array={"max_running": 0})[0] == invalid
        assert of_array([[0, 3, 1]], name="n" * 64)[0] == invalid
        assert of_array([[0, 3, 1]], queue="none") == ("no-such-queue", "submit.queue")
        assert of_array([[0, 3, 1]], after=[{"job": "none-such"}])[0] == "no-such-job"
        assert of_flow(step("a", "true", "b"), step("b", "true", "a"))[0] == invalid
        assert of_flow(step("a", "true", "a"))[0] == invalid
        assert of_flow(step("a", "true", "none"))[0] == invalid
        assert of_flow(step("a", "true"), step("a", "true"))[0] == invalid
        assert of_flow(step("a", "true"), step("b", "true", cwd="/none"))[0] == invalid
        assert of_flow(b"rubbish")[0] == invalid


def test_a_group_of_another_is_nothing_to_come_after_and_nothing_to_select(
    own_daemon: Daemon,
) -> None:
    own_daemon.start()
    with Wire(own_daemon) as alice, Wire(own_daemon, "bob") as bob:
        group = array(alice, "true", [0, 1, 1], name="hers", hold=True)
        for text in (group, "hers", f"{group}.0", "hers.0"):
            refused = bob.error("submit", submission("true"), after=[{"job": text}])
            assert (refused["code"], refused["field"]) == ("no-such-job", "after[0].job")
        refused = bob.error("list", select={"group": group})
        assert (refused["code"], refused["field"]) == ("no-such-job", "select.group")
        assert bob.error("stop_many", select={"group": "hers"})["code"] == "no-such-job"
        assert bob.ok("list", collapse=True, ended=True)["jobs"] == []
        assert alice.ok("stop_many", select={"group": "hers"})["jobs"] == 2


@pytest.mark.parametrize("kind", ["array", "flow"])
def test_a_key_gives_one_group_over_a_restart(own_daemon: Daemon, kind: str) -> None:
    own_daemon.start()

    def ask(wire: Wire, script: str) -> dict[str, Any]:
        if kind == "flow":
            args: dict[str, Any] = {"name": "f", "steps": [step("a", script)]}
            return wire.request("submit_flow", {**args, "idempotency_key": "k"})  # type: ignore[no-any-return]
        asked = submission("sh", "-c", script, idempotency_key="k")
        array = {"ranges": [[0, 2, 1]]}
        return wire.request("submit_array", submit=asked, array=array)  # type: ignore[no-any-return]

    with Wire(own_daemon) as alice:
        first = ask(alice, "true")["ok"]
        own_daemon.kill()
        own_daemon.start()
    with Wire(own_daemon) as alice:
        assert ask(alice, "true")["ok"] == {**first, "existing": True}
        assert ask(alice, "false")["error"]["code"] == "key-in-use"
        assert ended(alice, first["group"])["ok"] is True
