"""The audit log: whole lines or a failure, bounded, harmless to whoever reads it."""

from __future__ import annotations

import json
import logging
import os
import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.audit import MAX_LINE_BYTES, Audit, AuditError, rendered

if TYPE_CHECKING:
    from pathlib import Path

FIELDS = ("time_ns", "request", "subject", "serial", "user", "remote", "api", "trace", "verb",
          "job", "group", "schedule", "name", "fields", "submit_queue", "submit_user",
          "submit_group", "argv0", "argc", "steps", "phase", "decision", "code", "why", "seconds",
          "made", "left_out", "of_user", "select_queue", "select_name", "select_user")  # fmt: skip
values = st.one_of(st.none(), st.text(), st.binary(), st.integers(), st.floats(), st.booleans(),
                   st.lists(st.integers()))  # fmt: skip


@given(st.dictionaries(st.sampled_from(FIELDS), values))
def test_whatever_comes_is_one_line_of_json_in_ascii(entry: dict[str, object]) -> None:
    line = rendered(entry)
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert line.isascii()
    assert all(byte >= 32 for byte in line[:-1])
    json.loads(line)


@pytest.mark.parametrize("char", ["a", "\x00", "\U0001f600", "\ud800", "\n"])
def test_a_line_is_bounded_however_long_its_texts_are(char: str) -> None:
    line = rendered(dict.fromkeys(FIELDS, char * 100_000))
    assert len(line) <= MAX_LINE_BYTES
    assert set(json.loads(line)) == set(FIELDS)


def test_nobody_shortens_who_it_was_by_long_texts_of_their_own() -> None:
    entry = dict.fromkeys(FIELDS, "\U0001f600" * 1000) | {"subject": "s" * 256, "serial": "f" * 40}
    line = json.loads(rendered(entry))
    assert (line["subject"], line["serial"]) == ("s" * 256, "f" * 40)


def test_what_is_not_utf8_is_escaped() -> None:
    assert json.loads(rendered({"argv0": b"/bin/\xff"})) == {"argv0": "/bin/\\xff"}


def test_a_line_is_added_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    path.write_text("before\n")
    Audit(str(path)).write({"verb": "stop"})
    assert path.read_text() == 'before\n{"verb":"stop"}\n'


def test_nobody_else_may_read_a_new_one(tmp_path: Path) -> None:
    Audit(str(tmp_path / "audit.log"))
    assert stat.S_IMODE((tmp_path / "audit.log").stat().st_mode) & 0o027 == 0


def test_after_logrotate_it_goes_on_in_the_new_file(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(str(path))
    audit.write({"n": 1})
    path.rename(tmp_path / "audit.log.1")
    audit.write({"n": 2})
    audit.reopen()
    audit.write({"n": 3})
    assert path.read_text() == '{"n":3}\n'
    assert (tmp_path / "audit.log.1").read_text() == '{"n":1}\n{"n":2}\n'


def test_where_the_new_file_cannot_be_opened_the_old_one_stays(tmp_path: Path) -> None:
    path = tmp_path / "audit.log"
    audit = Audit(str(path))
    path.rename(tmp_path / "old")
    path.mkdir()
    with pytest.raises(AuditError):
        audit.reopen()
    audit.write({"n": 1})
    assert (tmp_path / "old").read_text() == '{"n":1}\n'


def test_a_link_is_not_followed_and_a_pipe_not_written(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "missing/audit.log"):
        with pytest.raises(AuditError, match=name):
            Audit(str(tmp_path / name))
    assert not (tmp_path / "elsewhere").exists()


def test_a_full_disk_is_an_error(tmp_path: Path) -> None:
    audit = Audit(str(tmp_path / "audit.log"))
    full = os.open("/dev/full", os.O_WRONLY)
    audit._fd = full
    with pytest.raises(AuditError, match="No space left"):
        audit.write({"n": 1})
    audit.close()


def test_that_it_cannot_be_written_is_said_once_and_that_it_can_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "gateway.audit")
    audit = Audit(str(tmp_path / "audit.log"))
    audit.retry()
    good, full = audit._fd, os.open("/dev/full", os.O_WRONLY)
    audit._fd = full
    for _ in range(3):
        with pytest.raises(AuditError):
            audit.write({"n": 1})
        audit.retry()
        assert "No space left" in (audit.problem or "")
    audit._fd = good
    audit.retry()
    audit.write({"n": 2})
    assert audit.problem is None
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    gap, last = (json.loads(line) for line in (tmp_path / "audit.log").read_text().splitlines())
    assert gap["left_out"] == 3
    assert "No space left" in gap["why"]
    assert last == {"n": 2}
    os.close(full)


def test_a_line_that_was_written_in_part_spoils_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audit = Audit(str(tmp_path / "audit.log"))
    write = os.write
    with monkeypatch.context() as patched:
        patched.setattr(os, "write", lambda fd, data: write(fd, data[:3]))
        with pytest.raises(AuditError, match="whole line"):
            audit.write({"n": 1})
    audit.write({"n": 2})
    assert (tmp_path / "audit.log").read_text() == '{"n\n{"n":2}\n'


def test_a_dash_is_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    audit = Audit("-")
    audit.write({"n": 1})
    audit.reopen()
    audit.close()
    assert capfd.readouterr().err == '{"n":1}\n'
