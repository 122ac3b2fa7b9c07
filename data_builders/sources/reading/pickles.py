"""Pickles of plain data, read without running anything that is in them.

A pickle is a program. It is looked through first, and refused unless all it does is put together None, booleans, numbers, text, bytes,
lists, tuples, dicts and sets: nothing that imports, calls or asks for outside objects is ever run.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from pathlib import Path
from typing import Any, NoReturn

from eosin.errors import InputError

_LIMIT = 1 << 28
_CONSTANTS = "NONE NEWTRUE NEWFALSE INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT"
_TEXTS = "STRING BINSTRING SHORT_BINSTRING BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8"
_HOLDERS = (
    "EMPTY_LIST APPEND APPENDS LIST EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3 EMPTY_DICT DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET"
)
_STEPS = "PROTO FRAME STOP MARK POP POP_MARK DUP GET BINGET LONG_BINGET PUT BINPUT LONG_BINPUT MEMOIZE"
_PLAIN = frozenset(" ".join((_CONSTANTS, _TEXTS, _HOLDERS, _STEPS)).split())
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})


class _PlainUnpickler(pickle.Unpickler):
    """The second lock: no class is ever looked up."""

    def find_class(self, module: str, name: str) -> NoReturn:
        raise InputError(f"the pickle names {module}.{name}; only plain data are read from pickles")

    def persistent_load(self, pid: Any) -> NoReturn:
        raise InputError(f"the pickle asks for the outside object {pid!r}; only plain data are read from pickles")


def plain_pickle(path: Path) -> Any:
    """The value in a pickle file.

    Raises:
        InputError: the pickle holds anything but plain data, is damaged, or is over 256 MB.
    """
    if path.stat().st_size > _LIMIT:
        raise InputError(f"{path}: {path.stat().st_size} bytes; a pickle may have {_LIMIT}")
    data = path.read_bytes()
    _look_through(path, data)
    try:
        # Text of Python 2 comes as bytes in the file's own encoding; publishers wrote UTF-8.
        return _PlainUnpickler(io.BytesIO(data), encoding="utf-8").load()
    except (pickle.UnpicklingError, UnicodeDecodeError, ValueError, EOFError, IndexError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: not readable as a pickle ({error}); fetch it again") from error


def _look_through(path: Path, data: bytes) -> None:
    names = ""
    try:
        for count, (code, argument, place) in enumerate(pickletools.genops(data)):
            if code.name not in _PLAIN:
                what = argument if argument is not None else names
                raise InputError(
                    f"{path}: unsafe pickle: {code.name} at byte {place} ({what!r}) would import or call something. "
                    "Only lists, dicts, text and numbers are read from pickles; take the release from its publisher"
                )
            # A far place in the memo makes the unpickler ask for that much memory.
            if code.name in _PUTS and int(str(argument)) > count:
                raise InputError(f"{path}: unsafe pickle: {code.name} at byte {place} asks for place {argument} after {count} steps")
            names = argument if isinstance(argument, str) else names
    except (ValueError, IndexError, EOFError) as error:
        raise InputError(f"{path}: not readable as a pickle ({error}); fetch it again") from error
