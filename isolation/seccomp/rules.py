"""What a job may call under the profiles that come with runnerd: lists, and their reasons.

Allow lists: what is not named is refused with EPERM, what this list is too old to know with
ENOSYS, on which C libraries fall back. Data and its arrangement; making programs of it is
`isolation.seccomp.compiler`'s.
"""

from __future__ import annotations

import errno
import stat
from typing import TYPE_CHECKING, Final

from isolation.seccomp.compiler import ALLOW, Condition, Profile, Rule, refuse

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# In both profiles.
_FILES: Final = """
    access cachestat chdir chmod chown close close_range copy_file_range creat dup dup2 dup3
    faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown fchownat
    fcntl fdatasync fgetxattr file_getattr file_setattr flistxattr flock fremovexattr
    fsetxattr fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr
    getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch lchown lgetxattr
    link linkat listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat
    memfd_create mkdir mkdirat newfstatat open openat openat2 pipe pipe2 pread64 preadv
    preadv2 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv removexattr
    removexattrat rename renameat renameat2 rmdir sendfile setxattr setxattrat splice stat
    statfs statx symlink symlinkat sync sync_file_range syncfs tee truncate umask unlink
    unlinkat utime utimensat utimes vmsplice write writev
"""
_MEMORY: Final = """
    brk madvise map_shadow_stack membarrier mincore mlock mlock2 mlockall mmap mprotect mremap
    mseal msync munlock munlockall munmap pkey_alloc pkey_free pkey_mprotect remap_file_pages
"""
_PROCESSES: Final = """
    arch_prctl capget execve execveat exit exit_group fork futex futex_requeue futex_wait
    futex_waitv futex_wake get_robust_list getcpu getegid geteuid getgid getgroups getpgid
    getpgrp getpid getppid getpriority getresgid getresuid getrlimit getrusage getsid gettid
    getuid ioprio_get ioprio_set kill landlock_add_rule landlock_create_ruleset
    landlock_restrict_self pidfd_open pidfd_send_signal prctl prlimit64 process_mrelease
    restart_syscall riscv_flush_icache riscv_hwprobe rseq rseq_slice_yield sched_get_priority_max
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
    sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler
    sched_yield seccomp set_robust_list set_tid_address setpgid setpriority setrlimit setsid
    sysinfo tgkill times tkill uname uprobe uretprobe vfork wait4 waitid
"""
_SIGNALS_AND_TIME: Final = """
    alarm clock_getres clock_gettime clock_nanosleep getitimer gettimeofday nanosleep pause
    rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
    rt_sigtimedwait rt_tgsigqueueinfo setitimer sigaltstack signalfd signalfd4 time timer_create
    timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
    timerfd_settime
"""
_WAITING_AND_TALKING: Final = """
    accept accept4 bind connect epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2
    epoll_wait eventfd eventfd2 getpeername getrandom getsockname getsockopt listen mq_getsetattr
    mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd poll
    ppoll pselect6 recvfrom recvmmsg recvmsg select semctl semget semop semtimedop sendmmsg
    sendmsg sendto setsockopt shmat shmctl shmdt shmget shutdown
"""
_COMMON: Final = _FILES + _MEMORY + _PROCESSES + _SIGNALS_AND_TIME + _WAITING_AND_TALKING

# In `default` alone: changing users, looking into processes of one's own (ptrace cannot get
# around a filter since Linux 4.8), handles that name files, facts about mounts and modules,
# asynchronous input and output of databases.
_DEFAULT_ALONE: Final = """
    capset io_cancel io_destroy io_getevents io_pgetevents io_setup io_submit listmount
    lsm_get_self_attr lsm_list_modules memfd_secret mknod mknodat name_to_handle_at
    process_vm_readv process_vm_writev ptrace setfsgid setfsuid setgid setgroups setregid
    setresgid setresuid setreuid setuid socketpair statmount
"""

# In `default`, for a job that has the capability: without it they are only a way to the bugs
# of the kernel. Absent from every list, and so refused to all: io_uring, keys, userfaultfd,
# kexec, swap, quotas without SYS_ADMIN, modify_ldt, calls that Linux has no more.
_WITH_CAPABILITY: Final = {
    "BPF": "bpf",
    "DAC_READ_SEARCH": "open_by_handle_at",
    "PERFMON": "perf_event_open",
    "SYS_ADMIN": """
        bpf clone clone3 fanotify_init fanotify_mark fsconfig fsmount fsopen fspick listns
        lookup_dcookie lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr
        perf_event_open pivot_root quotactl quotactl_fd setdomainname sethostname setns syslog
        umount2 unshare
    """,
    "SYS_BOOT": "reboot",
    "SYS_CHROOT": "chroot",
    "SYS_MODULE": "delete_module finit_module init_module",
    "SYS_NICE": """
        get_mempolicy mbind migrate_pages move_pages set_mempolicy set_mempolicy_home_node
    """,
    "SYS_PACCT": "acct",
    "SYS_PTRACE": "kcmp pidfd_getfd process_madvise",
    "SYS_RAWIO": "ioperm iopl",
    "SYS_TIME": "adjtimex clock_adjtime clock_settime settimeofday",
    "SYS_TTY_CONFIG": "vhangup",
    "SYSLOG": "syslog",
}

# NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET of linux/sched.h. NEWTIME is a bit
# that clone(2) takes for a part of the signal's number.
_NEW_NAMESPACES: Final = 0x7E020000
_NEW_TIME: Final = 0x80
# Of <linux/socket.h>. Others are refused as a kernel without them would: they are rarely
# used and often the way in.
_UNIX, _INET, _INET6, _NETLINK, _PACKET = 1, 2, 10, 16, 17
# ioctls that type into the terminal of whoever started runnerd: asm-generic/ioctls.h.
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
# Linux, 32-bit uname, no randomisation of addresses with both, and the question.
_PERSONALITIES: Final = (0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)
# What mknod(2) makes without a device: 0 is a regular file.
_FILE_TYPE: Final = 0o170000
_WITHOUT_DEVICE: Final = (0, stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK)
# The kernel looks at 32 bits of an int, and a program may set the others.
_INT: Final = 0xFFFFFFFF

_DENIED: Final = refuse(errno.EPERM)


def default(capabilities: Collection[str]) -> Profile:
    """What ordinary programs need, in the spirit of the common profile of container engines.

    `capabilities` are the job's, without CAP_: what a capability is for is allowed with it.
    """
    names = [_COMMON, _DEFAULT_ALONE]
    names += [calls for name, calls in _WITH_CAPABILITY.items() if name in capabilities]
    rules = [Rule(tuple(" ".join(names).split()), ALLOW), *_terminals()]
    if "SYS_ADMIN" not in capabilities:
        rules += _namespaces()
    rules += _sockets((_UNIX, _INET, _INET6, _NETLINK, _PACKET))
    rules += _one_of("personality", 0, _PERSONALITIES, _INT)
    return Profile(_DENIED, tuple(rules))


def strict() -> Profile:
    """For a stranger's program: what compiled programs, Python, Node, Java, Go and shells need.

    No tracing, no change of user, no namespaces whatever the capabilities, no device nodes.
    Internet sockets are allowed: the kernel shows a filter no address, and what can be
    reached is decided by the job's network.
    """
    rules = [Rule(tuple(_COMMON.split()), ALLOW), *_terminals(), *_namespaces()]
    rules += _sockets((_UNIX, _INET, _INET6))
    rules += _one_of("socketpair", 0, (_UNIX,), _INT)
    rules += _one_of("personality", 0, (0, 0xFFFFFFFF), _INT)
    rules += _one_of("mknod", 1, _WITHOUT_DEVICE, _FILE_TYPE)
    rules += _one_of("mknodat", 2, _WITHOUT_DEVICE, _FILE_TYPE)
    return Profile(_DENIED, tuple(rules))


def _one_of(name: str, index: int, values: Collection[int], mask: int) -> Iterator[Rule]:
    for value in values:
        yield Rule((name,), ALLOW, (Condition(index, "==", value, mask),))


def _terminals() -> Iterator[Rule]:
    yield Rule(("ioctl",), ALLOW)
    for request in (_TIOCSTI, _TIOCLINUX):
        yield Rule(("ioctl",), _DENIED, (Condition(1, "==", request, _INT),))


def _namespaces() -> Iterator[Rule]:
    """No new ones, but all else that clone and unshare do.

    clone3's arguments lie in memory, where a filter cannot look: ENOSYS, and C libraries
    use clone.
    """
    yield Rule(("clone",), ALLOW, (Condition(0, "==", 0, _NEW_NAMESPACES),))
    yield Rule(("clone3",), refuse(errno.ENOSYS))
    yield Rule(("unshare",), ALLOW, (Condition(0, "==", 0, _NEW_NAMESPACES | _NEW_TIME),))


def _sockets(families: Collection[int]) -> Iterator[Rule]:
    yield from _one_of("socket", 0, families, _INT)
    nothing_else = tuple(Condition(0, "!=", family, _INT) for family in families)
    yield Rule(("socket",), refuse(errno.EAFNOSUPPORT), nothing_else)
