"""SPIDER: patches of several organs with expert labels and context (Nechaev et al. 2025)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from eosin.data_builders.sources.image_tree import split_named
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import BROKEN, elements, list_sections, section_elements
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, Refused, Section, Source, refused_item
from eosin.records import LabelledImage, Record

_IMAGE = ("image_name", "image", "patch", "file_name")
_SLIDE = ("slide_id", "slide", "wsi")
_CLASS = ("class", "label", "class_name")
WHY_PATIENT_UNKNOWN = "Slides, not patients, are told: a patient's slides may be in both splits."


@dataclass(frozen=True)
class SpiderOptions:
    """Attributes:
    organ: of the release in the folder; it is kept in `extra`.
    """

    organ: Literal["", "skin", "colorectal", "thorax", "breast"] = ""


class Spider(Source[SpiderOptions]):
    """metadata.json, a list of central patches, and images/, which holds them and their context patches."""

    Options = SpiderOptions
    card = Card(
        name="spider",
        title="SPIDER patches: skin, colorectal, thorax, breast",
        kind="labelled_images",
        paper="Nechaev et al., SPIDER: A Comprehensive Multi-Organ Supervised Pathology Dataset and Baseline Models, 2025, "
        "arXiv:2503.02876",
        homepage="https://huggingface.co/datasets/histai/SPIDER-skin (-colorectal, -thorax, -breast)",
        licence="CC-BY-NC-4.0",
        gated=True,
        commercial="no",
        files=(
            ExpectedFile(
                "metadata.json | */metadata.json",
                "a list of slide_id, image_name, context_info, class, split",
                "the homepage: cat spider-ORGAN.tar.* | tar -xf -",
            ),
            ExpectedFile(
                "images | */images",
                "central and context patches of 224 x 224 px at 20x",
                "the homepage: cat spider-ORGAN.tar.* | tar -xf -",
            ),
        ),
        counts={},
        splits="Official, by slide: train and test.",
        groups=f"The slide. {WHY_PATIENT_UNKNOWN}",
        problems=(
            "The 24 context patches of a field of 1120 x 1120 px are images of their own and far outnumber the labelled ones; they are not "
            "read, their names stay in `extra.context`.",
            "Context patches overlap between neighbours of one slide: splits by anything but the slide leak.",
            "20x is told, no microns per pixel: mpp is empty.",
            "Classes are taken as they are spelt; the publisher's own list writes `Mercel cell carcinoma` for Merkel cell carcinoma.",
            "The parts spider-ORGAN.tar.aa, .ab ... are pieces of one archive: join and unpack them first.",
        ),
        citation="@article{nechaev2025spider, title={SPIDER: A Comprehensive Multi-Organ Supervised Pathology Dataset and Baseline "
        "Models}, author={Nechaev, Dmitry and Pchelnikov, Alexey and Ivanova, Ekaterina}, journal={arXiv:2503.02876}, year={2025}}",
    )

    def problems(self) -> list[str]:
        if any(self.folder.glob("*.tar.a*")) and not any(self.folder.glob("**/metadata.json")):
            return ["the archive's pieces are not joined yet; run: cat spider-*.tar.* | tar -xf -"]
        return []

    @functools.cached_property
    def _metadata(self) -> Any:
        return self.path("metadata.json", "*/metadata.json")

    @functools.cached_property
    def _images(self) -> ImageFiles:
        return ImageFiles(self._metadata.parent)

    def sections(self) -> Iterable[Section]:
        return list_sections(self._metadata, str(self._metadata.relative_to(self.folder)), ("train", "val", "test"))

    @functools.cached_property
    def _classes(self) -> list[str]:
        told = (_first(entry, _CLASS) for _, entry in elements(self._metadata) if isinstance(entry, Mapping))
        return sorted({label for label in told if label})

    def facts(self) -> Mapping[str, Any]:
        return {"classes": self._classes}

    @functools.cached_property
    def _place(self) -> dict[str, int]:
        """The element of each image; of one that comes twice, the first."""
        found: dict[str, int] = {}
        for number, (_, entry) in enumerate(elements(self._metadata)):
            if isinstance(entry, Mapping):
                found.setdefault(_first(entry, _IMAGE), number)
        return found

    def items(self, section: Section) -> Iterator[Item]:
        for number, entry in section_elements(self._metadata, section):
            if entry is BROKEN or not isinstance(entry, Mapping):
                yield refused_item(f"{section.name}#{number}", "train", "not_an_object", "an object of a patch is wanted")
                continue
            name, split = _first(entry, _IMAGE), split_named(str(entry.get("split", "")))
            key = name or f"{section.name}#{number}"
            if split is None:
                yield refused_item(key, "train", "unknown_split", f"its split is {entry.get('split')!r}")
            elif name and self._place[name] != number:
                yield refused_item(f"{name}#{number}", split, "repeated_id", f"{name} is in element {self._place[name] + 1} already")
            else:
                yield Item(key, split, functools.partial(self._record, entry, key, split))

    def _record(self, entry: Mapping[str, Any], key: str, split: str) -> Record:
        name, slide, label = _first(entry, _IMAGE), _first(entry, _SLIDE), _first(entry, _CLASS)
        for told, what in ((name, _IMAGE), (slide, _SLIDE), (label, _CLASS)):
            if not told:
                raise Refused("missing_key", f"it has no {what[0]}; there are: {', '.join(map(str, entry))}")
        extra = {"magnification": 20, "organ": self.options.organ, "context": entry.get("context_info")}
        return LabelledImage(
            **self.base(key, slide, split),
            slide=slide,
            extra={name: value for name, value in extra.items() if value},
            image=self._images.read(name),
            label=label,
        )


def _first(entry: Mapping[str, Any], names: tuple[str, ...]) -> str:
    return next((str(entry[name]) for name in names if entry.get(name)), "")
