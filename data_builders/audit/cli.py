"""`eosin audit TRAIN... --against EVAL... --out DIR`: what training data know of evaluation data, and the quality of both."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from eosin.artefacts import Artefact, open_artefact
from eosin.commands import add_engine, engine_of
from eosin.data_builders.audit.leakage import LEAKS
from eosin.data_builders.audit.remove import removal_steps
from eosin.data_builders.audit.report import REPORT
from eosin.data_builders.audit.run import AuditSettings, audit_step, take_fingerprints
from eosin.data_builders.audit.sides import DataSet, open_sides
from eosin.data_builders.audit.vectors import embedding_step
from eosin.data_builders.duplicates.image_hash import RADIUS
from eosin.data_builders.duplicates.links import Nearness
from eosin.errors import ConfigError
from eosin.models.specs import EmbedderSpec
from eosin.pipeline import Engine, run_step
from eosin.progress import show, show_table


def parser() -> argparse.ArgumentParser:
    """The command line."""
    near = Nearness()
    found = argparse.ArgumentParser(
        prog="eosin audit", description="Leakage from evaluation data into training data, and the quality of both."
    )
    found.add_argument("train", metavar="TRAIN", nargs="+", help="a data artefact; DIR:train is one split of it")
    found.add_argument("--against", metavar="EVAL", nargs="+", required=True, help="evaluation data, likewise")
    found.add_argument("--out", metavar="DIR", type=Path, required=True, help="the audit's folder; fingerprints go to DIR.fingerprints")
    found.add_argument("--embeddings", metavar="DIR", nargs="+", default=[], help="embeddings artefacts of the images, all of one model")
    found.add_argument("--embedder", metavar="MODEL", help="a clip_model artefact that embeds the images here")
    found.add_argument("--remove", metavar="DIR", type=Path, help="write each TRAIN without its leaks into a folder below DIR")
    found.add_argument("--bits", type=int, default=RADIUS, help="largest distance of perceptual hashes, of 256 (default: %(default)s)")
    found.add_argument("--words", type=float, default=near.words, help="smallest likeness of texts (default: %(default)s)")
    found.add_argument("--likeness", type=float, default=near.likeness, help="smallest cosine of embeddings (default: %(default)s)")
    found.add_argument(
        "--overlap",
        type=float,
        default=near.overlap,
        help="smallest correlation of neighbours by embedding, laid over each other; 0 trusts the cosine alone (default: %(default)s)",
    )
    found.add_argument("--shown", type=int, default=20, help="pairs of each finding in the report (default: %(default)s)")
    found.add_argument("--overwrite", action="store_true", help="replace an audit in DIR that is of another plan")
    found.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one a core)")
    add_engine(found)
    return found


def main(argv: list[str]) -> None:
    """Run `eosin audit`.

    Raises:
        UserError: an input or a setting does not fit.
    """
    arguments = parser().parse_args(argv)
    if arguments.embeddings and arguments.embedder:
        raise ConfigError("--embeddings and --embedder are two ways to the same; give one")
    if arguments.shown < 0:
        raise ConfigError(f"--shown is {arguments.shown}; a number of pairs is wanted, 0 for none")
    nearness = Nearness(bits=arguments.bits, words=arguments.words, likeness=arguments.likeness, overlap=arguments.overlap)
    data = open_sides(arguments.train, arguments.against)
    folder: Path = arguments.out.with_name(arguments.out.name + ".fingerprints")
    with engine_of(arguments) as engine:
        prints = take_fingerprints(data, folder, engine)
        embeddings = [open_artefact(path, "embeddings") for path in arguments.embeddings]
        if arguments.embedder:
            embeddings = _embed(data, folder, EmbedderSpec(arguments.embedder), engine)
        step = audit_step(data, prints, embeddings, AuditSettings(nearness, arguments.shown), arguments.out)
        audit = run_step(step, arguments.out, engine, overwrite=arguments.overwrite)
        _summarise(audit)
        if arguments.remove is not None:
            for cleaning in removal_steps(data, audit):
                run_step(cleaning, arguments.remove / cleaning.name, engine, overwrite=arguments.overwrite)


def _embed(data: list[DataSet], folder: Path, spec: EmbedderSpec, engine: Engine) -> list[Artefact]:
    found: dict[str, Artefact] = {}
    for one in data:
        digest = one.artefact.digest
        if digest not in found:
            step = embedding_step(f"embeddings of {one.name}", one.artefact, spec)
            found[digest] = run_step(step, folder / f"{digest[:16]}-{step.plan.settings['fingerprint']}", engine)
    return list(found.values())


def _summarise(audit: Artefact) -> None:
    results: dict[str, Any] = audit.manifest["results"]
    train = sum(count for name, count in results["records"].items() if name.startswith("train"))
    rows = [(name, count, "leak" if name in LEAKS else "quality") for name, count in results["findings"].items()]
    if rows:
        show_table("", ["finding", "count", "kind"], rows)
    show(f"{results['leaking_train_records']} of {train} training records leak; pairs side by side: {audit.path / REPORT}")
