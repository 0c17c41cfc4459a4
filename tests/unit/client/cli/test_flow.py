"""`runctl flow`: a file becomes one request, is refused in its own words, is shown as a tree."""

from __future__ import annotations

import io
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgpack
import pytest

from client.cli import flow_watch, run
from tests.unit.client.cli.test_flow_tree import GROUP, RELEASE, member, status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon, Session

    Runctl = Callable[..., tuple[int, str, str]]

EXAMPLES = Path(__file__).parents[4] / "examples"
MADE = {"group": GROUP, "kind": "flow", "jobs": 2, "existing": False}
TWO = '[steps.a]\ncommand = ["make", "-j4"]\n[steps.b]\nneeds = ["a:any"]\ncommand = "x"\n'
ENDED = {"state": "ended", "ok": True, "ended_ns": RELEASE["submitted_ns"]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., str]:
    def write(text: str, name: str = "release.toml") -> str:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return str(tmp_path / name)

    return write


@pytest.fixture
def submitted(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str]
) -> Callable[..., dict[str, Any]]:
    """What a file asks for, its steps decoded."""
    daemon.answer("submit_flow", MADE)

    def submit(text: str, name: str = "release.toml") -> dict[str, Any]:
        assert runctl("flow", "run", write(text, name)) == (0, f"{GROUP}\n", "")
        asked = dict(daemon.args("submit_flow")[-1])
        asked["steps"] = [msgpack.unpackb(step) for step in asked["steps"]]
        return asked

    return submit


def test_a_file_is_submitted_as_one_thing(submitted: Callable[..., dict[str, Any]]) -> None:
    asked = submitted('max_running = 2\nkey = "k"\nhook = "fail=mail me"\n' + TWO)
    assert asked["name"] == "release"
    assert asked["max_running"] == 2
    assert asked["idempotency_key"] == "k"
    assert asked["hooks"] == [{"on": ["fail"], "argv": ["mail", "me"]}]
    first, second = asked["steps"]
    assert first["name"] == "a"
    assert first["submit"]["argv"] == ["make", "-j4"]
    assert second["needs"] == [{"step": "a", "on": "any"}]
    assert second["submit"]["argv"] == ["/bin/sh", "-c", "x"]
    # The environment is sent once.
    assert asked["env"]["PATH"] == os.environ["PATH"]
    assert first["submit"]["env"] == second["submit"]["env"] == {}
    assert first["submit"]["cwd"] == os.getcwd()


def test_every_kind_of_option_is_read_as_run_reads_it(
    submitted: Callable[..., dict[str, Any]],
) -> None:
    step = submitted(
        """
        [defaults]
        env = { A = "1", B = "1" }
        hold = true
        [steps.a]
        matrix = { n = [3.10] }
        command = ["x"]
        mem = "512M"
        cpus = 0.5
        timeout = "10m"
        priority = -5
        retry = 2
        retry_on = ["exit", "oom"]
        retry-rule = ["oom:mem=*2", "timeout:time=*2"]
        env = { B = "${matrix.n}" }
        label = ["n=${matrix.n}", "k=v"]
        rlimit = { nofile = 1024 }
        userns = true
        report-denied = false
        hold = false
        net = "host"
        user = "nobody"
        after = ["nightly:any"]
        """
    )["steps"][0]
    asked = step["submit"]
    assert step["name"] == "a.1"
    assert step["values"] == {"n": "3.10"}
    assert asked["limits"] == {
        "memory_max_bytes": 512 * 1024**2, "cpu_max_millicpus": 500, "timeout_seconds": 600.0,
        "rlimits": {"nofile": [1024, 1024]},
    }  # fmt: skip
    assert asked["retry"]["on"] == ["exit", "oom"]
    assert [rule["reason"] for rule in asked["retry"]["rules"]] == ["oom", "timeout"]
    assert asked["labels"] == {"n": "3.10", "k": "v"}
    assert asked["after"] == [{"job": "nightly", "on": "any"}]
    assert (asked["priority"], asked["network"], asked["user"]) == (-5, "host", "nobody")
    assert asked["sandbox"] == {"userns": True}
    assert "hold" not in asked


def test_what_one_step_has_another_does_not_get(
    submitted: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TOKEN", "of mine")
    asked = submitted(
        '[steps.a]\ncommand = "x"\nenv = { A = "1" }\n[steps.b]\ncommand = "x"\nclean_env = true\n'
    )
    first, second = (step["submit"]["env"] for step in asked["steps"])
    assert "TOKEN" not in asked["env"]
    assert first.get("TOKEN") == "of mine"
    assert first["A"] == "1"
    assert not {"TOKEN", "A"} & set(second)


def test_paths_are_those_of_whoever_runs_it(
    submitted: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    asked = submitted('[steps.a]\ncommand = "x"\ncwd = "src"\n')
    assert asked["steps"][0]["submit"]["cwd"] == str(tmp_path / "else" / "src")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('mem = "12Q"', "mem: '12Q' given; "),
        ("mem = [1, 2]", "mem: a list given; SIZE is allowed"),
        ("mem = { a = 1 }", "mem: a table given; SIZE is allowed"),
        ('hold = "yes"', "hold: 'yes' given; true or false is allowed"),
        ('env = { "A=B" = "1" }', "env: 'A=B' given; a name without '='"),
        ("env = { A = [1] }", "env: A: a list given; a text"),
        ("env = [[1]]", "env: a list given; NAME[=VALUE], a list of them or a table"),
        ('fs = "none"', "fs: 'none' is not one of"),
        ('retry_on = ["exit"]', "retry_on goes with retry,"),
        ('cwd = ""', "cwd: '' given"),
        ('at = "14:00"\nin = "5m"', "at and in exclude each other"),
        ("memory = 1", "'memory' is not known; command, needs, matrix and the options"),
        ("detach = true", "detach is no option of a step; a flow is followed as a whole"),
        ("json = true", "json is no option of a step"),
        ('name = "x"', "name is no option of a step; a job is called as its step"),
        ('key = "x"', "key is no option of a step; it is the whole flow's"),
        ('hook = "x"', "hook is no option of a step; it is the whole flow's"),
        ('array = "0-9"', "array is no option of a step; a step with a matrix"),
        ('every = "@daily"', "every is no option of a step; a step is not a schedule"),
        ('help = "x"', "'help' is not known"),
    ],
)
def test_a_wrong_option_is_refused_with_file_step_and_key(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str], line: str, said: str
) -> None:
    file = write(f'[steps.test]\ncommand = "x"\n{line}\n')
    for verb in ("check", "run"):
        code, out, err = runctl("flow", verb, file)
        assert (code, out) == (125, "")
        assert err.startswith(f"runctl: {file}: step test: {said}")
        assert err.count("\n") == 1
    assert daemon.seen == []


def test_an_argument_that_no_command_can_have_is_refused(
    runctl: Runctl, write: Callable[..., str]
) -> None:
    code, _, err = runctl("flow", "check", write('[steps.a]\ncommand = ["x", "\\u0000"]\n'))
    assert code == 125
    assert "step a: command: '\\x00' given" in err


def test_a_wrong_hook_is_the_flows(runctl: Runctl, write: Callable[..., str]) -> None:
    file = write('hook = "mail me"\n' + TWO)
    assert f"{file}: hook: 'mail me' given; " in runctl("flow", "check", file)[2]


@pytest.mark.parametrize(
    ("field", "said"),
    [
        ("steps[1].submit.limits.memory_max_bytes", "step b: mem: "),
        ("steps[1].submit.argv[0]", "step b: command: "),
        ("steps[1].submit.env[A]", "step b: env (env[A]): "),
        ("steps[0].submit.queue", "step a: queue: "),
        ("steps[1].needs[0].step", "step b: needs: "),
        ("steps[7].name", "steps[7].name: "),
        ("name", "name: "),
        ("max_running", "max_running: "),
        ("idempotency_key", "key: "),
        ("hooks[0].on", "hook (hooks[0].on): "),
    ],
)
def test_a_refusal_of_the_daemon_is_in_the_words_of_the_file(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str], field: str, said: str
) -> None:
    daemon.refuse("submit_flow", "invalid-argument", field=field, given="'x'", allowed="others")
    file = write(TWO)
    code, out, err = runctl("flow", "run", file)
    assert (code, out) == (125, "")
    assert err == f"runctl: {file}: {said}'x' given; allowed: others\n"


def test_a_step_that_the_daemon_names_is_named_once(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str]
) -> None:
    daemon.refuse(
        "submit_flow", "invalid-argument", field="steps[1].needs", detail="step b", given="9 needs"
    )
    file = write(TWO)
    assert runctl("flow", "run", file)[2] == f"runctl: {file}: step b: needs: 9 needs given\n"


def test_a_step_is_not_named_again_before_what_is_wrong_with_it(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str]
) -> None:
    daemon.refuse(
        "submit_flow", "invalid-argument", field="steps[1].submit.cwd", given="'/nonexistent'",
        detail="step b: No such file or directory",
    )  # fmt: skip
    file = write(TWO)
    said = f"runctl: {file}: step b: cwd: '/nonexistent' given; No such file or directory\n"
    assert runctl("flow", "run", file)[2] == said


def test_the_options_of_a_matrix_are_read_once_where_none_has_a_value_of_it(
    runctl: Runctl, write: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read = []
    arguments = run.arguments

    def counted(options: Any) -> dict[str, Any]:
        read.append(options)
        return arguments(options)

    monkeypatch.setattr(run, "arguments", counted)
    step = '[steps.a]\nmatrix = { n = [1, 2, 3] }\ncommand = ["x", "${matrix.n}"]\nmem = "64M"\n'
    assert runctl("flow", "check", write(step))[0] == 0
    # Once more for the options of the flow.
    assert len(read) == 2
    assert runctl("flow", "check", write(step + 'label = "n=${matrix.n}"\n'))[0] == 0
    assert len(read) == 2 + 4


def test_what_is_read_once_is_not_mixed_up(submitted: Callable[..., dict[str, Any]]) -> None:
    steps = submitted(
        '[steps.a]\nmatrix = { n = [1, 2] }\ncommand = ["x", "${matrix.n}"]\nmem = "64M"\n'
        '[steps.b]\ncommand = ["y"]\nmem = "64M"\n[steps.c]\ncommand = ["z"]\nmem = "65M"\n'
    )["steps"]
    asked = [(each["submit"]["argv"], each["submit"]["limits"]) for each in steps]
    small, large = ({"memory_max_bytes": size * 1024**2} for size in (64, 65))
    assert asked == [(["x", "1"], small), (["x", "2"], small), (["y"], small), (["z"], large)]


def test_a_key_that_is_known_gives_the_flow_that_is_there(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str]
) -> None:
    daemon.answer("submit_flow", {**MADE, "existing": True})
    code, out, err = runctl("flow", "run", write('key = "k"\n' + TWO))
    assert (code, out) == (0, f"{GROUP}\n")
    assert "has this key already" in err
    code, out, err = runctl("flow", "run", "--json", write('key = "k"\n' + TWO))
    assert json.loads(out) == {**MADE, "existing": True}
    assert err == ""


# Files


def test_check_shows_the_tree_without_a_daemon(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str]
) -> None:
    file = write(TWO)
    tree = "release: flow of 2 steps\na\n└─ b  after a (any)\n"
    assert runctl("flow", "check", file) == (0, tree, "")
    assert runctl("flow", "run", "--dry-run", file) == (0, tree, "")
    assert daemon.seen == []
    plan = json.loads(runctl("flow", "check", "--json", file)[1])
    assert plan["jobs"][1] == {
        "step": "b", "values": {}, "needs": [{"step": "a", "on": "any"}],
        "command": ["/bin/sh", "-c", "x"],
    }  # fmt: skip


@pytest.mark.parametrize("name", ["flow.toml", "flow.yaml"])
def test_the_examples_are_right_and_the_same(runctl: Runctl, name: str) -> None:
    code, out, err = runctl("flow", "check", "--json", str(EXAMPLES / name))
    assert (code, err) == (0, "")
    plan = json.loads(out)
    assert plan == json.loads(runctl("flow", "check", "--json", str(EXAMPLES / "flow.toml"))[1])
    assert plan["name"] == "release"
    assert len(plan["jobs"]) == 8


def test_standard_input_needs_a_format_and_a_name(
    runctl: Runctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    def piped(text: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))

    piped("name: n\nsteps: {a: {command: x}}")
    assert runctl("flow", "check", "--format", "yaml", "-")[1] == "n: flow of 1 step\na\n"
    piped(TWO)
    assert "standard input: give --format toml or yaml" in runctl("flow", "check", "-")[2]
    piped(TWO)
    assert "standard input: name: not given" in runctl("flow", "check", "--format", "toml", "-")[2]


def test_a_file_that_is_none_is_refused(runctl: Runctl, write: Callable[..., str]) -> None:
    assert "cannot be read: No such file" in runctl("flow", "check", "/nowhere/a.toml")[2]
    assert "its name tells no format" in runctl("flow", "check", write(TWO, "flow.txt"))[2]
    assert "not TOML" in runctl("flow", "check", write("a: 1"))[2]
    assert "name: 'a b' given" in runctl("flow", "check", write(TWO, "a b.toml"))[2]


# Showing


def test_a_flow_is_shown(runctl: Runctl, daemon: FakeDaemon) -> None:
    daemon.answer("group", RELEASE)
    code, out, err = runctl("flow", "show", "release")
    assert (code, err) == (0, "")
    assert "└─ ✗ test.2  os=b  after lint (any)  failed: exit 1, 3s\n" in out
    assert "\x1b" not in out
    assert json.loads(runctl("flow", "show", "--json", "release")[1])["group"] == GROUP
    assert daemon.args("group")[0]["group"] == "release"


def test_one_that_is_not_there_is_named(runctl: Runctl, daemon: FakeDaemon) -> None:
    for op in ("group", "status"):
        daemon.refuse(op, "no-such-job", field="group", given="'x'", detail="no flow of yours")
    code, _, err = runctl("flow", "show", "x")
    assert code == 125
    assert err.startswith("runctl: x: ")


def test_a_job_that_is_no_flow_is_called_one(
    runctl: Runctl, daemon: FakeDaemon, make_job: Callable[..., dict[str, Any]]
) -> None:
    daemon.refuse("group", "no-such-job", field="group", given="'build'")
    daemon.answer("status", make_job())
    said = "runctl: build is a single job; `runctl status build` shows it\n"
    assert runctl("flow", "show", "build") == (125, "", said)


def scripted(daemon: FakeDaemon, *pictures: Any) -> None:
    """The flow as it is at each question; it has ended with the last."""
    shown = iter(pictures)
    current = [next(shown)]

    def group(session: Session, request: dict[str, Any]) -> None:
        session.ok(request, current[0])

    def wait(session: Session, request: dict[str, Any]) -> None:
        current[0] = next(shown)
        failed = [job for job in current[0]["members"] if (job["result"] or {}).get("exit_status")]
        end = {"failed": failed[0] if failed else None}
        session.ok(request, {**current[0], **end, "members": None})

    daemon.handlers |= {"group": group, "wait_group": wait}


BEGUN = status(member(0, "a", [], state="running"), member(1, "b", ["a"]))
HALF = status(
    member(0, "a", [], result={}), member(1, "b", ["a"], state="running"),
    counts={**RELEASE["counts"], "ok": 3},
)  # fmt: skip
OVER = status(
    member(0, "a", [], result={}),
    member(1, "b", ["a"], result={"exit_code": 3, "exit_status": 3}),
    **{**ENDED, "ok": False},
)


def test_without_a_terminal_each_change_is_a_line(runctl: Runctl, daemon: FakeDaemon) -> None:
    scripted(daemon, BEGUN, BEGUN, HALF, OVER)
    code, out, err = runctl("flow", "show", "--watch", "release")
    assert (code, err) == (3, "")
    assert out.splitlines()[:4] == ["a: running", "a: ok 3s", "b: running", "b: failed: exit 3, 3s"]
    assert out.splitlines()[4].startswith("release (1a2b3c4d) failed after")


def test_followed_it_exits_as_the_flow_did(
    runctl: Runctl, daemon: FakeDaemon, write: Callable[..., str]
) -> None:
    daemon.answer("submit_flow", MADE)
    scripted(daemon, BEGUN, status(member(0, "a", [], result={}), **ENDED))
    code, out, _ = runctl("flow", "run", "-f", write(TWO))
    assert code == 0
    assert out.startswith(f"{GROUP}\na: running\na: ok 3s\nrelease (1a2b3c4d) ended well")


def test_on_a_terminal_the_tree_is_drawn_over_itself(
    runctl: Runctl, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(flow_watch, "_can_redraw", lambda: True)
    monkeypatch.setenv("LINES", "4")
    monkeypatch.setenv("COLUMNS", "40")
    scripted(daemon, BEGUN, HALF, OVER)
    code, out, _ = runctl("flow", "show", "-w", "release")
    assert code == 3
    pictures = out.split("\x1b[J")
    # The heading is longer than 40 columns: it takes two lines where nothing cuts it.
    assert [picture[:4] for picture in pictures[1:3]] == ["\x1b[4A", "\x1b[4A"]
    assert pictures[2].count("\x1b[2K") == 3
    assert pictures[3] == ""


def test_a_daemon_that_goes_away_is_waited_for(
    runctl: Runctl, daemon: FakeDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    scripted(daemon, BEGUN, HALF, OVER)
    answer, asked = daemon.handlers["group"], []

    def group(session: Session, request: dict[str, Any]) -> None:
        asked.append(request)
        if len(asked) == 2:
            session.close()
        else:
            answer(session, request)

    daemon.handlers["group"] = group
    code, out, err = runctl("flow", "show", "-w", "release")
    assert (code, err) == (3, "runctl: runnerd is away; waiting for it, at most 60 s\n")
    assert "b: failed: exit 3, 3s" in out


@pytest.mark.parametrize(
    "arguments", [("run", "-f", "--json", "x.toml"), ("show", "-w", "--json", "x")]
)
def test_what_excludes_each_other_is_said(runctl: Runctl, arguments: tuple[str, ...]) -> None:
    code, _, err = runctl("flow", *arguments)
    assert code == 125
    assert "exclude each other" in err
