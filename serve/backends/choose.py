"""The backend that `--backend` names."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from eosin.artefacts import open_artefact
from eosin.errors import ConfigError, InputError, MissingDependency, UserError
from eosin.models.protocols import ChatModel
from eosin.serve.backends.base import Backend
from eosin.serve.backends.in_process import InProcessBackend
from eosin.serve.backends.upstream import Endpoint, UpstreamBackend
from eosin.serve.backends.vllm import VllmBackend
from eosin.serve.backends.vllm_process import VllmSettings
from eosin.serve.config import ServeConfig
from eosin.serve.vllm_env import detect_flavour, find_python, run_command

# The transformers model lets several replies take turns, a token each, so that a short one need not wait for a long one.
_STREAMS = 4


def make_backend(config: ServeConfig) -> Backend:
    """The backend, not yet started.

    Raises:
        ConfigError: no such backend, or its key's variable is not set.
        ArtefactError, InputError: the model's folder is not what can be served.
        UserError: vLLM is not installed.
    """
    if config.backend.startswith(("http://", "https://")):
        return _joined(config)
    if config.backend not in BACKENDS:
        raise ConfigError(
            f"--backend is {config.backend!r}; allowed: {', '.join(BACKENDS)}, or the address of a server, http://HOST:PORT/v1"
        )
    check_model_folder(Path(config.model))
    return BACKENDS[config.backend](config)


def check_model_folder(folder: Path) -> None:
    """That a folder holds a whole model.

    Raises:
        ArtefactError: an artefact that is unfinished, damaged or of another kind.
        InputError: no folder, or one without config.json.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; MODEL is an exported llm_model artefact or a Hugging Face image-text-to-text model")
    if (folder / "manifest.json").is_file() or (folder / "plan.json").is_file():
        open_artefact(folder, "llm_model")
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no config.json, so it is no whole model; make one with eosin llm export")


def key_from(variable: str | None, option: str) -> str | None:
    """The key in an environment variable; None where no variable is named.

    Raises:
        ConfigError: the variable is not set, or holds what cannot stand in an HTTP header.
    """
    if variable is None:
        return None
    key = os.environ.get(variable, "")
    if not key:
        raise ConfigError(f"{option} names {variable}, but this environment variable is not set: export {variable}=...")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise ConfigError(f"{option}: the key in {variable} must be printable ASCII without spaces")
    return key


def _joined(config: ServeConfig) -> Backend:
    address = urlsplit(config.backend)
    if not address.hostname or address.query or address.fragment:
        raise ConfigError(f"--backend is {config.backend!r}; an address reads http://HOST:PORT/v1")
    base = config.backend.rstrip("/")
    url = base if address.path.rstrip("/").endswith("/v1") else f"{base}/v1"
    key = key_from(config.backend_key_env, "--backend-key-env")
    return UpstreamBackend(Endpoint(url, config.model, key), config.timeout)


def _in_process(config: ServeConfig) -> Backend:
    def load() -> ChatModel:
        from eosin.models.specs import ChatSpec, load_chat

        try:
            return load_chat(ChatSpec(config.model, device=config.device, dtype=config.dtype))
        except ModuleNotFoundError as error:
            raise MissingDependency(error.name or "transformers", "llm") from error

    return InProcessBackend(load, config.max_waiting, _STREAMS)


def _vllm(config: ServeConfig) -> Backend:
    python = find_python()
    if python is None:
        raise UserError("vLLM is not installed: run eosin doctor --install-vllm, or set EOSIN_VLLM_PYTHON to the Python that has it")
    settings = VllmSettings(
        python=python,
        model=str(Path(config.model).resolve()),
        name=config.api_name,
        log=config.vllm_log or _state_folder() / f"vllm-{config.port}.log",
        cpu=detect_flavour(run_command) == "cpu",
        dtype=config.dtype,
        max_images=config.max_images,
        extra=config.vllm_args,
    )
    return VllmBackend(settings, config.timeout)


def _state_folder() -> Path:
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "eosin"


BACKENDS: dict[str, Callable[[ServeConfig], Backend]] = {"transformers": _in_process, "vllm": _vllm}
