"""The texts of errors: one sentence that says what, where, why and what to do."""

from __future__ import annotations

import errno

from isolation.errors import (
    CgroupError,
    CgroupRootError,
    LimitBelowUse,
    LimitUnavailable,
    NetworkError,
    ReadBackError,
)


def test_an_unavailable_limit_says_why_and_what_to_do_in_one_sentence() -> None:
    error = LimitUnavailable(
        "memory.max", controller="memory", why="there is no controller", remedy="boot another"
    )
    assert str(error) == "memory.max cannot be enforced: there is no controller; boot another."
    assert (error.limit, error.controller, error.device) == ("memory.max", "memory", None)


def test_a_limit_below_what_is_used_names_both_numbers() -> None:
    error = LimitBelowUse("pids.max", 5, 9)
    assert str(error) == (
        "pids.max cannot be set to 5: the job uses 9 now; "
        "ask for at least that, or have the job use less."
    )
    assert (error.limit, error.asked, error.used) == ("pids.max", 5, 9)


def test_a_failed_write_names_path_value_and_errno() -> None:
    error = CgroupError(errno.EBUSY, "write", "/sys/fs/cgroup/x/cgroup.subtree_control", "+cpu")
    assert str(error) == (
        "cannot write '+cpu' to /sys/fs/cgroup/x/cgroup.subtree_control: "
        "Device or resource busy (EBUSY)"
    )
    assert error.errno == errno.EBUSY
    assert error.filename == "/sys/fs/cgroup/x/cgroup.subtree_control"


def test_a_failure_without_a_value_names_the_operation() -> None:
    assert str(CgroupError(errno.EEXIST, "mkdir", "/c/job-1")) == (
        "cannot mkdir /c/job-1: File exists (EEXIST)"
    )


def test_a_better_reason_replaces_the_systems_text() -> None:
    error = CgroupError(errno.EBUSY, "use", "/c", why="it holds processes")
    assert str(error) == "cannot use /c: it holds processes (EBUSY)"


def test_a_value_that_was_not_kept_shows_both() -> None:
    error = ReadBackError("/c/pids.max", "5", "max")
    assert "'5' to /c/pids.max" in str(error)
    assert "reads back as 'max'" in str(error)


def test_a_root_error_gives_the_remedy_after_the_reason() -> None:
    assert str(CgroupRootError("it is not mounted", "mount it")) == "it is not mounted; mount it."


def test_a_network_error_names_the_step() -> None:
    assert str(NetworkError(errno.EPERM, "unshare(CLONE_NEWNET)")) == (
        "cannot make a network namespace: unshare(CLONE_NEWNET): Operation not permitted (EPERM)"
    )
