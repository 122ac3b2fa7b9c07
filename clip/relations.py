"""Which images and captions of a batch belong together, and which pairs say nothing. Imports torch.

Captions of pathology sets repeat: a batch of five classes holds many captions that describe other images as well, and plain InfoNCE pushes
those apart. `positives` says what belongs together beyond a record's own captions; `spare` says who must not be pushed apart although it
does not belong together: records of one patient, slide or video, and a disease and the kinds it belongs to (KEEP, Zhou et al. 2024).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from eosin.clip.config import Positives

# Nearly always the first row has a negative.
_ROWS = 64


@dataclass(frozen=True)
class Keys:
    """What decides the relations of a batch of n records, each with the same number of texts; int64.

    Attributes:
        held: [n, most] numbers of all captions of each record, filled up with -1.
        texts: [t] number of each text, -1 for a place that a record could not fill; record after record.
        hard: bool [t]: it is a hard negative of its record.
        group: [n].
        label: [n], -1 for none.
        node: [n] place of its disease in `related`, -1 for none.
        related: bool [u, u]: one disease is the other or a kind of it.
        holders: [t, most] labels (`same_caption_or_label`) or nodes (`same_disease`) of all records of the data whose own caption a hard
            text is, filled up with -1.
    """

    held: torch.Tensor
    texts: torch.Tensor
    hard: torch.Tensor
    group: torch.Tensor
    label: torch.Tensor
    node: torch.Tensor
    related: torch.Tensor
    holders: torch.Tensor

    def __len__(self) -> int:
        return len(self.group)

    @property
    def each(self) -> int:
        """Texts a record."""
        return len(self.texts) // len(self.group)

    def part(self, records: torch.Tensor) -> Keys:
        """The keys of some records, in that order."""
        texts = (records[:, None] * self.each + torch.arange(self.each, device=records.device)).reshape(-1)
        per_record = (self.group[records], self.label[records], self.node[records])
        return Keys(self.held[records], self.texts[texts], self.hard[texts], *per_record, self.related, self.holders[texts])

    def to(self, device: torch.device) -> Keys:
        """The same on a device."""
        return Keys(**{name: value.to(device) for name, value in vars(self).items()})


@dataclass(frozen=True)
class Rules:
    """`positives` and `spare` of the recipe."""

    positives: Positives = "pair"
    spare: tuple[str, ...] = ()

    @property
    def plain(self) -> bool:
        """A record's own captions are its only positives, and all else is negative."""
        return self.positives == "pair" and not self.spare


def relate(keys: Keys, rules: Rules, images: slice, texts: slice) -> tuple[torch.Tensor, torch.Tensor]:
    """The relations of some images and some texts of a batch.

    Returns:
        Positive, bool [images, texts]: a text belongs to an image; spared, bool likewise: the pair says nothing.
    """
    places = torch.arange(len(keys.texts), device=keys.texts.device)[texts]
    owner = places // keys.each
    image = torch.arange(len(keys), device=keys.texts.device)[images]
    own = image[:, None] == owner[None, :]
    number, hard = keys.texts[places], keys.hard[places]
    positive = own.clone()
    if rules.positives in ("same_caption", "same_caption_or_label"):
        for held in keys.held[image].T:
            positive |= held[:, None] == number[None, :]
    if rules.positives == "same_caption_or_label":
        positive |= _same(keys.label[image], keys.label[owner])
    if rules.positives == "same_disease":
        positive |= _same(keys.node[image], keys.node[owner])
    positive &= ~hard[None, :]
    spared = torch.zeros_like(positive)
    if "group" in rules.spare:
        spared |= keys.group[image][:, None] == keys.group[owner][None, :]
    if "hypernyms" in rules.spare and len(keys.related):
        known = (keys.node[image] >= 0)[:, None] & (keys.node[owner] >= 0)[None, :]
        spared |= known & keys.related[keys.node[image]][:, keys.node[owner]]
    spared &= ~positive & ~(own & hard[None, :])
    spared |= (number < 0)[None, :] | _hard_but_true(keys, rules, image, places)
    return positive & (number >= 0)[None, :], spared


def has_negative(keys: Keys, rules: Rules) -> bool:
    """Whether any image of a batch has a text to be pushed away from: one without teaches nothing of what differs."""
    for start in range(0, len(keys), _ROWS):
        positive, spared = relate(keys, rules, slice(start, start + _ROWS), slice(None))
        if bool((~positive & ~spared).any()):
            return True
    return False


def _hard_but_true(keys: Keys, rules: Rules, image: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Hard texts that describe an image all the same, bool [images, texts]: its own caption, or one of its label or disease."""
    number, hard = keys.texts[places], keys.hard[places]
    found = torch.zeros((len(image), len(places)), dtype=torch.bool, device=number.device)
    if not bool(hard.any()):
        return found
    for held in keys.held[image].T:
        found |= held[:, None] == number[None, :]
    kinds = {"same_caption_or_label": keys.label, "same_disease": keys.node}.get(rules.positives)
    for kind in keys.holders[places].T if kinds is not None else ():
        found |= _same(kinds[image], kind)  # type: ignore[index]
    return found & hard[None, :]


def _same(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return (left[:, None] == right[None, :]) & (left[:, None] >= 0)
