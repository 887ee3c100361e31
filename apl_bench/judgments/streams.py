"""Lines of files that strangers sent, compressed with zstd or not: a stream, never more than its bounds allow."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

_CHUNK_BYTES = 2**20


class StreamError(ValueError):
    """A stream that is damaged, or goes beyond its bounds: what is wrong with it."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that a file may hold: bytes before and after decompression, their ratio, and bytes of a line."""

    num_packed_bytes: int
    num_bytes: int
    ratio: int
    num_line_bytes: int


def lines(source: IO[bytes], compressed: bool, bounds: Bounds) -> Iterator[bytes]:
    """The lines with their newlines. Raises StreamError, also for a last line without an end."""
    rest = b""
    for chunk in _chunks(source, compressed, bounds):
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if len(line) > bounds.num_line_bytes:
                raise _too_long(bounds)
            yield line + b"\n"
        if len(rest) > bounds.num_line_bytes:
            raise _too_long(bounds)
    if rest:
        raise StreamError("its last line has no end")


def compress(data: bytes, level: int) -> bytes:
    """A zstd frame; equal data give equal bytes with the same version of the library."""
    import pyarrow as pa  # not needed where nothing is compressed

    packed: bytes = pa.Codec("zstd", compression_level=level).compress(data, asbytes=True)
    return packed


def _too_long(bounds: Bounds) -> StreamError:
    return StreamError(f"it has a line of more than {bounds.num_line_bytes} bytes")


def _chunks(source: IO[bytes], compressed: bool, bounds: Bounds) -> Iterator[bytes]:
    """The content, decompressed where it is compressed."""
    num_packed = os.fstat(source.fileno()).st_size
    if num_packed > bounds.num_packed_bytes:
        raise StreamError(f"it has {num_packed} bytes; expected at most {bounds.num_packed_bytes}")
    most = min(bounds.num_bytes, max(bounds.ratio * num_packed, _CHUNK_BYTES))
    num_bytes = 0
    for chunk in _decompressed(source) if compressed else _plain(source):
        num_bytes += len(chunk)
        if num_bytes > most:
            raise StreamError(f"its {num_packed} bytes become more than {most}; expected at most {bounds.ratio} times "
                              f"as many, and {bounds.num_bytes}")  # fmt: skip
        yield chunk


def _plain(source: IO[bytes]) -> Iterator[bytes]:
    while chunk := source.read(_CHUNK_BYTES):
        yield chunk


def _decompressed(source: IO[bytes]) -> Iterator[bytes]:
    import pyarrow as pa

    with pa.PythonFile(source, mode="r") as file:
        try:
            with pa.CompressedInputStream(file, "zstd") as stream:
                while chunk := stream.read(_CHUNK_BYTES):
                    yield chunk
        except (OSError, pa.ArrowException) as error:
            raise StreamError(f"it is not compressed with zstd, or damaged: {error}") from None
