"""The only package that touches ctypes: one thin function a system call, nothing decided here.

Typed arguments in, None or a descriptor or pid out. A failing call raises the OSError that
fits its errno, with a note that names the call and its arguments. Lean: part of every fork.
What only the daemon calls (`bpf`) is imported from its own module.
"""

from __future__ import annotations

from isolation.syscalls.credentials import (
    clear_ambient_capabilities,
    drop_bounding_capability,
    join_new_session_keyring,
    keep_capabilities_over_setuid,
    peer_groups,
    raise_ambient_capability,
    set_capabilities,
    set_dumpable,
    set_no_new_privs,
    set_process_name,
    set_thread_file_identity,
)
from isolation.syscalls.mounts import (
    AT_FDCWD,
    MountFlags,
    OpenTreeFlags,
    ResolveFlags,
    mount,
    move_mount,
    open_tree,
    openat2,
)
from isolation.syscalls.process import (
    CloneFlags,
    clone3,
    close_all_except,
    close_on_exec_from,
    setns,
    unshare,
)
from isolation.syscalls.security import (
    SeccompFlags,
    landlock_abi,
    landlock_allow_beneath,
    landlock_create_ruleset,
    landlock_restrict_self,
    seccomp_notification_sizes,
    seccomp_set_filter,
)

__all__ = [
    "AT_FDCWD", "CloneFlags", "MountFlags", "OpenTreeFlags", "ResolveFlags", "SeccompFlags",
    "clear_ambient_capabilities", "clone3", "close_all_except", "close_on_exec_from",
    "drop_bounding_capability", "join_new_session_keyring", "keep_capabilities_over_setuid",
    "landlock_abi", "landlock_allow_beneath", "landlock_create_ruleset",
    "landlock_restrict_self", "mount", "move_mount", "open_tree", "openat2", "peer_groups",
    "raise_ambient_capability", "seccomp_notification_sizes", "seccomp_set_filter",
    "set_capabilities", "set_dumpable", "set_no_new_privs", "set_process_name",
    "set_thread_file_identity", "setns", "unshare",
]  # fmt: skip
