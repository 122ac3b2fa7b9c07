"""PCam, PanNuke and MedMNIST: arrays become images with the labels, slides and boxes that stand beside them."""

import gzip
from pathlib import Path

import h5py
import numpy as np
import pytest

from eosin.data_builders.sources.pannuke import CELLS, nucleus_boxes
from eosin.errors import ConfigError, InputError
from eosin.images import decode_image

STEM = "camelyonpatch_level_2_split"


def pixels(count: int, side: int = 8) -> np.ndarray:
    return np.random.default_rng(count).integers(0, 255, (count, side, side, 3), dtype=np.uint8)


def shards(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*.parquet")}


def write_pcam(folder: Path, split: str, labels: list[int], packed: bool = False) -> np.ndarray:
    folder.mkdir(exist_ok=True)
    images = pixels(len(labels))
    for part, data in (("x", images), ("y", np.array(labels, np.uint8).reshape(-1, 1, 1, 1))):
        path = folder / f"{STEM}_{split}_{part}.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset(part, data=data, chunks=(1, *data.shape[1:]), compression="gzip")
        if packed:
            path.with_suffix(".h5.gz").write_bytes(gzip.compress(path.read_bytes()))
            path.unlink()
    return images


def test_pcam_keeps_official_splits_and_takes_slides_from_the_tables(tmp_path: Path, read_source) -> None:
    folder = tmp_path / "pcam"
    images = write_pcam(folder, "train", [0, 1, 1, 2])
    write_pcam(folder, "valid", [1])
    header = ",coord_y,coord_x,tumor_patch,center_tumor_patch,wsi"
    rows = ["0,1,1,True,False,camelyon16_train_normal_001", "1,1,1,True,True,camelyon16_train_tumor_078", "2,1,1,True,False,x", "3,1,1,,,x"]
    (folder / f"{STEM}_train_meta.csv").write_text("\n".join([header, *rows]))
    (folder / f"{STEM}_valid_meta.csv").write_text("\n".join([header, "0,1,1,True,True,camelyon16_train_tumor_099"]))
    built = read_source("pcam", folder)
    assert {(record.label, record.split, record.group) for record in built.records} == {
        ("normal", "train", "camelyon16_train_normal_001"),
        ("tumor", "train", "camelyon16_train_tumor_078"),
        ("tumor", "val", "camelyon16_train_tumor_099"),
    }
    assert (decode_image(built.by_id()["pcam/train/1"].image) == images[1]).all()
    assert built.rejects == {"train/2": "label_conflict", "train/3": "unknown_class"}
    assert built.artefact.classes == ("normal", "tumor")
    assert "groups_unknown" not in built.artefact.plan.facts


def test_pcam_reads_packed_files_and_says_that_slides_are_unknown(tmp_path: Path, read_source) -> None:
    write_pcam(tmp_path / "pcam", "test", [0, 1], packed=True)
    built = read_source("pcam", tmp_path / "pcam", f"options.unpack={tmp_path / 'copies'}")
    assert [(record.label, record.split) for record in built.records] == [("normal", "test"), ("tumor", "test")]
    assert "slide" in built.artefact.plan.facts["groups_unknown"]


def test_pcam_is_cut_into_sections_that_give_the_same_bytes_in_two_processes(tmp_path: Path, read_source) -> None:
    write_pcam(tmp_path / "pcam", "train", [0, 1] * 600)
    one, two = read_source("pcam", tmp_path / "pcam"), read_source("pcam", tmp_path / "pcam", workers=2)
    assert len(one.artefact.plan.tasks) == 2
    assert len(one.records) == 1200
    assert shards(one.artefact.path) == shards(two.artefact.path)


def test_pcam_with_files_that_do_not_belong_together_is_refused(tmp_path: Path, read_source) -> None:
    folder = tmp_path / "pcam"
    write_pcam(folder, "train", [0, 1])
    (folder / f"{STEM}_train_meta.csv").write_text("wsi,center_tumor_patch\na,True\n")
    with pytest.raises(InputError, match=r"2 images but 1 rows in its _meta\.csv"):
        read_source("pcam", folder)
    (folder / f"{STEM}_train_y.h5").unlink()
    with pytest.raises(InputError, match=r"train_y\.h5 is missing beside"):
        read_source("pcam", folder)


@pytest.fixture
def pannuke(tmp_path: Path) -> Path:
    images = pixels(4, side=16).astype(np.float64)
    images[3] += 300
    masks = np.zeros((4, 16, 16, 6))
    masks[0, 0:4, 0:8, 0] = 7
    masks[0, 8:16, 8:16, 4] = 9
    for nucleus in range(12):
        masks[1, nucleus, 0:2, 0] = nucleus + 1
    masks[..., 5] = masks[..., :5].max(axis=-1) == 0
    for fold, folder in (("1", "Fold 1"), ("3", "Fold 3")):
        for name, data in (("images", images), ("masks", masks), ("types", np.array(["Breast", "Bile-duct", "Breast", "Colon"]))):
            path = tmp_path / "in" / folder / name.replace("types", "images") / f"fold{fold}" / f"{name}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, data)
    return tmp_path / "in"


def test_pannuke_nuclei_become_boxes_and_a_mask(pannuke: Path, read_source) -> None:
    built = read_source("pannuke", pannuke)
    record = built.by_id()["pannuke/fold1/0"]
    assert [(box.label, box.x0, box.y0, box.x1, box.y1) for box in record.boxes] == [
        ("neoplastic", 0.0, 0.0, 0.5, 0.25),
        ("epithelial", 0.5, 0.5, 1.0, 1.0),
    ]
    mask = decode_image(record.mask)[..., 0]
    assert (mask[0, 0], mask[15, 15], mask[15, 0]) == (1, 5, 0)
    assert (record.label, record.split, record.extra["nuclei"]) == ("Breast", "train", {"neoplastic": 1, "epithelial": 1})
    assert built.by_id()["pannuke/fold3/1"].split == "test"
    assert built.rejects == {"fold1/3": "pixel_range", "fold3/3": "pixel_range"}
    assert built.artefact.classes == ("Bile-duct", "Breast", "Colon")


def test_pannuke_by_malignancy_follows_the_rule_and_names_the_rest(pannuke: Path, read_source) -> None:
    built = read_source("pannuke", pannuke, "options.label=malignancy", "options.folds.1=test")
    assert {(record.label, record.split) for record in built.records} == {("malignant", "test")}
    assert len(built.records) == 2
    assert {key: reason for key, reason in built.rejects.items() if key.startswith("fold1")} == {
        "fold1/0": "few_neoplastic",
        "fold1/2": "no_nuclei",
        "fold1/3": "pixel_range",
    }
    with pytest.raises(ConfigError, match="is none of fold 1, 2, 3"):
        read_source("pannuke", pannuke, "options.folds.4=test")


def test_a_missing_pannuke_array_is_said_before_the_run(pannuke: Path, read_source) -> None:
    (pannuke / "Fold 1" / "masks" / "fold1" / "masks.npy").unlink()
    with pytest.raises(InputError, match=r"fold 1: masks\.npy is missing"):
        read_source("pannuke", pannuke)


def test_every_nucleus_has_the_box_of_its_pixels() -> None:
    rng = np.random.default_rng(3)
    mask = np.zeros((32, 32, 6))
    for number in range(1, 40):
        mask[(*rng.integers(0, 32, 2), rng.integers(0, 5))] = number
    for box in nucleus_boxes(mask):
        channel = mask[..., CELLS.index(box.label)]
        inside = channel[round(box.y0 * 32) : round(box.y1 * 32), round(box.x0 * 32) : round(box.x1 * 32)]
        assert inside.any()
    assert len(list(nucleus_boxes(mask))) == sum(len(np.unique(mask[..., channel])) - 1 for channel in range(5))


def medmnist(path: Path, **arrays: np.ndarray) -> None:
    path.parent.mkdir(exist_ok=True)
    content = {}
    for split in ("train", "val", "test"):
        content[f"{split}_images"], content[f"{split}_labels"] = pixels(3, side=28), np.array([[0], [7], [2]], np.uint8)
    np.savez_compressed(path, **{**content, **arrays})


def test_medmnist_streams_official_splits(tmp_path: Path, read_source) -> None:
    medmnist(tmp_path / "in" / "pathmnist_64.npz", test_labels=np.array([[0], [9], [2]], np.uint8))
    built = read_source("medmnist", tmp_path / "in")
    assert len(built.records) == 8
    record = built.by_id()["medmnist/pathmnist/val/1"]
    assert (record.label, record.split) == ("cancer-associated stroma", "val")
    assert (decode_image(record.image) == pixels(3, side=28)[1]).all()
    assert built.rejects == {"pathmnist/test/1": "unknown_class"}


def test_medmnist_grey_images_become_rgb_and_several_sets_must_be_chosen_from(tmp_path: Path, read_source) -> None:
    grey = {f"{split}_images": pixels(3, side=28)[..., 0] for split in ("train", "val", "test")}
    medmnist(tmp_path / "in" / "tissuemnist.npz", **grey)
    medmnist(tmp_path / "in" / "bloodmnist_224.npz")
    medmnist(tmp_path / "in" / "bloodmnist.npz")
    with pytest.raises(InputError, match=r"options\.flag and options\.size choose"):
        read_source("medmnist", tmp_path / "in")
    built = read_source("medmnist", tmp_path / "in", "options.flag=tissuemnist")
    assert decode_image(built.records[0].image).shape == (28, 28, 3)
    blood = read_source("medmnist", tmp_path / "in", "options.flag=bloodmnist", "options.size=28")
    assert len(blood.records) == 9
    with pytest.raises(InputError, match="of pathology are pathmnist"):
        read_source("medmnist", tmp_path / "in", "options.flag=chestmnist")


def test_a_medmnist_archive_without_its_arrays_is_refused(tmp_path: Path, read_source) -> None:
    (tmp_path / "in").mkdir()
    np.savez(tmp_path / "in" / "pathmnist.npz", train_images=pixels(2))
    with pytest.raises(InputError, match="holds no array train_labels"):
        read_source("medmnist", tmp_path / "in")
