"""Any instruction data in LLaVA's JSON (Liu et al. 2023, arXiv:2304.08485)."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eosin.data_builders.sources.dialogue_files import DialogueFiles, image_names
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.json_files import elements
from eosin.data_builders.sources.reading.names import split_of
from eosin.data_builders.sources.reading.own_samples import GROUPS_UNKNOWN, own_columns, restored_conversation
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused
from eosin.errors import InputError
from eosin.records import SPLITS, Conversation, Record

_LOOKED_AT = 20


@dataclass(frozen=True)
class LlavaOptions:
    """How the files are read.

    Attributes:
        files: a pattern below the folder, for the JSON lists or JSON lines; empty: `*.json`, and `*.jsonl` where there is none.
        images: the folder of images below the folder; empty: the folder itself.
        group: the key of the patient, slide, video or article; empty: each image is its own group, with those that any record shows
            beside it.
        split: the key of the split; empty: the split that a file's name tells, else none.
    """

    files: str = ""
    images: str = ""
    group: str = ""
    split: str = ""


class Llava(DialogueFiles[LlavaOptions]):
    """A list of `{id, image, conversations}`; text-only records too.

    What `export_llava` wrote comes back as it was, under its own id and source; options that are named count before its columns.
    """

    Options = LlavaOptions
    card = Card(
        name="llava",
        title="Your own conversations in LLaVA's JSON",
        kind="conversations",
        paper="none of its own; the format: Liu et al., Visual Instruction Tuning, NeurIPS 2023, arXiv:2304.08485",
        homepage="https://github.com/haotian-liu/LLaVA",
        licence="unknown",
        gated=False,
        commercial="unclear",
        files=(ExpectedFile("**/*.json | **/*.jsonl", "a list of {id, image, conversations}, or one a line; images beside it", "you"),),
        counts={},
        splits="A key, where one is named, or the record's own, where `export_llava` wrote it; else the file's name.",
        groups="A key, where one is named, or the record's own, where `export_llava` wrote it; else each image is its own group; "
        "images that stand in one record are one group.",
        problems=(
            "Keys and roles are spelt in many ways (conversatons, role/content, assistant, user): all are read.",
            "<image> stands first, last, in the middle or not at all: where it is missing, images open the first question; another number "
            "of them than of images is a reject.",
            "File names repeat among folders: an image is never taken from another folder than the record names.",
            "Training code masks or drops samples whose turns do not alternate; here they are rejects.",
        ),
        citation="@inproceedings{liu2023llava, title={Visual Instruction Tuning}, author={Liu, Haotian and Li, Chunyuan and Wu, Qingyang "
        "and Lee, Yong Jae}, booktitle={NeurIPS}, year={2023}}",
    )

    def image_files(self) -> ImageFiles:
        return ImageFiles(self.folder / self.options.images, tail=2)

    def files(self) -> Iterable[Path]:
        patterns = [self.options.files] if self.options.files else ["*.json", "*.jsonl", "**/*.json", "**/*.jsonl"]
        for pattern in patterns:
            found = sorted(path for path in self.folder.glob(pattern) if path.is_file())
            if found:
                return found
        raise InputError(f"{self.folder}: no file fits {' or '.join(patterns)}; options.files names the files, such as *.json")

    def splits(self, path: Path) -> tuple[str, ...]:
        return SPLITS if self.options.split or self._first_own(path) is not None else (split_of(path.name) or "none",)

    def split(self, path: Path, record: Mapping[str, Any]) -> str:
        if not self.options.split:
            own = own_columns(record)
            return str(own["split"]) if own is not None and self._first_own(path) is not None else split_of(path.name) or "none"
        word = str(record.get(self.options.split, "none"))
        split = "none" if word == "none" else split_of(word)
        if split is None:
            raise Refused("unknown_split", f"its {self.options.split} is {word!r}; allowed: {', '.join(SPLITS)}")
        return split

    def facts(self) -> Mapping[str, Any]:
        if self.options.group:
            return {}
        own = [self._first_own(path) for path in self.files()]
        if any(fields is None for fields in own):
            return {GROUPS_UNKNOWN: "no key of the group was named (options.group): images of one patient may be in several splits"}
        told = next((str(fields[GROUPS_UNKNOWN]) for fields in own if fields and GROUPS_UNKNOWN in fields), "")
        return {GROUPS_UNKNOWN: told} if told else {}

    @functools.cached_property
    def _own(self) -> dict[Path, Mapping[str, Any] | None]:
        return {
            path: next(filter(None, (own_columns(record) for _, record in itertools.islice(elements(path), _LOOKED_AT))), None)
            for path in self.files()
        }

    def _first_own(self, path: Path) -> Mapping[str, Any] | None:
        """The columns of the first record that `export_llava` wrote; None where a file begins with others."""
        return self._own[path]

    def _record(self, record: Any, key: str, split: str) -> Record:
        found = super()._record(record, key, split)
        own = own_columns(record)
        if own is None or not isinstance(found, Conversation):
            return found
        added = {name: value for name, value in found.extra.items() if name not in ("id", "images", "eosin")}
        return dataclasses.replace(restored_conversation({**added, **own}, found), split=split, group=found.group)

    @functools.cached_property
    def _beside(self) -> dict[str, str]:
        """Each image that stands with others in a record -> the first by name of all that are so linked, over any number of records.

        The files are read once more for it; memory holds the names of these images alone.
        """
        roots: dict[str, str] = {}
        for names in filter(lambda names: len(names) > 1, self._named()):
            found = {_root(roots, name) for name in names}
            for root in found:
                roots[root] = min(found)
        return {name: _root(roots, name) for name in roots}

    def _named(self) -> Iterator[tuple[str, ...]]:
        for path in self.files():
            for _, record in elements(path):
                try:
                    yield image_names(record) if isinstance(record, Mapping) else ()
                except Refused:
                    continue

    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        if not self.options.group:
            own = own_columns(record)
            if own is not None:
                return str(own["group"])
            return self._beside.get(names[0], names[0]) if names else str(record.get("id") or "text only")
        found = record.get(self.options.group)
        if found in (None, ""):
            raise Refused("no_group", f"it has no {self.options.group}; it has: {', '.join(record)}")
        return str(found)


def _root(roots: dict[str, str], name: str) -> str:
    """The last of the chain that begins at `name`; chains are cut short by half on the way."""
    roots.setdefault(name, name)
    while roots[name] != name:
        roots[name] = roots[roots[name]]
        name = roots[name]
    return name
