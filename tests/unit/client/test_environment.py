"""A job's environment when it is not to be the caller's."""

from __future__ import annotations

import os
import pwd

import pytest

from client.environment import clean_environment


def test_a_clean_environment_has_a_path_and_the_users_names_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    monkeypatch.setenv("PATH", "/home/me/bin")
    monkeypatch.delenv("LANG", raising=False)
    entry = pwd.getpwuid(os.geteuid())
    assert clean_environment() == {
        b"PATH": b"/usr/local/bin:/usr/bin:/bin",
        b"HOME": os.fsencode(entry.pw_dir),
        b"USER": os.fsencode(entry.pw_name),
        b"LOGNAME": os.fsencode(entry.pw_name),
        b"SHELL": os.fsencode(entry.pw_shell or "/bin/sh"),
    }


def test_the_language_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANG", "de_DE.UTF-8")
    assert clean_environment()[b"LANG"] == b"de_DE.UTF-8"


def test_the_names_are_those_of_the_user_that_the_job_runs_as() -> None:
    root = pwd.getpwuid(0)
    for user in (0, root.pw_name):
        assert clean_environment(user)[b"HOME"] == os.fsencode(root.pw_dir)


@pytest.mark.parametrize("user", ["nobody-here", 4_123_456_789, 2**70, -5, "a\0b", "\udcff", ""])
def test_a_user_that_is_not_known_here_has_no_names(
    user: str | int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("LANG", raising=False)
    assert list(clean_environment(user)) == [b"PATH"]
