"""Names of patients, videos and articles that stand in groups, slides and ids, so that they are recognised across publishers."""

from __future__ import annotations

import re

from eosin.data_builders.sources.reading.names import video_of

# TCGA: project, tissue source site, participant: the patient; what follows is sample, slide and so on.
_PATIENT = re.compile(r"(?<![A-Za-z0-9])(TCGA-[A-Z0-9]{2}-[A-Z0-9]{4})(?![A-Za-z0-9])", re.IGNORECASE)
_ARTICLE = re.compile(r"(?<![A-Za-z0-9])PMC_?(\d{4,9})(?!\d)", re.IGNORECASE)
_LINKED_VIDEO = re.compile(r"(?:youtu\.be/|youtube\.com/(?:watch\?v=|embed/|shorts/)|[?&]v=|video[:=])([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")
_BARE_VIDEO = re.compile(r"[A-Za-z0-9_-]{11}")
# They group by video, so that eleven characters are an id whatever they look like.
_OF_VIDEOS = frozenset({"quilt_1m", "quilt_instruct", "quilt_vqa"})


def identifiers(source: str, group: str, others: tuple[str, ...]) -> set[str]:
    """What a record belongs to, as `kind:name`.

    The group itself counts within its source: patient 17 of one hospital is not patient 17 of another.

    Args:
        source: of the record.
        group: likewise.
        others: its id, its slide.
    """
    found = {f"group:{source}/{group}"}
    for text in (group, *others):
        found |= {f"patient:{name.upper()}" for name in _PATIENT.findall(text)}
        found |= {f"article:PMC{number}" for number in _ARTICLE.findall(text)}
        found |= {f"video:{name}" for name in _LINKED_VIDEO.findall(text)}
    return found | {f"video:{name}" for name in _named_like_videos(group, others) if source in _OF_VIDEOS or _is_mixed(name)}


def perhaps_videos(group: str, others: tuple[str, ...]) -> set[str]:
    """Names that have the form of a video's and may be plain words: `microscopic_image_1.jpg`.

    They are that video's where another record is surely of it.

    Args:
        group: of the record.
        others: its id, its slide.
    """
    return {f"video:{name}" for name in _named_like_videos(group, others)}


def _named_like_videos(group: str, others: tuple[str, ...]) -> set[str]:
    last = group.rsplit("/", 1)[-1]
    return {name for text in (group, *others) if (name := video_of(text))} | ({last} if _BARE_VIDEO.fullmatch(last) else set())


def _is_mixed(name: str) -> bool:
    """Random names of 64 letters mix cases and digits; words of eleven letters and plain numbers do not."""
    return any(letter.isupper() for letter in name) and any(letter.islower() for letter in name)
