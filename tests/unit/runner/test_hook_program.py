"""Whether a user can run the program that tells an address: found out as that user."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from runner import hook_program
from runner.messages import Submit
from runner.parsing import parse
from runner.paths import UserPaths
from runner.refusal import Refusal
from runner.users import Account

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from runner.message_hooks import HookRequest

ALICE = Account(1000, 100, (100,), "alice")
COMMAND = {"on": ["ok"], "argv": ["true"]}
ADDRESS = {"on": ["ok"], "url": "https://example.org/"}


@pytest.fixture(autouse=True)
def as_myself(monkeypatch: pytest.MonkeyPatch) -> None:
    """The question without the change of credentials, which root alone may make."""

    async def answer(_paths: UserPaths, _account: Account, question: Any) -> Any:
        return question()

    monkeypatch.setattr(UserPaths, "_answer", answer)


def hooks(*given: dict[str, Any]) -> Sequence[HookRequest]:
    return parse(Submit, {"argv": ["true"], "cwd": "/", "hooks": list(given)}).hooks


def check(*given: dict[str, Any]) -> None:
    asyncio.run(hook_program.check_hooks(UserPaths(), ALICE, hooks(*given)))


def test_the_python_that_runs_this_can_be_run() -> None:
    check(COMMAND, ADDRESS)
    assert hook_program.command()[0].startswith(b"/")


def test_a_python_that_the_user_cannot_read_is_refused_in_clear_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    # A command needs none of it.
    check(COMMAND)
    with pytest.raises(Refusal) as caught:
        check(COMMAND, ADDRESS)
    fields = caught.value.fields
    assert fields["field"] == "hooks[1].url"
    assert str(tmp_path) in fields["given"]
    assert "alice" in fields["allowed"]
    assert "install" in fields["allowed"]
    assert "example.org" not in str(caught.value)
