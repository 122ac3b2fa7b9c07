"""Corpora of images and captions, each in its publisher's layout with what is known to be wrong in it."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.data_builders.sources.quilt_1m import Quilt1M, QuiltOptions
from eosin.data_builders.sources.source import ITEMS_A_SHARD

Jpeg = Callable[..., bytes]
HEADER = (
    ",caption,image_path,subset,split,pathology,roi_text,noisy_text,corrected_text,med_umls_ids,magnification,height,width,"
    "single_wsi,not_histology"
)
VIDEO = "AbC-_FgHiJk"


def quilt(folder: Path, rows: list[str], images: dict[str, bytes]) -> Path:
    (folder / "quilt_1m").mkdir(parents=True)
    for name, content in images.items():
        (folder / "quilt_1m" / name).write_bytes(content)
    (folder / "quilt_1M_lookup.csv").write_text("\n".join([HEADER, *rows]) + "\n")
    return folder


def test_quilt_rows_of_an_image_become_one_record_grouped_by_video(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    one, two = f"{VIDEO}_image_0f.jpg", f"{VIDEO}_roi_1e.jpg"
    rows = [
        f"0,Nests of cells,{one},quilt,train,\"['Dermato', 'Head and Neck']\",\"['here']\",uh nests,nests,"
        "\"[[{'id': 'C1'}]]\",1.0,720,1280,0,0",
        f'1,"Nests, close",{one},quilt,train,[],[],uh,nests,[],1.0,720,1280,0,0',
        f"2,,{one},quilt,train,[],[],uh,,[],1.0,720,1280,0,0",
        f"3,Nests of cells,{two},quilt,val,\"__import__('os').system('x')\",[],,,[],,720,1280,0,0",
        "4,Figure of a mast cell,PMC99_fig1.jpg,pubmed,train,,,,,,,,,,",
        "5,A tweet,gone.jpg,openpath,train,,,,,,,,,,",
        f"6,Nests again,{one},quilt,val,[],[],,,[],1.0,720,1280,0,1",
    ]
    folder = quilt(tmp_path / "release", rows, {one: jpeg(1), two: jpeg(2), "PMC99_fig1.jpg": jpeg(3)})
    built = read_source("quilt_1m", folder)
    found = {record.id.removeprefix("quilt_1m/"): record for record in built.records}
    assert list(found) == [f"{one}#0", "PMC99_fig1.jpg#4", f"{two}#3", f"{one}#6"]
    first = found[f"{one}#0"]
    assert first.captions == ("Nests of cells", "Nests, close")
    assert (first.group, first.split) == (VIDEO, "train")
    assert first.extra["pathology"] == ["Dermato", "Head and Neck"]
    assert first.extra["captions"][0]["med_umls_ids"] == [[{"id": "C1"}]]
    # What is no plain list stays text, and is never run.
    assert found[f"{two}#3"].extra["pathology"] == "__import__('os').system('x')"
    assert found["PMC99_fig1.jpg#4"].group == "PMC99"
    assert found[f"{one}#6"].split == "val"
    assert built.rejects == {f"{one}#2": "no_caption", "gone.jpg#5": "image_missing"}
    chosen = read_source("quilt_1m", folder, "options.subset=quilt", "options.histology_only=true")
    assert [record.id for record in chosen.records] == [f"quilt_1m/{one}#0", f"quilt_1m/{two}#3"]
    assert chosen.rejects[f"{one}#6"] == "not_histology"
    assert chosen.rejects["gone.jpg#5"] == "other_subset"


def test_quilt_sections_never_part_the_captions_of_an_image(tmp_path: Path) -> None:
    size = ITEMS_A_SHARD
    # The rows from size - 2 to size + 1 are of one image.
    names = [f"{VIDEO}_image_{'same' if size - 2 <= number <= size + 1 else number}.jpg" for number in range(size + 5)]
    rows = [f"{number},Caption {number},{name},quilt,train,,,,,,,,,," for number, name in enumerate(names)]
    source = Quilt1M(quilt(tmp_path / "release", rows, {}), QuiltOptions())
    sections = list(source.sections())
    assert [(section.start, section.stop) for section in sections] == [(0, size + 2), (size + 2, size + 5)]
    keys = [item.key for section in sections for item in source.items(section)]
    assert len(keys) == len(set(names))
    assert keys[-3:] == [f"{name}#{size + 2 + number}" for number, name in enumerate(names[-3:])]


def test_openpath_takes_all_pictures_of_a_tweet_and_names_the_tweets_that_are_gone(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    (tmp_path / "t" / "images").mkdir(parents=True)
    for number, name in enumerate(("1512345678901234567_1.jpg", "1512345678901234567_2.jpg", "1599999999999999999.jpg")):
        (tmp_path / "t" / "images" / name).write_bytes(jpeg(number))
    rows = [
        "weblink,caption,source",
        'https://twitter.com/x/status/1512345678901234567,"Melanoma, #dermpath",tweet',
        "https://twitter.com/y/status/1511111111111111111?s=20,Gone,tweet",
        "https://twitter.com/y/status/1599999999999999999,,reply",
    ]
    (tmp_path / "t" / "tweets.csv").write_text("\n".join(rows))
    built = read_source("openpath", tmp_path / "t")
    assert {record.group for record in built.records} == {"1512345678901234567"}
    assert [record.extra["image"] for record in built.records] == [
        "images/1512345678901234567_1.jpg",
        "images/1512345678901234567_2.jpg",
    ]
    assert built.records[0].captions == ("Melanoma, #dermpath",)
    assert built.rejects == {"1511111111111111111#1": "image_missing", "images/1599999999999999999.jpg#2": "no_caption"}
    assert "groups_unknown" not in built.artefact.plan.facts


def test_openpath_without_tweets_says_that_groups_are_unknown(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "a.jpg").write_bytes(jpeg(1))
    (tmp_path / "t" / "pairs.tsv").write_text("images\tcaptions\na.jpg\tMelanoma\n")
    built = read_source("openpath", tmp_path / "t")
    assert built.records[0].group == "a.jpg"
    assert "does not name the tweets" in built.artefact.plan.facts["groups_unknown"]


@pytest.mark.parametrize("form", ["list", "lines", "object", "named list"])
def test_pathcap_reads_its_entries_in_any_form_with_images_in_the_zip(tmp_path: Path, jpeg: Jpeg, read_source, form: str) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    entries = [
        {"figure_fn": "PMC7_f1.jpg", "caption": "Crypts.", "pmc_id": "PMC7", "journal": "J"},
        {"figure_fn": "PMC7_f2.jpg", "caption": ["Goblet cells.", "Mucin."], "pmc_id": 7},
        {"image_id": "book-12.jpg", "caption": "Atlas plate."},
        {"figure_fn": "missing.jpg", "caption": "Nothing.", "pmc_id": "PMC8"},
        {"figure_fn": "PMC7_f1.jpg", "pmc_id": "PMC7"},
    ]
    written = {
        "list": json.dumps(entries),
        "lines": "\r\n".join(map(json.dumps, entries)),
        "object": json.dumps({str(number): entry for number, entry in enumerate(entries)}, indent=1),
        "named list": json.dumps({"anotations": entries}),
    }[form]
    (folder / "data.json").write_text(written, newline="")
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for number, name in enumerate(("PMC7_f1.jpg", "PMC7_f2.jpg", "book-12.jpg")):
            archive.writestr(f"images/{name}", jpeg(number))
    built = read_source("pathcap", folder)
    assert [record.id for record in built.records] == ["pathcap/0", "pathcap/1", "pathcap/2"]
    assert [record.group for record in built.records] == ["PMC7", "PMC7", "book-12.jpg"]
    assert built.records[1].captions == ("Goblet cells.", "Mucin.")
    assert built.records[0].extra["journal"] == "J"
    assert sorted(built.rejects.values()) == ["image_missing", "no_caption"]


def test_arch_keeps_the_bags_whose_images_share_a_caption(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    books, articles = tmp_path / "ARCH" / "books_set", tmp_path / "ARCH" / "pubmed_set"
    for part in (books, articles):
        (part / "images").mkdir(parents=True)
    (books / "images" / "u-1.png").write_bytes(jpeg(1))
    (books / "images" / "u-2.png").write_bytes(jpeg(2))
    (articles / "images" / "u-3.jpg").write_bytes(jpeg(3))
    (articles / "images" / "u-4.jpg").write_bytes(jpeg(4))
    shared = {"figure_id": "00", "caption": "(A, B) Islands of tumour."}
    book = {
        "0": {**shared, "letter": "A", "uuid": "u-1"},
        "1": {**shared, "letter": "B", "uuid": "u-2"},
        "2": {**shared, "uuid": "../../x"},
    }
    (books / "captions.json").write_text(json.dumps(book))
    article = {
        "0": {"caption": "Fat.", "uuid": "u-3"},
        "1": {"caption": "Fat.", "uuid": "u-4"},
        "2": {"caption": "No file.", "uuid": "u-5"},
    }
    (articles / "captions.json").write_text(json.dumps(article))
    built = read_source("arch", tmp_path)
    found = built.by_id()
    assert list(found) == [f"arch/{key}" for key in ("books_set/0", "books_set/1", "pubmed_set/0", "pubmed_set/1")]
    assert found["arch/books_set/0"].extra == {"set": "books_set", "bag": "books_set/00", "uuid": "u-1", "letter": "A"}
    assert found["arch/books_set/1"].extra["bag"] == "books_set/00"
    assert found["arch/pubmed_set/0"].group == found["arch/pubmed_set/1"].group != found["arch/books_set/0"].group
    assert built.rejects == {"books_set/2": "path_outside", "pubmed_set/2": "image_missing"}


def test_pmc_oa_groups_panels_by_article(tmp_path: Path, jpeg: Jpeg, read_source) -> None:
    folder = tmp_path / "p"
    (folder / "images").mkdir(parents=True)
    for number, name in enumerate(("PMC21_Fig3_4.jpg", "PMC21_Fig3_5.jpg", "odd.jpg")):
        (folder / "images" / name).write_bytes(jpeg(number))
    lines = [
        {"image": "PMC21_Fig3_4.jpg", "caption": "Ganglion cells.", "alignment_score": 0.5},
        {"image": "PMC21_Fig3_5.jpg", "caption": None},
        {"image": "odd.jpg", "caption": "No article."},
    ]
    (folder / "pmc_oa.jsonl").write_text("\n".join([*map(json.dumps, lines), '{"image": "PMC2']))
    built = read_source("pmc_oa", folder)
    [record] = built.records
    assert (record.group, record.captions, record.extra["alignment_score"]) == ("PMC21", ("Ganglion cells.",), 0.5)
    assert built.rejects == {"#1": "no_caption", "#2": "no_group", "#3": "broken_record"}
