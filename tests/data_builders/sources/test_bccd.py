"""BCCD: boxes as fractions, XML that cannot reach outside itself."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.data_builders.sources.reading.voc import read_annotation
from eosin.data_builders.sources.source import Refused

SIZE = "<size><width>{side}</width><height>{side}</height><depth>3</depth></size>"
XML = "<annotation><filename>{name}.jpg</filename>" + SIZE + "{objects}</annotation>"
OBJECT = "<object><name>{}</name><bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox></object>"


def xml(name: str, *objects: tuple[object, ...], side: int = 16) -> str:
    return XML.format(name=name, side=side, objects="".join(OBJECT.format(*each) for each in objects))


@pytest.fixture
def release(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    root = tmp_path / "BCCD"
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    contents = {
        "a": xml("a", ("RBC", 0, 4, 8, 16), ("WBC", 181, 329, 181, 329), ("Platelets", 1, 1, 2, 20)),
        "b": xml("wrong_name", ("WBC", 1, 1, 9, 9)),
        "c": xml("c", ("RBC", 1, 1, 2, 2), side=640),
        "d": '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><annotation><filename>&e;</filename></annotation>',
        "e": "<annotation><size>",
        "f": xml("f", ("Blast", 1, 1, 9, 9)),
        "g": xml("g", ("RBC", 1, 1, 9, 9)),
        "gone": xml("gone", ("RBC", 1, 1, 9, 9)),
    }
    for number, (name, content) in enumerate(contents.items()):
        (root / "Annotations" / f"{name}.xml").write_text(content)
        if name != "gone":
            (root / "JPEGImages" / f"{name}.jpg").write_bytes(jpeg(number))
    (root / "JPEGImages" / "h.jpg").write_bytes(jpeg(99))
    (root / "ImageSets/Main/train.txt").write_text("a\ng\n")
    (root / "ImageSets/Main/test.txt").write_text("b 1\ng -1\n")
    (root / "ImageSets/Main/trainval.txt").write_text("a\n")
    return tmp_path


def test_boxes_are_fractions_and_what_is_none_is_named(release: Path, read_source) -> None:
    built = read_source("bccd", release)
    found = {record.group: record for record in built.records}
    assert set(found) == {"a", "b"}
    [box] = found["a"].boxes
    assert (box.x0, box.y0, box.x1, box.y1, box.label) == (0.0, 0.25, 0.5, 1.0, "RBC")
    assert found["a"].extra["bad_boxes"][0].startswith("object 1: WBC from (181, 329)")
    assert len(found["a"].extra["bad_boxes"]) == 2
    assert (found["a"].labels, found["a"].split, found["b"].split) == (("RBC",), "train", "test")
    reasons = {key.rpartition("/")[2]: reason for key, reason in built.rejects.items()}
    assert reasons == {
        "c.jpg": "size_mismatch",
        "d.jpg": "bad_xml",
        "e.jpg": "bad_xml",
        "f.jpg": "unknown_class",
        "g.jpg": "in_two_splits",
        "gone.xml": "image_missing",
        "h.jpg": "annotation_missing",
    }


def test_entities_are_refused_in_every_encoding(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY e "boom">]><annotation><filename>&e;</filename></annotation>'
    path = tmp_path / "x.xml"
    for encoding in ("utf-8", "utf-16", "utf-16-le"):
        path.write_bytes(bomb.encode(encoding))
        with pytest.raises(Refused, match=r"document type"):
            read_annotation(path)


@pytest.fixture
def published(tmp_path: Path, jpeg: Callable[..., bytes]) -> Path:
    """The published pictures where EOSIN_REAL_DATA names them, else one of the same form."""
    real = Path(os.environ.get("EOSIN_REAL_DATA", tmp_path)) / "tiles" / "bccd_voc"
    if real.is_dir():
        return real
    for folder, name, content in (("JPEGImages", "x.jpg", jpeg(1)), ("Annotations", "x.xml", xml("x", ("RBC", 1, 1, 9, 9)).encode())):
        (tmp_path / "BCCD" / folder).mkdir(parents=True)
        (tmp_path / "BCCD" / folder / name).write_bytes(content)
    return tmp_path


def test_every_annotated_picture_is_read(published: Path, read_source) -> None:
    built = read_source("bccd", published)
    assert len(built.records) == len(list(published.glob("BCCD/Annotations/*.xml")))
    assert all(record.boxes for record in built.records)
    assert not built.rejects
