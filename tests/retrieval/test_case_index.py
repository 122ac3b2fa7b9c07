"""What search promises: exact order, exclusion that never costs a case, the right embedder, whole files."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from eosin.artefacts.files import sha256_of
from eosin.errors import ArtefactError, InputError
from eosin.images import decode_image
from eosin.numerics import Floats, unit_rows
from eosin.retrieval.case_index import CaseIndex

Build = Callable[..., Path]
Archive = Callable[..., Floats]
KINDS = ["flat", "ivf_flat", "hnsw"]


@pytest.fixture
def queries(archive_vectors: Archive) -> Floats:
    return archive_vectors(40, seed=7)


def expected(vectors: Floats, query: Floats, k: int, banned: Collection[int] = ()) -> list[str]:
    scores = (vectors.astype(np.float64) * query).sum(axis=1)
    order = sorted((row for row in range(len(vectors)) if row not in banned), key=lambda row: (-scores[row], row))
    return [f"made/{row}" for row in order[:k]]


def test_flat_search_is_numpys_exact_order(build: Build, queries: Floats, archive_vectors: Archive) -> None:
    vectors = archive_vectors(300)
    found = CaseIndex.open(build(vectors)).search(queries, 10)
    for query, hits in zip(queries, found, strict=True):
        assert [hit.id for hit in hits] == expected(vectors, query, 10)
        assert [hit.score for hit in hits] == pytest.approx(sorted(vectors @ query, reverse=True)[:10], abs=2e-6)


def test_one_query_and_a_batch_find_the_same(build: Build, queries: Floats, archive_vectors: Archive) -> None:
    index = CaseIndex.open(build(archive_vectors(300)))
    assert [index.search(query[None], 7)[0] for query in queries] == index.search(queries, 7)


@pytest.mark.parametrize("kind", ["ivf_flat", "hnsw"])
def test_approximate_kinds_keep_nearly_all_true_neighbours(build: Build, kind: str, archive_vectors: Archive) -> None:
    vectors = archive_vectors(2000, dim=32)
    queries = archive_vectors(50, dim=32, seed=9)
    found = CaseIndex.open(build(vectors, kind=kind, lists=32, probes=8, candidates=64)).search(queries, 10)
    hit = sum(len({case.id for case in cases} & set(expected(vectors, query, 10))) for query, cases in zip(queries, found, strict=True))
    assert hit / 500 >= 0.97, hit / 500


@pytest.mark.parametrize("kind", KINDS)
def test_exclusion_never_returns_fewer_while_enough_remain(build: Build, kind: str, queries: Floats, archive_vectors: Archive) -> None:
    vectors = archive_vectors(400)
    index = CaseIndex.open(build(vectors, cases_a_group=40, kind=kind, lists=8, probes=1, candidates=4))
    for query in queries[:10]:
        nearest = index.search(query[None], 20)[0]
        groups = {case.group for case in nearest}
        rest = index.search(query[None], 15, exclude_groups=groups, exclude_ids={nearest[0].id})[0]
        assert len(rest) == min(15, 400 - 40 * len(groups))
        assert not groups & {case.group for case in rest}


@pytest.mark.parametrize("kind", KINDS)
def test_many_excluded_rows_leave_the_exact_rest(build: Build, kind: str, queries: Floats, archive_vectors: Archive) -> None:
    vectors = archive_vectors(1600)
    index = CaseIndex.open(build(vectors, cases_a_group=400, kind=kind, lists=16, probes=2))
    banned = {f"patient-{number}" for number in range(3)}
    hits = index.search(queries[:3], 12, exclude_groups=banned)
    for query, cases in zip(queries, hits, strict=False):
        assert [case.id for case in cases] == expected(vectors, query, 12, set(range(1200)))


def test_excluded_ids_are_not_found_and_the_next_ones_move_up(build: Build, queries: Floats, archive_vectors: Archive) -> None:
    vectors = archive_vectors(100)
    index = CaseIndex.open(build(vectors))
    banned = {int(case.id.split("/")[1]) for case in index.search(queries[:1], 3)[0]}
    found = index.search(queries[:1], 5, exclude_ids={f"made/{row}" for row in banned} | {"made/unknown"})[0]
    assert [case.id for case in found] == expected(vectors, queries[0], 5, banned)


def test_fewer_cases_than_k_come_back_as_they_are(build: Build, queries: Floats, archive_vectors: Archive) -> None:
    index = CaseIndex.open(build(archive_vectors(10), cases_a_group=5))
    assert len(index.search(queries[:1], 50)[0]) == 10
    assert len(index.search(queries[:1], 50, exclude_groups=["patient-0"])[0]) == 5
    assert index.search(queries[:1], 3, exclude_groups=["patient-0", "patient-1"]) == [[]]


@pytest.mark.parametrize("kind", KINDS)
def test_equal_vectors_come_in_the_order_of_the_archive(build: Build, kind: str, archive_vectors: Archive) -> None:
    vectors = np.repeat(archive_vectors(10), 40, axis=0)
    index = CaseIndex.open(build(vectors, kind=kind, lists=2, probes=1, splits=["train"]))
    for group in range(5):
        rows = range(group * 40, group * 40 + 6)
        assert [case.id for case in index.search(vectors[group * 40][None], 6)[0]] == [f"made/{row}" for row in rows]


def test_a_citation_shows_what_the_archive_holds(build: Build, archive_vectors: Archive) -> None:
    index = CaseIndex.open(build(archive_vectors(250)))
    case = index.search(archive_vectors(250)[248][None], 1)[0][0]
    assert (case.id, case.source, case.licence, case.group) == ("made/248", "made", "CC0-1.0", "patient-49")
    assert (case.label, case.caption, case.score) == ("even", "caption 248", pytest.approx(1.0))
    picture = case.thumbnail.removeprefix("data:image/png;base64,")
    assert (decode_image(base64.b64decode(picture)) == 248).all()
    assert index.search(archive_vectors(250)[7][None], 1)[0][0].thumbnail is None


def test_threads_share_an_index(build: Build, queries: Floats, archive_vectors: Archive) -> None:
    index = CaseIndex.open(build(archive_vectors(500)))
    alone = [index.search(query[None], 5, exclude_groups=["patient-3"]) for query in queries]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda query: index.search(query[None], 5, exclude_groups=["patient-3"]), queries))
    assert together == alone


def test_another_embedder_is_refused(build: Build, archive_vectors: Archive) -> None:
    folder = build(archive_vectors(20))
    assert len(CaseIndex.open(folder, fingerprint="aaaa")) == 20
    with pytest.raises(ArtefactError, match="bbbb"):
        CaseIndex.open(folder, fingerprint="bbbb")


@pytest.mark.parametrize("kind", KINDS)
def test_columns_of_another_index_are_noticed(build: Build, kind: str, archive_vectors: Archive) -> None:
    folder = build(archive_vectors(60), kind=kind, lists=1)
    other = build(archive_vectors(60)[::-1].copy(), name="other", splits=["test"])
    columns = folder / "columns.parquet"
    columns.write_bytes((other / "columns.parquet").read_bytes())
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"]["columns.parquet"] = {"size": columns.stat().st_size, "sha256": sha256_of(columns)}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtefactError, match="do not belong together"):
        CaseIndex.open(folder)


def test_wrong_queries_are_refused(build: Build, queries: Floats, archive_vectors: Archive) -> None:
    index = CaseIndex.open(build(archive_vectors(20)))
    with pytest.raises(InputError, match="unit"):
        index.search(queries[:1] * 2, 3)
    with pytest.raises(InputError, match="16"):
        index.search(unit_rows(np.ones((1, 5))), 3)
    with pytest.raises(InputError, match="k must"):
        index.search(queries[:1], 0)
