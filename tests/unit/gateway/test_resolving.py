"""A caller with a scope: looked up as itself, checked, acted on by full id; no more is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from client.errors import GroupMeant, RequestRefused
from gateway.scope import Scope
from gateway.verbs import ADMIN, SUBMITTER, VERBS, Target
from tests.unit.gateway.recording import (
    GROUP,
    JOB,
    OTHER_JOB,
    SCHEDULE,
    Recorder,
    binding,
    job,
    run,
)
from tests.unit.gateway.test_session import ask, refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from client.protocol import Message

CI = Scope(queues=("ci",), names=("ci-*",))
QUEUE = Scope(queues=("ci",))
NAMES = Scope(names=("ci-*",))
INSIDE = job()
WRONG_QUEUE, WRONG_NAME = job(queue="prod"), job(name="prod-1")
GROUP_INSIDE = {"group": GROUP, "name": "ci-g", "queue": "ci", "kind": "array"}
SCHEDULE_INSIDE = {"schedule": SCHEDULE, "name": "ci-s", "queue": "ci", "submit": {"name": "ci-x"}}
SUBMIT: Message = {"argv": ["x"], "cwd": "/", "queue": "ci", "name": "ci-1"}

OF_JOBS = sorted(op for op, verb in VERBS.items() if verb.target is Target.JOB)
OF_GROUPS = sorted(op for op, verb in VERBS.items() if verb.target is Target.GROUP)
OF_SCHEDULES = sorted(
    op for op, verb in VERBS.items() if verb.target is Target.SCHEDULE and op != "schedules"
)


def scoped(scope: Scope = CI, role: str = ADMIN, **answers: Any) -> Recorder:
    found = {"status": INSIDE, "group": GROUP_INSIDE, "schedule_status": SCHEDULE_INSIDE, **answers}
    return Recorder(binding(role, scope=scope), found)


def refused_by(recorder: Recorder, op: str, args: Message) -> RequestRefused:
    return refusal(recorder.enter(), op, args)


def asked(recorder: Recorder) -> list[str]:
    return [op for op, _ in recorder.asked]


# One job


@pytest.mark.parametrize("op", OF_JOBS)
@pytest.mark.parametrize("outside", [WRONG_QUEUE, WRONG_NAME, job(name=None), {"job": JOB}])
def test_a_job_outside_is_as_if_it_did_not_exist(op: str, outside: Message) -> None:
    recorder = scoped(status=outside)
    refused = refused_by(recorder, op, {"job": "x", "argv": ["x"]})
    assert (refused.code, refused.field, refused.given) == ("no-such-job", "job", "'x'")
    missing = scoped(status=RequestRefused("no-such-job", field="job", given="'x'", detail="hm"))
    same = refused_by(missing, op, {"job": "x", "argv": ["x"]})
    assert vars(same) == vars(refused)
    assert asked(recorder) == ["status"]


@pytest.mark.parametrize("op", OF_JOBS)
def test_a_job_inside_is_acted_on_by_its_full_id(op: str) -> None:
    recorder = scoped()
    run(ask(recorder.enter(), op, {"job": "ci-1", "argv": ["x"]}))
    assert recorder.asked[0] == ("status", {"job": "ci-1"})
    assert recorder.asked[1][0] == op
    assert recorder.asked[1][1]["job"] == JOB
    assert len(set(recorder.who)) == 1


def test_the_log_says_which_one_it_was() -> None:
    recorder = scoped()
    run(ask(recorder.enter(), "stop", {"job": "ci-1"}))
    assert [line["job"] for line in recorder.lines] == [JOB, JOB]
    refused_by(scoped(status=WRONG_NAME), "stop", {"job": "prod"})


def ambiguous(jobs: Mapping[str, Any]) -> Callable[[Message], Any]:
    """What `3f2a` is that stands for those."""

    def status(args: Message) -> Any:
        if args["job"] in jobs:
            return jobs[args["job"]]
        return RequestRefused("ambiguous-job", given="x", candidates=list(jobs))

    return status


OUTSIDE = {**WRONG_QUEUE, "job": OTHER_JOB}


def test_of_those_that_match_others_count_as_if_they_did_not_exist() -> None:
    gone = RequestRefused("no-such-job")
    for others in ({JOB: WRONG_QUEUE, OTHER_JOB: OUTSIDE}, {JOB: WRONG_NAME, OTHER_JOB: gone}):
        refused = refused_by(scoped(status=ambiguous(others)), "stop", {"job": "3f2a"})
        assert (refused.code, refused.given, refused.candidates) == ("no-such-job", "'3f2a'", [])
    recorder = scoped(status=ambiguous({JOB: INSIDE, OTHER_JOB: OUTSIDE}))
    run(ask(recorder.enter(), "stop", {"job": "3f2a"}))
    assert recorder.asked[-1] == ("stop", {"job": JOB})


def test_several_that_match_inside_are_ambiguous() -> None:
    two = {JOB: INSIDE, OTHER_JOB: {**INSIDE, "job": OTHER_JOB}}
    refused = refused_by(scoped(status=ambiguous(two)), "stop", {"job": "3f2a"})
    assert (refused.code, refused.candidates) == ("ambiguous-job", [])


def test_one_inside_of_more_than_are_named_is_ambiguous() -> None:
    many = {JOB: INSIDE} | {f"3f2a-{number}": OUTSIDE for number in range(19)}
    assert refused_by(scoped(status=ambiguous(many)), "stop", {"job": "3f2a"}).code == (
        "ambiguous-job"
    )


def test_a_group_outside_that_is_named_as_a_job_is_not_there() -> None:
    is_group = RequestRefused("is-group", given="x")
    is_group.group = GroupMeant(GROUP, "array", 7)
    inside = refused_by(scoped(status=is_group), "stop", {"job": "ci-g"})
    assert inside.code == "is-group"
    assert inside.group == GroupMeant(GROUP, "array", 7)
    outside = refused_by(
        scoped(status=is_group, group={**GROUP_INSIDE, "queue": "prod"}), "stop", {"job": "ci-g"}
    )
    assert outside.code == "no-such-job"
    assert outside.group is None


def test_a_job_is_not_moved_before_one_outside_nor_into_another_queue() -> None:
    def status(args: Message) -> Message:
        return INSIDE if args["job"] == "ci-1" else {**WRONG_QUEUE, "job": OTHER_JOB}

    before = refused_by(scoped(status=status), "move", {"job": "ci-1", "before": "other"})
    assert (before.code, before.field) == ("no-such-job", "before")
    elsewhere = refused_by(scoped(), "move", {"job": "ci-1", "queue": "prod"})
    assert (elsewhere.code, elsewhere.field) == ("not-permitted", "queue")


def test_what_is_wrong_with_runnerd_is_not_hidden() -> None:
    refused = refused_by(scoped(status=RequestRefused("shutting-down")), "stop", {"job": "x"})
    assert refused.code == "shutting-down"


# Groups


@pytest.mark.parametrize("op", OF_GROUPS)
def test_a_group_outside_is_as_if_it_did_not_exist(op: str) -> None:
    for outside in ({"queue": "prod"}, {"name": "prod"}, {"queue": None}):
        recorder = scoped(group={**GROUP_INSIDE, **outside})
        refused = refused_by(recorder, op, {"group": "x"})
        assert (refused.code, refused.field) == ("no-such-job", "group")
        assert asked(recorder) == ["group"]


@pytest.mark.parametrize("op", OF_GROUPS)
def test_a_group_inside_is_acted_on_by_its_full_id(op: str) -> None:
    recorder = scoped(group={**GROUP_INSIDE, "members": [], "next": None})
    run(ask(recorder.enter(), op, {"group": "ci-g"}))
    assert recorder.asked[-1] == (op, {"group": GROUP})


@pytest.mark.parametrize("op", [op for op in OF_GROUPS if VERBS[op].writes])
def test_a_group_with_one_job_elsewhere_is_not_changed_as_a_whole(op: str) -> None:
    def group(args: Message) -> Message:
        first = {"members": [INSIDE, INSIDE], "next": 1}
        second = {"members": [INSIDE, WRONG_QUEUE], "next": None}
        return {**GROUP_INSIDE, **(first if args.get("after") == -1 else second)}

    recorder = scoped(group=group)
    refused = refused_by(recorder, op, {"group": "ci-g"})
    assert refused.code == "not-permitted"
    assert asked(recorder) == ["group"] * 3


def test_a_group_that_never_ends_is_given_up() -> None:
    endless = {**GROUP_INSIDE, "members": [INSIDE], "next": 1}
    recorder = scoped(group=endless)
    assert refused_by(recorder, "stop_group", {"group": "x"}).code == "not-permitted"
    assert len(recorder.asked) < 30


def test_by_names_alone_a_group_needs_no_look_at_each_job() -> None:
    recorder = scoped(NAMES)
    run(ask(recorder.enter(), "stop_group", {"group": "ci-g"}))
    assert asked(recorder) == ["group", "stop_group"]


def test_members_in_other_queues_are_not_shown() -> None:
    page = {**GROUP_INSIDE, "members": [INSIDE, WRONG_QUEUE], "next": 7}
    answer = run(ask(scoped(group=page).enter(), "group", {"group": "ci-g"}))
    assert answer["members"] == [INSIDE]
    assert answer["next"] == 7


# Schedules


@pytest.mark.parametrize("op", OF_SCHEDULES)
def test_a_schedule_outside_is_as_if_it_did_not_exist(op: str) -> None:
    for outside in ({"queue": "prod"}, {"name": "p"}, {"submit": {"name": "p"}}, {"submit": None}):
        recorder = scoped(schedule_status={**SCHEDULE_INSIDE, **outside})
        refused = refused_by(recorder, op, {"schedule": "x"})
        assert (refused.code, refused.candidates) == ("no-such-schedule", [])
        assert asked(recorder) == ["schedule_status"]


@pytest.mark.parametrize("op", OF_SCHEDULES)
def test_a_schedule_inside_is_acted_on_by_its_full_id(op: str) -> None:
    recorder = scoped()
    run(ask(recorder.enter(), op, {"schedule": "ci-s"}))
    assert recorder.asked[-1] == (op, {"schedule": SCHEDULE})


def test_a_schedule_and_its_jobs_need_names_inside() -> None:
    fine = {"every": "@daily", "name": "ci-s", "submit": SUBMIT}
    run(ask(scoped().enter(), "schedule", fine))
    for wrong, field in (
        ({"name": "prod"}, "name"),
        ({"name": None}, "name"),
        ({"submit": {**SUBMIT, "name": "prod"}}, "submit.name"),
        ({"submit": {**SUBMIT, "queue": None}}, "submit.queue"),
    ):
        recorder = scoped()
        assert refused_by(recorder, "schedule", {**fine, **wrong}).field == field
        assert recorder.asked == []


# What is submitted


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"queue": "prod"}, "queue"),
        ({"queue": None}, "queue"),
        ({"name": "prod"}, "name"),
        ({"name": None}, "name"),
        ({"net": {"name": "prod"}}, "net.name"),
        ({"hooks": [{"on": ["ok"], "argv": ["x"]}]}, "hooks"),
    ],
)
def test_a_submission_outside_never_reaches_runnerd(change: Message, field: str) -> None:
    for op, args, at in (
        ("submit", {**SUBMIT, **change}, ""),
        ("submit_array", {"submit": {**SUBMIT, **change}, "array": {}}, "submit."),
    ):
        recorder = scoped(role=SUBMITTER)
        refused = refused_by(recorder, op, args)
        assert (refused.code, refused.field) == ("not-permitted", at + field)
        assert recorder.asked == []


def test_each_step_of_a_flow_is_looked_at() -> None:
    work = {"argv": ["x"], "cwd": "/", "queue": "ci"}
    steps = [{"name": "a", "submit": work}, {"name": "b", "submit": {**work, "queue": "prod"}}]
    packed = [msgpack.packb(step) for step in steps]
    refused = refused_by(scoped(), "submit_flow", {"name": "ci-f", "steps": packed})
    assert refused.field == "steps[1].submit.queue"
    run(ask(scoped().enter(), "submit_flow", {"name": "ci-f", "steps": packed[:1]}))
    assert refused_by(scoped(), "submit_flow", {"name": "f", "steps": packed[:1]}).field == "name"
    hooks = [{"on": ["ok"], "argv": ["x"]}]
    flow = {"name": "ci-f", "steps": packed[:1], "hooks": hooks}
    assert refused_by(scoped(), "submit_flow", flow).field == "hooks"


def test_what_it_comes_after_is_looked_up_also_in_steps() -> None:
    after = [{"job": "ci-1"}, {"job": "ci-1", "on": "any"}]
    recorder = scoped()
    run(ask(recorder.enter(), "submit", {**SUBMIT, "after": after}))
    assert recorder.asked[1][1]["after"] == [{"job": JOB}, {"job": JOB, "on": "any"}]
    assert asked(recorder) == ["status", "submit"]
    assert after[0] == {"job": "ci-1"}
    step = msgpack.packb({"name": "a", "submit": {**SUBMIT, "name": None, "after": after}})
    recorder = scoped()
    run(ask(recorder.enter(), "submit_flow", {"name": "ci-f", "steps": [step]}))
    sent = msgpack.unpackb(recorder.asked[-1][1]["steps"][0])
    assert sent["submit"]["after"][0] == {"job": JOB}
    refused = refused_by(scoped(status=WRONG_NAME), "submit", {**SUBMIT, "after": after})
    assert (refused.code, refused.field) == ("no-such-job", "after[0].job")


def test_it_may_come_after_a_group_inside() -> None:
    is_group = RequestRefused("is-group", given="x")
    is_group.group = GroupMeant(GROUP, "array", 7)
    recorder = scoped(status=is_group)
    run(ask(recorder.enter(), "submit", {**SUBMIT, "after": [{"job": "ci-g"}]}))
    assert recorder.asked[-1][1]["after"] == [{"job": GROUP}]


def test_not_any_number_is_looked_up() -> None:
    recorder = scoped()
    after = [{"job": f"ci-{number}"} for number in range(65)]
    assert refused_by(recorder, "submit", {**SUBMIT, "after": after}).code == "invalid-argument"
    assert recorder.asked == []


def test_a_key_tells_nothing_of_what_is_outside() -> None:
    answer = {"job": OTHER_JOB, "state": "running", "existing": True}
    given = {**SUBMIT, "idempotency_key": "k"}
    assert run(ask(scoped(submit=answer).enter(), "submit", given)) == answer
    refused = refused_by(scoped(submit=answer, status=WRONG_NAME), "submit", given)
    assert (refused.code, refused.given) == ("key-in-use", None)
    group = {"group": GROUP, "existing": True}
    outside = {**GROUP_INSIDE, "name": "prod"}
    refused = refused_by(
        scoped(submit_array=group, group=outside), "submit_array", {"submit": given, "array": {}}
    )
    assert refused.code == "key-in-use"


# Many


def test_a_list_is_narrowed_and_filtered_and_its_pages_go_on() -> None:
    page = {"jobs": [INSIDE, WRONG_QUEUE, WRONG_NAME], "next": 12}
    recorder = scoped(list=page)
    answer = run(ask(recorder.enter(), "list", {"ended": True}))
    assert answer == {"jobs": [INSIDE], "next": 12}
    assert recorder.asked == [("list", {"ended": True, "select": {"queue": "ci", "name": "ci-*"}})]


def test_a_list_of_several_queues_is_filtered_alone() -> None:
    recorder = scoped(Scope(queues=("ci", "b-*")), list={"jobs": [INSIDE, WRONG_QUEUE]})
    assert run(ask(recorder.enter(), "list", {})) == {"jobs": [INSIDE]}
    assert recorder.asked == [("list", {"select": {}})]


def test_a_list_of_whoever_has_no_scope_is_asked_for_as_it_came() -> None:
    recorder = Recorder(binding(ADMIN), {"list": {"jobs": [WRONG_QUEUE, INSIDE], "next": None}})
    answer = run(ask(recorder.enter(), "list", {"limit": 2}))
    assert answer["jobs"] == [WRONG_QUEUE, INSIDE]
    assert recorder.asked == [("list", {"limit": 2})]


def test_a_list_of_another_queue_is_refused_and_of_a_group_outside_is_empty_handed() -> None:
    refused = refused_by(scoped(), "list", {"select": {"queue": "prod"}})
    assert (refused.code, refused.field) == ("not-permitted", "select.queue")
    outside = scoped(group={**GROUP_INSIDE, "name": "prod"})
    refused = refused_by(outside, "list", {"select": {"group": "prod"}})
    assert (refused.code, refused.field) == ("no-such-job", "select.group")
    inside = scoped()
    run(ask(inside.enter(), "list", {"select": {"group": "ci-g"}}))
    assert inside.asked[-1][1]["select"]["group"] == GROUP


def test_stop_many_is_narrowed_exactly_or_refused() -> None:
    recorder = scoped()
    run(ask(recorder.enter(), "stop_many", {"select": {"states": ["running"]}}))
    select = {"states": ["running"], "queue": "ci", "name": "ci-*"}
    assert recorder.asked == [("stop_many", {"select": select})]
    for scope, given in (
        (Scope(queues=("ci", "b")), {}),
        (Scope(names=("a*", "b*")), {"name": "*"}),
        (NAMES, {"name": "c*"}),
    ):
        recorder = scoped(scope)
        refused = refused_by(recorder, "stop_many", {"select": given})
        assert refused.code == "not-permitted"
        assert "select." in str(refused)
        assert recorder.asked == []


@pytest.mark.parametrize("op", ["drain", "prune", "stats"])
def test_what_cannot_be_narrowed_is_refused(op: str) -> None:
    recorder = scoped()
    assert "needs a binding without them" in str(refused_by(recorder, op, {}))
    assert recorder.asked == []


def test_a_queue_is_changed_by_whom_it_is_left_to() -> None:
    run(ask(scoped(QUEUE).enter(), "queue", {"name": "ci", "paused": True}))
    assert refused_by(scoped(QUEUE), "queue", {"name": "prod"}).field == "name"
    assert "needs a binding" in str(refused_by(scoped(CI), "queue", {"name": "ci"}))


def test_queues_schedules_why_and_doctor_show_what_is_inside() -> None:
    answers = {
        "queues": {"queues": [{"name": "ci"}, {"name": "prod"}, 5], "capacity": {}},
        "schedules": {"schedules": [{"name": "ci-s", "queue": "ci"}, {"name": "x"}], "next": 3},
        "why": {"because": [{"cause": "behind", "on": [OTHER_JOB], "kinds": []},
                            {"cause": "dependency", "on": [JOB], "kinds": ["ok"]}]},
        "doctor": {"problems": [{"text": "t", "job": JOB}, {"text": "u", "job": None}],
                   "disk": {"size_bytes": 1, "users": [{"uid": 1}]}},
    }  # fmt: skip
    session = scoped(**answers).enter()
    assert run(ask(session, "queues", {})) == {"queues": [{"name": "ci"}], "capacity": {}}
    assert run(ask(session, "schedules", {}))["schedules"] == [{"name": "ci-s", "queue": "ci"}]
    why = run(ask(session, "why", {"job": "x"}))["because"]
    assert [each["on"] for each in why] == [[], [JOB]]
    doctor = run(ask(session, "doctor", {}))
    assert doctor["problems"] == [{"text": "u", "job": None}]
    assert doctor["disk"] == {"size_bytes": 1, "users": []}


# Events


def event(of: str, kind: str = "launch") -> Message:
    return {"seq": 1, "job": of, "kind": kind}


def test_events_of_others_are_left_out_and_each_job_is_asked_about_once() -> None:
    def status(args: Message) -> Message:
        return INSIDE if args["job"] == JOB else {**WRONG_NAME, "job": args["job"]}

    recorder = scoped(status=status, events={"next": 9})
    gap = {"gap": True, "since": 1, "oldest": 2}
    recorder.events = [event(JOB), gap, event(OTHER_JOB), event(JOB, "finish"), {"kind": "x"}]
    seen, answer = run(ask(recorder.enter(), "events", {"since": 0}))
    assert seen == [event(JOB), gap, event(JOB, "finish")]
    assert answer == {"next": 9}
    # What is left out takes nothing of what the caller has granted.
    assert recorder.stream_of is not None
    assert recorder.stream_of.more_allowed == 2
    assert asked(recorder) == ["events", "status", "status"]


def test_a_job_that_was_moved_is_asked_about_again() -> None:
    queues = iter(["ci", "prod"])
    recorder = scoped(status=lambda _: job(queue=next(queues)))
    recorder.events = [event(JOB), event(JOB, "move"), event(JOB, "launch")]
    assert run(ask(recorder.enter(), "events", {}))[0] == [event(JOB)]


def test_an_event_of_a_job_that_is_gone_is_nobodys_unless_it_was_known() -> None:
    answers = iter([INSIDE, RequestRefused("no-such-job")])

    def status(_: Message) -> Any:
        found = next(answers)
        if isinstance(found, RequestRefused):
            raise found
        return found

    recorder = scoped(status=status)
    recorder.events = [event(JOB), event(JOB, "remove"), event(OTHER_JOB)]
    assert run(ask(recorder.enter(), "events", {}))[0] == [event(JOB), event(JOB, "remove")]


def test_events_of_groups_are_by_the_group() -> None:
    recorder = scoped()
    recorder.events = [event(GROUP, "group-ended")]
    assert len(run(ask(recorder.enter(), "events", {}))[0]) == 1
    recorder = scoped(group={**GROUP_INSIDE, "queue": "prod"})
    recorder.events = [event(GROUP, "group-ended")]
    assert run(ask(recorder.enter(), "events", {}))[0] == []


def test_an_event_of_a_group_is_known_as_one_whatever_its_kind() -> None:
    is_group = RequestRefused("is-group", given="x")
    is_group.group = GroupMeant(GROUP, "array", 7)
    for group, seen in ((GROUP_INSIDE, 1), ({**GROUP_INSIDE, "name": "prod"}, 0)):
        recorder = scoped(status=is_group, group=group)
        recorder.events = [event(GROUP, "hook")]
        assert len(run(ask(recorder.enter(), "events", {}))[0]) == seen


def test_events_of_one_job_need_it_inside() -> None:
    assert refused_by(scoped(status=WRONG_NAME), "events", {"job": "x"}).code == "no-such-job"
    recorder = scoped()
    run(ask(recorder.enter(), "events", {"job": "x"}))
    assert recorder.asked[-1] == ("events", {"job": JOB})
