"""The journal: on the disk before it is used, found by content, damage told."""

import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from eosin.data_builders.writing.journal import Answer, Journal, Spent
from eosin.errors import ArtefactError, InputError

ANSWER = Answer("text", "stop", 10, 3)


def test_an_answer_is_there_for_whoever_opens_the_file_next(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "a" / "answers.sqlite")
    assert journal.find("k") is None
    journal.add("k", "m", "p", ANSWER)
    assert Journal(journal.path).find("k") == ANSWER
    assert Journal(journal.path).spent("m") == Spent(1, 10, 3, 10)


def test_the_first_answer_to_a_request_stays_and_both_are_paid_for(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    journal.add("k", "m", "p", ANSWER)
    assert journal.add("k", "m", "p", Answer("other", "stop", 1, 1)) == ANSWER
    assert journal.spent("m") == Spent(2, 11, 4, 10)


def test_models_are_counted_apart_and_from_many_threads(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: journal.add(str(number), f"m{number % 2}", "p", ANSWER), range(60)))
    assert [journal.spent(name).requests for name in ("m0", "m1", "m2")] == [30, 30, 0]


def test_a_failure_is_counted_until_an_answer_comes(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    assert journal.failure("k") is None
    journal.add_failure("k", "m", "no_answer", "one", final=False)
    assert journal.add_failure("k", "m", "no_answer", "two", final=True).times == 2
    found = journal.failure("k")
    assert found is not None
    assert (found.final, found.message) == (True, "two")
    journal.add("k", "m", "p", ANSWER)
    assert journal.failure("k") is None


def test_a_damaged_answer_is_told_not_used(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "answers.sqlite")
    journal.add("k", "m", "p", ANSWER)
    with sqlite3.connect(journal.path) as data:
        data.execute("UPDATE answers SET text = 'tixt'")
    with pytest.raises(ArtefactError, match="damaged"):
        journal.find("k")


def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "notes.txt"
    path.write_bytes(b"these are notes, no data base at all" * 200)
    with pytest.raises(ArtefactError, match="no journal"):
        Journal(path)
    assert path.read_bytes().startswith(b"these are notes")


def test_a_journal_of_a_later_version_is_refused(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "answers.sqlite") as data:
        data.execute("PRAGMA user_version=99")
    with pytest.raises(ArtefactError, match="version 99"):
        Journal(tmp_path / "answers.sqlite")


def test_a_place_that_cannot_be_written_is_an_error_in_words(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="journal"):
        Journal(tmp_path / "file" / "answers.sqlite")


def test_a_journal_belongs_to_one_process_at_a_time(tmp_path: Path) -> None:
    Journal(tmp_path / "answers.sqlite")
    code = f"from eosin.data_builders.writing.journal import Journal; Journal({str(tmp_path / 'answers.sqlite')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "LockedError" in done.stderr
    assert "in use by another process" in done.stderr
