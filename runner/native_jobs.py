"""Which jobs the native launcher runs, and what it is told of one beside descriptors. Pure.

What the program in `runner/native` cannot do is not tried there: such a job is the Python
launcher's. So is one with a field that is not named here, until somebody has made up their mind
about it: a job that would lose a limit or a wall by the choice of a launcher must not exist.
Which launcher there is, `runner.launchers` knows.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from isolation.capabilities import bits, of_job
from isolation.files import dev_nodes
from isolation.rlimits import NUMBERS
from runner.handles import Given

if TYPE_CHECKING:
    from collections.abc import Mapping

# That of the program that understands what is written here: NATIVE_VERSION of native/native.h.
VERSION: Final = "2"

_NOTHING: Final = Given()

# Read by it, or of no concern to monitor and payload.
_FIELDS: Final = frozenset({
    "version", "job", "argv", "env", "cwd", "umask", "network", "net", "uid", "gid", "groups",
    "user", "limits", "sandbox", "stop_grace_seconds", "logs", "retry", "deadline_ns",
})  # fmt: skip
_LOGS: Final = frozenset({
    "segment_bytes", "keep_bytes", "keep_segments", "compression", "on_full",
})  # fmt: skip
# Most are files of cgroups, which the daemon writes.
_LIMITS: Final = frozenset({
    "memory_max_bytes", "memory_high_bytes", "memory_swap_max_bytes", "oom_policy",
    "cpu_max_millicpus", "cpu_weight", "cpu_set", "cpu_idle", "pids_max", "io", "io_weight",
    "rlimits", "cpu_time_seconds", "timeout_seconds", "warning_seconds", "warning_signal",
    "output_max_bytes", "output_policy", "scratch_max_bytes", "net_egress_bits_per_second",
    "net_ingress_bits_per_second",
})  # fmt: skip
# Of the surroundings: of any value. The filter comes as a program.
_SANDBOX: Final = frozenset({
    "filesystem", "hostname", "capabilities", "seccomp", "seccomp_program",
})  # fmt: skip
# Of these nothing may be asked for: the tree is the host's, with what each job has to itself.
_UNUSED: Final = frozenset({
    "preset", "root", "keep_changes", "readable", "writable", "binds", "tmpfs", "hide", "userns",
    "report_denied", "devices", "secrets",
})  # fmt: skip
_KNOWN: Final = _SANDBOX | _UNUSED


def is_plain(spec: Mapping[str, Any], given: Given = _NOTHING) -> bool:
    """Whether the native launcher can run a job of this spec, given this beside descriptors.

    `spec` is whole, as `runner.stored.spec` has it.
    """
    return (
        spec.keys() <= _FIELDS
        and spec["limits"].keys() <= _LIMITS
        and spec["logs"].keys() <= _LOGS
        and spec["logs"]["compression"] == "none"
        and _is_hosts_tree(spec["sandbox"])
        and not given.files
        and given.ids is None
    )


def _is_hosts_tree(sandbox: Mapping[str, Any]) -> bool:
    return (
        sandbox["filesystem"] == "host"
        and sandbox.keys() <= _KNOWN
        and not any(map(sandbox.get, _UNUSED))
    )


def wants_loopback(spec: Mapping[str, Any]) -> bool:
    """Whether the job gets a network of its own with loopback alone, which either side can make."""
    return bool(spec["network"] == "none")


def native_fields(spec: Mapping[str, Any], *, own_network: bool) -> dict[str, Any]:
    """The map `native` of a launch request (runner/native/native.h, struct request).

    What would have to be looked up in tables that Python has already. `own_network`: no network
    is sent along, and it takes one from those that it made ahead.
    """
    limits = spec["limits"].get("rlimits", {})
    return {
        "capabilities": _kept(spec["uid"], tuple(spec["sandbox"]["capabilities"])),
        "terminals": dev_nodes.TERMINALS,
        "rlimits": [[NUMBERS[name], soft, hard] for name, (soft, hard) in limits.items()],
        "own_network": own_network,
    }


@lru_cache(maxsize=256)
def _kept(uid: int, added: tuple[str, ...]) -> int:
    return bits(of_job(uid, added, in_userns=False))
