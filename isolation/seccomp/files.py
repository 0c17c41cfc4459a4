"""Profiles of users: the JSON format of container engines, read as a stranger's. Pure.

Closed: an unknown field, action, comparison or errno is refused with its place, since a
rule that is not understood would be a rule that does not hold. The format is that of
linux.seccomp in the OCI runtime specification, with what docker and podman add to it.
"""

from __future__ import annotations

import errno
import json
import os
import re
from typing import TYPE_CHECKING, Any, Final

from isolation import capabilities as capability_names
from isolation.seccomp import syscall_table
from isolation.seccomp.compiler import (
    ACTION,
    ALL_BITS,
    ALLOW,
    ERRNO,
    KILL_PROCESS,
    KILL_THREAD,
    LOG,
    TRAP,
    Condition,
    Profile,
    Rule,
    refuse,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

MAX_BYTES: Final = 256 * 1024
_MAX_ERRNO: Final = 4095
_MOST_CONDITIONS: Final = 6
_MAX_SHOWN: Final = 60

_ACTIONS: Final = {
    "SCMP_ACT_ALLOW": ALLOW,
    "SCMP_ACT_ERRNO": ERRNO,
    "SCMP_ACT_KILL": KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": KILL_PROCESS,
    "SCMP_ACT_KILL_THREAD": KILL_THREAD,
    "SCMP_ACT_LOG": LOG,
    "SCMP_ACT_TRAP": TRAP,
}
_OPS: Final = {
    "SCMP_CMP_NE": "!=",
    "SCMP_CMP_LT": "<",
    "SCMP_CMP_LE": "<=",
    "SCMP_CMP_EQ": "==",
    "SCMP_CMP_GE": ">=",
    "SCMP_CMP_GT": ">",
}
_MASKED: Final = "SCMP_CMP_MASKED_EQ"
_PROFILE_FIELDS: Final = frozenset(
    {
        "defaultAction",
        "defaultErrnoRet",
        "defaultErrno",
        "architectures",
        "archMap",
        "syscalls",
        "comment",
    }
)
_RULE_FIELDS: Final = frozenset(
    {"names", "name", "action", "errnoRet", "errno", "args", "comment", "includes", "excludes"}
)
_ARGUMENT_FIELDS: Final = frozenset({"index", "value", "valueTwo", "op"})
_FILTER_FIELDS: Final = frozenset({"caps", "arches", "minKernel"})
_ARCHITECTURE_FIELDS: Final = frozenset({"architecture", "subArchitectures"})
_ARCHITECTURE: Final = re.compile(r"SCMP_ARCH_[A-Z0-9_]{1,24}", re.ASCII)
_NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,63}", re.ASCII)
_KERNEL: Final = re.compile(r"(\d{1,4})\.(\d{1,4})", re.ASCII)


def parse(text: bytes, *, capabilities: Collection[str] = ()) -> Profile:
    """The rules for this machine and kernel, and for a job with these capabilities.

    The architecture is always this machine's; others that a profile lists are not added.
    Several conditions on the same argument are alternatives, as engines have it. Names of
    calls that nobody knows are skipped where that leaves a call refused.

    Raises ValueError that names the place and what is wrong there; LookupError on a machine
    whose calls are not known.
    """
    whole = _Place("", _document(text)).map(_PROFILE_FIELDS)
    default = _action(whole, "defaultAction", "defaultErrnoRet", "defaultErrno")
    _check_architectures(whole)
    rules: list[Rule] = []
    for place in whole.list("syscalls"):
        rules += _rules(place.map(_RULE_FIELDS), capabilities, default)
    return Profile(default, tuple(rules))


class _Place:
    """A value of the document and where it is, for errors."""

    def __init__(self, path: str, value: Any) -> None:  # noqa: ANN401  JSON
        self.path = path
        self.value = value

    def refused(self, expected: str) -> ValueError:
        shown = json.dumps(self.value, default=str)
        shown = shown if len(shown) <= _MAX_SHOWN else shown[:_MAX_SHOWN] + "..."
        return ValueError(f"{self.path or 'the profile'}: expected {expected}, got {shown}")

    def map(self, fields: frozenset[str]) -> _Place:
        """Itself, when it is a map with no other fields. Null counts as an empty one."""
        if self.value is None:
            self.value = {}
        if not isinstance(self.value, dict):
            raise self.refused("an object")
        for name in self.value:
            if name not in fields:
                known = ", ".join(sorted(fields))
                where = self.path or "the profile"
                raise ValueError(f"{where}: unknown field {name[:_MAX_SHOWN]!r}; known are {known}")
        return self

    def get(self, name: str) -> _Place:
        return _Place(f"{self.path}.{name}".lstrip("."), self.value.get(name))

    def list(self, name: str) -> list[_Place]:
        """The items of a field; none where it is missing or null."""
        place = self.get(name)
        if place.value is None:
            return []
        if not isinstance(place.value, list):
            raise place.refused("an array")
        return [_Place(f"{place.path}[{index}]", item) for index, item in enumerate(place.value)]

    def text(self, pattern: re.Pattern[str], expected: str) -> str:
        if not isinstance(self.value, str) or not pattern.fullmatch(self.value):
            raise self.refused(expected)
        return self.value

    def number(self, highest: int) -> int:
        # bool is an int to Python, not to JSON.
        is_number = isinstance(self.value, int) and not isinstance(self.value, bool)
        if not is_number or not 0 <= self.value <= highest:
            raise self.refused(f"a whole number from 0 to {highest}")
        return int(self.value)


def _document(text: bytes) -> Any:  # noqa: ANN401  JSON
    if len(text) > MAX_BYTES:
        raise ValueError(f"the profile has {len(text)} bytes; at most {MAX_BYTES} are read")
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_without_repetition)
    except RecursionError:
        raise ValueError("the profile is nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("the profile is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise ValueError(f"the profile is not JSON: {error.msg} at {where}") from None


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Which of two fields of a name counts is not the same everywhere."""
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("the profile has a field twice in one object")
    return result


def _action(owner: _Place, name: str, errno_field: str, errno_name_field: str) -> int:
    place = owner.get(name)
    action = _ACTIONS.get(place.value) if isinstance(place.value, str) else None
    if action is None:
        raise place.refused(f"one of {', '.join(_ACTIONS)}")
    given = [owner.get(field) for field in (errno_field, errno_name_field)]
    given = [field for field in given if field.value is not None]
    if action != ERRNO:
        if given:
            raise given[0].refused("nothing, since it goes with SCMP_ACT_ERRNO alone")
        return action
    numbers = [_errno(field) for field in given] or [errno.EPERM]
    if len(set(numbers)) > 1:
        raise given[1].refused(f"the errno of {given[0].path}")
    return refuse(numbers[0])


def _errno(place: _Place) -> int:
    if isinstance(place.value, str):
        number = getattr(errno, place.value, None) if place.value.startswith("E") else None
        if number is None:
            raise place.refused("the name of an errno, or its number")
        return int(number)
    return place.number(_MAX_ERRNO)


def _check_architectures(whole: _Place) -> None:
    expected = "an architecture such as SCMP_ARCH_X86_64"
    for place in whole.list("architectures"):
        place.text(_ARCHITECTURE, expected)
    for entry in whole.list("archMap"):
        entry.map(_ARCHITECTURE_FIELDS).get("architecture").text(_ARCHITECTURE, expected)
        for place in entry.list("subArchitectures"):
            place.text(_ARCHITECTURE, expected)


def _rules(entry: _Place, capabilities: Collection[str], default: int) -> Iterator[Rule]:
    """Everything is checked, also of a rule that does not count here."""
    action = _action(entry, "action", "errnoRet", "errno")
    names = _names(entry, action, default)
    conditions = [_condition(place.map(_ARGUMENT_FIELDS)) for place in entry.list("args")]
    if len(conditions) > _MOST_CONDITIONS:
        raise entry.get("args").refused(f"at most {_MOST_CONDITIONS} conditions")
    includes = _holds(entry.get("includes").map(_FILTER_FIELDS), capabilities)
    excludes = _holds(entry.get("excludes").map(_FILTER_FIELDS), capabilities)
    if not all(includes) or any(excludes):
        return
    if len({condition.argument for condition in conditions}) == len(conditions):
        yield Rule(names, action, tuple(conditions))
    else:
        yield from (Rule(names, action, (condition,)) for condition in conditions)


def _names(entry: _Place, action: int, default: int) -> tuple[str, ...]:
    places = entry.list("names")
    if entry.get("name").value is not None:
        places.append(entry.get("name"))
    if not places:
        raise entry.get("names").refused("the names of system calls")
    known = syscall_table.all_names()
    for place in places:
        name = place.text(_NAME, "the name of a system call")
        if name not in known and action & ACTION != ALLOW and default & ACTION in {ALLOW, LOG}:
            # Skipped, it would be a call that stays allowed.
            raise place.refused("a system call that is known here")
    return tuple(place.value for place in places)


def _condition(place: _Place) -> Condition:
    argument = place.get("index").number(_MOST_CONDITIONS - 1)
    value = place.get("value").number(ALL_BITS)
    two = place.get("valueTwo")
    second = 0 if two.value is None else two.number(ALL_BITS)
    op = place.get("op")
    if op.value == _MASKED:
        # `value` is the mask. A bit outside of it could never be equal.
        return Condition(argument, "==", second, value)
    if not isinstance(op.value, str) or op.value not in _OPS:
        raise op.refused(f"one of {', '.join([*_OPS, _MASKED])}")
    return Condition(argument, _OPS[op.value], value)


def _holds(place: _Place, capabilities: Collection[str]) -> Iterator[bool]:
    """Whether each of the facts that are named holds here."""
    for capability in place.list("caps"):
        yield _capability(capability) in capabilities
    architectures = place.list("arches")
    for architecture in architectures:
        architecture.text(_NAME, "an architecture such as amd64")
    if architectures:
        native = syscall_table.machine().engine_name
        yield native in {architecture.value for architecture in architectures}
    if place.get("minKernel").value is not None:
        yield _running_kernel() >= _kernel(place.get("minKernel"))


def _capability(place: _Place) -> str:
    try:
        return capability_names.CAPABILITIES[capability_names.number(place.value)]
    except (ValueError, AttributeError):
        raise place.refused("a capability such as CAP_SYS_ADMIN") from None


def _kernel(place: _Place) -> tuple[int, int]:
    text = place.text(_KERNEL, 'a version such as "4.8"')
    major, _, minor = text.partition(".")
    return int(major), int(minor)


def _running_kernel() -> tuple[int, int]:
    match = _KERNEL.match(os.uname().release)
    return (int(match[1]), int(match[2])) if match else (0, 0)
