"""Seeds: one number decides everything, and no draw depends on how many came before it."""

from __future__ import annotations

import random

import numpy as np


def generator(seed: int, *keys: int) -> np.random.Generator:
    """A generator that depends on `seed` and `keys` alone, such as (seed, epoch, index): the same whatever ran before, in any process."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=keys))


def seed_everything(seed: int) -> None:
    """Seed the global generators of Python, numpy and torch, for libraries that draw from them."""
    import torch

    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
