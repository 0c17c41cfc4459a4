"""The options for files and privileges: each becomes its field."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_type_hints

import pytest

from client import records
from client.cli.run import OPTIONS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.client.conftest import FakeDaemon

    Runctl = Callable[..., tuple[int, str, str]]
    Submit = Callable[..., dict[str, Any]]

MIB = 1024 * 1024
ASKED: list[tuple[list[str], dict[str, Any]]] = [
    (["--sandbox", "untrusted"], {"preset": "untrusted"}),
    (["--fs", "readonly"], {"filesystem": "readonly"}),
    (["--root", "img"], {"root": "/tmp/img"}),
    (["--fs", "overlay", "--keep-changes", "out"],
     {"filesystem": "overlay", "keep_changes": "/tmp/out"}),
    (["--bind", "a:/b:ro", "--bind", r"/c\:d"],
     {"binds": [{"source": "/tmp/a", "target": "/b", "read_only": True},
                {"source": "/c:d", "target": "/c:d"}]}),
    (["--bind", "data"], {"binds": [{"source": "/tmp/data", "target": "/tmp/data"}]}),
    (["--tmpfs", "/t:1M", "--tmpfs", "/u"],
     {"tmpfs": [{"path": "/t", "size_bytes": MIB}, {"path": "/u"}]}),
    (["--hide", "/root", "--hide", "x"], {"hide": ["/root", "/tmp/x"]}),
    (["--ro", "/usr", "--rw", "."], {"readable": ["/usr"], "writable": ["/tmp/."]}),
    (["--hostname", "h"], {"hostname": "h"}),
    (["--devices", "/dev/fuse:rw,/dev/kvm", "--devices", "all"],
     {"devices": ["/dev/fuse:rw", "/dev/kvm", "all"]}),
    (["--secret", "key=k", "--secret", "b=/etc/b=c"],
     {"secrets": [{"name": "key", "path": "/tmp/k"}, {"name": "b", "path": "/etc/b=c"}]}),
    (["--userns"], {"userns": True}),
    (["--cap-add", "net_raw,CAP_CHOWN", "--cap-add", "KILL"],
     {"capabilities": ["NET_RAW", "CAP_CHOWN", "KILL"]}),
    (["--seccomp", "strict"], {"seccomp": "strict"}),
    (["--seccomp", "my.json"], {"seccomp": "/tmp/my.json"}),
    (["--seccomp", "./strict"], {"seccomp": "/tmp/./strict"}),
    (["--report-denied"], {"report_denied": True}),
]  # fmt: skip


@pytest.mark.parametrize(("typed", "sandbox"), ASKED, ids=lambda item: str(item)[:40])
def test_what_is_typed_is_asked_for_and_nothing_else(
    submit: Submit, monkeypatch: pytest.MonkeyPatch, typed: list[str], sandbox: dict[str, Any]
) -> None:
    monkeypatch.chdir("/tmp")
    assert submit(*typed, "x")["sandbox"] == sandbox


def test_in_a_foreign_tree_relative_places_are_below_its_root(
    submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/tmp")
    asked = submit("--root", "img", "--hide", "x", "--tmpfs", "t", "--bind", "a:b",
                   "--bind", "c", "x")  # fmt: skip
    assert asked["cwd"] == "/"
    assert asked["sandbox"] == {
        "root": "/tmp/img",
        "hide": ["/x"],
        "tmpfs": [{"path": "/t"}],
        "binds": [{"source": "/tmp/a", "target": "/b"}, {"source": "/tmp/c", "target": "/tmp/c"}],
    }
    assert submit("--root", "/img", "--cwd", "src", "x")["cwd"] == "/src"


def test_every_field_can_be_typed_and_has_its_word() -> None:
    fields = set(records.Sandbox.__annotations__)
    assert {name for _, sandbox in ASKED for name in sandbox} == fields
    assert {f"sandbox.{name}" for name in fields} <= set(OPTIONS)
    for name, kind in (("binds", records.Bind), ("tmpfs", records.Tmpfs),
                       ("secrets", records.Secret)):  # fmt: skip
        assert {f"sandbox.{name}.{field}" for field in get_type_hints(kind)} <= set(OPTIONS)


def test_a_path_that_is_not_utf8_travels_as_bytes(submit: Submit) -> None:
    asked = submit("--hide", "/caf\udcff", "--bind", "/a\udcff:/b", "x")["sandbox"]
    assert asked["hide"] == [b"/caf\xff"]
    assert asked["binds"] == [{"source": b"/a\xff", "target": "/b"}]


WRONG = {
    "--fs": ["moon", ""],
    "--root": [""],
    "--keep-changes": [""],
    "--bind": ["", "/a:/b:/c", ":/b"],
    "--tmpfs": ["", "/t:12Q"],
    "--hide": [""],
    "--ro": [""],
    "--rw": [""],
    "--devices": ["", "a,,b"],
    "--secret": ["key", "=k", "key="],
    "--cap-add": [""],
    "--seccomp": [""],
    "--sandbox": ["moon", ""],
}


@pytest.mark.parametrize(
    ("word", "text"), [(w, text) for w, all_ in WRONG.items() for text in all_]
)
def test_what_cannot_be_read_is_refused_by_its_option(
    runctl: Runctl, daemon: FakeDaemon, word: str, text: str
) -> None:
    status, out, err = runctl("run", f"{word}={text}", "x")
    assert (status, out) == (125, "")
    assert f"'{word}'" in err or f"{word}: " in err
    assert not daemon.seen


@pytest.mark.parametrize(
    ("field", "word"),
    [
        ("sandbox.binds[0].source", "--bind"),
        ("sandbox.binds[12]", "--bind"),
        ("sandbox.tmpfs[0].path", "--tmpfs"),
        ("sandbox.secrets[1].name", "--secret"),
        ("sandbox.hide[3]", "--hide"),
        ("sandbox.readable[0]", "--ro"),
        ("sandbox.devices[0]", "--devices"),
        ("sandbox.capabilities[0]", "--cap-add"),
        ("sandbox.preset", "--sandbox"),
        ("group", "--group"),
    ],
)
def test_a_refusal_by_the_daemon_names_the_option(
    daemon: FakeDaemon, runctl: Runctl, field: str, word: str
) -> None:
    daemon.refuse("submit", "not-permitted", field=field, given="x", detail="no")
    assert runctl("run", "-d", "x")[2] == f"runctl: {word}: x given; no\n"
