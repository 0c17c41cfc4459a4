from gateway.proto.runnerd.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class EventKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EVENT_KIND_UNSPECIFIED: _ClassVar[EventKind]
    EVENT_KIND_SUBMIT: _ClassVar[EventKind]
    EVENT_KIND_LAUNCH: _ClassVar[EventKind]
    EVENT_KIND_STARTED: _ClassVar[EventKind]
    EVENT_KIND_REQUEUE: _ClassVar[EventKind]
    EVENT_KIND_PAUSE: _ClassVar[EventKind]
    EVENT_KIND_RESUME: _ClassVar[EventKind]
    EVENT_KIND_UPDATE: _ClassVar[EventKind]
    EVENT_KIND_HOLD: _ClassVar[EventKind]
    EVENT_KIND_RELEASE: _ClassVar[EventKind]
    EVENT_KIND_MOVE: _ClassVar[EventKind]
    EVENT_KIND_PRIORITY: _ClassVar[EventKind]
    EVENT_KIND_FINISH: _ClassVar[EventKind]
    EVENT_KIND_RETRY: _ClassVar[EventKind]
    EVENT_KIND_HOOK: _ClassVar[EventKind]
    EVENT_KIND_REMOVE: _ClassVar[EventKind]
    EVENT_KIND_GROUP_SUBMIT: _ClassVar[EventKind]
    EVENT_KIND_GROUP_UPDATE: _ClassVar[EventKind]
    EVENT_KIND_GROUP_ENDED: _ClassVar[EventKind]
EVENT_KIND_UNSPECIFIED: EventKind
EVENT_KIND_SUBMIT: EventKind
EVENT_KIND_LAUNCH: EventKind
EVENT_KIND_STARTED: EventKind
EVENT_KIND_REQUEUE: EventKind
EVENT_KIND_PAUSE: EventKind
EVENT_KIND_RESUME: EventKind
EVENT_KIND_UPDATE: EventKind
EVENT_KIND_HOLD: EventKind
EVENT_KIND_RELEASE: EventKind
EVENT_KIND_MOVE: EventKind
EVENT_KIND_PRIORITY: EventKind
EVENT_KIND_FINISH: EventKind
EVENT_KIND_RETRY: EventKind
EVENT_KIND_HOOK: EventKind
EVENT_KIND_REMOVE: EventKind
EVENT_KIND_GROUP_SUBMIT: EventKind
EVENT_KIND_GROUP_UPDATE: EventKind
EVENT_KIND_GROUP_ENDED: EventKind

class StreamEventsRequest(_message.Message):
    __slots__ = ("since", "follow", "job")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    since: int
    follow: bool
    job: str
    def __init__(self, since: _Optional[int] = ..., follow: _Optional[bool] = ..., job: _Optional[str] = ...) -> None: ...

class StreamEventsResponse(_message.Message):
    __slots__ = ("next", "event", "gap", "ready")
    NEXT_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    READY_FIELD_NUMBER: _ClassVar[int]
    next: int
    event: Event
    gap: EventGap
    ready: bool
    def __init__(self, next: _Optional[int] = ..., event: _Optional[_Union[Event, _Mapping]] = ..., gap: _Optional[_Union[EventGap, _Mapping]] = ..., ready: _Optional[bool] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("seq", "time_ns", "job", "kind", "kind_name", "data")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    KIND_NAME_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    seq: int
    time_ns: int
    job: str
    kind: EventKind
    kind_name: str
    data: EventData
    def __init__(self, seq: _Optional[int] = ..., time_ns: _Optional[int] = ..., job: _Optional[str] = ..., kind: _Optional[_Union[EventKind, str]] = ..., kind_name: _Optional[str] = ..., data: _Optional[_Union[EventData, _Mapping]] = ...) -> None: ...

class EventData(_message.Message):
    __slots__ = ("submitted_by_uid", "uid", "by_uid", "removed_by_uid", "monitor_pid", "why", "changed", "queue", "priority", "reason", "attempt", "event", "refused", "jobs", "max_running", "ok", "failed")
    SUBMITTED_BY_UID_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    BY_UID_FIELD_NUMBER: _ClassVar[int]
    REMOVED_BY_UID_FIELD_NUMBER: _ClassVar[int]
    MONITOR_PID_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    EVENT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    submitted_by_uid: int
    uid: int
    by_uid: int
    removed_by_uid: int
    monitor_pid: int
    why: str
    changed: str
    queue: str
    priority: int
    reason: _options_pb2.EndReason
    attempt: int
    event: str
    refused: str
    jobs: int
    max_running: int
    ok: int
    failed: int
    def __init__(self, submitted_by_uid: _Optional[int] = ..., uid: _Optional[int] = ..., by_uid: _Optional[int] = ..., removed_by_uid: _Optional[int] = ..., monitor_pid: _Optional[int] = ..., why: _Optional[str] = ..., changed: _Optional[str] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ..., reason: _Optional[_Union[_options_pb2.EndReason, str]] = ..., attempt: _Optional[int] = ..., event: _Optional[str] = ..., refused: _Optional[str] = ..., jobs: _Optional[int] = ..., max_running: _Optional[int] = ..., ok: _Optional[int] = ..., failed: _Optional[int] = ...) -> None: ...

class EventGap(_message.Message):
    __slots__ = ("since", "oldest")
    SINCE_FIELD_NUMBER: _ClassVar[int]
    OLDEST_FIELD_NUMBER: _ClassVar[int]
    since: int
    oldest: int
    def __init__(self, since: _Optional[int] = ..., oldest: _Optional[int] = ...) -> None: ...
