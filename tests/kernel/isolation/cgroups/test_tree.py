"""The cgroups of jobs on a real cgroup v2 kernel."""

from __future__ import annotations

import errno
import os
import re
import signal
import subprocess
import sys
import threading
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from isolation import syscalls
from isolation.cgroups import teardown as cgroup_teardown
from isolation.cgroups.limit_kinds import cpu_max_for
from isolation.cgroups.nodes import Cgroup
from isolation.cgroups.root import find_root
from isolation.cgroups.tree import AppliedLimits, CgroupTree, IoLimit, JobCgroup, JobLimits
from isolation.errors import CgroupError, CgroupRootError, LimitUnavailable
from isolation.host.devices import disks_of_path
from isolation.syscalls import CloneFlags

if TYPE_CHECKING:
    from collections.abc import Callable

    Spawn = Callable[[str, str], subprocess.Popen[bytes]]

PAGE = os.sysconf("SC_PAGE_SIZE")
MIB = 1 << 20


def payload_pids(job: JobCgroup) -> list[int]:
    """The pids in `payload` and in what the job made below it."""
    groups = cgroup_teardown.walk(job.cgroups.payload)
    return [pid for group in groups for pid in cgroup_teardown.pids_of(group)]


def test_preparing_makes_the_root_and_enables_the_controllers_there(tree: CgroupTree) -> None:
    assert tree.available >= {"cpu", "cpuset", "io", "memory", "pids"}
    assert Cgroup(tree.root).core.subtree_control == tree.available


def test_preparing_twice_changes_nothing(tree: CgroupTree) -> None:
    before = tree.available
    tree.prepare(before)
    assert tree.available == before


def test_a_controller_that_does_not_exist_is_not_available_and_no_error(root: str) -> None:
    tree = CgroupTree(root)
    tree.prepare({"pids", "quantum"})
    assert "quantum" not in tree.available
    assert "pids" in tree.available


def test_a_limit_is_refused_where_its_controller_was_not_enabled(root: str) -> None:
    tree = CgroupTree(root)
    tree.prepare({"pids"})
    with pytest.raises(LimitUnavailable) as caught:
        tree.require(JobLimits(memory_max_bytes=64 * MIB))
    assert caught.value.controller == "memory"


def test_a_root_with_a_strangers_processes_is_refused(root: str, spawn: Spawn) -> None:
    os.mkdir(root)
    stranger = spawn(root, "exec sleep 1000")
    with pytest.raises(CgroupError, match="EBUSY") as caught:
        CgroupTree(root).prepare({"pids"})
    assert caught.value.filename == root
    assert Cgroup(root).core.procs == [stranger.pid]
    stranger.kill()
    stranger.wait()


def test_started_inside_its_root_the_daemon_moves_below_it(root: str) -> None:
    os.mkdir(root)
    program = (
        "import os, signal, sys; from isolation.cgroups.tree import CgroupTree\n"
        "root = sys.argv[1]; child = os.fork()\n"
        "if child == 0: signal.pause()\n"
        "tree = CgroupTree(root); tree.prepare({'pids', 'memory'})\n"
        "print(open('/proc/self/cgroup').read(), open(f'/proc/{child}/cgroup').read())\n"
        "print(sorted(tree.available))\n"
        "os.kill(child, 9); os.waitpid(child, 0)"
    )
    done = subprocess.run(
        ["/bin/sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', root,
         sys.executable, "-c", program, root],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.stderr == ""
    name = os.path.basename(root)
    assert done.stdout.count(f"/{name}/daemon") == 2
    assert "['memory', 'pids']" in done.stdout
    cgroup_teardown.remove(Cgroup(root + "/daemon"), (), 20.0)


def test_every_limit_is_shown_by_the_kernel_where_it_belongs(job: JobCgroup) -> None:
    (disk,) = (found.device for found in disks_of_path("/var/lib/runnerd"))
    limits = JobLimits(
        memory_max_bytes=50 * MIB + 1,
        memory_high_bytes=40 * MIB + 1,
        cpu_max_millicpus=333,
        cpu_weight=300,
        cpu_set="0",
        pids_max=20,
        io=(IoLimit(disk, 8 * MIB, None, 70), IoLimit(disk, None, 4 * MIB, None, 50)),
        monitor_memory_max_bytes=32 * MIB,
    )
    assert job.apply(limits) == AppliedLimits(
        memory_max_bytes=50 * MIB,
        memory_high_bytes=40 * MIB,
        memory_swap_max_bytes=0,
        oom_policy="kill",
        cpu_max_millicpus=333,
        cpu_weight=300,
        cpu_set="0",
        pids_max=20,
        io=(IoLimit(disk, 8 * MIB, 4 * MIB, 70, 50),),
        monitor_memory_max_bytes=32 * MIB,
    )
    group, monitor, payload = job.cgroups
    assert payload.memory.max == 50 * MIB
    assert payload.memory.high == 40 * MIB
    assert payload.memory.oom_group
    assert payload.memory.swap_max == 0
    assert monitor.memory.max == 32 * MIB
    assert group.memory.max is None
    assert payload.pids.max == 20
    assert monitor.pids.max is None
    assert group.cpu.max == (33_300, 100_000)
    shown = group.io.max[disk]
    assert shown == {"rbps": 8 * MIB, "wbps": 4 * MIB, "riops": 70, "wiops": 50}
    assert (group.cpu.weight, group.cpuset.cpus) == (300, {0})


def test_swap_may_be_given_explicitly(job: JobCgroup) -> None:
    applied = job.apply(JobLimits(memory_max_bytes=8 * MIB, memory_swap_max_bytes=3 * PAGE + 1))
    assert applied.memory_swap_max_bytes == 3 * PAGE
    assert job.cgroups.payload.memory.swap_max == 3 * PAGE


@pytest.mark.parametrize("millicpus", [1, 7, 10, 999, 1_024_000])
def test_the_kernel_takes_every_share(job: JobCgroup, millicpus: int) -> None:
    assert job.apply(JobLimits(cpu_max_millicpus=millicpus)).cpu_max_millicpus == millicpus
    assert job.cgroups.job.cpu.max == cpu_max_for(millicpus)


def test_a_job_without_limits_has_none(job: JobCgroup) -> None:
    assert job.apply(JobLimits()) == AppliedLimits()
    assert job.cgroups.payload.memory.max is None
    assert not job.cgroups.payload.memory.oom_group


@pytest.mark.parametrize("device", ["4095:1", "0:5"])
def test_a_device_that_takes_no_limit_is_refused_by_name(job: JobCgroup, device: str) -> None:
    with pytest.raises(LimitUnavailable, match=device) as caught:
        job.apply(JobLimits(io=(IoLimit(device, MIB),)))
    assert (caught.value.limit, caught.value.device) == ("io.max", device)


def test_a_value_that_the_kernel_refuses_is_an_error_with_path_and_value(job: JobCgroup) -> None:
    with pytest.raises(CgroupError, match=r"'99999999999' to .*/payload/pids\.max.*EINVAL"):
        job.apply(JobLimits(memory_max_bytes=8 * MIB, pids_max=99_999_999_999))
    assert job.cgroups.payload.memory.max is None


def test_a_memory_hog_is_killed_with_its_whole_job(job: JobCgroup, spawn: Spawn) -> None:
    job.apply(JobLimits(memory_max_bytes=16 * MIB))
    payload = job.cgroups.payload
    bystander = spawn(payload.directory, "exec sleep 1000")
    hog = spawn(payload.directory, "exec tail /dev/zero")
    assert hog.wait(timeout=60) == -9
    assert bystander.wait(timeout=60) == -9
    assert payload.memory.events["oom_group_kill"] == 1
    assert 0 < (job.usage().memory_peak_bytes or 0) <= 16 * MIB


def test_writing_to_a_disk_is_slowed_to_its_limit(job: JobCgroup, spawn: Spawn) -> None:
    (disk,) = (found.device for found in disks_of_path("/var/lib/runnerd"))
    job.apply(JobLimits(io=(IoLimit(disk, None, MIB),)))
    path = f"/var/lib/runnerd/{uuid.uuid4()}"
    started = time.monotonic()
    writer = spawn(
        job.cgroups.payload.directory,
        f"exec dd if=/dev/zero of={path} bs=64k count=32 oflag=direct",
    )
    try:
        assert writer.wait(timeout=60) == 0
        # 2 MiB at 1 MiB/s, with the burst that the kernel's slices allow.
        assert time.monotonic() - started > 1.0
        with open(job.cgroups.job.io.path("io.stat")) as file:
            (line,) = (line for line in file if line.startswith(f"{disk} "))
        (written,) = re.findall(r" wbytes=(\d+)", line)
        assert int(written) >= 2 * MIB
    finally:
        os.unlink(path)


def test_a_busy_job_is_throttled_to_its_share(job: JobCgroup, spawn: Spawn) -> None:
    job.apply(JobLimits(cpu_max_millicpus=100))
    group = job.cgroups.job
    busy = spawn(job.cgroups.payload.directory, "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done")
    assert busy.wait(timeout=120) == 0
    assert group.cpu.stat["nr_throttled"] > 0
    assert group.cpu.stat["throttled_usec"] > 0


def test_a_fork_bomb_stays_within_its_pids(job: JobCgroup, spawn: Spawn) -> None:
    job.apply(JobLimits(pids_max=10))
    # One fork too many ends a shell with an error: no bomb, just eleven background processes.
    bomb = spawn(
        job.cgroups.payload.directory, "for i in 1 2 3 4 5 6 7 8 9 10 11; do sleep 1000 & done; :"
    )
    assert bomb.wait(timeout=60) != 0
    assert job.cgroups.payload.pids.events["max"] > 0
    assert (job.usage().pids or 0) <= 10
    assert len(payload_pids(job)) <= 10


def test_usage_counts_what_ran_in_the_job(job: JobCgroup, spawn: Spawn) -> None:
    assert job.usage().pids == 0
    child = spawn(job.cgroups.payload.directory, "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done")
    assert child.wait(timeout=60) == 0
    usage = job.usage()
    assert (usage.cpu_usec or 0) > 0
    assert usage.cpu_user_usec is not None
    assert usage.cpu_system_usec is not None
    assert (usage.memory_peak_bytes or 0) > 0


def test_killing_the_payload_spares_the_monitor(job: JobCgroup, spawn: Spawn) -> None:
    monitor = spawn(job.cgroups.monitor.directory, "exec sleep 1000")
    payload = spawn(job.cgroups.payload.directory, "exec sleep 1000")
    assert job.monitor_pids() == [monitor.pid]
    assert payload_pids(job) == [payload.pid]
    job.kill(monitor=False)
    assert payload.wait(timeout=60) == -9
    assert monitor.poll() is None
    assert job.populated()
    job.kill()
    assert monitor.wait(timeout=60) == -9


def test_killing_reaches_what_the_job_put_into_cgroups_of_its_own(
    job: JobCgroup, spawn: Spawn
) -> None:
    nested = job.cgroups.payload.create_cgroup("a").create_cgroup("b")
    hidden = spawn(nested.directory, "exec sleep 1000")
    assert payload_pids(job) == [hidden.pid]
    job.kill(monitor=False)
    assert hidden.wait(timeout=60) == -9
    job.remove(timeout_seconds=20.0)
    assert not job.cgroups.job.exists()


def test_without_cgroup_kill_each_process_is_killed(job: JobCgroup, spawn: Spawn) -> None:
    payload = job.cgroups.payload
    children = [spawn(payload.directory, "exec sleep 1000") for _ in range(3)]
    children.append(spawn(payload.create_cgroup("a").directory, "exec sleep 1000"))
    cgroup_teardown.kill_each(payload)
    assert [child.wait(timeout=60) for child in children] == [-9] * 4


def test_removing_waits_for_the_last_process_and_no_longer(job: JobCgroup, spawn: Spawn) -> None:
    child = spawn(job.cgroups.payload.directory, "read line; exit 0")
    killer = threading.Timer(0.3, child.kill)
    killer.start()
    started = time.monotonic()
    job.remove(timeout_seconds=60.0)
    assert time.monotonic() - started < 30
    assert not job.cgroups.job.exists()
    killer.join()


def test_removing_gives_up_at_its_deadline_while_a_process_lives(
    job: JobCgroup, spawn: Spawn
) -> None:
    spawn(job.cgroups.payload.directory, "exec sleep 1000")
    with pytest.raises(CgroupError, match="EBUSY"):
        job.remove(timeout_seconds=0.1)
    assert job.cgroups.payload.exists()


def test_removing_twice_is_harmless(tree: CgroupTree) -> None:
    job = tree.create_job(str(uuid.uuid4()))
    job.remove()
    job.remove()
    assert tree.jobs() == []


def test_a_job_is_found_again_by_another_tree(tree: CgroupTree) -> None:
    job_id = str(uuid.uuid4())
    tree.create_job(job_id)
    again = CgroupTree(tree.root)
    again.prepare(tree.available)
    assert again.jobs() == [job_id]
    found = again.job(job_id)
    assert found is not None
    assert found.apply(JobLimits(pids_max=5)).pids_max == 5
    found.remove()
    assert again.job(job_id) is None


def test_a_job_is_made_only_once(tree: CgroupTree) -> None:
    job_id = str(uuid.uuid4())
    job = tree.create_job(job_id)
    with pytest.raises(CgroupError) as caught:
        tree.create_job(job_id)
    assert caught.value.errno == errno.EEXIST
    assert job.cgroups.payload.exists()
    job.remove()


def test_a_job_that_cannot_be_made_whole_leaves_nothing(tree: CgroupTree, root: str) -> None:
    with open(root + "/cgroup.max.descendants", "w") as file:
        file.write("2")
    with pytest.raises(CgroupError, match="payload"):
        tree.create_job(str(uuid.uuid4()))
    assert tree.jobs() == []


def test_the_descriptors_are_the_three_directories(job: JobCgroup) -> None:
    fds = job.open_fds()
    try:
        for fd, node in zip(fds, job.cgroups, strict=True):
            assert os.path.samestat(os.fstat(fd), os.stat(node.directory))
            assert not os.get_inheritable(fd)
    finally:
        fds.close()


def test_a_process_is_born_in_the_cgroup_of_a_descriptor(job: JobCgroup) -> None:
    fds = job.open_fds()
    reading, writing = os.pipe()
    pid, pidfd = syscalls.clone3(CloneFlags(0), fds.payload, signal.SIGCHLD)
    if pid == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        assert payload_pids(job) == [pid]
    finally:
        os.close(writing)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(pidfd)
        fds.close()


def test_the_root_is_found_on_this_host(mount: str) -> None:
    assert find_root() == (mount + "/runnerd", "own", mount)
    assert find_root(mount + "/x").source == "configured"
    with pytest.raises(CgroupRootError, match="not below"):
        find_root("/tmp/x")
