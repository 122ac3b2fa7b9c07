"""Images that a record names: in the folder, in a folder of it, or in a zip archive that lies there unopened."""

from __future__ import annotations

import errno
import os
import zipfile
from pathlib import Path, PurePosixPath

from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError
from eosin.images import DEFAULT_LIMITS, read_image_file

_SHOWN = 200
_SUBFOLDERS = ("", "images", "image", "imgs", "img")


class ImageFiles:
    """Finds images by the names that records give them.

    A name is tried below `root` as it is, then in folders called images, then as a member of the zip archives in `root`, and at last by
    its file name alone anywhere below `root`, where only one file has it.

    Args:
        root: a folder.
        tail: how many last parts of a name tell an image from all others: 2 where file names are only unique within their folder.
        anywhere: look below the whole of `root` at last. That takes a table of all its files: leave it off where there may be millions.
    """

    def __init__(self, root: Path, tail: int = 1, *, anywhere: bool = True) -> None:
        self.root = root
        self.tail = tail
        self.anywhere = anywhere
        self._zips: dict[Path, zipfile.ZipFile] | None = None
        self._members: dict[str, dict[tuple[int, int], tuple[Path, str]]] = {}
        self._by_name: dict[str, list[str]] | None = None

    def read(self, name: str) -> bytes:
        """The image's bytes, as they are.

        Raises:
            Refused: `image_missing`, `image_ambiguous`, or see `safe_name`.
            ImageError: too large, or empty.
        """
        checked = safe_name(name)
        for folder in _SUBFOLDERS:
            path = self.root / folder / checked
            if is_file(path):
                return self._file(path, name)
        members = self._member(checked)
        if len(members) == 1:
            return self._unzip(*members[0])
        if members:
            raise Refused(
                "image_ambiguous", f"{name}: {len(members)} members of zip archives are called so: {members[0][1]}, {members[1][1]}"
            )
        found = self._named(checked)
        if len(found) == 1:
            return self._file(self.root / found[0], name)
        if found:
            raise Refused("image_ambiguous", f"{name}: {len(found)} files are called so: {', '.join(found[:3])}")
        raise Refused("image_missing", f"{name[:_SHOWN]}: not below {self.root.name}, nor in a zip archive there")

    def __contains__(self, name: str) -> bool:
        checked = safe_name(name)
        if any(is_file(self.root / folder / checked) for folder in _SUBFOLDERS):
            return True
        return len(self._member(checked)) == 1 or len(self._named(checked)) == 1

    def _file(self, path: Path, name: str) -> bytes:
        if not path.resolve().is_relative_to(self.root.resolve()):
            raise Refused("path_outside", f"{name}: a link that leads out of the folder")
        try:
            return read_image_file(path)
        except InputError as error:
            raise Refused("unreadable", str(error)) from error

    def _member(self, name: str) -> list[tuple[Path, str]]:
        if self._zips is None:
            self._zips = {}
            for path in sorted(self.root.glob("*.zip")):
                try:
                    self._zips[path] = zipfile.ZipFile(path)
                except (zipfile.BadZipFile, OSError) as error:
                    raise InputError(f"{path}: not readable as a zip archive ({error}); fetch it again") from error
                for info in self._zips[path].infolist():
                    if not info.is_dir():
                        # Archives are packed from any level: images.zip may hold images/x.jpg or x.jpg.
                        # The same bytes in two archives are one image.
                        for key in {"/" + info.filename, self._tail(info.filename)}:
                            self._members.setdefault(key, {}).setdefault((info.CRC, info.file_size), (path, info.filename))
        return list((self._members.get("/" + name) or self._members.get(self._tail(name), {})).values())

    def _unzip(self, path: Path, member: str) -> bytes:
        archive = (self._zips or {})[path]
        DEFAULT_LIMITS.check_bytes(archive.getinfo(member).file_size)
        try:
            return archive.read(member)
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise Refused("corrupt", f"{path.name}: {member} is damaged: {error}") from error

    def _named(self, name: str) -> list[str]:
        if not self.anywhere:
            return []
        if self._by_name is None:
            self._by_name = {}
            for folder, folders, names in os.walk(self.root):
                folders.sort()
                for found in sorted(names):
                    path = Path(folder, found).relative_to(self.root).as_posix()
                    self._by_name.setdefault(self._tail(path), []).append(path)
        return self._by_name.get(self._tail(name), [])

    def _tail(self, name: str) -> str:
        return "/".join(PurePosixPath(name).parts[-self.tail :])


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that is too long for any file names none."""
    try:
        return path.is_file()
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return False
        raise


def safe_name(name: str) -> str:
    """A relative path with forward slashes.

    Raises:
        Refused: `path_outside`: it is absolute or climbs; `image_missing`: it is empty; `image_inline`: it is the image itself.
    """
    cleaned = name.strip().replace("\\", "/").removeprefix("./")
    if not cleaned:
        raise Refused("image_missing", "the record names no image")
    if cleaned[:5].lower() == "data:":
        raise Refused("image_inline", f"the image stands in the record itself ({cleaned[:30]}...); save it as a file and name that")
    if cleaned.startswith("/") or ".." in cleaned.split("/") or (len(cleaned) > 1 and cleaned[1] == ":") or "\x00" in cleaned:
        raise Refused("path_outside", f"{name[:_SHOWN]}: the name leads out of the folder")
    return cleaned
