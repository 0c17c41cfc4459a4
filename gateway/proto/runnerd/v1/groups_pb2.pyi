from gateway.proto.runnerd.v1 import options_pb2 as _options_pb2
from gateway.proto.runnerd.v1 import records_pb2 as _records_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GroupKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GROUP_KIND_UNSPECIFIED: _ClassVar[GroupKind]
    GROUP_KIND_ARRAY: _ClassVar[GroupKind]
    GROUP_KIND_FLOW: _ClassVar[GroupKind]

class GroupState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GROUP_STATE_UNSPECIFIED: _ClassVar[GroupState]
    GROUP_STATE_QUEUED: _ClassVar[GroupState]
    GROUP_STATE_RUNNING: _ClassVar[GroupState]
    GROUP_STATE_ENDED: _ClassVar[GroupState]
GROUP_KIND_UNSPECIFIED: GroupKind
GROUP_KIND_ARRAY: GroupKind
GROUP_KIND_FLOW: GroupKind
GROUP_STATE_UNSPECIFIED: GroupState
GROUP_STATE_QUEUED: GroupState
GROUP_STATE_RUNNING: GroupState
GROUP_STATE_ENDED: GroupState

class SubmitArrayRequest(_message.Message):
    __slots__ = ("submission", "ranges", "max_running")
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    RANGES_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    submission: _options_pb2.Submission
    ranges: _containers.RepeatedCompositeFieldContainer[IndexRange]
    max_running: int
    def __init__(self, submission: _Optional[_Union[_options_pb2.Submission, _Mapping]] = ..., ranges: _Optional[_Iterable[_Union[IndexRange, _Mapping]]] = ..., max_running: _Optional[int] = ...) -> None: ...

class IndexRange(_message.Message):
    __slots__ = ("first", "last", "stride")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    STRIDE_FIELD_NUMBER: _ClassVar[int]
    first: int
    last: int
    stride: int
    def __init__(self, first: _Optional[int] = ..., last: _Optional[int] = ..., stride: _Optional[int] = ...) -> None: ...

class SubmitArrayResponse(_message.Message):
    __slots__ = ("group", "jobs", "existing")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    group: str
    jobs: int
    existing: bool
    def __init__(self, group: _Optional[str] = ..., jobs: _Optional[int] = ..., existing: _Optional[bool] = ...) -> None: ...

class SubmitFlowRequest(_message.Message):
    __slots__ = ("name", "steps", "env", "max_running", "hooks", "idempotency_key")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    name: str
    steps: _containers.RepeatedCompositeFieldContainer[FlowStep]
    env: _containers.ScalarMap[str, str]
    max_running: int
    hooks: _containers.RepeatedCompositeFieldContainer[_options_pb2.Hook]
    idempotency_key: str
    def __init__(self, name: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[FlowStep, _Mapping]]] = ..., env: _Optional[_Mapping[str, str]] = ..., max_running: _Optional[int] = ..., hooks: _Optional[_Iterable[_Union[_options_pb2.Hook, _Mapping]]] = ..., idempotency_key: _Optional[str] = ...) -> None: ...

class FlowStep(_message.Message):
    __slots__ = ("name", "submission", "needs", "values")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    name: str
    submission: _options_pb2.Submission
    needs: _containers.RepeatedCompositeFieldContainer[Need]
    values: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., submission: _Optional[_Union[_options_pb2.Submission, _Mapping]] = ..., needs: _Optional[_Iterable[_Union[Need, _Mapping]]] = ..., values: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Need(_message.Message):
    __slots__ = ("step", "on")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    step: str
    on: _options_pb2.Condition
    def __init__(self, step: _Optional[str] = ..., on: _Optional[_Union[_options_pb2.Condition, str]] = ...) -> None: ...

class SubmitFlowResponse(_message.Message):
    __slots__ = ("group", "jobs", "existing")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    group: str
    jobs: int
    existing: bool
    def __init__(self, group: _Optional[str] = ..., jobs: _Optional[int] = ..., existing: _Optional[bool] = ...) -> None: ...

class GetGroupRequest(_message.Message):
    __slots__ = ("group", "page_size", "page_token")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    group: str
    page_size: int
    page_token: str
    def __init__(self, group: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class GetGroupResponse(_message.Message):
    __slots__ = ("summary", "hooks", "members", "next_page_token")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    MEMBERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    summary: GroupSummary
    hooks: _containers.RepeatedCompositeFieldContainer[_records_pb2.HookStatus]
    members: _containers.RepeatedCompositeFieldContainer[GroupMember]
    next_page_token: str
    def __init__(self, summary: _Optional[_Union[GroupSummary, _Mapping]] = ..., hooks: _Optional[_Iterable[_Union[_records_pb2.HookStatus, _Mapping]]] = ..., members: _Optional[_Iterable[_Union[GroupMember, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GroupSummary(_message.Message):
    __slots__ = ("group", "kind", "name", "state", "ok", "size", "max_running", "submitted_by_uid", "user", "submitted_ns", "ended_ns", "queue", "argv", "counts", "first", "last")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_UID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    group: str
    kind: GroupKind
    name: str
    state: GroupState
    ok: bool
    size: int
    max_running: int
    submitted_by_uid: int
    user: str
    submitted_ns: int
    ended_ns: int
    queue: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    counts: GroupCounts
    first: int
    last: int
    def __init__(self, group: _Optional[str] = ..., kind: _Optional[_Union[GroupKind, str]] = ..., name: _Optional[str] = ..., state: _Optional[_Union[GroupState, str]] = ..., ok: _Optional[bool] = ..., size: _Optional[int] = ..., max_running: _Optional[int] = ..., submitted_by_uid: _Optional[int] = ..., user: _Optional[str] = ..., submitted_ns: _Optional[int] = ..., ended_ns: _Optional[int] = ..., queue: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., counts: _Optional[_Union[GroupCounts, _Mapping]] = ..., first: _Optional[int] = ..., last: _Optional[int] = ...) -> None: ...

class GroupCounts(_message.Message):
    __slots__ = ("queued", "starting", "running", "paused", "ok", "failed", "skipped", "removed")
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PAUSED_FIELD_NUMBER: _ClassVar[int]
    OK_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    SKIPPED_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    queued: int
    starting: int
    running: int
    paused: int
    ok: int
    failed: int
    skipped: int
    removed: int
    def __init__(self, queued: _Optional[int] = ..., starting: _Optional[int] = ..., running: _Optional[int] = ..., paused: _Optional[int] = ..., ok: _Optional[int] = ..., failed: _Optional[int] = ..., skipped: _Optional[int] = ..., removed: _Optional[int] = ...) -> None: ...

class GroupMember(_message.Message):
    __slots__ = ("job", "values", "needs")
    class ValuesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    job: _records_pb2.JobSummary
    values: _containers.ScalarMap[str, str]
    needs: _containers.RepeatedCompositeFieldContainer[Need]
    def __init__(self, job: _Optional[_Union[_records_pb2.JobSummary, _Mapping]] = ..., values: _Optional[_Mapping[str, str]] = ..., needs: _Optional[_Iterable[_Union[Need, _Mapping]]] = ...) -> None: ...

class WaitGroupRequest(_message.Message):
    __slots__ = ("group", "timeout_seconds")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    group: str
    timeout_seconds: float
    def __init__(self, group: _Optional[str] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class WaitGroupResponse(_message.Message):
    __slots__ = ("summary", "failed")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    summary: GroupSummary
    failed: FailedMember
    def __init__(self, summary: _Optional[_Union[GroupSummary, _Mapping]] = ..., failed: _Optional[_Union[FailedMember, _Mapping]] = ...) -> None: ...

class FailedMember(_message.Message):
    __slots__ = ("job", "name", "member", "result")
    JOB_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    job: str
    name: str
    member: int
    result: _records_pb2.JobResult
    def __init__(self, job: _Optional[str] = ..., name: _Optional[str] = ..., member: _Optional[int] = ..., result: _Optional[_Union[_records_pb2.JobResult, _Mapping]] = ...) -> None: ...

class StopGroupRequest(_message.Message):
    __slots__ = ("group", "grace_seconds", "kill")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    group: str
    grace_seconds: float
    kill: bool
    def __init__(self, group: _Optional[str] = ..., grace_seconds: _Optional[float] = ..., kill: _Optional[bool] = ...) -> None: ...

class StopGroupResponse(_message.Message):
    __slots__ = ("group", "jobs", "queued", "running")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    group: str
    jobs: int
    queued: int
    running: int
    def __init__(self, group: _Optional[str] = ..., jobs: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ...) -> None: ...

class RetryGroupRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: str
    def __init__(self, group: _Optional[str] = ...) -> None: ...

class RetryGroupResponse(_message.Message):
    __slots__ = ("group", "jobs")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    group: str
    jobs: int
    def __init__(self, group: _Optional[str] = ..., jobs: _Optional[int] = ...) -> None: ...

class HoldGroupRequest(_message.Message):
    __slots__ = ("group", "release")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    group: str
    release: bool
    def __init__(self, group: _Optional[str] = ..., release: _Optional[bool] = ...) -> None: ...

class HoldGroupResponse(_message.Message):
    __slots__ = ("group", "jobs", "held")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    group: str
    jobs: int
    held: bool
    def __init__(self, group: _Optional[str] = ..., jobs: _Optional[int] = ..., held: _Optional[bool] = ...) -> None: ...

class UpdateGroupRequest(_message.Message):
    __slots__ = ("group", "max_running", "unbounded", "priority")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    UNBOUNDED_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    group: str
    max_running: int
    unbounded: bool
    priority: int
    def __init__(self, group: _Optional[str] = ..., max_running: _Optional[int] = ..., unbounded: _Optional[bool] = ..., priority: _Optional[int] = ...) -> None: ...

class UpdateGroupResponse(_message.Message):
    __slots__ = ("group", "max_running", "jobs")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    group: str
    max_running: int
    jobs: int
    def __init__(self, group: _Optional[str] = ..., max_running: _Optional[int] = ..., jobs: _Optional[int] = ...) -> None: ...

class RemoveGroupRequest(_message.Message):
    __slots__ = ("group",)
    GROUP_FIELD_NUMBER: _ClassVar[int]
    group: str
    def __init__(self, group: _Optional[str] = ...) -> None: ...

class RemoveGroupResponse(_message.Message):
    __slots__ = ("group", "jobs")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    group: str
    jobs: int
    def __init__(self, group: _Optional[str] = ..., jobs: _Optional[int] = ...) -> None: ...
