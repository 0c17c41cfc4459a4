"""A matrix is every combination of its values, in the order written, and texts are filled in."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.flow_file import FlowFileError
from client.flow_matrix import Matrix, filled

KEYS = st.from_regex(r"[A-Za-z_][A-Za-z0-9_-]{0,5}", fullmatch=True).filter(
    lambda key: key != "exclude"
)
AXES = st.dictionaries(
    KEYS,
    st.lists(st.text(min_size=1, max_size=4), min_size=1, max_size=4, unique=True),
    min_size=1,
    max_size=3,
).filter(lambda axes: len({key.upper().replace("-", "_") for key in axes}) == len(axes))


@given(AXES)
def test_it_is_the_product_in_the_order_written(axes: dict[str, list[str]]) -> None:
    matrix = Matrix(axes, "x")
    found = matrix.combinations()
    assert [tuple(values.values()) for values in found] == list(product(*axes.values()))
    assert all(list(values) == list(axes) for values in found)
    assert matrix.size == len(found) == prod(map(len, axes.values()))


def test_what_is_excluded_is_left_out_and_the_rest_keeps_its_order() -> None:
    axes = {"a": ["1", "2"], "b": ["x", "y"], "exclude": [{"a": "2", "b": "x"}]}
    found = Matrix(axes, "f").combinations()
    assert found == [{"a": "1", "b": "x"}, {"a": "1", "b": "y"}, {"a": "2", "b": "y"}]
    found = Matrix({**axes, "exclude": [{"a": "2"}, {"b": "y"}]}, "f").combinations()
    assert found == [{"a": "1", "b": "x"}]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("a", "'a' given; a table is allowed"),
        ([], "a list given"),
        ({}, "0 keys given; 1 to 16"),
        ({f"k{n}": ["1"] for n in range(17)}, "17 keys given"),
        ({"a": "1"}, "a: '1' given; a list of values is allowed"),
        ({"a": []}, "a: an empty list given"),
        ({"a": [["1"]]}, "a: a list given; texts and numbers"),
        ({"a": [""]}, "a: '' given; texts and numbers of at most 256 characters"),
        ({"a": ["x" * 257]}, "at most 256 characters"),
        ({"a": ["1", "1"]}, "a: a value stands twice in the list"),
        ({"a b": ["1"]}, "key 'a b' given; a name of at most 64"),
        ({"\x1b[2J": ["1"]}, "key '\\x1b[2J' given"),
        ({"a": ["1"], "exclude": [{"a": "1"}]}, "exclude leaves nothing of it"),
        ({"a": ["1"], "exclude": {"a": "1"}}, "exclude: a table given; a list of tables"),
        ({"a": ["1"], "exclude": [{}]}, "exclude: an empty table given"),
        ({"a": ["1"], "exclude": ["1"]}, "exclude: '1' given; tables"),
        ({"a": ["1"], "exclude": [{"b": "1"}]}, "'b' = '1' given, which the matrix does not have"),
        ({"a": ["1"], "exclude": [{"a": "2"}]}, "'a' = '2' given, which the matrix does not have"),
        ({"exclude": []}, "0 keys given"),
        ({"a-b": ["1"], "A_B": ["1"]}, "two keys differ in case, '-' and '_' alone"),
    ],
)
def test_what_is_no_matrix_is_refused(data: object, said: str) -> None:
    with pytest.raises(FlowFileError) as caught:
        Matrix(data, "x.toml: step a").combinations()
    assert str(caught.value).startswith("x.toml: step a: matrix: ")
    assert said in str(caught.value)


def test_its_size_is_known_before_anything_is_made() -> None:
    axes = {f"k{number}": [str(value) for value in range(1000)] for number in range(16)}
    assert Matrix(axes, "x").size == 1000**16


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${matrix.a}", "1"),
        ("x${matrix.a}${matrix.a}y", "x11y"),
        ("$${matrix.a}", "${matrix.a}"),
        ("$$${matrix.a}", "$${matrix.a}"),
        ("${HOME} $a ${matrix} $$ ${matrixa}", "${HOME} $a ${matrix} $$ ${matrixa}"),
        ("${matrix.b}", "${matrix.a}"),
        (["${matrix.a}", {"${matrix.a}": "${matrix.a}"}], ["1", {"${matrix.a}": "1"}]),
    ],
)
def test_texts_are_filled_in_once(text: Any, found: Any) -> None:
    assert filled(text, {"a": "1", "b": "${matrix.a}"}, "x") == found


@pytest.mark.parametrize("text", ["${matrix.b}", "${matrix.}", "${matrix.a", "${matrix.a b}"])
def test_a_key_that_the_matrix_lacks_is_refused(text: str) -> None:
    with pytest.raises(FlowFileError, match=r"x: .* given; the matrix has \$\{matrix.a\}"):
        filled(text, {"a": "1"}, "x")
    with pytest.raises(FlowFileError, match="the step has no matrix"):
        filled([text], {}, "x")


@given(st.text(), st.text())
def test_what_was_filled_in_is_left_alone(value: str, around: str) -> None:
    plain = around.replace("$", "")
    assert filled(f"{plain}${{matrix.k}}{plain}", {"k": value}, "x") == f"{plain}{value}{plain}"


@given(st.text("${}matrix.a", max_size=30))
def test_whatever_the_text_it_is_filled_in_or_refused(text: str) -> None:
    try:
        assert isinstance(filled(text, {"a": "1"}, "x"), str)
    except FlowFileError as error:
        assert "given; the matrix has" in str(error)
