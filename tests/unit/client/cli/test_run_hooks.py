"""--hook: events, and a command or an address; what cannot be read is refused without secrets."""

from __future__ import annotations

from typing import Any

import click
import pytest

from client.cli.run_hooks import HOOK, asked_hooks


def read(text: str) -> Any:
    return HOOK.convert(text, None, None)


def test_a_command_is_split_as_sh_would() -> None:
    assert read("fail,ok=mail -s 'it is done' me") == {
        "on": ["fail", "ok"], "argv": ["mail", "-s", "it is done", "me"],
    }  # fmt: skip
    assert read(" started , paused =true") == {"on": ["started", "paused"], "argv": ["true"]}
    assert read("ok=env A=b true")["argv"] == ["env", "A=b", "true"]


@pytest.mark.parametrize("url", ["https://example.org/x?a=b", "http://h", "HTTPS://h"])
def test_an_address_is_told_from_a_command(url: str) -> None:
    assert read(f"ended= {url}") == {"on": ["ended"], "url": url}
    assert read(f"ended=curl {url}")["argv"] == ["curl", url]


@pytest.mark.parametrize("text", ["", "ok", "=true", "ok,=true", "ok=", "ok= ", "ok='hunter2"])
def test_what_cannot_be_read_is_refused_without_what_may_be_secret(text: str) -> None:
    with pytest.raises(click.UsageError) as caught:
        read(text)
    assert "hunter2" not in str(caught.value)
    assert "is allowed" in str(caught.value)


@pytest.mark.parametrize("what", ["ftp://hunter2@h/x", "htps://hunter2", "x+y://hunter2 a"])
def test_an_address_of_another_kind_is_no_command(what: str) -> None:
    with pytest.raises(click.UsageError, match="has to begin with https:") as caught:
        read(f"ok={what}")
    assert "hunter2" not in str(caught.value)
    assert read("ok=curl ftp://h")["argv"] == ["curl", "ftp://h"]


def test_the_network_is_that_of_all_hooks_and_goes_with_one() -> None:
    hooks = (read("ok=a"), read("fail=https://h"))
    assert asked_hooks({"hooks": (), "hook_net": None}) == {}
    assert asked_hooks({"hooks": hooks, "hook_net": None})["hooks"] == list(hooks)
    found = asked_hooks({"hooks": hooks, "hook_net": "none"})["hooks"]
    assert [hook["network"] for hook in found] == ["none", "none"]
    with pytest.raises(click.UsageError, match="--hook-net goes with --hook"):
        asked_hooks({"hooks": (), "hook_net": "none"})
