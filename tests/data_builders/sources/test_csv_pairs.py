"""Plain CSV: any delimiter, any column names, nothing lost in silence."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.errors import ConfigError, InputError

Jpeg = Callable[..., bytes]


def test_rows_become_pairs_and_what_does_not_is_named(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "mine"
    (folder / "pictures").mkdir(parents=True)
    (folder / "pictures" / "a.jpg").write_bytes(jpeg(1))
    (folder / "pictures" / "broken.jpg").write_bytes(jpeg(2)[:100])
    (tmp_path / "secret.jpg").write_bytes(jpeg(3))
    rows = [
        "\ufeffFile;Text;Patient;Fold;Site",
        'pictures/a.jpg;"Glands; back to back,\r\nwith ""dirty"" necrosis";P1;valid;colon',
        "gone.jpg;Stroma;P2;train;",
        "pictures/broken.jpg;Mucin;P2;train;",
        "../secret.jpg;Fat;P3;test;",
        "pictures/a.jpg;;P1;train;",
        "pictures/a.jpg;Too few fields",
        "pictures/a.jpg;Odd;P1;holdout;",
    ]
    (folder / "table.csv").write_text("\r\n".join(rows) + "\r\n", newline="")
    options = ["options.image=file", "options.caption=text", "options.group=patient", "options.split=fold"]
    built = read_source("csv", folder, *options)
    [record] = built.records
    assert record.captions == ('Glands; back to back,\r\nwith "dirty" necrosis',)
    assert (record.group, record.split, record.extra["Site"]) == ("P1", "val", "colon")
    assert built.rejects == {
        "table.csv#1": "image_missing",
        "table.csv#2": "truncated",
        "table.csv#3": "path_outside",
        "table.csv#4": "no_caption",
        "table.csv#5": "wrong_columns",
        "table.csv#6": "unknown_split",
    }


def test_what_a_file_tells_beside_its_pixels_is_taken_out(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    plain, secret = jpeg(1), b"PATIENT SUSAN BARKER"
    (folder / "a.jpg").write_bytes(plain[:2] + b"\xff\xfe" + (2 + len(secret)).to_bytes(2, "big") + secret + plain[2:])
    (folder / "table.csv").write_text("image,caption\na.jpg,Glands.\n")
    assert [record.image for record in read_source("csv", folder).records] == [plain]


def test_what_is_missing_is_said_before_the_run(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "notes.txt").write_text("x")
    with pytest.raises(InputError, match="it comes from you"):
        read_source("csv", folder)
    (folder / "table.csv").write_text("image,text\na.jpg,x\n")
    with pytest.raises(InputError, match="the column caption is missing; there are: image, text"):
        read_source("csv", folder)
    with pytest.raises(InputError, match=r"none of the first 1 items could be read \(1 image_missing\)"):
        read_source("csv", folder, "options.caption=text")
    with pytest.raises(ConfigError, match="did you mean caption"):
        read_source("csv", folder, "options.captoin=text")
