"""The line of each key, also where the text tries to look like something else."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runner.toml_lines import key_lines

TRICKY = '''\
# [comment]
first = """
[jobs]
max_running = 1 # "no
\\"""
more"""
second = \'\'\'
fake = "x"
\'\'\'\'
"quoted key" = 'a # [not] = a, comment' # a = comment
array = [ # [x]
  "a", # ]
  "]",
  [1, 2], {inner = 1, deep.er = [
     {x = 1},
     {y = 2}]},
]
a.b . "c" = 1979-05-27 07:32:00
inline = { p = { q = 1 }, r = 1.5 }
empty = {}
quotes = """""two at the end"""""

[ jobs . "max" ]
limit = ""
[[many]]
k = 1
[[many]]
k = 2
[last]
\'lit\' = 1'''


def test_nothing_that_looks_like_a_key_is_taken_for_one() -> None:
    tomllib.loads(TRICKY)
    assert key_lines(TRICKY) == {
        ("first",): 2,
        ("second",): 7,
        ("quoted key",): 10,
        ("array",): 11,
        ("array", "inner"): 14,
        ("array", "deep"): 14,
        ("array", "deep", "er"): 14,
        ("array", "deep", "er", "x"): 15,
        ("array", "deep", "er", "y"): 16,
        ("a",): 18,
        ("a", "b"): 18,
        ("a", "b", "c"): 18,
        ("inline",): 19,
        ("inline", "p"): 19,
        ("inline", "p", "q"): 19,
        ("inline", "r"): 19,
        ("empty",): 20,
        ("quotes",): 21,
        ("jobs",): 23,
        ("jobs", "max"): 23,
        ("jobs", "max", "limit"): 24,
        ("many",): 25,
        ("many", "k"): 26,
        ("last",): 29,
        ("last", "lit"): 30,
    }


@pytest.mark.parametrize("text", ["", "\n\n", "# only a comment", "[table]"])
def test_a_text_without_keys_has_no_lines_but_those_of_tables(text: str) -> None:
    assert key_lines(text) == ({("table",): 1} if text == "[table]" else {})


def test_windows_line_ends_count_once() -> None:
    assert key_lines('a = """x\r\ny"""\r\nb = 1\r\n') == {("a",): 1, ("b",): 3}


def test_a_table_opened_twice_has_its_first_line() -> None:
    assert key_lines("[a.b]\nx = 1\n[a]\ny = 2\n")["a",] == 1


def paths(values: dict[str, Any], at: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    for key, value in values.items():
        found.add((*at, key))
        items = value if isinstance(value, list) else [value]
        for item in items:
            if isinstance(item, dict):
                found |= paths(item, (*at, key))
    return found


ODD = st.text(st.sampled_from("\"'\\[]{}=,.#\n a1é\t"), max_size=12)


def basic(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def multi_line(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"""', '""\\"')
    if escaped.endswith('"'):
        escaped = escaped[:-1] + '\\"'
    return f'"""\n{escaped}"""'


strings = st.one_of(
    ODD.map(basic),
    ODD.map(multi_line),
    ODD.filter(lambda text: "'" not in text).map(lambda text: f"'''{text}'''"),
    ODD.filter(lambda text: "'" not in text and "\n" not in text).map(lambda text: f"'{text}'"),
)
scalars = st.one_of(strings, st.sampled_from(["1", "-1.5e3", "true", "nan", "1979-05-27 07:32:00"]))
arrays = st.lists(scalars, max_size=4).map(lambda items: "[ # ]\n" + " ,\n".join(items) + "\n]")
inline = st.dictionaries(ODD.map(basic), st.one_of(scalars, arrays), max_size=3).map(
    lambda table: "{" + ", ".join(f"{key} = {value}" for key, value in table.items()) + "}"
)
documents = st.lists(
    st.tuples(st.booleans(), ODD, st.one_of(scalars, arrays, inline)),
    max_size=8,
    unique_by=lambda item: item[1],
)


@given(document=documents)
def test_every_key_of_any_document_is_found_on_its_line(
    document: list[tuple[bool, str, str]],
) -> None:
    text = ""
    expected: dict[tuple[str, ...], int] = {}
    for is_table, key, value in document:
        line = text.count("\n") + 1
        if is_table:
            text += f"[{basic(key)}]\n  value = {value} # [x] = 1\n"
            expected[key,] = line
            expected[key, "value"] = line + 1
    head = ""
    for is_table, key, value in document:
        if not is_table:
            expected[key,] = head.count("\n") + 1
            head += f"{basic(key)} = {value}\n"
    shift = head.count("\n")
    found = key_lines(head + text)
    assert set(found) == paths(tomllib.loads(head + text))
    for is_table, key, _ in document:
        if is_table:
            assert found[key,] == expected[key,] + shift
            assert found[key, "value"] == expected[key, "value"] + shift
        else:
            assert found[key,] == expected[key,]
