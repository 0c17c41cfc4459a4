"""What a job sees and may do: files, privileges, network, and how its log is kept.

Fields and bounds of docs/PROTOCOL.md; who may ask for what is runnerd's policy.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta

from gateway.rest.kinds import PIB, Closed, Maybe, Name, Text

_Paths = Annotated[list[Text], Meta(max_length=64)]
_Port = Annotated[int, Meta(ge=1, le=65535)]
_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HostName = Annotated[str, Meta(max_length=64, pattern=rf"^{_HOST}(\.{_HOST})*$")]
_Capability = Annotated[str, Meta(pattern=r"^(CAP_)?[A-Z_]{3,30}$", examples=["NET_BIND_SERVICE"])]
_Target = Annotated[str, Meta(min_length=1, max_length=300)]


class Bind(Closed, frozen=True, kw_only=True):
    """A file or directory of the host at `target` of the job's tree."""

    source: Text
    target: Text
    read_only: Maybe[bool] = UNSET


class Tmpfs(Closed, frozen=True, kw_only=True):
    """An empty directory in memory."""

    path: Text
    size_bytes: Maybe[Annotated[int, Meta(ge=4096, le=PIB)]] = UNSET


class Secret(Closed, frozen=True, kw_only=True):
    """A file of runnerd's host whose content the job finds as /dev/shm/secrets/NAME."""

    name: Name
    path: Text


class Sandbox(Closed, frozen=True, kw_only=True):
    """What the job sees and may do; what is missing is runnerd's default."""

    preset: Maybe[Literal["untrusted"]] = UNSET
    filesystem: Maybe[Literal["host", "readonly", "overlay", "root"]] = UNSET
    root: Maybe[Text] = UNSET
    keep_changes: Maybe[Text] = UNSET
    readable: Maybe[_Paths] = UNSET
    writable: Maybe[_Paths] = UNSET
    binds: Maybe[Annotated[list[Bind], Meta(max_length=64)]] = UNSET
    tmpfs: Maybe[Annotated[list[Tmpfs], Meta(max_length=16)]] = UNSET
    hide: Maybe[_Paths] = UNSET
    hostname: Maybe[_HostName] = UNSET
    userns: Maybe[bool] = UNSET
    capabilities: Maybe[Annotated[list[_Capability], Meta(max_length=64)]] = UNSET
    seccomp: Maybe[Text] = UNSET
    report_denied: Maybe[bool] = UNSET
    devices: Maybe[_Paths] = UNSET
    secrets: Maybe[Annotated[list[Secret], Meta(max_length=64)]] = UNSET


class Publish(Closed, frozen=True, kw_only=True):
    """A port of the host that leads to one of the job's."""

    host_port: _Port
    port: _Port
    protocol: Maybe[Literal["tcp", "udp"]] = UNSET
    host_address: Maybe[Annotated[str, Meta(max_length=45)]] = UNSET


class Net(Closed, frozen=True, kw_only=True):
    """A private network; `allow_egress` null allows everything, a list that alone."""

    name: Maybe[Name] = UNSET
    publish: Maybe[Annotated[list[Publish], Meta(max_length=64)]] = UNSET
    allow_egress: Maybe[Annotated[list[_Target], Meta(max_length=64)]] = UNSET


class Logs(Closed, frozen=True, kw_only=True):
    """How the job's log is kept; what is missing is runnerd's default."""

    segment_bytes: Maybe[Annotated[int, Meta(ge=4096, le=2**40)]] = UNSET
    keep_segments: Maybe[Annotated[int, Meta(ge=2, le=4096)]] = UNSET
    compression: Maybe[Literal["none", "zstd"]] = UNSET
    on_full: Maybe[Literal["wait", "drop", "end"]] = UNSET
