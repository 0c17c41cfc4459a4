"""What a submission from elsewhere is given: as on a login, and never over what it says."""

from __future__ import annotations

import os
import pwd
from typing import Any

import msgpack
import pytest

from gateway.surroundings import complete

ME = pwd.getpwuid(os.getuid()).pw_name
HOME = pwd.getpwuid(os.getuid()).pw_dir
NOBODY = "nobody-whom-this-host-knows"


def test_a_job_begins_at_home_with_the_environment_of_a_login() -> None:
    args = complete("submit", {"argv": ["true"]}, ME)
    assert args["cwd"] == HOME
    assert args["env"]["HOME"] == HOME
    assert args["env"]["USER"] == args["env"]["LOGNAME"] == ME
    assert args["env"]["PATH"] == "/usr/local/bin:/usr/bin:/bin"
    assert args["env"]["SHELL"].startswith("/")


def test_what_is_said_counts_and_the_rest_is_beneath_it() -> None:
    said = {"argv": ["true"], "cwd": "/srv", "env": {"PATH": "/opt", b"HOME": b"/x", "A": "1"}}
    args = complete("submit", said, ME)
    assert args["cwd"] == "/srv"
    assert args["env"]["PATH"] == "/opt"
    assert args["env"]["A"] == "1"
    assert args["env"][b"HOME"] == b"/x"
    assert "HOME" not in args["env"]


def test_to_complete_it_again_changes_nothing() -> None:
    once = complete("submit", {"argv": ["true"], "env": {"A": "1"}}, ME)
    assert complete("submit", once, ME) == once


@pytest.mark.parametrize(
    ("fields", "cwd"),
    [
        ({"sandbox": {"root": "/srv/image"}}, "/"),
        ({"sandbox": {"filesystem": "root"}}, "/"),
        ({"sandbox": {"preset": "untrusted"}}, HOME),
        ({"user": NOBODY}, "/"),
        ({"user": 2**40}, "/"),
        ({"user": ["x"]}, "/"),
    ],
)
def test_where_there_is_no_home_it_begins_at_the_root(fields: dict[str, Any], cwd: str) -> None:
    assert complete("submit", fields, ME)["cwd"] == cwd


def test_an_admin_s_job_for_somebody_else_begins_at_that_ones_home() -> None:
    args = complete("submit", {"user": ME}, NOBODY)
    assert args["cwd"] == HOME
    assert args["env"]["USER"] == ME


def test_a_user_whom_the_host_does_not_know_has_a_path_and_nothing_else() -> None:
    assert complete("submit", {}, NOBODY) == {
        "cwd": "/", "env": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
    }  # fmt: skip


@pytest.mark.parametrize("op", ["submit_array", "schedule"])
def test_the_submission_within_is_completed(op: str) -> None:
    args = complete(op, {"submit": {"argv": ["true"]}, "array": {}}, ME)
    assert args["submit"]["cwd"] == HOME
    assert args["submit"]["env"]["USER"] == ME
    assert "cwd" not in args


def test_steps_of_a_flow_get_a_directory_and_the_flow_the_environment() -> None:
    steps = [
        {"name": "a", "submit": {"argv": ["true"]}},
        {"name": "b", "submit": {"argv": ["true"], "cwd": "/srv"}},
    ]
    packed = [msgpack.packb(step) for step in steps]
    args = complete("submit_flow", {"name": "f", "steps": packed, "env": {"A": "1"}}, ME)
    first, second = (msgpack.unpackb(step) for step in args["steps"])
    assert first == {"name": "a", "submit": {"argv": ["true"], "cwd": HOME}}
    assert second == steps[1]
    assert args["env"]["A"] == "1"
    assert args["env"]["HOME"] == HOME


@pytest.mark.parametrize(
    ("op", "args"),
    [
        ("submit_flow", {"steps": [b"\xc1", b"\x90", 5, msgpack.packb({"submit": 5})]}),
        ("submit_flow", {"steps": 5}),
        ("submit", {"env": 5, "cwd": 7}),
        ("schedule", {"submit": 5}),
    ],
)
def test_what_is_of_a_wrong_type_is_left_for_runnerd_to_refuse(
    op: str, args: dict[str, Any]
) -> None:
    completed = complete(op, args, ME)
    assert {key: completed[key] for key in args} == args


@pytest.mark.parametrize("op", ["status", "exec", "list", "hello"])
def test_what_makes_no_job_stays_as_it_is(op: str) -> None:
    args = {"job": "3f2a"}
    assert complete(op, args, ME) is args
