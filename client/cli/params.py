"""Option types that read sizes, rates, CPU shares, durations and PATH:RATE. No I/O.

The reading is `client.units`'s; here its ValueError becomes click's message, which names
the option.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from client import units

if TYPE_CHECKING:
    from collections.abc import Callable

    _ParamType = click.ParamType[Any]
else:
    # Generic since click 8.5 only.
    _ParamType = click.ParamType


class Quantity(_ParamType):
    """An option read by one of the functions of `client.units`."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  click's signature
        """The number; a usage error that says what was given and what is allowed."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def _path_rate(text: str) -> tuple[str, int]:
    path, colon, rate = text.rpartition(":")
    if not colon or not path:
        raise ValueError(f"{text!a} given; PATH:RATE is allowed, such as /srv:10M")
    return path, units.parse_rate(rate)


SIZE: Final = Quantity("size", units.parse_size)
CPUS: Final = Quantity("n", units.parse_cpus)
DURATION: Final = Quantity("duration", units.parse_duration)
DURATION_OR_ZERO: Final = Quantity("duration", lambda text: units.parse_duration(text, zero=True))
PATH_RATE: Final = Quantity("path:rate", _path_rate)
