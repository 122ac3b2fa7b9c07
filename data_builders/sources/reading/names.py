"""What publishers' file names tell: the split, the patient, the video, the article."""

from __future__ import annotations

import re

_SPLIT = re.compile(r"(?<![a-z])(train(?:ing)?|val(?:id(?:ation)?)?|dev|test(?:ing)?)(?![a-z])")
_SPLIT_NAMES = {"tr": "train", "va": "val", "de": "val", "te": "test"}
_TCGA_PATIENT = re.compile(r"TCGA-[A-Z0-9]{2}-[A-Z0-9]{4}", re.IGNORECASE)
# A YouTube id has 11 characters, and may itself hold `_` and `-`.
_QUILT_NAME = re.compile(r"^(?P<video>[A-Za-z0-9_-]{11})_(?:roi|image)_")
_ARTICLE = re.compile(r"PMC\d+", re.IGNORECASE)


def split_of(name: str) -> str | None:
    """The split that a file's path or a word names, as `eosin.records.SPLITS` call it; the last one that is named. None where none is."""
    found = _SPLIT.findall(name.lower())
    return _SPLIT_NAMES[found[-1][:2]] if found else None


def patient_of(slide: str) -> str:
    """The patient of a TCGA slide, the first 12 characters of its barcode; any other slide is its own patient."""
    found = _TCGA_PATIENT.match(slide)
    return found.group().upper() if found else slide


def video_of(image: str) -> str | None:
    """The YouTube id in `VIDEO_roi_UUID.jpg` or `VIDEO_image_UUID.jpg`, the names of Quilt (Ikezogwo et al. 2023)."""
    found = _QUILT_NAME.match(image.replace("\\", "/").rpartition("/")[2])
    return found["video"] if found else None


def article_of(*names: str) -> str | None:
    """The first PubMed Central id in any of the names."""
    found = next(filter(None, (_ARTICLE.search(name) for name in names)), None)
    return found.group().upper() if found else None
