"""The policy's file: errors with their lines, nobody else's pen, the old one in force meanwhile."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.policy import Bounds
from gateway.policy_file import PolicyError, PolicyFile, _Entry, _Limits, load, parse
from gateway.scope import Scope
from tests.unit.gateway.recording import ALICE

if TYPE_CHECKING:
    from gateway.policy import Binding

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "GATEWAY-POLICY.md"
EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "gateway-policy.toml"
ONE = '[[binding]]\nmatch = "CN=alice"\nuser = "alice"\nroles = ["viewer"]\n'


def bindings(text: str) -> tuple[Binding, ...]:
    return parse(text, "p.toml", Bounds()).bindings


def error(text: str) -> str:
    with pytest.raises(PolicyError) as raised:
        bindings(text)
    return str(raised.value)


def written(path: Path, text: str, mode: int = 0o644) -> str:
    path.write_text(text)
    path.chmod(mode)
    return str(path)


def test_every_key_is_read() -> None:
    (one,) = bindings(
        ONE + 'users = ["ci"]\nverbs = ["stop"]\nnot_verbs = ["logs"]\nqueues = ["ci-*"]\n'
        'names = ["a?"]\n[binding.limits]\nburst = 3\nmax_priority = -5\nrequests_per_second = 1\n'
    )
    assert (one.match, one.user, one.users) == ("CN=alice", "alice", ("ci",))
    assert (one.roles, one.verbs, one.not_verbs) == ({"viewer"}, {"stop"}, {"logs"})
    assert one.scope == Scope(queues=("ci-*",), names=("a?",))
    assert (one.bounds.burst, one.bounds.max_priority) == (3, -5)
    assert one.bounds.streams == Bounds().streams


def test_what_a_binding_leaves_out_is_as_the_gateway_says() -> None:
    found = parse(ONE + "limits = {burst = 3}", "p", Bounds(streams=7, burst=9)).bindings[0]
    assert (found.bounds.streams, found.bounds.burst) == (7, 3)


def test_an_empty_file_lets_nobody_in() -> None:
    assert bindings("") == ()


def test_the_example_is_right() -> None:
    assert len(load(str(EXAMPLE)).bindings) == 4


@pytest.mark.parametrize("key", [*_Entry.__struct_fields__, *_Limits.__struct_fields__])
def test_the_document_and_the_example_have_every_key(key: str) -> None:
    assert f"`{key}`" in DOCUMENT.read_text(encoding="utf-8") or key == "limits"
    assert re.search(rf"^\[?(binding\.)?{key}\b", EXAMPLE.read_text(encoding="utf-8"), re.MULTILINE)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1\n", "p.toml:1: x: an unknown key"),
        ('\n[bindings]\na = "b"\n', "p.toml:2: bindings: an unknown key"),
        ("binding = 5\n", "p.toml:1: binding: expected"),
        ("[[binding]]\nmatch = \n", "p.toml:2: not TOML"),
        (ONE + 'role = ["viewer"]\n', "p.toml:5: role: an unknown key; did you mean roles?"),
        (ONE + "[binding.limits]\nburts = 1\n", "p.toml:6: burts: an unknown key; did you mean"),
        (ONE + "[binding.limits]\nburst = 0\n", "p.toml:6: limits.burst: expected int >= 1"),
        (ONE + '[binding.limits]\nburst = "1"\n', "p.toml:6: limits.burst: expected int, got str"),
        (ONE + "[binding.limits]\nrequests_per_second = nan\n", "p.toml:6: limits.requests_per_s"),
        (ONE.replace("viewer", "submiter"), "no role 'submiter'; did you mean submitter? allowed"),
        (ONE.replace('"viewer"', '"boss"'), "p.toml:4: roles: no role 'boss'; allowed are "),
        (ONE.replace('["viewer"]', '"viewer"'), "p.toml:4: roles: expected array, got str"),
        (ONE.replace('roles = ["viewer"]\n', ""), "p.toml:2: match: neither roles nor verbs"),
        (ONE.replace('user = "alice"\n', ""), "p.toml:1: object missing required field user"),
        (ONE.replace('"alice"', '"root"'), "p.toml:3: user: nobody acts for root"),
        (ONE.replace('"alice"', '"0"'), "p.toml:3: user: expected the name of a user"),
        (ONE.replace('"alice"', '"a b"'), "p.toml:3: user: expected the name of a user"),
        (ONE + 'users = ["x", "root"]\n', "p.toml:5: users: nobody acts for root"),
        (ONE + 'users = ["*"]\n', "p.toml:5: users: expected the name of a user"),
        (ONE + 'verbs = ["stopp"]\n', "p.toml:5: verbs: no operation 'stopp'; did you mean stop?"),
        (ONE + 'not_verbs = ["hello"]\n', "p.toml:5: not_verbs: no operation 'hello'"),
        (ONE + "queues = []\n", "p.toml:5: queues: an empty list leaves nothing"),
        (ONE + 'names = ["[a]"]\n', "p.toml:5: names: expected names with * and ?"),
        (ONE + 'names = [""]\n', "p.toml:5: names: expected names with * and ?"),
        (ONE.replace("CN=alice", "CN=*e"), "p.toml:2: match: * stands for any characters at"),
        (ONE.replace("CN=alice", ""), "p.toml:2: match: expected 1 to 300 printable"),
        (ONE + ONE, "p.toml:6: match: never reached: line 2 means"),
        (ONE.replace("CN=alice", "*") + "\n# more\n" + ONE, "p.toml:8: match: never reached"),
        ("a = " + "[" * 100_000, "p.toml"),
        ("a = " + "9" * 5000, "p.toml:1: not TOML"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_line(text: str, said: str) -> None:
    assert said in error(text)


@given(st.text(max_size=200))
def test_any_text_is_a_policy_or_an_error(text: str) -> None:
    try:
        assert bindings(text) == ()
    except PolicyError as raised:
        assert str(raised).startswith("p.toml")


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777, 0o620])
def test_a_file_that_others_may_write_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PolicyError, match="others may write it"):
        load(written(tmp_path / "p.toml", ONE, mode))


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(tmp_path / "p.toml", ONE)
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)
    with pytest.raises(PolicyError, match="belongs to uid"):
        load(path)


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name, why in (
        ("pipe", "no regular file"),
        ("none", "No such file"),
        (".", "no regular file"),
    ):
        with pytest.raises(PolicyError, match=why):
            load(str(tmp_path / name))


def test_a_file_that_is_not_utf8_or_too_long_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"# one\n# \xff\n")
    with pytest.raises(PolicyError, match=":2: not UTF-8"):
        load(str(path))
    path.write_bytes(b"#" * (4 * 1024 * 1024 + 1))
    with pytest.raises(PolicyError, match="longer than"):
        load(str(path))


# Read again


def test_a_change_is_in_force_and_what_did_not_change_is_left_alone(tmp_path: Path) -> None:
    path, noted = tmp_path / "p.toml", []
    file = PolicyFile(written(path, ONE), noted=noted.append)
    before = file.policy
    assert not file.poll()
    path.write_text(ONE + "# the same\n")
    assert file.poll()
    assert file.policy is before
    path.write_text(ONE.replace("viewer", "admin"))
    assert file.poll()
    assert file.policy.caller(ALICE).is_admin
    assert noted == [True, True]


def test_a_file_that_was_put_in_its_place_is_read(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    file = PolicyFile(written(path, ONE))
    written(tmp_path / "new", ONE.replace("viewer", "admin"))
    (tmp_path / "new").rename(path)
    assert file.poll()
    assert file.policy.caller(ALICE).is_admin


@pytest.mark.parametrize("broken", ["oops", ONE + "x = 1\n", None, "open"])
def test_a_broken_file_leaves_the_old_one_in_force_and_is_said_once(
    tmp_path: Path, broken: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    path, noted = tmp_path / "p.toml", []
    file = PolicyFile(written(path, ONE), noted=noted.append)
    if broken is None:
        path.unlink()
    elif broken == "open":
        path.chmod(0o666)
    else:
        path.write_text(broken)
    assert not file.poll()
    assert not file.poll()
    assert file.policy.caller(ALICE).user == "alice"
    assert file.error is not None
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert noted == [False]
    caplog.set_level("INFO", "gateway.policy_file")
    written(path, ONE)
    assert file.poll()
    assert file.error is None
    assert caplog.records[-1].getMessage() == f"{path}: 1 bindings are in force"


def test_without_a_policy_there_is_no_beginning(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        PolicyFile(str(tmp_path / "p.toml"))
