"""The device filter's program, run by a machine of seven instructions."""

from __future__ import annotations

import os
import stat
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from isolation import device_filter
from isolation.device_filter import DEFAULT_DEVICES, Device, device_of
from isolation.syscalls import bpf

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MKNOD, READ, WRITE = 1, 2, 4


def decide(devices: Sequence[Device], kind: str, major: int, minor: int, access: int) -> int:
    """What the program returns for an access, as the kernel would run it."""
    program = device_filter.assemble(devices)
    context = struct.pack("=III", access << 16 | {"b": 1, "c": 2}[kind], major, minor)
    registers, place = [0] * 11, 0
    while True:
        code, both, offset, value = struct.unpack_from("=BBhi", program, place * 8)
        target, source = both & 15, both >> 4
        place += 1
        if code == 0x95:
            return registers[0]
        if code == 0x61:
            (registers[target],) = struct.unpack_from("=I", context, offset)
        elif code == 0xBF:
            registers[target] = registers[source]
        elif code == 0xB7:
            registers[target] = value
        elif code == 0x57:
            registers[target] &= value
        elif code == 0x77:
            registers[target] >>= value
        elif code == 0x55:
            place += offset if registers[target] != value else 0
        else:
            raise AssertionError(hex(code))


devices = st.builds(
    Device,
    st.sampled_from("bc"),
    st.integers(0, 5),
    st.one_of(st.none(), st.integers(0, 3)),
    st.sets(st.sampled_from("rwm")).map("".join),
)


@given(
    st.lists(devices, max_size=6), st.sampled_from("bc"), st.integers(0, 6), st.integers(0, 4),
    st.integers(1, 7),
)  # fmt: skip
def test_an_access_is_allowed_when_one_device_allows_all_of_it(
    allowed: list[Device], kind: str, major: int, minor: int, access: int
) -> None:
    bits = {"m": MKNOD, "r": READ, "w": WRITE}
    fits = any(
        (device.kind, device.major) == (kind, major)
        and device.minor in {None, minor}
        and access & ~sum(bits[letter] for letter in device.access) == 0
        for device in allowed
    )
    assert decide(allowed, kind, major, minor, access) == int(fits)


def test_the_usual_devices_may_be_read_written_and_made() -> None:
    """Made, because the payload builds the job's /dev when it is already in its cgroup."""
    for major, minor in ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2)):
        assert decide(DEFAULT_DEVICES, "c", major, minor, READ | WRITE) == 1
        assert decide(DEFAULT_DEVICES, "c", major, minor, MKNOD) == 1
        assert decide(DEFAULT_DEVICES, "b", major, minor, READ) == 0


def test_terminals_may_be_used_and_not_made() -> None:
    for major, minor in ((136, 0), (143, 255)):
        assert decide(DEFAULT_DEVICES, "c", major, minor, READ | WRITE) == 1
        assert decide(DEFAULT_DEVICES, "c", major, minor, MKNOD) == 0


def test_memory_disks_and_consoles_are_not_among_them() -> None:
    for major, minor in ((1, 1), (1, 2), (1, 11), (5, 1), (10, 229), (4, 0), (144, 0), (135, 0)):
        assert decide(DEFAULT_DEVICES, "c", major, minor, READ) == 0
        assert decide(DEFAULT_DEVICES, "c", major, minor, MKNOD) == 0
    for major in (7, 8, 253, 259):
        assert decide(DEFAULT_DEVICES, "b", major, 0, READ) == 0


def test_a_device_is_known_by_its_node() -> None:
    assert device_of(os.stat("/dev/null")) == Device("c", 1, 3, "rw")
    disk = os.stat_result((stat.S_IFBLK | 0o660, *(0,) * 9), {"st_rdev": os.makedev(8, 17)})
    assert device_of(disk, "r") == Device("b", 8, 17, "r")
    with pytest.raises(ValueError, match="not a device node"):
        device_of(os.stat("/dev"))


@pytest.mark.parametrize("wrong", [Device("x", 1, 1), Device("c", 1, 1, "rx")])
def test_another_kind_or_access_is_refused(wrong: Device) -> None:
    with pytest.raises(ValueError, match="is no kind and no access"):
        device_filter.assemble([wrong])


class FakeKernel:
    """Descriptors for programs, or an errno."""

    def __init__(self, errno: int = 0) -> None:
        self.errno = errno
        self.loads = 0

    def prog_load(self, _program: bytes, _kind: int, _name: str) -> int:
        self.loads += 1
        if self.errno:
            raise OSError(self.errno, os.strerror(self.errno))
        return os.open("/dev/null", os.O_RDONLY)


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    """Each test begins, and ends, with no program loaded."""
    forget_program()
    yield
    forget_program()


def forget_program() -> None:
    """The daemon keeps it to its end."""
    while device_filter._kept:
        os.close(device_filter._kept.pop())


def test_the_usual_program_is_loaded_once_and_no_other_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kernel = FakeKernel()
    monkeypatch.setattr(bpf, "prog_load", kernel.prog_load)
    monkeypatch.setattr(bpf, "prog_attach", lambda *_: None)
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        device_filter.attach(0)
    assert kernel.loads == 1
    for minor in range(60):
        device_filter.attach(0, [Device("b", 8, minor)])
    assert len(os.listdir("/proc/self/fd")) == before + 1
    forget_program()
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize(
    ("errno", "why"),
    [(1, "lacks CAP_BPF"), (22, "CONFIG_CGROUP_BPF"), (38, "CONFIG_BPF_SYSCALL"), (7, "too long")],
)
def test_where_it_cannot_be_had_the_reason_is_said(
    monkeypatch: pytest.MonkeyPatch, errno: int, why: str
) -> None:
    monkeypatch.setattr(bpf, "prog_load", FakeKernel(errno).prog_load)
    assert why in str(device_filter.available())
    with pytest.raises(OSError, match=why):
        device_filter.attach(0)
