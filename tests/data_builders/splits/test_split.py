import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eosin.artefacts import Artefact, open_artefact, verify
from eosin.data_builders.group_split import Shares, fold_groups, hashed_split, split_groups
from eosin.errors import ConfigError, InputError
from eosin.records import RECORD_TYPES, Conversation, Embedding, ImageText, LabelledImage, Message, Part, Record, Slide, Tile

Build = Callable[..., Path]
Write = Callable[..., Path]
SPLIT = {"builder": "split", "shares": {"train": 0.6, "val": 0.2, "test": 0.2}}


def image(group: int, number: int = 0, label: str = "a", split: str = "none") -> LabelledImage:
    name = f"p{group}/{number}"
    return LabelledImage(id=f"s/{name}", source="s", licence="CC0-1.0", group=f"p{group}", split=split, image=name.encode(), label=label)


def images(groups: int, first: int = 0) -> list[LabelledImage]:
    """Two images a group, two thirds of the groups of class a."""
    return [image(group, number, "ab"[group % 3 == 0]) for group in range(first, first + groups) for number in range(2)]


def splits_of(path: Path) -> dict[str, str]:
    """Group -> split; fails where a group is in two."""
    artefact = open_artefact(path)
    found: dict[str, str] = {}
    for record in artefact.records(RECORD_TYPES[artefact.kind]):
        assert found.setdefault(record.group, record.split) == record.split
    return found


def records_of(artefact: Artefact) -> dict[str, LabelledImage]:
    return {record.id: record for record in artefact.records(LabelledImage)}


def test_every_record_comes_back_once_whole_and_no_group_is_in_two_splits(build: Build, write_artefact: Write) -> None:
    rows = images(60)
    out = open_artefact(build(SPLIT, f"data={write_artefact(rows, classes=['a', 'b'])}") / "labelled_images")
    found = records_of(out)
    assert found == {row.id: dataclasses.replace(row, split=found[row.id].split) for row in rows}
    assert set(splits_of(out.path).values()) == {"train", "val", "test"}
    assert out.classes == ("a", "b")
    assert verify(out) == []
    for split, count in out.manifest["splits"].items():
        told = out.plan.facts["split_counts"][split]
        held = [row for row in found.values() if row.split == split]
        assert told["records"] == count == len(held)
        assert told["groups"] == len({row.group for row in held})
        assert told["classes"] == dict(Counter(row.label for row in held))
        assert all(path.name.startswith(split) for path in out.shards(split))


def test_ten_percent_more_records_move_no_group(build: Build, write_artefact: Write) -> None:
    old = splits_of(build(SPLIT, f"data={write_artefact(images(100), 'old')}", out="a") / "labelled_images")
    more = [*images(10, 1000), *images(100), *[image(group, 7, "c") for group in range(5)]]
    new = splits_of(build(SPLIT, f"data={write_artefact(more, 'new')}", out="b") / "labelled_images")
    assert len(new) == 110
    assert {group: new[group] for group in old} == old


def test_shares_and_seed_decide(build: Build, write_artefact: Write) -> None:
    data = write_artefact(images(300))
    first = splits_of(build(SPLIT, f"data={data}", out="a") / "labelled_images")
    counts = Counter(first.values())
    assert abs(counts["train"] / 300 - 0.6) < 0.09
    assert abs(counts["val"] / 300 - 0.2) < 0.07
    assert splits_of(build(SPLIT, f"data={data}", "seed=1", out="b") / "labelled_images") != first
    assert splits_of(build(SPLIT, f"data={data}", out="c", workers=2) / "labelled_images") == first


def test_one_patient_is_in_the_same_split_in_every_kind(build: Build, write_artefact: Write) -> None:
    groups = range(40)

    def common(group: int) -> dict[str, Any]:
        return {"id": f"s/{group}", "source": "s", "licence": "CC0-1.0", "group": f"p{group}"}

    talk = (Message("user", (Part("text", "q"),)), Message("assistant", (Part("text", "a"),)))
    kinds: dict[str, list[Record]] = {
        "image_text": [ImageText(**common(g), image=b"x", captions=("c",), organ="colon") for g in groups],
        "conversations": [Conversation(**common(g), images=(), messages=talk, task="open") for g in groups],
        "slides": [Slide(**common(g), path="p", width=1, height=1, labels=("x", "y")) for g in groups],
        "tiles": [Tile(**common(g), x=0, y=0, size=1, kept=True) for g in groups],
        "embeddings": [Embedding(**common(g), vector=(1.0,), label="z") for g in groups],
        "labelled_images": [image(g) for g in groups],
    }
    found = [splits_of(build(SPLIT, f"data={write_artefact(rows, kind)}", out=f"o{kind}") / kind) for kind, rows in kinds.items()]
    assert all(one == found[0] for one in found)
    told = open_artefact(write_artefact(kinds["slides"], "again").parent / "oslides" / "slides").plan.facts["split_counts"]
    assert told["train"]["classes"] == {"x+y": told["train"]["records"]}


def test_a_quota_cuts_each_class_at_its_shares_and_earlier_splits_stay(build: Build, write_artefact: Write) -> None:
    rows = [image(group, label="ab"[group >= 50]) for group in range(60)]
    first = build(SPLIT, f"data={write_artefact(rows, 'few')}", "draw=quota", out="a") / "labelled_images"
    told = open_artefact(first).plan.facts["split_counts"]
    assert {split: counts["classes"] for split, counts in told.items()} == {
        "train": {"a": 30, "b": 6},
        "val": {"a": 10, "b": 2},
        "test": {"a": 10, "b": 2},
    }
    more = [*rows, *[image(group, label="ab"[group % 2]) for group in range(100, 140)]]
    second = build(SPLIT, f"data={write_artefact(more, 'many')}", "draw=quota", f"earlier={first}", out="b") / "labelled_images"
    assert {group: splits_of(second)[group] for group in splits_of(first)} == splits_of(first)
    assert open_artefact(second).plan.facts["split_counts"]["test"]["classes"] == {"a": 14, "b": 6}


def test_an_official_test_split_stays_and_takes_its_patients_with_it(build: Build, write_artefact: Write) -> None:
    rows = [image(group, 0, split="test" if group < 10 else "train") for group in range(80)] + [image(3, 1, split="train")]
    out = build(SPLIT, f"data={write_artefact(rows)}", "keep=[test]") / "labelled_images"
    found = splits_of(out)
    assert {group for group, split in found.items() if split == "test"} == {f"p{group}" for group in range(10)}
    assert Counter(found.values())["val"] > 5
    assert records_of(open_artefact(out))["s/p3/1"].split == "test"
    both = [image(1, 0, split="test"), image(1, 1, split="val")]
    with pytest.raises(InputError, match=r"group p1 is in (test|val) and in (test|val)"):
        build(SPLIT, f"data={write_artefact(both, 'both')}", "keep=[val, test]", out="bad")
    with pytest.raises(ConfigError, match="nothing to draw"):
        build(SPLIT, f"data={write_artefact(rows, 'r')}", "keep=[train]", out="bad2")


@pytest.mark.parametrize("draw", ["hash", "quota"])
def test_a_group_that_an_earlier_split_and_a_kept_one_place_differently_is_an_error(build: Build, write_artefact: Write, draw: str) -> None:
    earlier = write_artefact([image(group, split="train" if group else "test") for group in range(9)], "earlier")
    data = write_artefact([image(group, split="test" if group in (0, 4) else "train") for group in range(30)], "data")
    with pytest.raises(InputError, match=r"group p4 is in train of earlier and in test of data"):
        build(SPLIT, f"data={data}", f"earlier={earlier}", "keep=[test]", f"draw={draw}")
    agreeing = write_artefact([image(group, split="train" if group else "test") for group in range(30)], "agreeing")
    found = splits_of(build(SPLIT, f"data={agreeing}", f"earlier={earlier}", "keep=[test]", f"draw={draw}", out="ok") / "labelled_images")
    assert (found["p0"], found["p4"]) == ("test", "train")


@pytest.mark.parametrize(
    "shares", [(float("nan"), 0.1, 0.2), (0.7, float("nan"), 0.3), (float("inf"), 0, 0), (0, 0.5, 0.5), (1.2, -0.2, 0)]
)
def test_shares_that_are_none_are_refused(shares: tuple[float, float, float]) -> None:
    with pytest.raises(ConfigError, match="must add up to 1"):
        Shares(*shares)


@pytest.mark.parametrize("draw", ["hash", "quota"])
def test_folds_hold_out_each_group_once_and_never_test(build: Build, write_artefact: Write, draw: str) -> None:
    data = write_artefact(images(40))
    out = build(SPLIT, f"data={data}", f"draw={draw}", "folds=4", "shares={train: 0.8, val: 0, test: 0.2}")
    folds = [splits_of(out / f"labelled_images-fold{fold}") for fold in range(4)]
    tests = [{group for group, split in fold.items() if split == "test"} for fold in folds]
    assert tests[0]
    assert all(one == tests[0] for one in tests)
    held = Counter(group for fold in folds for group, split in fold.items() if split == "val")
    assert held == Counter(folds[0].keys() - tests[0])


def test_unknown_groups_are_refused_with_the_publishers_reason(build: Build, write_artefact: Write) -> None:
    data = write_artefact(images(30), groups_unknown="names do not tell the patient")
    with pytest.raises(InputError, match=r"names do not tell the patient.*unknown_groups=accept"):
        build(SPLIT, f"data={data}", out="refused")
    out = open_artefact(build(SPLIT, f"data={data}", "unknown_groups=accept") / "labelled_images")
    assert out.plan.facts["groups_unknown"] == "names do not tell the patient"


def test_classes_are_those_of_any_column(build: Build, write_artefact: Write, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        ImageText(id=f"s/{n}", source="s", licence="x", group=str(n), image=b"x", captions=(), extra={"lab": f"L{n % 30}"})
        for n in range(40)
    ]
    data = write_artefact(rows)
    told = open_artefact(build(SPLIT, f"data={data}", "by=extra.lab") / "image_text").plan.facts["split_counts"]
    assert sum(count for counts in told.values() for count in counts["classes"].values()) == 40
    assert set().union(*(counts["classes"] for counts in told.values())) == {f"L{n}" for n in range(30)}
    assert "warning: val has no record of L" in capsys.readouterr().err
    with pytest.raises(ConfigError, match="by is 'lab'; allowed: auto, a column of image_text"):
        build(SPLIT, f"data={data}", "by=lab", out="bad")
    with pytest.raises(ConfigError, match="folds make the val split"):
        build(SPLIT, f"data={data}", "folds=3", out="bad")


def test_the_hash_is_the_same_everywhere() -> None:
    names = [f"patient {number}" for number in range(10)]
    assert [hashed_split(name, Shares(0.5, 0.25, 0.25), 0) for name in names] == [
        "test",
        "train",
        "train",
        "test",
        "test",
        "train",
        "train",
        "train",
        "train",
        "train",
    ]


def test_settled_groups_count_for_the_shares() -> None:
    members = [(str(number), "a") for number in range(20)]
    settled = {str(number): "test" for number in range(4)}
    found = split_groups(members, Shares(0.6, 0.2, 0.2), 0, settled)
    assert {group for group, split in found.items() if split == "test"} == settled.keys()
    assert Counter(found.values()) == {"train": 12, "val": 4, "test": 4}


def test_each_class_is_dealt_out_over_the_folds() -> None:
    members = [(f"{label}{number}", label) for label, count in (("a", 20), ("b", 5)) for number in range(count)]
    found = fold_groups(members, 5, 0)
    assert Counter((group[0], fold) for group, fold in found.items()) == {
        **{("a", n): 4 for n in range(5)},
        **{("b", n): 1 for n in range(5)},
    }
