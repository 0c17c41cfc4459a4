from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_STARTING: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_PAUSED: _ClassVar[JobState]
    JOB_STATE_ENDED: _ClassVar[JobState]

class EndReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    END_REASON_UNSPECIFIED: _ClassVar[EndReason]
    END_REASON_EXIT: _ClassVar[EndReason]
    END_REASON_SIGNAL: _ClassVar[EndReason]
    END_REASON_OOM: _ClassVar[EndReason]
    END_REASON_TIMEOUT: _ClassVar[EndReason]
    END_REASON_CPU_TIME: _ClassVar[EndReason]
    END_REASON_OUTPUT_LIMIT: _ClassVar[EndReason]
    END_REASON_STOPPED: _ClassVar[EndReason]
    END_REASON_LAUNCH_ERROR: _ClassVar[EndReason]
    END_REASON_LOG_ERROR: _ClassVar[EndReason]
    END_REASON_DEADLINE: _ClassVar[EndReason]
    END_REASON_DEPENDENCY: _ClassVar[EndReason]
    END_REASON_LOST: _ClassVar[EndReason]

class Condition(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CONDITION_UNSPECIFIED: _ClassVar[Condition]
    CONDITION_OK: _ClassVar[Condition]
    CONDITION_ANY: _ClassVar[Condition]
    CONDITION_FAIL: _ClassVar[Condition]
    CONDITION_STARTED: _ClassVar[Condition]

class NetworkMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NETWORK_MODE_UNSPECIFIED: _ClassVar[NetworkMode]
    NETWORK_MODE_NONE: _ClassVar[NetworkMode]
    NETWORK_MODE_HOST: _ClassVar[NetworkMode]
    NETWORK_MODE_PRIVATE: _ClassVar[NetworkMode]

class OomPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OOM_POLICY_UNSPECIFIED: _ClassVar[OomPolicy]
    OOM_POLICY_KILL: _ClassVar[OomPolicy]
    OOM_POLICY_CONTINUE: _ClassVar[OomPolicy]

class OutputPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_POLICY_UNSPECIFIED: _ClassVar[OutputPolicy]
    OUTPUT_POLICY_DROP_OLDEST: _ClassVar[OutputPolicy]
    OUTPUT_POLICY_BLOCK: _ClassVar[OutputPolicy]
    OUTPUT_POLICY_END: _ClassVar[OutputPolicy]

class LogCompression(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_COMPRESSION_UNSPECIFIED: _ClassVar[LogCompression]
    LOG_COMPRESSION_NONE: _ClassVar[LogCompression]
    LOG_COMPRESSION_ZSTD: _ClassVar[LogCompression]

class FullPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FULL_POLICY_UNSPECIFIED: _ClassVar[FullPolicy]
    FULL_POLICY_WAIT: _ClassVar[FullPolicy]
    FULL_POLICY_DROP: _ClassVar[FullPolicy]
    FULL_POLICY_END: _ClassVar[FullPolicy]

class SandboxPreset(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SANDBOX_PRESET_UNSPECIFIED: _ClassVar[SandboxPreset]
    SANDBOX_PRESET_UNTRUSTED: _ClassVar[SandboxPreset]

class Filesystem(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FILESYSTEM_UNSPECIFIED: _ClassVar[Filesystem]
    FILESYSTEM_HOST: _ClassVar[Filesystem]
    FILESYSTEM_READONLY: _ClassVar[Filesystem]
    FILESYSTEM_OVERLAY: _ClassVar[Filesystem]
    FILESYSTEM_ROOT: _ClassVar[Filesystem]

class PortProtocol(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PORT_PROTOCOL_UNSPECIFIED: _ClassVar[PortProtocol]
    PORT_PROTOCOL_TCP: _ClassVar[PortProtocol]
    PORT_PROTOCOL_UDP: _ClassVar[PortProtocol]

class HookEvent(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HOOK_EVENT_UNSPECIFIED: _ClassVar[HookEvent]
    HOOK_EVENT_STARTED: _ClassVar[HookEvent]
    HOOK_EVENT_PAUSED: _ClassVar[HookEvent]
    HOOK_EVENT_RESUMED: _ClassVar[HookEvent]
    HOOK_EVENT_RETRY: _ClassVar[HookEvent]
    HOOK_EVENT_ENDED: _ClassVar[HookEvent]
    HOOK_EVENT_OK: _ClassVar[HookEvent]
    HOOK_EVENT_FAIL: _ClassVar[HookEvent]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_STARTING: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_PAUSED: JobState
JOB_STATE_ENDED: JobState
END_REASON_UNSPECIFIED: EndReason
END_REASON_EXIT: EndReason
END_REASON_SIGNAL: EndReason
END_REASON_OOM: EndReason
END_REASON_TIMEOUT: EndReason
END_REASON_CPU_TIME: EndReason
END_REASON_OUTPUT_LIMIT: EndReason
END_REASON_STOPPED: EndReason
END_REASON_LAUNCH_ERROR: EndReason
END_REASON_LOG_ERROR: EndReason
END_REASON_DEADLINE: EndReason
END_REASON_DEPENDENCY: EndReason
END_REASON_LOST: EndReason
CONDITION_UNSPECIFIED: Condition
CONDITION_OK: Condition
CONDITION_ANY: Condition
CONDITION_FAIL: Condition
CONDITION_STARTED: Condition
NETWORK_MODE_UNSPECIFIED: NetworkMode
NETWORK_MODE_NONE: NetworkMode
NETWORK_MODE_HOST: NetworkMode
NETWORK_MODE_PRIVATE: NetworkMode
OOM_POLICY_UNSPECIFIED: OomPolicy
OOM_POLICY_KILL: OomPolicy
OOM_POLICY_CONTINUE: OomPolicy
OUTPUT_POLICY_UNSPECIFIED: OutputPolicy
OUTPUT_POLICY_DROP_OLDEST: OutputPolicy
OUTPUT_POLICY_BLOCK: OutputPolicy
OUTPUT_POLICY_END: OutputPolicy
LOG_COMPRESSION_UNSPECIFIED: LogCompression
LOG_COMPRESSION_NONE: LogCompression
LOG_COMPRESSION_ZSTD: LogCompression
FULL_POLICY_UNSPECIFIED: FullPolicy
FULL_POLICY_WAIT: FullPolicy
FULL_POLICY_DROP: FullPolicy
FULL_POLICY_END: FullPolicy
SANDBOX_PRESET_UNSPECIFIED: SandboxPreset
SANDBOX_PRESET_UNTRUSTED: SandboxPreset
FILESYSTEM_UNSPECIFIED: Filesystem
FILESYSTEM_HOST: Filesystem
FILESYSTEM_READONLY: Filesystem
FILESYSTEM_OVERLAY: Filesystem
FILESYSTEM_ROOT: Filesystem
PORT_PROTOCOL_UNSPECIFIED: PortProtocol
PORT_PROTOCOL_TCP: PortProtocol
PORT_PROTOCOL_UDP: PortProtocol
HOOK_EVENT_UNSPECIFIED: HookEvent
HOOK_EVENT_STARTED: HookEvent
HOOK_EVENT_PAUSED: HookEvent
HOOK_EVENT_RESUMED: HookEvent
HOOK_EVENT_RETRY: HookEvent
HOOK_EVENT_ENDED: HookEvent
HOOK_EVENT_OK: HookEvent
HOOK_EVENT_FAIL: HookEvent

class Submission(_message.Message):
    __slots__ = ("argv", "argv_bytes", "cwd", "cwd_bytes", "env", "env_bytes", "name", "umask", "user", "group", "limits", "logs", "sandbox", "network", "net", "queue", "priority", "labels", "after", "not_before_ns", "delay_seconds", "deadline_ns", "deadline_seconds", "hold", "retry", "reserve", "idempotency_key", "hooks")
    class EnvEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class EnvBytesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ARGV_FIELD_NUMBER: _ClassVar[int]
    ARGV_BYTES_FIELD_NUMBER: _ClassVar[int]
    CWD_FIELD_NUMBER: _ClassVar[int]
    CWD_BYTES_FIELD_NUMBER: _ClassVar[int]
    ENV_FIELD_NUMBER: _ClassVar[int]
    ENV_BYTES_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    UMASK_FIELD_NUMBER: _ClassVar[int]
    USER_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    LOGS_FIELD_NUMBER: _ClassVar[int]
    SANDBOX_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    NET_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_NS_FIELD_NUMBER: _ClassVar[int]
    DELAY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_NS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    HOLD_FIELD_NUMBER: _ClassVar[int]
    RETRY_FIELD_NUMBER: _ClassVar[int]
    RESERVE_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENCY_KEY_FIELD_NUMBER: _ClassVar[int]
    HOOKS_FIELD_NUMBER: _ClassVar[int]
    argv: _containers.RepeatedScalarFieldContainer[str]
    argv_bytes: _containers.RepeatedScalarFieldContainer[bytes]
    cwd: str
    cwd_bytes: bytes
    env: _containers.ScalarMap[str, str]
    env_bytes: _containers.ScalarMap[str, bytes]
    name: str
    umask: int
    user: str
    group: str
    limits: Limits
    logs: LogOptions
    sandbox: Sandbox
    network: NetworkMode
    net: Net
    queue: str
    priority: int
    labels: _containers.ScalarMap[str, str]
    after: _containers.RepeatedCompositeFieldContainer[After]
    not_before_ns: int
    delay_seconds: float
    deadline_ns: int
    deadline_seconds: float
    hold: bool
    retry: Retry
    reserve: Reserve
    idempotency_key: str
    hooks: _containers.RepeatedCompositeFieldContainer[Hook]
    def __init__(self, argv: _Optional[_Iterable[str]] = ..., argv_bytes: _Optional[_Iterable[bytes]] = ..., cwd: _Optional[str] = ..., cwd_bytes: _Optional[bytes] = ..., env: _Optional[_Mapping[str, str]] = ..., env_bytes: _Optional[_Mapping[str, bytes]] = ..., name: _Optional[str] = ..., umask: _Optional[int] = ..., user: _Optional[str] = ..., group: _Optional[str] = ..., limits: _Optional[_Union[Limits, _Mapping]] = ..., logs: _Optional[_Union[LogOptions, _Mapping]] = ..., sandbox: _Optional[_Union[Sandbox, _Mapping]] = ..., network: _Optional[_Union[NetworkMode, str]] = ..., net: _Optional[_Union[Net, _Mapping]] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ..., labels: _Optional[_Mapping[str, str]] = ..., after: _Optional[_Iterable[_Union[After, _Mapping]]] = ..., not_before_ns: _Optional[int] = ..., delay_seconds: _Optional[float] = ..., deadline_ns: _Optional[int] = ..., deadline_seconds: _Optional[float] = ..., hold: _Optional[bool] = ..., retry: _Optional[_Union[Retry, _Mapping]] = ..., reserve: _Optional[_Union[Reserve, _Mapping]] = ..., idempotency_key: _Optional[str] = ..., hooks: _Optional[_Iterable[_Union[Hook, _Mapping]]] = ...) -> None: ...

class Limits(_message.Message):
    __slots__ = ("memory_max_bytes", "memory_high_bytes", "memory_swap_max_bytes", "oom_policy", "cpu_max_millicpus", "cpu_weight", "cpu_set", "cpu_idle", "pids_max", "io", "io_weight", "rlimits", "cpu_time_seconds", "timeout_seconds", "warning_seconds", "warning_signal", "output_max_bytes", "output_policy", "scratch_max_bytes", "net_egress_bits_per_second", "net_ingress_bits_per_second")
    class RlimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: Rlimit
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[Rlimit, _Mapping]] = ...) -> None: ...
    MEMORY_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_HIGH_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_SWAP_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    OOM_POLICY_FIELD_NUMBER: _ClassVar[int]
    CPU_MAX_MILLICPUS_FIELD_NUMBER: _ClassVar[int]
    CPU_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CPU_SET_FIELD_NUMBER: _ClassVar[int]
    CPU_IDLE_FIELD_NUMBER: _ClassVar[int]
    PIDS_MAX_FIELD_NUMBER: _ClassVar[int]
    IO_FIELD_NUMBER: _ClassVar[int]
    IO_WEIGHT_FIELD_NUMBER: _ClassVar[int]
    RLIMITS_FIELD_NUMBER: _ClassVar[int]
    CPU_TIME_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WARNING_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WARNING_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_POLICY_FIELD_NUMBER: _ClassVar[int]
    SCRATCH_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    NET_EGRESS_BITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    NET_INGRESS_BITS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    memory_max_bytes: int
    memory_high_bytes: int
    memory_swap_max_bytes: int
    oom_policy: OomPolicy
    cpu_max_millicpus: int
    cpu_weight: int
    cpu_set: str
    cpu_idle: bool
    pids_max: int
    io: _containers.RepeatedCompositeFieldContainer[IoLimit]
    io_weight: int
    rlimits: _containers.MessageMap[str, Rlimit]
    cpu_time_seconds: float
    timeout_seconds: float
    warning_seconds: float
    warning_signal: int
    output_max_bytes: int
    output_policy: OutputPolicy
    scratch_max_bytes: int
    net_egress_bits_per_second: int
    net_ingress_bits_per_second: int
    def __init__(self, memory_max_bytes: _Optional[int] = ..., memory_high_bytes: _Optional[int] = ..., memory_swap_max_bytes: _Optional[int] = ..., oom_policy: _Optional[_Union[OomPolicy, str]] = ..., cpu_max_millicpus: _Optional[int] = ..., cpu_weight: _Optional[int] = ..., cpu_set: _Optional[str] = ..., cpu_idle: _Optional[bool] = ..., pids_max: _Optional[int] = ..., io: _Optional[_Iterable[_Union[IoLimit, _Mapping]]] = ..., io_weight: _Optional[int] = ..., rlimits: _Optional[_Mapping[str, Rlimit]] = ..., cpu_time_seconds: _Optional[float] = ..., timeout_seconds: _Optional[float] = ..., warning_seconds: _Optional[float] = ..., warning_signal: _Optional[int] = ..., output_max_bytes: _Optional[int] = ..., output_policy: _Optional[_Union[OutputPolicy, str]] = ..., scratch_max_bytes: _Optional[int] = ..., net_egress_bits_per_second: _Optional[int] = ..., net_ingress_bits_per_second: _Optional[int] = ...) -> None: ...

class Rlimit(_message.Message):
    __slots__ = ("soft", "hard")
    SOFT_FIELD_NUMBER: _ClassVar[int]
    HARD_FIELD_NUMBER: _ClassVar[int]
    soft: int
    hard: int
    def __init__(self, soft: _Optional[int] = ..., hard: _Optional[int] = ...) -> None: ...

class IoLimit(_message.Message):
    __slots__ = ("path", "read_bytes_per_second", "write_bytes_per_second", "read_operations_per_second", "write_operations_per_second", "devices")
    PATH_FIELD_NUMBER: _ClassVar[int]
    READ_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_BYTES_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    READ_OPERATIONS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    WRITE_OPERATIONS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    path: str
    read_bytes_per_second: int
    write_bytes_per_second: int
    read_operations_per_second: int
    write_operations_per_second: int
    devices: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, path: _Optional[str] = ..., read_bytes_per_second: _Optional[int] = ..., write_bytes_per_second: _Optional[int] = ..., read_operations_per_second: _Optional[int] = ..., write_operations_per_second: _Optional[int] = ..., devices: _Optional[_Iterable[str]] = ...) -> None: ...

class LogOptions(_message.Message):
    __slots__ = ("segment_bytes", "keep_segments", "compression", "on_full", "keep_bytes")
    SEGMENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    KEEP_SEGMENTS_FIELD_NUMBER: _ClassVar[int]
    COMPRESSION_FIELD_NUMBER: _ClassVar[int]
    ON_FULL_FIELD_NUMBER: _ClassVar[int]
    KEEP_BYTES_FIELD_NUMBER: _ClassVar[int]
    segment_bytes: int
    keep_segments: int
    compression: LogCompression
    on_full: FullPolicy
    keep_bytes: int
    def __init__(self, segment_bytes: _Optional[int] = ..., keep_segments: _Optional[int] = ..., compression: _Optional[_Union[LogCompression, str]] = ..., on_full: _Optional[_Union[FullPolicy, str]] = ..., keep_bytes: _Optional[int] = ...) -> None: ...

class Sandbox(_message.Message):
    __slots__ = ("preset", "filesystem", "root", "keep_changes", "readable", "writable", "binds", "tmpfs", "hide", "hostname", "userns", "capabilities", "seccomp", "report_denied", "devices", "secrets")
    PRESET_FIELD_NUMBER: _ClassVar[int]
    FILESYSTEM_FIELD_NUMBER: _ClassVar[int]
    ROOT_FIELD_NUMBER: _ClassVar[int]
    KEEP_CHANGES_FIELD_NUMBER: _ClassVar[int]
    READABLE_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    BINDS_FIELD_NUMBER: _ClassVar[int]
    TMPFS_FIELD_NUMBER: _ClassVar[int]
    HIDE_FIELD_NUMBER: _ClassVar[int]
    HOSTNAME_FIELD_NUMBER: _ClassVar[int]
    USERNS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    SECCOMP_FIELD_NUMBER: _ClassVar[int]
    REPORT_DENIED_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    SECRETS_FIELD_NUMBER: _ClassVar[int]
    preset: SandboxPreset
    filesystem: Filesystem
    root: str
    keep_changes: str
    readable: _containers.RepeatedScalarFieldContainer[str]
    writable: _containers.RepeatedScalarFieldContainer[str]
    binds: _containers.RepeatedCompositeFieldContainer[Bind]
    tmpfs: _containers.RepeatedCompositeFieldContainer[Tmpfs]
    hide: _containers.RepeatedScalarFieldContainer[str]
    hostname: str
    userns: bool
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    seccomp: str
    report_denied: bool
    devices: _containers.RepeatedScalarFieldContainer[str]
    secrets: _containers.RepeatedCompositeFieldContainer[Secret]
    def __init__(self, preset: _Optional[_Union[SandboxPreset, str]] = ..., filesystem: _Optional[_Union[Filesystem, str]] = ..., root: _Optional[str] = ..., keep_changes: _Optional[str] = ..., readable: _Optional[_Iterable[str]] = ..., writable: _Optional[_Iterable[str]] = ..., binds: _Optional[_Iterable[_Union[Bind, _Mapping]]] = ..., tmpfs: _Optional[_Iterable[_Union[Tmpfs, _Mapping]]] = ..., hide: _Optional[_Iterable[str]] = ..., hostname: _Optional[str] = ..., userns: _Optional[bool] = ..., capabilities: _Optional[_Iterable[str]] = ..., seccomp: _Optional[str] = ..., report_denied: _Optional[bool] = ..., devices: _Optional[_Iterable[str]] = ..., secrets: _Optional[_Iterable[_Union[Secret, _Mapping]]] = ...) -> None: ...

class Bind(_message.Message):
    __slots__ = ("source", "target", "read_only")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    READ_ONLY_FIELD_NUMBER: _ClassVar[int]
    source: str
    target: str
    read_only: bool
    def __init__(self, source: _Optional[str] = ..., target: _Optional[str] = ..., read_only: _Optional[bool] = ...) -> None: ...

class Tmpfs(_message.Message):
    __slots__ = ("path", "size_bytes")
    PATH_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    path: str
    size_bytes: int
    def __init__(self, path: _Optional[str] = ..., size_bytes: _Optional[int] = ...) -> None: ...

class Secret(_message.Message):
    __slots__ = ("name", "path")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PATH_FIELD_NUMBER: _ClassVar[int]
    name: str
    path: str
    def __init__(self, name: _Optional[str] = ..., path: _Optional[str] = ...) -> None: ...

class Net(_message.Message):
    __slots__ = ("name", "publish", "allow_egress", "address")
    NAME_FIELD_NUMBER: _ClassVar[int]
    PUBLISH_FIELD_NUMBER: _ClassVar[int]
    ALLOW_EGRESS_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    name: str
    publish: _containers.RepeatedCompositeFieldContainer[Publish]
    allow_egress: Egress
    address: str
    def __init__(self, name: _Optional[str] = ..., publish: _Optional[_Iterable[_Union[Publish, _Mapping]]] = ..., allow_egress: _Optional[_Union[Egress, _Mapping]] = ..., address: _Optional[str] = ...) -> None: ...

class Egress(_message.Message):
    __slots__ = ("destinations",)
    DESTINATIONS_FIELD_NUMBER: _ClassVar[int]
    destinations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, destinations: _Optional[_Iterable[str]] = ...) -> None: ...

class Publish(_message.Message):
    __slots__ = ("host_port", "port", "protocol", "host_address")
    HOST_PORT_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    HOST_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    host_port: int
    port: int
    protocol: PortProtocol
    host_address: str
    def __init__(self, host_port: _Optional[int] = ..., port: _Optional[int] = ..., protocol: _Optional[_Union[PortProtocol, str]] = ..., host_address: _Optional[str] = ...) -> None: ...

class After(_message.Message):
    __slots__ = ("job", "on")
    JOB_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    job: str
    on: Condition
    def __init__(self, job: _Optional[str] = ..., on: _Optional[_Union[Condition, str]] = ...) -> None: ...

class Retry(_message.Message):
    __slots__ = ("limit", "backoff_seconds", "backoff_max_seconds", "on", "rules")
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_SECONDS_FIELD_NUMBER: _ClassVar[int]
    BACKOFF_MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ON_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    limit: int
    backoff_seconds: float
    backoff_max_seconds: float
    on: _containers.RepeatedScalarFieldContainer[EndReason]
    rules: _containers.RepeatedCompositeFieldContainer[RetryRule]
    def __init__(self, limit: _Optional[int] = ..., backoff_seconds: _Optional[float] = ..., backoff_max_seconds: _Optional[float] = ..., on: _Optional[_Iterable[_Union[EndReason, str]]] = ..., rules: _Optional[_Iterable[_Union[RetryRule, _Mapping]]] = ...) -> None: ...

class RetryRule(_message.Message):
    __slots__ = ("reason", "limit", "memory_factor", "memory_max_bytes", "timeout_factor", "timeout_max_seconds")
    REASON_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    MEMORY_FACTOR_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FACTOR_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    reason: EndReason
    limit: int
    memory_factor: float
    memory_max_bytes: int
    timeout_factor: float
    timeout_max_seconds: float
    def __init__(self, reason: _Optional[_Union[EndReason, str]] = ..., limit: _Optional[int] = ..., memory_factor: _Optional[float] = ..., memory_max_bytes: _Optional[int] = ..., timeout_factor: _Optional[float] = ..., timeout_max_seconds: _Optional[float] = ...) -> None: ...

class Reserve(_message.Message):
    __slots__ = ("millicpus", "memory_bytes")
    MILLICPUS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    millicpus: int
    memory_bytes: int
    def __init__(self, millicpus: _Optional[int] = ..., memory_bytes: _Optional[int] = ...) -> None: ...

class Hook(_message.Message):
    __slots__ = ("on", "argv", "url", "timeout_seconds", "memory_max_bytes", "retries", "network")
    ON_FIELD_NUMBER: _ClassVar[int]
    ARGV_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_MAX_BYTES_FIELD_NUMBER: _ClassVar[int]
    RETRIES_FIELD_NUMBER: _ClassVar[int]
    NETWORK_FIELD_NUMBER: _ClassVar[int]
    on: _containers.RepeatedScalarFieldContainer[HookEvent]
    argv: _containers.RepeatedScalarFieldContainer[str]
    url: str
    timeout_seconds: float
    memory_max_bytes: int
    retries: int
    network: NetworkMode
    def __init__(self, on: _Optional[_Iterable[_Union[HookEvent, str]]] = ..., argv: _Optional[_Iterable[str]] = ..., url: _Optional[str] = ..., timeout_seconds: _Optional[float] = ..., memory_max_bytes: _Optional[int] = ..., retries: _Optional[int] = ..., network: _Optional[_Union[NetworkMode, str]] = ...) -> None: ...
