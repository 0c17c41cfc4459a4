"""What is written about the gateway is what it does: options, keys, verbs, units."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import pytest

from gateway.config import Config, LimitsConfig
from gateway.main import main

if TYPE_CHECKING:
    import msgspec

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "man/runner-gateway.8").read_text().replace("\\-", "-")
GUIDE = (ROOT / "docs/GATEWAY.md").read_text()


def options(command: click.Command) -> set[str]:
    return {
        name
        for param in command.params
        if isinstance(param, click.Option)
        for name in param.opts
        if name.startswith("--") and name not in ("--help", "--version")
    }


def test_the_page_has_every_option_and_no_other() -> None:
    verbs = [main.commands[name] for name in ("serve", "init", "check")]
    wanted = set[str]().union(*map(options, verbs))
    described = PAGE.partition(".SH OPTIONS")[2].partition(".SH EXIT STATUS")[0]
    heads = re.findall(r"^\.TP\n(.*)$", described, flags=re.MULTILINE)
    assert {name for head in heads for name in re.findall(r"--[a-z-]+", head)} == wanted


def test_the_page_has_every_verb() -> None:
    verbs = PAGE.partition(".SH VERBS")[2].partition(".SH OPTIONS")[0]
    assert set(re.findall(r"^\.TP\n\.B (.+)$", verbs, flags=re.MULTILINE)) == set(main.commands)


@pytest.mark.parametrize("struct", [Config, LimitsConfig])
def test_the_guide_has_every_key(struct: type[msgspec.Struct]) -> None:
    keys = set(struct.__struct_fields__) - {"directory", "limits"}
    rows = re.findall(r"^\| (`[a-z_`, ]+`) \|", GUIDE, flags=re.MULTILINE)
    assert keys <= {key for row in rows for key in re.findall(r"`([a-z_]+)`", row)}


def test_no_verb_shows_a_traceback_for_a_wrong_option() -> None:
    for name in ("serve", "init", "check"):
        with pytest.raises(click.UsageError):
            main.commands[name].make_context(name, ["--none"])


def test_what_is_not_installed_is_said_and_where_it_is_to_be_had() -> None:
    hide = "import sys; sys.modules['cryptography'] = None; from gateway.program import run; run()"
    done = subprocess.run(
        [sys.executable, "-c", hide], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 1
    assert "cryptography is not installed" in done.stderr
    assert "Traceback" not in done.stderr
