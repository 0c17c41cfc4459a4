"""A run as an SVG, written by hand.

For each figure a row a contender: a mark at the median, and a bar from the best sample to the
percentile that 95 % are better than, on a logarithmic scale of the figure's own.
"""

from __future__ import annotations

import math
from html import escape
from typing import TYPE_CHECKING, Final

from tests.bench.kinds import OURS
from tests.bench.report import number

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.bench.kinds import Line, Measured, Run

_WIDTH: Final = 960
_LEFT: Final = 180
_RIGHT: Final = 140
_HEAD: Final = 50
_ROW: Final = 18
_TITLE: Final = 34
_GAP: Final = 22
_OURS: Final = "#1f6feb"
_OTHERS: Final = "#8b949e"
_GRID: Final = "#d8dee4"
_STYLE: Final = "font:12px system-ui,sans-serif;fill:#24292f"
_PALE: Final = 'font-size="10" fill="#57606a"'
# Above so many tens of a scale the ones between them would crowd it.
_FEW_TENS: Final = 2.5


def svg(run: Run) -> str:
    """The whole picture."""
    parts, top = [], _HEAD
    for figure in run.figures:
        parts += _figure(figure, top)
        top += _height(figure)
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{top}" '
        f'viewBox="0 0 {_WIDTH} {top}"><rect width="100%" height="100%" fill="#fff"/>'
        f'<g style="{_STYLE}">'
    )
    return "\n".join([head, *_heading(run), *parts, "</g></svg>"]) + "\n"


def _heading(run: Run) -> list[str]:
    where = "in the lane, with limits" if run.kind == "lane" else run.machine.get("cpu", "")
    said = f"runnerd beside its peers: {run.taken_at}, commit {run.commit}, {where}"
    legend = "mark: median; bar: from the best to what 95 % are better than; logarithmic scales"
    return [
        f'<text x="8" y="20" font-size="14" font-weight="600">{escape(said)}</text>',
        f'<text x="8" y="37" {_PALE}>{escape(legend)}</text>',
    ]


def _height(figure: Measured) -> int:
    return _TITLE + _ROW * len(_drawable(figure)) + _GAP


def _drawable(figure: Measured) -> list[Line]:
    """Lines of the figure's own unit: one scale has room for one."""
    return [line for line in figure.lines if line.unit == figure.unit and line.least > 0]


def ends(figure: Measured, line: Line) -> tuple[float, float]:
    """Where the bar of a line begins and ends: the smaller value first."""
    if line.better == "lower":
        return line.least, max(line.p95, line.median)
    best = max(max(values) for values in figure.rounds.get(line.name, [[line.median]]))
    return min(line.p95, line.median), max(best, line.median)


def _figure(figure: Measured, top: int) -> list[str]:
    lines = _drawable(figure)
    better = "less is better" if lines and lines[0].better == "lower" else "more is better"
    title = escape(f"{figure.name}: {figure.what} ({figure.unit}, {better})")
    parts = [f'<text x="8" y="{top + 14}" font-weight="600">{title}</text>']
    if not lines:
        return parts
    bounds = [ends(figure, line) for line in lines]
    scale = Scale(min(low for low, _ in bounds), max(high for _, high in bounds))
    parts += _grid(scale, top + _TITLE, _ROW * len(lines))
    for at, (line, bound) in enumerate(zip(lines, bounds, strict=True)):
        parts += _line(line, bound, scale, top + _TITLE + at * _ROW)
    return parts


class Scale:
    """Values to pixels, by their logarithms."""

    def __init__(self, least: float, most: float) -> None:
        self.least = least
        self.most = most
        self._low = math.log(least)
        self._span = max(math.log(most) - self._low, 1e-9)

    def __call__(self, value: float) -> float:
        share = (math.log(value) - self._low) / self._span
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(share, 0.0), 1.0), 1)

    def ticks(self) -> Iterator[float]:
        """Round values within it: tens, and where there is room 2 and 5 of each."""
        tens = math.log10(self.most / self.least)
        steps = (1, 2, 5) if tens < _FEW_TENS else (1,)
        first, last = (math.floor(math.log10(value)) for value in (self.least, self.most))
        values = (step * 10.0**power for power in range(first, last + 1) for step in steps)
        yield from (value for value in values if self.least <= value <= self.most)


def _grid(scale: Scale, top: int, height: int) -> list[str]:
    parts = []
    for value in scale.ticks():
        x = scale(value)
        parts += [
            f'<path d="M{x} {top}v{height}" stroke="{_GRID}"/>',
            f'<text x="{x}" y="{top - 4}" text-anchor="middle" {_PALE}>{value:,g}</text>',
        ]
    return parts


def _line(line: Line, bound: tuple[float, float], scale: Scale, top: int) -> list[str]:
    colour = _OURS if line.name == OURS else _OTHERS
    weight = ' font-weight="600"' if line.name == OURS else ""
    begin, end = map(scale, bound)
    y = top + _ROW / 2
    wide = max(end - begin, 2.0)
    return [
        f'<text x="{_LEFT - 12}" y="{y + 4}" text-anchor="end"{weight}>{escape(line.name)}</text>',
        (
            f'<rect x="{begin}" y="{y - 3}" width="{wide:.1f}" height="6" rx="3" '
            f'fill="{colour}" fill-opacity="0.35"/>'
        ),
        f'<circle cx="{scale(line.median)}" cy="{y}" r="4.5" fill="{colour}"/>',
        (
            f'<text x="{_WIDTH - 8}" y="{y + 4}" text-anchor="end"{weight}>'
            f"{escape(number(line.median))} {escape(line.unit)}</text>"
        ),
    ]
