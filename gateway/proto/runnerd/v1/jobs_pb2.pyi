from gateway.proto.runnerd.v1 import groups_pb2 as _groups_pb2
from gateway.proto.runnerd.v1 import options_pb2 as _options_pb2
from gateway.proto.runnerd.v1 import records_pb2 as _records_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SubmitJobRequest(_message.Message):
    __slots__ = ("submission",)
    SUBMISSION_FIELD_NUMBER: _ClassVar[int]
    submission: _options_pb2.Submission
    def __init__(self, submission: _Optional[_Union[_options_pb2.Submission, _Mapping]] = ...) -> None: ...

class SubmitJobResponse(_message.Message):
    __slots__ = ("job", "state", "existing")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXISTING_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    existing: bool
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ..., existing: _Optional[bool] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _records_pb2.JobStatus
    def __init__(self, status: _Optional[_Union[_records_pb2.JobStatus, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("ended", "collapse", "select", "page_size", "page_token")
    ENDED_FIELD_NUMBER: _ClassVar[int]
    COLLAPSE_FIELD_NUMBER: _ClassVar[int]
    SELECT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    ended: bool
    collapse: bool
    select: _records_pb2.Selection
    page_size: int
    page_token: str
    def __init__(self, ended: _Optional[bool] = ..., collapse: _Optional[bool] = ..., select: _Optional[_Union[_records_pb2.Selection, _Mapping]] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("entries", "next_page_token")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[JobEntry]
    next_page_token: str
    def __init__(self, entries: _Optional[_Iterable[_Union[JobEntry, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class JobEntry(_message.Message):
    __slots__ = ("job", "group")
    JOB_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    job: _records_pb2.JobSummary
    group: _groups_pb2.GroupSummary
    def __init__(self, job: _Optional[_Union[_records_pb2.JobSummary, _Mapping]] = ..., group: _Optional[_Union[_groups_pb2.GroupSummary, _Mapping]] = ...) -> None: ...

class WaitJobRequest(_message.Message):
    __slots__ = ("job", "timeout_seconds")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    job: str
    timeout_seconds: float
    def __init__(self, job: _Optional[str] = ..., timeout_seconds: _Optional[float] = ...) -> None: ...

class WaitJobResponse(_message.Message):
    __slots__ = ("status",)
    STATUS_FIELD_NUMBER: _ClassVar[int]
    status: _records_pb2.JobStatus
    def __init__(self, status: _Optional[_Union[_records_pb2.JobStatus, _Mapping]] = ...) -> None: ...

class StopJobRequest(_message.Message):
    __slots__ = ("job", "grace_seconds", "kill")
    JOB_FIELD_NUMBER: _ClassVar[int]
    GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    job: str
    grace_seconds: float
    kill: bool
    def __init__(self, job: _Optional[str] = ..., grace_seconds: _Optional[float] = ..., kill: _Optional[bool] = ...) -> None: ...

class StopJobResponse(_message.Message):
    __slots__ = ("state",)
    STATE_FIELD_NUMBER: _ClassVar[int]
    state: _options_pb2.JobState
    def __init__(self, state: _Optional[_Union[_options_pb2.JobState, str]] = ...) -> None: ...

class StopJobsRequest(_message.Message):
    __slots__ = ("select", "grace_seconds", "kill", "dry_run", "expect")
    SELECT_FIELD_NUMBER: _ClassVar[int]
    GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    EXPECT_FIELD_NUMBER: _ClassVar[int]
    select: _records_pb2.Selection
    grace_seconds: float
    kill: bool
    dry_run: bool
    expect: int
    def __init__(self, select: _Optional[_Union[_records_pb2.Selection, _Mapping]] = ..., grace_seconds: _Optional[float] = ..., kill: _Optional[bool] = ..., dry_run: _Optional[bool] = ..., expect: _Optional[int] = ...) -> None: ...

class StopJobsResponse(_message.Message):
    __slots__ = ("jobs", "queued", "running", "ids")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    IDS_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    queued: int
    running: int
    ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, jobs: _Optional[int] = ..., queued: _Optional[int] = ..., running: _Optional[int] = ..., ids: _Optional[_Iterable[str]] = ...) -> None: ...

class PauseJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class PauseJobResponse(_message.Message):
    __slots__ = ("job", "state")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ...) -> None: ...

class ResumeJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class ResumeJobResponse(_message.Message):
    __slots__ = ("job", "state")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ...) -> None: ...

class UpdateJobRequest(_message.Message):
    __slots__ = ("job", "limits", "lift", "priority")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LIFT_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job: str
    limits: _options_pb2.Limits
    lift: _containers.RepeatedScalarFieldContainer[str]
    priority: int
    def __init__(self, job: _Optional[str] = ..., limits: _Optional[_Union[_options_pb2.Limits, _Mapping]] = ..., lift: _Optional[_Iterable[str]] = ..., priority: _Optional[int] = ...) -> None: ...

class UpdateJobResponse(_message.Message):
    __slots__ = ("job", "state", "limits", "priority")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    limits: _options_pb2.Limits
    priority: int
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ..., limits: _Optional[_Union[_options_pb2.Limits, _Mapping]] = ..., priority: _Optional[int] = ...) -> None: ...

class HoldJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class HoldJobResponse(_message.Message):
    __slots__ = ("job", "state")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ...) -> None: ...

class ReleaseJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class ReleaseJobResponse(_message.Message):
    __slots__ = ("job", "state")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ...) -> None: ...

class MoveJobRequest(_message.Message):
    __slots__ = ("job", "top", "before", "queue")
    JOB_FIELD_NUMBER: _ClassVar[int]
    TOP_FIELD_NUMBER: _ClassVar[int]
    BEFORE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    job: str
    top: bool
    before: str
    queue: str
    def __init__(self, job: _Optional[str] = ..., top: _Optional[bool] = ..., before: _Optional[str] = ..., queue: _Optional[str] = ...) -> None: ...

class MoveJobResponse(_message.Message):
    __slots__ = ("job", "queue", "priority")
    JOB_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    job: str
    queue: str
    priority: int
    def __init__(self, job: _Optional[str] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ...) -> None: ...

class RetryJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class RetryJobResponse(_message.Message):
    __slots__ = ("job", "state", "attempt")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    attempt: int
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ..., attempt: _Optional[int] = ...) -> None: ...

class ExplainJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class ExplainJobResponse(_message.Message):
    __slots__ = ("job", "state", "because", "ahead", "start_ns", "result")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    BECAUSE_FIELD_NUMBER: _ClassVar[int]
    AHEAD_FIELD_NUMBER: _ClassVar[int]
    START_NS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    because: _containers.RepeatedCompositeFieldContainer[Because]
    ahead: int
    start_ns: int
    result: _records_pb2.JobResult
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ..., because: _Optional[_Iterable[_Union[Because, _Mapping]]] = ..., ahead: _Optional[int] = ..., start_ns: _Optional[int] = ..., result: _Optional[_Union[_records_pb2.JobResult, _Mapping]] = ...) -> None: ...

class Because(_message.Message):
    __slots__ = ("cause", "needs", "free", "on", "kinds", "until_ns", "kept", "group")
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    FREE_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    KINDS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    KEPT_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    cause: _records_pb2.WaitCause
    needs: int
    free: int
    on: _containers.RepeatedScalarFieldContainer[str]
    kinds: _containers.RepeatedScalarFieldContainer[_options_pb2.Condition]
    until_ns: int
    kept: _options_pb2.Reserve
    group: GroupCap
    def __init__(self, cause: _Optional[_Union[_records_pb2.WaitCause, str]] = ..., needs: _Optional[int] = ..., free: _Optional[int] = ..., on: _Optional[_Iterable[str]] = ..., kinds: _Optional[_Iterable[_Union[_options_pb2.Condition, str]]] = ..., until_ns: _Optional[int] = ..., kept: _Optional[_Union[_options_pb2.Reserve, _Mapping]] = ..., group: _Optional[_Union[GroupCap, _Mapping]] = ...) -> None: ...

class GroupCap(_message.Message):
    __slots__ = ("group", "kind", "max_running", "running")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MAX_RUNNING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    group: str
    kind: _groups_pb2.GroupKind
    max_running: int
    running: int
    def __init__(self, group: _Optional[str] = ..., kind: _Optional[_Union[_groups_pb2.GroupKind, str]] = ..., max_running: _Optional[int] = ..., running: _Optional[int] = ...) -> None: ...

class RemoveJobRequest(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class RemoveJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: str
    def __init__(self, job: _Optional[str] = ...) -> None: ...

class PruneJobsRequest(_message.Message):
    __slots__ = ("older_than_seconds", "keep", "user", "everybody", "dry_run")
    OLDER_THAN_SECONDS_FIELD_NUMBER: _ClassVar[int]
    KEEP_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    EVERYBODY_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    older_than_seconds: float
    keep: int
    user: str
    everybody: bool
    dry_run: bool
    def __init__(self, older_than_seconds: _Optional[float] = ..., keep: _Optional[int] = ..., user: _Optional[str] = ..., everybody: _Optional[bool] = ..., dry_run: _Optional[bool] = ...) -> None: ...

class PruneJobsResponse(_message.Message):
    __slots__ = ("jobs", "bytes", "removed")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REMOVED_FIELD_NUMBER: _ClassVar[int]
    jobs: int
    bytes: int
    removed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, jobs: _Optional[int] = ..., bytes: _Optional[int] = ..., removed: _Optional[_Iterable[str]] = ...) -> None: ...

class StreamLogsRequest(_message.Message):
    __slots__ = ("job", "cursor", "follow", "attempt", "until_ns", "tail_lines", "since_ns")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    TAIL_LINES_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    job: str
    cursor: str
    follow: bool
    attempt: int
    until_ns: int
    tail_lines: int
    since_ns: int
    def __init__(self, job: _Optional[str] = ..., cursor: _Optional[str] = ..., follow: _Optional[bool] = ..., attempt: _Optional[int] = ..., until_ns: _Optional[int] = ..., tail_lines: _Optional[int] = ..., since_ns: _Optional[int] = ...) -> None: ...

class StreamLogsResponse(_message.Message):
    __slots__ = ("cursor", "attempt", "chunks", "gap", "end")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    cursor: str
    attempt: int
    chunks: _containers.RepeatedCompositeFieldContainer[LogChunk]
    gap: LogGap
    end: _records_pb2.JobStatus
    def __init__(self, cursor: _Optional[str] = ..., attempt: _Optional[int] = ..., chunks: _Optional[_Iterable[_Union[LogChunk, _Mapping]]] = ..., gap: _Optional[_Union[LogGap, _Mapping]] = ..., end: _Optional[_Union[_records_pb2.JobStatus, _Mapping]] = ...) -> None: ...

class LogChunk(_message.Message):
    __slots__ = ("offset", "stream", "data", "time_ns")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    TIME_NS_FIELD_NUMBER: _ClassVar[int]
    offset: int
    stream: _records_pb2.OutputStream
    data: bytes
    time_ns: int
    def __init__(self, offset: _Optional[int] = ..., stream: _Optional[_Union[_records_pb2.OutputStream, str]] = ..., data: _Optional[bytes] = ..., time_ns: _Optional[int] = ...) -> None: ...

class LogGap(_message.Message):
    __slots__ = ("gap_bytes", "offset", "why")
    GAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    WHY_FIELD_NUMBER: _ClassVar[int]
    gap_bytes: int
    offset: int
    why: str
    def __init__(self, gap_bytes: _Optional[int] = ..., offset: _Optional[int] = ..., why: _Optional[str] = ...) -> None: ...

class LocateLogsRequest(_message.Message):
    __slots__ = ("job", "lines", "since_ns", "until_ns", "streams", "attempt")
    JOB_FIELD_NUMBER: _ClassVar[int]
    LINES_FIELD_NUMBER: _ClassVar[int]
    SINCE_NS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_NS_FIELD_NUMBER: _ClassVar[int]
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job: str
    lines: int
    since_ns: int
    until_ns: int
    streams: _containers.RepeatedScalarFieldContainer[_records_pb2.OutputStream]
    attempt: int
    def __init__(self, job: _Optional[str] = ..., lines: _Optional[int] = ..., since_ns: _Optional[int] = ..., until_ns: _Optional[int] = ..., streams: _Optional[_Iterable[_Union[_records_pb2.OutputStream, str]]] = ..., attempt: _Optional[int] = ...) -> None: ...

class LocateLogsResponse(_message.Message):
    __slots__ = ("cursor", "stdout", "stderr", "end", "attempt")
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    STDOUT_FIELD_NUMBER: _ClassVar[int]
    STDERR_FIELD_NUMBER: _ClassVar[int]
    END_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    cursor: int
    stdout: int
    stderr: int
    end: int
    attempt: int
    def __init__(self, cursor: _Optional[int] = ..., stdout: _Optional[int] = ..., stderr: _Optional[int] = ..., end: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class ExecRequest(_message.Message):
    __slots__ = ("start", "signal")
    START_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    start: ExecStart
    signal: int
    def __init__(self, start: _Optional[_Union[ExecStart, _Mapping]] = ..., signal: _Optional[int] = ...) -> None: ...

class ExecStart(_message.Message):
    __slots__ = ("job", "argv", "env", "clean_env", "cwd")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    CLEAN_ENV_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    job: str
    argv: _containers.RepeatedScalarFieldContainer[str]
    env: _containers.ScalarMap[str, str]
    clean_env: bool
    cwd: str
    def __init__(self, job: _Optional[str] = ..., argv: _Optional[_Iterable[str]] = ..., env: _Optional[_Mapping[str, str]] = ..., clean_env: _Optional[bool] = ..., cwd: _Optional[str] = ...) -> None: ...

class ExecResponse(_message.Message):
    __slots__ = ("output", "result")
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    output: ExecOutput
    result: ExecResult
    def __init__(self, output: _Optional[_Union[ExecOutput, _Mapping]] = ..., result: _Optional[_Union[ExecResult, _Mapping]] = ...) -> None: ...

class ExecOutput(_message.Message):
    __slots__ = ("stream", "data")
    STREAM_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    stream: _records_pb2.OutputStream
    data: bytes
    def __init__(self, stream: _Optional[_Union[_records_pb2.OutputStream, str]] = ..., data: _Optional[bytes] = ...) -> None: ...

class ExecResult(_message.Message):
    __slots__ = ("exit_code", "signal", "exit_status", "detail")
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    EXIT_STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    exit_code: int
    signal: int
    exit_status: int
    detail: str
    def __init__(self, exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., exit_status: _Optional[int] = ..., detail: _Optional[str] = ...) -> None: ...
