from gateway.proto.runnerd.v1 import options_pb2 as _options_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Fate(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FATE_UNSPECIFIED: _ClassVar[Fate]
    FATE_OK: _ClassVar[Fate]
    FATE_FAILED: _ClassVar[Fate]
    FATE_SKIPPED: _ClassVar[Fate]

class WaitCause(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WAIT_CAUSE_UNSPECIFIED: _ClassVar[WaitCause]
    WAIT_CAUSE_HELD: _ClassVar[WaitCause]
    WAIT_CAUSE_DEPENDENCY: _ClassVar[WaitCause]
    WAIT_CAUSE_TIME: _ClassVar[WaitCause]
    WAIT_CAUSE_NO_QUEUE: _ClassVar[WaitCause]
    WAIT_CAUSE_QUEUE_PAUSED: _ClassVar[WaitCause]
    WAIT_CAUSE_QUEUE_CAP: _ClassVar[WaitCause]
    WAIT_CAUSE_GROUP_CAP: _ClassVar[WaitCause]
    WAIT_CAUSE_QUOTA_RUNNING: _ClassVar[WaitCause]
    WAIT_CAUSE_QUOTA_CPUS: _ClassVar[WaitCause]
    WAIT_CAUSE_QUOTA_MEMORY: _ClassVar[WaitCause]
    WAIT_CAUSE_SLOTS: _ClassVar[WaitCause]
    WAIT_CAUSE_CPUS: _ClassVar[WaitCause]
    WAIT_CAUSE_MEMORY: _ClassVar[WaitCause]
    WAIT_CAUSE_RESERVED: _ClassVar[WaitCause]
    WAIT_CAUSE_BEHIND: _ClassVar[WaitCause]
    WAIT_CAUSE_DRAINING: _ClassVar[WaitCause]

class OutputStream(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_STREAM_UNSPECIFIED: _ClassVar[OutputStream]
    OUTPUT_STREAM_STDOUT: _ClassVar[OutputStream]
    OUTPUT_STREAM_STDERR: _ClassVar[OutputStream]
FATE_UNSPECIFIED: Fate
FATE_OK: Fate
FATE_FAILED: Fate
FATE_SKIPPED: Fate
WAIT_CAUSE_UNSPECIFIED: WaitCause
WAIT_CAUSE_HELD: WaitCause
WAIT_CAUSE_DEPENDENCY: WaitCause
WAIT_CAUSE_TIME: WaitCause
WAIT_CAUSE_NO_QUEUE: WaitCause
WAIT_CAUSE_QUEUE_PAUSED: WaitCause
WAIT_CAUSE_QUEUE_CAP: WaitCause
WAIT_CAUSE_GROUP_CAP: WaitCause
WAIT_CAUSE_QUOTA_RUNNING: WaitCause
WAIT_CAUSE_QUOTA_CPUS: WaitCause
WAIT_CAUSE_QUOTA_MEMORY: WaitCause
WAIT_CAUSE_SLOTS: WaitCause
WAIT_CAUSE_CPUS: WaitCause
WAIT_CAUSE_MEMORY: WaitCause
WAIT_CAUSE_RESERVED: WaitCause
WAIT_CAUSE_BEHIND: WaitCause
WAIT_CAUSE_DRAINING: WaitCause
OUTPUT_STREAM_UNSPECIFIED: OutputStream
OUTPUT_STREAM_STDOUT: OutputStream
OUTPUT_STREAM_STDERR: OutputStream

class JobSummary(_message.Message):
    __slots__ = ("job", "name", "state", "uid", "gid", "user", "submitted_by_uid", "argv", "argv_bytes", "cwd", "cwd_bytes", "network", "pid", "submitted_ns", "started_ns", "ended_ns", "result", "queue", "priority", "attempt", "labels", "held_by_uid", "not_before_ns", "deadline_ns", "reserve", "waits_for", "group", "member", "group_name", "step", "fate")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    JOB_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    GID_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_BY_UID_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    ARGV_BYTES_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    CWD_BYTES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SUBMITTED_NS_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_UID_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_NS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_NS_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    WAITS_FOR_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    MEMBER_FIELD_NUMBER: _ClassVar[int]
    GROUP_NAME_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    FATE_FIELD_NUMBER: _ClassVar[int]
    job: str
    name: str
    state: _options_pb2.JobState
    uid: int
    gid: int
    user: str
    submitted_by_uid: int
    argv: _containers.RepeatedScalarFieldContainer[str]
    argv_bytes: _containers.RepeatedScalarFieldContainer[bytes]
    cwd: str
    cwd_bytes: bytes
    network: _options_pb2.NetworkMode
    pid: int
    submitted_ns: int
    started_ns: int
    ended_ns: int
    result: JobResult
    queue: str
    priority: int
    attempt: int
    labels: _containers.ScalarMap[str, str]
    held_by_uid: int
    not_before_ns: int
    deadline_ns: int
    reserve: _options_pb2.Reserve
    waits_for: WaitCause
    group: str
    member: int
    group_name: str
    step: str
    fate: Fate
    def __init__(self, job: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ..., uid: _Optional[int] = ..., gid: _Optional[int] = ..., user: _Optional[str] = ..., submitted_by_uid: _Optional[int] = ..., argv: _Optional[_Iterable[str]] = ..., argv_bytes: _Optional[_Iterable[bytes]] = ..., cwd: _Optional[str] = ..., cwd_bytes: _Optional[bytes] = ..., network: _Optional[_Union[_options_pb2.NetworkMode, str]] = ..., pid: _Optional[int] = ..., submitted_ns: _Optional[int] = ..., started_ns: _Optional[int] = ..., ended_ns: _Optional[int] = ..., result: _Optional[_Union[JobResult, _Mapping]] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ..., attempt: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., held_by_uid: _Optional[int] = ..., not_before_ns: _Optional[int] = ..., deadline_ns: _Optional[int] = ..., reserve: _Optional[_Union[_options_pb2.Reserve, _Mapping]] = ..., waits_for: _Optional[_Union[WaitCause, str]] = ..., group: _Optional[str] = ..., member: _Optional[int] = ..., group_name: _Optional[str] = ..., step: _Optional[str] = ..., fate: _Optional[_Union[Fate, str]] = ...) -> None: ...

class JobStatus(_message.Message):
    __slots__ = ("summary", "limits", "logs", "sandbox", "net", "usage", "retry", "after", "attempts", "idempotency_key", "hooks")
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    NET_FIELD_NUMBER: _ClassVar[int]
    USAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    summary: JobSummary
    limits: _options_pb2.Limits
    logs: _options_pb2.LogOptions
    sandbox: _options_pb2.Sandbox
    net: _options_pb2.Net
    usage: Usage
    retry: _options_pb2.Retry
    after: _containers.RepeatedCompositeFieldContainer[Dependency]
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    idempotency_key: str
    hooks: _containers.RepeatedCompositeFieldContainer[HookStatus]
    def __init__(self, summary: _Optional[_Union[JobSummary, _Mapping]] = ..., limits: _Optional[_Union[_options_pb2.Limits, _Mapping]] = ..., logs: _Optional[_Union[_options_pb2.LogOptions, _Mapping]] = ..., sandbox: _Optional[_Union[_options_pb2.Sandbox, _Mapping]] = ..., net: _Optional[_Union[_options_pb2.Net, _Mapping]] = ..., usage: _Optional[_Union[Usage, _Mapping]] = ..., retry: _Optional[_Union[_options_pb2.Retry, _Mapping]] = ..., after: _Optional[_Iterable[_Union[Dependency, _Mapping]]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ..., idempotency_key: _Optional[str] = ..., hooks: _Optional[_Iterable[_Union[HookStatus, _Mapping]]] = ...) -> None: ...

class JobResult(_message.Message):
    __slots__ = ("reason", "exit_code", "signal", "exit_status", "detail", "stopped_by_uid", "wall_ns", "cpu_usec", "cpu_user_usec", "cpu_system_usec", "memory_peak_bytes", "oom_kills", "pids_peak", "pids_max_hits", "io_read_bytes", "io_write_bytes", "log_bytes", "log_dropped_bytes", "paused_ns", "throttled_usec", "memory_high_hits", "cpu_pressure_usec", "memory_pressure_usec", "io_pressure_usec", "denied")
    REASON_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    EXIT_STATUS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    STOPPED_BY_UID_FIELD_NUMBER: _ClassVar[int]
    WALL_NS_FIELD_NUMBER: _ClassVar[int]
    CPU_USEC_FIELD_NUMBER: _ClassVar[int]
    CPU_USER_USEC_FIELD_NUMBER: _ClassVar[int]
    CPU_SYSTEM_USEC_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    OOM_KILLS_FIELD_NUMBER: _ClassVar[int]
    PIDS_PEAK_FIELD_NUMBER: _ClassVar[int]
    PIDS_MAX_HITS_FIELD_NUMBER: _ClassVar[int]
    IO_READ_BYTES_FIELD_NUMBER: _ClassVar[int]
    IO_WRITE_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_BYTES_FIELD_NUMBER: _ClassVar[int]
    LOG_DROPPED_BYTES_FIELD_NUMBER: _ClassVar[int]
    PAUSED_NS_FIELD_NUMBER: _ClassVar[int]
    THROTTLED_USEC_FIELD_NUMBER: _ClassVar[int]
    MEMORY_HIGH_HITS_FIELD_NUMBER: _ClassVar[int]
    CPU_PRESSURE_USEC_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PRESSURE_USEC_FIELD_NUMBER: _ClassVar[int]
    IO_PRESSURE_USEC_FIELD_NUMBER: _ClassVar[int]
    DENIED_FIELD_NUMBER: _ClassVar[int]
    reason: _options_pb2.EndReason
    exit_code: int
    signal: int
    exit_status: int
    detail: str
    stopped_by_uid: int
    wall_ns: int
    cpu_usec: int
    cpu_user_usec: int
    cpu_system_usec: int
    memory_peak_bytes: int
    oom_kills: int
    pids_peak: int
    pids_max_hits: int
    io_read_bytes: int
    io_write_bytes: int
    log_bytes: int
    log_dropped_bytes: int
    paused_ns: int
    throttled_usec: int
    memory_high_hits: int
    cpu_pressure_usec: int
    memory_pressure_usec: int
    io_pressure_usec: int
    denied: _containers.RepeatedCompositeFieldContainer[DeniedCall]
    def __init__(self, reason: _Optional[_Union[_options_pb2.EndReason, str]] = ..., exit_code: _Optional[int] = ..., signal: _Optional[int] = ..., exit_status: _Optional[int] = ..., detail: _Optional[str] = ..., stopped_by_uid: _Optional[int] = ..., wall_ns: _Optional[int] = ..., cpu_usec: _Optional[int] = ..., cpu_user_usec: _Optional[int] = ..., cpu_system_usec: _Optional[int] = ..., memory_peak_bytes: _Optional[int] = ..., oom_kills: _Optional[int] = ..., pids_peak: _Optional[int] = ..., pids_max_hits: _Optional[int] = ..., io_read_bytes: _Optional[int] = ..., io_write_bytes: _Optional[int] = ..., log_bytes: _Optional[int] = ..., log_dropped_bytes: _Optional[int] = ..., paused_ns: _Optional[int] = ..., throttled_usec: _Optional[int] = ..., memory_high_hits: _Optional[int] = ..., cpu_pressure_usec: _Optional[int] = ..., memory_pressure_usec: _Optional[int] = ..., io_pressure_usec: _Optional[int] = ..., denied: _Optional[_Iterable[_Union[DeniedCall, _Mapping]]] = ...) -> None: ...

class DeniedCall(_message.Message):
    __slots__ = ("syscall", "count")
    SYSCALL_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    syscall: str
    count: int
    def __init__(self, syscall: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class Usage(_message.Message):
    __slots__ = ("cpu_usec", "memory_bytes", "memory_peak_bytes", "pids")
    CPU_USEC_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_PEAK_BYTES_FIELD_NUMBER: _ClassVar[int]
    PIDS_FIELD_NUMBER: _ClassVar[int]
    cpu_usec: int
    memory_bytes: int
    memory_peak_bytes: int
    pids: int
    def __init__(self, cpu_usec: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., memory_peak_bytes: _Optional[int] = ..., pids: _Optional[int] = ...) -> None: ...

class Dependency(_message.Message):
    __slots__ = ("job", "step", "on", "met")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    MET_FIELD_NUMBER: _ClassVar[int]
    job: str
    step: str
    on: _options_pb2.Condition
    met: bool
    def __init__(self, job: _Optional[str] = ..., step: _Optional[str] = ..., on: _Optional[_Union[_options_pb2.Condition, str]] = ..., met: _Optional[bool] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("attempt", "started_ns", "ended_ns", "result")
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_NS_FIELD_NUMBER: _ClassVar[int]
    ENDED_NS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    attempt: int
    started_ns: int
    ended_ns: int
    result: JobResult
    def __init__(self, attempt: _Optional[int] = ..., started_ns: _Optional[int] = ..., ended_ns: _Optional[int] = ..., result: _Optional[_Union[JobResult, _Mapping]] = ...) -> None: ...

class HookStatus(_message.Message):
    __slots__ = ("number", "on", "command", "host", "last")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    number: int
    on: _containers.RepeatedScalarFieldContainer[_options_pb2.HookEvent]
    command: str
    host: str
    last: HookRun
    def __init__(self, number: _Optional[int] = ..., on: _Optional[_Iterable[_Union[_options_pb2.HookEvent, str]]] = ..., command: _Optional[str] = ..., host: _Optional[str] = ..., last: _Optional[_Union[HookRun, _Mapping]] = ...) -> None: ...

class HookRun(_message.Message):
    __slots__ = ("job", "state", "result")
    JOB_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    job: str
    state: _options_pb2.JobState
    result: JobResult
    def __init__(self, job: _Optional[str] = ..., state: _Optional[_Union[_options_pb2.JobState, str]] = ..., result: _Optional[_Union[JobResult, _Mapping]] = ...) -> None: ...

class Selection(_message.Message):
    __slots__ = ("queue", "user", "name", "labels", "label_names", "states", "group")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    LABEL_NAMES_FIELD_NUMBER: _ClassVar[int]
    STATES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    queue: str
    user: str
    name: str
    labels: _containers.ScalarMap[str, str]
    label_names: _containers.RepeatedScalarFieldContainer[str]
    states: _containers.RepeatedScalarFieldContainer[_options_pb2.JobState]
    group: str
    def __init__(self, queue: _Optional[str] = ..., user: _Optional[str] = ..., name: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., label_names: _Optional[_Iterable[str]] = ..., states: _Optional[_Iterable[_Union[_options_pb2.JobState, str]]] = ..., group: _Optional[str] = ...) -> None: ...
