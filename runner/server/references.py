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


class References:
    """What one peer may mean: what is of `uid`, None: of everybody; of names `own_uid`'s first."""

    def __init__(self, store: Store, uid: int | None, own_uid: int) -> None:
        self._store, self._uid, self._own_uid = store, uid, own_uid

    def target(self, text: str, field: str) -> Target | None:
        """The job or group of that id, prefix or name, else the job GROUP.MEMBER; None: neither.

        Of a job and a group of one name it is the newer one. Raises Refusal: several are meant.
        """
        return self._one(self._full(text), text, field) or self._member(text, field)

    def group(self, text: str, field: str) -> Group | None:
        """The group of that id, prefix or name. Raises Refusal: several are meant."""
        found = self._one(self._groups(text), text, field)
        return found if isinstance(found, Group) else None

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
            number = None if group is None else self._number(group, member)
            job = None if group is None or number is None else self._store.member(group.id, number)
            if job is not None:
                return job
        return None

    def _number(self, group: Group, member: str) -> int | None:
        """An array's index, or the place of a flow's step."""
        if group.kind == "array":
            is_index = member.isascii() and member.isdigit() and len(member) <= _MOST_DIGITS
            return int(member) if is_index else None
        try:
            names = [step.name for step in self._store.group_about(group).steps]
        except DamagedRowError:
            return None
        return names.index(member) if member in names else None


def _number(each: Target) -> int:
    return each.first_seq if isinstance(each, Group) else each.seq


def _splits(text: str) -> Iterator[tuple[str, str]]:
    """Both parts of GROUP.MEMBER. A name may have dots, a step of a matrix has one: "test.1"."""
    end = len(text)
    for _ in range(2):
        end = text.rfind(".", 0, end)
        if end <= 0:
            return
        yield text[:end], text[end + 1 :]
