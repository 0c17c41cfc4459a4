"""The doctor on a kernel that has everything, before and after there is a job."""

from __future__ import annotations

from typing import TYPE_CHECKING

from isolation.probe import probe

if TYPE_CHECKING:
    from isolation.cgroups import CgroupTree

LIMITS = ("memory.max", "memory.swap.max", "memory.peak", "cpu.max", "pids.max", "io.max")


def found(tree: CgroupTree, state_dir: str = "/var/lib/runnerd") -> dict[str, str]:
    features = probe(tree.root, tree.available, state_dir)
    return {feature.name: feature.status for feature in features}


def test_every_limit_of_this_kernel_is_enforced(tree: CgroupTree) -> None:
    status = found(tree)
    assert {name: status[name] for name in LIMITS} == dict.fromkeys(LIMITS, "enforced")
    assert status["cgroup.kill"] == "enforced"


def test_namespaces_are_there(tree: CgroupTree) -> None:
    status = found(tree)
    names = ("pid", "mount", "network", "ipc", "uts", "cgroup")
    assert {status[f"{name}-namespace"] for name in names} == {"enforced"}
    assert status["no-new-privs"] == "enforced"


def test_a_state_directory_is_judged_by_its_file_system(tree: CgroupTree) -> None:
    assert found(tree)["state-dir"] == "enforced"
    assert found(tree, "/run")["state-dir"] == "unavailable"
