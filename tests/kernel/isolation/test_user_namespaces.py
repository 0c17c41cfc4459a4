"""User namespaces for jobs: the root of one is nobody on the host, however it tries."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from isolation import user_namespaces
from isolation.user_namespaces import BASE, RANGE_SIZE, IdMap
from tests.kernel.harness import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

PROJECT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))

# As the payload does it: namespaces of the host's, then the user namespace, then the drop.
ENTER = """
import os, sys
from isolation import privileges, syscalls
from isolation.syscalls import CloneFlags
syscalls.unshare(CloneFlags.NEWNS | CloneFlags.NEWIPC | CloneFlags.NEWUTS)
syscalls.setns(int(sys.argv[1]), CloneFlags.NEWUSER)
privileges.drop_to(4001, 4001, [4001, 27], sys.argv[3].split(), in_userns=True)
os.chdir("/")
os.execv("/bin/sh", ["/bin/sh", "-c", sys.argv[2]])
"""


@pytest.fixture
def namespace() -> Iterator[int]:
    fd = user_namespaces.make(*user_namespaces.maps_of_range(BASE))
    yield fd
    os.close(fd)


def as_job(namespace: int, script: str, capabilities: str = "") -> subprocess.CompletedProcess[str]:
    """A shell script as the root of the namespace, in a PID namespace of the host's user."""
    command = [sys.executable, "-c", ENTER, str(namespace), script, capabilities]
    return subprocess.run(
        ["unshare", "--pid", "--fork", *command],
        pass_fds=[namespace], capture_output=True, text=True, timeout=60, check=False,
        cwd=PROJECT, env={**os.environ, "PYTHONPATH": PROJECT},
    )  # fmt: skip


def refused(namespace: int, script: str) -> bool:
    return as_job(namespace, f"({script}) 2>/dev/null").returncode != 0


def test_inside_it_is_root_with_no_group_but_its_own(namespace: int) -> None:
    done = as_job(namespace, "id -u; id -G; cat /proc/self/uid_map /proc/self/gid_map")
    assert done.stdout.split() == ["0", "0", *(["0", str(BASE), str(RANGE_SIZE)] * 2)], done.stderr


def test_outside_it_is_the_range_in_every_place(namespace: int) -> None:
    place = "/run/test-userns"
    os.mkdir(place, 0o777)
    os.chmod(place, 0o777)  # noqa: S103
    try:
        done = as_job(namespace, f"echo > {place}/file; chown 7:8 {place}/file && echo > {place}/b")
        assert done.returncode == 0, done.stderr
        owned = os.stat(f"{place}/file")
        assert (owned.st_uid, owned.st_gid) == (BASE + 7, BASE + 8)
        assert os.stat(f"{place}/b").st_uid == BASE
    finally:
        subprocess.run(["rm", "-r", place], check=True)


def test_its_capabilities_are_the_short_list_over_the_namespace(namespace: int) -> None:
    done = as_job(namespace, "grep -E '^(Cap|NoNew|Seccomp:)' /proc/self/status")
    sets = dict(line.split(":\t") for line in done.stdout.splitlines())
    listed = sets["CapEff"]
    assert sets["CapPrm"] == sets["CapBnd"] == listed
    assert int(sets["CapInh"], 16) == int(sets["CapAmb"], 16) == 0
    assert sets["NoNewPrivs"] == "1"
    cap_sys_admin, cap_mknod, cap_sys_ptrace = 21, 27, 19
    for number in (cap_sys_admin, cap_mknod, cap_sys_ptrace):
        assert not int(listed, 16) >> number & 1


def test_what_is_added_counts_over_the_namespace_and_not_over_the_host(namespace: int) -> None:
    """With every capability: what belongs to the host's user namespace stays out of reach."""
    everything = "SYS_ADMIN MKNOD SYS_PTRACE NET_ADMIN DAC_READ_SEARCH SYS_TIME SYS_BOOT SYSLOG"
    for script in (
        "mount -t tmpfs tmpfs /mnt", "mount --bind / /mnt", "umount /proc", "hostname job",
        "mknod /run/test-node c 1 5", "date -s 2001-01-01", "sysctl -w kernel.panic=1",
        "ip link add dummy0 type dummy", "cat /etc/shadow", "echo > /etc/passwd",
        "cat /proc/1/environ", "nsenter --target 1 --mount true",
    ):  # fmt: skip
        done = as_job(namespace, f"({script}) 2>&1 && echo GOT THROUGH", everything)
        assert "GOT THROUGH" not in done.stdout, script


def test_hostile_attempts_of_its_root_are_refused(namespace: int) -> None:
    attempts = [
        "cat /etc/shadow",
        "echo x >> /etc/passwd",
        "chown 0:0 /etc/hostname",
        "mknod /run/n c 1 1",
        "head -c1 /dev/kmsg",
        "head -c1 /dev/ubda",
        "kill -0 1 && kill -CONT 1 && false",
        "mount -t proc proc /proc",
        "chroot / mount -t tmpfs tmpfs /mnt",
        "echo 0 > /proc/self/uid_map",
        "echo 1 > /proc/sys/kernel/panic",
        "echo $$ > /sys/fs/cgroup/cgroup.procs",
    ]
    for script in attempts:
        assert refused(namespace, script), script
    assert not refused(namespace, "true")


def test_a_setuid_program_of_the_host_gives_nothing(namespace: int) -> None:
    """It would be the host's root's; its owner has no number in the namespace."""
    place = "/run/test-setuid"
    os.mkdir(place, 0o755)
    try:
        subprocess.run(["cp", "/usr/bin/id", f"{place}/id"], check=True)
        os.chmod(f"{place}/id", 0o4755)  # noqa: S103
        assert as_job(namespace, f"{place}/id -u").stdout == "0\n"
        assert refused(namespace, f"{place}/id -u | grep -v '^0$'")
        done = as_job(namespace, f"setpriv --reuid 1000 --clear-groups {place}/id -u")
        assert done.stdout in {"1000\n", ""}
    finally:
        subprocess.run(["rm", "-r", place], check=True)


def test_users_of_the_range_can_be_taken_and_none_beyond_it(namespace: int) -> None:
    script = (
        "setpriv --reuid 1000 --regid 1000 --clear-groups id -u;"
        f"setpriv --reuid {RANGE_SIZE} --clear-groups id -u"
    )
    assert as_job(namespace, script).stdout.split() == ["1000"]


def test_two_namespaces_of_different_ranges_are_strangers(namespace: int) -> None:
    other = user_namespaces.make(*user_namespaces.maps_of_range(BASE + RANGE_SIZE))
    place = "/run/test-strangers"
    os.mkdir(place, 0o777)
    os.chmod(place, 0o777)  # noqa: S103
    try:
        assert as_job(namespace, f"umask 077; echo mine > {place}/file").returncode == 0
        assert refused(other, f"cat {place}/file")
        assert refused(other, f"chown 0:0 {place}/file")
        assert not refused(namespace, f"cat {place}/file")
    finally:
        os.close(other)
        subprocess.run(["rm", "-r", place], check=True)


def test_a_namespace_without_an_own_map_is_none_to_the_drop() -> None:
    """Nobody's: root inside would be the overflow user, and the job would not start."""
    fd = user_namespaces.make([IdMap(5, BASE)], [IdMap(5, BASE)])
    try:
        done = as_job(fd, "echo started")
        assert "started" not in done.stdout
        assert done.returncode != 0
    finally:
        os.close(fd)


def test_in_the_hosts_namespace_the_drop_refuses() -> None:
    code = "from isolation import privileges; privileges.drop_to(4001, 4001, [], in_userns=True)"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT, check=False
    )
    assert "not in a user namespace of its own" in done.stderr


def test_it_is_gone_with_its_descriptor_and_beyond_the_limit_there_is_none() -> None:
    path = "/proc/sys/user/max_user_namespaces"
    with open(path, encoding="ascii") as file:
        before = file.read()
    held: list[int] = []
    try:
        with open(path, "w", encoding="ascii") as file:
            file.write("20")
        with pytest.raises(OSError, match="No space left on device"):
            for _ in range(21):
                held.append(user_namespaces.make(*user_namespaces.maps_of_range(BASE)))  # noqa: PERF401
        while held:
            os.close(held.pop())
        # The kernel frees them a little later.
        wait_until(lambda: user_namespaces.why_unavailable() is None)
    finally:
        for fd in held:
            os.close(fd)
        with open(path, "w", encoding="ascii") as file:
            file.write(before)
