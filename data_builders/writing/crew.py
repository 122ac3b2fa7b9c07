"""Many requests at once: results in order, a clean stop, and no request given up because a server was down."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from eosin.data_builders.writing.replies import Refused
from eosin.data_builders.writing.writer import Stopped, Unanswered, Writer
from eosin.errors import BackendError, ImageError
from eosin.records import Reject

T = TypeVar("T")
R = TypeVar("R")
# So many requests that fail one after another mean that the server is down, not that the requests are bad.
DOWN_AFTER = 4
# A request that fails in so many runs is given up, even where nothing else was there to be answered.
RUNS = 3


def work_through(writer: Writer, items: Sequence[T], work: Callable[[T], R], name: Callable[[T], str]) -> list[R | Reject]:
    """`work` on each item, `writer.config.concurrency` at once; an item that is refused becomes a reject.

    An item whose request got no answer is tried again after the others. It is given up (`no_answer`) only where the server answers a
    greeting right after that, or where it has failed in three runs; a request that a busy server put off (429, 503 with `Retry-After`)
    is never given up.

    Args:
        writer: asked by `work`.
        items: of one task.
        work: raises `Refused` for what is no good.
        name: an item's key among the rejects.

    Raises:
        BackendError: the server is down; everything answered is kept.
        BudgetSpent, ConfigError: see `Writer.write`; what was under way is finished and kept.
    """
    found = _round(writer, items, work, name)
    failed = [place for place, outcome in enumerate(found) if isinstance(outcome, Unanswered)]
    again = _round(writer, [items[place] for place in failed], work, name) if failed else []
    up = any(isinstance(outcome, Unanswered) for outcome in again) and writer.greet()
    for place, outcome in zip(failed, again, strict=True):
        found[place] = _given_up(writer, outcome, name(items[place]), up) if isinstance(outcome, Unanswered) else outcome
    return [outcome for outcome in found if not isinstance(outcome, Unanswered)]


def _given_up(writer: Writer, outcome: Unanswered, name: str, up: bool) -> Reject:
    """What comes of an item whose request failed in both rounds, by a server that is up or not."""
    if outcome.busy:
        raise BackendError(
            f"{outcome}. The server limits how much it is asked: lower writer.concurrency, or raise writer.tries; every answer so far is "
            "kept, and the same command resumes"
        )
    failure = writer.journal.failure(outcome.key)
    # Each run asks twice.
    if not up and (failure is None or failure.times < 2 * RUNS):
        raise BackendError(f"{outcome}. It does not answer a greeting either: is the server up? Run the same command again, it resumes")
    writer.give_up(outcome.key, str(outcome))
    return Reject(name, "no_answer", str(outcome))


def _round(writer: Writer, items: Sequence[T], work: Callable[[T], R], name: Callable[[T], str]) -> list[R | Reject | Unanswered]:
    writer.start()
    pool = ThreadPoolExecutor(min(writer.config.concurrency, max(len(items), 1)), thread_name_prefix="writer")
    futures: list[Future[R | Reject | Unanswered]] = []
    try:
        futures = [pool.submit(_one, writer, item, work, name) for item in items]
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            error = future.exception()
            if error is not None and not isinstance(error, Stopped):
                raise error
        return [future.result() for future in futures]
    finally:
        writer.stop()
        pool.shutdown(wait=True, cancel_futures=True)


def _one(writer: Writer, item: T, work: Callable[[T], R], name: Callable[[T], str]) -> R | Reject | Unanswered:
    try:
        return work(item)
    except (Refused, ImageError) as error:
        return Reject(name(item), error.reason, error.message)
    except Unanswered as error:
        if writer.failed_in_a_row >= DOWN_AFTER:
            raise BackendError(
                f"{error}. {writer.failed_in_a_row} requests failed one after another: is the server up? "
                "Every answer so far is kept; run the same command again, it resumes"
            ) from error
        return error
