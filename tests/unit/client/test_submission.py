"""A submission: the caller's own surroundings, and refusals by the field's name."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from client import protocol
from client.errors import ClientError, RequestRefused
from client.submission import build_submission, current_directory, current_umask, own_environment

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


@pytest.mark.parametrize(
    "given", [{}, {"LANG": "C"}, {"LC_CTYPE": "C"}, {"LC_CTYPE": "C.UTF-8"}, {"LC_CTYPE": "POSIX"},
              {"LC_ALL": "C"}, {"LC_CTYPE": "xx"}],
    ids=str,
)  # fmt: skip
def test_the_locale_that_python_gave_itself_is_not_the_callers(given: dict[str, str]) -> None:
    script = "from client.submission import own_environment as env; print(env())"
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
