"""What every handler has at hand, and the way from an operation to its handler."""

from __future__ import annotations

import asyncio
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
from runner.server.acting import READS, Acting, told
from runner.server.clients import Clients
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
    from runner.server.stream import Stream
    from runner.settling import Settling
    from runner.submission import Submissions
    from runner.supervisor import Supervisor

# What a handler gives: the answer, or what will give it when something else has happened.
Answer: TypeAlias = dict[str, Any]
Work: TypeAlias = "Coroutine[Any, Any, Answer]"

SERVER_NAME: Final = f"runnerd {__version__}"
# Of a job's earlier attempts, in its status: the rest of that has to be sent as well.
ATTEMPTS_BYTES: Final = 1024 * 1024
# What the gateway may ask for itself. A job of its own account could read its keys.
GATEWAYS_OWN: Final = frozenset({"stats"})
_ACTS_FOR_NOBODY: Final = (
    "the gateway's account asks for users alone, which `act_for` in its greeting names"
)
# What a client may count on, beyond the first version of the protocol (docs/PROTOCOL.md).
FEATURES: Final = (
    "logs.follow", "logs.until", "logs.attempt", "locate", "submit.logs", "prune",
    "drain", "doctor.disk", "doctor.launcher", "retention", "queue", "retry", "idempotency",
    "labels", "select", "stop_many", "events", "why", "schedules", "arrays", "flows", "hooks",
    "act-for", "stats",
)  # fmt: skip


class Service:
    """The daemon as a connection sees it."""

    name: Final = SERVER_NAME
    kernel: Final = os.uname().release
    # Put here by `runner.assembly`; schedules because their runs are submitted through the service.
    schedules: Schedules
    launchers: Launchers
    settling: Settling

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
        self.clients = Clients(config.clients)
        self.acting = Acting.of(config, admin_gid)
        self.preparing = Preparing()
        # What was refused since the start, by code.
        self.refusals: Counter[str] = Counter()

    # Connections

    @property
    def connected(self) -> int:
        """How many connections there are."""
        return len(self.clients.all())

    def close(self) -> None:
        """End every connection."""
        for connection in self.clients.all():
            connection.close()

    async def settle(self, seconds: float) -> None:
        """Let what is in flight be answered, for so long at most."""
        requests = [task for each in self.clients.all() for task in each.requests()]
        if requests:
            await asyncio.wait(requests, timeout=seconds)

    # Requests

    def check_version(self, hello: messages.Hello) -> None:
        """Whether client and daemon understand each other. Raises Refusal."""
        if hello.protocol != protocol.PROTOCOL_VERSION:
            raise Refusal(
                "unsupported-protocol",
                field="protocol",
                given=shown(hello.protocol),
                allowed=str(protocol.PROTOCOL_VERSION),
            )

    def greet(self, peer: Peer) -> dict[str, Any]:
        """The answer to `hello`."""
        return {
            "protocol": protocol.PROTOCOL_VERSION,
            "server": self.name,
            "features": list(FEATURES),
            "uid": peer.uid,
            "acting": peer.origin is not None,
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
        """The work that answers a request, or what gives the answer at once where it can.

        Raises Refusal to the gateway that acts for nobody.
        """
        handler = HANDLERS[op][1]
        if op not in GATEWAYS_OWN and self.acting.is_gateway(peer):
            raise Refusal("not-permitted", field="op", given=shown(op), detail=_ACTS_FOR_NOBODY)
        if peer.origin is not None and op not in READS:
            return told(peer, op, request, partial(handler, self, peer, request, stream))
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
