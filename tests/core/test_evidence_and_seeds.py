"""Evidence is written one way; seeds depend on their keys alone."""

from __future__ import annotations

import numpy as np

from eosin.evidence import Citation, evidence_block, with_evidence
from eosin.seeds import generator


def case(**changes: object) -> Citation:
    return Citation(**{"id": "a/1", "score": 0.9, "source": "a", "licence": "CC0-1.0", "group": "g", **changes})  # type: ignore[arg-type]


def test_the_block_numbers_the_cases_and_shows_no_score() -> None:
    block = evidence_block([case(label="fat", caption="fat cells"), case(label="bone"), case()])
    assert block.splitlines()[1:] == ["[1] fat: fat cells", "[2] bone", "[3] no description"]
    assert "0.9" not in block


def test_without_cases_the_question_stays_as_it_is() -> None:
    assert with_evidence("What?", []) == "What?"
    assert with_evidence("What?", [case(label="fat")]).endswith("[1] fat\n\nWhat?")


def test_a_draw_depends_on_its_keys_and_not_on_earlier_draws() -> None:
    first = generator(1, 2, 3).random(4)
    generator(1, 2, 4).random(100)
    np.testing.assert_array_equal(first, generator(1, 2, 3).random(4))
    assert not np.array_equal(first, generator(1, 3, 2).random(4))
    assert not np.array_equal(first, generator(2, 2, 3).random(4))
