"""From a parsed request to a job that can be committed, or to a refusal. Nothing is created.

What only this host can know is asked here: does the user exist, may it enter the directory,
which device is below a path, can the limit be enforced. What the job is to see and may do
is checked in `runner.surroundings`.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import LimitUnavailable
from runner import limits as job_limits
from runner import spec as specs
from runner import surroundings
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.users import account_for, with_group

if TYPE_CHECKING:
    from isolation.cgroups.tree import CgroupTree
    from runner.config import Config
    from runner.messages import Submit
    from runner.paths import UserPaths
    from runner.policy import Peer
    from runner.provisions import Provisioning

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


class Submissions:
    """What a submission is checked against. One for the daemon."""

    def __init__(
        self,
        config: Config,
        admin_gid: int | None,
        tree: CgroupTree,
        paths: UserPaths,
        provisions: Provisioning,
    ) -> None:
        self._config = config
        self._admin_gid = admin_gid
        self._tree = tree
        self._paths = paths
        self._provisions = provisions

    async def prepare(self, request: Submit, peer: Peer) -> NewJob:
        """The job that a request asks for. Raises Refusal."""
        account = account_for(peer, request.user, self._admin_gid)
        account = with_group(account, request.group, peer, self._admin_gid)
        job_id = str(uuid.uuid4())
        check_output(request.limits.output_max_bytes, self._config)
        check_segment(request.logs.segment_bytes, self._config)
        spec = specs.build(job_id, request, account, self._config)
        if spec["sandbox"]["root"] is None:
            await self._paths.check_cwd(account, spec["cwd"])
        spec["sandbox"] = await surroundings.check(
            spec, peer=peer, account=account, paths=self._paths, config=self._config,
            admin_gid=self._admin_gid,
        )  # fmt: skip
        self._check_enforceable(spec, await self._paths.find_devices(spec))
        await asyncio.to_thread(self._provisions.check, spec)
        packed = specs.pack(spec)
        check_room(self._config.state_dir, len(packed))
        return NewJob(
            id=job_id,
            submitted_by_uid=peer.uid,
            uid=account.uid,
            gid=account.gid,
            name=request.name,
            spec=packed,
            submitted_ns=time.time_ns(),
        )

    def _check_enforceable(
        self, spec: dict[str, Any], devices: dict[bytes, tuple[str, ...]]
    ) -> None:
        wanted = job_limits.kernel_limits(spec["limits"], devices, None)
        try:
            self._tree.require(wanted)
        except LimitUnavailable as error:
            raise Refusal("limit-unavailable", field=field_of(error), detail=str(error)) from None
