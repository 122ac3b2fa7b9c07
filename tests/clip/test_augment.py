from typing import Literal

import numpy as np
import pytest
import torch

from eosin.clip.augment import Draws, draw, normalise, recolour
from eosin.clip.config import AugmentConfig, ImageConfig
from eosin.clip.crops import crop
from eosin.numerics import STAINS

PLAIN = AugmentConfig(symmetries="none", crop_area=1.0, crop_ratio=1.0, stain=0.0, brightness=0.0)


def images(count: int, side: int = 40) -> torch.Tensor:
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.integers(0, 256, (count, 3, side, side), dtype=np.uint8))


def seen(draws: Draws, pictures: torch.Tensor, size: int, config: AugmentConfig) -> torch.Tensor:
    """Cut, turned and recoloured, as batches and steps do it."""
    cut = np.empty((len(pictures), 3, size, size), dtype=np.uint8)
    for place, picture in enumerate(pictures):
        crop(picture.permute(1, 2, 0).contiguous().numpy(), draws.affine[place], size, cut[place])
    return recolour(draws, torch.from_numpy(cut), config)


def test_a_picture_depends_on_seed_epoch_and_index_alone() -> None:
    config, pixels = AugmentConfig(), images(6)
    numbers = np.arange(6)
    whole = seen(draw(config, 3, 1, numbers), pixels, 32, config)
    some = numbers[[4, 1]]
    torch.testing.assert_close(seen(draw(config, 3, 1, some), pixels[some], 32, config), whole[some])
    other_epoch = seen(draw(config, 3, 2, numbers), pixels, 32, config)
    other_seed = seen(draw(config, 4, 1, numbers), pixels, 32, config)
    assert (whole - other_epoch).abs().amax(dim=(1, 2, 3)).min() > 10
    assert (whole - other_seed).abs().amax(dim=(1, 2, 3)).min() > 10


def test_without_any_augmentation_the_image_comes_back() -> None:
    pixels = images(3, 32)
    torch.testing.assert_close(seen(draw(PLAIN, 0, 0, np.arange(3)), pixels, 32, PLAIN), pixels.float())


def test_recolouring_leaves_its_input_alone() -> None:
    pixels = images(2, 8).float()
    before = pixels.clone()
    recolour(draw(AugmentConfig(), 0, 0, np.arange(2)), pixels, AugmentConfig())
    torch.testing.assert_close(pixels, before)


@pytest.mark.parametrize(("symmetries", "expected"), [("none", {0}), ("mirrors", {0, 2, 4, 6}), ("all", set(range(8)))])
def test_symmetries_are_those_that_were_asked_for(symmetries: Literal["none", "mirrors", "all"], expected: set[int]) -> None:
    """Numbers below 4 are quarter turns, those from 4 on quarter turns of the mirror image."""
    config = AugmentConfig(symmetries=symmetries, crop_area=1.0, crop_ratio=1.0, stain=0.0, brightness=0.0)
    one = images(1, 16)
    many = seen(draw(config, 0, 0, np.arange(100)), one.expand(100, -1, -1, -1), 16, config)
    wanted = [torch.rot90(flipped, turns, (1, 2)) for flipped in (one[0], one[0].flip(2)) for turns in range(4)]
    found = {next(k for k, image in enumerate(wanted) if torch.equal(image.float(), picture)) for picture in many}
    assert found == expected


def test_crops_stay_inside_and_keep_at_least_the_wanted_area() -> None:
    config = AugmentConfig(symmetries="all", crop_area=0.4, crop_ratio=1.5)
    affine = draw(config, 0, 0, np.arange(500)).affine
    areas = np.abs(np.linalg.det(affine[:, :, :2]))
    assert 0.3 < areas.min() < 0.5
    assert areas.max() > 0.9
    corners = np.abs(affine[:, :, :2]).sum(axis=2) + np.abs(affine[:, :, 2])
    assert corners.max() <= 1 + 1e-9


def test_stain_jitter_scales_the_stains_of_ruifrok_and_johnston() -> None:
    factors, offsets = np.array([1.2, 0.9, 1.1]), np.array([0.02, -0.01, 0.0])
    identity = np.concatenate([np.eye(2), np.zeros((2, 1))], axis=1)[None]
    stain = (np.linalg.inv(STAINS) @ (factors[:, None] * STAINS)).T[None]
    draws = Draws(np.zeros(1), identity, stain, (offsets @ STAINS)[None, :, None], np.ones(1), np.full((1, 3, 2), np.nan))
    config = AugmentConfig(symmetries="none", crop_area=1.0, stain=0.1, brightness=0.0)
    pixels = images(1, 8)
    density = -np.log((pixels[0].numpy().astype(np.float64).transpose(1, 2, 0) + 1) / 256)
    stains = density @ np.linalg.inv(STAINS)
    wanted = (256 * np.exp(-((stains * factors + offsets) @ STAINS)) - 1).clip(0, 255).transpose(2, 0, 1)
    np.testing.assert_allclose(recolour(draws, pixels, config)[0].numpy(), wanted, atol=0.05)


def test_strengths_of_zero_change_no_colour() -> None:
    draws = draw(PLAIN, 0, 0, np.arange(4))
    np.testing.assert_allclose(draws.stain, np.broadcast_to(np.eye(3), (4, 3, 3)), atol=1e-12)
    np.testing.assert_array_equal(draws.offset, 0)
    np.testing.assert_array_equal(draws.brightness, 1)


@pytest.mark.parametrize("value", [0.0, 127.0, 255.0])
def test_pixels_are_normalised_as_open_clip_does(value: float) -> None:
    from torchvision.transforms.functional import normalize

    config = ImageConfig()
    pixels = torch.full((1, 3, 4, 4), value)
    wanted = normalize(pixels / 255, list(config.mean), list(config.std))
    torch.testing.assert_close(normalise(pixels.clone(), config), wanted)


def test_crops_have_the_scale_in_microns_that_was_asked_for() -> None:
    config = AugmentConfig(crop_ratio=1.2, mpp=(0.25, 1.0))
    # 512 px at 0.25 microns on an input of 128 px: 1 micron a pixel if all is shown. The second image is half as high.
    whole = np.array([[1.0, 1.0], [1.0, 0.5]]).repeat(300, axis=0)
    size = np.abs(draw(config, 0, 0, np.arange(600), whole).affine[:, :, :2]).sum(axis=2)
    scales = np.sqrt(np.prod(size * whole, axis=1))
    assert scales[:300].min() == pytest.approx(0.25, rel=0.05)
    assert scales[:300].max() == pytest.approx(1.0, rel=0.1)
    assert np.median(scales[:300]) == pytest.approx(0.5, rel=0.1), "evenly in the logarithm"
    assert size.max() <= 1 + 1e-9, "never more than there is"


def test_a_share_of_the_images_takes_the_colours_it_drew() -> None:
    config = AugmentConfig(symmetries="none", crop_area=1.0, crop_ratio=1.0, stain=0.0, brightness=0.0, colour_transfer=0.5)
    # Small contrasts, so that no pixel leaves the range and is clamped.
    pixels = images(200).float() / 8 + 112
    draws = draw(config, 0, 0, np.arange(200))
    found, chosen = recolour(draws, pixels, config), np.isfinite(draws.colours[:, 0, 0])
    assert 70 < chosen.sum() < 130
    torch.testing.assert_close(found[~chosen], pixels[~chosen])
    # An even spread reaches 1.73 standard deviations: these stay in the range of a pixel, so that nothing is clamped.
    mean, reach = draws.colours[:, :, 0], 1.75 * draws.colours[:, :, 1]
    calm = chosen & (mean + reach < 1).all(axis=1) & (mean - reach > 0).all(axis=1)
    assert calm.sum() >= 2
    wanted = torch.from_numpy(255 * draws.colours[calm]).float()
    torch.testing.assert_close(found[calm].mean((2, 3)), wanted[:, :, 0], atol=0.5, rtol=0)
    torch.testing.assert_close(found[calm].std((2, 3), correction=0), wanted[:, :, 1], atol=0.5, rtol=0)


def test_an_image_without_contrast_stays_without() -> None:
    config = AugmentConfig(stain=0.0, brightness=0.0, colour_transfer=1.0)
    flat = torch.full((4, 3, 8, 8), 200.0)
    found = recolour(draw(config, 0, 0, np.arange(4)), flat, config)
    assert float(found.std((2, 3)).max()) == 0.0
