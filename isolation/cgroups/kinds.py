"""The formats of cgroup v2 files as cgroupspy's descriptors: text to values, and back.

Which files there are, and where, is `isolation.cgroups.nodes`. cgroupspy's own kinds fail on
`max`, on empty files and on lines for each device. Source: cgroup-v2.rst of the kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

from cgroupspy.interfaces import BaseFileInterface, DictFile, MultiLineIntegerFile

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from isolation.cgroups.nodes import Controller

T = TypeVar("T")


class CpuMax(NamedTuple):
    """cpu.max: `quota` µs of CPU time in each `period` µs; no quota means no limit."""

    quota: int | None
    period: int


class File(BaseFileInterface, Generic[T]):  # type: ignore[misc]
    """A descriptor for one file. A subclass says how text becomes T and T becomes text."""

    if TYPE_CHECKING:

        def __get__(self, instance: Controller, owner: type) -> T: ...

    def __set__(self, instance: Controller, value: T) -> None:
        """Write the value, in as many writes as the file wants. Raises CgroupError."""
        if self.readonly:
            raise AttributeError(f"{self.filename.decode()} is read-only")
        for text in self.texts(value):
            instance.set_property(self.filename, text)

    def texts(self, value: T) -> Iterable[str]:
        """What to write, one item for each write(2)."""
        return (str(self.sanitize_set(value)),)


class TextFile(File[str]):
    """One word or line, as it is."""


class MaxFile(File["int | None"]):
    """A number where "max" means no limit (None). cgroupspy's IntegerFile fails on it."""

    def sanitize_get(self, value: str) -> int | None:
        """`max` → None."""
        return None if value == "max" else int(value)

    def sanitize_set(self, value: object) -> str:
        """None → `max`. Raises ValueError for a negative number or anything else."""
        if value is None:
            return "max"
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{self.filename.decode()} takes a number from 0 or None: {value!r}")
        return str(value)


class CpuMaxFile(File[CpuMax]):
    """The pair `QUOTA PERIOD` of cpu.max."""

    def sanitize_get(self, value: str) -> CpuMax:
        """`max 100000` → CpuMax(None, 100000)."""
        quota, period = value.split()
        return CpuMax(None if quota == "max" else int(quota), int(period))

    def sanitize_set(self, value: CpuMax) -> str:
        """CpuMax(None, 100000) → `max 100000`."""
        return f"{'max' if value.quota is None else value.quota} {value.period}"


class WordSetFile(File["frozenset[str]"]):
    """Words in any order. Assigning writes `+word` for each: it adds, and removes nothing."""

    def sanitize_get(self, value: str) -> frozenset[str]:
        """`cpu io` → {"cpu", "io"}."""
        return frozenset(value.split())

    def texts(self, value: frozenset[str]) -> Iterable[str]:
        """All in one write, so that either every controller is enabled or none."""
        return (" ".join(f"+{word}" for word in sorted(value)),) if value else ()


class CountersFile(File["dict[str, int]"], DictFile):  # type: ignore[misc]
    """`name number` lines, read only. cgroupspy's DictFile fails on an empty file."""

    def sanitize_get(self, value: str) -> dict[str, int]:
        """`populated 1` → {"populated": 1}."""
        parsed: dict[str, int] = super().sanitize_get(value) if value else {}
        return parsed


class PidsFile(File["list[int]"], MultiLineIntegerFile):  # type: ignore[misc]
    """cgroup.procs. Several pids in one write are EINVAL, so each has its own."""

    def texts(self, value: list[int]) -> Iterable[str]:
        """One pid a write."""
        return (str(pid) for pid in value)


class NestedFile(File["dict[str, dict[str, int | None]]"]):
    """`key name=number …` lines, where "max" means no limit: io.max."""

    def sanitize_get(self, value: str) -> dict[str, dict[str, int | None]]:
        """`8:0 rbps=4096 wbps=max` → {"8:0": {"rbps": 4096, "wbps": None}}."""
        lines = (line.split() for line in value.splitlines())
        return {words[0]: dict(map(_pair, words[1:])) for words in lines if words}

    def texts(self, value: Mapping[str, Mapping[str, int | None]]) -> Iterable[str]:
        """One write a device: the kernel reads only the first line."""
        for key, pairs in value.items():
            inner = (f"{name}={'max' if n is None else n}" for name, n in pairs.items())
            yield " ".join((key, *inner))


class DefaultWeightFile(File[int]):
    """`default N`, then lines for single devices: io.weight. Only the default is ours."""

    def sanitize_get(self, value: str) -> int:
        """`default 100` → 100."""
        words = value.split()
        return int(words[words.index("default") + 1])

    def sanitize_set(self, value: int) -> str:
        """100 → `default 100`."""
        return f"default {value}"


def _pair(word: str) -> tuple[str, int | None]:
    name, _, text = word.partition("=")
    return name, None if text == "max" else int(text)
