"""A cgroup tree of the test's own on the kernel's real one, and the proof that nothing stays."""

from __future__ import annotations

import os
import subprocess
import uuid
from typing import TYPE_CHECKING

import pytest

from isolation import device_filter
from isolation.cgroups.root import find_root
from isolation.cgroups.tree import CgroupTree, JobCgroup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CONTROLLERS = frozenset({"cpu", "cpuset", "io", "memory", "pids"})


def groups_below(top: str) -> set[str]:
    return {path for path, _, _ in os.walk(top)}


@pytest.fixture
def mount() -> str:
    """Where the cgroup2 file system is."""
    return find_root().mount


@pytest.fixture(autouse=True)
def nothing_is_left(mount: str) -> Iterator[None]:
    """Set up before every other fixture, so it looks when they have all cleaned up."""
    groups, descriptors = groups_below(mount), len(os.listdir("/proc/self/fd"))
    yield
    assert groups_below(mount) - groups == set()
    assert len(os.listdir("/proc/self/fd")) == descriptors


@pytest.fixture
def no_program_is_kept(nothing_is_left: None) -> Iterator[None]:
    """The device filter's program, which a daemon keeps to its end."""
    yield
    while device_filter._kept:
        os.close(device_filter._kept.pop())


@pytest.fixture
def root(mount: str) -> Iterator[str]:
    """The path of a root that does not exist yet, and is gone afterwards."""
    path = os.path.join(mount, f"test-{uuid.uuid4()}")
    yield path
    for directory in sorted(groups_below(path), reverse=True):
        os.rmdir(directory)


@pytest.fixture
def tree(root: str) -> CgroupTree:
    tree = CgroupTree(root)
    tree.prepare(CONTROLLERS)
    return tree


@pytest.fixture
def job(tree: CgroupTree) -> Iterator[JobCgroup]:
    job = tree.create_job(str(uuid.uuid4()))
    yield job
    job.kill()
    job.remove(timeout_seconds=20.0)


@pytest.fixture
def spawn() -> Iterator[Callable[[str, str], subprocess.Popen[bytes]]]:
    """Run a shell script that starts once it is in the given cgroup directory."""
    children: list[subprocess.Popen[bytes]] = []

    def run(directory: str, script: str) -> subprocess.Popen[bytes]:
        joined = 'echo $$ > "$0/cgroup.procs" && echo && ' + script
        child = subprocess.Popen(
            ["/bin/sh", "-c", joined, directory], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        children.append(child)
        assert child.stdout is not None
        assert child.stdout.readline() == b"\n"
        return child

    yield run
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait(timeout=20)
        assert child.stdout is not None
        child.stdout.close()
