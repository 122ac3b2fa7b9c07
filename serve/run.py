"""A server from its start to its end: claim the port, load, answer, give everything back."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvicorn
from fastapi import FastAPI

from eosin.errors import ConfigError
from eosin.progress import say
from eosin.serve.app import Access, create_app
from eosin.serve.backends.choose import key_from, make_backend
from eosin.serve.chat import ChatService
from eosin.serve.config import ServeConfig
from eosin.serve.conversation import Limits
from eosin.serve.evidence import EvidenceSource
from eosin.serve.examples import Example, read_examples
from eosin.serve.middleware import allowed_names
from eosin.serve.page.client import ApiClient
from eosin.serve.page.mount import mount_page
from eosin.serve.page.settings import PageSettings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_SHUTDOWN_SECONDS = 5


def serve(config: ServeConfig) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises:
        ConfigError: the port is in use, or what else is told does not fit.
        EosinError: the model, the index or the examples cannot be loaded.
    """
    key = key_from(config.api_key_env, "--api-key-env")
    if (config.index is None) != (config.embedder is None):
        raise ConfigError("--index and --embedder belong together: the embedder is the model whose vectors the index holds")
    with contextlib.closing(claim_port(config.host, config.port)) as listening:
        examples = read_examples(config.examples) if config.examples is not None else []
        asyncio.run(_serve(config, key, examples, listening))


def claim_port(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything is loaded, so that a port in use is told at once.

    Raises:
        ConfigError: the port is in use or not allowed, or the host is not of this machine.
    """
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
        listening.listen(128)
    except (OSError, OverflowError) as error:
        listening.close()
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            raise ConfigError(f"port {port} on {host} is in use: stop the program that holds it, or choose another with --port") from error
        raise ConfigError(f"cannot listen on {host}, port {port} ({error}); choose others with --host and --port") from error
    return listening


async def _serve(config: ServeConfig, key: str | None, examples: list[Example], listening: socket.socket) -> None:
    backend = make_backend(config)
    try:
        evidence = await asyncio.to_thread(_evidence, config)
        say(f"eosin serve: loading {config.model}")
        await backend.start()
        service = ChatService(config.api_name, backend, evidence, Limits(config.max_images))
        access = Access(key, config.max_body_bytes, allowed_names(config.host, config.allow_host))
        app = create_app(service, access)
        port = int(listening.getsockname()[1])
        with tempfile.TemporaryDirectory(prefix="eosin-page-") as folder:
            page = ApiClient(_address(_reachable(config.host), port), key)
            settings = PageSettings(page, config.api_name, evidence is not None, examples, Path(folder), config.max_upload_bytes)
            mount_page(app, settings)
            await _answer(app, config, key, listening)
    finally:
        await backend.stop()


def _evidence(config: ServeConfig) -> EvidenceSource | None:
    if config.index is None or config.embedder is None:
        return None
    say(f"eosin serve: opening the index {config.index}")
    return EvidenceSource.load(config.index, config.embedder, config.device)


async def _answer(app: FastAPI, config: ServeConfig, key: str | None, listening: socket.socket) -> None:
    options = uvicorn.Config(
        app, log_level="warning", access_log=False, server_header=False, proxy_headers=False, timeout_graceful_shutdown=_SHUTDOWN_SECONDS
    )
    server = _Server(options)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, server.leave)
    if config.host not in _LOOPBACK and key is None:
        say(f"eosin serve: everybody who reaches {config.host} may ask; name a key with --api-key-env to change that")
    task = loop.create_task(server.serve([listening]))
    while not server.started and not task.done():
        await asyncio.sleep(0.05)
    if server.started:
        address = _address(_reachable(config.host), listening.getsockname()[1])
        say(f"eosin serve: ready. Page: {address}/ui   API: {address}/v1   (Ctrl-C ends it)")
    await task
    say("eosin serve: stopped")


class _Server(uvicorn.Server):
    """Leaves the signals alone: uvicorn would raise them again at the end, which kills the process before it has tidied up."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def leave(self) -> None:
        """End; at the second call at once."""
        self.force_exit = self.should_exit
        self.should_exit = True


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
