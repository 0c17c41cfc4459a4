"""Variables of the environment that look like the gateway's and are none: what is said of them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING, Final

from gateway.config import DIRECTORY_VARIABLE, Config

if TYPE_CHECKING:
    from collections.abc import Iterable

_PREFIX: Final = "RUNNER_GATEWAY_"
_NO_KEYS: Final = frozenset({"directory", "limits"})
KNOWN: Final = frozenset(
    {f"{_PREFIX}{key.upper()}" for key in Config.__struct_fields__ if key not in _NO_KEYS}
    | {DIRECTORY_VARIABLE, f"{_PREFIX}DEBUG", f"{_PREFIX}PKI"}
)


def warnings(names: Iterable[str]) -> list[str]:
    """A sentence for each name with our prefix that is ignored, in order of the names."""
    return [_said(name) for name in sorted(names) if name.startswith(_PREFIX) and name not in KNOWN]


def _said(name: str) -> str:
    # All begin alike, which is no likeness.
    ends = sorted(known.removeprefix(_PREFIX) for known in KNOWN)
    near = difflib.get_close_matches(name.removeprefix(_PREFIX), ends, 1)
    hint = f"did you mean {_PREFIX}{near[0]}?" if near else f"known are {', '.join(sorted(KNOWN))}"
    return f"the environment's {name} is ignored: it is no variable of runner-gateway; {hint}"
