"""Arrays and flows become groups and jobs that are complete, or are refused as a whole."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner import group_submission, message_groups, records
from runner.group_rows import About, StepAbout
from runner.group_submission import Prepared, read_array, read_flow, same_group
from runner.parsing import parse
from runner.refusal import Refusal
from tests.unit.runner.test_submission import PEER, RULES, Ground

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 100
JOB: dict[str, Any] = {"argv": ["echo", b"\xff"], "cwd": "/"}


def array(*ranges: tuple[int, int, int], most: int = MOST, **fields: Any) -> Any:
    args = {"submit": {**JOB, **fields}, "array": {"ranges": ranges, "max_running": 3}}
    return read_array(parse(message_groups.SubmitArray, args), most)


def step(name: str, /, *needs: str | dict[str, str], values: Any = None, **fields: Any) -> bytes:
    packed: bytes = msgpack.packb({
        "name": name,
        "submit": {**JOB, **fields},
        "needs": [{"step": need} if isinstance(need, str) else need for need in needs],
        "values": values or {},
    })  # fmt: skip
    return packed


def flow(*steps: bytes, name: str = "ci", **fields: Any) -> Any:
    args = {"name": name, "steps": list(steps), **fields}
    return asyncio.run(read_flow(parse(message_groups.SubmitFlow, args)))


def prepared(asked: Any, ground: Ground | None = None) -> Prepared:
    ground = ground or Ground()
    done: Prepared = asyncio.run(asked.prepare(ground.submissions(RULES), PEER, ground.find))
    return done


def refused(ask: Callable[..., Any], *args: Any, **fields: Any) -> dict[str, Any]:
    with pytest.raises(Refusal) as caught:
        ask(*args, **fields)
    return caught.value.to_wire()


# Arrays


def test_the_jobs_of_an_array_share_a_spec_and_differ_in_index_name_and_id() -> None:
    group, jobs = prepared(array((3, 4, 1), (10, 20, 5), name="sweep", labels={"a": "b"}))
    assert (group.kind, group.name, group.max_running, group.spec is None) == (
        "array", "sweep", 3, False,
    )  # fmt: skip
    assert [job.member for job in jobs] == [3, 4, 10, 15, 20]
    assert [job.name for job in jobs] == [f"sweep.{index}" for index in (3, 4, 10, 15, 20)]
    assert len({job.id for job in jobs} | {group.id}) == 6
    assert {(job.group_id, job.spec, job.idempotency_key) for job in jobs} == {
        (group.id, b"", None)
    }
    assert all(job.labels == {"a": "b"} for job in jobs)
    about = msgspec.msgpack.decode(group.about, type=About)
    assert about == About(ranges=[(3, 4, 1), (10, 20, 5)])
    spec = records.unpack(group.spec or b"")
    assert (spec["job"], spec["argv"]) == (group.id, [b"echo", b"\xff"])


def test_the_host_is_asked_once_however_many_jobs_an_array_has() -> None:
    ground = Ground()
    prepared(array((0, MOST - 1, 1), after=[{"job": "x"}]), ground)
    assert ground.asked.count("check_cwd") == ground.asked.count("find x") == 1


def test_an_array_without_a_name_has_jobs_without_one() -> None:
    group, jobs = prepared(array((0, 1, 1)))
    assert (group.name, [job.name for job in jobs]) == (None, [None, None])


def test_the_key_and_the_hooks_of_an_array_are_its_own() -> None:
    hook = {"on": ["fail"], "argv": ["tell"]}
    group, jobs = prepared(array((0, 1, 1), idempotency_key="k", hooks=[hook]))
    assert group.idempotency_key == "k"
    assert [hook.events for hook in group.hooks] == [("fail",)]
    assert [job.hooks for job in jobs] == [(), ()]


@pytest.mark.parametrize(
    ("ranges", "field", "given_", "words"),
    [
        ([(0, 999_999_999, 1)], "array.ranges", "1000000000 jobs", "at most 100 are allowed"),
        ([(0, 2**31 - 1, 1)] * 64, "array.ranges", f"{2**37} jobs", "at most 100 are allowed"),
        ([(0, 49, 1), (50, 100, 1)], "array.ranges", "101 jobs", "at most 100 are allowed"),
        ([(0, 5, 1), (7, 6, 1)], "array.ranges[1]", "7 to 6", "a first index that is not above"),
        ([(0, 9, 3), (1, 3, 2)], "array.ranges[1]", None, "index 3 stands twice"),
        ([(5, 5, 1), (5, 5, 1)], "array.ranges[1]", None, "index 5 stands twice"),
    ],
)
def test_an_array_that_cannot_be_is_refused_before_anything_is_made(
    ranges: list[tuple[int, int, int]], field: str, given_: str | None, words: str
) -> None:
    answer = refused(array, *ranges)
    assert (answer["code"], answer["field"], answer.get("given")) == (
        "invalid-argument", field, given_,
    )  # fmt: skip
    assert (answer.get("allowed") or answer["detail"]).startswith(words)


def test_an_array_may_be_as_large_as_the_configuration_says() -> None:
    assert array((0, MOST - 1, 1)).size == MOST
    assert "jobs.max_array" in refused(array, (0, MOST, 1))["detail"]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(1, 9)), min_size=1,
                max_size=5))  # fmt: skip
def test_the_indexes_are_those_of_the_ranges_in_their_order_or_there_is_no_array(
    ranges: list[tuple[int, int, int]],
) -> None:
    wanted = [n for first, last, stride in ranges for n in range(first, last + 1, stride)]
    is_sound = all(first <= last for first, last, _ in ranges)
    if is_sound and len(wanted) <= MOST and len(set(wanted)) == len(wanted):
        assert [job.member for job in prepared(array(*ranges)).jobs] == wanted
    else:
        assert refused(array, *ranges)["field"].startswith("array.ranges")


def test_what_the_jobs_of_an_array_would_be_refused_for_is_refused_with_its_field() -> None:
    assert refused(array, (0, 1, 1), argv=[])["field"] == "submit.argv"
    hooks = [{"on": ["ok", "paused"], "argv": ["a"]}]
    assert refused(array, (0, 1, 1), hooks=hooks)["field"] == "submit.hooks[0].on[1]"
    answer = refused(prepared, array((0, 1, 1), queue="day"))
    assert (answer["code"], answer["field"]) == ("no-such-queue", "submit.queue")


@pytest.mark.parametrize("last", [9, 10])
def test_the_longest_name_of_a_job_has_to_be_one_too(last: int) -> None:
    name = "n" * 62
    if last < 10:
        assert prepared(array((0, last, 1), name=name)).jobs[-1].name == f"{name}.9"
        return
    answer = refused(array, (0, last, 1), name=name)
    assert answer["field"] == "submit.name"
    assert answer["detail"] == (
        "at most 61 characters are allowed, because a job of it is called NAME.10, "
        "which has at most 64"
    )


def test_what_is_written_for_each_job_is_bounded_for_all_of_them() -> None:
    labels = {f"l{n}": "" for n in range(11)}
    assert array((0, 9999, 1), most=10_000, labels=dict(list(labels.items())[:10])).size == 10_000
    answer = refused(array, (0, 9999, 1), most=10_000, labels=labels)
    assert (answer["field"], answer["given"]) == ("submit.labels", "11 labels")
    assert answer["allowed"] == "at most 10 labels for each of 10000 jobs"
    ground = Ground()
    after = [{"job": f"j{n}"} for n in range(256)]
    answer = refused(prepared, array((0, 999, 1), most=1000, after=after), ground)
    assert (answer["code"], answer["field"]) == ("quota-exceeded", "submit.after")
    assert ground.asked == []


def test_the_same_array_is_told_by_command_and_indexes_alone() -> None:
    same = array((0, 3, 1), name="a", env={"A": "b"}).digest
    assert same == array((2, 3, 1), (0, 1, 1), priority=-5).digest
    others = [array((0, 4, 1)), array((0, 3, 1), argv=["echo"]),
              array((0, 3, 1), argv=["echo", b"\xff", ""])]  # fmt: skip
    assert same not in {other.digest for other in others}


# Flows


def test_each_step_is_a_job_that_comes_after_those_that_it_needs() -> None:
    group, jobs = prepared(
        flow(
            step("build"),
            step("test.1", "build", values={"py": "3.11"}, after=[{"job": "x", "on": "any"}]),
            step("mop", {"step": "test.1", "on": "fail"}, "build"),
            max_running=2,
        )
    )
    build, test, mop = jobs
    assert [job.name for job in jobs] == ["ci.build", "ci.test.1", "ci.mop"]
    assert [job.member for job in jobs] == [0, 1, 2]
    assert {job.group_id for job in jobs} == {group.id}
    assert test.after == (("id of x", "any"), (build.id, "ok"))
    assert mop.after == ((test.id, "fail"), (build.id, "ok"))
    assert all(records.unpack(job.spec)["job"] == job.id for job in jobs)
    assert (group.kind, group.name, group.max_running, group.spec) == ("flow", "ci", 2, None)
    assert msgspec.msgpack.decode(group.about, type=About).steps == [
        StepAbout(name="build"),
        StepAbout(name="test.1", values={"py": "3.11"}, needs=[("build", "ok")]),
        StepAbout(name="mop", needs=[("test.1", "fail"), ("build", "ok")]),
    ]


def test_the_environment_of_a_step_goes_over_that_of_the_flow() -> None:
    steps = step("a", env={"A": "own", b"\xfe": "x"}), step("b")
    _, jobs = prepared(flow(*steps, env={"A": "common", b"B": b"\xff"}))
    own, other = (records.unpack(job.spec)["env"] for job in jobs)
    assert own == {b"A": b"own", b"B": b"\xff", b"\xfe": b"x"}
    assert other == {b"A": b"common", b"B": b"\xff"}


def test_the_hooks_of_a_flow_are_run_as_its_first_step() -> None:
    hook = {"on": ["ended"], "argv": ["tell"]}
    group, jobs = prepared(flow(step("a", cwd="/usr"), step("b"), hooks=[hook], env={"A": "b"}))
    assert [hook.events for hook in group.hooks] == [("ended",)]
    assert b"/usr" in group.hooks[0].template
    assert all(job.hooks == () for job in jobs)


@pytest.mark.parametrize(
    ("steps", "field", "words"),
    [
        ([step("a"), b"\xc1"], "steps[1]", "step 1: not msgpack"),
        ([step("a"), msgpack.packb([1])], "steps[1]", "step 1: a frame holds a map"),
        ([step("a"), msgpack.packb({"name": "b"})], "steps[1].submit", "step 'b'"),
        ([step("a"), step("b!")], "steps[1].name", "step 'b!'"),
        ([step("a"), step("b", "x")], "steps[1].needs[0].step", "step b"),
        ([step("a", "b"), step("b", "a")], "steps[0].needs[0].step", "a cycle: a -> b -> a"),
        ([step("a"), step("a")], "steps[1].name", ""),
        ([step("a"), step("b", argv=[])], "steps[1].submit.argv", "step b"),
        ([step("a"), step("b", x=1)], "steps[1].submit.x", "step b"),
        ([step("a", name="n")], "steps[0].submit.name", "step a"),
        ([step("a", idempotency_key="k")], "steps[0].submit.idempotency_key", "step a"),
        ([step("a", hooks=[{"on": ["ok"], "argv": ["x"]}])], "steps[0].submit.hooks", "step a"),
        ([step("a", values={"k": "a\0"})], "steps[0].values['k']", "step 'a'"),
        ([step("a", values={"k-1": "a", "k_1": "b"})], "steps[0].values", "step 'a'"),
    ],
)  # fmt: skip
def test_a_flow_that_cannot_be_is_refused_by_the_field_of_its_step(
    steps: list[bytes], field: str, words: str
) -> None:
    answer = refused(flow, *steps)
    assert (answer["code"], answer["field"]) == ("invalid-argument", field)
    assert words in answer.get("detail", "")
    assert answer["allowed"]


def test_what_belongs_to_the_flow_is_refused_of_a_step_with_the_way_to_do_it() -> None:
    assert "FLOW.STEP" in refused(flow, step("a", name="n"))["allowed"]
    assert "the key is the flow's" in refused(flow, step("a", idempotency_key="k"))["allowed"]
    hooks = [{"on": ["ok"], "argv": ["x"]}]
    assert "hooks are the flow's" in refused(flow, step("a", hooks=hooks))["allowed"]


def test_no_more_is_decoded_of_a_step_than_of_a_request() -> None:
    # Each of a few bytes, and an object of its own.
    bomb = msgpack.packb({"name": "a", "submit": {"argv": [[]] * 600}})
    answer = refused(flow, bomb)
    assert answer["field"] == "steps[0]"
    assert "more than 512 arrays and maps" in answer["detail"]


def test_what_a_job_of_a_flow_would_be_refused_for_is_refused_with_the_first_such_step() -> None:
    steps = [step("a"), *(step(f"b{n}", queue=f"q{n}") for n in range(20))]
    answer = refused(prepared, flow(*steps))
    assert (answer["code"], answer["field"]) == ("no-such-queue", "steps[1].submit.queue")
    assert answer["detail"] == "step b0"


def test_a_refusal_without_a_field_tells_the_step_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_args: Any) -> None:
        raise Refusal("store-error", detail="no free space")

    monkeypatch.setattr("runner.submission.check_room", full)
    answer = refused(prepared, flow(step("a")))
    assert answer == {"code": "store-error", "detail": "step a: no free space"}


def test_a_flow_and_its_jobs_are_submitted_at_one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = itertools.count(1_800_000_000_000_000_000, 1000)
    monkeypatch.setattr(time, "time_ns", lambda: next(times))
    group, jobs = prepared(flow(*(step(f"s{n}") for n in range(20))))
    assert {job.submitted_ns for job in jobs} == {group.submitted_ns}


def test_a_step_that_comes_after_another_users_job_refuses_the_flow() -> None:
    ground = Ground()

    def nobody(ref: str) -> Any:
        raise Refusal("no-such-job", field="job", given=ref)

    asked = flow(step("a"), step("b", after=[{"job": "theirs"}]))
    work = asked.prepare(ground.submissions(RULES), PEER, nobody)
    with pytest.raises(Refusal) as caught:
        asyncio.run(work)
    assert caught.value.fields["field"] == "steps[1].submit.after[0].job"


def test_the_name_of_a_flow_leaves_room_for_those_of_its_steps() -> None:
    steps = step("a"), step("test.10")
    assert prepared(flow(*steps, name="n" * 56)).jobs[1].name == "n" * 56 + ".test.10"
    answer = refused(flow, *steps, name="n" * 57)
    assert answer["field"] == "name"
    assert answer["detail"].startswith("at most 56 characters are allowed, because ")


def test_the_environment_of_a_flow_counts_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_submission, "MOST_SPEC_BYTES", 500_000)
    steps = [step(f"s{n}") for n in range(10)]
    prepared(flow(*steps, env={"A": "x" * 48_000}))
    answer = refused(prepared, flow(*steps, env={"A": "x" * 60_000}))
    assert answer["field"] == "steps[8]"
    assert "the flow's environment counts for each step" in answer["detail"]
    # With its own, as execve(2) would see it.
    large = {f"V{n}": "x" * 100_000 for n in range(8)}
    own = {f"W{n}": "x" * 100_000 for n in range(8)}
    answer = refused(flow, step("a"), step("b", env=own), env=large)
    assert answer["field"] == "steps[1].submit.argv and env"


def test_dependencies_of_a_flow_are_bounded_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("runner.submission_queue.MOST_UNMET_OF", 3)
    prepared(flow(step("a"), step("b", "a"), step("c", "a", "b")))
    steps = step("a"), step("b", "a"), step("c", "a", "b", after=[{"job": "x"}])
    assert refused(prepared, flow(*steps))["code"] == "quota-exceeded"


def test_too_many_dependencies_are_refused_before_the_first_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runner.submission_queue.MOST_UNMET_OF", 3)
    ground = Ground()
    after = [{"job": "x"}, {"job": "y"}]
    asked = flow(step("a", after=after), step("b", after=after))
    assert refused(prepared, asked, ground)["code"] == "quota-exceeded"
    assert ground.asked == []


def test_the_values_of_all_steps_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_submission, "MOST_VALUE_BYTES", 1000)
    steps = [step(f"s{n}", values={"v": "x" * 200}) for n in range(5)]
    flow(*steps[:4])
    answer = refused(flow, *steps)
    assert (answer["code"], answer["field"]) == ("invalid-argument", "steps[4].values")
    assert answer["allowed"] == "at most 1000 bytes"
    assert answer["detail"].startswith("step s4: ")


def test_a_flow_of_the_most_steps_with_a_usual_environment_is_taken() -> None:
    env = {f"VARIABLE_{n}": "x" * 80 for n in range(50)}
    steps = (step(f"s{n}", values={"os": "linux", "n": str(n)}) for n in range(1000))
    assert len(prepared(flow(*steps, env=env)).jobs) == 1000


def test_others_have_their_turn_between_the_steps() -> None:
    request = parse(
        message_groups.SubmitFlow, {"name": "ci", "steps": [step(f"s{n}") for n in range(50)]}
    )
    turns = 0

    async def both() -> None:
        nonlocal turns
        reading = asyncio.ensure_future(read_flow(request))
        while not reading.done():
            await asyncio.sleep(0)
            turns += 1

    asyncio.run(both())
    assert turns >= 50


def test_the_same_flow_is_told_by_names_needs_and_commands() -> None:
    def digest(*steps: bytes, **fields: Any) -> bytes:
        found: bytes = flow(*steps, **fields).digest
        return found

    same = digest(step("a"), step("b", "a"))
    assert same == digest(step("a", priority=-1), step("b", "a", env={"A": "b"}), env={"C": "d"})
    others = [
        digest(step("a"), step("b")),
        digest(step("a"), step("b", {"step": "a", "on": "any"})),
        digest(step("a"), step("c", "a")),
        digest(step("a"), step("b", "a", argv=["echo"])),
        digest(step("a"), step("b", "a"), step("c")),
    ]
    assert len({same, *others}) == 6


@pytest.mark.parametrize("kind", ["array", "flow"])
def test_the_group_of_a_key_is_the_same_or_the_key_is_in_use(kind: str) -> None:
    digest = hashlib.sha256(b"x").digest()
    found: Any = SimpleNamespace(digest=digest, kind=kind, id="g", idempotency_key="k")
    assert same_group(found, digest) is found
    answer = refused(same_group, found, b"other")
    assert (answer["code"], answer["given"]) == ("key-in-use", "'k'")
    assert f"{kind} g " in answer["detail"]
