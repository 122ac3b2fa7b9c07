"""`eosin serve MODEL`: the OpenAI-compatible API and the chat page on one port."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from eosin.errors import ConfigError
from eosin.serve.config import DTYPES, ServeConfig

_DESCRIPTION = """Serve a model: the OpenAI-compatible API at /v1 and a chat page at /ui, on one port.

  eosin serve runs/demo/assistant --index runs/demo/index --embedder runs/demo/clip
  eosin serve runs/demo/assistant --backend vllm
  eosin serve MODEL_NAME --backend http://127.0.0.1:8000/v1
"""


def main(argv: list[str]) -> None:
    """Serve until Ctrl-C.

    Raises:
        UserError: what was given does not fit, the port is in use, or the model cannot be loaded.
    """
    config = _config(argv)
    from eosin.serve.run import serve

    serve(config)


def _config(argv: list[str]) -> ServeConfig:
    """The command line as a config.

    Raises:
        ConfigError: a number out of range.
    """
    arguments: dict[str, Any] = vars(_parser().parse_args(argv))
    arguments |= {name: tuple(value) for name, value in arguments.items() if isinstance(value, list)}
    config = ServeConfig(**arguments)
    if not 0 <= config.port <= 65535:
        raise ConfigError(f"--port is {config.port}; allowed: 0 to 65535")
    for name in ("max_body_mb", "max_images", "max_waiting", "timeout"):
        if getattr(config, name) <= 0:
            raise ConfigError(f"--{name.replace('_', '-')} is {getattr(config, name)}; it must be above 0")
    return config


def _parser() -> argparse.ArgumentParser:
    style = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="eosin serve", description=_DESCRIPTION, formatter_class=style, allow_abbrev=False)
    add = parser.add_argument
    add("model", metavar="MODEL", help="an exported llm_model or a Hugging Face folder; with a URL as backend, the model's name there")
    add("--name", help="the model's name in the API (default: the folder's name)")
    add("--backend", default="transformers", metavar="WHICH", help="transformers (default), vllm, or the address of a running server")
    add("--index", type=Path, metavar="DIR", help="index of cases, for evidence")
    add("--embedder", type=Path, metavar="DIR", help="the clip_model whose vectors the index holds")
    add("--examples", type=Path, metavar="DIR", help="labelled_images or conversations whose tiles the page offers")
    add("--host", default="127.0.0.1", help="address to listen on (default: this machine only)")
    add("--port", type=int, default=7860, help="port (default: 7860)")
    add("--api-key-env", metavar="VARIABLE", help="environment variable with the API key that clients must send")
    add("--backend-key-env", metavar="VARIABLE", help="environment variable with the key of the server behind")
    add("--allow-host", action="append", default=[], metavar="NAME", help="a further name this server goes by; repeat for more")
    add("--max-body-mb", type=float, default=25.0, metavar="MB", help="largest request (default: 25)")
    add("--max-images", type=int, default=8, metavar="N", help="images a request (default: 8)")
    add("--max-waiting", type=int, default=32, metavar="N", help="requests waiting for the in-process model before 503 (default: 32)")
    add("--timeout", type=float, default=300.0, metavar="SECONDS", help="silence of the server behind before giving up (default: 300)")
    add("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: auto)")
    add("--dtype", choices=DTYPES, default="auto", help="of the weights")
    add(
        "--vllm-arg",
        dest="vllm_args",
        action="append",
        default=[],
        metavar="ARG",
        help="further argument of vLLM: --vllm-arg=--max-model-len=2048",
    )
    add("--vllm-log", type=Path, metavar="FILE", help="vLLM's log (default: in ~/.local/state/eosin)")
    return parser
