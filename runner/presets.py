"""Presets: one word for many options. Pure. What a request says itself always counts more.

`untrusted` is for running a stranger's code. Its figures are those of docs/ISOLATION.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from runner.messages import Submit

_MIB: Final = 1024 * 1024

UNTRUSTED_LIMITS: Final[dict[str, Any]] = {
    "memory_max_bytes": 256 * _MIB,
    "cpu_max_millicpus": 1000,
    "pids_max": 64,
    "cpu_time_seconds": 60.0,
    "timeout_seconds": 120.0,
    "output_max_bytes": 64 * _MIB,
    "output_policy": "end",
    "scratch_max_bytes": 64 * _MIB,
    "rlimits": {"core": [0, 0], "nofile": [256, 256], "fsize": [64 * _MIB, 64 * _MIB]},
}
UNTRUSTED_SANDBOX: Final[dict[str, Any]] = {
    "filesystem": "overlay",
    "userns": True,
    "seccomp": b"strict",
}


def with_preset(request: Submit) -> Submit:
    """The request with what its preset adds where it says nothing itself."""
    if request.sandbox.preset is None:
        return request
    limits = _filled(request.limits, UNTRUSTED_LIMITS)
    wanted = dict(UNTRUSTED_SANDBOX)
    if request.sandbox.root is not None:
        wanted["filesystem"] = "root"
    return msgspec.structs.replace(request, limits=limits, sandbox=_filled(request.sandbox, wanted))


def _filled(given: Any, defaults: dict[str, Any]) -> Any:  # noqa: ANN401  a message of any kind
    missing = {
        name: value for name, value in defaults.items() if getattr(given, name) in (None, {}, [])
    }
    if isinstance(defaults.get("rlimits"), dict):
        missing["rlimits"] = {**defaults["rlimits"], **given.rlimits}
    return msgspec.structs.replace(given, **missing)
