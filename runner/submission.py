"""From a parsed request to a job that can be committed, or to a refusal. Nothing is created.

What only this host can know is asked here: does the user exist, may it enter the directory,
which device is below a path, can the limit be enforced.
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final

from isolation.errors import LimitUnavailable
from runner import limits as job_limits
from runner import spec as specs
from runner.refusal import Refusal
from runner.rows import NewJob
from runner.users import account_for

if TYPE_CHECKING:
    from isolation.cgroups import CgroupTree
    from runner.config import Config
    from runner.messages import Submit
    from runner.paths import UserPaths
    from runner.policy import Peer

_FIELDS: Final = {
    "memory.max": "limits.memory_max_bytes",
    "memory.swap.max": "limits.memory_max_bytes",
    "cpu.max": "limits.cpu_max_millicpus",
    "pids.max": "limits.pids_max",
    "io.max": "limits.io",
}


class Submissions:
    """What a submission is checked against. One for the daemon."""

    def __init__(
        self, config: Config, admin_gid: int | None, tree: CgroupTree, paths: UserPaths
    ) -> None:
        self._config = config
        self._admin_gid = admin_gid
        self._tree = tree
        self._paths = paths

    async def prepare(self, request: Submit, peer: Peer) -> NewJob:
        """The job that a request asks for. Raises Refusal."""
        account = account_for(peer, request.user, self._admin_gid)
        await self._paths.check_cwd(account, request.cwd)
        job_id = str(uuid.uuid4())
        spec = specs.build(job_id, request, account, self._config)
        self._check_enforceable(spec, await self._paths.find_devices(spec))
        return NewJob(
            id=job_id,
            submitted_by_uid=peer.uid,
            uid=account.uid,
            gid=account.gid,
            name=request.name,
            spec=specs.pack(spec),
            submitted_ns=time.time_ns(),
        )

    def _check_enforceable(self, spec: dict[str, Any], devices: dict[bytes, str]) -> None:
        wanted = job_limits.kernel_limits(spec["limits"], devices, None)
        try:
            self._tree.require(wanted)
        except LimitUnavailable as error:
            field = _FIELDS.get(error.limit, "limits")
            raise Refusal("limit-unavailable", field=field, detail=str(error)) from None
