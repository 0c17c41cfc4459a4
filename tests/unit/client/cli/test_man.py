"""The manual page names every verb and option."""

from __future__ import annotations

import os
import re

import click
import pytest

from client.cli import VERBS, main

PAGE = os.path.join(os.path.dirname(__file__), "../../../../man/runctl.1")


def options(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", text))


def sections() -> dict[str, str]:
    """The page's text on each verb; under "" what stands before them."""
    with open(PAGE, encoding="utf-8") as file:
        page = re.sub(r"\\f[BIR]", "", file.read().replace("\\-", "-"))
    verbs = page.split(".SH SIZES")[0]
    before, *texts = re.split(r"^\.SS \"?", verbs, flags=re.MULTILINE)
    return {"": before} | {text.split()[0]: text for text in texts}


def test_the_page_has_the_verbs_in_their_order() -> None:
    assert list(sections()) == ["", *VERBS]


@pytest.mark.parametrize("verb", VERBS)
def test_the_page_has_every_option_of_a_verb(verb: str) -> None:
    command = main.get_command(click.Context(main), verb)
    assert command is not None
    wanted = {name for param in command.params for name in param.opts if name.startswith("-")}
    assert wanted <= options(sections()[verb])


def test_the_page_has_the_global_options() -> None:
    assert {"--socket", "--context", "--version", "-h", "--help"} <= options(sections()[""])
