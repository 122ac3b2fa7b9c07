"""Every answer that was paid for, kept by content in one SQLite file.

SQLite in WAL mode with `synchronous=FULL`, rather than a log of our own, because it gives at once what a log would have to be taught:
an answer and what it cost are one transaction that is on the disk before the answer is used; half a write after a kill is found by
SQLite's own checksums and rolled back; an answer is looked up by key without all of them in memory. SQLite does not check finished
pages, so each answer carries a checksum of its own. WAL shares memory between processes, so the file belongs on a local disk, not on
NFS. One process at a time uses a journal: two would pay twice for one question, and pass a budget that each of them keeps.
"""

from __future__ import annotations

import fcntl
import functools
import hashlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from eosin.artefacts.plan import canonical_json
from eosin.errors import ArtefactError, InputError, LockedError

_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS answers (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, prompt TEXT NOT NULL, text TEXT NOT NULL, finish TEXT NOT NULL,
    prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, checksum TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failures (
    key TEXT PRIMARY KEY, model TEXT NOT NULL, times INTEGER NOT NULL, final INTEGER NOT NULL, reason TEXT NOT NULL, message TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spent (
    model TEXT PRIMARY KEY, requests INTEGER NOT NULL, prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL,
    longest_prompt INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class Answer:
    """A model's reply to one request, as it came."""

    text: str
    finish: str
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Spent:
    """What one model's answers in a journal took; `longest_prompt` is the most tokens of one request."""

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    longest_prompt: int = 0

    @property
    def tokens(self) -> int:
        """Both together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True)
class Failure:
    """A request that got no answer; `final` once nobody asks again."""

    times: int
    final: bool
    reason: str
    message: str


class Journal:
    """The journal at `path`, made where it is missing; safe to use from several threads.

    Raises:
        ArtefactError: the file is no journal, of another version, or damaged.
        LockedError: another process uses it.
        InputError: its disk is full, not local, or cannot be written.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._lock = threading.Lock()
        with self._speaking():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _hold(self.path.resolve())
            self._data = sqlite3.connect(self.path, timeout=60, isolation_level=None, check_same_thread=False)
            mode = self._data.execute("PRAGMA journal_mode=WAL").fetchone()[0]
            self._data.execute("PRAGMA synchronous=FULL")
            version = self._data.execute("PRAGMA user_version").fetchone()[0]
            if mode != "wal":
                raise InputError(f"{self.path}: this file system cannot hold a write-ahead log; name a file on a local disk")
            if version not in (0, _VERSION):
                raise ArtefactError(f"{self.path}: a journal of version {version}; this Eosin reads {_VERSION}")
            self._data.executescript(_TABLES)
            self._data.execute(f"PRAGMA user_version={_VERSION}")

    def close(self) -> None:
        """Close the file; nothing is lost without it."""
        with self._lock:
            self._data.close()

    def find(self, key: str) -> Answer | None:
        """The answer to a request, if there is one.

        Raises:
            ArtefactError: it is damaged.
        """
        with self._lock, self._speaking():
            columns = "text, finish, prompt_tokens, completion_tokens, checksum"
            row = self._data.execute(f"SELECT {columns} FROM answers WHERE key = ?", (key,)).fetchone()
        if row is None:
            return None
        answer = Answer(*row[:4])
        if row[4] != _checksum(key, answer):
            raise ArtefactError(f"{self.path}: the answer {key[:16]} is damaged; delete the file to ask again, at full cost")
        return answer

    def add(self, key: str, model: str, prompt: str, answer: Answer) -> Answer:
        """Keep an answer and count what it took, both or neither; on the disk when this returns.

        Returns:
            The answer that is kept: another one, where the same request was answered twice at once.
        """
        values = (key, model, prompt, answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens, _checksum(key, answer))
        with self._lock, self._speaking(), self._transaction():
            self._data.execute(f"INSERT OR IGNORE INTO answers VALUES ({', '.join('?' * len(values))})", values)
            self._count(model, answer.prompt_tokens, answer.completion_tokens)
            self._data.execute("DELETE FROM failures WHERE key = ?", (key,))
        return self.find(key) or answer

    def count(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Count an answer that is not kept."""
        with self._lock, self._speaking(), self._transaction():
            self._count(model, prompt_tokens, completion_tokens)

    def _count(self, model: str, prompt_tokens: int, completion_tokens: int) -> None:
        self._data.execute(
            "INSERT INTO spent VALUES (?, 1, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET requests = requests + 1, "
            "prompt_tokens = prompt_tokens + excluded.prompt_tokens, completion_tokens = completion_tokens + excluded.completion_tokens, "
            "longest_prompt = max(longest_prompt, excluded.longest_prompt)",
            (model, prompt_tokens, completion_tokens, prompt_tokens),
        )

    def add_failure(self, key: str, model: str, reason: str, message: str, *, final: bool) -> Failure:
        """Count a failure of a request; a final one is not asked again."""
        with self._lock, self._speaking(), self._transaction():
            self._data.execute(
                "INSERT INTO failures VALUES (?, ?, 1, ?, ?, ?) ON CONFLICT (key) DO UPDATE SET times = times + 1, "
                "final = max(final, excluded.final), reason = excluded.reason, message = excluded.message",
                (key, model, int(final), reason, message),
            )
        return self.failure(key) or Failure(1, final, reason, message)

    def failure(self, key: str) -> Failure | None:
        """What is known of a request that got no answer."""
        with self._lock, self._speaking():
            row = self._data.execute("SELECT times, final, reason, message FROM failures WHERE key = ?", (key,)).fetchone()
        return None if row is None else Failure(row[0], bool(row[1]), row[2], row[3])

    def spent(self, model: str) -> Spent:
        """What the model's answers took, over all runs."""
        with self._lock, self._speaking():
            columns = "requests, prompt_tokens, completion_tokens, longest_prompt"
            row = self._data.execute(f"SELECT {columns} FROM spent WHERE model = ?", (model,)).fetchone()
        return Spent(*row) if row else Spent()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._data.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._data.execute("ROLLBACK")
            raise
        self._data.execute("COMMIT")

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        """SQLite's errors in words that say what to do."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise InputError(
                f"{self.path}: the journal cannot be used ({error}); it needs a local disk with room, and the right to write"
            ) from error
        except sqlite3.DatabaseError as error:
            raise ArtefactError(f"{self.path} is no journal of answers, or damaged ({error}); name another file, or delete it") from error
        except OSError as error:
            raise InputError(f"{self.path}: the journal's folder cannot be made ({error.strerror})") from error


@functools.cache
def _hold(path: Path) -> int:
    """A lock on the journal, held as long as this process lives, however often it opens the file."""
    handle = os.open(f"{path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise LockedError(f"{path} is in use by another process; wait for it, or name another file with writer.journal=FILE") from error
    return handle


def _checksum(key: str, answer: Answer) -> str:
    facts = [key, answer.text, answer.finish, answer.prompt_tokens, answer.completion_tokens]
    return hashlib.sha256(canonical_json(facts)).hexdigest()[:32]
