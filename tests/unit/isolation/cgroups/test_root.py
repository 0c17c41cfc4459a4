"""Finding the cgroup root: every kind of host, described by its mount table."""

from __future__ import annotations

import pytest

from isolation.cgroups.root import (
    CgroupRoot,
    decide_root,
    missing_controllers,
    own_cgroup,
    v1_controllers,
)
from isolation.errors import CgroupRootError
from isolation.host import mountinfo

V2 = "41 31 0:38 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n"
HYBRID = (
    "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n"
    "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "38 31 0:35 / /sys/fs/cgroup/blkio rw - cgroup cgroup rw,blkio\n"
    "40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n"
    "42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n"
)
ALL = frozenset({"cpuset", "cpu", "io", "memory", "pids"})


def decide(
    text: str,
    *,
    configured: str | None = None,
    controllers: frozenset[str] = ALL,
) -> CgroupRoot:
    return decide_root(
        mountinfo.parse(text),
        configured,
        offered=lambda _: controllers,
    )


def test_without_anything_better_the_root_is_a_directory_of_ours() -> None:
    assert decide(V2) == ("/sys/fs/cgroup/runnerd", "own", "/sys/fs/cgroup")


def test_the_configured_root_wins() -> None:
    found = decide(V2, configured="/sys/fs/cgroup/a/b/")
    assert found == ("/sys/fs/cgroup/a/b", "configured", "/sys/fs/cgroup")


@pytest.mark.parametrize(
    "path",
    ["/var/lib/x", "sys/fs/cgroup/x", "/sys/fs/cgroup/../x", "/sys/fs/cgroups/x"],
)
def test_a_configured_root_outside_the_tree_is_refused(path: str) -> None:
    with pytest.raises(CgroupRootError, match="not below a cgroup2 mount") as caught:
        decide(V2, configured=path)
    assert "/sys/fs/cgroup" in caught.value.remedy


def test_a_host_without_cgroup2_is_told_to_mount_it() -> None:
    with pytest.raises(CgroupRootError, match="not mounted") as caught:
        decide("27 1 254:0 / / rw - ext4 /dev/vda rw\n")
    assert "mount -t cgroup2" in caught.value.remedy


def test_a_hybrid_host_is_told_which_controllers_are_bound_and_what_to_boot_with() -> None:
    with pytest.raises(CgroupRootError) as caught:
        decide(HYBRID, controllers=frozenset({"hugetlb"}))
    assert "cpu, io, memory are bound to cgroup v1" in caught.value.why
    assert "systemd.unified_cgroup_hierarchy=1" in caught.value.remedy
    assert "cgroup_no_v1=all" in caught.value.remedy


def test_a_hybrid_host_is_no_better_for_being_configured() -> None:
    with pytest.raises(CgroupRootError, match="bound to cgroup v1"):
        decide(HYBRID, configured="/sys/fs/cgroup/unified/x", controllers=frozenset())


def test_a_hybrid_host_with_some_controllers_on_v2_is_usable() -> None:
    found = decide(HYBRID, controllers=frozenset({"pids"}))
    assert found.path == "/sys/fs/cgroup/unified/runnerd"


def test_a_tree_without_controllers_and_without_v1_is_probably_a_container() -> None:
    with pytest.raises(CgroupRootError, match="offers none of") as caught:
        decide(V2, controllers=frozenset())
    assert "container" in caught.value.remedy


@pytest.mark.parametrize(
    "line", [V2.replace(" rw,relatime", " ro"), V2.replace("rw,nsd", "ro,nsd")]
)
def test_a_read_only_tree_is_refused_with_a_remedy_for_containers(line: str) -> None:
    with pytest.raises(CgroupRootError, match="read-only") as caught:
        decide(line)
    assert "--cgroupns=private" in caught.value.remedy


def test_the_own_cgroup_is_the_line_without_controllers() -> None:
    assert own_cgroup("8:pids:/a\n1:name=systemd:/b\n0::/c d\n") == "/c d"
    assert own_cgroup("8:pids:/a\n") is None


def test_v1_controllers_are_named_as_in_v2() -> None:
    assert v1_controllers(mountinfo.parse(HYBRID)) == {
        "cpu": "/sys/fs/cgroup/cpu",
        "memory": "/sys/fs/cgroup/memory",
        "io": "/sys/fs/cgroup/blkio",
    }


def test_what_is_available_is_not_missing() -> None:
    assert missing_controllers({"cpu"}, {"cpu", "io"}) == []


def test_each_missing_controller_has_the_reason_that_fits() -> None:
    found = missing_controllers(
        {"cpu", "io", "memory", "pids"},
        {"cpu"},
        v1={"io": "/sys/fs/cgroup/blkio"},
        root="/sys/fs/cgroup/a",
        at_mount={"memory"},
    )
    io, memory, pids = found
    assert "bound to a cgroup v1 hierarchy at /sys/fs/cgroup/blkio" in io.why
    assert "cgroup_no_v1=all" in io.remedy
    assert "not handed down to /sys/fs/cgroup/a" in memory.why
    assert "Delegate=memory" in memory.remedy
    assert "CONFIG_CGROUP_PIDS" in pids.remedy
