"""Which events a caller with a scope is sent: those of jobs and groups that are in it.

An event names only an id, so each job is looked up once, and again when it was moved to another
queue. Of what was removed before anybody looked nobody knows whose it was: it is left out. No more
is remembered than of the newest so many jobs.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from client.errors import RequestRefused

if TYPE_CHECKING:
    from client.protocol import Message
    from gateway.resolving import Resolver

MOST_REMEMBERED: Final = 4096
_GONE: Final = frozenset({"no-such-job", "is-group", "ambiguous-job"})


class ScopedEvents:
    """Of one stream."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._known: OrderedDict[str, bool] = OrderedDict()

    async def may_see(self, event: Message) -> bool:
        """Whether that event is to be sent. Raises what asking raises."""
        if event.get("gap") is True:
            return True
        of, kind = event.get("job"), event.get("kind")
        if not isinstance(of, str):
            return False
        if kind == "move":
            self._known.pop(of, None)
        if of not in self._known:
            self._remember(of, is_in=await self._is_in(of, is_group=str(kind).startswith("group-")))
        self._known.move_to_end(of)
        return self._known[of]

    def _remember(self, of: str, *, is_in: bool) -> None:
        if len(self._known) >= MOST_REMEMBERED:
            self._known.popitem(last=False)
        self._known[of] = is_in

    async def _is_in(self, of: str, *, is_group: bool) -> bool:
        try:
            await (self._resolver.group(of) if is_group else self._resolver.job(of))
        except RequestRefused as refused:
            if refused.code not in _GONE:
                raise
            # So is said only of a group that is in the scope.
            return refused.code == "is-group"
        return True
