"""A run as people read it: the table of the terminal, and the one of docs/PERFORMANCE.md. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.bench.results import file_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.bench.kinds import Interval, Line, Measured, Run, Skipped, Verdict
    from tests.bench.results import Change

BEGIN: Final = "<!-- scripts/bench writes from here on -->"
END: Final = "<!-- to here -->"
_THOUSAND: Final = 1000
# Of so many batches of a figure one may begin on a busy machine; one in any case.
_FEW: Final = 10
_HEAD: Final = ("", "median", "p95", "min", "ours ÷ it", "95 % of draws", "n")


def number(value: float) -> str:
    """Three digits that mean something, without an exponent."""
    if abs(value) >= _THOUSAND:
        return f"{value:,.0f}"
    digits = 2 if abs(value) >= 1 else 3
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:.0f}"


def span(interval: Interval | None) -> str:
    """Two bounds, or nothing."""
    return "" if interval is None else f"{number(interval.low)}-{number(interval.high)}"


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of text as aligned lines: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]


def _cells(line: Line) -> tuple[str, ...]:
    ratio = "" if line.ratio is None else number(line.ratio)
    median = f"{number(line.median)} {line.unit}"
    shown = (median, number(line.p95), number(line.least), ratio, span(line.ratio_interval))
    return (line.name, *shown, str(line.samples))


def figure_lines(figure: Measured) -> list[str]:
    """One figure on the terminal."""
    table = columns([_HEAD, *(_cells(line) for line in figure.lines)])
    said = [f"{figure.name}: {figure.what}", *(f"  {line}" for line in table)]
    said += [f"  {line.name}: {line.notes}" for line in figure.lines if line.notes]
    said += [f"  {one.name}: not measured: {one.why}" for one in figure.skipped]
    said += [f"  {verdict_line(verdict)}" for verdict in figure.verdicts]
    if figure.forced:
        said.append(
            f"  the machine was busy (up to {figure.busiest:.0%}) before {figure.forced} of "
            f"{figure.batches} batches: judge by ratios and minima at most"
        )
    return [*said, f"  it took {figure.seconds:.0f} s"]


def verdict_line(verdict: Verdict) -> str:
    """A target and what was reached."""
    sign = "≤" if verdict.better == "lower" else "≥"
    factor = f" of {verdict.against}" if verdict.against else ""
    wanted = f"target: {verdict.of} {sign} {_bound(verdict.bound)}{factor}"
    if verdict.value is None:
        return f"{wanted}: not measured"
    said = "reached" if verdict.reached else "NOT REACHED"
    return f"{wanted}: {number(verdict.value)} ({span(verdict.interval)}), {said}"


def _bound(bound: float) -> str:
    return f"{bound:,g}" if bound < 10 * _THOUSAND else f"{bound:,.0f}"


def run_lines(run: Run) -> list[str]:
    """The end of a run on the terminal: who was missing, how many targets are reached."""
    verdicts = [verdict for figure in run.figures for verdict in figure.verdicts]
    known = [verdict for verdict in verdicts if verdict.reached is not None]
    reached = sum(1 for verdict in known if verdict.reached)
    said = [f"without {one.name}: {one.why}" for one in run.skipped]
    said.append(f"{reached} of {len(verdicts)} targets reached, {len(known)} measured")
    if any(figure.forced for figure in run.figures):
        said.append(busy_line(run))
    return said


def busy_line(run: Run) -> str:
    """How many turns began although the machine was busy, and before which figures."""
    forced = sum(figure.forced for figure in run.figures)
    batches = sum(figure.batches for figure in run.figures)
    which = ", ".join(figure.name for figure in run.figures if figure.forced)
    where = f" ({which})" if which else ""
    return f"{forced} of {batches} batches began on a busy machine{where}"


def is_sound(run: Run) -> bool:
    """Whether few enough of them did: single ones move no median."""
    return all(figure.forced <= max(1, figure.batches // _FEW) for figure in run.figures)


def change_lines(changes: Sequence[Change], before: Run) -> list[str]:
    """What became worse since a result that was kept."""
    if not changes:
        return [f"nothing became worse since {before.taken_at}"]
    return [
        f"WORSE than {before.taken_at}: {change.figure}, told by {change.against}: "
        f"{span(change.now)}, was {span(change.before)}"
        for change in changes
    ]


# The document


def markdown(runs: Sequence[Run]) -> str:
    """The results between the two marks of docs/PERFORMANCE.md."""
    return "\n".join(part for run in runs for part in _markdown(run)).rstrip("\n") + "\n"


def _markdown(run: Run) -> list[str]:
    machine = ", ".join(f"{key} {value}" for key, value in sorted(run.machine.items()))
    where = "in the lane, with limits" if run.kind == "lane" else "natively"
    minutes = sum(figure.seconds for figure in run.figures) / 60
    said = [f"### {run.taken_at}, {where}", "", f"Commit {run.commit}; {machine}.", ""]
    plot = f"As a plot: [bench/{file_name(run)}.svg](bench/{file_name(run)}.svg)."
    said += [f"It took {minutes:.0f} minutes; {busy_line(run)}. {plot}", ""]
    said += ["| target | reached |", "|---|---|"]
    said += [_verdict_row(figure, one) for figure in run.figures for one in figure.verdicts]
    said += [
        "",
        "| figure | who | median | p95 | min | ours ÷ it (95 %) | n |",
        "|---|---|--:|--:|--:|--:|--:|",
    ]
    for figure in run.figures:
        said += [_row(figure if at == 0 else None, line) for at, line in enumerate(figure.lines)]
    said += ["", *_notes(run)]
    absent = [*run.skipped, *_skipped(run)]
    if absent:
        said += [
            "",
            "Not measured: " + "; ".join(f"{one.name} ({one.why})" for one in absent) + ".",
        ]
    return [*said, ""]


def _notes(run: Run) -> list[str]:
    """In what a contender is not the same as the others: each note once, with its figures."""
    where: dict[tuple[str, str], list[str]] = {}
    for figure in run.figures:
        for line in figure.lines:
            if line.notes:
                where.setdefault((line.name, line.notes), []).append(figure.name)
    return [f"- {name} ({', '.join(names)}): {notes}" for (name, notes), names in where.items()]


def _skipped(run: Run) -> list[Skipped]:
    return [one for figure in run.figures for one in figure.skipped]


def _row(figure: Measured | None, line: Line) -> str:
    name, median, p95, least, ratio, interval, samples = _cells(line)
    shown = f"{ratio} ({interval})" if ratio else ""
    title = f"**{figure.name}** {figure.what}" if figure else ""
    return f"| {title} | {name} | {median} | {p95} | {least} | {shown} | {samples} |"


def _verdict_row(figure: Measured, verdict: Verdict) -> str:
    said = verdict_line(verdict).removeprefix("target: ")
    wanted, _, reached = said.partition(": ")
    return f"| {figure.name}: {wanted} | {reached} |"


def put_between(document: str, text: str) -> str:
    """A document with that text between its two marks. Raises ValueError when it lacks them."""
    before, begin, rest = document.partition(BEGIN)
    _old, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN} and {END}")
    return f"{before}{begin}\n\n{text}\n{end}{after}"
