"""Capabilities: their names, their numbers, and which of them a job has. Pure. Lean.

Names are without the CAP_ in front; both spellings are understood. Giving them up is
`isolation.privileges`'s, who may ask for more is policy and not decided here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

# In the order of their numbers, linux/capability.h.
CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
)  # fmt: skip

# What a job of root keeps: enough to install files and drop to other users, not enough to
# mount, to load modules, to trace, to set up networks or to make device nodes. The list is
# the one that container engines grant, without MKNOD.
ROOT_CAPABILITIES: Final = (
    "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
    "NET_BIND_SERVICE", "NET_RAW", "SYS_CHROOT", "AUDIT_WRITE", "SETFCAP",
)  # fmt: skip


def number(name: str) -> int:
    """The kernel's number of a capability. Raises ValueError for a name that it has not."""
    try:
        return CAPABILITIES.index(name.removeprefix("CAP_"))
    except ValueError:
        raise ValueError(f"{name!r} is not a capability of capabilities(7)") from None


def bits(names: Iterable[str]) -> int:
    """The set as the kernel writes it: bit N for number N. Raises ValueError."""
    return sum(1 << each for each in {number(name) for name in names})


def of_job(uid: int, added: Iterable[str], *, in_userns: bool) -> frozenset[str]:
    """What a job has: `added`, and root's list for root and for the root of a user namespace.

    In a user namespace they count over that namespace alone. Raises ValueError.
    """
    own = ROOT_CAPABILITIES if uid == 0 or in_userns else ()
    return frozenset(CAPABILITIES[number(name)] for name in (*own, *added))
