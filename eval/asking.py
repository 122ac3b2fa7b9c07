"""Asking a model so that one bad question costs one answer, and a dead server costs none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from eosin.errors import BackendError, EosinError, InputError, Unsupported

Q = TypeVar("Q")
A = TypeVar("A")

# What one question may fail with: its image, its length, what it asks of the model, or the server's answer to it.
_OF_ONE_QUESTION = (InputError, Unsupported, BackendError)


def ask_each(ask: Callable[[Sequence[Q]], Sequence[A]], questions: Sequence[Q], part: int = 1) -> list[A | EosinError]:
    """An answer or an error for each question. What fails is asked again one by one, so that only the bad ones fail.

    Args:
        ask: gives an answer for each of several questions.
        questions: what is asked together.
        part: where more than so many were asked together, they are first asked again in parts of so many.

    Raises:
        BackendError: the model gave another number of answers than it was asked questions.
    """
    if not questions:
        return []
    try:
        answers = list(ask(questions))
    except _OF_ONE_QUESTION as error:
        if len(questions) == 1:
            return [error]
        size = part if part < len(questions) else 1
        parts = [questions[start : start + size] for start in range(0, len(questions), size)]
        return [answer for some in parts for answer in ask_each(ask, some)]
    if len(answers) != len(questions):
        raise BackendError(f"{len(questions)} questions were asked and {len(answers)} answers came back")
    return [*answers]


def refuse_dead_backend(answers: Sequence[object]) -> None:
    """A server that failed on every question of a slice is down: no slice of errors is written, the run stops and can be resumed.

    Raises:
        BackendError: the last of the errors.
    """
    errors = [answer for answer in answers if isinstance(answer, BackendError)]
    if errors and len(errors) == len(answers):
        raise BackendError(
            f"the model's server failed on all of {len(answers)} questions ({errors[-1]}); run the same command again, it resumes"
        )
