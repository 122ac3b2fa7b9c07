"""A vLLM server as a child process: how it is called, started behind the guard, stopped, and what its log says went wrong."""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from eosin.errors import BackendError

GUARD = Path(__file__).with_name("guard.py")
_CPU_KV_CACHE_BYTES = 512 * 2**20
_STOP_SECONDS = 25.0
_FAILURE = re.compile(r"\b\w*(Error|Exception)\b: ")


@dataclass(frozen=True)
class VllmSettings:
    """How vLLM is started.

    Attributes:
        python: interpreter of its environment.
        model: folder of the model.
        name: the model's name at the server.
        log: file its output is added to.
        cpu: whether this is the CPU build.
        dtype: of the weights; `auto` is float32 on a CPU, where vLLM's own auto would go down to bfloat16 without a word.
        max_images: a request.
        extra: further arguments, which win over those chosen here.
        start_seconds: how long it may take to be ready.
        restarts: how often it is started again within `restart_window` seconds when it crashes.
        first_wait: seconds before the first restart, doubled for each further one.
    """

    python: Path
    model: str
    name: str
    log: Path
    cpu: bool
    dtype: str = "auto"
    max_images: int = 8
    extra: tuple[str, ...] = ()
    start_seconds: float = 900.0
    restarts: int = 3
    restart_window: float = 600.0
    first_wait: float = 1.0


def command(settings: VllmSettings, port: int) -> list[str]:
    """The command line. The API key is not in it, for other users can read command lines."""
    dtype = "float32" if settings.cpu and settings.dtype == "auto" else settings.dtype
    words = [str(settings.python), "-m", "vllm.entrypoints.openai.api_server"]
    words += ["--model", settings.model, "--served-model-name", settings.name, "--host", "127.0.0.1", "--port", str(port)]
    words += ["--dtype", dtype, "--limit-mm-per-prompt", json.dumps({"image": settings.max_images})]
    # Sampling is what the request says, not what a file beside the weights says; no image is ever fetched.
    words += ["--generation-config", "vllm", "--allowed-media-domains", "none.invalid"]
    words += ["--disable-uvicorn-access-log", "--disable-fastapi-docs"]
    if settings.cpu:
        words += ["--enforce-eager", "--kv-cache-memory-bytes", str(_CPU_KV_CACHE_BYTES)]
    return [*words, *settings.extra]


def environment(settings: VllmSettings, key: str, scratch: str) -> dict[str, str]:
    """The environment: this one's, less what concerns our own Python; offline, nothing reported, temporary files in `scratch`."""
    own = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "VLLM_CPU_KVCACHE_SPACE")
    kept = {name: value for name, value in os.environ.items() if name not in own}
    chosen = {
        "VLLM_API_KEY": key,
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "VLLM_MEDIA_URL_ALLOW_REDIRECTS": "0",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        # `-m` puts the current folder first on the import path, where folders may bear the names of packages.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": scratch,
    }
    if settings.cpu:
        threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count() or 1))
        chosen |= {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": threads}
    return kept | chosen


@dataclass(frozen=True)
class VllmProcess:
    """A started server.

    Attributes:
        guard: the process that holds it; when its standard input closes, the server ends.
        port: on the loopback address.
        key: its API key, of this start only.
    """

    guard: subprocess.Popen[bytes]
    port: int
    key: str

    @property
    def exit_code(self) -> int | None:
        """None while it runs."""
        return self.guard.poll()

    def stop(self) -> None:
        """End it and everything it started; waits until that is done."""
        if self.guard.stdin is not None:
            self.guard.stdin.close()
        try:
            self.guard.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.guard.kill()
            self.guard.wait()


def start(settings: VllmSettings) -> VllmProcess:
    """Start a server; it is not ready yet.

    Raises:
        BackendError: the interpreter or the log cannot be used.
    """
    port, key, scratch = _free_port(), secrets.token_urlsafe(24), tempfile.mkdtemp(prefix="eosin-vllm-")
    words = [sys.executable, "-I", str(GUARD), scratch, "--", *command(settings, port)]
    try:
        with _open_log(settings.log) as log:
            guard = subprocess.Popen(
                words,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment(settings, key, scratch),
                start_new_session=True,
            )
    except OSError as error:
        os.rmdir(scratch)
        raise BackendError(f"vLLM cannot be started ({error})") from error
    return VllmProcess(guard, port, key)


def what_the_log_says(log: Path) -> str:
    """The errors among the last lines of a log, the reason of a failure often standing far above its end; else the last lines."""
    try:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-400:]
    except OSError as error:
        return f"its log {log} cannot be read ({error})"
    errors = list(dict.fromkeys(line.strip() for line in lines if _FAILURE.search(line)))
    shown = errors[-6:] or [line for line in lines if line.strip()][-12:]
    return "\n".join([f"from its log, {log}:", *shown])


def _open_log(log: Path) -> IO[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    return log.open("ab")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
