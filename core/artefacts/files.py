"""Files: hashed, and written so that a reader never sees half of one."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from eosin.artefacts.plan import canonical_json
from eosin.errors import ArtefactError, EosinError, InputError, disk_is_full

_CHUNK = 1 << 20
# A slide is gigabytes that nobody edits in place, and an archive holds thousands: its digest is of samples.
_SLIDE_SUFFIXES = (".svs", ".tif", ".tiff", ".ndpi", ".vms", ".vmu", ".scn", ".mrxs", ".svslide", ".bif", ".czi", ".dcm", ".dat")
_SLIDE_BYTES = 1 << 26
_SAMPLES = 16
UNTRACKED = ("manifest.json", "run.json", ".lock")
SCRATCH = "_work"


def sha256_of(path: Path) -> str:
    """sha256 of a file's content, as hex."""
    digest = hashlib.sha256()
    with path.open("rb") as handle:
        while chunk := handle.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def digest_of_folder(folder: Path) -> str:
    """sha256 over the names and contents of all files below `folder`, hidden ones left out.

    A slide of over 64 MB counts by its size and 16 MB of it, evenly spread. A file that cannot be read counts by its name and the error, so
    that one such file does not bar the folder: whoever reads its files says what is wrong with it.
    """
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and not any(part.startswith(".") for part in name.parts):
            # A file name need not be text: bytes that are no UTF-8 are written as escapes.
            written = name.as_posix().encode("utf-8", "backslashreplace").decode()
            digest.update(canonical_json([written, digest_of_file(path)]))
    return digest.hexdigest()


def digest_of_file(path: Path) -> str:
    """What a file counts by in the digest of a folder: sha256 of its content, or of samples of a large slide, or why it cannot be read."""
    try:
        if path.suffix.lower() in _SLIDE_SUFFIXES and path.stat().st_size > _SLIDE_BYTES:
            return _sampled(path)
        return sha256_of(path)
    except OSError as error:
        return f"unreadable: {error.strerror}"


def _sampled(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as handle:
        for number in range(_SAMPLES):
            handle.seek((size - _CHUNK) * number // (_SAMPLES - 1))
            digest.update(handle.read(_CHUNK))
    return f"sampled: {digest.hexdigest()}"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A hidden temporary name beside `path`, synced and renamed over it when the block ends well.

    Raises:
        InputError: the disk is full; what was finished before is kept.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        with temporary.open("rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    except EosinError:
        raise
    except Exception as error:
        if disk_is_full(error):
            raise InputError(
                f"no space left on the disk of {path.parent}: free some and run the same command again; finished parts are kept"
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """JSON for people and machines: sorted, indented, replaced atomically."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as handle:
        # Piece by piece: the manifest of a million files is no small text.
        json.dump(value, handle, sort_keys=True, ensure_ascii=False, indent=1)
        handle.write("\n")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file that holds a mapping.

    Raises:
        ArtefactError: it does not.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ArtefactError(f"{path}: damaged, not readable as JSON ({error}); build it again with --overwrite") from error
    if not isinstance(value, dict):
        raise ArtefactError(f"{path}: damaged, a mapping is wanted; build it again with --overwrite")
    return value


def tracked_files(folder: Path) -> Iterator[str]:
    """The names, relative to the folder, of every file of an artefact that its manifest lists, in a stable order."""
    for root, folders, names in os.walk(folder):
        inner = Path(root).relative_to(folder)
        folders.sort()
        if not inner.parts:
            folders[:] = [name for name in folders if name != SCRATCH]
            names = [name for name in names if name not in UNTRACKED]
        for name in sorted(names):
            if not name.startswith(".") and os.path.isfile(os.path.join(root, name)):
                yield (inner / name).as_posix()
