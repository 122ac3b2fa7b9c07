"""OpenPath (Huang et al., Nature Medicine 2023): pathology pictures of tweets, as far as they can still be had."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from eosin.data_builders.folder_files import find_files
from eosin.data_builders.sources.reading.image_files import ImageFiles
from eosin.data_builders.sources.reading.tables import header_of, need_columns, optional, row_sections, section_rows
from eosin.data_builders.sources.source import Card, ExpectedFile, Item, NoOptions, Refused, Section, Source, refused_item
from eosin.records import ImageText, Record

Row = dict[str, str]
_IMAGE = ("image", "image_path", "image_name", "filename", "file", "images", "media")
_TEXT = ("caption", "text", "tweet", "full_text", "captions")
_TWEET = ("tweet_id", "tweetid", "id", "weblink", "url", "link")
_NUMBER = re.compile(r"(?:status/|^)(\d{6,25})(?=\D|$)")
_LEADING = re.compile(r"^(\d{6,25})(?=\D|$)")


class OpenPath(Source[NoOptions]):
    """A row a tweet or a picture; a row that names no file has those whose names begin with the tweet's number."""

    card = Card(
        name="openpath",
        title="OpenPath",
        kind="image_text",
        paper="Huang et al., A visual-language foundation model for pathology image analysis using medical Twitter, Nature "
        "Medicine 29, 2023, "
        "doi:10.1038/s41591-023-02504-3",
        homepage="https://github.com/PathologyFoundation/plip",
        licence="unclear: the tweets are their authors'; ids are shared, not content",
        gated=False,
        commercial="unclear",
        files=(
            ExpectedFile(
                "*.csv | *.tsv", "a row a tweet or picture: tweet_id or its address, image, caption", "the homepage; text from the X API"
            ),
            ExpectedFile("**/*.jpg | **/*.png | *.zip", "the pictures", "fetched by you, with the tweets' ids"),
        ),
        counts={"pairs": 208_414},
        splits="None official.",
        groups="The tweet: replies and all its pictures share its number; a row without one is its own group.",
        problems=(
            "Tweets are deleted: later work finds fewer. A row whose picture is gone is a reject.",
            "The release names tweets; the columns of what people make of it differ, so several names are understood.",
            "The same pictures are in the SocialPath part of PathMMU and in Quilt-1M.",
        ),
        citation="@article{huang2023plip, title={A visual-language foundation model for pathology image analysis using medical Twitter}, "
        "author={Huang, Zhi and others}, journal={Nature Medicine}, volume={29}, year={2023}}",
    )

    def __init__(self, folder: Path, options: NoOptions) -> None:
        super().__init__(folder, options)
        self.images = ImageFiles(folder)

    @functools.cached_property
    def _of_tweet(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for path in find_files(self.folder).images:
            number = _LEADING.match(path.rpartition("/")[2])
            if number:
                found.setdefault(number.group(1), []).append(path)
        return found

    def sections(self) -> Iterable[Section]:
        path = self.path("*.csv", "*.tsv")
        need_columns(path, _TEXT, (*_IMAGE, *_TWEET))
        return row_sections(path, path.name)

    def facts(self) -> dict[str, str]:
        header = {name.lower() for name in header_of(self.path("*.csv", "*.tsv"))}
        if header & set(_TWEET):
            return {}
        return {"groups_unknown": "the table does not name the tweets: pictures of one tweet, and its replies, may be in several splits"}

    def items(self, section: Section) -> Iterator[Item]:
        for number, row in section_rows(self.folder / section.name, section):
            tweet = _tweet(row)
            named = optional(row, *_IMAGE) if row else None
            names = [named] if named else self._of_tweet.get(tweet, [])
            if not row:
                yield refused_item(f"#{number}", "none", "wrong_columns", "the row has more or fewer fields than the header")
            elif not names:
                yield refused_item(f"{tweet}#{number}", "none", "image_missing", f"tweet {tweet or '?'}: no picture of it is in the folder")
            for name in names if row else []:
                key = f"{name}#{number}"
                yield Item(key, "none", functools.partial(self._record, key, row, name, tweet))

    def _record(self, key: str, row: Row, name: str, tweet: str) -> Record:
        caption = optional(row, *_TEXT) or ""
        if not caption:
            raise Refused("no_caption", f"{name}: the row has no text")
        used = {column.lower() for column in (*_IMAGE, *_TEXT)}
        extra = {column: content for column, content in row.items() if column.lower() not in used and content}
        return ImageText(**self.base(key, tweet or name), image=self.images.read(name), captions=(caption,), extra={**extra, "image": name})


def _tweet(row: Row) -> str:
    for name in _TWEET:
        found = _NUMBER.search(optional(row, name) or "")
        if found:
            return found.group(1)
    return ""
