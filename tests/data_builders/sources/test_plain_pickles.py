"""A pickle is data or it is refused; nothing in it ever runs."""

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eosin.data_builders.sources.reading.pickles import plain_pickle
from eosin.errors import InputError

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.tuples(inner, inner) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


class Trap:
    """Makes a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


class Plain:
    """Any class at all."""


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(VALUES, st.integers(3, 5))
def test_plain_data_come_back_as_they_went_in(tmp_path: Path, value: object, protocol: int) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert plain_pickle(path) == value


@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_that_would_run_something_is_refused_and_does_not_run(tmp_path: Path, protocol: int) -> None:
    path, made = tmp_path / "a.pkl", tmp_path / "made"
    for value in ([Trap(made)], OrderedDict(a=1), Plain(), {"x": os.getcwd}, Plain):
        path.write_bytes(pickle.dumps(value, protocol))
        with pytest.raises(InputError, match=r"unsafe pickle: (GLOBAL|STACK_GLOBAL|INST|OBJ) at byte"):
            plain_pickle(path)
    assert not made.exists()


def test_tricks_with_persistent_ids_extensions_and_the_memo_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    for program, reason in (
        (b"Pfile\n.", "PERSID"),
        (b"\x82\x01.", "EXT1"),
        (b"]r\xff\xff\xff\xff.", "asks for place 4294967295"),
        (b"\x80\x04]\x94", "not readable as a pickle"),
        (b"", "not readable as a pickle"),
        (b"garbage", "not readable as a pickle"),
        (pickle.dumps([1, 2, 3])[:-3], "not readable as a pickle"),
        (b"a.", "not readable as a pickle"),
    ):
        path.write_bytes(program)
        with pytest.raises(InputError, match=reason):
            plain_pickle(path)


def test_text_of_python_2_is_text(tmp_path: Path) -> None:
    path = tmp_path / "a.pkl"
    path.write_bytes(b"\x80\x02]q\x00U\x05M\xc3\xbclla.")
    assert plain_pickle(path) == ["Müll"]
