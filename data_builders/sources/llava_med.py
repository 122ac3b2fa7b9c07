"""LLaVA-Med: conversations about figures of PubMed Central (Li et al. 2023, arXiv:2306.00890)."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from eosin.data_builders.sources.dialogue_files import DialogueFiles
from eosin.data_builders.sources.reading.dialogue import Gold, question_messages, turns_of
from eosin.data_builders.sources.reading.json_files import elements
from eosin.data_builders.sources.reading.names import article_of
from eosin.data_builders.sources.source import Card, ExpectedFile, Refused
from eosin.errors import InputError
from eosin.records import Message, Part

_DOMAINS = ("chest_xray", "mri", "histology", "gross", "ct_scan")
_URLS = "llava_med_image_urls.jsonl"


@dataclass(frozen=True)
class LlavaMedOptions:
    """Which records are read.

    Attributes:
        files: a pattern below the folder; the 10k file is a part of the 60k one, which differs from 60k_inline_mention in the prompts.
        domain: keep this domain only, such as `histology`; empty keeps all.
    """

    files: str = "llava_med_instruct_60k_inline_mention.json"
    domain: Literal["", "chest_xray", "mri", "histology", "gross", "ct_scan"] = ""


class LlavaMed(DialogueFiles[LlavaMedOptions]):
    """LLaVA records with a `domain`; images are `PAIR_ID.jpg`."""

    Options = LlavaMedOptions
    card = Card(
        name="llava_med",
        title="LLaVA-Med instructions",
        kind="conversations",
        paper="Li et al., LLaVA-Med: Training a Large Language-and-Vision Assistant for Biomedicine in One Day, NeurIPS 2023 Datasets and "
        "Benchmarks, arXiv:2306.00890",
        homepage="https://github.com/microsoft/LLaVA-Med",
        licence="CC-BY-NC-4.0",
        gated=False,
        commercial="no",
        files=(
            ExpectedFile(
                "**/llava_med_*.json | **/llava_med_eval_*.jsonl", "lists of {id, image, domain, conversations}", "the homepage's README"
            ),
            ExpectedFile(f"**/{_URLS}", "the article of each image, which is its group", "the homepage's README", False),
            ExpectedFile("**/*.jpg | *.zip", "images PAIR_ID.jpg", "the homepage's download_images.py, from PubMed Central", False),
        ),
        counts={"alignment": 500000, "instructions": 60000, "evaluation": 193},
        splits="llava_med_eval_qa50_qa.jsonl is test; all else is train.",
        groups=f"The PubMed Central article, from {_URLS}.",
        problems=(
            "Images are not shipped: the published script fetches archives of articles, and skips in silence what is gone; here each is a "
            "reject.",
            "Most records are radiology: `options.domain=histology` keeps the pathology part.",
            "llava_med_instruct_10k, 60k and 60k_inline_mention are about the same images: one pattern is read, `options.files`.",
            "The language model that wrote the answers saw captions and mentions, never the image.",
        ),
        citation="@inproceedings{li2023llavamed, title={LLaVA-Med: Training a Large Language-and-Vision Assistant for Biomedicine in One "
        "Day}, author={Li, Chunyuan and Wong, Cliff and Zhang, Sheng and Usuyama, Naoto and Liu, Haotian and Yang, Jianwei and Naumann, "
        "Tristan and Poon, Hoifung and Gao, Jianfeng}, booktitle={NeurIPS}, year={2023}}",
    )

    def files(self) -> Iterable[Path]:
        found = sorted(path for path in self.folder.glob(f"**/{self.options.files}") if path.name != _URLS)
        if not found:
            there = ", ".join(path.name for path in sorted(self.folder.glob("**/llava_med_*.json*")))
            raise InputError(f"{self.folder}: {self.options.files} is missing; options.files may name another of: {there}")
        return found

    def splits(self, path: Path) -> tuple[str, ...]:
        return ("test",) if "_eval_" in path.name else ("train",)

    @functools.cached_property
    def _articles(self) -> dict[str, str]:
        """Pair id -> article; a few tens of megabytes for the release's half a million."""
        found: dict[str, str] = {}
        for path in sorted(self.folder.glob(f"**/{_URLS}")):
            for _, record in elements(path):
                if isinstance(record, Mapping):
                    article = article_of(str(record.get("pmc_tar_url", "")), str(record.get("image_file_path", "")))
                    if article:
                        found[str(record.get("pair_id", ""))] = article
        return found

    @property
    def _knows_articles(self) -> bool:
        return next(self.folder.glob(f"**/{_URLS}"), None) is not None

    def facts(self) -> Mapping[str, Any]:
        if self._knows_articles:
            return {}
        return {
            "groups_unknown": f"{_URLS}, which tells the article of each image, is not in the folder: figures of one article may be apart"
        }

    def group(self, names: tuple[str, ...], record: Mapping[str, Any]) -> str:
        if not names:
            raise Refused("image_missing", "the record names no image")
        pair = PurePosixPath(names[0]).stem
        if not self._knows_articles:
            return pair
        if pair not in self._articles:
            raise Refused("no_group", f"{_URLS} does not tell the article of {pair}")
        return self._articles[pair]

    def turns(self, record: Mapping[str, Any], shown: tuple[Part, ...]) -> tuple[Message, ...]:
        domain = record.get("domain")
        held = [name for name in _DOMAINS if isinstance(domain, Mapping) and domain.get(name)]
        if self.options.domain and self.options.domain not in held:
            raise Refused("other_domain", f"it is of {', '.join(held) or 'no domain'}; options.domain keeps {self.options.domain}")
        if "gpt4_answer" in record:
            return question_messages(str(record.get("text", "")).replace("<image>", ""), str(record["gpt4_answer"]), shown)
        return turns_of(record, shown)

    def gold(self, record: Mapping[str, Any], messages: tuple[Message, ...]) -> Gold:
        return Gold("open", messages[-1].text)
