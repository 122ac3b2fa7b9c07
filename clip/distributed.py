"""Several processes, one run: `torchrun` or `accelerate launch` start them, features travel, gradients are summed. Imports torch.

No wrapper sits around the model: gradients are summed once a step, after all of its backward passes, which gradient caching needs and
which makes a run of two processes the run of one, but for the rounding of sums.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from eosin.errors import ConfigError

# Rank 0 looks at every image before training while the others wait.
_PATIENCE = timedelta(hours=12)
_BUCKET = 1 << 25


@dataclass(frozen=True)
class World:
    """The processes of a run and this one's place among them."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def main(self) -> bool:
        """Whether this process writes the files."""
        return self.rank == 0

    def share(self, count: int) -> slice:
        """This process's part of `count` things in order.

        Raises:
            ConfigError: they cannot be shared out evenly.
        """
        if count % self.size:
            raise ConfigError(f"a batch of {count} cannot be shared out evenly among {self.size} processes; change batch_size")
        each = count // self.size
        return slice(self.rank * each, (self.rank + 1) * each)

    def gather(self, part: torch.Tensor) -> torch.Tensor:
        """The parts of all processes in order, one below the other; gradients flow back to each."""
        if self.size == 1:
            return part
        gathered: torch.Tensor = _Gather.apply(part, self)
        return gathered

    def sum_(self, tensors: Iterable[torch.Tensor]) -> None:
        """Sum tensors over all processes, in place."""
        if self.size == 1:
            return
        bucket: list[torch.Tensor] = []
        for tensor in tensors:
            bucket.append(tensor)
            if sum(held.numel() for held in bucket) >= _BUCKET:
                _sum_bucket(bucket)
                bucket = []
        if bucket:
            _sum_bucket(bucket)

    def wait(self) -> None:
        """Until all processes are here."""
        if self.size > 1:
            distributed.barrier()


def _sum_bucket(bucket: list[torch.Tensor]) -> None:
    flat = torch.cat([tensor.reshape(-1).float() for tensor in bucket])
    distributed.all_reduce(flat)
    for tensor, summed in zip(bucket, torch.split(flat, [tensor.numel() for tensor in bucket]), strict=True):
        tensor.copy_(summed.view_as(tensor))


class _Gather(torch.autograd.Function):
    """All-gather whose backward sums what every process says about this one's part."""

    @staticmethod
    def forward(ctx: Any, part: torch.Tensor, world: World) -> torch.Tensor:
        ctx.world, ctx.rows = world, len(part)
        parts = [torch.empty_like(part) for _ in range(world.size)]
        distributed.all_gather(parts, part.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, None]:
        summed = gradient.contiguous()
        distributed.all_reduce(summed)
        start = ctx.world.rank * ctx.rows
        return summed[start : start + ctx.rows], None


def world_size() -> int:
    """How many processes the launcher started; 1 without one."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def joined(device: str) -> Iterator[World]:
    """This process's place among those that `torchrun` or `accelerate launch` started; alone without either.

    Args:
        device: NCCL carries tensors between GPUs, gloo between CPUs.
    """
    if world_size() == 1:
        yield World()
        return
    world = World(int(os.environ["RANK"]), world_size(), int(os.environ.get("LOCAL_RANK", "0")))
    on_gpu = device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        torch.cuda.set_device(world.local_rank)
    distributed.init_process_group("nccl" if on_gpu else "gloo", timeout=_PATIENCE)
    try:
        yield world
    finally:
        distributed.destroy_process_group()
