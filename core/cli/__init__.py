"""The command line: `eosin VERB`.

A verb's module is imported when the verb is used, so `eosin --help` loads no stage and no torch.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass

from eosin import __version__
from eosin.errors import EosinError, disk_is_full
from eosin.progress import say, set_up_logging, show


@dataclass(frozen=True)
class Verb:
    """A verb: the module whose `main(argv)` runs it, and one line of help."""

    module: str
    help: str


VERBS: dict[str, Verb] = {
    "build": Verb("eosin.data_builders.cli", "build a data set from phantoms, folders or published corpora"),
    "audit": Verb("eosin.data_builders.audit.cli", "find leakage between training and evaluation data, and flaws of both"),
    "clip": Verb("eosin.clip.cli", "train | embed | export a pathology CLIP"),
    "llm": Verb("eosin.llm.cli", "train | chat | export a vision-language assistant"),
    "index": Verb("eosin.retrieval.cli", "build | search an index of cases"),
    "eval": Verb("eosin.eval.cli", "run | score models on benchmarks"),
    "serve": Verb("eosin.serve.cli", "serve a model: OpenAI-compatible API and chat page"),
    "inspect": Verb("eosin.cli.inspect", "show an artefact; --verify re-hashes it"),
    "doctor": Verb("eosin.cli.doctor", "what this machine can run, and how to mend what it cannot"),
    "demo": Verb("eosin.cli.demo", "all of it, small: data, CLIP, LLM, index, evaluation, chat page"),
}


def usage() -> str:
    """The text of `eosin --help`."""
    lines = ["usage: eosin VERB ...", "", "Vision-language assistants for pathology: built, evaluated and served.", ""]
    lines += [f"  {name:<10} {verb.help}" for name, verb in VERBS.items()]
    lines += ["", "`eosin VERB --help` tells more; `eosin --version` the version."]
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Run a verb; the exit code is 0, 2 for the user's mistakes, 1 for ours, 130 on Ctrl-C."""
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments or arguments[0] in ("-h", "--help"):
        show(usage())
        return 0 if arguments else 2
    if arguments[0] == "--version":
        show(__version__)
        return 0
    if arguments[0] not in VERBS:
        say(f"eosin: there is no verb {arguments[0]!r}; verbs: {', '.join(VERBS)}")
        return 2
    set_up_logging()
    return _run(VERBS[arguments[0]], arguments[1:])


def _run(verb: Verb, arguments: list[str]) -> int:
    try:
        importlib.import_module(verb.module).main(arguments)
    except EosinError as error:
        say(f"eosin: {error}")
        return error.exit_code
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] == "eosin":
            raise
        say(f'eosin: {error.name} is not installed; run: pip install "eosin[all]"')
        return 2
    except KeyboardInterrupt:
        say("eosin: stopped; the same command resumes")
        return 130
    except BrokenPipeError:
        return 0
    except Exception as error:
        if not disk_is_full(error):
            raise
        where = getattr(error, "filename", None) or "of the artefact, or of temporary files"
        say(f"eosin: no space left on the disk ({where}): free some and run the same command again")
        return 2
    return 0
