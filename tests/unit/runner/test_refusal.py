"""A refusal carries what there is to say, and what was sent is shown short and printable."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from client import protocol
from runner.refusal import Refusal, shown


def test_only_what_applies_goes_over_the_wire() -> None:
    assert Refusal("cancelled").to_wire() == {"code": "cancelled"}
    refusal = Refusal("invalid-argument", field="name", given="'-'", allowed="letters")
    assert refusal.to_wire() == {
        "code": "invalid-argument",
        "field": "name",
        "given": "'-'",
        "allowed": "letters",
    }


def test_an_empty_text_is_said_and_not_left_out() -> None:
    assert Refusal("x", given="").to_wire() == {"code": "x", "given": ""}


def test_candidates_stay_a_list() -> None:
    assert Refusal("ambiguous-job", candidates=["a", "b"]).to_wire()["candidates"] == ["a", "b"]


@given(st.text() | st.binary() | st.integers() | st.lists(st.text()) | st.floats())
def test_what_was_sent_is_shown_printable_and_at_most_81_characters_long(value: object) -> None:
    text = shown(value)
    assert len(text) <= 81
    assert text.isprintable()
    protocol.encode_frame(Refusal("x", given=text).to_wire())


def test_what_is_cut_says_so() -> None:
    assert shown("a" * 78) == repr("a" * 78)
    assert shown("a" * 79) == "'" + "a" * 79 + "…"
