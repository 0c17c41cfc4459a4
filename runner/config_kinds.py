"""What a value of the configuration may be: bounds, and how a refusal is worded.

A Kind goes into the annotation of a key in `runner.config`. Pure; nothing is looked up on
the host.
"""

from __future__ import annotations

import ipaddress
import json
import re
from typing import TYPE_CHECKING, Final

import msgspec

from client.protocol import MAX_NAME_CHARS, NAME_PATTERN
from isolation.capabilities import CAPABILITIES
from runner.policy import MAX_UID

if TYPE_CHECKING:
    from collections.abc import Callable

# Those that runnerd has limits for.
KNOWN_CONTROLLERS: Final = ("cpu", "cpuset", "io", "memory", "pids")

_MAX_SHOWN: Final = 60
_WIDEST_PREFIX: Final = 8
_NARROWEST_PREFIX: Final = 24
# MAXNS of resolv.conf(5).
_MOST_NAMESERVERS: Final = 3
# sun_path of unix(7) has 108 bytes, the last of them NUL.
_MAX_SOCKET_BYTES: Final = 107
_SIZE: Final = re.compile(r"([0-9]{1,15})([KMGT]?)", re.ASCII | re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
# useradd(8), "CAVEATS"; a name that begins with a digit could be meant as a number.
_GROUP: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}", re.ASCII)
# As directories of a network give them too, with a realm; digits alone are a number.
_USER: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,255}\$?", re.ASCII)
_NAME: Final = re.compile(NAME_PATTERN, re.ASCII)


class Kind(msgspec.Struct, frozen=True):
    """One kind of value. `read` gives the value, or None for what is not of this kind."""

    expected: str
    read: Callable[[object], object | None]

    def check(self, value: object) -> object:
        """The value as the program uses it. Raises ValueError: expected …, got …."""
        checked = self.read(value)
        if checked is None:
            raise ValueError(f"expected {self.expected}, got {shown(value)}")
        return checked


class Named(msgspec.Struct, frozen=True):
    """A table of tables of one kind, with names that the administrator gives them."""

    name: Kind
    most: int


def shown(value: object) -> str:
    """A value for an error: as it is written in TOML, shortened, nothing unprintable."""
    if isinstance(value, dict):
        return "a table"
    try:
        text = json.dumps(value, default=str)
    except ValueError:
        # Python refuses to write out an integer of thousands of digits.
        return "a number that is too long to show"
    return text if len(text) <= _MAX_SHOWN else text[: _MAX_SHOWN - 1] + "…"


def whole_number(low: int, high: int | None = None) -> Kind:
    """A whole number with its bounds."""
    expected = f"of at least {low}" if high is None else f"from {low} to {high}"
    return Kind(f"a whole number {expected}", lambda value: _within(_whole(value), low, high))


def size(low: int, high: int) -> Kind:
    """Bytes: a whole number, or text such as "256M" (K, M, G, T count in 1024s)."""
    return Kind(
        f'a size from {low} to {high} bytes, as a number or as text such as "256M"',
        lambda value: _within(_bytes(value), low, high),
    )


def seconds(low: float, high: float) -> Kind:
    """A time in seconds, with decimals if need be."""
    return Kind(
        f"a number of seconds from {low} to {high}",
        lambda value: _within(_number(value), low, high),
    )


def cpus(low: float, high: float) -> Kind:
    """A number of CPUs, with decimals if need be."""
    return Kind(
        f"a number of CPUs from {low} to {high}",
        lambda value: _within(_number(value), low, high),
    )


def yes_or_no() -> Kind:
    """A switch."""
    return Kind("true or false", lambda value: value if isinstance(value, bool) else None)


def one_of(*words: str) -> Kind:
    """One word out of a few."""
    expected = ", ".join(f'"{word}"' for word in words[:-1]) + f' or "{words[-1]}"'
    return Kind(expected, lambda value: value if value in words else None)


def absolute_path() -> Kind:
    """A path from the root."""
    return Kind('an absolute path such as "/run/x"', _path)


def socket_path() -> Kind:
    """A path from the root that fits into the address of a socket."""
    return Kind(
        f"an absolute path of at most {_MAX_SOCKET_BYTES} bytes",
        lambda value: path if (path := _path(value)) and _fits_socket(path) else None,
    )


def group_name() -> Kind:
    """The name of a group of users."""
    return Kind("the name of a group", lambda value: _matching(_GROUP, value))


def queue_name() -> Kind:
    """The name of a queue, which is one as of a job."""
    return Kind(
        f"a name of at most {MAX_NAME_CHARS} letters, digits, '.', '_' and '-', the first a letter "
        "or digit",
        lambda value: _matching(_NAME, value) if _is_short(value) else None,
    )


def user_name() -> Kind:
    """The name of a user, or its number as text."""
    return Kind("the name or number of a user", _user)


def users_and_groups() -> Kind:
    """A list of users, and of groups with @ before their names."""
    return Kind('a list of users and groups such as ["alice", "@staff"]', _users_and_groups)


def controllers() -> Kind:
    """A list of cgroup controllers, each named once."""
    known = ", ".join(KNOWN_CONTROLLERS)
    return Kind(f"a list of different cgroup controllers out of {known}", _controllers)


def capability_names() -> Kind:
    """A list of capabilities, without the CAP_ of their names."""
    return Kind('a list of capabilities such as "NET_BIND_SERVICE"', _capabilities)


def private_subnet() -> Kind:
    """An IPv4 network with room for bridges of 62 jobs and more."""
    return Kind(
        'an IPv4 network from /8 to /24 such as "10.213.0.0/16"',
        lambda value: value if isinstance(value, str) and _is_subnet(value) else None,
    )


def addresses() -> Kind:
    """A list of IPv4 addresses."""
    return Kind("a list of at most 3 IPv4 addresses", _addresses)


def _capabilities(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    names = tuple(name.removeprefix("CAP_") for name in value)
    return names if set(names) <= set(CAPABILITIES) else None


def _is_subnet(value: str) -> bool:
    try:
        network = ipaddress.IPv4Network(value)
    except ValueError:
        return False
    return _WIDEST_PREFIX <= network.prefixlen <= _NARROWEST_PREFIX


def _addresses(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or len(value) > _MOST_NAMESERVERS:
        return None
    try:
        return tuple(str(ipaddress.IPv4Address(text)) for text in value if isinstance(text, str))
    except ValueError:
        return None


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) <= MAX_NAME_CHARS


def _user(value: object) -> str | None:
    name = _matching(_USER, value)
    return None if name is None or (name.isdecimal() and int(name) > MAX_UID) else name


def _users_and_groups(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    fine = all(isinstance(name, str) and _user(name.removeprefix("@")) for name in value)
    return tuple(value) if fine else None


def _whole(value: object) -> int | None:
    # bool is an int to Python, not to TOML.
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return value if isinstance(value, float) else _whole(value)


def _bytes(value: object) -> int | None:
    match = _SIZE.fullmatch(value) if isinstance(value, str) else None
    return int(match[1]) * _UNITS[match[2].upper()] if match else _whole(value)


def _within(number: float | None, low: float, high: float | None) -> float | None:
    # Both comparisons are false for nan, which TOML has.
    if number is None or not number >= low:
        return None
    return number if high is None or number <= high else None


def _path(value: object) -> str | None:
    is_path = isinstance(value, str) and value.startswith("/") and "\0" not in value
    return str(value) if is_path else None


def _fits_socket(path: str) -> bool:
    return len(path.encode("utf-8", "surrogateescape")) <= _MAX_SOCKET_BYTES


def _matching(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None


def _controllers(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        return None
    fine = set(value) <= set(KNOWN_CONTROLLERS) and len(set(value)) == len(value)
    return tuple(value) if fine else None
