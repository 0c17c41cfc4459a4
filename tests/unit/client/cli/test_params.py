"""What the options are made of: parts, signals, rlimits, ports."""

from __future__ import annotations

import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.cli import params

if TYPE_CHECKING:
    from collections.abc import Callable


def read(kind: Any, text: str) -> Any:
    return kind.convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a", ["a"]),
        ("a:b:c", ["a", "b", "c"]),
        (r"a\:b:c", ["a:b", "c"]),
        (r"a\\:b", ["a\\", "b"]),
        (r"a\nb", [r"a\nb"]),
        ("a\\", ["a\\"]),
        ("", [""]),
        (":", ["", ""]),
    ],
)
def test_a_backslash_makes_a_colon_a_part_of_the_name(text: str, found: list[str]) -> None:
    assert params.parts(text, ":") == found


@given(st.lists(st.text(alphabet="a:\\/,", max_size=6), min_size=1, max_size=4))
def test_any_names_can_be_written(names: list[str]) -> None:
    text = ":".join(name.replace("\\", r"\\").replace(":", r"\:") for name in names)
    assert params.parts(text, ":") == names


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("/a", ("/a", None, False)),
        ("/a:/b", ("/a", "/b", False)),
        ("/a:ro", ("/a", None, True)),
        ("/a:/b:ro", ("/a", "/b", True)),
        ("/a:/b:rw", ("/a", "/b", False)),
        (r"/a\:b:/c", ("/a:b", "/c", False)),
        ("ro", ("ro", None, False)),
    ],
)
def test_a_bind_is_a_source_a_target_and_a_word(text: str, found: object) -> None:
    assert read(params.BIND, text) == found


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("nofile=1024", ("nofile", [1024, 1024])),
        ("nofile=1024:4096", ("nofile", [1024, 4096])),
        ("RLIMIT_CORE=0", ("core", [0, 0])),
        ("stack=64M:unlimited", ("stack", [64 * 1024 * 1024, None])),
        ("cpu=unlimited", ("cpu", [None, None])),
    ],
)
def test_an_rlimit_is_a_name_and_two_bounds(text: str, found: object) -> None:
    assert read(params.RLIMIT, text) == found


@pytest.mark.parametrize(
    ("text", "number"),
    [("USR1", 10), ("SIGUSR1", 10), ("sigterm", 15), ("15", 15), ("RTMIN", 34),
     ("RTMIN+3", 37), ("SIGRTMAX-1", 63), ("64", 64)],
)  # fmt: skip
def test_a_signal_has_a_number_or_a_name(text: str, number: int) -> None:
    assert params.signal_number(text) == number
    assert read(params.WARNING, f"1m:{text}") == (60.0, number)


@given(st.text(max_size=12))
def test_any_text_is_a_signal_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert 1 <= params.signal_number(text) <= signal.SIGRTMAX


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("8080:80", (None, 8080, 80, "tcp")),
        ("127.0.0.1:8080:80/tcp", ("127.0.0.1", 8080, 80, "tcp")),
        ("53:5353/udp", (None, 53, 5353, "udp")),
    ],
)
def test_a_published_port_is_two_numbers(text: str, found: object) -> None:
    assert read(params.PUBLISH, text) == found


def test_none_lifts_only_where_limits_are_changed() -> None:
    assert read(params.Liftable(params.SIZE), "none") is params.LIFT
    assert read(params.Liftable(params.SIZE), "1K") == 1024
    with pytest.raises(click.BadParameter):
        read(params.SIZE, "none")


WRONG = {
    "PATH_RATE": ["", "10M", ":10M", "/srv", "/srv:", "/srv:x", "/srv:-1"],
    "PATH_COUNT": ["", "/srv", "/srv:", "/srv:1.5", "/srv:10M", ":5", "/srv:" + "9" * 30],
    "RLIMIT": ["", "nofile", "nofile=", "=5", "nofile=5:", "nofile=:5", "nofile=x", "cpu=1M",
               "nofile=1:2:3", "stack=64Q"],
    "WARNING": ["", ":USR1", "30s:", "30s:NOPE", "30s:0", "30s:65", "30s:USR1+1", "x:USR1",
                "30s:RTMIN+99", "30s:-9", "30s:\u0661"],
    "BIND": ["", ":", "/a:", ":/b", "/a:/b:/c", "/a:/b:/c:ro", "/a::ro"],
    "TMPFS": ["", "/t:", ":1M", "/t:x", "/t:1M:2M"],
    "ITEMS": ["", ",", "a,,b", "a,", " "],
    "SECRET": ["", "a", "a=", "=b"],
    "PUBLISH": ["", "80", "80:", ":80", "80:80/sctp", "a:b", "1:2:3:4", "80-90:80", "-1:80",
                "[::1]:80:80", "123456:1", "80:80\n"],
    "BITS": ["", "10", "10M", "x"],
    "INTEGER": ["", "1.5", "x", "1e3", "+1", " 1", "9" * 30],
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "text"), [(k, text) for k, all_ in WRONG.items() for text in all_]
)
def test_what_cannot_be_read_is_refused_with_what_is_allowed(kind: str, text: str) -> None:
    with pytest.raises(click.BadParameter, match=r"given.*allowed") as caught:
        read(getattr(params, kind), text)
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("kind", list(WRONG))
@given(text=st.text(max_size=20))
def test_any_text_is_read_or_refused(kind: str, text: str) -> None:
    convert: Callable[..., Any] = getattr(params, kind).convert
    with suppress(click.BadParameter):
        convert(text, None, None)
