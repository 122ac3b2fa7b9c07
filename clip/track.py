"""Where a run's curves go: TensorBoard, and Weights & Biases where it is asked for. None of it belongs to the artefact."""

from __future__ import annotations

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Protocol

from eosin.errors import MissingDependency


class Sink(Protocol):
    """Takes the values of a step."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name."""

    def close(self) -> None:
        """Nothing more comes."""


class TensorBoard:
    """Event files in a folder; what an earlier attempt wrote behind `step` is hidden.

    Raises:
        MissingDependency: tensorboard is not installed.
    """

    def __init__(self, folder: str, step: int) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MissingDependency("tensorboard", "clip") from error
        self._writer: Any = SummaryWriter(folder, purge_step=step)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        for name, value in values.items():
            self._writer.add_scalar(f"clip/{name}", value, step)

    def close(self) -> None:
        """See `Sink`."""
        self._writer.close()


class Wandb:
    """A run of Weights & Biases in the project of that name.

    Raises:
        MissingDependency: wandb is not installed.
    """

    def __init__(self, project: str, step: int) -> None:
        try:
            import wandb
        except ImportError as error:
            raise MissingDependency("wandb", "") from error
        self._run: Any = wandb.init(project=project, config={"first_step": step})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """See `Sink`."""
        self._run.log({f"clip/{name}": value for name, value in values.items()}, step=step)

    def close(self) -> None:
        """See `Sink`."""
        self._run.finish()


class Tracker:
    """All sinks of a run; a context manager.

    Args:
        tensorboard: folder of event files, or empty.
        wandb: project, or empty.
        step: the first that will come.
    """

    def __init__(self, tensorboard: str, wandb: str, step: int) -> None:
        self._sinks: list[Sink] = []
        if tensorboard:
            self._sinks.append(TensorBoard(tensorboard, step))
        if wandb:
            self._sinks.append(Wandb(wandb, step))

    def __enter__(self) -> Tracker:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for sink in self._sinks:
            sink.close()

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Values of a step, to every sink."""
        for sink in self._sinks:
            sink.write(step, values)
