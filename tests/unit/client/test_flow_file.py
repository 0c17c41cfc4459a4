"""Flow files are read as text, lists and tables, and nothing in one can do more than that."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client import flow_file
from client.flow_file import FlowFileError, format_of, read_flow


def toml(text: str) -> Any:
    return read_flow(text.encode(), "toml", "x.toml")


def yaml(text: str) -> Any:
    return read_flow(text.encode(), "yaml", "x.yaml")


def refusal(content: bytes, kind: str = "yaml") -> str:
    with pytest.raises(FlowFileError) as caught:
        read_flow(content, kind, f"x.{kind}")
    text = str(caught.value)
    assert text.startswith(f"x.{kind}: ")
    assert text.isprintable()
    return text


@pytest.mark.parametrize(
    ("path", "kind"),
    [("a.toml", "toml"), ("a/b.YAML", "yaml"), ("a.yml", "yaml"), ("a", None), ("toml", None)],
)
def test_the_name_of_a_file_tells_its_format(path: str, kind: str | None) -> None:
    assert format_of(path) == kind


def test_a_value_of_toml_is_the_text_that_stands_there() -> None:
    found = toml(
        "a = 3.10\nb = 0x10\nc = [true, 1e3]\nd = 2027-12-24T18:00:00Z\ne = 14:00:00\nf.g = 'h'"
    )
    assert found == {
        "a": "3.10", "b": "16", "c": ["true", "1e3"], "d": "2027-12-24 18:00:00+00:00",
        "e": "14:00:00", "f": {"g": "h"},
    }  # fmt: skip


def test_no_word_or_number_of_yaml_is_taken_for_something_else() -> None:
    found = yaml(
        "on: off\nyes: [no, 3.10, 010, 10:30, ~, null, .inf, 0x1f, 1_000, 2027-12-24, true]\n"
        "empty:\n1: one\n"
    )
    assert found == {
        "on": "off", "empty": "", "1": "one",
        "yes": ["no", "3.10", "010", "10:30", "~", "null", ".inf", "0x1f", "1_000", "2027-12-24",
                "true"],
    }  # fmt: skip


def test_an_alias_repeats_what_it_stands_for() -> None:
    assert yaml("a: &x {b: [c]}\nd: *x\n") == {"a": {"b": ["c"]}, "d": {"b": ["c"]}}


def test_a_merge_is_a_key_like_any_other() -> None:
    assert yaml("a: {<<: {b: c}}") == {"a": {"<<": {"b": "c"}}}


@pytest.mark.parametrize("kind", ["toml", "yaml"])
def test_a_mark_of_the_order_of_bytes_is_no_part_of_the_text(kind: str) -> None:
    text = "a = 1" if kind == "toml" else "a: 1"
    assert read_flow(b"\xef\xbb\xbf" + text.encode(), kind, "x") == {"a": "1"}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: 2\na: 3", "key 'a' stands twice in a table (line 3)"),
        (b"s: {x: {c: 1, c: 2}}", "key 'c' stands twice"),
        (b"a: !!python/object/apply:os.system [ls]", "a tag is not allowed (line 1)"),
        (b"a: !!int 1", "a tag is not allowed"),
        (b"a: !mine 1", "a tag is not allowed"),
        (b"? [a]\n: b", "a key has to be text"),
        (b"- a\n- b", "a table with steps is allowed, not a list"),
        (b"word", "not text"),
        (b"", "empty"),
        (b"# a remark alone", "empty"),
        (b"a: b: c", "mapping values are not allowed here (line 1, column 5)"),
        (b"a: *nobody", "undefined alias"),
        (b"a: 1\n---\nb: 2", "expected a single document"),
        (b"a: \x07", "not YAML: "),
        (b'a: "\\ud800"', "half a character (line 1)"),
        (b"\xff\xfe", "not text in UTF-8, at byte 0"),
        (b"a: &a [*a]", "more than 16 levels"),
        (b"[" * 5000, "nested too deep"),
        (b"a" * (flow_file.MAX_FILE_BYTES + 1), "1048577 bytes; at most 1048576 bytes are allowed"),
    ],
)
def test_yaml_that_means_nothing_or_too_much_is_refused(content: bytes, said: str) -> None:
    assert said in refusal(content)


def test_aliases_of_aliases_cannot_fill_the_memory() -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x, x]"]
    for before, name in zip("abcdefgh", "bcdefghi", strict=True):
        lines.append(f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]")
    assert "more than 100000 values" in refusal("\n".join(lines).encode())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a = 1\na = 2", "not TOML: "),
        (b"a = ", "not TOML: "),
        (b"\xff", "not text in UTF-8"),
        (b"a = " + b"[" * 5000, "nested too deep"),
    ],
)
def test_toml_that_is_none_is_refused(content: bytes, said: str) -> None:
    assert said in refusal(content, "toml")


def test_without_pyyaml_toml_is_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    said = refusal(b"a: 1")
    assert "PyYAML is not installed; write the file in TOML, or install runnerd[yaml]" in said
    assert toml("a = 1") == {"a": "1"}


VALUES = st.recursive(
    st.text(st.characters(codec="utf-8"), max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=4), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.text("abc-_", min_size=1, max_size=4), VALUES, max_size=4))
def test_what_json_says_yaml_reads_the_same(data: dict[str, Any]) -> None:
    assert yaml(json.dumps(data)) == data


@given(st.binary(max_size=200), st.sampled_from(["toml", "yaml"]))
def test_whatever_the_bytes_they_are_read_or_refused(content: bytes, kind: str) -> None:
    try:
        assert isinstance(read_flow(content, kind, "x"), dict)
    except FlowFileError as error:
        assert str(error).isprintable()


@given(st.text("a: &*[]{}\n-?!|>'\"#,%x", max_size=60))
def test_whatever_the_yaml_it_is_read_or_refused(text: str) -> None:
    try:
        assert isinstance(yaml(text), dict)
    except FlowFileError as error:
        assert str(error).isprintable()
