"""RefPath: expressions and the boxes they refer to (Zhong et al. 2025, arXiv:2502.20869)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.reading.dialogue import question_messages
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import list_sections, section_elements
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source
from eosin.errors import InputError
from eosin.images import image_size
from eosin.records import Box, Conversation, Record, box_to_text

_SPLITS = {"train": "train", "val": "val", "testA": "test", "testB": "test"}
_QUESTION = "Where is this: {}? Answer with its box [x0, y0, x1, y1] in whole numbers from 0 to 999, relative to the image."


class RefPath(Source[NoOptions]):
    """One box a line, with one or several expressions: each expression becomes a conversation."""

    card = Card(
        name="refpath",
        title="RefPath (PathVG)",
        kind="conversations",
        paper="Zhong et al., PathVG: A New Benchmark and Dataset for Pathology Visual Grounding, MICCAI 2025, arXiv:2502.20869",
        homepage="https://huggingface.co/datasets/fengluo/RefPath",
        licence="CC-BY-NC-SA-4.0",
        gated=False,
        commercial="no",
        files=(
            ExpectedFile(
                "**/*train*.jsonl | **/*val*.jsonl | **/*test*.jsonl", "one box a line; train, val, testA, testB", "fengluo/RefPath"
            ),
            ExpectedFile("refpath_image | **/*.jpg | *.zip", "refpath_image/NUMBER.jpg, packed or not", "fengluo/RefPath"),
        ),
        counts={"images": 27610, "boxes": 33500},
        splits="Official train, val, testA (40x) and testB (20x); the last two are test, and extra.subset tells them apart.",
        groups="The image; the slide it is from is not told.",
        problems=(
            "Expressions come as a list, some of them inside brackets of their own: those are taken off.",
            "Boxes are corners in pixels; they become whole numbers 0 to 999 of the image. A box that leaves the image by more than a "
            "pixel, or that is empty, is a reject.",
            "Where height and width are given and the image has others, the record is a reject: its box cannot be placed.",
            "The older .pth tensors hold width and height in place of the second corner; they are not read.",
        ),
        citation="@inproceedings{zhong2025pathvg, title={PathVG: A New Benchmark and Dataset for Pathology Visual Grounding}, "
        "author={Zhong, Chunlin and Hao, Shuang and Wu, Junhua and Chang, Xiaona and Jiang, Jiwei and Nie, Xiu and Tang, He and Bai, "
        "Xiang}, booktitle={MICCAI}, year={2025}}",
    )

    def __init__(self, folder: Path, options: NoOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    def sections(self) -> Iterable[Section]:
        for path in sorted(self.folder.glob("**/*.jsonl")):
            name = path.relative_to(self.folder).as_posix()
            yield from list_sections(path, name, (_SPLITS[_subset(name)],))

    def items(self, section: Section) -> Iterator[Item]:
        subset = _subset(section.name)
        for number, row in section_elements(self.folder / section.name, section):
            key = f"{section.name}#{number}"
            told = row.get("expression") if isinstance(row, Mapping) else None
            expressions = told if isinstance(told, list) and told else [told]
            for place, expression in enumerate(expressions):
                own = key if len(expressions) == 1 else f"{key}.{place}"
                yield Item(own, _SPLITS[subset], functools.partial(self._record, row, expression, own, subset))

    def _record(self, row: Any, expression: Any, key: str, subset: str) -> Record:
        if not isinstance(row, Mapping) or not isinstance(expression, str) or not row.get("image"):
            raise Refused("wrong_columns", f"image, bbox and expression are wanted, not {row!r}")
        words = expression.strip().removeprefix("[").removesuffix("]").strip().rstrip(".")
        if not words:
            raise Refused("no_question", "the expression is empty")
        name = str(row["image"])
        image = self.images.read(name)
        box = _box(row, image_size(image), words)
        answer = box_to_text(box)
        kept = {key: row[key] for key in ("image_id", "bbox_id", "bbox") if key in row}
        return Conversation(
            **self.base(key, str(row.get("image_id") or name), _SPLITS[subset]),
            images=(image,),
            messages=question_messages(_QUESTION.format(words), answer),
            task="grounding",
            answer=answer,
            extra={**kept, "subset": subset, "image": name, "label": words},
        )


def _subset(name: str) -> str:
    """Which of the four files it is.

    Raises:
        InputError: none of them.
    """
    lowered = name.rpartition("/")[2].lower()
    found = [subset for subset in _SPLITS if subset.lower() in lowered]
    if len(found) != 1:
        raise InputError(f"{name}: a file's name must tell one of {', '.join(_SPLITS)}")
    return found[0]


def _box(row: Mapping[str, Any], size: tuple[int, int], label: str) -> Box:
    """The box as fractions of the image.

    Raises:
        Refused: `wrong_box`, `size_differs`.
    """
    told = tuple(_pixels(row.get(name), real) for name, real in zip(("width", "height"), size, strict=True))
    if told != size:
        raise Refused("size_differs", f"the box is in an image of {told[0]} x {told[1]} pixels; the image has {size[0]} x {size[1]}")
    try:
        x0, y0, x1, y1 = map(float, row["bbox"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise Refused("wrong_box", f"bbox is {row.get('bbox')!r}; [x0, y0, x1, y1] in pixels is wanted") from error
    width, height = size
    if not (-1 <= x0 < x1 <= width + 1 and -1 <= y0 < y1 <= height + 1):
        raise Refused("wrong_box", f"the box {row['bbox']} is empty or leaves the image of {width} x {height} pixels")
    clipped = [min(max(side, 0.0), limit) for side, limit in zip((x0, y0, x1, y1), (width, height, width, height), strict=True)]
    if clipped[0] >= clipped[2] or clipped[1] >= clipped[3]:
        raise Refused("wrong_box", f"the box {row['bbox']} lies outside of the image of {width} x {height} pixels")
    return Box(clipped[0] / width, clipped[1] / height, clipped[2] / width, clipped[3] / height, label)


def _pixels(told: Any, real: int) -> Any:
    """A width or height that the record tells, as a number or as text; where it tells none, that of the image."""
    if told in (None, ""):
        return real
    try:
        return float(told) if isinstance(told, str) else told
    except ValueError:
        return told
