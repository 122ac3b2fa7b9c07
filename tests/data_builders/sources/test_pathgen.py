"""PathGen: places become pictures of the right part of the right slide, whatever the scanner."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eosin.data_builders.phantoms.pyramid import write_pyramid
from eosin.data_builders.sources.pathgen import SIDE_PX
from eosin.errors import ConfigError, InputError
from eosin.images import decode_image
from eosin.records import Region

FORTY = "TCGA-AA-0001-01Z-00-DX1.11111111-aaaa-bbbb-cccc-000000000001"
TWENTY = "TCGA-BB-0002-01Z-00-DX1.22222222-aaaa-bbbb-cccc-000000000002"


def tissue(mpp: float, side: int) -> np.ndarray:
    """A picture that is a function of the place in microns: the same at any resolution."""
    microns = (np.arange(side) + 0.5) * mpp
    wave = 127 + 90 * np.sin(microns / 25)
    picture = np.stack([np.add.outer(wave, wave) / 2, np.tile(wave, (side, 1)), np.tile(wave[:, None], (1, side))], axis=-1)
    return picture.astype(np.uint8)


def slide(path: Path, mpp: float, side: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = tissue(mpp, side)
    write_pyramid(path, (side, side), mpp, iter([picture[top : top + 512] for top in range(0, side, 512)]))


def place(slide_id: str, x: object, y: object, caption: str = "Glands back to back.", **more: object) -> dict[str, object]:
    return {"wsi_id": slide_id, "position": [x, y], "caption": caption, **more}


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As gdc-client leaves them: a folder a file, with its logs, and one download that was broken off."""
    root = tmp_path_factory.mktemp("gdc")
    slide(root / "11111111-2222" / f"{FORTY}.svs", 0.25, 1536)
    slide(root / "33333333-4444" / f"{TWENTY}.svs", 0.5, 1024)
    (root / "11111111-2222" / "logs").mkdir()
    (root / "11111111-2222" / "logs" / f"{FORTY}.svs.parcel").write_bytes(b"x")
    (root / "5" / "TCGA-CC-0003-01Z-00-DX1.3.svs").parent.mkdir()
    (root / "5" / "TCGA-CC-0003-01Z-00-DX1.3.svs").write_bytes(b"II*\x00 broken off")
    (root / "6").mkdir()
    (root / "6" / "TCGA-DD-0004-01Z-00-DX1.4.svs.partial").write_bytes(b"II*\x00")
    return root


def release(root: Path, records: list[object]) -> Path:
    root.mkdir()
    (root / "PathGen-1.6M.json").write_text("\ufeff" + json.dumps(records, indent=1))
    return root


def test_places_are_cut_from_slides_as_the_authors_do(tmp_path: Path, slides: Path, read_source) -> None:
    records: list[object] = [
        place(FORTY, "64", "128", file_id="f-1"),
        {"WSI_id": f"{TWENTY}.svs", "position": "['0', '0']", "caption": "Stroma."},
        place(FORTY, "1000", "0"),
        place("TCGA-CC-0003-01Z-00-DX1.3", "0", "0"),
        place("TCGA-DD-0004-01Z-00-DX1.4", "0", "0"),
        place(FORTY, "here", "0"),
        place(FORTY, "64.5", "0"),
        place(FORTY, "5", "5", caption=" "),
        {"position": ["1", "2"], "caption": "Nothing known."},
        "not a record",
        place(FORTY, "64", "128", caption="Said otherwise."),
    ]
    built = read_source("pathgen", release(tmp_path / "release", records), f"options.slides={slides}")
    found = built.by_id()
    assert list(found) == [f"pathgen/{FORTY}/64_128#0", f"pathgen/{TWENTY}/0_0#1", f"pathgen/{FORTY}/64_128#10"]
    forty, twenty, again = found.values()
    assert again.captions == ("Said otherwise.",)
    assert (forty.group, forty.slide, forty.mpp, forty.region) == ("TCGA-AA-0001", FORTY, 0.25, Region(64, 128, SIDE_PX, SIDE_PX))
    assert forty.extra == {"position": [64, 128], "field": "level0", "file_id": "f-1"}
    assert twenty.mpp == 0.5
    pixels = decode_image(forty.image)
    wanted = tissue(0.25, 1536)[128 : 128 + SIDE_PX, 64 : 64 + SIDE_PX]
    assert pixels.shape == (SIDE_PX, SIDE_PX, 3)
    assert np.abs(pixels.astype(int) - wanted).mean() < 4
    assert built.rejects == {
        f"{FORTY}/1000_0#2": "region_outside",
        "TCGA-CC-0003-01Z-00-DX1.3/0_0#3": "unsupported_format",
        "TCGA-DD-0004-01Z-00-DX1.4/0_0#4": "slide_missing",
        "#5": "no_position",
        "#6": "no_position",
        f"{FORTY}/5_5#7": "no_caption",
        "#8": "no_slide",
        "#9": "broken_record",
    }


def test_in_microns_a_20x_and_a_40x_slide_show_the_same_field(tmp_path: Path, slides: Path, read_source) -> None:
    # Both centres lie at 200 microns: (464 + 336) px of 0.25 and (64 + 336) px of 0.5.
    records: list[object] = [place(FORTY, "464", "464"), place(TWENTY, "64", "64")]
    built = read_source("pathgen", release(tmp_path / "release", records), f"options.slides={slides}", "options.field=microns")
    forty, twenty = built.records
    assert forty.region == Region(464, 464, 672, 672)
    assert twenty.region == Region(64 + 168, 64 + 168, 336, 336)
    assert forty.mpp == twenty.mpp == pytest.approx(0.25)
    first, second = (decode_image(record.image).astype(int) for record in (forty, twenty))
    assert first.shape == second.shape == (672, 672, 3)
    assert np.abs(first - second).mean() < 6


def test_slides_without_a_resolution_are_given_one(tmp_path: Path, read_source) -> None:
    root = tmp_path / "slides"
    slide(root / "a" / f"{TWENTY}.svs", 0.5, 1024)
    # 72 dots an inch, as office software writes: no resolution of a scanner.
    write_pyramid(root / "a" / f"{FORTY}.tiff", (1536, 1536), 25_400 / 72, iter([tissue(0.25, 1536)]))
    folder = release(tmp_path / "release", [place(FORTY, "464", "464"), place(TWENTY, "64", "64")])
    options = [f"options.slides={root}", "options.field=microns"]
    without = read_source("pathgen", folder, *options)
    assert without.rejects == {f"{FORTY}/464_464#0": "no_mpp"}
    (folder / "mpp.csv").write_text(f"slide,mpp\na/{FORTY}.tiff,0.25\n")
    built = read_source("pathgen", folder, *options, "options.mpp_overrides=mpp.csv")
    assert [record.region for record in built.records] == [Region(464, 464, 672, 672), Region(232, 232, 336, 336)]
    assert built.artefact.plan.digest != without.artefact.plan.digest
    level0 = read_source("pathgen", folder, options[0], "options.mpp_overrides=mpp.csv")
    assert [record.mpp for record in level0.records] == [0.25, 0.5]
    (folder / "mpp.csv").write_text(f"slide,mpp\na/{FORTY}.tiff,0.25\n{FORTY},0.5\n")
    with pytest.raises(InputError, match=r"the rows a/.*\(0.25\) and TCGA.*\(0.5\) name one slide"):
        read_source("pathgen", folder, *options, "options.mpp_overrides=mpp.csv")
    (folder / "mpp.csv").write_text("slide,mpp\na,huge\n")
    with pytest.raises(InputError, match="mpp is 'huge'"):
        read_source("pathgen", folder, *options, "options.mpp_overrides=mpp.csv")


def test_the_size_of_a_field_in_microns_can_be_chosen(tmp_path: Path, slides: Path, read_source) -> None:
    records: list[object] = [place(FORTY, "464", "464")]
    built = read_source(
        "pathgen", release(tmp_path / "release", records), f"options.slides={slides}", "options.field=microns", "options.size=336"
    )
    assert decode_image(built.records[0].image).shape == (336, 336, 3)
    assert built.records[0].mpp == pytest.approx(0.5)


def test_images_that_were_cut_before_need_no_slide(tmp_path: Path, jpeg: Callable[..., bytes], read_source) -> None:
    folder = release(
        tmp_path / "release", [place(FORTY, "64", "128"), place(TWENTY, "1", "2"), place(TWENTY, "3", "4"), place(TWENTY, "5", "6")]
    )
    flat = io.BytesIO()
    Image.new("RGBA", (SIDE_PX, SIDE_PX), (200, 10, 10, 255)).save(flat, "PNG")
    (folder / f"{FORTY}_64_128.png").write_bytes(flat.getvalue())
    (folder / "images" / TWENTY).mkdir(parents=True)
    (folder / "images" / TWENTY / "1_2.jpg").write_bytes(jpeg(1, SIDE_PX))
    (folder / f"{TWENTY}_5_6.jpg").write_bytes(jpeg(1, SIDE_PX // 2))
    (folder / "images" / "other").mkdir()
    # The same place on another slide must not be taken for it.
    (folder / "images" / "other" / "3_4.jpg").write_bytes(jpeg(2))
    built = read_source("pathgen", folder)
    assert [record.image for record in built.records] == [flat.getvalue(), jpeg(1, SIDE_PX)]
    assert built.records[0].region == Region(64, 128, SIDE_PX, SIDE_PX)
    assert built.rejects == {f"{TWENTY}/3_4#2": "slide_missing", f"{TWENTY}/5_6#3": "wrong_size"}


def test_what_cannot_work_is_said_before_the_run(tmp_path: Path, read_source) -> None:
    folder = release(tmp_path / "release", [place(FORTY, "64", "128")])
    with pytest.raises(InputError, match=r"options\.slides: .*gone is not a folder"):
        read_source("pathgen", folder, "options.slides=gone")
    with pytest.raises(ConfigError, match="level0"):
        read_source("pathgen", folder, "options.field=pixels")
    with pytest.raises(InputError, match=r"slide_missing"):
        read_source("pathgen", folder)
    (folder / "PathGen-1.6M.json").write_text('[{"wsi_id": "A", "pos')
    with pytest.raises(InputError, match="cut off or damaged"):
        read_source("pathgen", folder)


def test_a_release_whose_first_slides_were_not_fetched_is_read(tmp_path: Path, slides: Path, read_source) -> None:
    missing: list[object] = [place("TCGA-EE-0005-01Z-00-DX1.5", number, 0) for number in range(1000)]
    built = read_source("pathgen", release(tmp_path / "release", [*missing, place(FORTY, "64", "128")]), f"options.slides={slides}")
    assert [record.group for record in built.records] == ["TCGA-AA-0001"]
    assert len(built.rejects) == 1000


def test_slides_that_are_fetched_later_make_another_plan(tmp_path: Path, slides: Path, read_source) -> None:
    folder = release(tmp_path / "release", [place(FORTY, "64", "128")])
    some = tmp_path / "some"
    (some / "1").mkdir(parents=True)
    (some / "1" / f"{FORTY}.svs").symlink_to(slides / "11111111-2222" / f"{FORTY}.svs")
    first = read_source("pathgen", folder, f"options.slides={some}").artefact
    (some / "2.svs").write_bytes(b"x")
    second = read_source("pathgen", folder, f"options.slides={some}").artefact
    assert first.plan.facts["slides"]["files"] == 1
    assert second.plan.facts["slides"]["files"] == 2
    assert first.plan.facts["slides"]["digest"] != second.plan.facts["slides"]["digest"]
