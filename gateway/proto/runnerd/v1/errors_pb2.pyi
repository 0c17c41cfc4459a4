from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Refusal(_message.Message):
    __slots__ = ("code", "field", "given", "allowed", "detail", "candidates", "group", "retry_after_seconds")
    CODE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    GIVEN_FIELD_NUMBER: _ClassVar[int]
    ALLOWED_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    CANDIDATES_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
    code: str
    field: str
    given: str
    allowed: str
    detail: str
    candidates: _containers.RepeatedScalarFieldContainer[str]
    group: NamedGroup
    retry_after_seconds: float
    def __init__(self, code: _Optional[str] = ..., field: _Optional[str] = ..., given: _Optional[str] = ..., allowed: _Optional[str] = ..., detail: _Optional[str] = ..., candidates: _Optional[_Iterable[str]] = ..., group: _Optional[_Union[NamedGroup, _Mapping]] = ..., retry_after_seconds: _Optional[float] = ...) -> None: ...

class NamedGroup(_message.Message):
    __slots__ = ("group", "kind", "jobs")
    GROUP_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    group: str
    kind: str
    jobs: int
    def __init__(self, group: _Optional[str] = ..., kind: _Optional[str] = ..., jobs: _Optional[int] = ...) -> None: ...
