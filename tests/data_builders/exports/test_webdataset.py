"""Tar files that hold every record, read back by the webdataset library and by tarfile."""

from __future__ import annotations

import dataclasses
import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
from PIL import Image

from eosin.artefacts import Artefact, open_artefact, verify
from eosin.data_builders.cli import main
from eosin.errors import ConfigError, InputError
from eosin.images import decode_image
from eosin.records import Conversation, Exported, ImageText, LabelledImage, Record

Write = Callable[..., Artefact]
Export = Callable[..., Path]
Restore = Callable[..., Record]


def samples(out: Path, split: str = "train") -> list[dict[str, Any]]:
    """A split as the library reads it from the artefact's own `urls`."""
    urls = str(out / open_artefact(out).plan.facts["urls"][split])
    return list(webdataset.WebDataset(urls, shardshuffle=False))


def picture(sample: dict[str, Any], prefix: str = "") -> bytes:
    return next(bytes(sample[prefix + suffix]) for suffix in ("jpg", "png") if prefix + suffix in sample)


def test_pairs_come_back_whole_and_other_readers_see_our_pixels(
    write: Write, export: Export, restore: Restore, pairs: list[ImageText]
) -> None:
    out = export("webdataset", write(pairs), "samples_a_shard=3")
    found = samples(out) + samples(out, "test")
    back = [restore(ImageText, json.loads(sample["json"]), image=picture(sample)) for sample in found]
    assert [dataclasses.replace(record, image=b"") for record in back] == [dataclasses.replace(record, image=b"") for record in pairs]
    assert [sample["txt"].decode() for sample in found] == [record.captions[0] for record in pairs]
    for sample, record in zip(found, pairs, strict=True):
        theirs = np.asarray(Image.open(io.BytesIO(picture(sample))).convert("RGB"))
        assert np.abs(theirs.astype(int) - decode_image(record.image).astype(int)).max() <= (1 if "jpg" in sample else 0)
    # What every reader shows alike keeps its bytes.
    assert [picture(sample) == record.image for sample, record in zip(found, pairs, strict=True)] == [True, True, False, False, True]


def read_back(folder: Path, out: Path, *options: str) -> Artefact:
    main(["data/source", "source=webdataset", f"folder={folder}", *options, "--out", str(out)])
    return open_artefact(out / "image_text")


def test_the_source_reads_pairs_back_as_they_were(write: Write, export: Export, tmp_path: Path, pairs: list[ImageText]) -> None:
    out = export("webdataset", write(pairs), "samples_a_shard=3")
    moved = tmp_path / "moved"
    moved.mkdir()
    for number, path in enumerate(sorted((out / "files").iterdir())):
        # Under names that say another split than the records do.
        path.rename(moved / f"val-{number}.tar")
    artefact = read_back(moved, tmp_path / "back")
    found = {record.id: dataclasses.replace(record, image=b"") for record in artefact.records(ImageText)}
    assert found == {record.id: dataclasses.replace(record, image=b"") for record in pairs}
    assert "groups_unknown" not in artefact.plan.facts
    named = read_back(moved, tmp_path / "named", "options.group=id", "options.licence=source")
    assert {(record.group, record.licence) for record in named.records(ImageText)} == {(record.id, record.source) for record in pairs}


def test_tar_files_say_that_groups_are_unknown(write: Write, export: Export, tmp_path: Path, pairs: list[ImageText]) -> None:
    out = export("webdataset", write(pairs, groups_unknown="no patients are told"))
    artefact = read_back(out / "files", tmp_path / "back")
    assert artefact.plan.facts["groups_unknown"] == "no patients are told"
    assert all("groups_unknown" not in record.extra for record in artefact.records(ImageText))


def test_a_caption_that_was_written_anew_counts_and_fields_that_were_added_are_kept(
    write: Write, export: Export, tmp_path: Path, pairs: list[ImageText]
) -> None:
    out = export("webdataset", write(pairs[:1]))
    folder = tmp_path / "changed"
    folder.mkdir()
    with tarfile.open(next((out / "files").iterdir())) as tar, tarfile.open(folder / "a.tar", "w") as changed:
        for key, spoilt in (
            ("0", {}),
            ("1", {"id": "s/1", "mpp": "wide"}),
            ("2", {"id": "s/2", "extra": 3}),
            ("3", {"id": "s/3", "licence": ""}),
        ):
            for entry in tar:
                content = tar.extractfile(entry).read()  # type: ignore[union-attr]
                suffix = entry.name.partition(".")[2]
                if suffix == "txt":
                    content = b"Another caption."
                if suffix == "json":
                    content = json.dumps({**json.loads(content), "score": 0.5, **spoilt}).encode()
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(content)
                changed.addfile(info, io.BytesIO(content))
    artefact = read_back(folder, tmp_path / "back")
    found = {record.id: record for record in artefact.records(ImageText)}
    first, foreign = found[pairs[0].id], found["webdataset/a/3"]
    assert first.captions == ("Another caption.", *pairs[0].captions[1:])
    assert first.extra == {**pairs[0].extra, "score": 0.5}
    # Without a licence it is no sample of ours, but one like any other.
    assert (foreign.captions, foreign.group) == (("Another caption.",), "a/3")
    assert artefact.manifest["counts"]["rejected"] == {"broken_record": 2}


def test_labelled_images_come_back_with_class_number_boxes_and_mask(
    write: Write, export: Export, restore: Restore, labelled: list[LabelledImage]
) -> None:
    found = samples(export("webdataset", write(labelled, classes=["ADI", "TUM"])))
    back = [restore(LabelledImage, json.loads(sample["json"]), image=picture(sample), mask=sample.get("mask.png")) for sample in found]
    assert back == labelled
    assert [sample.get("cls") for sample in found] == [b"1", b"0", None]


def test_conversations_come_back_with_their_images_in_order(
    write: Write, export: Export, restore: Restore, conversations: list[Conversation]
) -> None:
    upright = [record for record in conversations if record.split == "train"]
    back = []
    for sample in samples(export("webdataset", write(conversations))):
        columns = json.loads(sample["json"])
        shown = sum(part["type"] == "image" for turn in columns["messages"] for part in turn["content"])
        back.append(restore(Conversation, columns, images=tuple(picture(sample, f"{place}.") for place in range(shown))))
    assert back == upright


def test_the_table_says_where_each_id_went_and_nothing_is_lost(write: Write, export: Export, pairs: list[ImageText]) -> None:
    broken = ImageText(id="s/broken", source="s", licence="x", group="g", split="train", image=pairs[0].image[:40], captions=("a",))
    silent = ImageText(id="s/silent", source="s", licence="x", group="g", split="train", image=pairs[0].image, captions=())
    out = export("webdataset", write([*pairs, broken, silent]), "samples_a_shard=2")
    artefact = open_artefact(out)
    assert artefact.manifest["counts"] == {"in": 7, "out": 5, "rejected": {"no_caption": 1, "truncated": 1}}
    assert verify(artefact) == []
    for row in artefact.records(Exported):
        with tarfile.open(out / row.path) as tar:
            content = tar.extractfile(f"{row.key}.json")
            assert content is not None
            assert json.loads(content.read())["id"] == row.id


def test_tar_files_hold_no_time_and_no_owner_and_equal_data_give_equal_bytes(write: Write, export: Export, pairs: list[ImageText]) -> None:
    data = write(pairs)
    one, two = export("webdataset", data, "samples_a_shard=2"), export("webdataset", data, "samples_a_shard=2", out="two", workers=2)
    names = [path.relative_to(one) for path in sorted(one.rglob("*")) if path.is_file() and path.name not in ("run.json", ".lock")]
    assert Path("files/train-00001.tar") in names
    assert all((one / name).read_bytes() == (two / name).read_bytes() for name in names)
    with tarfile.open(one / "files/train-00000.tar") as tar:
        for entry in tar:
            assert (entry.mtime, entry.uid, entry.gid, entry.uname, entry.gname, entry.mode) == (0, 0, 0, "", "", 0o644)
            assert entry.name.count("/") == 0


def test_a_shard_whose_every_record_is_refused_leaves_no_hole_in_the_numbers(write: Write, export: Export, pairs: list[ImageText]) -> None:
    train = [record for record in pairs if record.split == "train"]
    out = export("webdataset", write([dataclasses.replace(train[0], captions=()), *train[1:]]), "samples_a_shard=1")
    assert [json.loads(sample["json"])["id"] for sample in samples(out)] == [record.id for record in train[1:]]


def test_only_the_splits_that_are_asked_for_go_out(write: Write, export: Export, pairs: list[ImageText]) -> None:
    data = write(pairs)
    out = export("webdataset", data, "splits=[test]")
    assert [path.name for path in (out / "files").iterdir()] == ["test-00000.tar"]
    with pytest.raises(ConfigError, match=r"no records of split 'val'; it holds: test, train"):
        main(["data/export-webdataset", f"data={data.path}", "splits=[val]", "--out", str(out / "no")])
    with pytest.raises(ConfigError, match=r"at least one sample; got 0"):
        main(["data/export-webdataset", f"data={data.path}", "samples_a_shard=0", "--out", str(out / "no")])


def test_a_label_outside_the_class_list_is_an_error(write: Write, export: Export, labelled: list[LabelledImage]) -> None:
    with pytest.raises(InputError, match=r"s/1: its label 'TUM' is not in the class list: ADI"):
        export("webdataset", write(labelled, classes=["ADI"]))
