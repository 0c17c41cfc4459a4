from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from tests.bench import report
from tests.bench.plot import Scale, ends, svg
from tests.bench.results import worse
from tests.unit.bench.examples import measured, run


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0512, "0.051"), (3.14159, "3.14"), (99.9, "99.90"), (123.4, "123"), (61234.5, "61,234")],
)
def test_a_number_has_the_digits_that_mean_something(value: float, text: str) -> None:
    assert report.number(value) == text


def test_a_figure_shows_lines_notes_absent_ones_and_targets() -> None:
    text = "\n".join(report.figure_lines(measured()))
    for part in ("start: a `true`", "bwrap", "0.250", "no log <here>", "podman: not measured",
                 "runnerd ≤ 0.35 of bwrap: 0.250 (0.250-0.250), reached",
                 "runnerd ≤ 1: 2.04", "NOT REACHED"):  # fmt: skip
        assert part in text
    assert "busy" not in text


def test_a_forced_gate_is_never_silent() -> None:
    one = measured()._replace(forced=2, batches=10, busiest=0.7)
    assert "busy (up to 70%) before 2 of 10" in "\n".join(report.figure_lines(one))
    assert "2 of 10 batches began on a busy machine (start)" in report.run_lines(run(one))
    assert "2 of 10 batches began on a busy machine" in report.markdown([run(one)])


@pytest.mark.parametrize(("forced", "batches"), [(0, 4), (1, 4), (5, 50)])
def test_a_run_is_kept_when_few_batches_of_each_figure_began_on_a_busy_machine(
    forced: int, batches: int
) -> None:
    assert report.is_sound(run(measured(), measured()._replace(forced=forced, batches=batches)))


@pytest.mark.parametrize(("forced", "batches"), [(2, 4), (6, 50)])
def test_a_run_is_not_kept_when_more_of_one_figure_did(forced: int, batches: int) -> None:
    one = measured()._replace(forced=forced, batches=batches)
    assert not report.is_sound(run(measured()._replace(batches=1000), one))


def test_the_end_of_a_run_names_who_was_missing() -> None:
    text = report.run_lines(run(measured()))
    assert text == ["without tsp: not installed", "1 of 2 targets reached, 2 measured"]


def test_a_change_for_the_worse_is_said_and_so_is_none() -> None:
    before, now = run(measured(2.0)), run(measured(3.0))
    assert report.change_lines(worse(now, before), before)[0].startswith("WORSE than 2026-01-02")
    assert report.change_lines([], before) == ["nothing became worse since 2026-01-02 03:04"]


def test_the_document_keeps_what_is_outside_of_its_marks() -> None:
    before = f"head\n{report.BEGIN}\nold\n{report.END}\ntail\n"
    after = report.put_between(before, report.markdown([run(measured())]))
    assert after.startswith(f"head\n{report.BEGIN}\n\n### 2026-01-02 03:04, natively")
    assert after.endswith(f"\n{report.END}\ntail\n")
    assert "old" not in after
    assert report.put_between(after, report.markdown([run(measured())])) == after


def test_a_document_without_marks_is_left_alone() -> None:
    with pytest.raises(ValueError, match="lacks"):
        report.put_between("nothing", "text")


def test_a_table_of_the_document_has_a_row_a_contender_and_a_target() -> None:
    rows = [line for line in report.markdown([run(measured())]).splitlines() if line[:1] == "|"]
    assert len({row.count("|") for row in rows[:4]}) == 1
    assert len(rows) == 8


def test_the_plot_is_xml_with_a_mark_for_each_contender() -> None:
    root = ET.fromstring(svg(run(measured(), measured(name="other"))))  # noqa: S314 - our own
    marks = root.findall(".//{http://www.w3.org/2000/svg}circle")
    assert len(marks) == 4


def test_a_bar_of_a_rate_ends_at_the_best_round_and_begins_where_the_worst_are() -> None:
    one = measured()
    line = one.lines[0]._replace(better="higher", median=2.0, p95=1.5, least=1.0)
    assert ends(one, line) == pytest.approx((1.5, 2.08))
    assert ends(one, line._replace(better="lower", p95=2.5)) == (1.0, 2.5)


def test_a_scale_is_marked_at_round_values_within_it() -> None:
    assert list(Scale(0.6, 25).ticks()) == [1, 2, 5, 10, 20]
    assert list(Scale(3, 4000).ticks()) == [10, 100, 1000]
    assert list(Scale(7, 7).ticks()) == []


def test_a_plot_of_nothing_is_still_a_picture() -> None:
    ET.fromstring(svg(run()))  # noqa: S314 - our own
