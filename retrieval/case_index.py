"""Search among cases: vectors in, citations out."""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.artefacts import open_artefact
from eosin.errors import ArtefactError, InputError
from eosin.evidence import Citation
from eosin.numerics import Floats
from eosin.retrieval import vector_index
from eosin.retrieval.case_columns import CaseColumns

INDEX_FILE = "index.faiss"
COLUMNS_FILE = "columns.parquet"
# Past this many excluded rows, a selector on an exact search is cheaper than fetching and dropping them.
_MOST_OVERFETCHED = 1024
# FAISS's float32 scores of equal vectors differ by about 1e-7 with the place of the row and the size of the batch.
_MARGIN = 2e-6
_Found = tuple[NDArray[np.float64], NDArray[np.int64]]


@dataclass(frozen=True)
class _Exclusion:
    """What may not be found: groups by their inner number, ids, and how many rows that can be at most."""

    groups: NDArray[np.int32]
    ids: frozenset[str]
    at_most: int


class CaseIndex:
    """An index of cases; open it with `CaseIndex.open`. May be searched from any number of threads."""

    def __init__(self, index: Any, columns: CaseColumns, fingerprint: str) -> None:
        self._index = index
        self._columns = columns
        self.fingerprint = fingerprint

    @classmethod
    def open(cls, path: str | Path, *, fingerprint: str | None = None) -> CaseIndex:
        """Open an `index` artefact.

        Args:
            path: its folder.
            fingerprint: of the embedder that will make the queries; None skips the check.

        Raises:
            ArtefactError: no finished index, vectors and columns do not belong together, or another embedder made the vectors.
        """
        artefact = open_artefact(path, "index")
        facts = artefact.manifest["results"]
        if fingerprint is not None and fingerprint != facts["fingerprint"]:
            raise ArtefactError(
                f"{path} holds vectors of the embedder {facts['fingerprint']}, but the queries come from {fingerprint}: their spaces "
                "do not agree; search with the embedder of the index, or embed and index the cases again"
            )
        index = vector_index.read_index(artefact.path / INDEX_FILE)
        columns = CaseColumns(artefact.path / COLUMNS_FILE)
        if index.ntotal != len(columns) or index.d != facts["dim"] or columns.ids_hash != facts["ids_sha256"]:
            raise ArtefactError(
                f"{path}: vectors and columns do not belong together ({index.ntotal} vectors of {index.d} numbers, {len(columns)} rows; "
                f"{facts['rows']} of {facts['dim']} were written); build the index again with --overwrite"
            )
        return cls(index, columns, str(facts["fingerprint"]))

    def __len__(self) -> int:
        return len(self._columns)

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return int(self._index.d)

    def search(
        self, vectors: Floats, k: int, *, exclude_groups: Collection[str] = (), exclude_ids: Collection[str] = ()
    ) -> list[list[Citation]]:
        """The k most similar cases to each vector, best first; of equally similar ones, the one indexed earlier.

        Args:
            vectors: float32 [n, d], unit rows.
            k: cases a vector; fewer come back only when fewer are left.
            exclude_groups: groups whose cases may not be found, such as the query's own patient.
            exclude_ids: records that may not be found.

        Raises:
            InputError: k below 1, or vectors of another length or not of unit length.
        """
        queries = self._checked(vectors, k)
        groups = self._columns.numbers_of(exclude_groups)
        exclusion = _Exclusion(groups, frozenset(exclude_ids), self._columns.count_in(groups) + len(set(exclude_ids)))
        # More threads than one do not help a few queries, and servers run several at once.
        with vector_index.threads(1 if len(queries) < 16 else os.cpu_count() or 1):
            found = self._search_batch(queries, k, exclusion)
        return [[self._columns.citation(int(row), float(score)) for score, row in zip(*hits, strict=True)] for hits in found]

    def _checked(self, vectors: Floats, k: int) -> Floats:
        queries = np.ascontiguousarray(vectors, dtype=np.float32)
        if k < 1:
            raise InputError(f"k must be 1 or more; got {k}")
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise InputError(f"queries must be float32 [n, {self.dim}]; got {list(queries.shape)}")
        if not np.allclose(np.linalg.norm(queries, axis=1), 1.0, atol=1e-3):
            raise InputError(
                "queries must be unit vectors: scores would not be cosine similarities; scale them with eosin.numerics.unit_rows"
            )
        return queries

    def _search_batch(self, queries: Floats, k: int, exclusion: _Exclusion) -> list[_Found]:
        if exclusion.at_most > _MOST_OVERFETCHED:
            return [self._exact(query, k, exclusion) for query in queries]
        fetch = min(len(self), k + exclusion.at_most + 1)
        scores, rows = vector_index.search_fast(self._index, queries, fetch)
        found = []
        for number, query in enumerate(queries):
            everything = fetch == len(self) and bool((rows[number] >= 0).all())
            kept = self._keep(query, rows[number], exclusion)
            sure = everything or _is_sure(kept, k, float(scores[number, -1]))
            found.append((kept[0][:k], kept[1][:k]) if sure else self._exact(query, k, exclusion))
        return found

    def _keep(self, query: Floats, rows: NDArray[np.int64], exclusion: _Exclusion) -> _Found:
        """Rows without what is excluded and without -1, with their scores, in the order promised."""
        rows = rows[rows >= 0]
        rows = rows[self._columns.allowed(rows, exclusion.groups, exclusion.ids)]
        scores = vector_index.scores_of(self._index, query, rows)
        order = np.lexsort((rows, -scores))
        return scores[order], rows[order]

    def _exact(self, query: Floats, k: int, exclusion: _Exclusion) -> _Found:
        """One query [d] without approximation; fetches on until no tie is cut."""
        excluded = self._columns.rows_of(exclusion.groups, exclusion.ids)
        left = len(self) - len(excluded)
        fetch = min(left, k + 1)
        while fetch:
            scores, rows = vector_index.search_exactly(self._index, query[None], fetch, excluded)
            kept = self._keep(query, rows[0], exclusion)
            if fetch == left or _is_sure(kept, k, float(scores[0, -1])):
                return kept[0][:k], kept[1][:k]
            fetch = min(left, 4 * fetch)
        return np.empty(0), np.empty(0, np.int64)


def _is_sure(kept: _Found, k: int, last_fetched: float) -> bool:
    """Whether the k best are certain: what was not fetched scores less than the k-th by more than float32 can err."""
    return len(kept[0]) > k and bool(kept[0][k - 1] > last_fetched + _MARGIN)
