"""The containers: a section read on its own gives what reading from the start gives, whatever the content."""

import csv
import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eosin.data_builders.sources.reading import json_files
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import BROKEN, document, elements, list_sections, section_elements
from eosin.data_builders.sources.reading.tables import header_of, need_columns, optional, row_sections, section_rows
from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00"))


@pytest.fixture
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("container") / "file"


def read_back(path: Path, size: int) -> list[Any]:
    found = []
    for section in reversed(list(list_sections(path, "x", size=size))):
        found[:0] = [element for _, element in section_elements(path, section)]
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.lists(values),
    size=st.integers(1, 5),
    ascii_only=st.booleans(),
    indent=st.sampled_from([None, 1]),
    mark=st.booleans(),
    block=st.integers(1, 40),
)
def test_a_json_list_is_read_from_any_section(
    file: Path, content: list[Any], size: int, ascii_only: bool, indent: int | None, mark: bool, block: int
) -> None:
    text = json.dumps(content, ensure_ascii=ascii_only, indent=indent)
    if indent:
        text = text.replace("\n", "\r\n")
    file.write_bytes(("\ufeff" if mark else "").encode() + text.encode("utf-8", "surrogatepass" if ascii_only else "replace"))
    expected = json.loads(file.read_bytes().decode("utf-8-sig"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_files, "_BLOCK", block)
        assert read_back(file, size) == expected


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.lists(st.dictionaries(st.text(), values, max_size=3), min_size=1), size=st.integers(1, 4))
def test_json_lines_are_read_from_any_section(file: Path, content: list[Any], size: int) -> None:
    file.write_bytes(b"\xef\xbb\xbf" + b"".join(json.dumps(item).encode() + b"\r\n\r\n" for item in content))
    assert read_back(file, size) == content


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(cells, cells, cells), min_size=1),
    size=st.integers(1, 4),
    delimiter=st.sampled_from(",;\t"),
    ending=st.sampled_from(["\n", "\r\n", "\r", "\r\r\n"]),
    mark=st.booleans(),
    names=st.sampled_from([("one", "two", "three"), ("one", "two\nlines", "three"), ("one", "", "")]),
)
def test_a_table_is_read_from_any_section(
    file: Path, rows: list[tuple[str, str, str]], size: int, delimiter: str, ending: str, mark: bool, names: tuple[str, str, str]
) -> None:
    file = file.with_name(f"file-{len(list(file.parent.iterdir()))}")
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, delimiter=delimiter, lineterminator=ending, quoting=csv.QUOTE_ALL)
    writer.writerows([names, *rows])
    file.write_bytes(("\ufeff" if mark else "").encode() + buffer.getvalue().encode())
    found: list[dict[str, str]] = []
    for section in reversed(list(row_sections(file, "x", size=size))):
        found[:0] = [row for _, row in section_rows(file, section)]
    told = [name.replace("\n", " ") for name in names]
    assert header_of(file) == told
    assert found == [dict(zip(told, map(str.strip, row), strict=True)) for row in rows]


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": ', '[{"a": 1} {"a": 2}]', '[{"a": 1}, 2', "[1,, 2]"])
def test_a_json_list_that_was_cut_off_is_an_error_not_a_shorter_list(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(InputError, match="cut off or damaged"):
        list(elements(file))


def test_a_line_that_is_no_json_is_told_and_its_neighbours_stay(file: Path) -> None:
    file.write_text('{"a": 1}\n{"a": \n{"a": 3}\n')
    assert [element for _, element in elements(file)] == [{"a": 1}, BROKEN, {"a": 3}]


def test_numbers_of_too_many_digits_are_text_and_nesting_too_deep_is_told(file: Path) -> None:
    digits, deep = "1" * 5000, "[" * 100_000
    file.write_text(f'{{"a": {digits}}}\n{{"a": {deep}\n{{"a": 3}}\n')
    assert [element for _, element in elements(file)] == [{"a": digits}, BROKEN, {"a": 3}]
    file.write_text(f'[{{"a": {digits}}}, {{"a": 3}}]')
    assert [element for _, element in elements(file)] == [{"a": digits}, {"a": 3}]
    file.write_text(f'[{{"a": 1}}, {{"a": {deep}')
    with pytest.raises(InputError, match="byte 11 nests too deep"):
        list(elements(file))
    with pytest.raises(InputError, match="nests too deep"):
        document(file)


def test_a_quote_that_is_never_closed_is_an_error(file: Path) -> None:
    file.write_text('one,two\n"x\ny",z\na,"b\nc,d\n')
    with pytest.raises(InputError, match="line 4: the row that begins there has a quote"):
        list(row_sections(file, "x"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("one,two\na,b\n".encode("utf-16"), "says UTF-16; save it as UTF-8"),
        (b'"one,two\na,b\n', "its header is not readable"),
        (b"one,two\rthree\na,b\n", "a quote that is not closed|its header is not readable"),
    ],
)
def test_a_table_that_cannot_be_read_as_it_is_says_what_to_do(file: Path, content: bytes, message: str) -> None:
    file.write_bytes(content)
    with pytest.raises(InputError, match=message):
        list(row_sections(file, "x"))


def test_a_table_of_another_encoding_is_read_with_a_warning(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_bytes("one,two\nM\u00fcller,\u2265 5".encode("cp1252", "replace") + b"\n")
    [section] = row_sections(file, "x")
    assert [row["one"] for _, row in section_rows(file, section)] == ["Müller"]
    assert "read as Windows-1252" in capsys.readouterr().err


def test_images_are_found_in_folders_and_archives_and_nowhere_else(tmp_path: Path, jpeg: Callable[..., bytes]) -> None:
    root = tmp_path / "release"
    for number, name in enumerate(("a.jpg", "images/b.jpg", "deep/down/c.jpg", "one/twice.jpg", "two/twice.jpg")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(jpeg(number))
    with zipfile.ZipFile(root / "images.zip", "w") as archive:
        archive.writestr("images/z.jpg", jpeg(9))
    (tmp_path / "secret.jpg").write_bytes(jpeg(10))
    (root / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    images = ImageFiles(root)
    assert [images.read(name) for name in ("a.jpg", ".\\b.jpg", "elsewhere/c.jpg", "z.jpg")] == [jpeg(0), jpeg(1), jpeg(2), jpeg(9)]
    reasons = {}
    for name in ("twice.jpg", "none.jpg", "../secret.jpg", "/etc/passwd", "C:\\x.jpg", "link.jpg", ""):
        with pytest.raises(Refused) as refused:
            images.read(name)
        reasons[name] = refused.value.reason
    assert list(reasons.values()) == [
        "image_ambiguous",
        "image_missing",
        "path_outside",
        "path_outside",
        "path_outside",
        "path_outside",
        "image_missing",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"path,group\r\r\na.png,1\r\r\nb.png,2\r\r\n",
        b"path,group\r\na.png,1\nb.png,2\n",
        b'path,"group"\ra.png,1\rb.png,"2\n"\r',
    ],
)
def test_a_carriage_return_ends_lines_only_where_no_line_feed_does(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    [section] = row_sections(file, "x")
    assert [row for _, row in section_rows(file, section)] == [{"path": "a.png", "group": "1"}, {"path": "b.png", "group": "2"}]


def test_a_doubled_column_is_refused_only_where_it_is_read(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("path,group,note,note\na.png,1,x,y\n")
    need_columns(file, ("path",), ("group",))
    assert "several columns are called note" in capsys.readouterr().err
    [section] = row_sections(file, "x")
    [(_, row)] = section_rows(file, section)
    assert (optional(row, "path"), optional(row, "group")) == ("a.png", "1")
    with pytest.raises(InputError, match="several columns of the table are called note"):
        optional(row, "Note")
    with pytest.raises(InputError, match="several columns are called note"):
        need_columns(file, ("path",), ("note",))
