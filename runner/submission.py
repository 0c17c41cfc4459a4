"""From a parsed request to a job that can be committed, or to a refusal. Nothing is created.

What only this host can know is asked here: does the user exist, may it enter the directory,
which device is below a path, can the limit be enforced. What the job is to see and may do
is checked in `runner.surroundings`, what it asks of the queue in `runner.submission_queue`.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import LimitUnavailable
from runner import hook_program, hook_template, submission_queue, surroundings
from runner import limits as job_limits
from runner import spec as specs
from runner.queues import time_limit_ms
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.users import account_for, remembered_account, with_group

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from isolation.cgroups.tree import CgroupTree
    from runner.config import Config
    from runner.group_rows import Group
    from runner.message_hooks import HookRequest
    from runner.messages import Submit
    from runner.paths import UserPaths
    from runner.policy import Peer
    from runner.provisions import Provisioning
    from runner.queues import Rules
    from runner.rows import Job, NewHook
    from runner.users import Account

# Of a job: itself, its log's, and files of a block each.
_DIRECTORY_BYTES: Final = 64 * 1024
_DIRECTORY_FILES: Final = 8
_ROOM: Final = "remove ended jobs (`runctl prune`), or make room otherwise (`runctl doctor`)"
_FIELDS: Final = {
    "scratch": "limits.scratch_max_bytes",
    "memory.max": "limits.memory_max_bytes",
    "memory.high": "limits.memory_high_bytes",
    "memory.swap.max": "limits.memory_swap_max_bytes",
    "memory.oom.group": "limits.oom_policy",
    "cpu.max": "limits.cpu_max_millicpus",
    "cpu.weight": "limits.cpu_weight",
    "cpu.idle": "limits.cpu_idle",
    "cpuset.cpus": "limits.cpu_set",
    "pids.max": "limits.pids_max",
    "io.max": "limits.io",
    "io.weight": "limits.io_weight",
}


def new_id() -> str:
    """The id of a job or a group that is not there yet."""
    return str(uuid.uuid4())


def check_output(asked: int | None, config: Config) -> None:
    """Whether a job may keep so many bytes of its output. Raises Refusal."""
    most = config.logs.max_bytes
    if asked is not None and asked > most:
        raise Refusal(
            "invalid-argument", field="limits.output_max_bytes", given=str(asked),
            allowed=f"at most {most}",
            detail="logs.max_bytes in the configuration of runnerd allows no more",
        )  # fmt: skip


def check_segment(asked: int | None, config: Config) -> None:
    """Whether a job may have segments of that size. Raises Refusal."""
    most = config.logs.keep_bytes
    if asked is not None and asked > most:
        raise Refusal(
            "invalid-argument", field="logs.segment_bytes", given=str(asked),
            allowed=f"at most {most}",
            detail="logs.keep_bytes in the configuration of runnerd allows no more",
        )  # fmt: skip


def check_room(state_dir: str, spec_bytes: int) -> None:
    """Whether a job's directory can be made now. Raises Refusal.

    It may be full when the job starts; but one that cannot start now is better told so.
    """
    try:
        found = os.statvfs(state_dir)
    except OSError as error:
        raise Refusal("store-error", detail=f"{state_dir}: {error.strerror}") from None
    # Root's reserve counts: it is root who makes the directory. But not what ext4 keeps from root
    # too: 2 % of the blocks, 4096 at most (fs/ext4/super.c, ext4_calculate_resv_clusters).
    of_root = found.f_bfree - min(found.f_blocks // 50, 4096)
    blocks = max(found.f_bavail, of_root)
    has_room = blocks * found.f_frsize >= spec_bytes + _DIRECTORY_BYTES
    # Some file systems count no files: statvfs(3).
    has_names = not found.f_files or found.f_ffree >= _DIRECTORY_FILES
    if not (has_room and has_names):
        lack = "no free space" if not has_room else "no room for more files"
        raise Refusal("store-error", detail=f"{lack} in {state_dir} for a job's directory; {_ROOM}")


def field_of(error: LimitUnavailable) -> str:
    """The field of a request that a limit of the kernel was asked for in."""
    return _FIELDS.get(error.limit, "limits")


def _is_plain(spec: dict[str, Any]) -> bool:
    """Whether nothing is asked for that is tried out on this host, or compiled for it alone."""
    sandbox = spec["sandbox"]
    costly = ("devices", "userns", "capabilities", "report_denied")
    return spec["network"] != "private" and not any(sandbox[name] for name in costly)


class Submissions:
    """What a submission is checked against. One for the daemon."""

    def __init__(
        self,
        config: Config,
        admin_gid: int | None,
        tree: CgroupTree,
        paths: UserPaths,
        provisions: Provisioning,
        rules: Rules,
    ) -> None:
        self._config = config
        self._admin_gid = admin_gid
        self._tree = tree
        self._paths = paths
        self._provisions = provisions
        self.rules = rules

    async def prepare(
        self,
        request: Submit,
        peer: Peer,
        find: Callable[[str], Job | Group],
        job_id: str | None = None,
    ) -> NewJob:
        """The job that a request asks for, by that id or a new one. Raises Refusal.

        `find` gives the job or group that the peer means and may control; it is asked last,
        after everything that has to be waited for.
        """
        account = await self._account(request, peer)
        queue = submission_queue.queue_for(self.rules, peer, request.queue)
        submission_queue.check_priority(self.rules, peer, queue, request.priority)
        now_ns = time.time_ns()
        times = submission_queue.times(request, now_ns)
        spec = self._spec(job_id or new_id(), request, account, times.deadline_ns)
        needs = submission_queue.needs(request.reserve, spec["limits"], self.rules, peer.uid)
        await self._check_host(spec, peer, account)
        hooks = await self.hooks_of(request.hooks, request, peer)
        packed = specs.pack(spec)
        check_room(self._config.state_dir, len(packed))
        return NewJob(
            id=spec["job"],
            submitted_by_uid=peer.uid,
            uid=account.uid,
            gid=account.gid,
            name=request.name,
            spec=packed,
            submitted_ns=now_ns,
            queue=queue,
            priority=request.priority,
            not_before_ns=times.not_before_ns,
            deadline_ns=times.deadline_ns,
            held_by_uid=peer.uid if request.hold else None,
            reserved_millicpus=needs.millicpus,
            reserved_memory_bytes=needs.memory_bytes,
            time_limit_ms=time_limit_ms(spec),
            idempotency_key=request.idempotency_key,
            labels=dict(request.labels),
            after=await submission_queue.dependencies(request.after, find),
            hooks=hooks,
        )

    async def hooks_of(
        self, hooks: Sequence[HookRequest], owner: Submit, peer: Peer
    ) -> tuple[NewHook, ...]:
        """Those of a job or a group that a peer submits as `owner` says. Raises Refusal."""
        if any(hook.url is not None for hook in hooks):
            account = await self._account(owner, peer)
            await hook_program.check_hooks(self._paths, account, hooks)
        return hook_template.new_hooks(hooks, owner, peer)

    async def _account(self, request: Submit, peer: Peer) -> Account:
        """Whom the job runs as. Raises Refusal."""
        if request.user is None and request.group is None:
            account = remembered_account(peer)
            if account is not None:
                return account
        return await asyncio.to_thread(self._looked_up, request, peer)

    def _looked_up(self, request: Submit, peer: Peer) -> Account:
        account = account_for(peer, request.user, self._admin_gid)
        return with_group(account, request.group, peer, self._admin_gid)

    def _spec(
        self, job_id: str, request: Submit, account: Account, deadline_ns: int | None
    ) -> dict[str, Any]:
        """The spec, within what the configuration allows. Raises Refusal."""
        check_output(request.limits.output_max_bytes, self._config)
        check_segment(request.logs.segment_bytes, self._config)
        spec = specs.build(job_id, request, account, self._config, deadline_ns=deadline_ns)
        submission_queue.check_growth(request.retry, spec["limits"])
        return spec

    async def _check_host(self, spec: dict[str, Any], peer: Peer, account: Account) -> None:
        """Whether this host can run it; fills in what only the host knows. Raises Refusal."""
        if spec["sandbox"]["root"] is None:
            await self._paths.check_cwd(account, spec["cwd"])
        spec["sandbox"] = await surroundings.check(
            spec, peer=peer, account=account, paths=self._paths, config=self._config,
            admin_gid=self._admin_gid,
        )  # fmt: skip
        self._check_enforceable(spec, await self._paths.find_devices(spec))
        if _is_plain(spec):
            self._provisions.check(spec)
        else:
            await asyncio.to_thread(self._provisions.check, spec)

    def _check_enforceable(
        self, spec: dict[str, Any], devices: dict[bytes, tuple[str, ...]]
    ) -> None:
        wanted = job_limits.kernel_limits(spec["limits"], devices, None)
        try:
            self._tree.require(wanted)
        except LimitUnavailable as error:
            raise Refusal("limit-unavailable", field=field_of(error), detail=str(error)) from None
