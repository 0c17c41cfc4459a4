"""A submission: the caller's own surroundings, and refusals by the field's name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from client import protocol
from client import submission as submissions
from client.environment import own_environment
from client.errors import ClientError, RequestRefused
from client.submission import (
    build_selection,
    build_submission,
    build_update,
    current_directory,
    current_umask,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_the_callers_directory_environment_and_umask_are_the_defaults() -> None:
    args = build_submission(["make"])
    assert args["cwd"] == os.getcwd()
    assert {protocol.to_bytes(k): protocol.to_bytes(v) for k, v in args["env"].items()} == dict(
        own_environment()
    )
    assert args["umask"] == current_umask()
    assert set(args) == {"argv", "cwd", "env", "umask"}


def test_what_is_asked_of_the_log_travels_without_what_is_none() -> None:
    args = build_submission(["make"], logs={"segment_bytes": 4096, "on_full": None})
    assert args["logs"] == {"segment_bytes": 4096}
    assert "logs" not in build_submission(["make"])


@pytest.mark.parametrize(
    "given", [{}, {"LANG": "C"}, {"LC_CTYPE": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"LC_CTYPE": "POSIX"},
              {"LC_ALL": "C"}, {"LC_CTYPE": "xx"}],
    ids=str,
)  # fmt: skip
def test_the_locale_that_python_gave_itself_is_not_the_callers(given: dict[str, str]) -> None:
    script = "from client.environment import own_environment as env; print(env())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, env=given
    )
    seen = ast.literal_eval(done.stdout)
    assert seen == {os.fsencode(key): os.fsencode(value) for key, value in given.items()}


def test_a_locale_that_the_program_chose_later_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_CTYPE", "de_DE.UTF-8")
    assert own_environment()[b"LC_CTYPE"] == b"de_DE.UTF-8"


def test_the_umask_is_read_and_stays() -> None:
    script = (
        "import os; os.umask(0o37); from client.submission import current_umask as umask;"
        "print(umask(), umask())"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(0o37)] * 2


def test_text_that_is_not_utf8_travels_as_bytes() -> None:
    args = build_submission(["a\udcff", b"b\xfe", b"c"], env={b"K\xff": b"v"}, cwd="/d\udcff")
    assert args["argv"] == [b"a\xff", b"b\xfe", "c"]
    assert args["env"] == {b"K\xff": "v"}
    assert args["cwd"] == b"/d\xff"


def test_limits_that_are_none_are_left_out() -> None:
    args = build_submission(
        ["x"],
        limits={
            "memory_max_bytes": None,
            "pids_max": 5,
            "io": [
                {"path": b"/\xff", "read_bytes_per_second": 4096, "write_bytes_per_second": None}
            ],
        },
    )
    assert args["limits"] == {
        "pids_max": 5,
        "io": [{"path": b"/\xff", "read_bytes_per_second": 4096}],
    }


def test_limits_of_all_kinds_keep_what_means_something() -> None:
    args = build_submission(
        ["x"],
        limits={"rlimits": {"core": [0, None]}, "cpu_idle": False, "memory_swap_max_bytes": 0},
    )
    assert args["limits"] == {
        "rlimits": {"core": [0, None]}, "cpu_idle": False, "memory_swap_max_bytes": 0,
    }  # fmt: skip


def test_surroundings_travel_without_what_is_none_and_with_any_path() -> None:
    args = build_submission(
        ["x"],
        env={},
        group="staff",
        sandbox={
            "filesystem": "overlay",
            "keep_changes": None,
            "binds": [{"source": b"/a\xff", "target": "/b\udcff", "read_only": True}],
            "tmpfs": [{"path": "/t", "size_bytes": None}],
        },
        net={"name": None, "allow_egress": [], "publish": [{"host_port": 1, "port": 2}]},
    )
    assert args["group"] == "staff"
    assert args["sandbox"] == {
        "filesystem": "overlay",
        "binds": [{"source": b"/a\xff", "target": b"/b\xff", "read_only": True}],
        "tmpfs": [{"path": "/t"}],
    }
    assert args["net"] == {"allow_egress": [], "publish": [{"host_port": 1, "port": 2}]}


def test_a_job_with_a_preset_gets_nothing_of_our_environment_unasked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TOKEN", "secret")
    assert "TOKEN" in build_submission(["x"], sandbox={"preset": None})["env"]
    clean = build_submission(["x"], sandbox={"preset": "untrusted"})["env"]
    assert clean["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert "TOKEN" not in clean
    asked = build_submission(["x"], env={"TOKEN": "1"}, sandbox={"preset": "untrusted"})["env"]
    assert asked == {"TOKEN": "1"}


def test_a_foreign_root_is_begun_at_its_top() -> None:
    assert build_submission(["x"], env={}, sandbox={"root": "/img"})["cwd"] == "/"
    assert build_submission(["x"], env={}, cwd="/a", sandbox={"root": "/img"})["cwd"] == "/a"
    assert build_submission(["x"], env={}, sandbox={"root": None})["cwd"] == os.getcwd()


def test_an_update_sends_nil_for_a_limit_that_is_lifted() -> None:
    args = build_update(
        "build",
        {
            "memory_max_bytes": None,
            "pids_max": 5,
            "rlimits": None,
            "io": [{"path": b"/\xff", "read_bytes_per_second": None,
                    "write_bytes_per_second": 4096}],
        },
    )  # fmt: skip
    assert args == {
        "job": "build",
        "limits": {
            "memory_max_bytes": None,
            "pids_max": 5,
            "rlimits": None,
            "io": [{"path": b"/\xff", "write_bytes_per_second": 4096}],
        },
    }


@pytest.mark.parametrize(
    ("argv", "field"),
    [
        ([], "argv"),
        (["x"] * 4097, "argv"),
        ("make", "argv"),
        ([""], "argv[0]"),
        (["a", "b\0c"], "argv[1]"),
        (["a", "b", "c", "d" * 10 * 1024 * 1024], "argv[3]"),
        (["a", 5], "argv[1]"),
        (["x" * 131_072], "argv[0]"),
        (["x" * 131_071] * 9, "argv and env"),
    ],
)
def test_an_impossible_command_is_refused_by_name(argv: list[str], field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        build_submission(argv, env={})
    assert (caught.value.code, caught.value.field) == ("invalid-argument", field)
    assert caught.value.given is not None
    assert caught.value.allowed is not None
    assert len(str(caught.value)) < 300


def test_the_longest_argument_the_kernel_takes_is_accepted() -> None:
    assert build_submission(["x", "y" * 131_071], env={})


@pytest.mark.parametrize(
    ("env", "field"),
    [
        ({"": "x"}, "env['']"),
        ({"A=B": "x"}, "env['A=B']"),
        ({"A": "x\0"}, "env['A']"),
        ({"A\0": "x"}, "env"),
        ({"A": "x" * 131_070}, "env['A']"),
        ({f"V{i}": "" for i in range(4097)}, "env"),
    ],
)
def test_an_impossible_environment_is_refused_by_name(env: dict[str, str], field: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        build_submission(["x"], env=env)
    assert (caught.value.code, caught.value.field) == ("invalid-argument", field)


def test_a_directory_with_nul_is_refused() -> None:
    with pytest.raises(RequestRefused, match="cwd"):
        build_submission(["x"], cwd="/a\0b")


def test_a_removed_current_directory_is_named_as_the_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(ClientError, match="current directory"):
        current_directory()


def test_what_is_asked_of_the_queue_travels_as_it_was_given() -> None:
    args = build_submission(
        ["x"],
        env={},
        queue="batch",
        priority=-5,
        labels={"team": "a"},
        after=["3f2a81c0", {"job": "build", "on": "any"}],
        delay_seconds=60.5,
        deadline_ns=2**62,
        hold=True,
        retry={"limit": 3, "on": ["oom"], "rules": [{"reason": "oom", "memory_factor": 1.5}]},
        reserve={"millicpus": 500, "memory_bytes": None},
        idempotency_key="k",
    )
    assert {key: args[key] for key in args.keys() - {"argv", "cwd", "env", "umask"}} == {
        "queue": "batch",
        "priority": -5,
        "labels": {"team": "a"},
        "after": [{"job": "3f2a81c0"}, {"job": "build", "on": "any"}],
        "delay_seconds": 60.5,
        "deadline_ns": 2**62,
        "hold": True,
        "retry": {"limit": 3, "on": ["oom"], "rules": [{"reason": "oom", "memory_factor": 1.5}]},
        "reserve": {"millicpus": 500},
        "idempotency_key": "k",
    }


def test_what_is_not_asked_of_the_queue_is_not_sent_to_a_daemon_that_may_not_know_it() -> None:
    args = build_submission(["x"], env={}, queue=None, priority=None, hold=False, after=None)
    assert set(args) == {"argv", "cwd", "env", "umask"}


def test_an_option_that_there_is_not_is_an_error_of_the_program() -> None:
    with pytest.raises(TypeError, match="a submission has no qeue"):
        build_submission(["x"], qeue="batch")  # type: ignore[call-arg]


def test_jobs_to_come_after_are_a_list() -> None:
    with pytest.raises(RequestRefused) as caught:
        build_submission(["x"], env={}, after="3f2a81c0")
    assert caught.value.field == "after"


def test_a_selection_keeps_the_label_of_which_any_value_is_meant() -> None:
    assert build_selection({"queue": None, "user": 0, "labels": {"a": None, "b": ""}}) == {
        "user": 0,
        "labels": {"a": None, "b": ""},
    }
    assert build_selection({"labels": None, "states": ["ended"]}) == {"states": ["ended"]}


def test_an_update_of_the_priority_alone_changes_no_limit() -> None:
    assert build_update("b", priority=0) == {"job": "b", "limits": {}, "priority": 0}
    assert build_update("b", {"pids_max": None}) == {"job": "b", "limits": {"pids_max": None}}


texts = st.binary(max_size=3) | st.sampled_from([b"A", b"=", b"a\0", b"x" * 131_068, "text", 5])


@given(env=st.dictionaries(texts, texts, max_size=4))
@example(env={b"A": b"x" * 131_069})
@example(env={b"A": b"x" * 131_070})
@example(env={b"A": b"x" * 100_000, b"B": b"x" * 100_000})
def test_an_environment_is_as_long_and_as_right_as_its_variables(env: dict[Any, Any]) -> None:
    try:
        total = sum(submissions._check_variable(key, value) for key, value in env.items())
    except RequestRefused:
        with pytest.raises(RequestRefused):
            submissions._check_env(env)
    else:
        assert submissions._check_env(env) == total
