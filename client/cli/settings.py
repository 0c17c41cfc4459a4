"""What `--env` says, laid over an environment. Which one that is, is the verb's to know."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from client.records import Text


def lay_over(
    environment: Mapping[Text, Text], settings: Iterable[str], own: Mapping[bytes, bytes]
) -> dict[Text, Text]:
    """The environment with each NAME=VALUE set, and each NAME as it is in `own`, the caller's.

    Raises click.UsageError.
    """
    laid = dict(environment)
    for setting in settings:
        name, equals, value = os.fsencode(setting).partition(b"=")
        if not name:
            raise click.UsageError(f"--env: {setting!a} given; NAME=VALUE or NAME is allowed")
        if not equals and name not in own:
            raise click.UsageError(
                f"--env: {setting!a} given without a value, and it is not set here"
            )
        laid[name] = value if equals else own[name]
    return laid
