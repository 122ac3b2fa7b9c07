"""One request after another to a model at an OpenAI-compatible endpoint: cache, budget, retries, repair.

An answer is in the journal, on the disk, before anything is made of it; a request whose answer is there is never sent again. So a run
that is killed loses the answers under way and no other, and a finished run that is done again sends nothing. What is refused goes back
to the model with the reason, a few times; every answer on the way is kept as well, so that a rerun takes the same way.
"""

from __future__ import annotations

import functools
import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eosin.artefacts.plan import canonical_json
from eosin.config import load, settings_of
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.journal import Answer, Journal, Spent
from eosin.data_builders.writing.prompts import PromptFile
from eosin.data_builders.writing.replies import Refused, parse_reply
from eosin.errors import BackendError, BudgetSpent, ConfigError, ImageError, InputError, Overloaded
from eosin.models.protocols import Chat, Sampling
from eosin.records import Message, Part

if TYPE_CHECKING:
    from eosin.models.http_chat import HttpChat

# "error" stands for the filter in journals of old; a call of tools that nobody offered is no answer either.
_FILTERED = ("content_filter", "tool_calls", "error")
# So much of a refused answer is shown to the model again.
SHOWN_AGAIN = 4000
_GREETING = Chat((Message("user", (Part("text", "Hello"),)),))


class Unanswered(BackendError):
    """One request failed on every try; others may still be answered.

    Args:
        key: of the request.
        message: what the server did.
        busy: the server asked to be left alone on the last try, so that nothing is known against the request.
    """

    def __init__(self, key: str, message: str, busy: bool = False) -> None:
        super().__init__(message)
        self.key, self.busy = key, busy

    def __reduce__(self) -> tuple[type[Unanswered], tuple[str, str, bool]]:
        return type(self), (self.key, str(self), self.busy)


class Stopped(InputError):
    """Another request ended the run before this one was sent."""


@dataclass(frozen=True)
class Written:
    """An answer that was taken: its value, and how many answers it took."""

    value: dict[str, Any]
    answers: int


class Writer:
    """Asks one model, from any number of threads.

    Args:
        config: the endpoint.
        journal: keeps the answers.

    Raises:
        ConfigError: no model is named, or the address or the key's variable does not fit.
    """

    def __init__(self, config: WriterConfig, journal: Journal) -> None:
        if not config.model:
            raise ConfigError("writer.model is empty; add writer.model=NAME, the name of the model at the server")
        self.config, self.journal = config, journal
        self._fingerprint = config.fingerprint
        self._client = functools.lru_cache(maxsize=None)(self._make_client)
        self._client("{}")
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._asking: dict[str, tuple[threading.Lock, int]] = {}
        # Requests under way, and the tokens that their answers may take.
        self._under_way, self._held = 0, 0
        self._stop = threading.Event()
        self.failed_in_a_row = 0

    def write(
        self,
        prompt: PromptFile,
        values: Mapping[str, str],
        images: tuple[bytes, ...] = (),
        check: Callable[[dict[str, Any]], None] | None = None,
    ) -> Written:
        """An answer that fits the prompt's schema and that `check` does not refuse.

        Args:
            prompt: what is asked.
            values: for its slots.
            images: to be looked at.
            check: raises `Refused` for a value that is no good.

        Raises:
            Refused: no answer was good; its reason is the last one's, or `no_answer`, `refused_by_server`,
                `unknown_finish`.
            Unanswered: the server failed on every try.
            BudgetSpent: the budget does not allow another request.
            Stopped: `stop` was called.
            ConfigError, BackendError, ImageError: see `HttpChat.generate`.
        """
        chat = prompt.chat(values, images)
        for number in range(1, self.config.answers + 1):
            answer = self._answer(prompt, chat)
            if answer.finish not in ("stop", "length", *_FILTERED):
                # Mostly the server's way of speaking: asked again, it says the same and costs the same.
                raise Refused(
                    "unknown_finish", f"The server ended the answer with {answer.finish!r}; known are stop, length, content_filter"
                )
            try:
                value = _value_of(answer, prompt)
                if check is not None:
                    check(value)
                return Written(value, number)
            except Refused as refused:
                if number == self.config.answers:
                    raise
                # Servers refuse a message without text.
                chat = prompt.chat_again(chat, answer.text[:SHOWN_AGAIN] or "(no text)", refused.message)
        raise ConfigError("writer.answers is below 1")

    def stop(self) -> None:
        """Let the tries that are under way end, and send nothing more."""
        with self._room:
            self._stop.set()
            self._room.notify_all()

    def start(self) -> None:
        """Send again after `stop`."""
        self._stop.clear()

    def give_up(self, key: str, message: str) -> None:
        """Note that a request is not to be sent again."""
        self.journal.add_failure(key, self._fingerprint, "no_answer", message, final=True)

    def greet(self) -> bool:
        """Whether the server answers a request that nothing is wrong with: one word, asked once.

        Raises:
            BudgetSpent, Stopped, ConfigError: see `write`.
        """
        self.start()
        sampling = Sampling(1, self.config.temperature)
        try:
            with self._reserved(sampling.max_tokens):
                reply = self._make_client("{}", 1).generate([_GREETING], sampling)[0]
        except InputError:
            return True
        except BackendError:
            return False
        self.journal.count(self._fingerprint, reply.usage.prompt_tokens, reply.usage.completion_tokens)
        return True

    def _answer(self, prompt: PromptFile, chat: Chat) -> Answer:
        sampling = self.config.sampling(prompt)
        response = self._response_format(prompt)
        facts = [self._fingerprint, chat.prompt_hash, chat.image_hashes, settings_of(sampling), response, self.config.fields]
        key = hashlib.sha256(canonical_json(facts)).hexdigest()
        with self._alone(key):
            known = self.journal.find(key)
            if known is not None:
                return known
            failure = self.journal.failure(key)
            if failure is not None and failure.final and not self.config.ask_again:
                raise Refused(failure.reason, failure.message)
            with self._reserved(sampling.max_tokens):
                return self._send(key, prompt, chat, sampling, response)

    def _send(self, key: str, prompt: PromptFile, chat: Chat, sampling: Sampling, response: str) -> Answer:
        try:
            reply = self._client(response).generate([chat], sampling)[0]
        except Stopped:
            raise
        except InputError as error:
            self._note_refusal(key, error)
            raise Refused("refused_by_server", str(error)) from error
        except BackendError as error:
            busy = isinstance(error, Overloaded)
            if not busy:
                self.journal.add_failure(key, self._fingerprint, "no_answer", str(error), final=False)
            with self._lock:
                self.failed_in_a_row += 1
            raise Unanswered(key, str(error), busy) from error
        # What is no Unicode cannot be stored: it stays visible as an escape, and is refused where the answer is read.
        text = reply.text.encode("utf-8", "backslashreplace").decode()
        finish = reply.ended or "error" if reply.finish_reason == "error" else reply.finish_reason
        answer = Answer(text, finish, reply.usage.prompt_tokens, reply.usage.completion_tokens)
        kept = self.journal.add(key, self._fingerprint, prompt.hash, answer)
        with self._lock:
            self.failed_in_a_row = 0
        self._check_counts(answer)
        return kept

    def _note_refusal(self, key: str, error: InputError) -> None:
        """A 400 is this request's fault only where others were answered: else the recipe is wrong, and nothing is given up."""
        if isinstance(error, ImageError) or not self.journal.spent(self._fingerprint).requests:
            raise error
        self.journal.add_failure(key, self._fingerprint, "refused_by_server", str(error), final=True)

    def _check_counts(self, answer: Answer) -> None:
        budget = self.config.budget
        if budget.counts_tokens and not (answer.prompt_tokens or answer.completion_tokens):
            raise ConfigError(
                "the server does not count tokens, so that budget.tokens and budget.money cannot be kept; use budget.requests"
            )

    @contextmanager
    def _reserved(self, max_tokens: int) -> Iterator[None]:
        """Room in the budget for one more request and its longest answer, beside those under way; waits for these where there is none.

        A request is taken to be as long as the longest so far; before one is known, only one is under way where tokens count.
        """
        with self._room:
            while not self._stop.is_set():
                spent = self.journal.spent(self._fingerprint)
                over = self._over(spent, max_tokens)
                if over and not self._under_way:
                    raise BudgetSpent(self._limit_words(spent, over))
                if not over and (spent.longest_prompt or not self._under_way or not self.config.budget.counts_tokens):
                    break
                self._room.wait()
            else:
                raise Stopped("the run was stopped")
            self._under_way, self._held = self._under_way + 1, self._held + max_tokens
        try:
            yield
        finally:
            with self._room:
                self._under_way, self._held = self._under_way - 1, self._held - max_tokens
                self._room.notify_all()

    def _over(self, spent: Spent, max_tokens: int) -> str:
        """The limit of the budget that one more request might pass, or nothing."""
        budget, more = self.config.budget, self._under_way + 1
        prompt, completion = spent.prompt_tokens + more * spent.longest_prompt, spent.completion_tokens + self._held + max_tokens
        over = {
            "requests": budget.requests is not None and spent.requests + more > budget.requests,
            "tokens": budget.tokens is not None and prompt + completion > budget.tokens,
            "money": budget.money is not None and budget.cost(prompt, completion) > budget.money,
        }
        return next((name for name, reached in over.items() if reached), "")

    def _limit_words(self, spent: Spent, name: str) -> str:
        budget = self.config.budget
        return (
            f"the budget does not allow another request: {spent.requests} answers with {spent.tokens} tokens for "
            f"{budget.cost(spent.prompt_tokens, spent.completion_tokens):.4f} so far, and writer.budget.{name} is {getattr(budget, name)}. "
            f"They are kept in {self.journal.path}; run the same command with a larger writer.budget.{name}, it resumes"
        )

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Equal requests one after another: the second finds the first one's answer."""
        with self._lock:
            lock, users = self._asking.get(key, (threading.Lock(), 0))
            self._asking[key] = (lock, users + 1)
        try:
            with lock:
                yield
        finally:
            with self._lock:
                lock, users = self._asking.pop(key)
                if users > 1:
                    self._asking[key] = (lock, users - 1)

    def _response_format(self, prompt: PromptFile) -> str:
        """The field `response_format` as JSON; servers differ in which forms they know."""
        if self.config.constrain == "none":
            return "{}"
        if self.config.constrain == "json_object":
            return '{"response_format":{"type":"json_object"}}'
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": prompt.schema, "strict": True}}
        return canonical_json({"response_format": form}).decode()

    def _make_client(self, response: str, tries: int = 0) -> HttpChat:
        from eosin.models.http_chat import HttpChat, Retry
        from eosin.models.specs import ChatSpec

        config = self.config
        spec = ChatSpec(config.model, "http", config.url, config.api_key_env, batch_size=config.concurrency, timeout=config.timeout)
        fields = {**config.fields, **json.loads(response)}
        return HttpChat(spec, Retry(tries or config.tries, config.first_wait), fields=fields, streamed=config.stream, pause=self._pause)

    def _pause(self, seconds: float) -> None:
        """Between two tries; a run that is stopped does not sit it out."""
        if self._stop.wait(seconds):
            raise Stopped("the run was stopped")


def _value_of(answer: Answer, prompt: PromptFile) -> dict[str, Any]:
    if answer.finish == "length":
        raise Refused("cut_off", f"The answer was longer than {prompt.max_tokens} tokens and was cut off; be shorter")
    if answer.finish != "stop":
        raise Refused("filtered", f"The answer ended with {answer.finish!r}, not of itself")
    return parse_reply(answer.text, prompt.schema)


@functools.lru_cache(maxsize=4)
def shared_writer(config: str, journal: str) -> Writer:
    """This process's writer of a config, given as JSON: kept, with its connections, from task to task."""
    return Writer(load(WriterConfig, json.loads(config)), Journal(journal))
