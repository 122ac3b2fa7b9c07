"""`eosin llm`: train | chat | export."""

from __future__ import annotations

import argparse
from pathlib import Path

from eosin.commands import building_parser, read_config
from eosin.errors import ConfigError, InputError
from eosin.progress import show

_USAGE = """usage: eosin llm train|chat|export ...

  train RECIPE   stage 1 (align) or stage 2 (instruct) of a vision-language assistant
  export RECIPE  adapters merged into one folder that transformers and vLLM load
  chat MODEL     ask a model in the terminal

`eosin llm train --help` tells more."""


def main(argv: list[str]) -> None:
    """Run one of the stage's commands.

    Raises:
        ConfigError: there is no such command.
    """
    commands = {"train": _train, "export": _export, "chat": _chat}
    if not argv or argv[0] in ("-h", "--help"):
        show(_USAGE)
        return
    if argv[0] not in commands:
        raise ConfigError(f"eosin llm has no command {argv[0]!r}; commands: {', '.join(commands)}")
    commands[argv[0]](argv[1:])


def _device_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--device", default="auto", help="cpu, cuda, cuda:1, ... (default: a GPU where there is one)")


def _train(argv: list[str]) -> None:
    from eosin.llm.config import TrainConfig

    parser = building_parser("eosin llm train", "Train a vision-language assistant. --workers sets torch's threads.")
    parser.add_argument("--checkpoint-seconds", type=float, default=60.0, metavar="S", help="time between checkpoints (default: 60)")
    _device_option(parser)
    arguments = parser.parse_args(argv)
    config = read_config(TrainConfig, arguments)
    if config is None:
        return
    from eosin.llm.train import Machine, train
    from eosin.models.embedding import pick_device

    machine = Machine(str(pick_device(arguments.device)), arguments.workers, arguments.checkpoint_seconds)
    train(config, arguments.out, machine, overwrite=arguments.overwrite)


def _export(argv: list[str]) -> None:
    from eosin.llm.config import ExportConfig

    arguments = building_parser("eosin llm export", "Merge adapters and write one folder for transformers and vLLM.").parse_args(argv)
    config = read_config(ExportConfig, arguments)
    if config is None:
        return
    from eosin.llm.export import export

    export(config, arguments.out, overwrite=arguments.overwrite)


def _chat(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="eosin llm chat", description="Ask a model in the terminal.", allow_abbrev=False)
    parser.add_argument("model", metavar="MODEL", help="a folder: an exported assistant, or any image-text-to-text model of Hugging Face")
    parser.add_argument("question", nargs="?", help="one question; without it, a conversation begins")
    parser.add_argument("--image", action="append", type=Path, default=[], metavar="FILE", help="an image to ask about; may be repeated")
    parser.add_argument("--max-tokens", type=int, default=256)
    _device_option(parser)
    arguments = parser.parse_args(argv)
    if arguments.max_tokens < 1:
        raise InputError(f"--max-tokens: at least 1; got {arguments.max_tokens}")
    from eosin.llm.chat import ChatSettings, chat

    chat(ChatSettings(arguments.model, arguments.device, arguments.max_tokens), arguments.image, arguments.question)
