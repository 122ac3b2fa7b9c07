"""`eosin audit`: what is planted is found, named, shown and removed; what is not planted is not."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from eosin.artefacts import open_artefact, verify
from eosin.data_builders.audit.cli import main
from eosin.errors import ConfigError, InputError
from eosin.images import encode_png
from eosin.records import Embedding, Finding, ImageText, LabelledImage

Pixels = NDArray[np.uint8]
Make = Callable[..., Any]
LONG = "Sheets of atypical glands with enlarged hyperchromatic nuclei invade a desmoplastic stroma"


def findings(folder: Path) -> list[Finding]:
    return list(open_artefact(folder, "audit").records(Finding))


def named(folder: Path) -> set[tuple[str, str | None, str | None]]:
    return {(one.finding, one.record, one.other) for one in findings(folder)}


def test_copies_and_shared_patients_are_found_and_nothing_else(
    tiles: list[Pixels], image: Make, write: Make, audit: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    train = write(
        "train",
        [
            image("same", tiles[0]),
            image("cropped", tiles[1][5:, 5:]),
            image("patient", tiles[2], group="TCGA-AB-1234-01A"),
            image("clean", tiles[3]),
        ],
    )
    against = write(
        "eval",
        [
            image("one", tiles[0], source="t"),
            image("two", np.rot90(tiles[1]), source="t"),
            image("three", tiles[4], source="t", group="slides/TCGA-AB-1234-02Z-00-DX1"),
            image("four", tiles[5], source="t", group="clean"),
        ],
    )
    out = audit(train, "--against", against)
    assert named(out) >= {
        ("exact_image", "s/same", "t/one"),
        ("near_image", "s/cropped", "t/two"),
        ("shared_group", "s/patient", "t/three"),
    }
    assert {one.record for one in findings(out) if one.finding in ("exact_image", "near_image", "shared_group")} == {
        "s/same",
        "s/cropped",
        "s/patient",
    }
    artefact = open_artefact(out)
    assert verify(artefact) == []
    assert artefact.manifest["results"]["leaking_train_records"] == 3
    assert "3 of 4 training records leak" in capsys.readouterr().out


@pytest.mark.parametrize("swapped", [False, True])
def test_a_video_is_found_by_a_name_in_small_letters_where_the_other_side_is_sure_of_it(
    swapped: bool, tiles: list[Pixels], image: Make, write: Make, audit: Make
) -> None:
    named_after = [
        image("linked", tiles[0], group="abcdefghijk_roi_1.jpg"),
        image("grouped", tiles[1], group="abc1def2gh_"),
        image("word", tiles[2], group="microscopic_image_1.jpg"),
        image("other", tiles[3], group="lmnopqrstuv_roi_1.jpg"),
    ]
    sure = [
        image("link", tiles[4], source="t", group="https://youtu.be/abcdefghijk?t=4"),
        image("quilt", tiles[5], source="quilt_vqa", group="abc1def2gh_"),
        image("too", tiles[6], source="t", group="microscopic_image_2.jpg"),
    ]
    sides = [write("a", named_after), write("b", sure)]
    train, against = reversed(sides) if swapped else sides
    found = {frozenset(one[1:]) for one in named(audit(train, "--against", against)) if one[0] == "shared_group"}
    assert found == {frozenset({"s/linked", "t/link"}), frozenset({"s/grouped", "quilt_vqa/quilt"})}


def test_splits_of_one_artefact_are_audited_against_each_other(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    data = write(
        "data",
        [image("a", tiles[0]), image("b", tiles[1]), image("c", tiles[1][:, ::-1], split="test"), image("d", tiles[2], split="test")],
    )
    out = audit(f"{data}:train", "--against", f"{data}:test")
    assert {one[1:] for one in named(out) if one[0] == "near_image"} == {("s/b", "s/c")}
    assert open_artefact(out).manifest["results"]["records"] == {"train[0]": 2, "against[0]": 2}


def test_the_same_records_on_both_sides_are_refused(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    data = write("data", [image("a", tiles[0])])
    with pytest.raises(InputError, match="DIR:train, DIR:test"):
        audit(data, "--against", f"{data}:train")


def test_removal_keeps_the_clean_and_rejects_name_the_finding(
    tiles: list[Pixels], image: Make, write: Make, audit: Make, tmp_path: Path
) -> None:
    train = write("train", [image("a", tiles[0]), image("b", tiles[1]), image("c", tiles[2])])
    against = write("eval", [image("x", tiles[1], source="t")])
    audit(train, "--against", against, "--remove", tmp_path / "clean")
    cleaned = open_artefact(tmp_path / "clean" / "train", "labelled_images")
    assert [record.id for record in cleaned.records(LabelledImage)] == ["s/a", "s/c"]
    (reject,) = pq.read_table(cleaned.path / "rejects" / "rejects.parquet").to_pylist()
    assert (reject["key"], reject["reason"]) == ("s/b", "exact_image")
    assert "against[0]: t/x" in reject["message"]
    out = audit(cleaned.path, "--against", against, out="again")
    assert open_artefact(out).manifest["results"]["leaking_train_records"] == 0


def test_texts_leak_by_words_and_common_phrases_do_not(tiles: list[Pixels], write: Make, audit: Make) -> None:
    def pair(name: str, number: int, text: str, source: str = "s") -> ImageText:
        return ImageText(
            id=f"{source}/{name}",
            source=source,
            licence="CC0-1.0",
            group=name,
            split="train",
            image=encode_png(np.ascontiguousarray(tiles[number % 12][:, : 40 + number])),
            captions=(text,),
        )

    common = "A haematoxylin and eosin stained section of tissue under the microscope"
    train = write("train", [pair("told", 0, f"{LONG} of the colon"), *(pair(f"common{number}", number, common) for number in range(1, 24))])
    against = write("eval", [pair("x", 30, f"{LONG}, of the COLON.", "t"), pair("y", 31, common, "t")])
    out = audit(train, "--against", against)
    assert [(one.record, one.other) for one in findings(out) if one.finding == "near_text"] == [("s/told", "t/x")]
    assert open_artefact(out).manifest["results"]["templates"] == 1


def test_flaws_of_labels_images_classes_and_sizes_are_found(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    broken = LabelledImage(id="s/broken", source="s", licence="CC0-1.0", group="g", split="train", image=b"\xff\xd8\xff", label="tumour")
    train = write(
        "train",
        [image("a", tiles[0], label="tumour"), image("b", tiles[0][::-1], label="normal"), image("c", tiles[1], label="normal"), broken],
    )
    against = write(
        "eval",
        [image(f"x{number}", np.kron(tiles[number + 4], np.ones((2, 2, 1), np.uint8)), source="t", label="scar") for number in range(3)],
    )
    out = audit(train, "--against", against)
    found = Counter(one.finding for one in findings(out))
    assert found["label_conflict"] == 2
    assert found["unreadable"] == 1
    assert found["missing_class"] == 1
    assert found["size_shift"] == 1
    assert ("label_conflict", "s/a", "s/b") in named(out)
    assert not found.keys() & {"exact_image", "near_image", "shared_group"}


def test_a_stain_outlier_and_a_stain_shift_are_found(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    draw = np.random.default_rng(0)
    pictures = [np.clip(tiles[0].astype(int) + draw.integers(-3, 4), 0, 255).astype(np.uint8)[number:] for number in range(24)]
    train = write("train", [image(f"a{number}", pixels) for number, pixels in enumerate(pictures)] + [image("odd", 255 - tiles[1])])
    against = write("eval", [image(f"x{number}", (tiles[number] * 0.5).astype(np.uint8), source="t") for number in range(2, 6)])
    found = findings(audit(train, "--against", against))
    assert [one.record for one in found if one.finding == "outlier"] == ["s/odd"]
    assert any(one.finding == "stain_shift" and one.record is None for one in found)


def test_neighbours_by_embedding_leak_when_they_show_the_same(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    # A window moved by a tenth is too far for the hashes; the vectors put all images close together, as a weak model does.
    train = write("train", [image("moved", tiles[0][:100, :100]), image("other", tiles[1])])
    against = write("eval", [image("x", tiles[0][12:, 12:], source="t")])

    def vector(name: str, number: int) -> Embedding:
        values = np.eye(4, dtype=np.float32)[0] + 0.1 * np.eye(4, dtype=np.float32)[number]
        return Embedding(
            id=name, source="e", licence="CC0-1.0", group=name, vector=tuple((values / np.linalg.norm(values)).tolist()), split="train"
        )

    vectors = write("vectors", [vector("s/moved", 1), vector("s/other", 2), vector("t/x", 3)])
    without = audit(train, "--against", against, out="without")
    assert open_artefact(without).manifest["results"]["leaking_train_records"] == 0
    out = audit(train, "--against", against, "--embeddings", vectors)
    assert {one.record for one in findings(out) if one.finding == "embedding"} == {"s/moved"}
    trusting = audit(train, "--against", against, "--embeddings", vectors, "--overlap", "0", out="trusting")
    assert {one.record for one in findings(trusting) if one.finding == "embedding"} == {"s/moved", "s/other"}


def test_the_report_stands_alone_shows_some_and_counts_all(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    train = write("train", [image(f"<b>{number}", tiles[number]) for number in range(5)])
    against = write("eval", [image(f"x{number}", tiles[number], source="t") for number in range(5)])
    page = (audit(train, "--against", against, "--shown", "2") / "report.html").read_text()
    assert page.count('src="data:image/jpeg;base64,') == 4 * page.count("2 of 5 shown.") > 0
    assert "http" not in page
    assert "<b>" not in page
    assert "&lt;b&gt;0" in page


def test_an_audit_made_again_gives_the_same_bytes(tiles: list[Pixels], image: Make, write: Make, audit: Make) -> None:
    train = write("train", [image(str(number), tiles[number % 3][number:]) for number in range(6)])
    against = write("eval", [image("x", tiles[0], source="t")])
    one, two = audit(train, "--against", against, out="one"), audit(train, "--against", against, out="two")
    assert open_artefact(one).digest == open_artefact(two).digest
    assert audit(train, "--against", against, out="one") == one


def test_two_ways_to_embed_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give one"):
        main(["a", "--against", "b", "--out", str(tmp_path / "o"), "--embeddings", "c", "--embedder", "d"])
