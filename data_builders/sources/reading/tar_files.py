"""Tar archives of samples, as WebDataset packs them: members that share a name up to its first dot belong together.

Archives are read as streams and never unpacked. Of an uncompressed one only the headers are read to cut it into sections, and each
section begins where its first sample lies; a compressed one (.tar.gz) has one section.
"""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from eosin.data_builders.sources.reading.image_files import safe_name
from eosin.data_builders.sources.source import ITEMS_A_SHARD, Refused, Section, sections_of
from eosin.errors import InputError

TAR_PATTERNS = ("**/*.tar", "**/*.tar.gz", "**/*.tgz")
_SAMPLE_LIMIT = 1 << 30
_DAMAGE = (tarfile.TarError, OSError, EOFError, zlib.error)


@dataclass(frozen=True)
class Sample:
    """The members of one sample.

    Attributes:
        key: their name up to the first dot of the file name.
        members: what is after that dot, in lower case -> bytes.
        refused: why it cannot be read, where it cannot.
    """

    key: str
    members: dict[str, bytes] = field(default_factory=dict)
    refused: tuple[str, str] | None = None

    def check(self) -> None:
        """Raises:
        Refused: `path_outside`, `not_a_file`, `duplicate_member`, or `too_many_bytes`.
        """
        if self.refused is not None:
            raise Refused(*self.refused)


def tar_files(folder: Path) -> list[Path]:
    """Every archive below the folder, by path."""
    return sorted({path for pattern in TAR_PATTERNS for path in folder.glob(pattern) if path.is_file()})


def tar_sections(path: Path, name: str, splits: tuple[str, ...] = ("none",), size: int = ITEMS_A_SHARD) -> Iterator[Section]:
    """An archive cut into sections of `size` samples.

    Raises:
        InputError: it is cut off or damaged, or two samples have one name; the message names it.
    """
    if _is_compressed(path):
        count = sum(1 for _ in _placed(path))
        yield from sections_of(name, count, splits, max(count, 1))
        return
    start, offset, count = 0, 0, 0
    for place in _placed(path):
        if count % size == 0:
            if count:
                yield Section(name, start, count, splits, offset)
            start, offset = count, place
        count += 1
    if count > start:
        yield Section(name, start, count, splits, offset)


def _placed(path: Path) -> Iterator[int]:
    """The byte where each sample begins.

    Raises:
        InputError: two samples have one name: they would be one record.
    """
    seen: set[int] = set()
    for place, sample in _samples(path, 0, read=False):
        if hash(sample.key) in seen:
            raise InputError(f"{path}: samples called {sample.key} come twice, apart from each other; give each a name of its own")
        seen.add(hash(sample.key))
        yield place


def section_samples(path: Path, section: Section) -> Iterator[tuple[int, Sample]]:
    """(number, sample) of a section made by `tar_sections`."""
    reader = _samples(path, section.offset, read=True)
    for number in range(section.start, section.stop):
        yield number, next(reader)[1]


def first_samples(path: Path) -> Iterator[Sample]:
    """The samples of an archive from its beginning, as far as they are asked for."""
    return (sample for _, sample in _samples(path, 0, read=True))


def _is_compressed(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(2) == b"\x1f\x8b"


def _samples(path: Path, offset: int, *, read: bool) -> Iterator[tuple[int, Sample]]:
    """(byte where it begins, sample), one after another."""
    sample: Sample | None = None
    place, held = offset, 0
    for begin, info, content in _members(path, offset):
        key, suffix = _parts(info.name)
        if sample is None or key != sample.key:
            if sample is not None:
                yield place, sample
            sample, place, held = Sample(key), begin, 0
        held += info.size
        refused = _why_not(info, held)
        if read and suffix in sample.members:
            refused = "duplicate_member", f"{info.name} comes twice"
        if refused is not None:
            sample = Sample(key, sample.members, sample.refused or refused)
        elif read:
            sample.members[suffix] = content()
    if sample is not None:
        yield place, sample


def _members(path: Path, offset: int) -> Iterator[tuple[int, tarfile.TarInfo, Callable[[], bytes]]]:
    """(byte where its header begins, member, what reads it), folders aside."""
    place = offset
    try:
        with gzip.open(path) if _is_compressed(path) else path.open("rb") as opened:
            file = _LastRead(opened)
            file.seek(offset)
            with tarfile.open(fileobj=file, mode="r:") as archive:  # type: ignore[call-overload]
                while (info := archive.next()) is not None:
                    # The library keeps every header it has seen; a shard has tens of thousands.
                    archive.members.clear()
                    place = info.offset
                    if not info.isdir():
                        yield info.offset, info, lambda info=info: _content(archive, info)  # type: ignore[misc]
                file.check_end()
    except _DAMAGE as error:
        raise InputError(f"{path}: cut off or damaged after byte {place} ({error}); fetch it again") from error


class _LastRead:
    """A file that remembers what was read last. The library takes a damaged or missing header for the end of the archive, and so would
    lose all that follows without a word."""

    def __init__(self, file: IO[bytes] | gzip.GzipFile) -> None:
        self.file = file
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        self.last = self.file.read(size)
        return self.last

    def seek(self, offset: int, whence: int = 0) -> int:
        return self.file.seek(offset, whence)

    def tell(self) -> int:
        return self.file.tell()

    def check_end(self) -> None:
        """Raises:
        TarError: the last block read is none of zeros, as the end of an archive has, or something follows it.
        """
        if self.last != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("no end of the archive" if len(self.last) < tarfile.BLOCKSIZE else "a header is damaged")
        while block := self.file.read(1 << 16):
            if block.count(0) < len(block):
                raise tarfile.ReadError("more follows the end of the archive; archives that were joined must be taken apart")


def _content(archive: tarfile.TarFile, info: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(info)
    content = file.read() if file is not None else b""
    if len(content) != info.size:
        raise EOFError(f"{info.name}: {len(content)} of {info.size} bytes")
    return content


def _parts(name: str) -> tuple[str, str]:
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, _, suffix = file.partition(".")
    return folder + slash + stem, suffix.lower()


def _why_not(info: tarfile.TarInfo, held: int) -> tuple[str, str] | None:
    try:
        safe_name(info.name)
    except Refused as error:
        return error.reason, error.message
    if not info.isfile():
        return "not_a_file", f"{info.name}: a link or a device; files are wanted"
    if held > _SAMPLE_LIMIT:
        return "too_many_bytes", f"{info.name}: over {_SAMPLE_LIMIT} bytes in one sample"
    return None
