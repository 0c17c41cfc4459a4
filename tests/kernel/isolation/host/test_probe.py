"""The doctor on a kernel that has everything, before and after there is a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from isolation.host.probe import Feature, probe
from tests.kernel import stacks

if TYPE_CHECKING:
    from isolation.cgroups.tree import CgroupTree

pytestmark = pytest.mark.usefixtures("no_program_is_kept")

LIMITS = (
    "memory.max", "memory.high", "memory.swap.max", "memory.oom.group", "memory.peak", "cpu.max",
    "cpu.weight", "cpu.idle", "cpuset.cpus", "pids.max", "io.max",
)  # fmt: skip
SANDBOX = (
    "overlay", "squashfs", "loop", "idmapped-mounts", "seccomp", "seccomp-notification",
    "landlock", "device-filter",
)  # fmt: skip


def found(tree: CgroupTree, state_dir: str = "/var/lib/runnerd") -> dict[str, str]:
    features = probe(tree.root, tree.available, state_dir)
    return {feature.name: feature.status for feature in features}


def test_every_limit_of_this_kernel_is_enforced(tree: CgroupTree) -> None:
    status = found(tree)
    assert {name: status[name] for name in LIMITS} == dict.fromkeys(LIMITS, "enforced")
    assert status["cgroup.kill"] == status["cgroup.freeze"] == "enforced"
    assert status["pressure"] == status["swap-limit"] == "enforced"


def test_namespaces_are_there(tree: CgroupTree) -> None:
    status = found(tree)
    names = ("pid", "mount", "network", "ipc", "uts", "cgroup", "user")
    assert {status[f"{name}-namespace"] for name in names} == {"enforced"}
    assert status["no-new-privs"] == "enforced"


def test_what_jobs_are_shut_into_is_there(tree: CgroupTree) -> None:
    status = found(tree)
    assert {name: status[name] for name in SANDBOX} == dict.fromkeys(SANDBOX, "enforced")


def test_weights_of_disks_are_enforced_by_the_disks_that_heed_them(tree: CgroupTree) -> None:
    def finding() -> Feature:
        features = probe(tree.root, tree.available, "/var/lib/runnerd")
        return next(feature for feature in features if feature.name == "io.weight")

    assert finding().status == "unavailable"
    with stacks.bfq_on("/var/lib/runnerd") as disk:
        assert finding() == ("io.weight", "enforced", f"by BFQ on {disk}; by no other disk", None)


def test_a_state_directory_is_judged_by_its_file_system(tree: CgroupTree) -> None:
    assert found(tree)["state-dir"] == "enforced"
    assert found(tree, "/run")["state-dir"] == "unavailable"
