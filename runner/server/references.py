"""Which job or group somebody means by what was written: ids, prefixes, names, GROUP.MEMBER.

Looks only; what the peer may do with what is found is decided in `runner.server.service`, the one
who asks here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeAlias

from runner.group_rows import Group
from runner.refusal import Refusal, shown
from runner.rows import DamagedRowError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from runner.rows import Job
    from runner.store import Store

    Target: TypeAlias = Job | Group

# More are no index that there is (`runner.message_groups.LARGEST_INDEX`).
_MOST_DIGITS: Final = 10
# Of a UUID with its hyphens.
_ID_CHARS: Final = 36
# Steps of a flow, or ranges of an array, that a refusal names.
_MOST_LISTED: Final = 5


class References:
    """What one peer may mean: what is of `uid`, None: of everybody; of names `own_uid`'s first."""

    def __init__(self, store: Store, uid: int | None, own_uid: int) -> None:
        self._store, self._uid, self._own_uid = store, uid, own_uid

    def target(self, text: str, field: str) -> Target | None:
        """The job or group of that id, prefix or name, else the job GROUP.MEMBER; None: neither.

        Of a job and a group of one name it is the newer one. Where there is an own group,
        GROUP.MEMBER is never another's job of that name. Raises Refusal: several are meant.
        """
        job = self._of_id(text)
        if job is not None:
            return job
        found = self._one(self._full(text), text, field)
        if found is not None and found.submitted_by_uid != self._own_uid:
            own = References(self._store, self._own_uid, self._own_uid)
            if any(own.group(reference, field) for reference, _ in _splits(text)):
                return own._member(text, field)
        return found or self._member(text, field)

    def lack(self, text: str) -> str | None:
        """Why GROUP.MEMBER is no job, where there is such a group. None: there is none."""
        for reference, member in _splits(text):
            group = self.group(reference, "")
            if group is not None:
                return self._lack(group, member)
        return None

    def _lack(self, group: Group, member: str) -> str | None:
        called = f"{group.kind} {group.name or group.id[:8]}"
        try:
            about = self._store.group_about(group)
        except DamagedRowError:
            return None
        if group.kind == "array":
            number = _index(member)
            if any(number in range(first, last + 1, by) for first, last, by in about.ranges):
                return f"job {number} of {called} was removed"
            return f"{called} has the indexes {_listed([_range(*each) for each in about.ranges])}"
        names = [step.name for step in about.steps]
        if member in names:
            return f"step {member} of {called} was removed"
        of_matrix = [name for name in names if name.startswith(f"{member}.")]
        return f"{called} has no step {member}; it has {_listed(of_matrix or names)}"

    def group(self, text: str, field: str) -> Group | None:
        """The group of that id, prefix or name. Raises Refusal: several are meant."""
        found = self._one(self._groups(text), text, field)
        return found if isinstance(found, Group) else None

    def _of_id(self, text: str) -> Job | None:
        """The job of a full id, the usual case: that can mean nothing else."""
        if len(text) != _ID_CHARS or not text.isascii():
            return None
        found = self._store.find(text, self._uid)
        return found[0] if found and found[0].id == text else None

    def _full(self, text: str) -> list[Target]:
        jobs, groups = self._jobs(text), self._groups(text)
        are_prefixed = [bool(found) and found[0].id.startswith(text) for found in (jobs, groups)]
        if are_prefixed[0] == are_prefixed[1]:
            both: list[Target] = [*jobs, *groups]
            # Prefixes are of several, a name is the newest's.
            return both if are_prefixed[0] else self._newest(both)
        return list(jobs) if are_prefixed[0] else list(groups)

    def _jobs(self, text: str) -> list[Job]:
        found = self._store.find(text, self._uid)
        if found and not found[0].id.startswith(text):
            # A name: one's own wins, so that nobody can put another under root's hands.
            found = self._store.find(text, self._own_uid) or found
        return found

    def _groups(self, text: str) -> list[Group]:
        found = self._store.find_groups(text, self._uid)
        if found and not found[0].id.startswith(text):
            found = self._store.find_groups(text, self._own_uid) or found
        return found

    def _newest(self, named: list[Target]) -> list[Target]:
        own = [each for each in named if each.submitted_by_uid == self._own_uid]
        return sorted(own or named, key=_number)[-1:]

    def _one(self, found: list[Target] | list[Group], text: str, field: str) -> Target | None:
        if len(found) > 1:
            raise Refusal(
                "ambiguous-job", field=field, given=shown(text),
                candidates=[each.id for each in found],
            )  # fmt: skip
        return found[0] if found else None

    def _member(self, text: str, field: str) -> Job | None:
        for reference, member in _splits(text):
            group = self.group(reference, field)
            job = None if group is None else self._job(group, member)
            if job is not None:
                return job
        return None

    def _job(self, group: Group, member: str) -> Job | None:
        if group.kind == "array":
            number = _index(member)
            return None if number is None else self._store.member(group.id, number)
        # Not by what the flow looks like, which may be long: many a request names many steps.
        return self._store.member_named(group, f"{group.name}.{member}")


def _index(member: str) -> int | None:
    is_index = member.isascii() and member.isdigit() and len(member) <= _MOST_DIGITS
    return int(member) if is_index else None


def _number(each: Target) -> int:
    return each.first_seq if isinstance(each, Group) else each.seq


def _range(first: int, last: int, stride: int) -> str:
    last -= (last - first) % stride
    by = f" in steps of {stride}" if stride > 1 and last - first > stride else ""
    if last == first:
        return str(first)
    return f"{first}, {last}" if last - first == stride > 1 else f"{first} to {last}{by}"


def _listed(names: list[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """Both parts of GROUP.MEMBER. A name may have dots, a step of a matrix has one: "test.1"."""
    end = len(text)
    for _ in range(2):
        end = text.rfind(".", 0, end)
        if end <= 0:
            return
        yield text[:end], text[end + 1 :]
