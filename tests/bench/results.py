"""Results as JSON, and what became slower since the last one that was kept. No measuring.

A result holds, besides the lines, the median of each round, so that anybody can compute the
intervals again.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tests.bench.kinds import OURS, Interval, Line, Measured, Run, Skipped, Verdict
from tests.bench.summary import median

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

FORMAT: Final = 1


class ResultError(ValueError):
    """A file is not a result of this benchmark. The text says which."""


def to_json(run: Run) -> str:
    """A run as text, the same for the same run."""
    return json.dumps({"format": FORMAT, **_plain(run)}, indent=1, sort_keys=True) + "\n"


def _plain(value: Any) -> Any:
    if isinstance(value, Measured):
        medians = {name: [median(one) for one in rounds] for name, rounds in value.rounds.items()}
        return _fields(value._replace(rounds={})) | {"rounds": _plain(medians)}
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _fields(value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return _short(value) if isinstance(value, float) else value


def _fields(value: Any) -> dict[str, Any]:
    return {key: _plain(item) for key, item in value._asdict().items()}


def _short(value: float) -> float:
    return float(f"{value:.5g}")


def file_name(run: Run) -> str:
    """What a kept run is called, without .json or .svg."""
    return f"{run.taken_at.replace(':', '').replace(' ', '-')}-{run.kind}"


def from_json(text: str, name: str = "result") -> Run:
    """The run that was written. `rounds` are one median each. Raises ResultError."""
    try:
        read = json.loads(text)
        if read["format"] != FORMAT:
            raise ResultError(f"{name}: format {read['format']}; {FORMAT} is known")
        return Run(
            read["kind"], read["quick"], read["taken_at"], read["commit"], read["machine"],
            tuple(_measured(one) for one in read["figures"]),
            tuple(Skipped(**one) for one in read["skipped"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as error:
        if isinstance(error, ResultError):
            raise
        raise ResultError(f"{name}: not a result: {type(error).__name__}: {error}") from None


def _measured(read: dict[str, Any]) -> Measured:
    lines = tuple(_line(one) for one in read["lines"])
    verdicts = tuple(
        Verdict(**{**one, "interval": _interval(one["interval"])}) for one in read["verdicts"]
    )
    skipped = tuple(Skipped(**one) for one in read["skipped"])
    rounds = {key: [[value] for value in values] for key, values in read["rounds"].items()}
    given = {"lines": lines, "verdicts": verdicts, "skipped": skipped, "rounds": rounds}
    return Measured(**{**read, **given})


def _line(read: dict[str, Any]) -> Line:
    intervals = {name: _interval(read[name]) for name in ("interval", "ratio_interval")}
    return Line(**{**read, **intervals})


def _interval(read: dict[str, float] | None) -> Interval | None:
    return None if read is None else Interval(**read)


# Comparing


class Change(NamedTuple):
    """A figure of ours that became worse by more than chance, and against what that was told."""

    figure: str
    against: str
    before: Interval
    now: Interval


def last_kept(directory: Path, kind: str) -> Run | None:
    """The newest whole result of that kind. Raises ResultError for a file that is none."""
    runs = [from_json(path.read_text(encoding="utf-8"), path.name) for path in _files(directory)]
    return max(
        (run for run in runs if run.kind == kind), key=lambda run: run.taken_at, default=None
    )


def _files(directory: Path) -> Iterable[Path]:
    return sorted(directory.glob("*.json"))


def worse(now: Run, before: Run) -> list[Change]:
    """Figures of ours that became worse.

    Told by the ratios to everybody who was there both times, which carry over from one machine
    to another: all of them must say so. Where there is nobody, by our own figure, on the same
    machine only.
    """
    past = {figure.name: figure for figure in before.figures}
    same = now.machine.get("cpu") == before.machine.get("cpu")
    changes = (
        _change(figure, past[figure.name], same_machine=same)
        for figure in now.figures
        if figure.name in past
    )
    return [change for change in changes if change is not None]


def _change(now: Measured, before: Measured, *, same_machine: bool) -> Change | None:
    pairs = [
        (line, earlier)
        for line in now.lines
        for earlier in before.lines
        if line.name == earlier.name and line.ratio_interval and earlier.ratio_interval
    ]
    found = [
        Change(now.name, line.name, earlier.ratio_interval, line.ratio_interval)
        for line, earlier in pairs
        if line.ratio_interval and earlier.ratio_interval
        and _is_beyond(line, line.ratio_interval, earlier.ratio_interval)
    ]  # fmt: skip
    if pairs:
        return found[0] if len(found) == len(pairs) else None
    return _own_change(now, before) if same_machine else None


def _own_change(now: Measured, before: Measured) -> Change | None:
    ours, earlier = _ours(now.lines), _ours(before.lines)
    if ours is None or earlier is None or not _is_beyond(ours, ours.interval, earlier.interval):
        return None
    return Change(now.name, "itself", earlier.interval, ours.interval)


def _ours(lines: Sequence[Line]) -> Line | None:
    return next((line for line in lines if line.name == OURS), None)


def _is_beyond(line: Line, now: Interval, before: Interval) -> bool:
    return now.low > before.high if line.better == "lower" else now.high < before.low
