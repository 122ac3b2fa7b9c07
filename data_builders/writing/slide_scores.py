"""A slide's tiles, scored and chosen a block of vectors at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import Artefact, Task, row_groups
from eosin.artefacts.parquet import open_parquet
from eosin.data_builders.writing.choosing import Chosen, Order, Twin, best_prompt, without_twins
from eosin.errors import InputError
from eosin.numerics import Floats

Block = tuple[list[str], Floats]
Blocks = Callable[[], Iterator[Block]]
# After so many candidates for each tile wanted, the rest of a slide is more of the same.
_CANDIDATES = 8


def vector_blocks(embeddings: Artefact, task: Task) -> Iterator[Block]:
    """Ids and unit vectors float32 [n, d] of the tiles of the slide `task.source`, among the rows of the task.

    Raises:
        InputError: vectors of several lengths, or one that is zero or not finite.
    """
    groups = row_groups(embeddings, task.split)
    for group in range(groups.of_row(task.start), len(groups.places)):
        first = groups.starts[group]
        if first >= task.stop:
            return
        shard, number = groups.places[group]
        with open_parquet(shard) as file:
            table = file.read_row_group(number, columns=["id", "slide", "group", "vector"])
            low = max(task.start - first, 0)
            table = table.slice(low, task.stop - first - low)
            rows = table.select(["id", "slide", "group"]).to_pylist()
            mine = [place for place, row in enumerate(rows) if (row["slide"] or row["group"]) == task.source]
            column = table.column("vector").combine_chunks()
            flat = column.flatten().to_numpy(zero_copy_only=False)
            if len(rows) and len(set(column.value_lengths().to_pylist())) > 1:
                raise InputError(f"{shard}: its vectors are of several lengths; embed the images again")
        if mine:
            ids = [rows[place]["id"] for place in mine]
            yield ids, _unit(ids, np.asarray(flat, dtype=np.float32).reshape(len(rows), -1)[mine], shard)


def _unit(ids: list[str], vectors: Floats, shard: Path) -> Floats:
    """The vectors at unit length, whoever made them."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    wrong = np.flatnonzero(~(np.isfinite(lengths) & (lengths > 0)))
    if len(wrong):
        raise InputError(f"{shard}: the vector of {ids[wrong[0]]} is zero or not finite ({len(wrong)} such); embed the images again")
    return np.asarray(vectors / lengths, dtype=np.float32)


@dataclass(frozen=True)
class SlideScores:
    """What is known of each tile of a slide.

    Attributes:
        ids: in order.
        prompt: best cosine to a prompt, float32 [tiles]; None where nothing was looked for.
        which: number of that prompt.
        report: sum of cosines to the sentences of the report, float32 [tiles]; None where there is none.
    """

    ids: list[str]
    prompt: NDArray[np.floating] | None
    which: NDArray[np.intp] | None
    report: NDArray[np.floating] | None


def score_slide(blocks: Blocks, prompts: Floats | None, sentences: Floats | None) -> SlideScores:
    """Scores of all tiles, in one pass.

    Args:
        blocks: the tiles' vectors.
        prompts: unit vectors [prompts, d].
        sentences: unit vectors [sentences, d].

    Raises:
        InputError: the texts' vectors are of another length than the tiles'.
    """
    ids: list[str] = []
    best: list[NDArray[np.floating]] = []
    numbers: list[NDArray[np.intp]] = []
    told: list[NDArray[np.floating]] = []
    for names, vectors in blocks():
        ids += names
        for texts in (prompts, sentences):
            if texts is not None and texts.shape[1] != vectors.shape[1]:
                raise InputError(f"the embeddings have {vectors.shape[1]} numbers, the embedder's texts {texts.shape[1]}")
        if prompts is not None:
            score, which = best_prompt(vectors @ prompts.T)
            best.append(score)
            numbers.append(which)
        if sentences is not None:
            told.append((vectors @ sentences.T).sum(axis=1))
    return SlideScores(
        ids,
        np.concatenate(best) if best else None,
        np.concatenate(numbers) if numbers else None,
        np.concatenate(told) if told else None,
    )


def choose(
    scores: SlideScores,
    blocks: Blocks,
    order: Callable[[SlideScores, Callable[[Sequence[int]], Floats]], Order],
    limit: float,
    count: int,
) -> tuple[list[Chosen], list[Twin]]:
    """The tiles to describe and those left out as too much like them; rows are numbers in `scores.ids`.

    Args:
        scores: of the slide.
        blocks: its vectors.
        order: candidates, best first, from the scores and a function that reads the vectors of rows.
        limit: the cosine above which a tile is left out.
        count: the most tiles.
    """

    def vectors_of(rows: Sequence[int]) -> Floats:
        return _vectors(blocks, rows)

    candidates = order(scores, vectors_of)[: _CANDIDATES * count]
    rows = sorted({row for row, _, _ in candidates})
    place = {row: number for number, row in enumerate(rows)}
    chosen, twins = without_twins([(place[row], by, score) for row, by, score in candidates], vectors_of(rows), limit, count)
    return (
        [Chosen(rows[tile.row], tile.by, tile.score) for tile in chosen],
        [Twin(rows[twin.row], rows[twin.of], twin.likeness) for twin in twins],
    )


def _vectors(blocks: Blocks, rows: Sequence[int]) -> Floats:
    """The vectors of ascending rows, in one pass."""
    wanted, parts, start = np.asarray(rows, dtype=np.intp), [], 0
    for names, vectors in blocks():
        inside = wanted[(wanted >= start) & (wanted < start + len(names))]
        parts.append(vectors[inside - start])
        start += len(names)
    return np.concatenate(parts)
