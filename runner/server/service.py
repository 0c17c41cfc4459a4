"""What every handler has at hand, the table of operations, and who may connect how often."""

from __future__ import annotations

import asyncio
import grp
import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from client import __version__, protocol
from runner import views
from runner.group_rows import Group
from runner.lifecycle import GOING, State
from runner.parsing import parse
from runner.policy import Peer, is_admin, may_see
from runner.refusal import GroupGiven, Refusal, shown
from runner.server import grouped, hooked
from runner.server.handlers import HANDLERS, QUICK
from runner.server.pages import fitting
from runner.server.preparing import Preparing
from runner.server.references import References
from runner.turns import Breaths

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from isolation.cgroups.tree import CgroupTree
    from runner import messages
    from runner.config import Config
    from runner.event_stream import Bell
    from runner.execing import Execs
    from runner.launchers import Launchers
    from runner.logs.searches import Searches
    from runner.logs.tail import LogWatcher
    from runner.message_kinds import Closed
    from runner.policy import Decision
    from runner.problems import Problems
    from runner.provisions import Provisioning
    from runner.pruning import Pruning
    from runner.rows import Job
    from runner.schedules import Schedules
    from runner.server.connection import Connection, Stream
    from runner.submission import Submissions
    from runner.supervisor import Supervisor

# What a handler gives: the answer, or what will give it when something else has happened.
Answer: TypeAlias = dict[str, Any]
Work: TypeAlias = "Coroutine[Any, Any, Answer]"

SERVER_NAME: Final = f"runnerd {__version__}"
# Of a job's earlier attempts, in its status: the rest of that has to be sent as well.
ATTEMPTS_BYTES: Final = 1024 * 1024
# Of frames that are not complete, for each user: some of the longest, many of the usual.
MAX_HELD_BYTES: Final = 16 * 1024 * 1024
# What a client may count on, beyond the first version of the protocol (docs/PROTOCOL.md).
FEATURES: Final = (
    "logs.follow", "logs.until", "logs.attempt", "locate", "submit.logs", "prune",
    "drain", "doctor.disk", "doctor.launcher", "retention", "queue", "retry", "idempotency",
    "labels", "select", "stop_many", "events", "why", "schedules", "arrays", "flows", "hooks",
)  # fmt: skip


class Service:
    """The daemon as a connection sees it."""

    name: Final = SERVER_NAME
    kernel: Final = os.uname().release
    # Put here by `runner.assembly`; schedules because their runs are submitted through the service.
    schedules: Schedules
    launchers: Launchers

    def __init__(  # noqa: PLR0913  what the handlers have at hand
        self,
        config: Config,
        supervisor: Supervisor,
        submissions: Submissions,
        watcher: LogWatcher,
        provisions: Provisioning,
        execs: Execs,
        admin_gid: int | None,
        *,
        problems: Problems,
        pruning: Pruning,
        searches: Searches,
        bell: Bell,
    ) -> None:
        self.config = config
        self.supervisor = supervisor
        self.submissions = submissions
        self.watcher = watcher
        self.provisions = provisions
        self.execs = execs
        self.admin_gid = admin_gid
        self.problems = problems
        self.pruning = pruning
        self.searches = searches
        self.bell = bell
        # For what is counted or shown of many jobs at once.
        self.breaths = Breaths()
        self._connections: set[Connection] = set()
        self._by_uid: Counter[int] = Counter()
        self.preparing = Preparing()
        # Bytes of frames that are not complete, for each user.
        self._held: Counter[int] = Counter()

    # Connections

    def admit(self, connection: Connection, *, is_job: bool = False) -> None:
        """Count a connection in. Raises Refusal when there are too many, or for a job."""
        uid = connection.peer.uid if connection.peer else 0
        bounds = self.config.clients
        if is_job and not bounds.allow_jobs:
            raise Refusal(
                "not-permitted",
                detail="a job may not use runnerd, unless clients.allow_jobs is set",
            )
        # Root is never locked out by others.
        others = len(self._connections) - self._by_uid[0]
        if uid != 0 and others >= bounds.max_connections:
            raise Refusal("too-many-requests", allowed=f"{bounds.max_connections} connections")
        if uid != 0 and self._by_uid[uid] >= bounds.max_connections_per_user:
            raise Refusal(
                "too-many-requests",
                allowed=f"{bounds.max_connections_per_user} connections of one user",
            )
        self._connections.add(connection)
        self._by_uid[uid] += 1

    def forget(self, connection: Connection) -> None:
        """It has gone."""
        if connection in self._connections:
            self._connections.remove(connection)
            uid = connection.peer.uid if connection.peer else 0
            self._by_uid[uid] -= 1

    def hold(self, uid: int, more: int) -> None:
        """Count bytes that wait in half frames. Raises Refusal when a user's are too many."""
        self._held[uid] += more
        if more > 0 and self._held[uid] > MAX_HELD_BYTES:
            raise Refusal("too-many-requests", allowed=f"{MAX_HELD_BYTES} bytes in half frames")

    def close(self) -> None:
        """End every connection."""
        for connection in list(self._connections):
            connection.close()

    async def settle(self, seconds: float) -> None:
        """Let what is in flight be answered, for so long at most."""
        requests = [task for each in self._connections for task in each.requests()]
        if requests:
            await asyncio.wait(requests, timeout=seconds)

    # Requests

    def greet(self, peer: Peer, hello: messages.Hello) -> dict[str, Any]:
        """The answer to `hello`. Raises Refusal when there is no common version."""
        if hello.protocol != protocol.PROTOCOL_VERSION:
            raise Refusal(
                "unsupported-protocol",
                field="protocol",
                given=shown(hello.protocol),
                allowed=str(protocol.PROTOCOL_VERSION),
            )
        return {
            "protocol": protocol.PROTOCOL_VERSION,
            "server": self.name,
            "features": list(FEATURES),
            "uid": peer.uid,
            "admin": self.is_admin(peer),
            "draining": self.supervisor.draining,
            "max_frame_bytes": protocol.MAX_FRAME_BYTES,
        }

    def read(self, op: str, args: dict[str, Any]) -> Closed:
        """The request that came. Raises Refusal for what is none."""
        try:
            kind, _handler = HANDLERS[op]
        except KeyError:
            raise Refusal("unknown-op", field="op", given=shown(op),
                          allowed=", ".join(sorted(HANDLERS))) from None  # fmt: skip
        return parse(kind, args)

    def handle(
        self, peer: Peer, op: str, request: Closed, stream: Stream
    ) -> Work | Callable[[], Answer | Work]:
        """The work that answers a request, or what gives the answer at once where it can."""
        handler = HANDLERS[op][1]
        if handler in QUICK:
            return partial(handler, self, peer, request, stream)
        work: Work = handler(self, peer, request, stream)
        return work

    # For handlers

    def show(self, job: Job) -> dict[str, Any]:
        """A job as `status` gives it."""
        supervisor, store = self.supervisor, self.supervisor.store
        has = store.attached(job)
        is_alone = job.group_id is None and job.attempt == 1 and not any(has)
        if is_alone and job.state is State.ENDED:
            return {**views.status(job, None), "hooks": []}
        after = store.dependencies(job.id) if has.dependencies else []
        earlier = [(job.id, each.on_id) for each in after] if job.group_id else []
        shown = views.status(
            job,
            _usage(supervisor.tree, job),
            self.provisions.address_of(job.id),
            labels=store.labels([job.id])[job.id] if has.labels else None,
            waits_for=supervisor.cause_of(job.id) if job.state is State.QUEUED else None,
            place=grouped.Places(store).of(job),
            after=after,
            steps=store.steps_before(earlier) if earlier else {},
            attempts=store.attempts(job.id) if job.attempt > 1 else (),
        )
        newest = fitting(reversed(shown["attempts"]), ATTEMPTS_BYTES)
        shown["attempts"] = newest[::-1]
        shown["hooks"] = hooked.shown(store, job) if has.hooks else []
        return shown

    def grace(self, asked: float | None, *, kill: bool) -> float:
        """Seconds between SIGTERM and SIGKILL, where a request asks for a stop."""
        usual = self.config.jobs.stop_grace_seconds if asked is None else asked
        return 0.0 if kill else usual

    def is_admin(self, peer: Peer) -> bool:
        """Whether the peer acts on everybody's jobs."""
        return is_admin(peer, self.admin_gid)

    def visible_to(self, peer: Peer) -> int | None:
        """The uid whose jobs the peer sees; None: everybody's."""
        return None if self.is_admin(peer) else peer.uid

    def find_job(
        self,
        peer: Peer,
        text: str,
        may: Callable[[Peer, int, int | None], Decision] = may_see,
        field: str = "job",
    ) -> Job:
        """The one job that a peer means and may do with what `may` (`runner.policy`) decides.

        `field` of the request names it. Raises Refusal: none that it may see, or several; what
        it may not do is answered as if there were no such job. Of a group: `is-group`.
        """
        target = self.find_target(peer, text, may, field)
        if isinstance(target, Group):
            group = GroupGiven(group=target.id, kind=target.kind, jobs=target.size)
            raise Refusal("is-group", field=field, given=shown(text), group=group)
        return target

    def find_target(
        self,
        peer: Peer,
        text: str,
        may: Callable[[Peer, int, int | None], Decision] = may_see,
        field: str = "job",
    ) -> Job | Group:
        """The one job or group that a peer means, as `find_job`. Raises Refusal."""
        found = self._references(peer).target(text, field)
        if found is None or not may(peer, found.submitted_by_uid, self.admin_gid):
            detail = None if found is not None else self._references(peer).lack(text)
            raise Refusal("no-such-job", field=field, given=shown(text), detail=detail)
        return found

    def find_group(
        self,
        peer: Peer,
        text: str,
        may: Callable[[Peer, int, int | None], Decision] = may_see,
        field: str = "group",
    ) -> Group:
        """The one group that a peer means, as `find_job`. Raises Refusal."""
        found = self._references(peer).group(text, field)
        if found is None or not may(peer, found.submitted_by_uid, self.admin_gid):
            detail = "no array or flow of yours matches"
            raise Refusal("no-such-job", field=field, given=shown(text), detail=detail)
        return found

    def _references(self, peer: Peer) -> References:
        return References(self.supervisor.store, self.visible_to(peer), peer.uid)


def _usage(tree: CgroupTree, job: Job) -> dict[str, int | None] | None:
    """What a running or paused job has used so far."""
    cgroup = tree.job(job.id) if job.state in GOING else None
    if cgroup is None:
        return None
    usage = cgroup.usage()
    names = ("cpu_usec", "memory_bytes", "memory_peak_bytes", "pids")
    return {name: getattr(usage, name) for name in names}


def group_id(name: str | None) -> int | None:
    """The number of a group; None when there is no such group."""
    if name is None:
        return None
    try:
        return grp.getgrnam(name).gr_gid
    except KeyError:
        return None
