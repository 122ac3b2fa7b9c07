"""Image-text in containers: tar shards, Parquet, JSON lines, and what `save_to_disk` writes."""

import datetime
import io
import json
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from eosin.data_builders.sources.biomedica import partition_of
from eosin.errors import InputError

Jpeg = Callable[..., bytes]
Members = Sequence[tuple[str, bytes]]


def pack(path: Path, members: Members) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


def parquet(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=2)


def told(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def test_a_webdataset_is_read_where_it_lies(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    root = tmp_path / "w"
    members = [
        ("000.jpg", jpeg(1)),
        ("000.txt", "\ufeffGlands.\n".encode()),
        ("000.json", told(patient="P1", width=3)),
        ("001.image.png", jpeg(2)),
        ("001.json", told(patient="P2", caption=["Fat.", "Stroma."])),
        ("002.txt", b"No image."),
        ("003.jpg", jpeg(3)),
        ("003.json", told(patient="P3")),
        ("004.jpg", jpeg(4)),
        ("004.txt", b"Broken fields."),
        ("004.json", b"{"),
        ("../005.jpg", jpeg(5)),
        ("006.jpg", jpeg(6)),
        ("006.txt", b"No group."),
        ("007.jpg", jpeg(7)[:90]),
        ("007.txt", b"Cut off."),
        ("007.json", told(patient="P7")),
    ]
    pack(root / "train-000.tar", members)
    pack(root / "val-000.tar", [("000.jpg", jpeg(8)), ("000.txt", b"Same key, other archive."), ("000.json", told(patient="P8"))])
    built = read_source("webdataset", root, "options.group=patient")
    found = built.by_id()
    assert list(found) == ["webdataset/train-000/000", "webdataset/train-000/001", "webdataset/val-000/000"]
    first, second, third = found.values()
    assert (first.captions, first.group, first.split, first.extra["width"]) == (("Glands.",), "P1", "train", 3)
    assert (second.captions, second.image) == (("Fat.", "Stroma."), jpeg(2))
    assert third.split == "val"
    assert built.rejects == {
        "train-000/002": "image_missing",
        "train-000/003": "no_caption",
        "train-000/004": "broken_record",
        "train-000/../005": "path_outside",
        "train-000/006": "no_group",
        "train-000/007": "truncated",
    }


def test_a_damaged_archive_is_named_before_the_run(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    pack(tmp_path / "w" / "a.tar", [("0.jpg", jpeg(1)), ("0.txt", b"x")])
    pack(tmp_path / "w" / "b.tar", [("0.jpg", jpeg(1)), ("0.txt", b"x")])
    path = tmp_path / "w" / "b.tar"
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(InputError, match=r"b\.tar: cut off or damaged"):
        read_source("webdataset", tmp_path / "w")


def test_biomedica_keeps_pathology_with_its_licence_and_references(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    light = {"image_primary_label": ["Microscopy"], "image_secondary_label": ["Light Microscopy"]}

    def sample(number: int, text: bytes | None = b"Caption.", **fields: object) -> Members:
        name = f"{number:09d}"
        fields = {"image_cluster_id": f"PMC{number}_f1", "article_accession_id": f"PMC{number}", **fields}
        words = [(f"{name}.txt", text)] if text is not None else []
        return [(f"{name}.jpg", jpeg(number)), *words, (f"{name}.json", told(**fields))]

    context = {"PMC1_f1": ["As Fig. 1 shows, glands.", "See Fig. 1."], "PMC1_f2": ["Of another figure."]}
    members = [
        *sample(1, **light, article_license="CC BY", image_context=context, article_title="T"),
        *sample(2, None, image_secondary_label="immunohistochemistry", article_license="CC BY-NC-ND", caption="Of the JSON."),
        *sample(3, **light),
        *sample(4, image_primary_label=["Clinical Imaging"], image_secondary_label=["x-ray"], article_license="CC BY"),
        *sample(5, None, **light, article_license="CC0"),
        *sample(6, **light, article_accession_id=None, article_license="CC0"),
        ("000000007.jpg", jpeg(7)),
        ("000000007.txt", b"No JSON."),
    ]
    pack(tmp_path / "b" / "other" / "0.tar", members)
    built = read_source("biomedica", tmp_path / "b")
    first, second, third = built.records
    assert (first.id, first.group, first.licence) == ("biomedica/other/0/000000001", "PMC1", "CC BY")
    assert first.extra["references"] == ["As Fig. 1 shows, glands.", "See Fig. 1."]
    assert (first.extra["partition"], first.extra["article_title"]) == ("commercial", "T")
    assert (second.captions, second.licence, second.extra["partition"]) == (("Of the JSON.",), "CC BY-NC-ND", "non-commercial")
    assert (third.licence, third.extra["partition"]) == ("other", "other")
    assert built.rejects == {
        "other/0/000000004": "not_pathology",
        "other/0/000000005": "no_caption",
        "other/0/000000006": "no_group",
        "other/0/000000007": "broken_record",
    }
    free = read_source("biomedica", tmp_path / "b", "options.partition=commercial")
    assert [record.id for record in free.records] == ["biomedica/other/0/000000001"]
    assert free.rejects["other/0/000000002"] == "other_licence"
    everything = read_source("biomedica", tmp_path / "b", "options.labels=[]")
    assert "biomedica/other/0/000000004" in everything.by_id()


@pytest.mark.parametrize(
    ("licence", "archive", "wanted"),
    [
        ("CC BY", "x.tar", "commercial"),
        ("CC-BY-SA-4.0", "x.tar", "commercial"),
        ("cc by-nd 4.0", "x.tar", "commercial"),
        ("CC0", "noncommercial/x.tar", "commercial"),
        ("CC BY-NC", "commercial/x.tar", "non-commercial"),
        ("CC BY-NC-SA 4.0", "x.tar", "non-commercial"),
        ("CC BYE", "x.tar", "other"),
        ("NO-CC CODE", "commercial/x.tar", "other"),
        ("", "commercial/x.tar", "commercial"),
        ("", "non_commercial/x.tar", "non-commercial"),
        ("", "other/x.tar", "other"),
    ],
)
def test_a_licence_belongs_to_one_partition(licence: str, archive: str, wanted: str) -> None:
    assert partition_of(licence, archive) == wanted


def test_open_pmc_reads_parquet_and_lines_and_keeps_references(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    root = tmp_path / "o"
    shared = {"full_caption": "A, glands. B, fat.", "intext_refs": None, "intext_refs_summary": None}
    rows = [
        {
            **shared,
            "image": {"bytes": jpeg(1), "path": "PMC1_f1_A.jpg"},
            "sub_caption": "Glands.",
            "modality": "Light microscopy",
            "intext_refs": "As in Fig. 1A.",
            "intext_refs_summary": "Glands are shown.",
        },
        {**shared, "image": {"bytes": jpeg(2), "path": "PMC1_f1_B.jpg"}, "sub_caption": None, "modality": "microscopy"},
        {**shared, "image": {"bytes": jpeg(3), "path": "PMC1_f2.jpg"}, "sub_caption": "Chest.", "modality": "Radiology"},
        {**shared, "image": {"bytes": None, "path": "PMC1_f9.jpg"}, "sub_caption": "Lost.", "modality": "microscopy"},
        {**shared, "image": {"bytes": jpeg(5), "path": "x.jpg"}, "sub_caption": "Whose?", "modality": "microscopy"},
        {**shared, "image": {"bytes": jpeg(6), "path": "PMC1_f3.jpg"}, "sub_caption": "What?", "modality": None},
    ]
    parquet(root / "data" / "train-00000-of-00001.parquet", rows)
    (root / "images").mkdir()
    (root / "images" / "PMC2_f1.jpg").write_bytes(jpeg(7))
    line = {"image": "PMC2_f1.jpg", "caption": "Fat.", "modality": "histology", "license": "CC BY", "pmc_id": 2}
    (root / "test_clean.jsonl").write_text(json.dumps(line))
    built = read_source("open_pmc", root)
    first, second, third = sorted(built.records, key=lambda record: record.captions)
    assert (first.captions, first.group) == (("A, glands. B, fat.",), "PMC1")
    assert (second.captions, second.group, second.split, second.licence) == (("Fat.",), "PMC2", "test", "CC BY")
    assert (third.extra["references"], third.extra["references_summary"]) == (["As in Fig. 1A."], "Glands are shown.")
    assert third.extra["full_caption"] == "A, glands. B, fat."
    assert third.split == "train"
    assert sorted(built.rejects.values()) == ["image_missing", "no_group", "not_pathology", "not_pathology"]


def test_medtrinity_takes_the_sources_that_are_asked_for(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    rows = [
        {"image": {"bytes": jpeg(1), "path": None}, "id": "a", "caption": "Glands.", "source": "quilt_1m"},
        {"image": {"bytes": jpeg(2), "path": None}, "id": "b", "caption": "A lung.", "source": "mimic_cxr"},
        {"image": None, "id": "c", "caption": "Not shipped.", "source": "Quilt_1M"},
        {"image": {"bytes": jpeg(4), "path": None}, "id": "d", "caption": "", "source": "quilt_1m"},
    ]
    parquet(tmp_path / "m" / "25M_accessible" / "0000.parquet", rows)
    built = read_source("medtrinity", tmp_path / "m", 'options.sources=["quilt_1m"]')
    [record] = built.records
    assert (record.id, record.group, record.captions) == ("medtrinity/25M_accessible/0000.parquet#0", "quilt_1m/a", ("Glands.",))
    assert built.rejects == {
        "25M_accessible/0000.parquet#1": "other_source",
        "25M_accessible/0000.parquet#2": "image_missing",
        "25M_accessible/0000.parquet#3": "no_caption",
    }
    assert "patient" in built.artefact.plan.facts["groups_unknown"]
    parquet(tmp_path / "m" / "25M_demo" / "0000.parquet", [{"image": {"bytes": jpeg(1), "path": None}, "id": "a", "caption": "Glands."}])
    with pytest.raises(InputError, match="25M_accessible, 25M_demo"):
        read_source("medtrinity", tmp_path / "m")
    with pytest.raises(InputError, match="the column source is missing"):
        read_source("medtrinity", tmp_path / "m", "options.config=25M_demo", 'options.sources=["quilt_1m"]')
    assert len(read_source("medtrinity", tmp_path / "m", "options.config=25M_demo").records) == 1


def test_json_lines_have_any_fields_and_several_files(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    root = tmp_path / "j"
    root.mkdir()
    (root / "a.jpg").write_bytes(jpeg(1))
    lines = [
        json.dumps(
            {"file": "a.jpg", "texts": ["Glands.", "", "Glands.", "Crypts."], "case": 7, "note": "x", "nested": {"a": [1, {"b": None}]}}
        ),
        json.dumps({"file": "a.jpg", "texts": [], "case": 7}),
        json.dumps({"file": "../a.jpg", "texts": "x", "case": 7}),
        json.dumps({"texts": "x"}),
        json.dumps(["a.jpg"]),
        '{"file": ',
    ]
    (root / "train.jsonl").write_text("\ufeff" + "\r\n".join(lines), newline="")
    (root / "validation.json").write_text(json.dumps([{"file": "a.jpg", "texts": "Mucin.", "case": "8"}]))
    built = read_source("jsonl", root, "options.image=file", "options.caption=texts", "options.group=case")
    first, second = built.records
    assert (first.captions, first.group, first.split, first.extra["note"]) == (("Glands.", "Crypts."), "7", "train", "x")
    assert first.extra["nested"] == {"a": [1, {"b": None}]}
    assert (second.split, second.group) == ("val", "8")
    assert built.rejects == {
        "train.jsonl#1": "no_caption",
        "train.jsonl#2": "path_outside",
        "train.jsonl#3": "image_missing",
        "train.jsonl#4": "broken_record",
        "train.jsonl#5": "broken_record",
    }


def test_halves_of_characters_are_rejects_and_the_run_goes_on(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    good = {"image": "a.jpg", "caption": "Glands."}
    lines = [good, {**good, "caption": "cut \ud83d"}, {**good, "note": {"x": ["\ud83d"]}}, {**good, "image": "\ud83d.jpg"}, good]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    built = read_source("jsonl", tmp_path)
    assert [record.id for record in built.records] == ["jsonl/a.jsonl#0", "jsonl/a.jsonl#4"]
    assert built.rejects == {"a.jsonl#1": "broken_text", "a.jsonl#2": "broken_text", "a.jsonl#3": "image_missing"}


def test_names_that_no_file_can_have_are_rejects(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    (tmp_path / "a.jpg").write_bytes(jpeg(1))
    names = ["a.jpg", "n" * 5000, "n/" * 3000 + "b.jpg", "data:image/jpeg;base64," + "A" * 5000]
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"image": name, "caption": "Glands."}) for name in names))
    built = read_source("jsonl", tmp_path)
    assert [record.id for record in built.records] == ["jsonl/a.jsonl#0"]
    assert built.rejects == {"a.jsonl#1": "image_missing", "a.jsonl#2": "image_missing", "a.jsonl#3": "image_inline"}


@pytest.fixture
def rows(jpeg: Jpeg) -> datasets.Dataset:
    columns = {
        "image": [{"bytes": jpeg(number), "path": None} for number in range(4)],
        "text": ["Glands.", "Fat.", "", "Bone."],
        "patient": ["P1", "P1", "P2", "P3"],
        "fold": ["training", "test", "test", "holdout"],
    }
    features = datasets.Features(
        {"image": datasets.Image(), "text": datasets.Value("string"), "patient": datasets.Value("string"), "fold": datasets.Value("string")}
    )
    return datasets.Dataset.from_dict(columns, features=features)


FIELDS = ("options.caption=text", "options.group=patient")


def test_a_saved_data_set_keeps_its_bytes_and_splits(tmp_path: Path, jpeg: Jpeg, rows: datasets.Dataset, read_source) -> None:
    datasets.DatasetDict({"train": rows, "validation": rows.select([1])}).save_to_disk(str(tmp_path / "saved"))
    built = read_source("hugging_face", tmp_path / "saved", *FIELDS)
    found = {record.id: (record.split, record.group, record.image) for record in built.records}
    assert found == {
        "hugging_face/train#0": ("train", "P1", jpeg(0)),
        "hugging_face/train#1": ("train", "P1", jpeg(1)),
        "hugging_face/train#3": ("train", "P3", jpeg(3)),
        "hugging_face/validation#0": ("val", "P1", jpeg(1)),
    }
    assert built.rejects == {"train#2": "no_caption"}


def test_parquet_of_the_hub_is_read_without_the_library(tmp_path: Path, rows: datasets.Dataset, read_source) -> None:
    (tmp_path / "p" / "data").mkdir(parents=True)
    rows.to_parquet(str(tmp_path / "p" / "data" / "part-0.parquet"))
    built = read_source("hugging_face", tmp_path / "p", *FIELDS, "options.split=fold")
    assert {record.id: record.split for record in built.records} == {
        "hugging_face/data/part-0.parquet#0": "train",
        "hugging_face/data/part-0.parquet#1": "test",
    }
    assert built.rejects == {"data/part-0.parquet#2": "no_caption", "data/part-0.parquet#3": "unknown_split"}
    with pytest.raises(InputError, match="the column words is missing"):
        read_source("hugging_face", tmp_path / "p", "options.caption=words")


@pytest.mark.parametrize("form", ["saved", "parquet"])
def test_other_columns_go_along_as_json_holds_them(
    tmp_path: Path, jpeg: Jpeg, read_source, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    image = {"bytes": jpeg(1), "path": None}
    columns = {
        "image": [image, image],
        "text": ["Glands.", "Fat."],
        "kind": [1, -1],
        "kinds": [[0, 1], []],
        "fold": [0, 1],
        "when": [datetime.datetime(2020, 1, 2, 3, 4), None],
        "day": [datetime.date(2020, 1, 2), None],
        "nested": [{"a": [1.5, None]}, None],
        "score": [float("nan"), 0.5],
        f"thumb_{form}": [image, image],
    }
    label = datasets.ClassLabel(names=["a", "b"])
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "text": datasets.Value("string"),
            "kind": label,
            "kinds": datasets.Sequence(label),
            "fold": datasets.ClassLabel(names=["train", "test"]),
            "when": datasets.Value("timestamp[s]"),
            "day": datasets.Value("date32"),
            "nested": {"a": datasets.Sequence(datasets.Value("float32"))},
            "score": datasets.Value("float32"),
            f"thumb_{form}": datasets.Image(),
        }
    )
    rows = datasets.Dataset.from_dict(columns, features=features)
    (tmp_path / "in").mkdir()
    if form == "saved":
        rows.save_to_disk(str(tmp_path / "in"))
    else:
        rows.to_parquet(str(tmp_path / "in" / "all.parquet"))
    records = read_source("hugging_face", tmp_path / "in", "options.caption=text", "options.split=fold").records
    second, first = sorted(records, key=lambda record: record.split)
    assert (first.split, second.split) == ("train", "test")
    assert {name: value for name, value in first.extra.items() if name != "image"} == {
        "kind": "b",
        "kinds": ["a", "b"],
        "when": "2020-01-02T03:04:00",
        "day": "2020-01-02",
        "nested": {"a": [1.5, None]},
        "score": "NaN",
    }
    assert second.extra["score"] == 0.5
    assert "kind" not in second.extra
    assert capsys.readouterr().err.count(f"hugging_face: thumb_{form} holds dict, which JSON does not") == 1


def test_a_key_that_comes_twice_is_one_reject(tmp_path: Path, rows: datasets.Dataset, read_source) -> None:
    rows.save_to_disk(str(tmp_path / "saved"))
    built = read_source("hugging_face", tmp_path / "saved", *FIELDS, "options.key=patient")
    assert [record.captions for record in built.records] == [("Glands.",), ("Bone.",)]
    assert built.rejects == {"P1": "repeated_id", "P2": "no_caption"}


def test_a_data_set_of_the_hub_is_asked_for_by_commit(
    tmp_path: Path, rows: datasets.Dataset, read_source, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def fetch(name: str, config: str | None, *, revision: str, cache_dir: str) -> datasets.DatasetDict:
        asked.append((name, config, revision))
        (Path(cache_dir) / "cached").write_text("x")
        return datasets.DatasetDict({"test": rows})

    monkeypatch.setattr(datasets, "load_dataset", fetch)
    (tmp_path / "h").mkdir()
    with pytest.raises(InputError, match=r"options\.revision is empty"):
        read_source("hugging_face", tmp_path / "h", *FIELDS, "options.hub=owner/name")
    built = read_source("hugging_face", tmp_path / "h", *FIELDS, "options.hub=owner/name", "options.revision=0f1e2d")
    assert {record.split for record in built.records} == {"test"}
    assert set(asked) == {("owner/name", None, "0f1e2d")}
