"""Killed with SIGKILL and started again: no request is lost, and none that was answered is sent twice."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from eosin.artefacts import open_artefact, verify
from eosin.data_builders.writing.journal import Journal
from eosin.records import Conversation

Start = Callable[[Path], "subprocess.Popen[bytes]"]
# Three forms of each picture; a third of the open questions takes a second answer.
FORMS = {"open": 1.0, "mcq": 1.0, "dialogue": 1.0}
PICTURES, REPAIRED = 24, 8
REQUESTS = 3 * PICTURES + REPAIRED


@pytest.fixture
def start(recipe: Any, captioned: Any, server: Any, kit: Any, tmp_path: Path) -> Start:
    """`eosin build` of conversations about all pictures into a folder, in a process of its own."""

    def answer(body: dict[str, Any]) -> dict[str, Any]:
        number = int(re.findall(r"glands of case (\d+)", kit.texts_of(body, "user")[0])[0])
        first = len(kit.texts_of(body, "user")) == 1
        return {"question": 1} if number % 3 == 0 and first and is_open(body) else dict(kit.good_answer(body))

    def is_open(body: dict[str, Any]) -> bool:
        return kit.asked(body) == "question" and "distractors" not in kit.texts_of(body, "user")[0]

    server.answer = answer
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe("write_instructions", images=str(captioned(PICTURES)), forms=FORMS)))

    def run(out: Path) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "eosin.cli", "build", str(path), "--out", str(out), "--workers", "1"]
        # A test run started in the background may ignore Ctrl-C, which its children would inherit.
        return subprocess.Popen(command, stderr=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    return run


def finish(process: subprocess.Popen[bytes]) -> str:
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said.decode()
    return said.decode()


def kill_after(process: subprocess.Popen[bytes], server: Any, requests: int) -> bool:
    """Kill the command once so many requests have come; whether it still ran."""
    while process.poll() is None and len(server.bodies) < requests:
        time.sleep(0.002)
    ran = process.poll() is None
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    return ran


def contents(out: Path) -> dict[str, bytes]:
    left_out = ("run.json", ".lock")
    found = (path for path in sorted((out / "conversations").rglob("*")) if path.is_file() and path.name not in left_out)
    return {path.relative_to(out).as_posix(): path.read_bytes() for path in found}


def test_killed_at_random_points_nothing_is_lost_and_nothing_answered_is_asked_again(start: Start, server: Any, tmp_path: Path) -> None:
    finish(start(tmp_path / "straight"))
    assert set(server.counts.values()) == {1}
    assert len(server.bodies) == REQUESTS
    straight = set(server.counts)
    server.bodies.clear()
    server.pause = 0.02
    draw, kills = random.Random(0), 0
    for _ in range(3):
        kills += kill_after(start(tmp_path / "killed"), server, len(server.bodies) + draw.randint(3, 16))
    assert kills == 3
    finish(start(tmp_path / "killed"))
    assert set(server.counts) == straight
    # A kill loses the answers that are under way: four at most here, and no other.
    assert sum(server.counts.values()) - REQUESTS <= 4 * kills
    assert contents(tmp_path / "killed") == contents(tmp_path / "straight")
    artefact = open_artefact(tmp_path / "killed" / "conversations")
    assert verify(artefact) == []
    assert len(list(artefact.records(Conversation))) == 3 * PICTURES
    sent = len(server.bodies)
    assert "answers are there already" in finish(start(tmp_path / "killed"))
    assert len(server.bodies) == sent


def test_every_answer_that_the_journal_holds_at_the_kill_is_used(start: Start, server: Any, tmp_path: Path) -> None:
    server.pause = 0.02
    assert kill_after(start(tmp_path / "killed"), server, 20)
    time.sleep(0.2)
    before = server.counts
    journal = tmp_path / "killed" / "answers.sqlite"
    code = f"import sqlite3; print(sqlite3.connect({str(journal)!r}).execute('SELECT count(*) FROM answers').fetchone()[0])"
    kept = int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
    assert 10 <= kept <= len(server.bodies)
    server.pause = 0.0
    finish(start(tmp_path / "killed"))
    again = sum(server.counts[request] > 1 for request in before)
    assert again == sum(before.values()) - kept


def test_a_finished_set_made_anew_from_the_journal_costs_nothing(start: Start, server: Any, tmp_path: Path) -> None:
    finish(start(tmp_path / "first"))
    sent = len(server.bodies)
    (tmp_path / "second").mkdir()
    (tmp_path / "first" / "answers.sqlite").rename(tmp_path / "second" / "answers.sqlite")
    finish(start(tmp_path / "second"))
    assert len(server.bodies) == sent
    assert contents(tmp_path / "second") == contents(tmp_path / "first")
    journal = Journal(tmp_path / "second" / "answers.sqlite")
    assert journal.spent(open_artefact(tmp_path / "second" / "conversations").plan.settings["writer"]["fingerprint"]).requests == sent


def test_ctrl_c_ends_the_run_with_130_and_keeps_what_was_answered(start: Start, server: Any, tmp_path: Path) -> None:
    server.pause = 0.5
    process = start(tmp_path / "stopped")
    while len(server.bodies) < 8:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 130
    server.pause = 0.0
    finish(start(tmp_path / "stopped"))
    assert set(server.counts.values()) == {1}
    assert len(server.bodies) == REQUESTS
