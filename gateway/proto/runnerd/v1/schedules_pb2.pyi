from gateway.proto.runnerd.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MissedPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    MISSED_POLICY_UNSPECIFIED: _ClassVar[MissedPolicy]
    MISSED_POLICY_SKIP: _ClassVar[MissedPolicy]
    MISSED_POLICY_ONCE: _ClassVar[MissedPolicy]
    MISSED_POLICY_ALL: _ClassVar[MissedPolicy]

class OverlapPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OVERLAP_POLICY_UNSPECIFIED: _ClassVar[OverlapPolicy]
    OVERLAP_POLICY_ALLOW: _ClassVar[OverlapPolicy]
    OVERLAP_POLICY_SKIP: _ClassVar[OverlapPolicy]
MISSED_POLICY_UNSPECIFIED: MissedPolicy
MISSED_POLICY_SKIP: MissedPolicy
MISSED_POLICY_ONCE: MissedPolicy
MISSED_POLICY_ALL: MissedPolicy
OVERLAP_POLICY_UNSPECIFIED: OverlapPolicy
OVERLAP_POLICY_ALLOW: OverlapPolicy
OVERLAP_POLICY_SKIP: OverlapPolicy

class CreateScheduleRequest(_message.Message):
    __slots__ = ("every", "submission", "zone", "missed", "overlap", "name", "paused")
    EVERY_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    every: str
    submission: _options_pb2.Submission
    zone: str
    missed: MissedPolicy
    overlap: OverlapPolicy
    name: str
    paused: bool
    def __init__(self, every: _Optional[str] = ..., submission: _Optional[_Union[_options_pb2.Submission, _Mapping]] = ..., zone: _Optional[str] = ..., missed: _Optional[_Union[MissedPolicy, str]] = ..., overlap: _Optional[_Union[OverlapPolicy, str]] = ..., name: _Optional[str] = ..., paused: _Optional[bool] = ...) -> None: ...

class CreateScheduleResponse(_message.Message):
    __slots__ = ("schedule", "paused", "next_ns")
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    paused: bool
    next_ns: int
    def __init__(self, schedule: _Optional[str] = ..., paused: _Optional[bool] = ..., next_ns: _Optional[int] = ...) -> None: ...

class ListSchedulesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListSchedulesResponse(_message.Message):
    __slots__ = ("schedules", "next_page_token")
    SCHEDULES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    schedules: _containers.RepeatedCompositeFieldContainer[ScheduleSummary]
    next_page_token: str
    def __init__(self, schedules: _Optional[_Iterable[_Union[ScheduleSummary, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ScheduleSummary(_message.Message):
    __slots__ = ("schedule", "name", "submitted_by_uid", "every", "zone", "missed", "overlap", "paused", "created_ns", "next_ns", "last_job", "last_ns", "last_error", "runs", "failed", "skipped", "argv", "queue")
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_UID_FIELD_NUMBER: _ClassVar[int]
    EVERY_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    MISSED_FIELD_NUMBER: _ClassVar[int]
    OVERLAP_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    CREATED_NS_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_JOB_FIELD_NUMBER: _ClassVar[int]
    LAST_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_ERROR_FIELD_NUMBER: _ClassVar[int]
    RUNS_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    name: str
    submitted_by_uid: int
    every: str
    zone: str
    missed: MissedPolicy
    overlap: OverlapPolicy
    paused: bool
    created_ns: int
    next_ns: int
    last_job: str
    last_ns: int
    last_error: str
    runs: int
    failed: int
    skipped: int
    argv: _containers.RepeatedScalarFieldContainer[str]
    queue: str
    def __init__(self, schedule: _Optional[str] = ..., name: _Optional[str] = ..., submitted_by_uid: _Optional[int] = ..., every: _Optional[str] = ..., zone: _Optional[str] = ..., missed: _Optional[_Union[MissedPolicy, str]] = ..., overlap: _Optional[_Union[OverlapPolicy, str]] = ..., paused: _Optional[bool] = ..., created_ns: _Optional[int] = ..., next_ns: _Optional[int] = ..., last_job: _Optional[str] = ..., last_ns: _Optional[int] = ..., last_error: _Optional[str] = ..., runs: _Optional[int] = ..., failed: _Optional[int] = ..., skipped: _Optional[int] = ..., argv: _Optional[_Iterable[str]] = ..., queue: _Optional[str] = ...) -> None: ...

class GetScheduleRequest(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    def __init__(self, schedule: _Optional[str] = ...) -> None: ...

class GetScheduleResponse(_message.Message):
    __slots__ = ("summary", "next_times_ns", "submission")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    NEXT_TIMES_NS_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    summary: ScheduleSummary
    next_times_ns: _containers.RepeatedScalarFieldContainer[int]
    submission: _options_pb2.Submission
    def __init__(self, summary: _Optional[_Union[ScheduleSummary, _Mapping]] = ..., next_times_ns: _Optional[_Iterable[int]] = ..., submission: _Optional[_Union[_options_pb2.Submission, _Mapping]] = ...) -> None: ...

class PauseScheduleRequest(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    def __init__(self, schedule: _Optional[str] = ...) -> None: ...

class PauseScheduleResponse(_message.Message):
    __slots__ = ("schedule", "paused", "next_ns")
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    paused: bool
    next_ns: int
    def __init__(self, schedule: _Optional[str] = ..., paused: _Optional[bool] = ..., next_ns: _Optional[int] = ...) -> None: ...

class ResumeScheduleRequest(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    def __init__(self, schedule: _Optional[str] = ...) -> None: ...

class ResumeScheduleResponse(_message.Message):
    __slots__ = ("schedule", "paused", "next_ns")
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    NEXT_NS_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    paused: bool
    next_ns: int
    def __init__(self, schedule: _Optional[str] = ..., paused: _Optional[bool] = ..., next_ns: _Optional[int] = ...) -> None: ...

class RunScheduleRequest(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    def __init__(self, schedule: _Optional[str] = ...) -> None: ...

class RunScheduleResponse(_message.Message):
    __slots__ = ("schedule", "job")
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    job: str
    def __init__(self, schedule: _Optional[str] = ..., job: _Optional[str] = ...) -> None: ...

class RemoveScheduleRequest(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    def __init__(self, schedule: _Optional[str] = ...) -> None: ...

class RemoveScheduleResponse(_message.Message):
    __slots__ = ("schedule",)
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    schedule: str
    def __init__(self, schedule: _Optional[str] = ...) -> None: ...
