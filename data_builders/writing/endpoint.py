"""The endpoint that writes, how it is asked, and what it may cost."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

from eosin.config import settings_of
from eosin.data_builders.writing.prompts import PromptFile
from eosin.errors import ConfigError
from eosin.models.protocols import Sampling, fingerprint_of

_FORBIDDEN_FIELDS = ("model", "messages", "stream", "n")
_SECRET_FIELDS = frozenset({"api_key", "apikey", "authorization", "password", "secret"})


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
        if any(value is not None and not value >= 0 for value in (self.requests, self.tokens, self.money)):
            raise ConfigError("a budget cannot be negative; leave it out for no limit")
        if not (self.prompt_price >= 0 and self.completion_price >= 0):
            raise ConfigError("a price cannot be negative")
        if self.money is not None and not (self.prompt_price or self.completion_price):
            raise ConfigError("budget.money needs budget.prompt_price and budget.completion_price, for a million tokens each")

    @property
    def counts_tokens(self) -> bool:
        """Whether it can be kept only where the server counts tokens."""
        return self.tokens is not None or self.money is not None

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
        journal: the file that keeps the answers; `answers.sqlite` below `--out` where it is empty. Several recipes may share one, one
            after another.
        ask_again: send requests once more that were given up or refused by the server in earlier runs.
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
    ask_again: bool = False

    def __post_init__(self) -> None:
        address = urlsplit(self.url)
        if address.username or address.password or address.query:
            raise ConfigError("writer.url holds a name, a password or a query; a key comes from the variable that writer.api_key_env names")
        if min(self.answers, self.concurrency, self.tries) < 1 or self.timeout <= 0 or self.first_wait < 0:
            raise ConfigError("writer: answers, concurrency and tries must be at least 1, timeout above 0, first_wait not below 0")
        wrong = [name for name in _FORBIDDEN_FIELDS if name in self.fields]
        if wrong:
            raise ConfigError(f"writer.fields names {', '.join(wrong)}, which the writer fills itself")
        secret = sorted(name for name in self.fields if name.casefold().replace("-", "_") in _SECRET_FIELDS)
        if secret:
            raise ConfigError(f"writer.fields names {', '.join(secret)}, which would stand in the plan; a key comes by writer.api_key_env")

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
