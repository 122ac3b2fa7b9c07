from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from eosin.artefacts import Artefact, Plan, Task, open_artefact
from eosin.data_builders.nearest import nearest_cases, random_cases
from eosin.errors import ArtefactError, ConfigError, InputError
from eosin.evidence import HEADER, evidence_block
from eosin.numerics import unit_rows
from eosin.pipeline import LocalEngine, Step, run_step
from eosin.records import Conversation, Embedding, LabelledImage

Build = Callable[..., Path]
RECIPE = {"builder": "evidence", "share": 1.0, "misleading": 0.25, "k": 3, "tasks": ["open", "closed"]}


@dataclass(frozen=True)
class Rows:
    """Hands out ready records."""

    rows: tuple[Embedding, ...]

    def __call__(self, task: Task) -> tuple[Embedding, ...]:
        return self.rows


def write_embeddings(out: Path, rows: list[Embedding]) -> Artefact:
    plan = Plan("embeddings", "clip embed", {"rows": [row.id for row in rows]}, tasks=(Task("rows", 0, len(rows), "train"),))
    return run_step(Step("embeddings", plan, Rows(tuple(rows))), out, LocalEngine())


def case(number: int, group: str, vector: np.ndarray) -> Embedding:
    return Embedding(
        id=f"s/{number}",
        source="s",
        licence="CC0-1.0",
        group=group,
        split="train",
        vector=tuple(map(float, vector)),
        label=f"label {number}",
    )


@pytest.fixture
def made(build: Build, small_phantoms: dict[str, Any], tmp_path: Path) -> dict[str, Path]:
    """A small set and embeddings of its training images, two of them left out."""
    data = build(small_phantoms, out="data")
    images = list(open_artefact(data / "labelled_images").records(LabelledImage, "train"))
    vectors = unit_rows(np.random.default_rng(0).standard_normal((len(images), 16)))
    rows = [
        Embedding(
            id=image.id,
            source=image.source,
            licence=image.licence,
            group=image.group,
            split="train",
            vector=tuple(map(float, vector)),
            label=image.label,
            caption=f"caption of {image.id}",
        )
        for image, vector in zip(images, vectors, strict=True)
    ]
    write_embeddings(tmp_path / "embeddings", rows[2:])
    return {"conversations": data / "conversations", "embeddings": tmp_path / "embeddings"}


def run(build: Build, made: dict[str, Path], *more: str, out: str = "evidence") -> Path:
    return build(RECIPE, f"conversations={made['conversations']}", f"embeddings={made['embeddings']}", *more, out=out) / "conversations"


def test_training_conversations_come_again_with_the_nearest_cases_of_other_patients(build: Build, made: dict[str, Path]) -> None:
    out = run(build, made)
    plain = {record.id: record for record in open_artefact(made["conversations"]).records(Conversation, "train")}
    cases = {record.id: record for record in open_artefact(made["embeddings"]).records(Embedding)}
    found = list(open_artefact(out, "conversations").records(Conversation))
    assert {record.task for record in found} == {"open", "closed"}
    assert {record.extra["evidence_by"] for record in found} == {"similar", "random"}
    for record in found:
        before = plain[record.id.removesuffix("/evidence")]
        text = record.messages[0].text
        assert text.startswith(HEADER)
        assert text.endswith("\n\n" + before.messages[0].text)
        assert (record.images, record.messages[1:], record.answer) == (before.images, before.messages[1:], before.answer)
        cited = [cases[name] for name in record.extra["evidence"]]
        assert len(cited) == 3
        assert all(item.group != record.group for item in cited)
        assert all(f"caption of {item.id}" in text for item in cited)
        if record.extra["evidence_by"] == "similar":
            query = np.array(cases[record.extra["image_id"]].vector)
            others = [item for item in cases.values() if item.group != record.group]
            best = sorted(others, key=lambda item: -float(query @ np.array(item.vector)))
            assert [item.id for item in cited] == [item.id for item in best[:3]]


def test_an_image_without_an_embedding_is_rejected_not_forgotten(build: Build, made: dict[str, Path]) -> None:
    out = run(build, made)
    rows = pq.read_table(out / "rejects" / "rejects.parquet").to_pylist()
    missing = {record.extra["image_id"] for record in open_artefact(made["conversations"]).records(Conversation, "train")}
    missing -= {record.id for record in open_artefact(made["embeddings"]).records(Embedding)}
    wanted = {
        record.id
        for record in open_artefact(made["conversations"]).records(Conversation, "train")
        if record.extra["image_id"] in missing and record.task in ("open", "closed")
    }
    assert len(missing) == 2
    assert {row["key"] for row in rows} == wanted
    assert {row["reason"] for row in rows} == {"no_embedding"}


def test_shares_are_kept_and_the_draw_is_the_seed_s(build: Build, made: dict[str, Path]) -> None:
    whole = open_artefact(run(build, made, "misleading=0")).manifest["counts"]["in"]
    part = [record.id for record in open_artefact(run(build, made, "share=0.5", out="half")).records(Conversation)]
    again = [record.id for record in open_artefact(run(build, made, "share=0.5", "seed=1", out="other")).records(Conversation)]
    assert 0.35 < len(part) / whole < 0.65
    assert set(part) != set(again)


def test_blocks_give_the_cases_of_a_search_over_everything(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    vectors = unit_rows(rng.standard_normal((250, 8)))
    artefact = write_embeddings(tmp_path / "e", [case(n, f"g{n % 7}", vector) for n, vector in enumerate(vectors)])
    queries = unit_rows(rng.standard_normal((5, 8)))
    found = nearest_cases(artefact, queries, ["g0", "g1", "g2", "none", "g6"], 4)
    for query, group, citations in zip(queries, ["g0", "g1", "g2", "none", "g6"], found, strict=True):
        scores = np.where([f"g{n % 7}" == group for n in range(250)], -np.inf, vectors @ query)
        assert [citation.id for citation in citations] == [f"s/{n}" for n in np.argsort(-scores)[:4]]
        assert [citation.score for citation in citations] == pytest.approx(sorted(scores, reverse=True)[:4], abs=1e-6)


def test_random_cases_are_of_other_groups_and_spread_over_all(tmp_path: Path) -> None:
    vectors = unit_rows(np.random.default_rng(0).standard_normal((220, 4)))
    artefact = write_embeddings(tmp_path / "e", [case(n, f"g{n % 2}", vector) for n, vector in enumerate(vectors)])
    drawn = random_cases(artefact, list(range(200)), ["g0"] * 200, 3)
    names = {citation.id for citations in drawn for citation in citations}
    assert all(len({citation.id for citation in citations}) == 3 for citations in drawn)
    assert all(citation.group == "g1" for citations in drawn for citation in citations)
    assert len(names) > 100


def test_too_few_cases_are_all_there_are(tmp_path: Path) -> None:
    artefact = write_embeddings(tmp_path / "e", [case(0, "a", np.eye(2)[0]), case(1, "b", np.eye(2)[1])])
    (found,) = nearest_cases(artefact, np.eye(2, dtype=np.float32)[:1], ["a"], 4)
    assert [citation.id for citation in found] == ["s/1"]
    assert "label 1" in evidence_block(found)


def test_vectors_of_several_lengths_are_refused(tmp_path: Path) -> None:
    artefact = write_embeddings(tmp_path / "e", [case(0, "a", np.ones(2)), case(1, "b", np.ones(4))])
    with pytest.raises(InputError, match="several lengths"):
        nearest_cases(artefact, np.ones((1, 2), dtype=np.float32), ["x"], 1)


def test_inputs_of_the_wrong_kind_are_refused(build: Build, made: dict[str, Path]) -> None:
    with pytest.raises(ArtefactError, match="wanted: conversations"):
        run(build, {**made, "conversations": made["embeddings"]})


@pytest.mark.parametrize(("key", "message"), [("share=0", "share must lie"), ("misleading=2", "misleading in"), ("k=0", "k is 0")])
def test_numbers_that_mean_nothing_are_refused(build: Build, made: dict[str, Path], key: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        run(build, made, key)
