"""Boxes in text: `[x0, y0, x1, y1]`, whole numbers 0 to 999 relative to the image.

Several boxes are matched one to one so that the sum of their intersections over unions is largest. Missing and surplus boxes count as
zero: the sum is divided by the larger number of boxes. For one gold box and one answered, that is the plain IoU.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

_BOX = re.compile(r"\[\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*,\s*(\d{1,3})\s*\]")

Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Grounding:
    """How well boxes were found: mean IoU, share with an IoU of at least 0.5, and whether any box could be read."""

    iou: float
    acc50: float
    valid: bool


def parse_boxes(text: str) -> Boxes:
    """Every box in the text, float64 [n, 4]; boxes without an area are left out."""
    boxes = np.array([[int(number) for number in found] for found in _BOX.findall(text)], dtype=np.float64).reshape(-1, 4)
    return boxes[(boxes[:, 0] < boxes[:, 2]) & (boxes[:, 1] < boxes[:, 3])]


def pairwise_iou(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Intersection over union of each pair: [n, 4] and [m, 4] -> [n, m]."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    areas = (first[:, 2:] - first[:, :2]).prod(axis=1)[:, None] + (second[:, 2:] - second[:, :2]).prod(axis=1)[None]
    return np.asarray(shared / (areas - shared))


def grounding(reply: str, gold: str) -> Grounding:
    """The reply's boxes against the gold ones; no readable box scores zero."""
    found, wanted = parse_boxes(reply), parse_boxes(gold)
    if not len(found) or not len(wanted):
        return Grounding(0.0, 0.0, bool(len(found)))
    overlap = pairwise_iou(found, wanted)
    matched = overlap[linear_sum_assignment(overlap, maximize=True)]
    count = max(len(found), len(wanted))
    return Grounding(float(matched.sum() / count), float((matched >= 0.5).sum() / count), True)
