"""Which jobs of the store are meant: from a selection to SQL and its values. Pure, text only.

What is put together is text of this module; values are always bound. Every page is read from an
index, from its place on: that of a label where one is asked for, else of the state and the
submitter. Whatever else is asked for is looked at row by row, which is why pages have windows
(`runner.store_lists`). The other queries are `runner.queries`'.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from runner.lifecycle import State
from runner.queries import FIELDS

if TYPE_CHECKING:
    from runner.rows import Selection

# By (of one submitter, ended ones too).
_INDEXES: Final = {
    (False, True): "NOT INDEXED",
    (False, False): "INDEXED BY jobs_active",
    (True, True): "INDEXED BY jobs_of",
    (True, False): "INDEXED BY jobs_active_of",
}


class Query(NamedTuple):
    """What to ask, and with what. `is_filtered`: rows are looked at that are not given."""

    text: str
    values: dict[str, str | int | None]
    is_filtered: bool = False


class _Source(NamedTuple):
    """Where rows come from in the order of `seq`, and what is asked of the index."""

    tables: str
    seq: str
    conditions: list[str]


class Wanted:
    """A selection, and whose jobs: of `uid`, who may also be in the selection; None: all.

    `is_nothing`: no job can be meant, and nothing is to be asked.
    """

    def __init__(self, selection: Selection, uid: int | None, *, include_ended: bool) -> None:
        own = selection.uid if uid is None else uid
        states = selection.states
        # Asked of SQLite, it would find no use for the index.
        self.is_nothing = selection.uid not in {None, own} or states == ()
        self._include_ended = include_ended if states is None else State.ENDED in states
        # Which lead is the first: one with a value has fewer rows.
        self._labels = sorted(selection.labels, key=lambda label: label[1] is None)
        self._values = _values(selection, own, self._labels)
        self._source = self._sourced(own)
        self._filters = self._filtered(selection, own)

    def window(self, before: int, rows: int) -> Query:
        """The number of the first row that `rows` rows before `before` do not reach."""
        source = self._source
        where = " AND ".join((*source.conditions, f"{source.seq} < :before"))
        text = (
            f"SELECT {source.seq} FROM {source.tables} WHERE {where}"  # noqa: S608
            f" ORDER BY {source.seq} DESC LIMIT 1 OFFSET :rows"
        )
        return Query(text, {**self._values, "before": before, "rows": rows}, bool(self._filters))

    def page(self, before: int, above: int, limit: int) -> Query:
        """Whole jobs whose numbers are between the two, newest first."""
        source = self._source
        bounds = (f"{source.seq} < :before", f"{source.seq} > :above")
        text = (
            f"SELECT {FIELDS} FROM {self._with_jobs()} LEFT JOIN specs ON specs.seq = jobs.seq"  # noqa: S608
            f" WHERE {self._where(*bounds)} ORDER BY {source.seq} DESC LIMIT :limit"
        )
        values = {**self._values, "before": before, "above": above, "limit": limit}
        return Query(text, values, bool(self._filters))

    def every(self, before: int, above: int) -> Query:
        """Id and state of all between the two, oldest first: of ended ones there would be many."""
        source = self._source
        bounds = (f"{source.seq} < :before", f"{source.seq} > :above")
        text = (
            f"SELECT jobs.id, jobs.state FROM {self._with_jobs()}"  # noqa: S608
            f" WHERE {self._where(*bounds)} ORDER BY {source.seq}"
        )
        values = {**self._values, "before": before, "above": above}
        return Query(text, values, bool(self._filters))

    def _where(self, *bounds: str) -> str:
        return " AND ".join((*self._source.conditions, *bounds, *self._filters)) or "1"

    def _with_jobs(self) -> str:
        tables = self._source.tables
        return f"{tables} CROSS JOIN jobs ON jobs.seq = lead.seq" if self._labels else tables

    def _sourced(self, uid: int | None) -> _Source:
        if self._labels:
            has_value = self._labels[0][1] is not None
            index = "labels_valued" if has_value else "labels_named"
            return _Source(f"labels AS lead INDEXED BY {index}", "lead.seq",
                           _label("lead", 0, has_value=has_value))  # fmt: skip
        conditions = [] if self._include_ended else ["jobs.ended_ns IS NULL"]
        conditions += [] if uid is None else ["jobs.submitted_by_uid = :uid"]
        index = _INDEXES[uid is not None, self._include_ended]
        return _Source(f"jobs {index}", "jobs.seq", conditions)

    def _filtered(self, selection: Selection, uid: int | None) -> list[str]:
        """What no index is asked for."""
        filters = []
        if self._labels and uid is not None:
            filters.append("jobs.submitted_by_uid = :uid")
        if selection.states is not None:
            states = ", ".join(f"'{state.value}'" for state in State if state in selection.states)
            filters.append(f"jobs.state IN ({states})")
        elif self._labels and not self._include_ended:
            filters.append("jobs.state <> 'ended'")
        if selection.queue is not None:
            filters.append("jobs.queue = :queue")
        if selection.group_id is not None:
            filters.append("jobs.group_id = :group")
        if selection.name is not None:
            filters.append("jobs.name GLOB :name")
        for number, (_name, value) in enumerate(self._labels[1:], start=1):
            asked = " AND ".join(_label("labels", number, has_value=value is not None))
            filters.append(
                f"EXISTS (SELECT 1 FROM labels WHERE labels.seq = jobs.seq AND {asked})"  # noqa: S608
            )
        return filters


def _label(table: str, number: int, *, has_value: bool) -> list[str]:
    value = [f"{table}.value = :value{number}"] if has_value else []
    return [f"{table}.name = :label{number}", *value]


def _values(
    selection: Selection, uid: int | None, labels: list[tuple[str, str | None]]
) -> dict[str, str | int | None]:
    values: dict[str, str | int | None] = {"uid": uid, "queue": selection.queue}
    values["group"] = selection.group_id
    # SQLite knows ^ alone for what is not to be in brackets (sqlite.org/lang_expr.html).
    values["name"] = None if selection.name is None else selection.name.replace("[!", "[^")
    for number, (name, value) in enumerate(labels):
        values |= {f"label{number}": name, f"value{number}": value}
    return values
