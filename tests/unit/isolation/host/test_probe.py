"""The doctor's findings on described hosts: a /proc and a cgroup root of plain files."""

from __future__ import annotations

from pathlib import Path

import pytest

from isolation.host import mountinfo
from isolation.host import probe as probing
from isolation.host.probe import Feature, Host, features, probe

ALL = frozenset({"cpu", "cpuset", "io", "memory", "pids"})
FILES = (
    "cgroup.type", "cgroup.kill", "cgroup.freeze", "memory.max", "memory.high", "memory.swap.max",
    "memory.oom.group", "memory.peak", "cpu.max", "cpu.weight", "cpu.idle", "cpuset.cpus",
    "pids.max", "io.max",
)  # fmt: skip
PROC = {
    "self/status": "Name:\tx\nNoNewPrivs:\t0\n",
    "pressure/memory": "some avg10=0.00\n",
    "sys/fs/inotify/max_user_instances": "128\n",
    "sys/fs/inotify/max_user_watches": "65536\n",
    "swaps": "Filename Type Size Used Priority\n",
    "filesystems": "nodev\tproc\n\text4\nnodev\toverlay\n\tsquashfs\n",
    "sys/kernel/osrelease": "6.1.0-test\n",
    "sys/kernel/modules_disabled": "0\n",
    "sys/kernel/seccomp/actions_avail": "kill_process errno user_notif allow\n",
}
NAMESPACES = ("pid", "mnt", "net", "ipc", "uts", "cgroup", "user")


def write(top: Path, name: str, text: str = "") -> None:
    path = top / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    """A host that lacks nothing."""
    proc, root = tmp_path / "proc", tmp_path / "cgroup"
    for name, text in PROC.items():
        write(proc, name, text)
    for name in NAMESPACES:
        write(proc, f"self/ns/{name}")
        write(proc, f"sys/user/max_{name}_namespaces", "1000\n")
    for name in (*FILES, "io.bfq.weight"):
        write(root, name)
    write(tmp_path, "sys/block/sda/queue/scheduler", "none [bfq]\n")
    write(tmp_path, "dev/loop-control")
    return Host(
        cgroup_root=str(root), available=ALL, state_dir=str(tmp_path), proc=str(proc),
        landlock=lambda: Feature("landlock", "enforced"),
        device_filter=lambda: Feature("device-filter", "enforced"),
        private_networks=lambda: None, sysfs=str(tmp_path / "sys"), dev=str(tmp_path / "dev"),
        modules=str(tmp_path / "modules"),
    )  # fmt: skip


def finding(host: Host, name: str) -> Feature:
    (found,) = (feature for feature in features(host) if feature.name == name)
    return found


def test_a_host_that_lacks_nothing_enforces_everything(host: Host) -> None:
    found = features(host)
    assert {feature.status for feature in found} == {"enforced"}
    assert len({feature.name for feature in found}) == len(found)


def test_a_state_directory_without_room_is_said_to_have_none(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert finding(host, "state-dir-room").status == "enforced"
    monkeypatch.setattr(probing, "_LEAST_ROOM", 2**62)
    feature = finding(host, "state-dir-room")
    assert feature.status == "unavailable"
    assert "bytes are free" in str(feature.why)
    missing = finding(host._replace(state_dir="/nowhere"), "state-dir-room")
    assert missing.why == "/nowhere: No such file or directory"


@pytest.mark.parametrize("name", FILES[1:])
def test_a_file_that_this_kernel_lacks_is_named(host: Host, name: str) -> None:
    (Path(host.cgroup_root) / name).unlink()
    feature = finding(host, name)
    assert feature.status == "unavailable"
    assert feature.why == f"this kernel has no {name}"
    assert feature.remedy is not None


def test_a_limit_whose_controller_is_on_v1_says_so(host: Host) -> None:
    mounts = mountinfo.parse("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory")
    hybrid = host._replace(available=ALL - {"memory"}, mounts=tuple(mounts))
    feature = finding(hybrid, "memory.max")
    assert feature.status == "unavailable"
    assert feature.why is not None
    assert "v1" in feature.why


def test_files_are_found_in_a_child_when_the_root_is_the_top(host: Host) -> None:
    root = Path(host.cgroup_root)
    for name in FILES:
        (root / name).unlink()
        write(root, f"daemon/{name}")
    assert finding(host, "memory.peak").status == "enforced"
    (root / "daemon/memory.peak").unlink()
    assert finding(host, "memory.peak").status == "unavailable"


@pytest.mark.parametrize(
    ("name", "file"),
    [("pid", "pid"), ("mount", "mnt"), ("network", "net"), ("ipc", "ipc"), ("uts", "uts"),
     ("cgroup", "cgroup"), ("user", "user")],
)  # fmt: skip
def test_namespaces_may_be_absent_or_forbidden(host: Host, name: str, file: str) -> None:
    sysctl = f"sys/user/max_{file}_namespaces"
    write(Path(host.proc), sysctl, "0\n")
    feature = finding(host, f"{name}-namespace")
    assert feature.why == f"/proc/{sysctl} is 0"
    (Path(host.proc) / f"self/ns/{file}").unlink()
    assert finding(host, f"{name}-namespace").why == f"this kernel has no {name} namespaces"


def test_weights_of_disks_are_enforced_where_a_disk_heeds_them(host: Host) -> None:
    assert finding(host, "io.weight").why == "by BFQ on sda; by no other disk"
    write(Path(host.sysfs), "block/sda/queue/scheduler", "[none] bfq\n")
    feature = finding(host, "io.weight")
    assert feature.status == "unavailable"
    assert "no disk has the scheduler BFQ" in str(feature.why)
    assert "echo bfq" in str(feature.remedy)
    without = finding(host._replace(available=ALL - {"io"}), "io.weight")
    assert "io controller" in str(without.why)


@pytest.mark.parametrize("name", ["overlay", "squashfs"])
def test_a_file_system_is_there_when_its_module_can_be_loaded(host: Host, name: str) -> None:
    write(Path(host.proc), "filesystems", "nodev\tproc\n")
    assert finding(host, name).status == "unavailable"
    write(Path(host.modules), "6.1.0-test/modules.dep", f"kernel/fs/{name}/{name}.ko.xz:\n")
    assert finding(host, name).status == "enforced"
    write(Path(host.proc), "sys/kernel/modules_disabled", "1\n")
    assert finding(host, name).remedy is not None


def test_loop_devices_need_their_control(host: Host) -> None:
    (Path(host.dev) / "loop-control").unlink()
    assert finding(host, "loop").status == "unavailable"


@pytest.mark.parametrize(
    ("release", "status"),
    [("5.11.0", "unavailable"), ("4.19", "unavailable"), ("", "unavailable"),
     ("5.12.1-x", "enforced"), ("7.2.12-lane", "enforced")],
)  # fmt: skip
def test_mounts_are_mapped_from_5_12_on(host: Host, release: str, status: str) -> None:
    write(Path(host.proc), "sys/kernel/osrelease", release + "\n")
    assert finding(host, "idmapped-mounts").status == status


def test_seccomp_is_there_without_notification_before_5_0(host: Host) -> None:
    actions = "sys/kernel/seccomp/actions_avail"
    write(Path(host.proc), actions, "kill_process errno allow\n")
    assert finding(host, "seccomp").status == "enforced"
    assert finding(host, "seccomp-notification").status == "unavailable"
    (Path(host.proc) / actions).unlink()
    assert finding(host, "seccomp").status == "unavailable"


def test_a_private_network_that_cannot_be_made_says_why_and_what_to_do(host: Host) -> None:
    feature = finding(
        host._replace(private_networks=lambda: ("no nft", "get nft")), "private-network"
    )
    assert feature == ("private-network", "unavailable", "no nft", "get nft")
    unasked = features(host._replace(private_networks=None))
    assert "private-network" not in {feature.name for feature in unasked}


@pytest.mark.parametrize(("version", "status"), [(0, "unavailable"), (7, "enforced")])
def test_landlock_is_shown_with_its_version(
    monkeypatch: pytest.MonkeyPatch, version: int, status: str
) -> None:
    monkeypatch.setattr("isolation.landlock.abi", lambda: version)
    feature = probing._landlock()
    assert (feature.name, feature.status) == ("landlock", status)
    assert str(version or "lsm=") in f"{feature.why} {feature.remedy}"


@pytest.mark.parametrize("why", [None, "Operation not permitted"])
def test_a_device_filter_that_cannot_be_loaded_says_why(
    monkeypatch: pytest.MonkeyPatch, why: str | None
) -> None:
    monkeypatch.setattr("isolation.device_filter.available", lambda: why)
    feature = probing._device_filter()
    assert (feature.status == "enforced", feature.why) == (why is None, why)


def test_a_kernel_without_pressure_says_so(host: Host) -> None:
    (Path(host.proc) / "pressure/memory").unlink()
    assert finding(host, "pressure").status == "unavailable"


def test_too_few_inotify_instances_are_shown_with_the_number(host: Host) -> None:
    write(Path(host.proc), "sys/fs/inotify/max_user_instances", "2\n")
    feature = finding(host, "inotify")
    assert feature.why == "/proc/sys/fs/inotify/max_user_instances is 2, fewer than 16"
    assert feature.remedy == "sysctl fs.inotify.max_user_instances=16"


def test_swap_that_cannot_be_limited_is_a_hole_in_the_memory_limit(host: Host) -> None:
    write(Path(host.proc), "swaps", PROC["swaps"] + "/dev/zram0 partition 1024 0 -2\n")
    assert finding(host, "swap-limit").status == "enforced"
    (Path(host.cgroup_root) / "memory.swap.max").unlink()
    assert finding(host, "swap-limit").status == "unavailable"


def test_a_state_directory_in_memory_is_reported(host: Host) -> None:
    (mount,) = mountinfo.parse("9 1 0:9 / /var/lib/runnerd rw - tmpfs tmpfs rw")
    feature = finding(host._replace(state_mount=mount), "state-dir")
    assert feature.status == "unavailable"
    assert feature.why is not None
    assert "cannot be reclaimed" in feature.why


def test_this_host_can_be_probed_without_any_right(tmp_path: Path) -> None:
    found = probe(str(tmp_path / "no-cgroup"), (), str(tmp_path))
    limits = [feature for feature in found if feature.name.endswith(".max")]
    assert all(feature.status == "unavailable" and feature.remedy for feature in limits)
