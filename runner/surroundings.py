"""What a request wants of its job's surroundings, checked before the job exists.

Paths are asked as the job's user (`runner.paths`), rights by policy, features of the host
by `isolation`; a filter program of the user's own is compiled here once, so that what was
accepted is what will run. Nothing is created.
"""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from isolation import caller_paths, landlock
from isolation.caller_paths import Wanted
from isolation.capabilities import CAPABILITIES, of_job
from isolation.errors import LimitUnavailable
from isolation.seccomp import files as seccomp_files
from isolation.seccomp import profiles as seccomp_profiles
from runner.policy import (
    may_add_capability,
    may_mount_image,
    may_publish,
    may_raise_priority,
    may_run_unfiltered,
)
from runner.refusal import Refusal, shown, unavailable

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from runner.config import Config
    from runner.paths import UserPaths
    from runner.policy import Decision, Peer
    from runner.users import Account

# Private in each job: what is below them on the host is not there.
_COVERED: Final = (b"/tmp", b"/dev", b"/run/user", b"/proc", b"/sys")
BUILT_IN_PROFILES: Final = frozenset({b"default", b"strict", b"none"})


async def check(
    spec: dict[str, Any],
    *,
    peer: Peer,
    account: Account,
    paths: UserPaths,
    config: Config,
    admin_gid: int | None,
) -> dict[str, Any]:
    """The spec's surroundings, complete. Raises Refusal with the field named."""
    sandbox: dict[str, Any] = dict(spec["sandbox"])
    _check_rights(sandbox, peer, config, admin_gid)
    check_rlimits(spec["limits"].get("rlimits", {}), peer, admin_gid)
    for index, (_address, host_port, _port, _protocol) in enumerate(spec["net"]["publish"]):
        field = f"net.publish[{index}].host_port"
        _require(field, host_port, may_publish(peer, host_port, admin_gid))
    await paths.check_all(account, list(_wanted(sandbox)))
    if sandbox["root"] is not None:
        question = partial(caller_paths.is_image, sandbox["root"])
        if await paths.ask(account, "sandbox.root", sandbox["root"], question, "a readable file"):
            _require("sandbox.root", sandbox["root"], may_mount_image(peer, admin_gid))
    if sandbox["seccomp"] not in BUILT_IN_PROFILES:
        sandbox["seccomp_program"] = await _compiled(sandbox, account, paths)
    if _wants_landlock(sandbox) and landlock.abi() == 0:
        raise unavailable(
            _landlock_field(sandbox), "this kernel has no Landlock, or it is not enabled",
            "boot with landlock in lsm=, or do without --ro, --rw and --sandbox",
        )  # fmt: skip
    return sandbox


def _landlock_field(sandbox: dict[str, Any]) -> str:
    """What of a request asks for Landlock."""
    named = [name for name in ("readable", "writable") if sandbox[name]]
    return f"sandbox.{(*named, 'preset')[0]}"


def check_rlimits(
    rlimits: Mapping[str, Sequence[int | None]], peer: Peer, admin_gid: int | None
) -> None:
    """Whether the peer may give a job these resource limits. Raises Refusal."""
    for name, bounds in rlimits.items():
        if name == "nofile":
            _check_open_files(bounds)
        most = max(math.inf if bound is None else bound for bound in bounds)
        decision = may_raise_priority(peer, name, most, admin_gid)
        _require(f"limits.rlimits.{name}", list(bounds), decision)


def _check_open_files(bounds: Sequence[int | None]) -> None:
    """The one resource limit that the kernel itself bounds (proc_sys_fs(5)). Raises Refusal."""
    with open("/proc/sys/fs/nr_open", encoding="ascii") as file:
        most = int(file.read())
    if any(bound is None or bound > most for bound in bounds):
        raise Refusal(
            "invalid-argument",
            field="limits.rlimits.nofile",
            given=shown(["unlimited" if bound is None else bound for bound in bounds]),
            allowed=f"at most {most}, which is fs.nr_open",
        )


def _wants_landlock(sandbox: dict[str, Any]) -> bool:
    """Whether a job's paths are held by Landlock, not by permissions and mounts alone."""
    return bool(sandbox["readable"] or sandbox["writable"] or sandbox["preset"])


def _check_rights(
    sandbox: dict[str, Any], peer: Peer, config: Config, admin_gid: int | None
) -> None:
    for index, name in enumerate(sandbox["capabilities"]):
        field = f"sandbox.capabilities[{index}]"
        if name not in CAPABILITIES:
            allowed = "a capability of capabilities(7), such as NET_BIND_SERVICE"
            raise Refusal("invalid-argument", field=field, given=shown(name), allowed=allowed)
        allowed_to_members = config.sandbox.capabilities
        _require(field, name, may_add_capability(peer, name, allowed_to_members, admin_gid))
    profile = sandbox["seccomp"]
    if profile == b"none" or profile not in BUILT_IN_PROFILES:
        allow = config.sandbox.allow_unfiltered
        _require("sandbox.seccomp", profile, may_run_unfiltered(peer, admin_gid, allow=allow))


def _require(field: str, given: object, decision: Decision) -> None:
    if not decision:
        raise Refusal("not-permitted", field=field, given=shown(given), detail=decision.why)


def _wanted(sandbox: dict[str, Any]) -> Iterator[Wanted]:
    """Every path that a request names, with what it has to be."""
    if sandbox["root"] is not None:
        yield Wanted("sandbox.root", sandbox["root"], caller_paths.SOURCE)
    if sandbox["keep_changes"] is not None:
        yield Wanted("sandbox.keep_changes", sandbox["keep_changes"], caller_paths.OWN_DIRECTORY)
    for index, (source, _target, _read_only) in enumerate(sandbox["binds"]):
        yield Wanted(f"sandbox.binds[{index}].source", source, caller_paths.SOURCE)
    for index, (_name, path) in enumerate(sandbox["secrets"]):
        yield Wanted(f"sandbox.secrets[{index}].path", path, caller_paths.FILE)
    for index, device in enumerate(sandbox["devices"]):
        if device != b"all":
            yield Wanted(f"sandbox.devices[{index}]", device, caller_paths.DEVICE)
    if sandbox["root"] is not None:
        # The other paths are those of the foreign tree, which is not there yet.
        return
    yield from _targets(sandbox)
    for name in ("readable", "writable", "hide"):
        for index, path in enumerate(sandbox[name]):
            yield Wanted(f"sandbox.{name}[{index}]", path, caller_paths.EXISTING)


def _targets(sandbox: dict[str, Any]) -> Iterator[Wanted]:
    """What must be there to be covered: only in a tree of the job's own it can be made."""
    if sandbox["filesystem"] == "overlay":
        return
    targets = {
        f"sandbox.binds[{index}].target": bind[1] for index, bind in enumerate(sandbox["binds"])
    }
    targets |= {
        f"sandbox.tmpfs[{index}].path": entry[0] for index, entry in enumerate(sandbox["tmpfs"])
    }
    covered = [*_COVERED, *targets.values()]
    for field, path in targets.items():
        # Below another of them it may be, or be made, when that one is there.
        if not any(path.startswith(place.rstrip(b"/") + b"/") for place in covered):
            yield Wanted(field, path, caller_paths.TARGET)


async def _compiled(sandbox: dict[str, Any], account: Account, paths: UserPaths) -> bytes:
    """The filter program of a profile of the user's own, read as the user."""
    path = sandbox["seccomp"]
    question = partial(caller_paths.read_text, path, seccomp_files.MAX_BYTES)
    wanted = f"a profile that {account.name} may read"
    text = await paths.ask(account, "sandbox.seccomp", path, question, wanted)
    own = sandbox["capabilities"]
    capabilities = of_job(account.uid, own, in_userns=sandbox["userns"])
    try:
        program: bytes = await asyncio.to_thread(
            seccomp_profiles.compile_file,
            text,
            capabilities=capabilities,
            report=sandbox["report_denied"],
        )
    except LimitUnavailable as error:
        raise Refusal("limit-unavailable", field="sandbox.seccomp", detail=str(error)) from None
    except ValueError as error:
        raise Refusal(
            "invalid-argument",
            field="sandbox.seccomp",
            given=shown(path),
            allowed="a profile in the format of container engines",
            detail=str(error),
        ) from None
    return program
