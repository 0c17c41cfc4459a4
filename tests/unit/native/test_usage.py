"""What a job used, read in C: the same figures as the Python reader finds in the same files."""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.usage import OutOfMemory, cpu_seconds, out_of_memory, read_usage
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

JOB_FILES = ("cpu.stat", "io.stat", "cpu.pressure", "io.pressure")
PAYLOAD_FILES = (
    "cpu.stat", "memory.events", "pids.events", "memory.peak", "pids.peak", "memory.pressure",
)  # fmt: skip


class Cgroups:
    """Two directories with files as the kernel would show them, and who reads them in C."""

    def __init__(self, path: Path, binary: str) -> None:
        self.job_path, self.payload_path = path, path / "payload"
        self.payload_path.mkdir()
        self.job = os.open(self.job_path, os.O_RDONLY)
        self.payload = os.open(self.payload_path, os.O_RDONLY)
        fds = (self.job, self.payload)
        self.native = Driver(binary, [str(fd) for fd in fds], fds)

    def fill(self, job: Mapping[str, bytes], payload: Mapping[str, bytes]) -> None:
        """Exactly these files."""
        for path, names, files in (
            (self.job_path, JOB_FILES, job),
            (self.payload_path, PAYLOAD_FILES, payload),
        ):
            for name in names:
                (path / name).unlink(missing_ok=True)
            for name, text in files.items():
                (path / name).write_bytes(text)

    def check(self) -> dict[str, int | None]:
        """Ask both, want the same, and give it."""
        figures, cpu, kills, hit = self.native.ask(b"").decode().split()
        packed = bytes.fromhex(figures)
        wanted = read_usage(self.job, self.payload)
        assert msgpack.unpackb(packed) == wanted
        # Their order too.
        assert packed == msgpack.packb(wanted)
        assert float.fromhex(cpu) == cpu_seconds(self.payload)
        assert OutOfMemory(int(kills), hit == "1") == out_of_memory(self.payload)
        return wanted


@pytest.fixture(scope="module")
def cgroups(
    driver: Callable[..., str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Cgroups]:
    binary = driver("usage", "usage", "pack")
    made = Cgroups(tmp_path_factory.mktemp("cgroups"), binary)
    with made.native:
        yield made
    os.close(made.job)
    os.close(made.payload)


# What a file may say: what is looked for, what is not, and what no kernel says.
keys = st.sampled_from(
    ["usage_usec", "user_usec", "system_usec", "throttled_usec", "high", "max", "oom",
     "oom_kill", "oom_group_kill", "oom_kills", "usage", "nr_periods", ""]
)  # fmt: skip
figures = st.integers(0, 2**53).map(str) | st.sampled_from(
    ["0", "1", "2", "max", "", "-1", "1.5", "9x", "x9", "007", "1 2", "\xff"]
)
flat = st.lists(st.tuples(keys, figures).map(" ".join), max_size=8)
pairs = st.tuples(
    st.sampled_from(["rbytes", "wbytes", "rios", "total", "avg10", "rbytes=1", ""]), figures
).map("=".join)
nested = st.lists(
    st.tuples(
        st.sampled_from(["8:0", "some", "full", "rbytes=5", " some", "\tsome"]),
        st.lists(pairs, max_size=5),
    ).map(lambda line: "  ".join([line[0], *line[1]])),
    max_size=4,
)


def file_of(lines: list[str], end: str) -> bytes:
    # No empty line in between: there the Python reader fails, and the kernel has none.
    return ("\n".join(line for line in lines if line.strip()) + end).encode("latin-1")


texts = st.builds(file_of, flat | nested, st.sampled_from(["", "\n", " \n\n"]))
single = figures.map(lambda text: f"{text}\n".encode("latin-1"))


@settings(max_examples=300)
@given(
    st.dictionaries(st.sampled_from(JOB_FILES), texts),
    st.dictionaries(st.sampled_from(PAYLOAD_FILES), texts | single),
)
def test_any_files_give_the_same_figures(
    cgroups: Cgroups, job: dict[str, bytes], payload: dict[str, bytes]
) -> None:
    cgroups.fill(job, payload)
    cgroups.check()


def test_where_there_is_no_file_there_is_no_figure(cgroups: Cgroups) -> None:
    cgroups.fill({}, {})
    assert set(cgroups.check().values()) == {None}


def test_every_figure_is_found(cgroups: Cgroups) -> None:
    pressure = b"some avg10=0.00 avg60=0.00 avg300=0.00 total=%d\nfull avg10=0.00 total=9\n"
    cgroups.fill(
        {
            "cpu.stat": b"usage_usec 1\nuser_usec 2\nsystem_usec 3\nthrottled_usec 4\n",
            "io.stat": b"8:0 rbytes=1 wbytes=2\n8:16 rbytes=10 wbytes=20\n",
            "cpu.pressure": pressure % 5,
            "io.pressure": pressure % 6,
        },
        {
            "cpu.stat": b"usage_usec 2500000\n",
            "memory.events": b"low 0\nhigh 7\nmax 1\noom 1\noom_kill 9\noom_group_kill 1\n",
            "pids.events": b"max 8\n",
            "memory.peak": b"9000\n",
            "pids.peak": b"10\n",
            "memory.pressure": pressure % 11,
        },
    )
    assert list(cgroups.check().values()) == [1, 2, 3, 4, 9000, 7, 8, 10, 8, 11, 22, 5, 11, 6]


def test_a_file_is_read_as_far_as_the_python_reader_reads_it(cgroups: Cgroups) -> None:
    line = b"8:0 rbytes=1 wbytes=2\n"
    cgroups.fill({"io.stat": line * 3000}, {"memory.peak": b"1" * 19 + b"\n"})
    assert cgroups.check()["io_read_bytes"] in range(2900, 3001)


@pytest.mark.parametrize("kills", [(0, 0), (1, 0), (1, 1), (2, 1), (1, 2), (0, 3)])
def test_a_group_kill_counts_its_first_victim_once(
    cgroups: Cgroups, kills: tuple[int, int]
) -> None:
    events = b"oom_kill %d\noom_group_kill %d\n" % kills
    cgroups.fill({}, {"memory.events": events})
    cgroups.check()


def test_writing_puts_the_text_there_and_says_what_fails(cgroups: Cgroups) -> None:
    (cgroups.payload_path / "cgroup.freeze").write_bytes(b"")
    assert int(cgroups.native.ask(b"cgroup.freeze\n1")) == 0
    assert (cgroups.payload_path / "cgroup.freeze").read_bytes() == b"1"
    assert int(cgroups.native.ask(b"cgroup.kill\n1")) == -errno.ENOENT
