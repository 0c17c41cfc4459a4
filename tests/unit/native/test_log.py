"""The log in C beside the one in Python: the same calls leave the same files, or fail the same."""

from __future__ import annotations

import errno
import os
import resource
import stat
import struct
import tempfile
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runner.logs import writer as writer_module
from runner.logs.format import index_name, log_name
from runner.logs.writer import SegmentWriter
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_QUESTION: Final = struct.Struct("<c7Q")
_ALL: Final = 2**62
_NO_LIMIT: Final = 2**64 - 1


class Fault(NamedTuple):
    """System calls `first` to `first + lasts - 1` fail; error 0: a write is cut short."""

    first: int = 0
    lasts: int = 0
    error: int = 0


class Call(NamedTuple):
    """One call of the log: begin, append, skip, retain or close, by its first letter.

    `u` begins it unsynced.
    """

    kind: str
    numbers: tuple[int, int, int] = (0, 0, 0)
    fault: Fault = Fault()
    room: int = _NO_LIMIT


class Plant(NamedTuple):
    """Something comes into the place of the next segment's index or data, or the first's goes."""

    what: str
    is_index: bool


class Answer(NamedTuple):
    """What a call gave: an errno or 0, and the totals after it."""

    error: int
    total: int
    dropped: int


class Faults:
    """Makes system calls of the Python writer fail, counted as log_driver.c counts them."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._calls = 0
        self._fault: Fault | None = None
        for name in ("open", "unlink", "fchmod", "ftruncate"):
            patch.setattr(os, name, self._failing(getattr(os, name)))
        for name in ("fsync", "fdatasync"):
            patch.setattr(os, name, self._failing(lambda _fd: None))
        patch.setattr(writer_module, "sync_file_system", self._failing(lambda _fd: None))
        self._pwrite = os.pwrite
        patch.setattr(os, "pwrite", self._short_or_failing_pwrite)

    @contextmanager
    def during(self, fault: Fault) -> Iterator[None]:
        """Within this the fault is to come."""
        self._calls, self._fault = 0, fault
        try:
            yield
        finally:
            self._fault = None

    def _is_due(self) -> bool:
        fault = self._fault
        if fault is None:
            return False
        self._calls += 1
        return 0 < fault.first <= self._calls < fault.first + fault.lasts

    def _failing(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            if self._is_due() and self._fault and self._fault.error:
                raise OSError(self._fault.error, os.strerror(self._fault.error))
            return real(*args, **options)

        return call

    def _short_or_failing_pwrite(self, fd: int, data: Any, position: int) -> int:
        is_due = self._is_due()
        if is_due and self._fault and self._fault.error:
            raise OSError(self._fault.error, os.strerror(self._fault.error))
        return self._pwrite(fd, data[: (len(data) + 1) // 2] if is_due else data, position)


class PythonLog:
    """The original."""

    def __init__(self, path: str, faults: Faults) -> None:
        self.path = path
        self._faults = faults
        self._dir_fd = os.open(path, os.O_RDONLY)
        self._writer: SegmentWriter | None = None

    def close(self) -> None:
        """Whatever became of it."""
        if self._writer is not None:
            self._writer.close()
        os.close(self._dir_fd)

    def call(self, call: Call) -> Answer:
        """Do it."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        error = 0
        try:
            if call.room != _NO_LIMIT:
                resource.setrlimit(resource.RLIMIT_FSIZE, (call.room, before[1]))
            with self._faults.during(call.fault):
                self._do(call.kind, *call.numbers)
        except FileExistsError:
            error = errno.EEXIST
        except ValueError:
            error = errno.EINVAL
        except OSError as failed:
            error = failed.errno or -1
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        if self._writer is None:
            return Answer(error, 0, 0)
        return Answer(error, self._writer.total_bytes, self._writer.dropped_bytes)

    def _do(self, kind: str, a: int, b: int, c: int) -> None:
        if kind in "bu":
            self._writer = SegmentWriter(
                self._dir_fd,
                segment_bytes=a,
                keep_bytes=b,
                keep_segments=c,
                sync_begin=kind == "b",
            )
            return
        assert self._writer is not None
        if kind == "a":
            self._writer.append(a, bytes((7 * each + c) % 256 for each in range(b)), c)
        elif kind == "s":
            self._writer.skip(a)
        elif kind == "r":
            self._writer.retain(segment_bytes=a, keep_bytes=b, keep_segments=c)
        else:
            self._writer.close()


class NativeLog:
    """The one in C."""

    def __init__(self, path: str, driver: Driver) -> None:
        self.path = path
        self._driver = driver
        self._ask(Call("d"), os.fsencode(path))

    def call(self, call: Call) -> Answer:
        """Do it."""
        answer = self._ask(call)
        if call.kind in "bu" and answer.error:
            return answer._replace(total=0, dropped=0)
        # log_retain has no answer: what is refused changes nothing, which is seen later.
        if call.kind == "r" and (min(call.numbers[:2]) < 1 or call.numbers[2] < 2):
            return answer._replace(error=errno.EINVAL)
        return answer

    def descriptors(self) -> int:
        """How many the driver has open."""
        return int(self._driver.ask(_QUESTION.pack(b"n", *[0] * 7)))

    def _ask(self, call: Call, path: bytes = b"") -> Answer:
        head = _QUESTION.pack(call.kind.encode(), *call.fault, call.room, *call.numbers)
        return Answer(*map(int, self._driver.ask(head + path).split()))


def files(path: str) -> dict[str, tuple[int, bytes]]:
    """Names, modes and contents of a directory."""
    found = {}
    for entry in os.scandir(path):
        mode = entry.stat(follow_symlinks=False).st_mode
        content = b""
        if stat.S_ISREG(mode):
            with open(entry.path, "rb") as file:
                content = file.read()
        found[entry.name] = (mode, content)
    return found


def plant(path: str, thing: Plant, start: int) -> None:
    """Put it there, unless something is there already."""
    if thing.what == "lost":
        os.unlink(f"{path}/{(index_name if thing.is_index else log_name)(0)}")
        return
    name = f"{path}/{(index_name if thing.is_index else log_name)(start)}"
    if os.path.lexists(name):
        return
    if thing.what == "directory":
        os.mkdir(name)
    elif thing.what == "fifo":
        os.mkfifo(name)
    elif thing.what == "link":
        os.symlink("/dev/full", name)
    else:
        with open(name, "wb") as file:
            file.write(b"" if thing.what == "empty" else b"mine")


def compare(
    driver: Driver, faults: Faults, begin: Call, rest: Sequence[Call | Plant]
) -> list[Answer]:
    """Both do the same and are the same after each step. What they answered."""
    answers: list[Answer] = []
    with ExitStack() as cleanup:
        paths = [cleanup.enter_context(tempfile.TemporaryDirectory()) for _ in range(2)]
        python = PythonLog(paths[0], faults)
        cleanup.callback(python.close)
        native = NativeLog(paths[1], driver)
        descriptors = native.descriptors()
        for step in (begin, *rest, Call("c"), Call("c")):
            if isinstance(step, Plant):
                for path in paths:
                    plant(path, step, answers[-1].total)
                continue
            answers.append(python.call(step))
            assert native.call(step) == answers[-1], step
            assert files(paths[1]) == files(paths[0]), step
            if step.kind in "bu" and answers[-1].error:
                break
        assert native.descriptors() == descriptors
    return answers


@pytest.fixture(scope="module")
def faults() -> Iterator[Faults]:
    with pytest.MonkeyPatch.context() as patch:
        yield Faults(patch)


@pytest.fixture(scope="module")
def log(driver: Callable[..., str]) -> Iterator[Driver]:
    with Driver(driver("log")) as process:
        yield process


@pytest.fixture(scope="module")
def small_log(driver: Callable[..., str]) -> Iterator[Driver]:
    """With MOST_SEGMENTS 64, the Python one as well."""
    with pytest.MonkeyPatch.context() as patch, Driver(driver("log_small")) as process:
        patch.setattr(writer_module, "MOST_SEGMENTS", 64)
        patch.setattr(writer_module, "_SEGMENTS_OF_A_SIZE", 8)
        yield process


sizes = st.tuples(
    st.integers(0, 400) | st.just(2**40),
    st.integers(0, 2000) | st.just(_ALL),
    st.integers(1, 12) | st.just(_ALL),
)
no_fault = st.just(Fault())
some_fault = st.builds(
    Fault,
    st.integers(1, 8),
    st.integers(1, 4),
    st.sampled_from([0, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EMFILE, errno.ENOENT]),
)
rooms = st.just(_NO_LIMIT) | st.integers(0, 600)
whatever_fails = no_fault | some_fault


def calls(kind: str, numbers: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[Call]:
    """Calls of one kind that may fail."""
    return st.builds(Call, st.just(kind), numbers, whatever_fails, rooms)


def sure_calls(kind: str, numbers: st.SearchStrategy[tuple[int, ...]]) -> st.SearchStrategy[Call]:
    """Calls that find no fault."""
    return numbers.map(lambda each: Call(kind, (each[0], each[1], each[2])))


appends = calls(
    "a", st.tuples(st.sampled_from([1, 2, 1, 2, 0, 3]), st.integers(0, 300), st.integers(0, 2**63))
)
skips = sure_calls("s", st.tuples(st.integers(0, 2**40), st.just(0), st.just(0)))
retains = sure_calls("r", sizes)
plants = st.builds(
    Plant, st.sampled_from(["empty", "full", "directory", "fifo", "link"]), st.booleans()
)
steps = st.lists(appends | appends | appends | skips | retains | plants, max_size=40)
good_sizes = st.tuples(
    st.integers(1, 400), st.integers(1, 2000) | st.just(_ALL), st.integers(2, 12) | st.just(_ALL)
)
good_begins = sure_calls("b", good_sizes) | sure_calls("u", good_sizes)
begins = calls("b", sizes) | calls("u", sizes) | good_begins


@settings(max_examples=120, deadline=None)
@given(begin=begins, rest=steps)
def test_whatever_is_called_and_fails_both_leave_the_same_files(
    log: Driver, faults: Faults, begin: Call, rest: Sequence[Call | Plant]
) -> None:
    compare(log, faults, begin, rest)


@settings(max_examples=40, deadline=None)
@given(begin=good_begins, rest=steps, fault=some_fault)
def test_whatever_fails_at_the_end_both_say_the_same(
    log: Driver, faults: Faults, begin: Call, rest: Sequence[Call | Plant], fault: Fault
) -> None:
    compare(log, faults, begin, [*rest, Call("c", fault=fault)])


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, 0])
@pytest.mark.parametrize("first", range(1, 12))
@pytest.mark.parametrize("count", [1, 2, 9])
def test_an_append_that_fails_at_any_point_leaves_the_log_as_it_was(
    log: Driver, faults: Faults, *, first: int, count: int, error: int
) -> None:
    """This one removes a segment, ends one, begins one and writes; and can be tried again."""
    before = [Call("a", (1, 50, number)) for number in range(3)]
    failing = Call("a", (2, 50, 9), Fault(first, count, error))
    again = Call("a", (2, 50, 9))
    begin = Call("b", (60, 200, 3))
    answers = compare(log, faults, begin, [*before, failing, again])
    assert answers[4] in {Answer(error, 150, 0), Answer(0, 200, 0)}
    assert answers[5].total == answers[4].total + 50


@pytest.mark.parametrize("is_index", [True, False])
@pytest.mark.parametrize("what", ["empty", "full", "directory", "fifo", "link"])
def test_what_lies_in_the_way_of_a_segment_is_taken_up_when_it_is_an_empty_file(
    log: Driver, faults: Faults, *, what: str, is_index: bool
) -> None:
    append = Call("a", (1, 50, 1))
    begin = Call("b", (10, _ALL, _ALL))
    answers = compare(log, faults, begin, [append, Plant(what, is_index), append])
    assert (answers[2].error == 0) == (what == "empty")


@pytest.mark.parametrize("keep_bytes", range(145, 151))
def test_as_much_is_kept_to_the_byte(log: Driver, faults: Faults, keep_bytes: int) -> None:
    appends = [Call("a", (1, 50, number)) for number in range(6)]
    for segment_bytes in range(73, 76):
        compare(log, faults, Call("b", (segment_bytes, keep_bytes, _ALL)), appends)


@pytest.mark.parametrize("first", range(1, 8))
def test_what_is_empty_is_not_synced(log: Driver, faults: Faults, first: int) -> None:
    """One that a gap ended, and one that nothing came after."""
    begin = Call("b", (1, _ALL, _ALL))
    close = Call("c", fault=Fault(first, 1, errno.EIO))
    assert compare(log, faults, begin, [close])[1].error == 0
    gap = [Call("s", (4, 0, 0)), Call("a", (1, 50, 1))]
    # The data, the index and the names.
    assert (compare(log, faults, begin, [*gap, close])[3].error != 0) == (first <= 3)


@pytest.mark.parametrize("first", range(1, 5))
def test_a_log_that_was_begun_unsynced_is_synced_with_its_names_when_it_holds_anything(
    log: Driver, faults: Faults, first: int
) -> None:
    begin = Call("u", (100, _ALL, _ALL), Fault(3, 1, errno.EIO))
    close = Call("c", fault=Fault(first, 1, errno.EIO))
    # Two files were made, and nothing was synced.
    assert [answer.error for answer in compare(log, faults, begin, [close])] == [0] * 4
    # A gap is in the names alone.
    gap = [Call("s", (4, 0, 0))]
    assert (compare(log, faults, begin, [*gap, close])[2].error != 0) == (first == 1)
    # The data, the index and the names.
    output = [Call("a", (1, 50, 1))]
    assert (compare(log, faults, begin, [*output, close])[2].error != 0) == (first <= 3)


@pytest.mark.parametrize("is_index", [True, False])
@pytest.mark.parametrize("first", range(1, 9))
def test_of_several_failures_at_the_end_the_last_is_told(
    log: Driver, faults: Faults, *, is_index: bool, first: int
) -> None:
    appends = [Call("a", (1, 50, number)) for number in range(2)]
    close = Call("c", fault=Fault(first, 1, errno.EIO))
    answers = compare(
        log, faults, Call("b", (1, _ALL, _ALL)), [*appends, Plant("lost", is_index), close]
    )
    assert answers[3].error in {errno.EIO, errno.ENOENT}


def test_segments_beyond_the_most_that_there_may_be(small_log: Driver, faults: Faults) -> None:
    bytewise = [Call("a", (1, 1, number)) for number in range(200)]
    with_gaps = [each for number in range(120) for each in (Call("s", (3, 0, 0)), bytewise[number])]
    for keep_segments in (_ALL, 64):
        begin = Call("b", (1, _ALL, keep_segments))
        answers = compare(small_log, faults, begin, [*bytewise, *with_gaps])
        assert {answer.error for answer in answers} == {0}
        assert answers[-1].total == 200 + 480


@settings(max_examples=15, deadline=None)
@given(begin=good_begins, rest=st.lists(skips | appends | retains, min_size=80, max_size=200))
def test_many_segments_are_the_same_too(
    small_log: Driver, faults: Faults, begin: Call, rest: Sequence[Call | Plant]
) -> None:
    compare(small_log, faults, begin, rest)


def test_a_log_that_was_begun_is_not_begun_again(log: Driver, faults: Faults) -> None:
    with tempfile.TemporaryDirectory() as path:
        with open(f"{path}/.hidden", "wb"):
            pass
        for one in (PythonLog(path, faults), NativeLog(path, log)):
            assert one.call(Call("b", (1, 1, 2))).error == errno.EEXIST
            if isinstance(one, PythonLog):
                one.close()
        assert os.listdir(path) == [".hidden"]
