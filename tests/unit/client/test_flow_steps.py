"""A flow file's tables become jobs: matrices spread out, defaults under steps, needs resolved."""

from __future__ import annotations

from graphlib import TopologicalSorter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.flow_file import FlowFileError
from client.flow_steps import Flow, FlowJob, Need, plan

ONE = {"command": ["true"]}


def planned(steps: dict[str, Any], **more: Any) -> Flow:
    return plan({"steps": steps, **more}, "x.toml", "x")


def refusal(data: dict[str, Any], name: str | None = "x") -> str:
    with pytest.raises(FlowFileError) as caught:
        plan(data, "x.toml", name)
    text = str(caught.value)
    assert text.startswith("x.toml: ")
    assert text.isprintable()
    return text.removeprefix("x.toml: ")


def test_steps_become_jobs_in_the_order_of_the_file() -> None:
    flow = planned({"b": ONE, "a": {"command": "echo $HOME", "needs": "b", "mem": "1G"}})
    assert flow == Flow(
        "x",
        None,
        {},
        [
            FlowJob("b", "b", {}, ["true"], {}, []),
            FlowJob(
                "a", "a", {}, ["/bin/sh", "-c", "echo $HOME"], {"mem": "1G"}, [Need("b", "ok")]
            ),
        ],
    )


def test_a_matrix_is_as_many_jobs_and_is_filled_in_everywhere() -> None:
    flow = planned({
        "build": {"matrix": {"os": ["a", "b"]}, "command": ["make", "${matrix.os}"]},
        "test": {
            "matrix": {"os": ["a", "b"]}, "needs": ["build.1:any"],
            "command": "t ${matrix.os}", "env": {"OS": "${matrix.os}"},
            "label": ["os=${matrix.os}"],
        },
        "end": {**ONE, "needs": ["test", "build:started"]},
    })  # fmt: skip
    assert [job.name for job in flow.jobs] == ["build.1", "build.2", "test.1", "test.2", "end"]
    assert [job.command[-1] for job in flow.jobs] == ["a", "b", "t a", "t b", "true"]
    assert flow.jobs[3].options == {"env": {"OS": "b"}, "label": ["os=b"]}
    assert flow.jobs[3].values == {"os": "b"}
    assert flow.jobs[3].needs == [Need("build.1", "any")]
    assert flow.jobs[4].needs == [
        Need("test.1", "ok"), Need("test.2", "ok"),
        Need("build.1", "started"), Need("build.2", "started"),
    ]  # fmt: skip


def test_a_matrix_of_one_is_numbered_too() -> None:
    flow = planned({"a": {**ONE, "matrix": {"k": ["v"]}}, "b": {**ONE, "needs": ["a"]}})
    assert [job.name for job in flow.jobs] == ["a.1", "b"]
    assert flow.jobs[1].needs == [Need("a.1", "ok")]


def test_a_need_may_be_of_a_step_that_the_matrix_names() -> None:
    flow = planned({
        "build-a": ONE, "build-b": ONE,
        "test": {**ONE, "matrix": {"os": ["a", "b"]}, "needs": ["build-${matrix.os}"]},
    })  # fmt: skip
    assert [job.needs for job in flow.jobs[2:]] == [
        [Need("build-a", "ok")],
        [Need("build-b", "ok")],
    ]


def test_defaults_are_under_every_step_and_tables_are_laid_over_by_name() -> None:
    flow = planned(
        {"a": ONE, "b": {**ONE, "mem": "2G", "retry_on": ["oom"], "env": {"B": "3"}}},
        defaults={"mem": "1G", "retry-on": ["exit"], "env": {"A": "1", "B": "2"}},
    )
    assert flow.jobs[0].options == {
        "mem": "1G", "retry-on": ["exit"], "env": {"A": "1", "B": "2"},
    }  # fmt: skip
    assert flow.jobs[1].options == {
        "mem": "2G", "retry-on": ["oom"], "env": {"A": "1", "B": "3"},
    }  # fmt: skip


def test_what_is_the_whole_flows_stands_before_the_steps() -> None:
    flow = planned({"a": ONE}, name="n", **{"max-running": "4", "key": "k", "hook": ["fail=x"]})
    assert flow[:3] == ("n", 4, {"key": "k", "hook": ["fail=x"]})


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "no steps; "),
        ({"steps": {}}, "no steps; "),
        ({"steps": []}, "steps: a list given; a table is allowed"),
        ({"steps": {"a": "true"}}, "step a: 'true' given; a table is allowed"),
        ({"steps": {"a b": ONE}}, "step 'a b': at most 48 letters"),
        ({"steps": {"a.1": ONE}}, "step 'a.1': at most 48 letters"),
        ({"steps": {"-a": ONE}}, "step '-a': at most 48 letters"),
        ({"steps": {"\x1b[2J": ONE}}, "step '\\x1b[2J': at most 48"),
        ({"steps": {"a" * 49: ONE}}, "at most 48 letters"),
        ({"steps": {"a" * 48: {**ONE, "matrix": {"k": ["v"]}}}}, "its name has 50 characters"),
        ({"steps": {"a": {}}}, "step a: command: not given"),
        ({"steps": {"a": {"command": []}}}, "step a: command: nothing given"),
        ({"steps": {"a": {"command": ""}}}, "step a: command: nothing given"),
        ({"steps": {"a": {"command": {}}}}, "step a: command: a table given"),
        ({"steps": {"a": {"command": ["x", ["y"]]}}}, "step a: command: a list given"),
        ({"steps": {"a": {**ONE, "retry-on": "a", "retry_on": "b"}}},
         "step a: 'retry_on' given twice, with '_' and with '-'"),
        ({"steps": {"a": {**ONE, "mem": "${matrix.k}"}}}, "step a: mem: '${matrix.k}' given"),
        ({"steps": {"a": ONE}, "step": {}}, "'step' is not known; name, max_running, key"),
        ({"steps": {"a": ONE}, "name": "a b"}, "name: 'a b' given"),
        ({"steps": {"a": ONE}, "name": []}, "name: a list given"),
        ({"steps": {"a": ONE}, "name": "n" * 63}, "is too long with step a"),
        ({"steps": {"a": ONE}, "max_running": "0"}, "max_running: '0' given"),
        ({"steps": {"a": ONE}, "max_running": "many"}, "max_running: 'many' given"),
        ({"steps": {"a": ONE}, "defaults": []}, "defaults: a list given"),
        ({"steps": {"a": ONE}, "defaults": {"needs": []}}, "defaults: needs stands in a step"),
        ({"steps": {"a": ONE}, "defaults": {"a-b": "1", "a_b": "2"}}, "'a_b' given twice"),
    ],
)  # fmt: skip
def test_what_is_no_flow_is_refused_with_step_and_key(data: dict[str, Any], said: str) -> None:
    assert said in refusal(data)


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (["c"], "'c' given; there is no such step"),
        (["b.1"], "'b.1' given; there is no such step"),
        (["m.3"], "'m.3' given; there is no such step"),
        (["b:maybe"], "'b:maybe' given; STEP, STEP:ok"),
        (["b:"], "'b:' given; STEP, STEP:ok"),
        ([""], "'' given; STEP, STEP:ok"),
        ([["b"]], "a list given; a text or a list of texts"),
        ({"b": "ok"}, "a table given; a text or a list of texts"),
        (["a"], "'a' given; a job cannot need itself"),
        (["b", "b:any"], "'b:any' given; b is needed twice"),
        (["m", "m.2"], "'m.2' given; m.2 is needed twice"),
    ],
)
def test_a_need_that_cannot_be_is_refused(needs: object, said: str) -> None:
    steps = {"a": {**ONE, "needs": needs}, "b": ONE, "m": {**ONE, "matrix": {"k": ["1", "2"]}}}
    assert (
        refusal({"steps": steps})
        == f"step a: needs: {said}" + refusal({"steps": steps})[len(f"step a: needs: {said}") :]
    )


def test_steps_in_a_circle_are_named() -> None:
    steps = {
        "start": ONE,
        "a": {**ONE, "needs": ["c", "start"]},
        "b": {**ONE, "needs": ["a:any"]},
        "c": {**ONE, "needs": ["b"]},
    }
    said = refusal({"steps": steps})
    assert said.startswith("steps need each other in a circle: ")
    for pair in ("a needs c", "b needs a", "c needs b"):
        assert pair in said
    assert "start" not in said


def test_jobs_are_counted_before_they_are_made() -> None:
    axis = [str(number) for number in range(1000)]
    huge = {"matrix": {f"k{number}": axis for number in range(16)}, **ONE}
    assert f"{1000**16} jobs, each combination" in refusal({"steps": {"a": huge}})
    steps = {"a": {"matrix": {"k": axis}, **ONE}, "b": ONE}
    assert "1001 jobs" in refusal({"steps": steps})
    assert len(planned({"a": steps["a"]}).jobs) == 1000


def test_needs_are_bounded_too() -> None:
    def fan(size: int) -> dict[str, Any]:
        matrix = {"k": [str(number) for number in range(size)]}
        return {"a": {"matrix": matrix, **ONE}, "b": {"matrix": matrix, "needs": ["a"], **ONE}}

    said = refusal({"steps": fan(257)})
    assert "step b: needs: 257 jobs are needed; at most 256 are allowed; put a step" in said
    assert "more than 10000 needs in the whole file" in refusal({"steps": fan(101)})
    assert sum(len(job.needs) for job in planned(fan(100)).jobs) == 10_000


def test_what_comes_from_a_pipe_has_to_be_named() -> None:
    assert refusal({"steps": {"a": ONE}}, None).startswith("name: not given")
    assert plan({"steps": {"a": ONE}, "name": "n"}, "-", None).name == "n"


NAMES = [f"s{number}" for number in range(6)]


@given(
    st.dictionaries(
        st.sampled_from(NAMES),
        st.tuples(st.lists(st.sampled_from(NAMES), max_size=4), st.integers(0, 3)),
        min_size=1,
    )
)
def test_a_plan_is_whole_or_refused(said: dict[str, tuple[list[str], int]]) -> None:
    steps: dict[str, Any] = {}
    for name, (needs, size) in said.items():
        matrix = {"matrix": {"k": [str(number) for number in range(size)]}} if size else {}
        steps[name] = {"command": [name], "needs": needs, **matrix}
    try:
        flow = planned(steps)
    except FlowFileError:
        return
    sizes = {name: max(size, 1) for name, (_, size) in said.items()}
    names = [job.name for job in flow.jobs]
    assert len(set(names)) == len(names) == sum(sizes.values())
    assert list(dict.fromkeys(job.step for job in flow.jobs)) == list(said)
    for job in flow.jobs:
        assert len(job.needs) == sum(sizes[name] for name in said[job.step][0])
    order = TopologicalSorter({job.name: [need.step for need in job.needs] for job in flow.jobs})
    assert set(order.static_order()) == set(names)
