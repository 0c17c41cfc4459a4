"""What a request is taken apart by: the envelope, and which kinds are looked at no further."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import pytest

from runner import message_checks, message_queue_checks, parsing
from runner.parsing import envelope
from runner.refusal import Refusal

if TYPE_CHECKING:
    from runner.message_kinds import Closed


@pytest.mark.parametrize("kind", sorted(parsing._SIMPLE, key=lambda kind: kind.__name__))
def test_what_is_looked_at_no_further_is_in_none_of_the_checks(kind: type[Closed]) -> None:
    for module in (message_checks, message_queue_checks):
        assert not re.search(rf"isinstance\(message, {kind.__name__}\b", inspect.getsource(module))


def test_an_envelope_has_an_operation_and_may_have_arguments() -> None:
    assert envelope({"id": 1, "op": "list"}) == ("list", {})
    assert envelope({"id": 1, "op": "list", "args": {"limit": 1}}) == ("list", {"limit": 1})


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"op": "list", "more": 1, "others": 2}, "'more'"),
        ({5: 1, "op": "list"}, "5"),
        ({"args": {}}, "op"),
        ({"op": b"list"}, "op"),
        ({"op": "list", "args": None}, "args"),
        ({"op": "list", "args": {"a": 1, b"b": 2}}, "args"),
    ],
)
def test_an_envelope_with_anything_else_is_refused(message: dict[Any, Any], field: str) -> None:
    with pytest.raises(Refusal) as caught:
        envelope(message)
    assert (caught.value.code, caught.value.fields["field"]) == ("bad-request", field)
