"""What a client accepts, how it wants it packed, and whether it has it already. Pure.

Sources: RFC 9110 sections 8.8.3 (ETag), 12.5 (Accept, Accept-Encoding), 13.1 (conditions).
"""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

JSON: Final = "application/json"
JSON_LINES: Final = "application/jsonl"
EVENT_STREAM: Final = "text/event-stream"
RAW: Final = "application/octet-stream"
PLAIN: Final = "text/plain"
HTML: Final = "text/html"
# What else means the same.
_OTHER_NAMES: Final = {"application/x-ndjson": JSON_LINES, "application/ndjson": JSON_LINES}
_MOST_RANGES: Final = 64
_GZIP_MARK: Final = "-gzip"
_TAG: Final = re.compile(r'(?:W/)?"([\x21\x23-\x7e]*)"')


def _weighted(header: str) -> list[tuple[str, float]]:
    """The values of such a header with their weights; a weight that is none counts as 1."""
    found = []
    for item in header.split(",")[:_MOST_RANGES]:
        name, *parameters = (part.strip().lower() for part in item.split(";"))
        weights = [each[2:] for each in parameters if each.startswith("q=")]
        if name:
            found.append((name, _weight(weights[0]) if weights else 1.0))
    return found


def _weight(text: str) -> float:
    return float(text) if re.fullmatch(r"[01](\.[0-9]{0,3})?", text) else 1.0


def chosen(accept: str | None, offered: Sequence[str]) -> str | None:
    """The media type that is preferred of those that there are; None: none will do.

    Without the header, or where several are liked as much, the first that is offered.
    """
    if not accept or not accept.strip():
        return offered[0]
    ranges = [(_OTHER_NAMES.get(name, name), weight) for name, weight in _weighted(accept)]
    best = max(offered, key=lambda each: _liking(each, ranges))
    return best if _liking(best, ranges) > 0 else None


def _liking(media: str, ranges: Iterable[tuple[str, float]]) -> float:
    """The weight of the most particular range that it falls into (RFC 9110 section 12.5.1)."""
    found, weight = -1, 0.0
    for name, given in ranges:
        kind = media.partition("/")[0]
        rank = 2 if name == media else 1 if name == f"{kind}/*" else 0 if name == "*/*" else -1
        if rank > found:
            found, weight = rank, given
    return weight


def takes_gzip(accept_encoding: str | None) -> bool:
    """Whether an answer may be packed with gzip."""
    weights = dict(_weighted(accept_encoding or ""))
    return weights.get("gzip", weights.get("x-gzip", weights.get("*", 0.0))) > 0


def digest(body: bytes) -> str:
    """What a strong tag is made of: the same for the same bytes alone."""
    return hashlib.sha256(body).hexdigest()[:32]


def packed_tag(tag: str) -> str:
    """The tag of the same representation packed with gzip: other bytes, so another tag."""
    return f"{tag}{_GZIP_MARK}"


def tags(header: str) -> list[str]:
    """The tags of If-Match or If-None-Match, without what packing adds; `*` stands for itself."""
    if header.strip() == "*":
        return ["*"]
    return [found[1].removesuffix(_GZIP_MARK) for found in _TAG.finditer(header)]


def strong_tags(header: str) -> list[str]:
    """The same of those that are strong, as If-Match compares (RFC 9110 section 13.1.1)."""
    return tags(re.sub(r'W/"[^"]*"', "", header))
