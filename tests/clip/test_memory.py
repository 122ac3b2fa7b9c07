"""What memory holds of a data set: some numbers a record, and the files of a window."""

import dataclasses
import gc
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.clip.image_store import Reading
from eosin.clip.joined import Joined
from eosin.clip.order import epoch_order
from eosin.clip.pairs import _IndexBuilder
from eosin.clip.text_store import TextStoreWriter
from eosin.images import encode_png
from eosin.records import ImageText

COLUMNS = ("id", "source", "licence", "group", "split", "image", "captions")


def held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


def test_a_record_costs_some_numbers_so_that_a_million_fit_anywhere(squares: Any, tmp_path: Path) -> None:
    """400 bytes are 400 MB for a million; the captions' texts lie on disk."""
    record: ImageText = squares.pair(0)
    tracemalloc.start()
    try:
        with TextStoreWriter(tmp_path / "texts.bin") as texts:
            builder = _IndexBuilder(texts)
            sizes = []
            for number in range(30_000):
                one = dataclasses.replace(record, group=f"slide-{number}")
                builder.add(number, one, [f"caption {number}, which is as long as captions of pathology are: {'x' * 200}"], -1, (1.0, 1.0))
                if number in (9_999, 29_999):
                    sizes.append(held())
            index = builder.close()
    finally:
        tracemalloc.stop()
    assert len(index) == 30_000
    assert (sizes[1] - sizes[0]) / 20_000 < 400
    assert (tmp_path / "texts.bin").stat().st_size > 200 * 30_000


def test_an_epoch_holds_the_files_of_a_window_not_of_the_data_set(squares: Any, tmp_path: Path) -> None:
    image = encode_png(np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8))
    records = [dataclasses.replace(squares.pair(number), image=image) for number in range(4)] * 500
    named = [dataclasses.replace(record, id=f"squares/{number}") for number, record in enumerate(records)]
    data = Joined((squares.write(tmp_path / "data", named),), "train")
    starts, rows = data.blocks()
    window = 200
    reading = Reading(40, "squash", 0, 1, window)
    table = data.table(COLUMNS, reading.window, 2 * reading.threads + 2)
    tracemalloc.start()
    try:
        before, most = held(), 0
        for numbers in epoch_order(0, 0, rows, starts, window):
            assert all(table[int(number)].image == image for number in numbers)
            most = max(most, held() - before)
    finally:
        tracemalloc.stop()
    whole = len(image) * rows
    assert most < 0.4 * whole, f"{most} of {whole} bytes"
    assert most == pytest.approx(len(image) * 600, rel=0.4), "two row groups of the window, and four to spare"
