"""What a request may say of a job's surroundings: files, privileges, devices, network.

Fields and bounds only. What contradicts each other is looked at in `runner.message_checks`,
who may ask for what in `runner.policy`, and whether paths exist as the caller.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from runner.message_kinds import PIB, Closed, Name, OsText

_MOST_PATHS = 64
_Paths = Annotated[list[OsText], Meta(max_length=_MOST_PATHS)]
_HOST = r"[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
HostName = Annotated[
    str,
    Meta(
        max_length=64,
        pattern=rf"\A{_HOST}(\.{_HOST})*\Z",
        description="a host name of at most 64 letters, digits, '-' and '.'",
    ),
]
_Port = Annotated[int, Meta(ge=1, le=65535)]


class BindRequest(Closed, frozen=True):
    """A file or directory of the host at another place, or the same, of the job's tree."""

    source: OsText
    target: OsText
    read_only: bool = False


class TmpfsRequest(Closed, frozen=True):
    """An empty directory in memory."""

    path: OsText
    size_bytes: Annotated[int, Meta(ge=4096, le=PIB)] | None = None


class SecretRequest(Closed, frozen=True):
    """A file that the job finds below RUNNERD_SECRETS. What is in it is never stored."""

    name: Name
    path: OsText


class SandboxRequest(Closed, frozen=True):
    """What the job sees and may do. The defaults are those of an ordinary job."""

    preset: Annotated[Literal["untrusted"], Meta(description="untrusted")] | None = None
    filesystem: (
        Annotated[
            Literal["host", "readonly", "overlay", "root"],
            Meta(description="host, readonly, overlay or root"),
        ]
        | None
    ) = None
    root: OsText | None = None
    keep_changes: OsText | None = None
    readable: _Paths = []
    writable: _Paths = []
    binds: Annotated[list[BindRequest], Meta(max_length=_MOST_PATHS)] = []
    tmpfs: Annotated[list[TmpfsRequest], Meta(max_length=16)] = []
    hide: _Paths = []
    hostname: HostName | None = None
    userns: bool | None = None
    capabilities: Annotated[
        list[
            Annotated[
                str,
                Meta(
                    pattern=r"\A(CAP_)?[A-Z_]{3,30}\Z",
                    description="a capability such as NET_BIND_SERVICE",
                ),
            ]
        ],
        Meta(max_length=64),
    ] = []
    # A built-in profile, or an absolute path of a file in the format of container engines.
    seccomp: OsText | None = None
    report_denied: bool = False
    # Absolute paths of device nodes, or the word "all"; with ":r", ":w" or ":rw" (default).
    devices: Annotated[list[OsText], Meta(max_length=_MOST_PATHS)] = []
    secrets: Annotated[list[SecretRequest], Meta(max_length=_MOST_PATHS)] = []


class PublishRequest(Closed, frozen=True):
    """A port of the host that leads to one of the job's."""

    host_port: _Port
    port: _Port
    protocol: Annotated[Literal["tcp", "udp"], Meta(description="tcp or udp")] = "tcp"
    host_address: Annotated[str, Meta(max_length=45)] | None = None


class NetRequest(Closed, frozen=True):
    """A private network. `allow_egress` None: everything; a list: that and nothing else."""

    name: Name | None = None
    publish: Annotated[list[PublishRequest], Meta(max_length=64)] = []
    allow_egress: (
        Annotated[list[Annotated[str, Meta(min_length=1, max_length=300)]], Meta(max_length=64)]
        | None
    ) = None
