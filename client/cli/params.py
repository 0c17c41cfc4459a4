"""Option types that read quantities and lists of parts such as PATH:RATE. No I/O.

The reading of numbers is `client.units`'s; here its ValueError becomes click's message,
which names the option. In parts that a colon or comma divides, a backslash before one
makes it a part of the name.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import click

from client import units
from client.cli.quantity import Quantity

if TYPE_CHECKING:
    _ParamType = click.ParamType[Any]
else:
    # Generic since click 8.5 only.
    _ParamType = click.ParamType


class Lift:
    """What "none" means to `update`: the limit is no more."""


LIFT: Final = Lift()
_NONE: Final = "none"
_SHOWN_CHARS: Final = 80


class Liftable(_ParamType):
    """An option of `update`: as another type reads it, or the word none."""

    def __init__(self, inner: click.ParamType[Any]) -> None:
        self.name = inner.name
        self._inner = inner

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:  # noqa: ANN401  click's signature
        """LIFT, or what the other type makes of it."""
        if value == _NONE:
            return LIFT
        return self._inner.convert(value, param, ctx)


def parts(text: str, divider: str) -> list[str]:
    """The parts between dividers; a backslash takes the meaning of a divider or backslash."""
    found, part, escaped = [], "", False
    for char in text:
        if escaped:
            part += char if char in (divider, "\\") else f"\\{char}"
            escaped = False
        elif char == divider:
            found.append(part)
            part = ""
        elif char == "\\":
            escaped = True
        else:
            part += char
    return [*found, part + "\\" * escaped]


def _wrong(text: str, allowed: str) -> ValueError:
    return ValueError(f"{_shown(text)} given; {allowed} is allowed")


def _shown(text: str) -> str:
    return ascii(text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "...")


def _path_and(text: str, word: str, example: str) -> tuple[str, str]:
    """The path, whose colons need no backslash, and what stands after the last colon."""
    path, colon, rest = text.rpartition(":")
    if not colon or not path:
        raise _wrong(text, f"PATH:{word}, such as {example},")
    return path, rest


def _path_rate(text: str) -> tuple[str, int]:
    path, rate = _path_and(text, "RATE", "/srv:10M")
    return path, units.parse_rate(rate)


def _path_count(text: str) -> tuple[str, int]:
    path, count = _path_and(text, "N", "/srv:200")
    return path, _integer(count)


def _integer(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,19}", text):
        raise _wrong(text, "a whole number")
    return int(text)


_RLIMIT_ALLOWED: Final = "NAME=SOFT[:HARD], such as nofile=1024:4096 or core=0,"


def _rlimit(text: str) -> tuple[str, list[int | None]]:
    """A name as the kernel knows it, and [soft, hard]; None is unlimited."""
    name, equals, bounds = text.partition("=")
    name = name.lower().removeprefix("rlimit_")
    soft, colon, hard = bounds.partition(":")
    if not (name and equals and soft) or (colon and not hard):
        raise _wrong(text, _RLIMIT_ALLOWED)
    first = _bound(name, soft)
    return name, [first, _bound(name, hard) if colon else first]


def _bound(name: str, text: str) -> int | None:
    if text in ("unlimited", "infinity"):
        return None
    return units.parse_size(text) if name in units.SIZED_RLIMITS else _integer(text)


def _warning(text: str) -> tuple[float, int | None]:
    duration, colon, name = text.partition(":")
    return units.parse_duration(duration), signal_number(name) if colon else None


def signal_number(text: str) -> int:
    """A signal by number or by its name in `kill -l`: "USR1", "SIGUSR1", "RTMIN+3".

    Raises ValueError.
    """
    import signal

    match = re.fullmatch(r"(?:SIG)?([A-Z][A-Z0-9]*)(?:([+-])([0-9]{1,2}))?", text.upper())
    known = signal.Signals.__members__
    if text.isascii() and text.isdecimal():
        number = int(text[:4])
    elif match and f"SIG{match[1]}" in known:
        shift = int(f"{match[2]}{match[3]}") if match[2] else 0
        if shift and not match[1].startswith("RT"):
            raise _wrong(text, "a signal such as USR1, 10 or RTMIN+3")
        number = known[f"SIG{match[1]}"] + shift
    else:
        number = 0
    if not 0 < number <= signal.SIGRTMAX:
        raise _wrong(text, "a signal such as USR1, 10 or RTMIN+3")
    return number


def _bind(text: str) -> tuple[str, str | None, bool]:
    """Source, target if it is another, and whether it is read-only."""
    paths = parts(text, ":")
    read_only = len(paths) > 1 and paths[-1] == "ro"
    if len(paths) > 1 and paths[-1] in ("ro", "rw"):
        paths.pop()
    if len(paths) not in (1, 2) or not all(paths):
        raise _wrong(text, "SRC[:DST][:ro], with a backslash before a colon in a path,")
    return paths[0], paths[1] if len(paths) > 1 else None, read_only


def _tmpfs(text: str) -> tuple[str, int | None]:
    words = parts(text, ":")
    if len(words) not in (1, 2) or not all(words):
        raise _wrong(text, "PATH[:SIZE], with a backslash before a colon in a path,")
    return words[0], units.parse_size(words[1]) if len(words) > 1 else None


def _items(text: str) -> list[str]:
    """Items between commas."""
    items = [item.strip() for item in text.split(",")]
    if not all(items):
        raise _wrong(text, "a list without empty items")
    return items


def _secret(text: str) -> tuple[str, str]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise _wrong(text, "NAME=FILE")
    return name, path


def _moment(text: str) -> int:
    from client.cli.log_times import parse_moment

    return parse_moment(text)


def _pattern(text: str) -> re.Pattern[bytes]:
    """A regular expression on bytes: a job's output need not be text."""
    try:
        return re.compile(os.fsencode(text))
    except (re.error, OverflowError, RecursionError) as error:
        raise ValueError(
            f"{_shown(text)} given ({error}); a regular expression as in Python is allowed"
        ) from None


class Port(NamedTuple):
    """A port of the host that leads to one of the job's."""

    address: str | None
    host_port: int
    port: int
    protocol: Literal["tcp", "udp"]


_PUBLISH: Final = re.compile(r"(?:([^:/]+):)?([0-9]{1,5}):([0-9]{1,5})(?:/(tcp|udp))?")


def _publish(text: str) -> Port:
    match = _PUBLISH.fullmatch(text)
    if match is None:
        raise _wrong(text, "[ADDR:]HOSTPORT:PORT[/udp], such as 8080:80,")
    return Port(match[1], int(match[2]), int(match[3]), "udp" if match[4] == "udp" else "tcp")


SIZE: Final = Quantity("size", units.parse_size)
BITS: Final = Quantity("rate", units.parse_bits)
CPUS: Final = Quantity("n", units.parse_cpus)
CPUS_OR_ZERO: Final = Quantity("n", lambda text: units.parse_cpus(text, zero=True))
INTEGER: Final = Quantity("n", _integer)
DURATION: Final = Quantity("duration", units.parse_duration)
DURATION_OR_ZERO: Final = Quantity("duration", lambda text: units.parse_duration(text, zero=True))
WARNING: Final = Quantity("duration[:signal]", _warning)
PATH_RATE: Final = Quantity("path:rate", _path_rate)
PATH_COUNT: Final = Quantity("path:n", _path_count)
RLIMIT: Final = Quantity("name=soft[:hard]", _rlimit)
BIND: Final = Quantity("src[:dst][:ro]", _bind)
TMPFS: Final = Quantity("path[:size]", _tmpfs)
ITEMS: Final = Quantity("list", _items)
SECRET: Final = Quantity("name=file", _secret)
PUBLISH: Final = Quantity("[addr:]host:port", _publish)
MOMENT: Final = Quantity("time", _moment)
PATTERN: Final = Quantity("pattern", _pattern)
