"""Which ended jobs have to go: by number, age and bytes, for each user and for all. Pure.

Counts, ended jobs from the oldest on, the clock and the bounds go in; jobs to remove come
out. When it is asked, and the removing, are `runner.pruning`'s; what the configuration may
say is `runner.config`'s.

Always the oldest end goes first, also beyond a bound for all, and whoever's job that is: the
result can be foretold, and bounds for each user are what keeps one from pushing the others
out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from runner.config import RetentionConfig
    from runner.rows import EndedJob, Total

_SECOND_NS: Final = 10**9

# Who waits for a job's end asks for its result and the rest of its output a moment later.
GRACE_SECONDS: Final = 5


class Bounds(NamedTuple):
    """What may stay of some jobs; None is no bound."""

    jobs: int | None = None
    bytes: int | None = None
    age_seconds: float | None = None


class Selection(NamedTuple):
    """What somebody asks to be removed: what is as old, but for the newest `keep` of a user."""

    older_than_seconds: float | None = None
    keep: int | None = None


def age_seconds(ended_ns: int, now_ns: int) -> float:
    """Since its end; an end in the future, of a clock that was set, is now."""
    return max(now_ns - ended_ns, 0) / _SECOND_NS


def surplus(
    bounds: Bounds, total: Total, oldest_first: Iterable[EndedJob], now_ns: int
) -> Iterator[EndedJob]:
    """Those of some jobs that have to go for the rest to be within the bounds.

    `total` is what all of them come to. Jobs that have just ended stay, and so whatever ended
    after them.
    """
    left = total
    for job in oldest_first:
        if _just_ended(job, now_ns) or not (
            _is_beyond(bounds, left) or _is_old(bounds, job, now_ns)
        ):
            return
        yield job
        left = left.plus(-1, -job.bytes)


def to_remove(
    config: RetentionConfig,
    total: Total,
    by_user: Mapping[int, Total],
    oldest_first: Callable[[int | None], Iterable[EndedJob]],
    now_ns: int,
) -> Iterator[EndedJob]:
    """All that has to go: of each user first, then of the rest. None twice.

    `oldest_first` gives the ended jobs of a user, or of all (None); no more of them are asked
    for than are looked at.
    """
    gone: set[str] = set()
    own = Bounds(config.max_jobs_per_user, config.max_bytes_per_user)
    for uid in _beyond(own, by_user):
        for job in surplus(own, by_user[uid], oldest_first(uid), now_ns):
            gone.add(job.id)
            total = total.plus(-1, -job.bytes)
            yield job
    every = Bounds(config.max_jobs, config.max_bytes, config.max_age_seconds)
    rest = (job for job in oldest_first(None) if job.id not in gone)
    yield from surplus(every, total, rest, now_ns)


def reasons(
    config: RetentionConfig,
    total: Total,
    by_user: Mapping[int, Total],
    oldest: EndedJob,
    now_ns: int,
) -> list[str]:
    """Which bounds are passed and by how much, for people."""
    found: list[str] = []
    for unit in ("jobs", "bytes"):
        found += _passed(f"max_{unit}", config, {"there are": getattr(total, unit)}, unit)
        of_each = {f"uid {uid} has": getattr(user, unit) for uid, user in by_user.items()}
        found += _passed(f"max_{unit}_per_user", config, of_each, unit)
    if _is_old(Bounds(age_seconds=config.max_age_seconds), oldest, now_ns):
        age = age_seconds(oldest.ended_ns, now_ns)
        found.append(f"one ended {age:.0f} s ago, max_age_seconds is {config.max_age_seconds:.0f}")
    return found


def _passed(
    name: str, config: RetentionConfig, counts: Mapping[str, int], unit: str
) -> Iterator[str]:
    """The worst of some counts that are beyond a bound, if any is."""
    most = getattr(config, name)
    beyond = [] if most is None else [who for who, count in counts.items() if count > most]
    if beyond:
        worst = max(beyond, key=lambda who: counts[who])
        others = f" (and {len(beyond) - 1} others too many)" if beyond[1:] else ""
        yield f"{worst} {counts[worst]} {unit}{others}, {name} is {most}"


def selected(
    selection: Selection, count: int, oldest_first: Iterable[EndedJob], now_ns: int
) -> Iterator[EndedJob]:
    """Those of one user's `count` jobs that somebody asks to be removed."""
    for left, job in zip(range(count, 0, -1), oldest_first, strict=False):
        if selection.keep is not None and left <= selection.keep:
            return
        least = selection.older_than_seconds
        if least is not None and age_seconds(job.ended_ns, now_ns) < least:
            return
        yield job


def _beyond(bounds: Bounds, by_user: Mapping[int, Total]) -> list[int]:
    if bounds == Bounds():
        return []
    return [uid for uid, total in by_user.items() if _is_beyond(bounds, total)]


def _is_beyond(bounds: Bounds, total: Total) -> bool:
    return (bounds.jobs is not None and total.jobs > bounds.jobs) or (
        bounds.bytes is not None and total.bytes > bounds.bytes
    )


def _is_old(bounds: Bounds, job: EndedJob, now_ns: int) -> bool:
    most = bounds.age_seconds
    return most is not None and age_seconds(job.ended_ns, now_ns) > most


def _just_ended(job: EndedJob, now_ns: int) -> bool:
    """An end in the future was some time ago: it must not keep a job here until then."""
    return 0 <= now_ns - job.ended_ns < GRACE_SECONDS * _SECOND_NS
