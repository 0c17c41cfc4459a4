"""man/runner-gateway-pki.1 says what the verbs take."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from gateway.pki.commands import pki

PAGE = Path(__file__).parents[4] / "man/runner-gateway-pki.1"


def described() -> dict[str, str]:
    verbs = PAGE.read_text(encoding="utf-8").partition(".SH VERBS")[2].partition(".SH EXIT")[0]
    parts = verbs.replace("\\-", "-").split("\n.SS ")[1:]
    return {part.strip('"').split()[0].strip('"'): part for part in parts}


def test_the_page_has_each_verb() -> None:
    assert described().keys() == pki.commands.keys()


@pytest.mark.parametrize("verb", pki.commands)
def test_the_page_has_the_options_of_each_verb_and_no_others(verb: str) -> None:
    entries = re.findall(r"^\.BI? (--[a-z0-9-]+)", described()[verb], re.MULTILINE)
    options = [
        name
        for option in pki.commands[verb].params
        if isinstance(option, click.Option)
        for name in option.opts
        if name.startswith("--")
    ]
    assert sorted(entries) == sorted(options)
