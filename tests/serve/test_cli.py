"""`eosin serve` as a command: what it refuses, when it is ready, how it ends."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from eosin.artefacts import ArtefactWriter, Plan
from eosin.cli import main
from eosin.serve.config import ServeConfig


def test_a_port_in_use_is_told_before_anything_is_loaded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code = main(["serve", str(tmp_path / "no-model-here"), "--port", str(port)])
    assert code == 2
    assert f"port {port} on 127.0.0.1 is in use" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["missing"], "no such folder"),
        (["empty"], "no config.json"),
        (["clip"], "clip is of kind clip_model; wanted: llm_model"),
        (["empty", "--backend", "llama.cpp"], "allowed: transformers, vllm, or the address"),
        (["empty", "--backend", "http://"], "an address reads"),
        (["empty", "--index", "x"], "--index and --embedder belong together"),
        (["empty", "--api-key-env", "EOSIN_NO_SUCH_KEY"], "export EOSIN_NO_SUCH_KEY"),
        (["empty", "--examples", "empty"], "not an artefact"),
        (["empty", "--port", "70000"], "0 to 65535"),
        (["empty", "--max-body-mb", "0"], "must be above 0"),
        (["empty", "--host", "192.0.2.1"], "cannot listen on 192.0.2.1"),
    ],
)
def test_what_cannot_be_served_exits_2_with_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with ArtefactWriter(tmp_path / "clip", Plan("clip_model", "test", {})) as writer:
        writer.finish()
    assert main(["serve", *arguments, *([] if "--port" in arguments else ["--port", "0"])]) == 2
    assert words in capsys.readouterr().err


def test_a_key_that_no_header_can_carry_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("EOSIN_TEST_KEY", "schl\u00fcssel")
    assert main(["serve", "x", "--api-key-env", "EOSIN_TEST_KEY", "--port", "0"]) == 2
    assert "ASCII" in capsys.readouterr().err


def test_loading_the_command_line_loads_no_server_and_no_model() -> None:
    code = "import sys, eosin.serve.cli; print(sorted({'torch', 'fastapi', 'gradio', 'uvicorn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_when_it_is_ready_answers_and_ends_cleanly(upstream: Any, kit: Any, tmp_path: Path, number: signal.Signals) -> None:
    async def answer(request: Any, state: Any) -> Any:
        from aiohttp import web

        return web.json_response(kit.completion_body("a lymph node"))

    upstream.answer = answer
    port = kit.free_port()
    words = [sys.executable, "-m", "eosin.cli", "serve", "behind", "--backend", upstream.url, "--port", str(port)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=os.environ | {"TMPDIR": str(tmp_path)})
    assert process.stderr is not None
    try:
        said = ""
        while "ready" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        assert f"http://127.0.0.1:{port}/ui" in said
        with httpx.Client(verify=False, base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            reply = client.post("/v1/chat/completions", json={"messages": [{"role": "user", "content": "what?"}]}).json()
            assert reply["choices"][0]["message"]["content"] == "a lymph node"
            assert client.get("/ui/").status_code == 200
            assert client.get("/healthz").json()["backend"] == "url"
        began = time.monotonic()
        process.send_signal(number)
        rest = process.communicate(timeout=30)[1]
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0
    assert "stopped" in rest
    assert "Traceback" not in said + rest
    assert time.monotonic() - began < 15
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("eosin-")] == []


def test_a_page_upload_fits_into_a_request() -> None:
    config = ServeConfig("m", max_body_mb=25)
    assert config.max_upload_bytes * 4 / 3 < config.max_body_bytes
