"""What `eosin clip embed` reads from slides: the kept tiles, streamed from the slide into the model without touching the disk."""

from __future__ import annotations

import functools
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from eosin.artefacts import Artefact, Task, open_artefact
from eosin.artefacts.files import read_json
from eosin.clip.embed_images import Found
from eosin.errors import ConfigError, ImageError, InputError
from eosin.records import Reject, Slide, Tile
from eosin.slides.reader import SlideReader
from eosin.slides.sampling import sampling_of
from eosin.slides.stream import TilePicture, iter_tiles
from eosin.slides.tile_table import kept_tiles, shards_of


@dataclass(frozen=True)
class SlideTiles:
    """The kept tiles of slides.

    Attributes:
        tiles: path of a `tiles` artefact.
        slides: path of the `slides` artefact it was made with.
        root: where the slides lie; empty: where they lay when the artefact was made.
        splits: only these; all when empty.
        threads: that decode.
    """

    tiles: str
    slides: str
    root: str = ""
    splits: tuple[str, ...] = ()
    threads: int = 1
    name = "tiles"

    def tasks(self, shard_size: int) -> list[Task]:
        """Those of the tiles: some rows of one slide each, whatever `shard_size` says.

        Raises:
            ConfigError: a split that was asked for has none.
            InputError: a slide is not in `slides`, or its file is not there.
        """
        tiles = open_artefact(self.tiles)
        held = tiles.manifest["splits"]
        for split in self.splits:
            if split not in held:
                raise ConfigError(
                    f"splits: {self.tiles} has no tiles of split {split!r}; it holds: {', '.join(held) or 'none'}; splits=[] takes all"
                )
        tasks = [task for task in tiles.plan.tasks if not self.splits or task.split in self.splits]
        known = _slides(self.slides)
        for name in dict.fromkeys(task.source for task in tasks):
            if name not in known:
                raise InputError(f"{self.slides} has no slide {name}, of which {self.tiles} has tiles; give the slides they were cut from")
            if not self._file(known[name]).exists():
                raise InputError(f"{name}: there is no {self._file(known[name])}; root=DIR says where the slides lie now")
        return tasks

    def title(self) -> str:
        """What the tiles call themselves."""
        return str(open_artefact(self.tiles).plan.facts.get("title", "tiles"))

    def classes(self) -> list[str]:
        """The slides' class list."""
        return list(open_artefact(self.slides).classes)

    def batches(self, task: Task, size: int) -> Generator[list[Found | Reject]]:
        """The task's kept tiles in order; those that do not decode become rejects."""
        tiles = _open(self.tiles)
        kept = list(kept_tiles(tiles, _shards(self.tiles)[task.source, task.start]))
        if not kept:
            return
        slide = _slides(self.slides)[task.source]
        try:
            reader = SlideReader(self._file(slide), slide.mpp)
        except ImageError as error:
            yield [Reject(tile.id, error.reason, error.message) for tile in kept]
            return
        label = slide.labels[0] if slide.labels else None
        places = [(tile.x, tile.y) for tile in kept]
        with reader:
            size, mpp = kept[0].size, float(kept[0].mpp or 0)
            side = sampling_of(reader.levels, reader.mpp, size, mpp).side
            pictures = iter_tiles(reader, places, size, mpp, threads=self.threads)
            found = (_found(tile, picture, label, side) for tile, picture in zip(kept, pictures, strict=True))
            while some := list(islice(found, size)):
                yield some

    def _file(self, slide: Slide) -> Path:
        return Path(self.root or _root(self.slides)) / slide.path


def _found(tile: Tile, picture: TilePicture, label: str | None, side: int) -> Found | Reject:
    """The tile with its place, all of it in pixels of level 0: what heat maps and smoothing read."""
    if picture.pixels is None:
        error = picture.error
        return Reject(tile.id, error.reason if error else "unreadable_region", error.message if error else "the tile cannot be read")
    extra = {key: value for key, value in tile.extra.items() if key != "side"}
    return Found(tile, picture.pixels, None, label, {**extra, "x": tile.x, "y": tile.y, "size": side})


@functools.lru_cache(maxsize=2)
def _open(path: str) -> Artefact:
    return open_artefact(path)


@functools.lru_cache(maxsize=2)
def _shards(path: str) -> Mapping[tuple[str, int], str]:
    return shards_of(_open(path))


@functools.lru_cache(maxsize=2)
def _slides(path: str) -> Mapping[str, Slide]:
    return {str(record.slide): record for record in open_artefact(path).records(Slide)}


@functools.lru_cache(maxsize=2)
def _root(path: str) -> str:
    """The folder that the slides' paths are relative to: that of the CSV where they were listed in one.

    Raises:
        InputError: the artefact was made on another machine, or does not tell.
    """
    run = Path(path) / "run.json"
    given = read_json(run)["inputs"].get("slides", "") if run.is_file() else ""
    if not given:
        raise InputError(f"{path} does not tell where its slides lie; add root=DIR")
    return given if Path(given).is_dir() else str(Path(given).parent)
