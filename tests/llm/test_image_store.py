"""Each distinct image is encoded once; a view is the tower's answer to the flipped image."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eosin.artefacts import Artefact
from eosin.errors import ImageError
from eosin.images import encode_png
from eosin.llm.assistant import Assistant, read_assistant
from eosin.llm.image_store import ImageStoreWriter, Views, turned


@pytest.fixture(scope="module")
def assistant(stage1: Artefact) -> Assistant:
    return read_assistant(stage1.path)


def pixels(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def test_an_image_is_stored_once_and_each_view_is_its_own_encoding(assistant: Assistant, tmp_path: Path) -> None:
    images = [encode_png(pixels(number)) for number in range(70)]
    with ImageStoreWriter(tmp_path / "images.bin", assistant, Views(8), frozen=True) as writer:
        rows = [writer.add(image) for image in [*images, images[3]]]
        store = writer.finish()
    assert rows == [*range(70), 3]
    assert len(store) == 70
    # The tower takes 32 px, so that flipping before or after the image processor is the same.
    symmetries = [
        lambda a: a,
        lambda a: a[:, ::-1],
        lambda a: a[::-1],
        lambda a: a[::-1, ::-1],
        lambda a: a.swapaxes(0, 1),
        lambda a: a.swapaxes(0, 1)[:, ::-1],
        lambda a: a.swapaxes(0, 1)[::-1],
        lambda a: a.swapaxes(0, 1)[::-1, ::-1],
    ]
    found = store.read([66] * 8, list(range(8)))
    distances = torch.zeros(8, 8)
    with torch.no_grad():
        for view, symmetry in enumerate(symmetries):
            image = Image.fromarray(np.ascontiguousarray(symmetry(pixels(66))))
            wanted = assistant.image_states(assistant.pixels([image]))[0]
            distances[view] = (found - wanted).abs().amax(dim=(1, 2))
    # Every symmetry is exactly one of the views.
    assert (distances < 1e-4).sum(dim=0).tolist() == [1] * 8
    assert (distances < 1e-4).sum(dim=1).tolist() == [1] * 8
    assert distances[0, 0] < 1e-4


def test_pixels_are_stored_while_the_tower_learns(assistant: Assistant, tmp_path: Path) -> None:
    with ImageStoreWriter(tmp_path / "images.bin", assistant, Views(2), frozen=False) as writer:
        writer.add(encode_png(pixels(0)))
        store = writer.finish()
    wanted = assistant.pixels([Image.fromarray(pixels(0))])
    assert torch.equal(store.read([0, 0], [0, 1]), torch.cat([wanted, wanted.flip(-1)]))


def test_a_damaged_image_is_named_and_takes_no_row(assistant: Assistant, tmp_path: Path) -> None:
    good = encode_png(pixels(0))
    with ImageStoreWriter(tmp_path / "images.bin", assistant, Views(1), frozen=True) as writer:
        with pytest.raises(ImageError):
            writer.add(good[:80])
        assert writer.add(good) == 0
        assert len(writer.finish()) == 1


def test_views_are_the_eight_symmetries_of_a_square() -> None:
    square = torch.arange(9.0).reshape(1, 1, 3, 3)
    found = {tuple(turned(square, view).flatten().tolist()) for view in range(8)}
    assert len(found) == 8
    assert torch.equal(turned(square, 0), square)


def test_other_views_are_stained_otherwise_and_the_first_is_the_image_itself(assistant: Assistant, tmp_path: Path) -> None:
    def encoded(name: str, views: Views) -> torch.Tensor:
        with ImageStoreWriter(tmp_path / name, assistant, views, frozen=False) as writer:
            for number in range(3):
                writer.add(encode_png(pixels(number)))
            return writer.finish().read([0, 0, 1, 1], [0, 1, 0, 1])

    plain, stained = encoded("plain", Views(2)), encoded("stained", Views(2, stain=0.3, seed=1))
    assert torch.equal(stained[[0, 2]], plain[[0, 2]])
    differences = (stained[[1, 3]] - plain[[1, 3]]).abs().amax(dim=(1, 2, 3))
    assert (differences > 0.05).all()
    assert torch.equal(stained, encoded("again", Views(2, stain=0.3, seed=1)))
    assert not torch.equal(stained, encoded("other seed", Views(2, stain=0.3, seed=2)))
