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
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from eosin.artefacts.plan import canonical_json
from eosin.config import load, settings_of
from eosin.data_builders.writing.journal import Answer, Journal
from eosin.data_builders.writing.prompts import PromptFile
from eosin.data_builders.writing.replies import Refused, parse_reply
from eosin.errors import BackendError, BudgetSpent, ConfigError, ImageError, InputError
from eosin.models.protocols import Chat, Sampling, fingerprint_of

if TYPE_CHECKING:
    from eosin.models.http_chat import HttpChat

# So much of a refused answer is shown to the model again.
SHOWN_AGAIN = 4000
_FORBIDDEN_FIELDS = ("model", "messages", "stream", "n")


@dataclass(frozen=True)
class Budget:
    """The most one model may take in one journal, over all runs; what is left out has no limit.

    Attributes:
        requests: answers.
        tokens: of requests and answers.
        money: in the currency of the prices.
        prompt_price: for a million tokens of requests.
        completion_price: for a million tokens of answers.
    """

    requests: int | None = None
    tokens: int | None = None
    money: float | None = None
    prompt_price: float = 0.0
    completion_price: float = 0.0

    def __post_init__(self) -> None:
        if any(value is not None and value < 0 for value in (self.requests, self.tokens, self.money)):
            raise ConfigError("a budget cannot be negative; leave it out for no limit")
        if self.prompt_price < 0 or self.completion_price < 0:
            raise ConfigError("a price cannot be negative")
        if self.money is not None and not (self.prompt_price or self.completion_price):
            raise ConfigError("budget.money needs budget.prompt_price and budget.completion_price, for a million tokens each")

    def cost(self, prompt_tokens: int, completion_tokens: int) -> float:
        """In the currency of the prices."""
        return (prompt_tokens * self.prompt_price + completion_tokens * self.completion_price) / 1e6


@dataclass(frozen=True)
class WriterConfig:
    """The endpoint, how it is asked, and what it may cost.

    Attributes:
        model: the name at the server.
        url: the server's base, such as http://127.0.0.1:8000/v1.
        revision: what tells two models of one name apart; part of the fingerprint, as the weights cannot be seen from here.
        api_key_env: the environment variable that holds the key.
        temperature: 0 for greedy.
        top_p: nucleus.
        seed: sent where the temperature is above 0.
        answers: how often an answer that is refused is asked for, in all.
        constrain: let the server hold the answer to the schema, where it can; answers are checked in any case.
        fields: more fields of each request, such as a server's own switches.
        concurrency: requests under way at once.
        timeout: seconds without a byte from the server.
        tries: of one request: after 429, 5xx, a timeout, or a reply that is not whole.
        first_wait: seconds before the second try; doubled each time, unless the server says `Retry-After`.
        stream: answers are sent as a stream, so that the timeout counts between tokens.
        budget: what it may cost.
        journal: the file that keeps the answers; `answers.sqlite` below `--out` where it is empty. Several recipes may share one.
    """

    model: str = ""
    url: str = "http://127.0.0.1:8000/v1"
    revision: str = ""
    api_key_env: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    answers: int = 3
    constrain: Literal["none", "json_object", "json_schema"] = "none"
    fields: dict[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    timeout: float = 300.0
    tries: int = 6
    first_wait: float = 1.0
    stream: bool = False
    budget: Budget = field(default_factory=Budget)
    journal: str = ""

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.username or address.password or address.query:
            raise ConfigError("writer.url holds a name, a password or a query; a key comes from the variable that writer.api_key_env names")
        if min(self.answers, self.concurrency, self.tries) < 1 or self.timeout <= 0 or self.first_wait < 0:
            raise ConfigError("writer: answers, concurrency and tries must be at least 1, timeout above 0, first_wait not below 0")
        wrong = [name for name in _FORBIDDEN_FIELDS if name in self.fields]
        if wrong:
            raise ConfigError(f"writer.fields names {', '.join(wrong)}, which the writer fills itself")

    @property
    def fingerprint(self) -> str:
        """Of the model: its name and revision, not the address, for a server may move while its answers stay right."""
        return fingerprint_of([], implementation="http", model=self.model, revision=self.revision)

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the text, for plans: neither the address nor what a run may cost or how fast it goes."""
        kept = ("model", "revision", "temperature", "top_p", "seed", "answers", "constrain", "fields")
        return {key: value for key, value in settings_of(self).items() if key in kept} | {"fingerprint": self.fingerprint}

    def sampling(self, prompt: PromptFile) -> Sampling:
        """How an answer to this prompt is drawn."""
        return Sampling(prompt.max_tokens, self.temperature, self.top_p, self.seed if self.temperature > 0 else None)


class Unanswered(BackendError):
    """One request failed on every try; others may still be answered.

    Args:
        key: of the request.
        answered: how many requests this process had got answers to by then.
        message: what the server did.
    """

    def __init__(self, key: str, answered: int, message: str) -> None:
        super().__init__(message)
        self.key, self.answered = key, answered

    def __reduce__(self) -> tuple[type[Unanswered], tuple[str, int, str]]:
        return type(self), (self.key, self.answered, str(self))


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
        self._asking: dict[str, tuple[threading.Lock, int]] = {}
        self._under_way, self._dearest = 0, 0
        self._stop = threading.Event()
        self.answered, self.failed_in_a_row = 0, 0

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
            Refused: no answer was good; its reason is the last one's, or `no_answer`, or `refused_by_server`.
            Unanswered: the server failed on every try.
            BudgetSpent: the budget does not allow another request.
            Stopped: `stop` was called.
            ConfigError, BackendError, ImageError: see `HttpChat.generate`.
        """
        chat = prompt.chat(values, images)
        for number in range(1, self.config.answers + 1):
            answer = self._answer(prompt, chat)
            try:
                value = _value_of(answer, prompt)
                if check is not None:
                    check(value)
                return Written(value, number)
            except Refused as refused:
                if number == self.config.answers:
                    raise
                chat = prompt.chat_again(chat, answer.text[:SHOWN_AGAIN], refused.message)
        raise ConfigError("writer.answers is below 1")

    def stop(self) -> None:
        """Let what is under way be finished, and send nothing more."""
        self._stop.set()

    def start(self) -> None:
        """Send again after `stop`."""
        self._stop.clear()

    def give_up(self, key: str, message: str) -> None:
        """Note that a request is not to be sent again."""
        self.journal.add_failure(key, self._fingerprint, "no_answer", message, final=True)

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
            if failure is not None and failure.final:
                raise Refused(failure.reason, failure.message)
            with self._reserved(sampling.max_tokens):
                return self._send(key, prompt, chat, sampling, response)

    def _send(self, key: str, prompt: PromptFile, chat: Chat, sampling: Sampling, response: str) -> Answer:
        try:
            reply = self._client(response).generate([chat], sampling)[0]
        except InputError as error:
            self._note_refusal(key, error)
            raise Refused("refused_by_server", str(error)) from error
        except BackendError as error:
            self.journal.add_failure(key, self._fingerprint, "no_answer", str(error), final=False)
            with self._lock:
                self.failed_in_a_row += 1
            raise Unanswered(key, self.answered, str(error)) from error
        # What is no Unicode cannot be stored: it stays visible as an escape, and is refused where the answer is read.
        text = reply.text.encode("utf-8", "backslashreplace").decode()
        answer = Answer(text, reply.finish_reason, reply.usage.prompt_tokens, reply.usage.completion_tokens)
        kept = self.journal.add(key, self._fingerprint, prompt.hash, answer)
        with self._lock:
            self.answered, self.failed_in_a_row = self.answered + 1, 0
            self._dearest = max(self._dearest, answer.prompt_tokens + answer.completion_tokens)
        self._check_counts(answer)
        return kept

    def _note_refusal(self, key: str, error: InputError) -> None:
        """A 400 is this request's fault only where others were answered: else the recipe is wrong, and nothing is given up."""
        if isinstance(error, ImageError) or not self.journal.spent(self._fingerprint).requests:
            raise error
        self.journal.add_failure(key, self._fingerprint, "refused_by_server", str(error), final=True)

    def _check_counts(self, answer: Answer) -> None:
        budget = self.config.budget
        if (budget.tokens is not None or budget.money is not None) and not (answer.prompt_tokens or answer.completion_tokens):
            raise ConfigError(
                "the server does not count tokens, so that budget.tokens and budget.money cannot be kept; use budget.requests"
            )

    @contextmanager
    def _reserved(self, max_tokens: int) -> Iterator[None]:
        """Room in the budget for one more request, taken as dear as the dearest so far, beside those under way."""
        with self._lock:
            if self._stop.is_set():
                raise Stopped("the run was stopped")
            self._check_budget(max(self._dearest, max_tokens))
            self._under_way += 1
        try:
            yield
        finally:
            with self._lock:
                self._under_way -= 1

    def _check_budget(self, dearest: int) -> None:
        budget, spent = self.config.budget, self.journal.spent(self._fingerprint)
        more = self._under_way + 1
        money = budget.cost(spent.prompt_tokens, spent.completion_tokens)
        dear = dearest * max(budget.prompt_price, budget.completion_price) / 1e6
        over = {
            "requests": budget.requests is not None and spent.requests + more > budget.requests,
            "tokens": budget.tokens is not None and spent.tokens + more * dearest > budget.tokens,
            "money": budget.money is not None and money + more * dear > budget.money,
        }
        for name, reached in over.items():
            if reached:
                raise BudgetSpent(
                    f"the budget does not allow another request: {spent.requests} answers with {spent.tokens} tokens for {money:.4f} "
                    f"so far, and writer.budget.{name} is {getattr(budget, name)}. They are kept "
                    f"in {self.journal.path}; run the same command with a larger writer.budget.{name}, it resumes"
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

    def _make_client(self, response: str) -> HttpChat:
        from eosin.models.http_chat import HttpChat, Retry
        from eosin.models.specs import ChatSpec

        config = self.config
        spec = ChatSpec(config.model, "http", config.url, config.api_key_env, batch_size=config.concurrency, timeout=config.timeout)
        fields = {**config.fields, **json.loads(response)}
        return HttpChat(spec, Retry(config.tries, config.first_wait), fields=fields, streamed=config.stream)


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
