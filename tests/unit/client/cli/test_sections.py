"""Help with headings, at the width of a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from client.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable

    Runctl = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("verb", ["run", "update"])
def test_every_option_stands_under_one_heading_and_fits_80_columns(
    runctl: Runctl, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = runctl(verb, "--help")
    lines = out.splitlines()
    assert all(len(line) <= 80 for line in lines)
    command = main.get_command(None, verb)  # type: ignore[arg-type]
    assert command is not None
    words = {word for param in command.params for word in param.opts if word.startswith("--")}
    shown = [line.split()[0].rstrip(",") for line in lines if line.startswith("  -")]
    assert len(shown) == len(set(shown))
    assert words <= {word.rstrip(",") for line in lines for word in line.split("/")[0].split()}
    headings = [line for line in lines if line.endswith(":") and not line.startswith(" ")]
    assert headings[0] == "Options:"
    assert len(headings) == len(set(headings)) == (11 if verb == "run" else 5)


def test_no_line_of_help_begins_far_to_the_right(
    runctl: Runctl, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    _, out, _ = runctl("run", "--help")
    assert all(len(line) - len(line.lstrip()) <= 30 for line in out.splitlines())
