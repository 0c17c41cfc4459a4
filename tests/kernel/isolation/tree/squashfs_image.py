"""The smallest squashfs image: a root directory with one file, nothing of it compressed.

By the layout of fs/squashfs/squashfs_fs.h, version 4.0; so no tool is needed.
"""

from __future__ import annotations

import struct

_NO_TABLE = 0xFFFFFFFFFFFFFFFF
_ZSTD = 6
_UNCOMPRESSED_METADATA, _UNCOMPRESSED_DATA = 0x8000, 1 << 24
_DIRECTORY, _FILE = 1, 2
_BLOCK_LOG = 17


def _metadata(content: bytes) -> bytes:
    return struct.pack("<H", len(content) | _UNCOMPRESSED_METADATA) + content


def image(name: bytes, content: bytes) -> bytes:
    """The bytes of an image, everything in it root's."""
    data_at = 96
    file_inode = struct.pack(
        "<HHHHIIIIIII", _FILE, 0o644, 0, 0, 0, 2,
        data_at, 0xFFFFFFFF, 0, len(content), len(content) | _UNCOMPRESSED_DATA,
    )  # fmt: skip
    listing = struct.pack("<III", 0, 0, 1) + struct.pack("<HhHH", 0, 1, _FILE, len(name) - 1) + name
    root_inode = struct.pack(
        "<HHHHIIIIHHI", _DIRECTORY, 0o755, 0, 0, 0, 1, 0, 2, len(listing) + 3, 0, 3
    )
    inodes_at = data_at + len(content)
    inodes = _metadata(file_inode + root_inode)
    directories_at = inodes_at + len(inodes)
    directories = _metadata(listing)
    ids_at = directories_at + len(directories)
    ids = _metadata(struct.pack("<I", 0))
    index_at = ids_at + len(ids)
    used = index_at + 8
    superblock = struct.pack(
        "<4sIIIIHHHHHHQQQQQQQQ", b"hsqs", 2, 0, 1 << _BLOCK_LOG, 0, _ZSTD, _BLOCK_LOG, 0x0213, 1,
        4, 0, len(file_inode), used, index_at, _NO_TABLE, inodes_at, directories_at, _NO_TABLE,
        _NO_TABLE,
    )  # fmt: skip
    whole = superblock + content + inodes + directories + ids + struct.pack("<Q", ids_at)
    return whole.ljust(-(-len(whole) // 4096) * 4096, b"\0")
