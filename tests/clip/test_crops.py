import numpy as np
import pytest
import torch
from PIL import Image

from eosin.clip.augment import draw
from eosin.clip.config import AugmentConfig
from eosin.clip.crops import crop, resized


def picture(height: int, width: int) -> np.ndarray:
    """Smooth, so that filters differ little, and different in every corner."""
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    return np.stack([255 * x, 255 * y, 127 * (x * y + 1)], axis=2).round().astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(50, 40), (20, 25), (32, 32), (1, 7)])
def test_resizing_is_pillows(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted = np.asarray(Image.fromarray(pixels).resize((32, 32), Image.Resampling.BICUBIC)).transpose(2, 0, 1)
    assert np.abs(resized(pixels, 32, 32).astype(int) - wanted).max() <= 2


def test_a_crop_shows_what_its_affine_map_says() -> None:
    """Against sampling at the grid, in all eight symmetries and whatever the image's shape."""
    config = AugmentConfig(symmetries="all", crop_area=0.4, crop_ratio=1.5)
    pixels = picture(180, 260)
    affine = draw(config, 0, 0, np.arange(60)).affine
    source = torch.from_numpy(pixels.transpose(2, 0, 1)[None].astype(np.float64))
    for row in affine:
        found = np.empty((3, 24, 24), dtype=np.uint8)
        crop(pixels, row, 24, found)
        grid = torch.nn.functional.affine_grid(torch.from_numpy(row[None]), [1, 3, 24, 24], align_corners=False)
        wanted = torch.nn.functional.grid_sample(source, grid, padding_mode="border", align_corners=False)[0].numpy()
        np.testing.assert_allclose(found, wanted, atol=4)
    turns = {tuple(np.sign(row[:, :2]).astype(int).ravel()) for row in affine}
    assert len(turns) == 8


def test_a_whole_image_of_the_right_size_comes_back_untouched() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    found = np.empty((3, 16, 16), dtype=np.uint8)
    crop(pixels, np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), 16, found)
    np.testing.assert_array_equal(found, pixels.transpose(2, 0, 1))


def test_a_crop_is_one_pixel_at_least() -> None:
    found = np.empty((3, 4, 4), dtype=np.uint8)
    crop(picture(2, 2), np.array([[1e-9, 0.0, 1.0], [0.0, 1e-9, -1.0]]), 4, found)
    np.testing.assert_array_equal(found, np.broadcast_to(picture(2, 2)[0, 1][:, None, None], (3, 4, 4)))
