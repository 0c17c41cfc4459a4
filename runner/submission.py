"""From a parsed request to a job that can be committed, or to a refusal. Nothing is created.

What only this host can know is asked here: does the user exist, may it enter the directory,
which device is below a path, can the limit be enforced. Paths are looked at as the user
whom the job will run as, so that a refusal tells nobody what the file system would not.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from isolation.caller import Caller, ask_as, check_directory
from isolation.devices import disk_of_path
from isolation.errors import LimitUnavailable
from runner import limits as job_limits
from runner import spec as specs
from runner.refusal import Refusal, shown
from runner.rows import NewJob
from runner.users import Account, account_for

if TYPE_CHECKING:
    from collections.abc import Callable

    from isolation.cgroups import CgroupTree
    from runner.config import Config
    from runner.messages import Submit
    from runner.policy import Peer

_T = TypeVar("_T")

# A path on a dead network file system must not hold its submitter for ever.
_PATH_SECONDS: Final = 10.0
_FIELDS: Final = {
    "memory.max": "limits.memory_max_bytes",
    "cpu.max": "limits.cpu_max_millicpus",
    "pids.max": "limits.pids_max",
    "io.max": "limits.io",
}


async def prepare(
    request: Submit, peer: Peer, config: Config, admin_gid: int | None, tree: CgroupTree
) -> NewJob:
    """The job that a request asks for. Raises Refusal."""
    account = account_for(peer, request.user, admin_gid)
    await _check_cwd(request, account)
    job_id = str(uuid.uuid4())
    spec = specs.build(job_id, request, account, config)
    devices = await find_devices(spec)
    _check_enforceable(spec, devices, tree)
    return NewJob(
        id=job_id,
        submitted_by_uid=peer.uid,
        uid=account.uid,
        gid=account.gid,
        name=request.name,
        spec=specs.pack(spec),
        submitted_ns=time.time_ns(),
    )


async def find_devices(spec: dict[str, Any]) -> dict[bytes, str]:
    """The device below each path of a spec's io limits. Raises Refusal."""
    devices: dict[bytes, str] = {}
    for index, entry in enumerate(spec["limits"].get("io", ())):
        field = f"limits.io[{index}].path"
        path = os.fsdecode(entry["path"])
        account = Account(spec["uid"], spec["gid"], tuple(spec["groups"]), spec["user"])
        wanted = f"a path that {account.name} can reach"
        disk = await _ask(account, field, path, partial(disk_of_path, path), wanted)
        devices[entry["path"]] = disk.device
    return devices


async def _check_cwd(request: Submit, account: Account) -> None:
    path = os.fsdecode(request.cwd)
    wanted = f"an existing directory that {account.name} may enter"
    await _ask(account, "cwd", path, lambda: check_directory(request.cwd), wanted)


async def _ask(
    account: Account, field: str, path: str, question: Callable[[], _T], wanted: str
) -> _T:
    caller = Caller(account.uid, account.gid, account.groups)
    try:
        async with asyncio.timeout(_PATH_SECONDS):
            return await asyncio.wrap_future(ask_as(caller, question))
    except LimitUnavailable as error:
        raise Refusal(
            "limit-unavailable", field=field, given=shown(path), detail=str(error)
        ) from None
    except TimeoutError:
        why = f"it did not answer within {_PATH_SECONDS:g} s"
    except OSError as error:
        why = error.strerror or str(error)
    raise Refusal(
        "invalid-argument",
        field=field,
        given=shown(path),
        allowed=wanted,
        detail=why,
    )


def _check_enforceable(spec: dict[str, Any], devices: dict[bytes, str], tree: CgroupTree) -> None:
    wanted = job_limits.kernel_limits(spec["limits"], devices, None)
    try:
        tree.require(wanted)
    except LimitUnavailable as error:
        field = _FIELDS.get(error.limit, "limits")
        raise Refusal("limit-unavailable", field=field, detail=str(error)) from None
