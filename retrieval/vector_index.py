"""FAISS indexes of unit vectors by inner product: the three kinds, how each is searched, and how each is searched exactly.

Two facts about FAISS shape this file. A selector on an IVF or HNSW index silently loses neighbours, because the search still walks
only its few cells or links: exclusion therefore never uses one there (see `search_exactly`). Adding to a memory-mapped index aborts
the process: what `read_index` returns is only ever searched.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from eosin.errors import ArtefactError, MissingDependency
from eosin.numerics import Floats
from eosin.retrieval.config import IndexConfig, IndexKind

try:
    import faiss as _faiss
except ModuleNotFoundError as error:
    raise MissingDependency("faiss", "retrieval") from error

# FAISS's own type hints lag behind its parameters.
faiss: Any = _faiss

# FAISS's own k-means asks for 39 to 256 points a centroid.
_ROWS_A_LIST = 39
TRAINING_ROWS_A_LIST = 256

Hits = tuple[NDArray[np.float32], NDArray[np.int64]]


def new_flat(dim: int, rows: int, config: IndexConfig) -> Any:
    """Exact: every vector is compared."""
    return faiss.IndexFlatIP(dim)


def new_ivf_flat(dim: int, rows: int, config: IndexConfig) -> Any:
    """Inverted file over k-means cells, vectors kept whole (Jégou et al. 2011, without the product quantiser)."""
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists_for(rows, config), faiss.METRIC_INNER_PRODUCT)
    index.cp.seed = config.seed
    index.nprobe = min(config.probes, index.nlist)
    return index


def new_hnsw(dim: int, rows: int, config: IndexConfig) -> Any:
    """Navigable small-world graph (Malkov and Yashunin 2018), vectors kept whole."""
    index = faiss.IndexHNSWFlat(dim, config.neighbours, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = config.construction
    index.hnsw.efSearch = config.candidates
    return index


NEW_INDEX: dict[IndexKind, Callable[[int, int, IndexConfig], Any]] = {"flat": new_flat, "ivf_flat": new_ivf_flat, "hnsw": new_hnsw}


def lists_for(rows: int, config: IndexConfig) -> int:
    """How many cells `ivf_flat` gets: the configured number, or 4 * sqrt(rows); never more than the rows can train."""
    wanted = config.lists or round(4 * math.sqrt(rows))
    return max(1, min(wanted, rows // _ROWS_A_LIST))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """FAISS's threads in the calling thread, put back afterwards."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def add_rows(index: Any, vectors: Floats) -> None:
    """Append vectors, float32 [n, d]. One thread for HNSW: with more, the graph depends on their timing."""
    rows = np.ascontiguousarray(vectors)
    if isinstance(index, faiss.IndexHNSW):
        with threads(1):
            index.add(rows)
    else:
        index.add(rows)


def write_index(index: Any, path: Path) -> None:
    """Write an index file."""
    faiss.write_index(index, str(path))


def read_index(path: Path) -> Any:
    """An index, mapped into memory and only to be searched.

    Raises:
        ArtefactError: FAISS cannot read the file.
    """
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    except RuntimeError as error:
        raise ArtefactError(f"{path}: FAISS cannot read it ({str(error).splitlines()[0]}); build the index again") from error
    if isinstance(index, faiss.IndexIVF):
        index.make_direct_map()
    return index


def scores_of(index: Any, query: Floats, rows: NDArray[np.int64]) -> NDArray[np.float64]:
    """Inner products of one query [d] with stored rows, in float64: equal vectors get equal scores, whatever the batch."""
    flat = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    vectors = flat.reconstruct_batch(np.ascontiguousarray(rows)).astype(np.float64)
    return np.asarray((vectors * query.astype(np.float64)).sum(axis=1))


def search_fast(index: Any, queries: Floats, k: int) -> Hits:
    """The k best rows of each query as the index finds them; approximate indexes may return -1 for want of candidates.

    Returns:
        Inner products float32 [n, k] and row numbers int64 [n, k].
    """
    parameters = None
    if isinstance(index, faiss.IndexHNSW):
        parameters = faiss.SearchParametersHNSW(efSearch=max(index.hnsw.efSearch, k))
    scores, rows = index.search(queries, k, params=parameters)
    return scores, rows


def search_exactly(index: Any, queries: Floats, k: int, excluded: NDArray[np.int64]) -> Hits:
    """The k best rows of each query among all but `excluded`, without approximation, whatever the kind of index.

    Args:
        excluded: row numbers that may not be found.
    """
    selector = faiss.IDSelectorNot(faiss.IDSelectorBatch(np.ascontiguousarray(excluded))) if excluded.size else None
    if isinstance(index, faiss.IndexIVF):
        scores, rows = index.search(queries, k, params=faiss.SearchParametersIVF(nprobe=index.nlist, sel=selector))
        return scores, rows
    flat = faiss.downcast_index(index.storage) if isinstance(index, faiss.IndexHNSW) else index
    scores, rows = flat.search(queries, k, params=faiss.SearchParameters(sel=selector) if selector else None)
    return scores, rows
