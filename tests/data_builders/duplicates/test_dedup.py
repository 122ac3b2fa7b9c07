"""`eosin build` with `builder: dedup`: one of each cluster stays, or groups are joined; every record is accounted for."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from eosin.artefacts import ArtefactWriter, Plan, Task, open_artefact
from eosin.artefacts.writer import write_shard
from eosin.errors import ConfigError
from eosin.images import encode_png
from eosin.records import ClusterMember, Conversation, ImageText, LabelledImage, Message, Part, Record

Pixels = NDArray[np.uint8]
Write = Callable[..., Path]
LONG = "Sheets of atypical glands with enlarged hyperchromatic nuclei invade a desmoplastic stroma"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write records of one kind as an artefact, a shard a split."""

    def run(kind: str, records: list[Record], name: str = "data") -> Path:
        splits = sorted({record.split for record in records})
        of = {split: [record for record in records if record.split == split] for split in splits}
        plan = Plan(kind, "test", {"name": name}, tasks=tuple(Task("records", 0, len(of[split]), split) for split in splits))
        with ArtefactWriter(tmp_path / name, plan) as writer:
            for shard, task in writer.pending():
                write_shard(writer.path, kind, shard, task.split, of[task.split])
            writer.finish()
        return tmp_path / name

    return run


def image(name: str, pixels: Pixels, **columns: Any) -> LabelledImage:
    values = {"source": "s", "licence": "CC0-1.0", "group": name, "split": "train", **columns}
    return LabelledImage(id=f"s/{name}", image=encode_png(np.ascontiguousarray(pixels)), **values)


def asked(name: str, pixels: Pixels, question: str, **columns: Any) -> Conversation:
    messages = (Message("user", (Part("image"), Part("text", question))), Message("assistant", (Part("text", "Yes."),)))
    values = {"source": "s", "licence": "CC0-1.0", "group": name, "split": "train", **columns}
    return Conversation(id=f"s/{name}", images=(encode_png(np.ascontiguousarray(pixels)),), messages=messages, task="closed", **values)


def ids(folder: Path, record_type: type[Any]) -> list[str]:
    return [record.id for record in open_artefact(folder).records(record_type)]


def rejects(folder: Path) -> dict[str, tuple[str, str]]:
    return {row["key"]: (row["reason"], row["message"]) for row in pq.read_table(folder / "rejects" / "rejects.parquet").to_pylist()}


def test_one_of_each_cluster_stays_and_the_others_name_it(write: Write, build: Any, phantom_tiles: list[Pixels]) -> None:
    tiles = phantom_tiles
    data = write(
        "labelled_images",
        [
            image("b", tiles[0]),
            image("a", tiles[0]),
            image("turned", np.rot90(tiles[0][5:-5, 5:-5])),
            image("c", tiles[1]),
            image("d", tiles[2]),
        ],
    )
    out = build({"builder": "dedup", "data": str(data)})
    assert ids(out / "labelled_images", LabelledImage) == ["s/a", "s/c", "s/d"]
    found = rejects(out / "labelled_images")
    assert set(found) == {"s/b", "s/turned"}
    assert found["s/b"] == ("duplicate", "kept: s/a (exact, distance 0 from its nearest duplicate)")
    assert found["s/turned"][1].startswith("kept: s/a (hash, distance")
    assert open_artefact(out / "labelled_images").manifest["results"]["clusters"] == 1


def test_blank_tiles_are_no_duplicates_of_each_other_unless_their_pixels_are_equal(write: Write, build: Any) -> None:
    draw = np.random.default_rng(0)
    blanks = [(240 + draw.normal(size=(64, 64, 3))).astype(np.uint8) for _ in range(3)]
    data = write("labelled_images", [image(str(number), pixels) for number, pixels in enumerate([*blanks, blanks[2]])])
    out = build({"builder": "dedup", "data": str(data)})
    assert ids(out / "labelled_images", LabelledImage) == ["s/0", "s/1", "s/2"]
    assert open_artefact(out / "labelled_images").manifest["results"]["without_hash"] == {"blank": 4}


def test_groups_of_copies_are_joined_through_any_chain_with_all_their_records(
    write: Write, build: Any, phantom_tiles: list[Pixels]
) -> None:
    tiles = phantom_tiles
    records = [
        image("a1", tiles[0], group="A"),
        image("b1", tiles[0][:, ::-1], group="B"),
        image("b2", tiles[1], group="B"),
        image("c1", tiles[1][6:], group="C"),
        image("c2", tiles[2], group="C"),
        image("d1", tiles[3], group="D"),
    ]
    out = build({"builder": "dedup", "data": str(write("labelled_images", records)), "keep": "group"})
    groups = {record.id: record.group for record in open_artefact(out / "labelled_images").records(LabelledImage)}
    assert groups == {"s/a1": "A", "s/b1": "A", "s/b2": "A", "s/c1": "A", "s/c2": "A", "s/d1": "D"}


def test_clusters_over_several_splits_are_counted_and_said(
    write: Write, build: Any, phantom_tiles: list[Pixels], capsys: pytest.CaptureFixture[str]
) -> None:
    data = write("labelled_images", [image("a", phantom_tiles[0]), image("b", phantom_tiles[0], split="test")])
    out = build({"builder": "dedup", "data": str(data), "keep": "group"})
    assert open_artefact(out / "labelled_images").manifest["results"]["torn"] == 1
    assert "1 clusters of duplicates lie in several splits" in capsys.readouterr().err


def test_questions_about_one_image_are_duplicates_only_when_they_ask_the_same(
    write: Write, build: Any, phantom_tiles: list[Pixels]
) -> None:
    tile, other = phantom_tiles[:2]
    records = [
        asked("1", tile, f"{LONG}: is that adenocarcinoma?"),
        asked("2", tile, "How many mitoses does this high power field of the lesion hold, counted by eye?"),
        asked("3", tile[::-1], f"{LONG}; is that  ADENOCARCINOMA?"),
        asked("4", other, f"{LONG}: is that adenocarcinoma?"),
    ]
    out = build({"builder": "dedup", "data": str(write("conversations", records))})
    assert ids(out / "conversations", Conversation) == ["s/1", "s/2", "s/4"]
    assert set(rejects(out / "conversations")) == {"s/3"}


@pytest.mark.parametrize(("match", "left"), [("auto", ["0", "3", "4"]), ("both", ["0", "3", "4"]), ("image", list("01234"))])
def test_conversations_without_images_are_duplicates_when_they_say_the_same(
    write: Write, build: Any, phantom_tiles: list[Pixels], match: str, left: list[str]
) -> None:
    shown = asked("4", phantom_tiles[0], f"{LONG}: what is it?")
    other = "How many mitoses does such a lesion hold at the most, counted by eye in ten fields?"
    told = [f"{LONG}: what is it?"] * 3 + [other]
    records: list[Record] = [
        Conversation(
            **{
                **asked(str(number), phantom_tiles[0], text).__dict__,
                "images": (),
                "messages": (Message("user", (Part("text", text),)), Message("assistant", (Part("text", "Yes."),))),
            }
        )
        for number, text in enumerate(told)
    ]
    recipe = {"builder": "dedup", "data": str(write("conversations", [*records, shown])), "match": match}
    assert ids(build(recipe) / "conversations", Conversation) == [f"s/{name}" for name in left]


@pytest.mark.parametrize("match", ["image", "both", "any"])
def test_a_data_set_without_records_has_no_duplicates(write: Write, build: Any, match: str) -> None:
    data = write("labelled_images", [])
    out = build({"builder": "dedup", "data": str(data), "methods": ["exact", "hash", "text"], "match": match})
    assert ids(out / "labelled_images", LabelledImage) == ids(out / "clusters", ClusterMember) == []


def test_texts_cluster_by_words_and_short_ones_do_not(write: Write, build: Any, phantom_tiles: list[Pixels]) -> None:
    texts = [LONG + " of the colon.", LONG.upper() + " of the rectum", "Colon.", "Colon."]
    records: list[Record] = [
        ImageText(
            id=f"s/{number}",
            source="s",
            licence="CC0-1.0",
            group=str(number),
            split="train",
            image=encode_png(phantom_tiles[number]),
            captions=(text,),
        )
        for number, text in enumerate(texts)
    ]
    out = build({"builder": "dedup", "data": str(write("image_text", records)), "methods": ["text"], "match": "any", "keep": "one"})
    assert ids(out / "image_text", ImageText) == ["s/0", "s/2", "s/3"]


def test_an_undecodable_image_stays_with_its_reason_counted(write: Write, build: Any, phantom_tiles: list[Pixels]) -> None:
    broken = LabelledImage(id="s/x", source="s", licence="CC0-1.0", group="x", split="train", image=b"\xff\xd8\xff")
    out = build({"builder": "dedup", "data": str(write("labelled_images", [broken, image("a", phantom_tiles[0])]))})
    assert ids(out / "labelled_images", LabelledImage) == ["s/x", "s/a"]
    assert sum(open_artefact(out / "labelled_images").manifest["results"]["without_hash"].values()) == 1


def test_a_run_with_workers_gives_the_same_bytes(write: Write, build: Any, phantom_tiles: list[Pixels]) -> None:
    records = [
        image(str(number), tile, split="train" if number % 3 else "test")
        for number, tile in enumerate([*phantom_tiles[:6], *phantom_tiles[:3]])
    ]
    recipe = {"builder": "dedup", "data": str(write("labelled_images", records))}
    one, two = build(recipe, out="one", workers=1), build(recipe, out="two", workers=2)
    for name in ("fingerprints", "clusters", "labelled_images"):
        assert open_artefact(one / name).digest == open_artefact(two / name).digest
    assert len(ids(one / "clusters", ClusterMember)) == 6


@pytest.mark.parametrize(
    ("values", "message"),
    [({"methods": []}, "methods is empty"), ({"methods": ["embedding"]}, "go together"), ({"nearness": {"bits": 200}}, "0 to 127")],
)
def test_settings_that_contradict_themselves_are_refused(values: dict[str, Any], message: str, build: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        build({"builder": "dedup", "data": str(tmp_path), **values})
