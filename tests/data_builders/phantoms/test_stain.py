"""Colour follows the Beer-Lambert law, and says more about the slide than about the tissue."""

from __future__ import annotations

import dataclasses

import numpy as np
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from eosin.data_builders.phantoms import SCANNERS, TISSUES, TileSpec, render_tile, stain_profile
from eosin.data_builders.phantoms.stain import Scanner, develop

PLAIN_CAMERA = Scanner(white=(1.0, 1.0, 1.0), gamma=1.0, blur=0.0, noise=0.0, vignette=0.0)


def test_light_is_ten_to_the_minus_optical_density() -> None:
    profile = dataclasses.replace(
        stain_profile("P1", "S1", "birch"), camera=PLAIN_CAMERA, veil=(0.0, 0.0, 0.0), hematoxylin_gain=1.0, eosin_gain=1.0
    )
    rng = np.random.default_rng(0)
    hematoxylin, eosin = (rng.uniform(0, 1, (16, 16)).astype(np.float32) for _ in range(2))
    density = hematoxylin[..., None] * np.array(profile.hematoxylin) + eosin[..., None] * np.array(profile.eosin)
    expected = 255 * 10.0**-density
    assert np.abs(develop(hematoxylin, eosin, profile, rng) - expected).max() <= 0.51


def test_a_profile_belongs_to_its_names_and_slides_of_one_patient_are_alike() -> None:
    assert stain_profile("P1", "S1", "cedar") == stain_profile("P1", "S1", "cedar")
    first, second = stain_profile("P1", "S1", "cedar"), stain_profile("P1", "S2", "cedar")
    assert first.hematoxylin == second.hematoxylin
    assert first.hematoxylin_gain != second.hematoxylin_gain
    assert stain_profile("P2", "S1", "cedar").hematoxylin != first.hematoxylin
    for name in ("hematoxylin", "eosin"):
        assert np.isclose(np.linalg.norm(getattr(first, name)), 1.0)


def test_hematoxylin_is_bluer_than_eosin_on_every_slide() -> None:
    for number in range(100):
        profile = stain_profile(f"P{number}", "S1", "birch")
        assert profile.hematoxylin[0] > profile.eosin[0] + 0.2  # hematoxylin takes red light, eosin lets it pass


def _tile_features(seed: int, tissue: str, patient: int) -> tuple[np.ndarray, np.ndarray]:
    scanner = list(SCANNERS)[patient % len(SCANNERS)]
    image = render_tile(TileSpec(seed, tissue, f"P{patient}", f"S{seed % 2}", scanner)).image
    colour = np.concatenate([image.mean(axis=(0, 1)), image.std(axis=(0, 1))])
    grey = np.asarray(Image.fromarray(image).convert("L").resize((96, 96), Image.Resampling.BILINEAR), dtype=np.float64)
    return colour, _texture((grey - grey.mean()) / (grey.std() + 8))


def _texture(grey: np.ndarray) -> np.ndarray:
    """Histograms of grey level, gradient and uniform local binary patterns at three scales, without colour."""
    parts = []
    for _ in range(3):
        down, right = np.gradient(grey)
        strength, direction = np.hypot(down, right), np.arctan2(down, right) % np.pi
        parts.append(np.histogram(strength, [0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.8, 1.2, 9])[0] / grey.size)
        parts.append(np.histogram(grey, [-9, -2.5, -1.5, -0.8, -0.3, 0.3, 0.8, 1.5, 9])[0] / grey.size)
        turns = np.histogram(direction, 8, weights=strength)[0]
        parts.append(np.sort(turns) / (turns.sum() + 1e-6))
        ring = [(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]
        brighter = np.stack([np.roll(grey, shift, (0, 1)) > grey + 0.05 for shift in ring])
        uniform = (brighter != np.roll(brighter, 1, axis=0)).sum(axis=0) <= 2
        parts.append(np.histogram(np.where(uniform, brighter.sum(axis=0), 9), np.arange(11))[0] / grey.size)
        grey = (grey[::2, ::2] + grey[1::2, ::2] + grey[::2, 1::2] + grey[1::2, 1::2]) / 4
    return np.concatenate(parts)


def test_structure_tells_the_classes_apart_and_colour_alone_does_not() -> None:
    def collect(count: int, first_patient: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
        jobs = [(first_patient * 1000 + n, tissue, first_patient + n % 25) for n in range(count) for tissue in TISSUES]
        colour, texture = zip(*(_tile_features(*job) for job in jobs), strict=True)
        return np.stack(colour), np.stack(texture), [job[1] for job in jobs]

    train_colour, train_texture, train_labels = collect(40, 0)
    test_colour, test_texture, test_labels = collect(16, 500)
    scores = []
    for train, test in ((train_colour, test_colour), (train_texture, test_texture)):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)).fit(train, train_labels)
        scores.append(model.score(test, test_labels))
    by_colour, by_texture = scores
    assert by_colour < 0.75
    assert by_texture > 0.90
