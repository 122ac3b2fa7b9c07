"""The command line of the stage: its verbs, and a chat in the terminal."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from eosin.artefacts import Artefact
from eosin.cli import main
from eosin.errors import ConfigError, InputError
from eosin.images import encode_png
from eosin.llm import chat as chat_module
from eosin.llm.cli import main as llm
from eosin.models.protocols import Chat
from eosin.models.transformers_chat import TransformersChat


@pytest.fixture
def pink(tmp_path: Path) -> Path:
    path = tmp_path / "pink.png"
    path.write_bytes(encode_png(np.full((24, 24, 3), (230, 150, 190), np.uint8)))
    return path


def test_one_question_is_answered_on_standard_output(stage1: Artefact, pink: Path, capsys: pytest.CaptureFixture[str]) -> None:
    llm(["chat", str(stage1.path), "What colour is it?", "--image", str(pink), "--device", "cpu"])
    assert capsys.readouterr().out == "pink\n"


def test_lines_are_turns_of_one_conversation(
    stage1: Artefact, pink: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[Chat] = []
    stream = TransformersChat.stream

    def noted(self: TransformersChat, chat: Chat, sampling: object) -> object:
        asked.append(chat)
        return stream(self, chat, sampling)  # type: ignore[arg-type]

    monkeypatch.setattr(TransformersChat, "stream", noted)
    monkeypatch.setattr(sys, "stdin", io.StringIO("What colour is it?\n\nIs it pink?\nexit\nnever asked\n"))
    llm(["chat", str(stage1.path), "--image", str(pink), "--device", "cpu", "--max-tokens", "8"])
    assert [[message.role for message in chat.messages] for chat in asked] == [["user"], ["user", "assistant", "user"]]
    assert [len(chat.images) for chat in asked] == [1, 1]
    assert asked[1].messages[1].text == capsys.readouterr().out.splitlines()[0]


def test_mistakes_are_told_by_exit_code_2_and_words(stage1: Artefact, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["llm", "chat", str(tmp_path), "What?"]) == 2
    assert "no config.json" in capsys.readouterr().err
    assert main(["llm", "chat", str(stage1.path), "What?", "--image", str(tmp_path / "none.png")]) == 2
    assert "there is no image" in capsys.readouterr().err
    assert main(["llm", "train", "demo/llm-stage1", "optimiser.rate=1", "--out", str(tmp_path / "x")]) == 2
    assert "unknown key" in capsys.readouterr().err
    assert main(["llm", "train", "demo/llm-stage1", "vision=/nowhere", "data=[/nowhere]", "--out", str(tmp_path / "x")]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_unknown_commands_and_empty_questions_are_refused(stage1: Artefact) -> None:
    with pytest.raises(ConfigError, match="train, export, chat"):
        llm(["tune"])
    with pytest.raises(InputError, match="empty"):
        chat_module.chat(chat_module.ChatSettings(str(stage1.path), "cpu", 8), [], "  ")
    with pytest.raises(InputError, match="at least 1"):
        llm(["chat", str(stage1.path), "What?", "--max-tokens", "0"])


def test_the_resolved_recipe_can_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    llm(["train", "demo/llm-stage2", "lora.rank=3", "--print-config"])
    assert "rank: 3" in capsys.readouterr().out
