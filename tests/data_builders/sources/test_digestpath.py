"""DigestPath: a malignant region comes with its mask or not at all."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from eosin.images import decode_image, encode_jpeg


def test_masks_become_lossless_and_slides_groups(tmp_path: Path, jpeg: Callable[..., bytes], read_source) -> None:
    positive, negative = tmp_path / "in" / "tissue-train-pos-v1", tmp_path / "in" / "tissue-train-neg"
    positive.mkdir(parents=True)
    negative.mkdir()
    lesion = np.zeros((16, 16, 3), np.uint8)
    lesion[:8] = 255
    name = "18-09872B_2019-05-08 00_06_28-lv1-26136-15711-4069-3270"
    (positive / f"{name}.jpg").write_bytes(jpeg(1))
    (positive / f"{name}_mask.jpg").write_bytes(encode_jpeg(lesion))
    (positive / "18-1_2019-lv1-1-2-3-4.jpg").write_bytes(jpeg(2))
    (positive / "18-2_2019-lv1-1-2-3-4.jpg").write_bytes(jpeg(3, size=8))
    (positive / "18-2_2019-lv1-1-2-3-4_mask.jpg").write_bytes(encode_jpeg(lesion))
    (negative / "18-3_2019-lv1-1-2-3-4.jpg").write_bytes(jpeg(4))
    built = read_source("digestpath", tmp_path / "in")
    records = {record.label: record for record in built.records}
    assert records["malignant"].group == "18-09872B_2019-05-08 00_06_28"
    mask = decode_image(records["malignant"].mask)[..., 0]
    assert set(np.unique(mask)) == {0, 255}
    assert mask[:8].all()
    assert records["benign"].mask is None
    assert sorted(built.rejects.values()) == ["mask_missing", "mask_size"]
    assert "groups_unknown" not in built.artefact.plan.facts
