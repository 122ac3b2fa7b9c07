"""The supervisor of vLLM, over a stand-in for vLLM that starts, crashes and leaves workers behind as the real one can."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from eosin.errors import BackendError
from eosin.models.protocols import Chat, Sampling
from eosin.records import Message, Part
from eosin.serve.backends.base import Prompt
from eosin.serve.backends.vllm import VllmBackend
from eosin.serve.backends.vllm_process import VllmSettings, command, environment
from eosin.serve.errors import ApiError

# What it does is the name of the "model": it dies at once, never becomes ready, or crashes when it is asked something.
STAND_IN = r"""
import http.server, json, os, subprocess, sys, time
words = dict(zip(sys.argv[3::2], sys.argv[4::2]))
behaviour, here = os.path.basename(words["--model"]), os.path.dirname(words["--model"])
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(os.path.join(here, "pids"), "a") as file:
    file.write(f"{os.getpid()} {worker.pid}\n")
open(os.path.join(os.environ["TMPDIR"], "left-over"), "w").close()
if behaviour == "dies":
    print("INFO loading", flush=True)
    raise ValueError("no module named vision_tower.embeddings")
if behaviour == "hangs":
    time.sleep(600)

class Handler(http.server.BaseHTTPRequestHandler):
    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def do_GET(self):
        self.answer(200, {})
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        if behaviour == "crashes" or (behaviour == "crashes-once" and not os.path.exists(os.path.join(here, "crashed"))):
            open(os.path.join(here, "crashed"), "w").close()
            os._exit(3)
        if self.headers["authorization"] != "Bearer " + os.environ["VLLM_API_KEY"]:
            self.answer(401, {})
        text = f"{body['model']} says {body['messages'][0]['content']}"
        self.answer(200, {"choices": [{"message": {"content": text}, "finish_reason": "stop"}]})
    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer((words["--host"], int(words["--port"])), Handler).serve_forever()
"""
PROMPT = Prompt(Chat((Message("user", (Part("text", "hello"),)),)), Sampling())


@pytest.fixture
def settings(tmp_path: Path) -> Callable[..., VllmSettings]:
    """Settings for a stand-in of a behaviour."""
    script = tmp_path / "stand_in.py"
    script.write_text(STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {script} "$@"\n')
    python.chmod(0o755)

    def make(behaviour: str, **changes: Any) -> VllmSettings:
        values = {"start_seconds": 20.0, "first_wait": 0.05} | changes
        return VllmSettings(python, str(tmp_path / behaviour), "assistant", tmp_path / "logs" / "vllm.log", cpu=True, **values)

    return make


def using(settings: VllmSettings, use: Callable[[VllmBackend], Awaitable[None]]) -> None:
    async def run() -> None:
        backend = VllmBackend(settings)
        try:
            await backend.start()
            await use(backend)
        finally:
            await backend.stop()

    asyncio.run(run())


def pids(tmp_path: Path) -> list[int]:
    return [int(word) for word in (tmp_path / "pids").read_text().split()]


def alive(pid: int) -> bool:
    """Whether a process runs; one that has died and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def all_gone(numbers: list[int], seconds: float = 20.0) -> bool:
    deadline = time.monotonic() + seconds
    while any(map(alive, numbers)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(map(alive, numbers))


def test_it_is_ready_answers_with_its_own_key_and_leaves_nothing(settings: Callable[..., VllmSettings], tmp_path: Path) -> None:
    async def use(backend: VllmBackend) -> None:
        assert backend.problem is None
        assert (await backend.complete(PROMPT)).text == "assistant says hello"
        assert all(map(alive, pids(tmp_path)))

    before = set(Path(os.environ.get("TMPDIR", "/tmp")).glob("eosin-vllm-*"))
    using(settings("answers"), use)
    assert all_gone(pids(tmp_path), 0.5)
    assert set(Path(os.environ.get("TMPDIR", "/tmp")).glob("eosin-vllm-*")) <= before


def test_a_start_that_fails_says_what_the_log_says(settings: Callable[..., VllmSettings], tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"(?s)ended with code 1 .*ValueError: no module named vision_tower\.embeddings"):
        using(settings("dies"), lambda backend: asyncio.sleep(0))
    assert all_gone(pids(tmp_path), 0.5)


def test_a_start_that_takes_too_long_is_ended(settings: Callable[..., VllmSettings], tmp_path: Path) -> None:
    with pytest.raises(BackendError, match=r"not ready after 1\.5 s"):
        using(settings("hangs", start_seconds=1.5), lambda backend: asyncio.sleep(0))
    assert all_gone(pids(tmp_path), 0.5)


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    assert condition()


def test_after_a_crash_it_is_started_again_and_answers(settings: Callable[..., VllmSettings], tmp_path: Path) -> None:
    async def use(backend: VllmBackend) -> None:
        with pytest.raises(ApiError) as failed:
            await backend.complete(PROMPT)
        assert failed.value.status == 502
        await until(lambda: backend.problem is not None)
        with pytest.raises(ApiError) as refused:
            await backend.complete(PROMPT)
        assert (refused.value.status, "started again" in refused.value.message) == (503, True)
        await until(lambda: backend.problem is None)
        assert (await backend.complete(PROMPT)).text == "assistant says hello"

    using(settings("crashes-once"), use)
    assert len(pids(tmp_path)) == 4
    assert all_gone(pids(tmp_path), 0.5)


def test_after_too_many_crashes_it_stays_down_and_says_so(settings: Callable[..., VllmSettings], tmp_path: Path) -> None:
    async def use(backend: VllmBackend) -> None:
        for _ in range(2):
            await until(lambda: backend.problem is None)
            with pytest.raises(ApiError):
                await backend.complete(PROMPT)
            await until(lambda: backend.problem is not None)
        await until(lambda: "not started again" in (backend.problem or ""))

    using(settings("crashes", restarts=1), use)
    assert len(pids(tmp_path)) == 4
    assert all_gone(pids(tmp_path), 0.5)


def test_nothing_outlives_a_server_that_is_killed(settings: Callable[..., VllmSettings], tmp_path: Path) -> None:
    chosen = settings("answers")
    code = f"""
import asyncio
from pathlib import Path
from eosin.serve.backends.vllm import VllmBackend
from eosin.serve.backends.vllm_process import VllmSettings

settings = VllmSettings(Path({str(chosen.python)!r}), {chosen.model!r}, "assistant", Path({str(chosen.log)!r}), cpu=True)

async def run():
    await VllmBackend(settings).start()
    print("ready", flush=True)
    await asyncio.sleep(600)

asyncio.run(run())
"""
    environ = os.environ | {"TMPDIR": str(tmp_path)}
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environ)
    try:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "ready\n"
        assert all(map(alive, pids(tmp_path)))
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert all_gone(pids(tmp_path))
    deadline = time.monotonic() + 5
    while list(tmp_path.glob("eosin-vllm-*")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("eosin-vllm-*")) == []


def test_it_is_called_offline_in_full_precision_and_without_its_key_on_the_command_line(
    settings: Callable[..., VllmSettings], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    words = command(settings("m", extra=("--max-model-len", "512")), 1234)
    assert words[words.index("--dtype") + 1] == "float32"
    assert words[words.index("--host") + 1] == "127.0.0.1"
    assert words[-2:] == ["--max-model-len", "512"]
    environ = environment(settings("m"), "the-key", "/scratch")
    assert environ["VLLM_API_KEY"] == "the-key"
    assert "the-key" not in words
    assert "PYTHONPATH" not in environ
    wanted = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0", "PYTHONSAFEPATH": "1"}
    assert wanted.items() <= environ.items()
