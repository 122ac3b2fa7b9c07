"""`eosin demo`: phantoms or a folder of tiles -> CLIP -> assistant -> index -> evaluation -> chat page.

Every stage is an ordinary `eosin` command with a recipe in `eosin.configs/demo`; the demo prints each command before it
runs it, and a stage whose artefact is already there is not run again.
"""

from __future__ import annotations

import argparse
import importlib
import json
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from eosin.artefacts.files import read_json, write_json
from eosin.cli import VERBS
from eosin.errors import ConfigError, InputError, MissingDependency
from eosin.progress import say, show, show_table


@dataclass(frozen=True)
class Stage:
    """A command of the demo: its verb's arguments, and the folder of the artefact it makes, relative to the demo's."""

    name: str
    arguments: tuple[str, ...]
    artefact: str


_DATA = {"phantoms": "demo/phantoms", "tiles": "demo/tiles", "small": "demo/phantoms-small"}


def _recipe(name: str, flavour: str) -> str:
    """The flavour's own recipe where one is shipped, such as `demo/tiles-clip`, else the common one."""
    own = f"demo/{flavour}-{name}"
    return own if (Path(str(resources.files("eosin.configs"))) / f"{own}.yaml").is_file() else f"demo/{name}"


def stages(out: Path, flavour: str, tiles: Path | None = None) -> list[Stage]:
    """The demo's commands, in order.

    Args:
        out: the demo's folder.
        flavour: `phantoms`, `tiles` or `small`.
        tiles: for `tiles`, the folder of images.
    """
    images, texts, talks = (f"{out}/data/{kind}" for kind in ("labelled_images", "image_text", "conversations"))
    made = {
        "clip": ("clip", "train", "clip", f"data={texts}"),
        "clip_hf": ("clip", "export", "clip-export", f"model={out}/clip"),
        "embeddings": ("clip", "embed", "embed", f"model={out}/clip", f"data={images}"),
        "index": ("index", "build", "index", f"data={out}/embeddings"),
        "llm_stage1": ("llm", "train", "llm-stage1", f"vision={out}/clip_hf", f"data=[{texts},{talks}]"),
        "llm_stage2": ("llm", "train", "llm-stage2", f"model={out}/llm_stage1", f"data=[{talks},{out}/evidence/conversations]"),
        "assistant": ("llm", "export", "llm-export", f"model={out}/llm_stage2"),
        **_evaluations(out, images, talks),
    }
    plan = [Stage("data", ("build", _DATA[flavour], *((f"folder={json.dumps(str(tiles))}",) if tiles else ())), "data")]
    for folder, (verb, action, name, *inputs) in made.items():
        plan.append(Stage(folder.replace("predictions/", "eval_"), (verb, action, _recipe(name, flavour), *inputs), folder))
    evidence = ("build", _recipe("evidence", flavour), f"conversations={talks}", f"embeddings={out}/embeddings")
    plan.insert(5, Stage("evidence", evidence, "evidence"))
    return [Stage(item.name, (*item.arguments, "--out", f"{out}/{item.artefact}"), item.artefact) for item in plan]


def _evaluations(out: Path, images: str, talks: str) -> dict[str, tuple[str, ...]]:
    zero_shot = (f"model={out}/clip", f"data={images}")
    vqa = (f"model={out}/assistant", f"data={talks}")
    runs: dict[str, tuple[str, ...]] = {
        "predictions/zero_shot": ("eval", "run", "eval-zero-shot", *zero_shot),
        "predictions/zero_shot_blind": ("eval", "run", "eval-zero-shot-blind", *zero_shot),
        "predictions/colour": ("eval", "run", "eval-colour", f"data={images}", f"conversations={talks}"),
        "predictions/vqa": ("eval", "run", "eval-vqa", *vqa),
        "predictions/vqa_blind": ("eval", "run", "eval-vqa-blind", *vqa),
        "predictions/vqa_evidence": ("eval", "run", "eval-vqa-evidence", *vqa, f"index={out}/index", f"embedder={out}/clip"),
    }
    predictions = ",".join(f"{out}/{folder}" for folder in runs)
    return {**runs, "report": ("eval", "score", "report", f"predictions=[{predictions}]")}


def main(argv: list[str]) -> None:
    """Run the demo.

    Raises:
        EosinError: a stage failed; the same command goes on from there.
    """
    parser = argparse.ArgumentParser(prog="eosin demo", description="All of Eosin, small.", allow_abbrev=False)
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("runs/demo"), help="default: runs/demo")
    parser.add_argument("--tiles", metavar="DIR", type=Path, help="train on this folder of tiles (one folder a class) instead of phantoms")
    parser.add_argument("--small", action="store_true", help="few phantoms, a few minutes: to see that everything works")
    parser.add_argument("--no-serve", action="store_true", help="stop after the report")
    parser.add_argument("--port", type=int, default=7860)
    arguments = parser.parse_args(argv)
    if arguments.small and arguments.tiles is not None:
        raise ConfigError("--small makes phantoms; leave it out, or leave out --tiles")
    if arguments.tiles is not None and not arguments.tiles.is_dir():
        raise InputError(f"--tiles {arguments.tiles}: no such folder; a folder with one folder of images a class is wanted")
    flavour = "small" if arguments.small else "tiles" if arguments.tiles else "phantoms"
    if not arguments.no_serve:
        from eosin.serve.run import claim_port

        # A port that is taken is better found now than in ten minutes.
        claim_port("127.0.0.1", arguments.port).close()
    run_stages(arguments.out, stages(arguments.out, flavour, arguments.tiles))
    if not arguments.no_serve:
        serve = _serve_arguments(arguments.out, arguments.port)
        show(f"$ eosin {shlex.join(serve)}")
        importlib.import_module(VERBS["serve"].module).main(list(serve[1:]))


def _serve_arguments(out: Path, port: int) -> tuple[str, ...]:
    inputs = ("--index", f"{out}/index", "--embedder", f"{out}/clip", "--examples", f"{out}/data/labelled_images")
    return ("serve", f"{out}/assistant", *inputs, "--port", str(port))


def run_stages(out: Path, plan: list[Stage]) -> dict[str, Any]:
    """Run the commands, write `summary.json`, show the table; the summary is handed back."""
    before = read_json(out / "summary.json")["stages"] if (out / "summary.json").is_file() else {}
    seconds: dict[str, float] = {}
    with _peak_memory() as peak:
        for number, stage in enumerate(plan, 1):
            show(f"[{number}/{len(plan)}] $ eosin {shlex.join(stage.arguments)}")
            there, started = _is_finished(out / stage.artefact), time.monotonic()
            importlib.import_module(VERBS[stage.arguments[0]].module).main(list(stage.arguments[1:]))
            took = round(time.monotonic() - started, 1)
            seconds[stage.name] = before.get(stage.name, took) if there else took
    summary = {
        "stages": seconds,
        "scores": read_json(out / "report" / "scores.json")["summary"],
        "peak_memory_mb": round(peak[0]),
        "artefacts": {stage.name: stage.artefact for stage in plan},
    }
    write_json(out / "summary.json", summary)
    _show(out, summary)
    return summary


def _is_finished(folder: Path) -> bool:
    return (folder / "manifest.json").is_file() or any(folder.glob("*/manifest.json"))


@contextmanager
def _peak_memory() -> Iterator[list[float]]:
    """Megabytes of this process and its children together, at their highest, looked at twice a second."""
    try:
        import psutil
    except ModuleNotFoundError as error:
        raise MissingDependency("psutil", "demo") from error
    peak, stop = [0.0], threading.Event()

    def watch() -> None:
        process = psutil.Process()
        while not stop.wait(0.5):
            total = 0
            for member in (process, *process.children(recursive=True)):
                try:
                    total += member.memory_info().rss
                except psutil.NoSuchProcess:
                    continue
            peak[0] = max(peak[0], total / 2**20)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def _show(out: Path, summary: dict[str, Any]) -> None:
    stages = summary["stages"]
    rows = [(name, f"{seconds:.1f}", summary["artefacts"][name]) for name, seconds in stages.items()]
    show_table("Stages", ["stage", "seconds", "artefact"], [*rows, ("together", f"{sum(stages.values()):.1f}", "")])
    show_table(
        "Scores on groups never trained on", ["score", "value"], [(name, _figure(value)) for name, value in summary["scores"].items()]
    )
    show(f"Peak memory {summary['peak_memory_mb']} MB. Report: {out}/report/report.html. Summary: {out}/summary.json")
    say("Research use only: not for diagnosis.")


def _figure(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else json.dumps(value)
