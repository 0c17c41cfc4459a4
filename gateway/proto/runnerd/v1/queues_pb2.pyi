from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ListQueuesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListQueuesResponse(_message.Message):
    __slots__ = ("queues", "capacity", "promised", "own", "quota")
    QUEUES_FIELD_NUMBER: _ClassVar[int]
    CAPACITY_FIELD_NUMBER: _ClassVar[int]
    PROMISED_FIELD_NUMBER: _ClassVar[int]
    OWN_FIELD_NUMBER: _ClassVar[int]
    QUOTA_FIELD_NUMBER: _ClassVar[int]
    queues: _containers.RepeatedCompositeFieldContainer[Queue]
    capacity: Capacity
    promised: Promised
    own: OwnUse
    quota: Quota
    def __init__(self, queues: _Optional[_Iterable[_Union[Queue, _Mapping]]] = ..., capacity: _Optional[_Union[Capacity, _Mapping]] = ..., promised: _Optional[_Union[Promised, _Mapping]] = ..., own: _Optional[_Union[OwnUse, _Mapping]] = ..., quota: _Optional[_Union[Quota, _Mapping]] = ...) -> None: ...

class Queue(_message.Message):
    __slots__ = ("name", "priority", "max_running", "paused", "allowed", "max_priority", "queued", "running")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    MAX_PRIORITY_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    name: str
    priority: int
    max_running: int
    paused: bool
    allowed: bool
    max_priority: int
    queued: int
    running: int
    def __init__(self, name: _Optional[str] = ..., priority: _Optional[int] = ..., max_running: _Optional[int] = ..., paused: _Optional[bool] = ..., allowed: _Optional[bool] = ..., max_priority: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ...) -> None: ...

class Capacity(_message.Message):
    __slots__ = ("slots", "millicpus", "memory_bytes")
    SLOTS_FIELD_NUMBER: _ClassVar[int]
    MILLICPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    slots: int
    millicpus: int
    memory_bytes: int
    def __init__(self, slots: _Optional[int] = ..., millicpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Promised(_message.Message):
    __slots__ = ("jobs", "millicpus", "memory_bytes")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    MILLICPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    millicpus: int
    memory_bytes: int
    def __init__(self, jobs: _Optional[int] = ..., millicpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class OwnUse(_message.Message):
    __slots__ = ("queued", "running", "millicpus", "memory_bytes")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    MILLICPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    queued: int
    running: int
    millicpus: int
    memory_bytes: int
    def __init__(self, queued: _Optional[int] = ..., running: _Optional[int] = ..., millicpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("max_queued", "max_running", "max_millicpus", "max_memory_bytes", "max_log_bytes")
    MAX_QUEUED_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    MAX_MILLICPUS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MAX_LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    max_queued: int
    max_running: int
    max_millicpus: int
    max_memory_bytes: int
    max_log_bytes: int
    def __init__(self, max_queued: _Optional[int] = ..., max_running: _Optional[int] = ..., max_millicpus: _Optional[int] = ..., max_memory_bytes: _Optional[int] = ..., max_log_bytes: _Optional[int] = ...) -> None: ...

class UpdateQueueRequest(_message.Message):
    __slots__ = ("name", "paused", "max_running", "configured")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    CONFIGURED_FIELD_NUMBER: _ClassVar[int]
    name: str
    paused: bool
    max_running: int
    configured: bool
    def __init__(self, name: _Optional[str] = ..., paused: _Optional[bool] = ..., max_running: _Optional[int] = ..., configured: _Optional[bool] = ...) -> None: ...

class UpdateQueueResponse(_message.Message):
    __slots__ = ("name", "paused", "max_running")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    name: str
    paused: bool
    max_running: int
    def __init__(self, name: _Optional[str] = ..., paused: _Optional[bool] = ..., max_running: _Optional[int] = ...) -> None: ...
