"""The native payload's words and its search for the command: those of the Python one."""

from __future__ import annotations

import os
import re
from itertools import permutations
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from isolation import rlimits
from isolation.payload import Command, _exec, report_of
from tests.unit.native.frames import Driver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

NATIVE = Path(__file__).parents[3] / "runner" / "native"
PARTS = ("command", "credentials", "failure", "places", "rlimits")
UNLIMITED = 2**64 - 1

texts = st.binary(max_size=700).map(lambda text: text.replace(b"\0", b"."))


@pytest.fixture(scope="module")
def payload(driver: Callable[..., str]) -> Iterator[Driver]:
    with Driver(driver("payload", *PARTS)) as process:
        yield process


def asked(payload: Driver, kind: bytes, words: Sequence[bytes]) -> bytes:
    return payload.ask(kind + b"".join(word + b"\0" for word in words))


@given(st.text("abc '", min_size=1, max_size=40), st.integers(1, 133), texts, texts)
@example("step", 2, b"\xc3\xa9" * 100 + b"\xc3\xa9", b"no")
@example("step", 2, b"x" * 200, b"y" * 600)
@example("step", 2, b"x" * 201, b"")
def test_a_report_is_that_of_python_byte_by_byte(
    payload: Driver, step: str, number: int, path: bytes, why: bytes
) -> None:
    said = asked(payload, b"r", [step.encode(), b"%d" % number, path, why])
    text = why.decode("utf-8", "surrogateescape")
    assert said == report_of(step, OSError(number, text, path))


# The search


def in_child(action: Callable[[], object]) -> bytes:
    """What a child reports that it could not do; or its exit status, as the driver says it."""
    read, write = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            os.dup2(os.open(os.devnull, os.O_RDWR), 1)
            action()
            os._exit(0)
        except BaseException as error:  # noqa: BLE001 - as in the payload
            os.write(write, report_of("it", error))
        finally:
            os._exit(1)
    os.close(write)
    report = os.read(read, 4096)
    os.close(read)
    _, status = os.waitpid(pid, 0)
    return report or b"%d" % os.waitstatus_to_exitcode(status)


def executed(path: bytes | None, argv: Sequence[bytes]) -> bytes:
    env = {} if path is None else {b"PATH": path}
    command = Command(list(argv), env, b"/", 0, 0, 0, ())
    # The driver's command has no environment at all, and hears of PATH beside it.
    return in_child(lambda: _exec(command))


def script(place: Path, text: bytes, mode: int = 0o755) -> None:
    place.write_bytes(text)
    place.chmod(mode)


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directories that have commands of one kind each, all by the name `it`."""
    place = tmp_path_factory.mktemp("commands")
    kinds = ("fine", "no-loader", "garbage", "closed", "loop", "dangling", "directory", "empty")
    for kind in (*kinds, "shut"):
        (place / kind).mkdir()
    script(place / "fine" / "it", b"#!/bin/sh\nexit 7\n")
    script(place / "no-loader" / "it", b"#!/no/such/interpreter\n")
    script(place / "garbage" / "it", b"\x7fELF")
    script(place / "closed" / "it", b"#!/bin/sh\nexit 8\n", 0o644)
    (place / "loop" / "it").symlink_to("it")
    (place / "dangling" / "it").symlink_to("nowhere")
    (place / "directory" / "it").mkdir()
    script(place / "shut" / "it", b"#!/bin/sh\nexit 9\n")
    script(place / "file", b"")
    (place / "shut").chmod(0)
    return place


KINDS = (
    "fine", "no-loader", "garbage", "closed", "loop", "dangling", "directory", "empty", "shut",
    "file", "no/such", "fine/", "fine/it/x", "x" * 300, "y/" * 2500,
)  # fmt: skip
entries = st.lists(st.sampled_from((*KINDS, "", "/tmp", "/run/user")), max_size=6)


def path_of(commands: Path, chosen: Sequence[str]) -> bytes:
    return os.fsencode(
        ":".join(f"{commands}/{kind}" if kind and kind[0] != "/" else kind for kind in chosen)
    )


@given(entries)
@example([])
def test_a_command_is_looked_for_in_path_with_the_same_result(
    payload: Driver, commands: Path, chosen: list[str]
) -> None:
    path = path_of(commands, chosen)
    assert asked(payload, b"x", [b"=" + path, b"it", b"1"]) == executed(path, [b"it", b"1"])


@pytest.mark.parametrize("first", KINDS)
def test_whatever_comes_before_it_the_right_one_is_found_or_the_same_is_said(
    payload: Driver, commands: Path, first: str
) -> None:
    for chosen in permutations((first, "fine", "closed")):
        path = path_of(commands, chosen)
        assert asked(payload, b"x", [b"=" + path, b"it"]) == executed(path, [b"it"])


@pytest.mark.parametrize("name", [b"true", b"false", b"no-such-command", b"", b"\xff", b"x" * 300])
@pytest.mark.parametrize("path", [None, b"", b"/usr/bin", b"/usr/bin/:/bin", b":"])
def test_names_are_looked_for_in_the_usual_places(
    payload: Driver, path: bytes | None, name: bytes
) -> None:
    said = asked(payload, b"x", [b"" if path is None else b"=" + path, name])
    assert said == executed(path, [name])


@pytest.mark.parametrize(
    "name", [b"/tmp/no-such", b"/dev/shm/x/y", b"/run/user/x", b"/no", b"./", b"/" + b"x/" * 3000]
)
def test_a_command_with_a_slash_is_not_looked_for(payload: Driver, name: bytes) -> None:
    assert asked(payload, b"x", [b"=/usr/bin", name]) == executed(b"/usr/bin", [name])


@pytest.mark.parametrize("kind", KINDS)
def test_a_command_named_by_its_path_has_the_same_result(
    payload: Driver, commands: Path, kind: str
) -> None:
    name = os.fsencode(f"{commands}/{kind}/it")
    assert asked(payload, b"x", [b"", name, b"1"]) == executed(None, [name, b"1"])


# Resource limits

values = st.one_of(st.none(), st.integers(0, 2000), st.sampled_from([2**40, 2**62]))


@given(st.sampled_from(sorted(rlimits.NUMBERS)), values, values)
@example("nofile", 2**40, 2**40)
@example("nofile", 10, 5)
@example("nofile", None, 5)
@example("nofile", None, None)
def test_a_resource_limit_is_set_or_refused_in_the_same_words(
    payload: Driver, name: str, soft: int | None, hard: int | None
) -> None:
    numbers = [UNLIMITED if value is None else value for value in (soft, hard)]
    words = [b"%d" % number for number in (rlimits.NUMBERS[name], *numbers)]
    assert asked(payload, b"l", words) == in_child(lambda: rlimits.apply({name: (soft, hard)}))


def test_no_module_but_one_ignores_a_signal_or_knows_how_to() -> None:
    """What is ignored stays so over an exec, and signals_end undoes what signals_begin did."""
    elsewhere = [path for path in NATIVE.glob("*.c") if path.name != "signals.c"]
    assert elsewhere
    for path in elsewhere:
        assert not re.search(r"\bSIG_IGN\b|\bsigaction\s*\(|\bsigignore\b", path.read_text()), path
