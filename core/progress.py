"""Bars, messages and logging: bars only on a terminal, messages on standard error, results on standard output."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.logging import RichHandler
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")
_messages = Console(stderr=True, highlight=False, soft_wrap=True)
_results = Console(highlight=False, soft_wrap=True)


def set_up_logging(verbose: bool = False) -> None:
    """Send warnings (with `verbose`, everything) to standard error. Called by the command line only, never at import."""
    handler: logging.Handler = RichHandler(console=_messages, show_path=False) if sys.stderr.isatty() else logging.StreamHandler()
    logging.basicConfig(level=logging.DEBUG if verbose else logging.WARNING, handlers=[handler], format="%(message)s", force=True)


def say(message: str) -> None:
    """One line for the person who runs the command."""
    _messages.print(message, markup=False)


@contextmanager
def silent() -> Iterator[None]:
    """No bars and no messages while the block runs: for all but one of several processes that do the same. Errors leave it."""
    before, _messages.quiet = _messages.quiet, True
    try:
        yield
    finally:
        _messages.quiet = before


def show(message: str) -> None:
    """One line of the result itself."""
    _results.print(message, markup=False)


def show_table(title: str, columns: list[str], rows: Iterable[Iterable[object]]) -> None:
    """A table of results."""
    table = Table(title=title or None, title_justify="left")
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    _results.print(table)


class Bar:
    """Moves a bar on; does nothing where there is no terminal."""

    def __init__(self, progress: Progress | None, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="") if progress is not None else None

    def advance(self, steps: int = 1, note: str = "") -> None:
        """Move on by `steps` and show `note` behind the bar."""
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=steps, note=note)


@contextmanager
def bar(description: str, total: int | None = None) -> Iterator[Bar]:
    """A bar over `total` steps while the block runs."""
    if not _messages.is_terminal:
        yield Bar(None, description, total)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[note]}"), console=_messages, transient=True) as progress:
        yield Bar(progress, description, total)


def track(items: Iterable[T], description: str, total: int | None = None) -> Iterator[T]:
    """`items`, with a bar that moves on at each."""
    with bar(description, total) as moving:
        for item in items:
            yield item
            moving.advance()
