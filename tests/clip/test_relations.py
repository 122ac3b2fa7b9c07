import pytest
import torch

from eosin.clip.config import Positives
from eosin.clip.relations import Keys, Rules, relate

ALL = slice(None)


def keys(**more: torch.Tensor) -> Keys:
    given = {
        "held": torch.tensor([[0, 1, 2], [1, 3, -1], [4, -1, -1], [5, -1, -1]]),
        "texts": torch.tensor([1, 3, 4, 5]),
        "hard": torch.zeros(4, dtype=torch.bool),
        "group": torch.tensor([7, 8, 8, 9]),
        "label": torch.tensor([7, -1, 7, -1]),
        "node": torch.tensor([0, 0, 1, -1]),
        "related": torch.tensor([[True, True], [True, True]]),
        **more,
    }
    return Keys(**{"holders": torch.empty((len(given["texts"]), 0), dtype=torch.int64), **given})


def pairs(found: torch.Tensor) -> set[tuple[int, int]]:
    return {(int(row), int(column)) for row, column in found.nonzero()}


OWN = {(i, i) for i in range(4)}


def test_a_caption_belongs_to_every_image_that_holds_it_or_has_its_label_or_disease() -> None:
    found = {name: relate(keys(), Rules(name), ALL, ALL)[0] for name in ("pair", "same_caption", "same_caption_or_label", "same_disease")}  # type: ignore[arg-type]
    assert pairs(found["pair"]) == OWN
    assert pairs(found["same_caption"]) == OWN | {(1, 0)}
    assert pairs(found["same_caption_or_label"]) == OWN | {(1, 0), (0, 2), (2, 0)}, "a missing label makes nobody alike"
    assert pairs(found["same_disease"]) == OWN | {(0, 1), (1, 0)}, "a missing disease makes nobody alike"


def test_who_is_spared_is_neither_positive_nor_negative() -> None:
    assert pairs(relate(keys(), Rules("pair", ("group",)), ALL, ALL)[1]) == {(1, 2), (2, 1)}
    positive, spared = relate(keys(), Rules("same_disease", ("hypernyms",)), ALL, ALL)
    assert pairs(spared) == {(0, 2), (1, 2), (2, 0), (2, 1)}
    assert not (positive & spared).any()


def test_a_hard_caption_is_a_negative_of_its_own_image_and_an_empty_place_says_nothing() -> None:
    texts = torch.tensor([1, 20, 3, 21, 4, -1, 5, 22])
    given = keys(texts=texts, hard=torch.tensor([False, True] * 4))
    positive, spared = relate(given, Rules("pair", ("group",)), ALL, ALL)
    assert pairs(positive) == {(i, 2 * i) for i in range(4)}
    assert pairs(spared) == {(1, 4), (2, 2), (2, 3), *((i, 5) for i in range(4))}


RULES = ("pair", "same_caption", "same_caption_or_label", "same_disease")


@pytest.mark.parametrize("rule", RULES)
def test_a_hard_caption_that_an_image_itself_holds_is_nothing_it_is_pushed_away_from(rule: Positives) -> None:
    """Record 0 says 0 and is not 1, record 1 says 1 and is not 0; record 2 calls its own caption wrong."""
    given = Keys(
        held=torch.tensor([[0], [1], [2]]),
        texts=torch.tensor([0, 1, 1, 0, 2, 2]),
        hard=torch.tensor([False, True] * 3),
        group=torch.arange(3),
        label=torch.arange(3),
        node=torch.arange(3),
        related=torch.eye(3, dtype=torch.bool),
        holders=torch.empty((6, 0), dtype=torch.int64),
    )
    positive, spared = relate(given, Rules(rule), ALL, ALL)
    assert pairs(positive) == {(0, 0), (1, 2), (2, 4)}
    assert pairs(spared) == {(0, 3), (1, 1), (2, 5)}


@pytest.mark.parametrize("rule", RULES)
def test_a_hard_caption_of_an_images_label_or_disease_is_spared_where_that_is_the_rule(rule: Positives) -> None:
    """Text 9 is hard for record 1 and the caption of a record elsewhere of label and disease 0, which are those of record 0."""
    given = Keys(
        held=torch.tensor([[0], [1]]),
        texts=torch.tensor([0, -1, 1, 9]),
        hard=torch.tensor([False, True] * 2),
        group=torch.arange(2),
        label=torch.arange(2),
        node=torch.arange(2),
        related=torch.eye(2, dtype=torch.bool),
        holders=torch.tensor([[-1, -1], [-1, -1], [-1, -1], [7, 0]]),
    )
    spared = pairs(relate(given, Rules(rule), ALL, ALL)[1])
    assert ((0, 3) in spared) == (rule in ("same_caption_or_label", "same_disease"))
    assert (1, 3) not in spared


def test_a_part_relates_as_it_does_in_the_whole() -> None:
    rules = Rules("same_caption_or_label", ("group", "hypernyms"))
    whole = relate(keys(), rules, ALL, ALL)
    rows = relate(keys(), rules, slice(1, 3), ALL)
    part = relate(keys().part(torch.tensor([2, 0])), rules, ALL, ALL)
    for index in (0, 1):
        assert torch.equal(rows[index], whole[index][1:3])
        assert torch.equal(part[index], whole[index][[2, 0]][:, [2, 0]])
