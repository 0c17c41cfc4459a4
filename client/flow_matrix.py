"""The matrix of a step of a flow file: its combinations, and their values put into texts. Pure.

How many jobs a flow may have in all is `client.flow_steps`' to say.
"""

from __future__ import annotations

import re
from itertools import product
from math import prod
from typing import TYPE_CHECKING, Any, Final

from client.flow_file import FlowFileError, kind_of, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_KEYS: Final = 16
MOST_VALUE_CHARS: Final = 256
_EXCLUDE: Final = "exclude"
_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{0,63}")
# With a second dollar sign before it: as it stands, without that.
_MARK: Final = re.compile(r"(\$?)\$\{matrix\.([^{}]*)(\}?)")


class Matrix:
    """The values of each key, in the order written. Raises FlowFileError, naming `where`."""

    def __init__(self, data: object, where: str) -> None:
        self._where = f"{where}: matrix"
        if not isinstance(data, dict):
            raise self._wrong(f"{shown(data)} given; a table is allowed: KEY = [VALUE, ...]")
        axes = {key: self._axis(key, value) for key, value in data.items() if key != _EXCLUDE}
        if not 1 <= len(axes) <= MOST_KEYS:
            raise self._wrong(f"{len(axes)} keys given; 1 to {MOST_KEYS} are allowed")
        if len({key.upper().replace("-", "_") for key in axes}) < len(axes):
            raise self._wrong("two keys differ in case, '-' and '_' alone; jobs know them as one")
        self._axes = axes
        self._excluded = self._exclusions(data.get(_EXCLUDE, []))
        # Known before any of them is made.
        self.size = prod(len(values) for values in axes.values())

    def combinations(self) -> list[dict[str, str]]:
        """The product of all values, the last key changing first, without what is excluded."""
        found = [
            values
            for combination in product(*self._axes.values())
            if not self._is_excluded(values := dict(zip(self._axes, combination, strict=True)))
        ]
        if not found:
            raise self._wrong(f"{_EXCLUDE} leaves nothing of it")
        return found

    def _is_excluded(self, values: dict[str, str]) -> bool:
        return any(excluded.items() <= values.items() for excluded in self._excluded)

    def _axis(self, key: str, values: object) -> list[str]:
        if not _KEY.fullmatch(key):
            allowed = "a name of at most 64 letters, digits, '_' and '-' is allowed"
            raise self._wrong(f"key {shown(key)} given; {allowed}")
        if not isinstance(values, list) or not values:
            given = "an empty list" if values == [] else shown(values)
            raise self._wrong(f"{key}: {given} given; a list of values is allowed")
        for value in values:
            if not isinstance(value, str) or not 0 < len(value) <= MOST_VALUE_CHARS:
                allowed = f"texts and numbers of at most {MOST_VALUE_CHARS} characters are allowed"
                raise self._wrong(f"{key}: {shown(value)} given; {allowed}")
        if len(set(values)) < len(values):
            raise self._wrong(f"{key}: a value stands twice in the list")
        return values

    def _exclusions(self, data: object) -> list[dict[str, str]]:
        if not isinstance(data, list):
            raise self._wrong(f"{_EXCLUDE}: {shown(data)} given; a list of tables is allowed")
        for item in data:
            if not isinstance(item, dict) or not item:
                given = "an empty table" if item == {} else shown(item)
                raise self._wrong(f"{_EXCLUDE}: {given} given; tables of KEY = VALUE are allowed")
            for key, value in item.items():
                if value not in self._axes.get(key, []):
                    pair = f"{shown(key)} = {shown(value)}"
                    raise self._wrong(f"{_EXCLUDE}: {pair} given, which the matrix does not have")
        return data

    def _wrong(self, text: str) -> FlowFileError:
        return FlowFileError(self._where, text)


def filled(value: Any, values: Mapping[str, str], where: str) -> Any:  # noqa: ANN401  as it came
    """`value` (text, a list or a table) with `${matrix.KEY}` replaced in every text of it.

    `$${matrix.KEY}` becomes `${matrix.KEY}`; every other dollar sign stays: a shell may want it.
    Raises FlowFileError, naming `where`, for a key that is not among `values`.
    """
    if isinstance(value, list):
        return [filled(item, values, where) for item in value]
    if isinstance(value, dict):
        return {key: filled(item, values, where) for key, item in value.items()}
    if not isinstance(value, str):
        raise FlowFileError(where, f"{kind_of(value)} given; text is allowed")
    return _MARK.sub(lambda found: _replaced(found, values, where), value)


def _replaced(found: re.Match[str], values: Mapping[str, str], where: str) -> str:
    if found[1]:
        return found[0][1:]
    if found[3] and found[2] in values:
        return values[found[2]]
    allowed = ", ".join(f"${{matrix.{key}}}" for key in values)
    has = f"the matrix has {allowed}" if values else "the step has no matrix"
    raise FlowFileError(where, f"{shown(found[0])} given; {has} ($${{matrix...}} is left as text)")
