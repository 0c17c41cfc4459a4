"""Who may do what: decisions from the kernel's word about a peer, and nothing else.

Pure. Who may connect at all is not decided here: the kernel does that by the socket's
owner, group and mode. Names of groups are resolved by the daemon at its start; here they
are numbers. A request that is refused for somebody else's job is answered as if the job
did not exist, which is the business of `runner.server`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection

ROOT_UID: Final = 0
FIRST_ORDINARY_PORT: Final = 1024
# setrlimit(2): 20 minus the limit is the lowest nice value; no real-time priority.
ORDINARY_PRIORITIES: Final = {"nice": 20, "rtprio": 0}

# setresuid(2) takes 2**32-1, which is -1, for "leave it as it is": a job would stay root.
MAX_UID: Final = 2**32 - 2


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end of a socket: SO_PEERCRED and SO_PEERGROUPS (socket(7)).

    It is the state when the peer connected. `gid` is its effective group, `groups` its
    supplementary ones. `pid` says which process it was; it is trusted only beside a pidfd
    (`runner.server.peers`), since it may be another process by now.

    With an `origin` it is a user for whom the gateway acts: uid, gid and groups are what the user
    database says, `pid` is the gateway's, and `origin` who asks there, in the gateway's words.
    `is_job`: it is a process of a job, or may be one.
    """

    uid: int
    gid: int
    groups: frozenset[int]
    pid: int
    origin: str | None = None
    is_job: bool = False


class Members(msgspec.Struct, frozen=True):
    """Users, and groups whose members are meant as well: by their numbers."""

    uids: frozenset[int]
    gids: frozenset[int]


class Gateway(msgspec.Struct, frozen=True):
    """Who may act for others, and for whom (`[gateway]` of the configuration), by numbers."""

    uid: int
    members: Members
    allow_admins: bool = False


class Decision(msgspec.Struct, frozen=True):
    """Whether something is allowed, and why: a sentence for the peer."""

    allowed: bool
    why: str

    def __bool__(self) -> bool:
        """Whether it is allowed, so that a decision cannot be mistaken for a yes."""
        return self.allowed


def is_admin(peer: Peer, admin_gid: int | None) -> bool:
    """Whether the peer is root or in the admin group. None: there is no such group."""
    if peer.uid == ROOT_UID:
        return True
    return admin_gid is not None and (peer.gid == admin_gid or admin_gid in peer.groups)


def may_see(peer: Peer, owner_uid: int, admin_gid: int | None) -> Decision:
    """Whether the peer may know of a job that `owner_uid` submitted, and read its output."""
    return _owner_or_admin(peer, owner_uid, admin_gid)


def may_control(peer: Peer, owner_uid: int, admin_gid: int | None) -> Decision:
    """Whether the peer may stop or remove a job that `owner_uid` submitted."""
    return _owner_or_admin(peer, owner_uid, admin_gid)


def may_run_as(peer: Peer, target_uid: int, admin_gid: int | None) -> Decision:
    """Whether the peer may submit a job that runs as `target_uid`.

    Root and the admin group may name any user, root included: the group is worth root.
    """
    if not 0 <= target_uid <= MAX_UID:
        return Decision(allowed=False, why=f"{target_uid} is not the number of a user")
    if target_uid == peer.uid:
        return Decision(allowed=True, why="jobs run as who submits them")
    if is_admin(peer, admin_gid):
        return Decision(allowed=True, why="root and the admin group may run jobs as any user")
    return Decision(
        allowed=False, why=f"only root and the admin group may run jobs as uid {target_uid}"
    )


def may_add_capability(
    peer: Peer, name: str, members_may: Collection[str], admin_gid: int | None
) -> Decision:
    """Whether a job of the peer may keep a capability. It counts on the host, not in the job."""
    if is_admin(peer, admin_gid):
        return Decision(allowed=True, why="root and the admin group may add any capability")
    if name in members_may:
        return Decision(allowed=True, why="the configuration allows it to members")
    listed = ", ".join(members_may) or "none"
    return Decision(
        allowed=False,
        why=f"sandbox.capabilities in the configuration of runnerd allows members {listed}",
    )


def may_run_unfiltered(peer: Peer, admin_gid: int | None, *, allow: bool) -> Decision:
    """Whether a job of the peer may go without our filter of system calls, or with its own."""
    if allow or is_admin(peer, admin_gid):
        return Decision(allowed=True, why="the configuration allows it")
    return Decision(
        allowed=False, why="sandbox.allow_unfiltered in the configuration of runnerd forbids it"
    )


def may_raise_priority(peer: Peer, name: str, most: float, admin_gid: int | None) -> Decision:
    """Whether a job of the peer may raise its priority (RLIMIT_NICE, RLIMIT_RTPRIO) up to `most`.

    Real-time scheduling goes past every CPU limit of a cgroup, and past runnerd's own monitor.
    """
    if most <= ORDINARY_PRIORITIES.get(name, most) or is_admin(peer, admin_gid):
        return Decision(allowed=True, why="it raises no priority")
    return Decision(
        allowed=False,
        why="only root and the admin group may let a job raise its priority: cpu limits would "
        "not hold it",
    )


def may_publish(peer: Peer, port: int, admin_gid: int | None) -> Decision:
    """Whether a job of the peer may have a port of the host lead to it.

    As for bind(2): those below 1024 are the host's own (ip(7), "ip_unprivileged_port_start").
    """
    if port >= FIRST_ORDINARY_PORT or is_admin(peer, admin_gid):
        return Decision(allowed=True, why="the port is not reserved")
    return Decision(
        allowed=False,
        why=f"only root and the admin group may publish ports below {FIRST_ORDINARY_PORT}",
    )


def may_use_queue(
    peer: Peer, name: str, members: Members | None, admin_gid: int | None
) -> Decision:
    """Whether the peer may put jobs into a queue. `members` None: everybody may."""
    if members is None or is_admin(peer, admin_gid):
        return Decision(allowed=True, why="the queue is open to the peer")
    if _is_one_of(peer, members):
        return Decision(allowed=True, why="the configuration names the peer")
    return Decision(
        allowed=False,
        why=f"queues.{name}.allow in the configuration of runnerd does not name you or a group "
        "of yours",
    )


def may_have_priority(
    peer: Peer, queue: str, priority: int, most: int, admin_gid: int | None
) -> Decision:
    """Whether a job of the peer may have that priority in a queue; a lower one always may."""
    if priority <= most or is_admin(peer, admin_gid):
        return Decision(allowed=True, why="the queue allows it")
    return Decision(
        allowed=False,
        why=f"queues.{queue}.max_priority in the configuration of runnerd allows members at most "
        f"{most}",
    )


def may_mount_image(peer: Peer, admin_gid: int | None) -> Decision:
    """Whether the kernel may be given a file system image of the peer's making to read."""
    if is_admin(peer, admin_gid):
        return Decision(allowed=True, why="root and the admin group may mount images")
    return Decision(
        allowed=False,
        why="only root and the admin group may mount a squashfs image, which the kernel reads "
        "unguarded; use a directory or a tar archive",
    )


def may_act(peer: Peer, gateway: Gateway | None) -> Decision:
    """Whether the peer may act for anybody at all: the gateway that the configuration names.

    Not root either, which has other ways: what comes with `act_for` is from another machine, and
    has come through the gateway's own checks.
    """
    if gateway is None:
        return Decision(
            allowed=False,
            why="nobody may act for others: the configuration of runnerd has no gateway.user",
        )
    if peer.uid != gateway.uid:
        return Decision(
            allowed=False,
            why="only gateway.user in the configuration of runnerd may act for others",
        )
    if peer.is_job:
        return Decision(allowed=False, why="a job acts for nobody, whoever it runs as")
    if peer.origin is not None:
        return Decision(allowed=False, why="it acts for somebody already")
    return Decision(allowed=True, why="it is the gateway")


def may_act_for(
    peer: Peer, target: Peer, gateway: Gateway | None, admin_gid: int | None
) -> Decision:
    """Whether the peer may act for `target`, a user as the user database has it.

    Never for root, nor for itself: a job of the gateway's own user could read its keys, and then
    act for everybody.
    """
    decision = may_act(peer, gateway)
    if gateway is None or not decision:
        return decision
    of_it = "in the configuration of runnerd"
    refusals = (
        (target.uid == ROOT_UID, "the gateway never acts for root"),
        (not 0 <= target.uid <= MAX_UID, f"{target.uid} is not the number of a user"),
        (target.uid == gateway.uid, "the gateway never acts for its own user"),
        (
            not _is_one_of(target, gateway.members),
            f"[gateway] {of_it} names neither uid {target.uid} nor a group of it",
        ),
        (
            is_admin(target, admin_gid) and not gateway.allow_admins,
            f"uid {target.uid} is an admin of runnerd: gateway.allow_admins {of_it} forbids that",
        ),
    )
    why = next((why for applies, why in refusals if applies), None)
    return decision if why is None else Decision(allowed=False, why=why)


def _is_one_of(peer: Peer, members: Members) -> bool:
    return peer.uid in members.uids or not members.gids.isdisjoint({peer.gid, *peer.groups})


def _owner_or_admin(peer: Peer, owner_uid: int, admin_gid: int | None) -> Decision:
    if peer.uid == owner_uid:
        return Decision(allowed=True, why="it is the peer's own job")
    if is_admin(peer, admin_gid):
        return Decision(allowed=True, why="root and the admin group act on every job")
    return Decision(allowed=False, why=f"the job belongs to uid {owner_uid}")
