from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_STATUS_UNSPECIFIED: _ClassVar[FeatureStatus]
    FEATURE_STATUS_ENFORCED: _ClassVar[FeatureStatus]
    FEATURE_STATUS_UNAVAILABLE: _ClassVar[FeatureStatus]

class LauncherKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LAUNCHER_KIND_UNSPECIFIED: _ClassVar[LauncherKind]
    LAUNCHER_KIND_NATIVE: _ClassVar[LauncherKind]
    LAUNCHER_KIND_PYTHON: _ClassVar[LauncherKind]
FEATURE_STATUS_UNSPECIFIED: FeatureStatus
FEATURE_STATUS_ENFORCED: FeatureStatus
FEATURE_STATUS_UNAVAILABLE: FeatureStatus
LAUNCHER_KIND_UNSPECIFIED: LauncherKind
LAUNCHER_KIND_NATIVE: LauncherKind
LAUNCHER_KIND_PYTHON: LauncherKind

class DoctorRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DoctorResponse(_message.Message):
    __slots__ = ("server", "kernel", "cgroup_root", "state_dir", "jobs", "draining", "launcher", "disk", "problems", "features")
    SERVER_FIELD_NUMBER: _ClassVar[int]
    KERNEL_FIELD_NUMBER: _ClassVar[int]
    CGROUP_ROOT_FIELD_NUMBER: _ClassVar[int]
    STATE_DIR_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    LAUNCHER_FIELD_NUMBER: _ClassVar[int]
    DISK_FIELD_NUMBER: _ClassVar[int]
    PROBLEMS_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    server: str
    kernel: str
    cgroup_root: str
    state_dir: str
    jobs: StateCounts
    draining: bool
    launcher: Launcher
    disk: Disk
    problems: _containers.RepeatedCompositeFieldContainer[Problem]
    features: _containers.RepeatedCompositeFieldContainer[Feature]
    def __init__(self, server: _Optional[str] = ..., kernel: _Optional[str] = ..., cgroup_root: _Optional[str] = ..., state_dir: _Optional[str] = ..., jobs: _Optional[_Union[StateCounts, _Mapping]] = ..., draining: _Optional[bool] = ..., launcher: _Optional[_Union[Launcher, _Mapping]] = ..., disk: _Optional[_Union[Disk, _Mapping]] = ..., problems: _Optional[_Iterable[_Union[Problem, _Mapping]]] = ..., features: _Optional[_Iterable[_Union[Feature, _Mapping]]] = ...) -> None: ...

class StateCounts(_message.Message):
    __slots__ = ("queued", "starting", "running", "paused", "ended")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    ENDED_FIELD_NUMBER: _ClassVar[int]
    queued: int
    starting: int
    running: int
    paused: int
    ended: int
    def __init__(self, queued: _Optional[int] = ..., starting: _Optional[int] = ..., running: _Optional[int] = ..., paused: _Optional[int] = ..., ended: _Optional[int] = ...) -> None: ...

class Launcher(_message.Message):
    __slots__ = ("kind", "why")
    KIND_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    kind: LauncherKind
    why: str
    def __init__(self, kind: _Optional[_Union[LauncherKind, str]] = ..., why: _Optional[str] = ...) -> None: ...

class Disk(_message.Message):
    __slots__ = ("size_bytes", "free_bytes", "inodes", "free_inodes", "store_bytes", "jobs_bytes", "users")
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    FREE_BYTES_FIELD_NUMBER: _ClassVar[int]
    INODES_FIELD_NUMBER: _ClassVar[int]
    FREE_INODES_FIELD_NUMBER: _ClassVar[int]
    STORE_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOBS_BYTES_FIELD_NUMBER: _ClassVar[int]
    USERS_FIELD_NUMBER: _ClassVar[int]
    size_bytes: int
    free_bytes: int
    inodes: int
    free_inodes: int
    store_bytes: int
    jobs_bytes: int
    users: _containers.RepeatedCompositeFieldContainer[DiskUse]
    def __init__(self, size_bytes: _Optional[int] = ..., free_bytes: _Optional[int] = ..., inodes: _Optional[int] = ..., free_inodes: _Optional[int] = ..., store_bytes: _Optional[int] = ..., jobs_bytes: _Optional[int] = ..., users: _Optional[_Iterable[_Union[DiskUse, _Mapping]]] = ...) -> None: ...

class DiskUse(_message.Message):
    __slots__ = ("uid", "user", "jobs", "bytes")
    UID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    uid: int
    user: str
    jobs: int
    bytes: int
    def __init__(self, uid: _Optional[int] = ..., user: _Optional[str] = ..., jobs: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Problem(_message.Message):
    __slots__ = ("text", "job")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    text: str
    job: str
    def __init__(self, text: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class Feature(_message.Message):
    __slots__ = ("name", "status", "why", "remedy")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    REMEDY_FIELD_NUMBER: _ClassVar[int]
    name: str
    status: FeatureStatus
    why: str
    remedy: str
    def __init__(self, name: _Optional[str] = ..., status: _Optional[_Union[FeatureStatus, str]] = ..., why: _Optional[str] = ..., remedy: _Optional[str] = ...) -> None: ...

class DrainRequest(_message.Message):
    __slots__ = ("timeout_seconds", "stop", "cancel", "only_wait")
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    ONLY_WAIT_FIELD_NUMBER: _ClassVar[int]
    timeout_seconds: float
    stop: bool
    cancel: bool
    only_wait: bool
    def __init__(self, timeout_seconds: _Optional[float] = ..., stop: _Optional[bool] = ..., cancel: _Optional[bool] = ..., only_wait: _Optional[bool] = ...) -> None: ...

class DrainResponse(_message.Message):
    __slots__ = ("draining", "running", "queued")
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    draining: bool
    running: int
    queued: int
    def __init__(self, draining: _Optional[bool] = ..., running: _Optional[int] = ..., queued: _Optional[int] = ...) -> None: ...
