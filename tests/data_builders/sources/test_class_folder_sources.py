"""Corpora with a folder a class: names are read as their publishers write them, and what contradicts itself is named."""

from collections.abc import Callable
from pathlib import Path

import pytest

from eosin.errors import ConfigError, InputError

Tiles = Callable[..., Path]


@pytest.fixture
def tiles(tmp_path: Path, jpeg: Callable[..., bytes], png: Callable[[int], bytes]) -> Tiles:
    """Write an image at each of these paths: `tiles("ADI/ADI-AAAMHQMK.tif", ...)` gives the folder."""

    def write(*names: str) -> Path:
        for number, name in enumerate(names):
            path = tmp_path / "release" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(jpeg(number) if path.suffix in (".jpg", ".jpeg") else png(number))
        return tmp_path / "release"

    return write


def test_nct_is_train_of_unknown_patients_and_the_other_release_is_not_mixed_in(tiles: Tiles, read_source) -> None:
    folder = tiles(
        "NCT-CRC-HE-100K/ADI/ADI-AAAMHQMK.tif",
        "NCT-CRC-HE-100K/TUM/TUM-AAAFHQTK.tif",
        "NCT-CRC-HE-100K/TUM/STR-AAAFHQTL.tif",
        "CRC-VAL-HE-7K/ADI/ADI-TCGA-AAICEQFN.tif",
        "NCT-CRC-HE-100K/README.png",
    )
    built = read_source("nct_crc_he_100k", folder)
    assert {(record.label, record.split, record.mpp) for record in built.records} == {("ADI", "train", 0.5), ("TUM", "train", 0.5)}
    assert built.rejects == {
        "CRC-VAL-HE-7K/ADI/ADI-TCGA-AAICEQFN.tif": "other_release",
        "NCT-CRC-HE-100K/TUM/STR-AAAFHQTL.tif": "label_conflict",
        "NCT-CRC-HE-100K/README.png": "no_class_folder",
    }
    assert "does not tell the patient" in built.artefact.plan.facts["groups_unknown"]
    test = read_source("crc_val_he_7k", folder / "CRC-VAL-HE-7K")
    assert [(record.label, record.split) for record in test.records] == [("ADI", "test")]


def test_a_folder_of_the_wrong_release_alone_is_refused_before_the_run(tiles: Tiles, read_source) -> None:
    folder = tiles("CRC-VAL-HE-7K/ADI/ADI-TCGA-AAICEQFN.tif")
    with pytest.raises(InputError, match="other_release"):
        read_source("nct_crc_he_100k", folder)


def test_kather_2016_groups_tiles_by_the_slide_in_the_name(tiles: Tiles, read_source) -> None:
    root = "Kather_texture_2016_image_tiles_5000"
    folder = tiles(
        f"{root}/01_TUMOR/10009_CRC-Prim-HE-03_009.tif_Row_301_Col_151.tif",
        f"{root}/08_EMPTY/1A11_CRC-Prim-HE-03_022.tif_Row_601_Col_151.tif",
        f"{root}/08_EMPTY/CRC_unnamed.tif",
        "Kather_texture_2016_larger_images_10/CRC-Prim-HE-01_APPLICATION.tif",
    )
    built = read_source("kather_2016", folder)
    assert {(record.label, record.group, record.mpp) for record in built.records} == {
        ("01_TUMOR", "CRC-Prim-HE-03", 0.495),
        ("08_EMPTY", "CRC-Prim-HE-03", 0.495),
    }
    assert sorted(built.rejects.values()) == ["no_class_folder", "odd_name"]
    assert "groups_unknown" not in built.artefact.plan.facts


def test_bracs_keeps_the_official_splits_of_the_latest_version(tiles: Tiles, read_source) -> None:
    folder = tiles(
        "latest_version/train/0_N/BRACS_1003_N_1.png",
        "latest_version/val/5_DCIS/BRACS_1499_DCIS_2.png",
        "latest_version/test/6_IC/BRACS_1230_IC_3.png",
        "latest_version/test/6_IC/BRACS_1230_DCIS_4.png",
        "previous_version/test/0_N/BRACS_1003_N_1.png",
    )
    built = read_source("bracs", folder)
    assert {(record.split, record.label, record.group) for record in built.records} == {
        ("train", "N", "BRACS_1003"),
        ("val", "DCIS", "BRACS_1499"),
        ("test", "IC", "BRACS_1230"),
    }
    assert sorted(built.rejects.values()) == ["label_conflict", "previous_version"]


def test_a_slide_in_two_official_splits_is_named_and_kept_as_published(tiles: Tiles, read_source, capsys) -> None:
    folder = tiles("latest_version/train/0_N/BRACS_1003_N_1.png", "latest_version/test/0_N/BRACS_1003_N_2.png")
    built = read_source("bracs", folder)
    assert len(built.records) == 2
    assert built.artefact.manifest["groups_across_splits"] == {"count": 1, "examples": {"BRACS_1003": ["train", "test"]}}
    assert "BRACS_1003 in train and test" in capsys.readouterr().err


def test_breakhis_takes_class_patient_and_magnification_from_the_name(tiles: Tiles, read_source) -> None:
    root = "BreaKHis_v1/histology_slides/breast"
    folder = tiles(
        f"{root}/benign/SOB/adenosis/SOB_B_A_14-22549AB/40X/SOB_B_A-14-22549AB-40-001.png",
        f"{root}/benign/SOB/adenosis/SOB_B_A_14-22549CD/100X/SOB_B_A-14-22549CD-100-001.png",
        f"{root}/malignant/SOB/ductal_carcinoma/SOB_M_DC_14-13412/40X/SOB_M_DC-14-13412-40-001.png",
        f"{root}/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/40X/SOB_M_LC-14-13412-40-002.png",
        f"{root}/malignant/SOB/lobular_carcinoma/SOB_M_LC_14-13412/40X/SOB_M_DC-14-13412-40-003.png",
        f"{root}/notes.png",
    )
    built = read_source("breakhis", folder)
    assert {(record.label, record.group, record.extra["magnification"]) for record in built.records} == {
        ("adenosis", "14-22549", 40),
        ("adenosis", "14-22549", 100),
        ("ductal_carcinoma", "14-13412", 40),
        ("lobular_carcinoma", "14-13412", 40),
    }
    assert {record.mpp for record in built.records} == {None}
    assert sorted(built.rejects.values()) == ["label_conflict", "odd_name"]
    one = read_source("breakhis", folder, "options.magnification=100", "options.label=malignancy")
    assert [(record.label, record.slide) for record in one.records] == [("benign", "14-22549CD")]
    with pytest.raises(ConfigError, match="magnification must be one of"):
        read_source("breakhis", folder, "options.magnification=20")


def test_renalcell_groups_by_barcode_and_says_where_there_is_none(tiles: Tiles, read_source) -> None:
    folder = tiles("cancer/TCGA-B0-4700-01Z_12.png", "blood/TCGA-B0-4700-01Z_7.png", "empty/x.png")
    built = read_source("renalcell", folder)
    assert {(record.label, record.group) for record in built.records} == {("cancer", "TCGA-B0-4700"), ("blood", "TCGA-B0-4700")}
    assert built.rejects == {"empty/x.png": "no_class_folder"}
    other = read_source("renalcell", tiles("stroma/0001.png"))
    assert "groups_unknown" in other.artefact.plan.facts


def test_wsss4luad_reads_labels_in_either_spelling(tiles: Tiles, read_source) -> None:
    folder = tiles(
        "1.training/1001072-17642-37189-[1 0 1].png",
        "1.training/1001072-17642-37190-[0, 1, 0].png",
        "1.training/TCGA-05-4244-01Z-00-DX1-1-[1 0 0].png",
        "1.training/436647-60767-35764-[0 0 0].png",
        "2.validation/img/00.png",
        "2.validation/mask/00.png",
    )
    built = read_source("wsss4luad", folder)
    assert {(record.label, record.labels, record.group) for record in built.records} == {
        (None, ("tumor", "normal"), "1001072"),
        ("stroma", ("stroma",), "1001072"),
        ("tumor", ("tumor",), "TCGA-05-4244"),
    }
    assert built.rejects == {"1.training/436647-60767-35764-[0 0 0].png": "no_label", "2.validation/img/00.png": "odd_name"}
    assert built.artefact.classes == ("tumor", "stroma", "normal")


def test_bach_compares_folder_and_headerless_table(tiles: Tiles, read_source) -> None:
    folder = tiles(
        "ICIAR2018_BACH_Challenge/Photos/Benign/b001.tif",
        "ICIAR2018_BACH_Challenge/Photos/InSitu/is001.tif",
        "ICIAR2018_BACH_Challenge/Photos/In Situ/is002.tif",
        "ICIAR2018_BACH_Challenge/WSI/thumbnails/A01.png",
        "ICIAR2018_BACH_Challenge_TestDataset/Photos/test0.tif",
    )
    (folder / "ICIAR2018_BACH_Challenge/Photos/microscopy_ground_truth.csv").write_text(
        "b001.tif,Benign\r\nis001.tif,Invasive\r\nn1.tif\r\nn2.tif,Odd\r\nn3.tif,Normal\r\n"
    )
    built = read_source("bach", folder)
    assert {(record.label, record.mpp) for record in built.records} == {("Benign", 0.42), ("InSitu", 0.42)}
    assert sorted(built.rejects.values()) == ["image_missing", "label_conflict", "no_class_folder", "unknown_class", "wrong_columns"]
    assert "patient" in built.artefact.plan.facts["groups_unknown"]


def test_a_linked_folder_is_named_and_not_followed(tiles: Tiles, tmp_path: Path, read_source) -> None:
    folder = tiles("MUS/MUS-AAAA.tif")
    (tmp_path / "elsewhere").mkdir()
    (folder / "TUM").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert read_source("nct_crc_he_100k", folder).rejects == {"TUM": "linked_folder"}
