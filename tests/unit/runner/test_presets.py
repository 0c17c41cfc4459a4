"""Presets fill what a request leaves open, and nothing else."""

from __future__ import annotations

from typing import Any

from runner import messages, presets
from runner.parsing import parse

UNTRUSTED = {"preset": "untrusted"}


def filled(**fields: Any) -> messages.Submit:
    return presets.with_preset(
        parse(messages.Submit, {"argv": ["true"], "cwd": "/", "sandbox": UNTRUSTED, **fields})
    )


def test_without_a_preset_nothing_changes() -> None:
    request = parse(messages.Submit, {"argv": ["true"], "cwd": "/"})
    assert presets.with_preset(request) is request


def test_a_strangers_program_gets_small_limits_a_filter_and_a_tree_to_throw_away() -> None:
    request = filled()
    sandbox, limits = request.sandbox, request.limits
    assert (sandbox.filesystem, sandbox.userns, sandbox.seccomp) == ("overlay", True, b"strict")
    for name, value in presets.UNTRUSTED_LIMITS.items():
        assert getattr(limits, name) == value


def test_what_the_request_says_itself_counts_more() -> None:
    limits = {"pids_max": 5, "timeout_seconds": 1, "rlimits": {"nofile": [7, 7]}}
    sandbox = {**UNTRUSTED, "filesystem": "readonly", "seccomp": "default"}
    request = filled(limits=limits, sandbox=sandbox)
    assert (request.limits.pids_max, request.limits.timeout_seconds) == (5, 1)
    assert request.limits.rlimits["nofile"] == [7, 7]
    assert request.limits.rlimits["core"] == [0, 0]
    assert (request.sandbox.filesystem, request.sandbox.seccomp) == ("readonly", b"default")


def test_a_foreign_root_is_the_tree_of_its_mode() -> None:
    assert filled(sandbox={**UNTRUSTED, "root": "/srv/root"}).sandbox.filesystem == "root"
