"""Finished artefacts, opened and checked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from eosin.artefacts.files import read_json, sha256_of, tracked_files
from eosin.artefacts.parquet import open_parquet
from eosin.artefacts.plan import InputRef, Plan, plan_from_json
from eosin.errors import ArtefactError
from eosin.records import RECORD_TYPES, Record, from_table

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Artefact:
    """A finished artefact. `manifest` is what `manifest.json` holds."""

    path: Path
    plan: Plan
    manifest: dict[str, Any]
    digest: str

    @property
    def kind(self) -> str:
        """One of `eosin.artefacts.plan.KINDS`."""
        return self.plan.kind

    @property
    def classes(self) -> tuple[str, ...]:
        """The class list, empty where there is none."""
        return tuple(self.plan.facts.get("classes", ()))

    def ref(self, name: str) -> InputRef:
        """How another plan names this artefact as its input `name`."""
        return InputRef(name, self.kind, self.digest)

    def shards(self, split: str | None = None) -> list[Path]:
        """The Parquet files in their stable order, of one split or of all.

        Raises:
            ArtefactError: `split` has no records here.
        """
        names = [name for name in self.manifest["files"] if name.startswith("data/") and name.endswith(".parquet")]
        if split is not None:
            wanted = [name for name in names if name.removeprefix("data/").rsplit("-", 1)[0] == split]
            if not wanted:
                held = ", ".join(f"{key} ({count})" for key, count in self.manifest["splits"].items())
                raise ArtefactError(f"{self.path}: no records of split {split!r}; it holds: {held or 'none'}")
            names = wanted
        return [self.path / name for name in sorted(names)]

    def records(self, record_type: type[R], split: str | None = None, columns: Sequence[str] | None = None) -> Iterator[R]:
        """The records, streamed a row group at a time; memory does not grow with the artefact.

        Raises:
            ArtefactError: the artefact holds another kind of record, or a shard is damaged.
        """
        if RECORD_TYPES.get(self.kind) is not record_type:
            raise ArtefactError(f"{self.path} is of kind {self.kind}; {record_type.kind} is wanted")
        for shard in self.shards(split):
            with open_parquet(shard) as file:
                for number in range(file.num_row_groups):
                    table = file.read_row_group(number, columns=list(columns) if columns else None)
                    yield from from_table(record_type, table)


def open_artefact(path: str | Path, *kinds: str) -> Artefact:
    """A finished artefact of one of `kinds` (any kind when none is given). Sizes are checked; `verify` re-hashes.

    Raises:
        ArtefactError: missing, unfinished, of another kind, or its files are not what its manifest lists.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: no such folder; an artefact{_of(kinds)} is wanted")
    if not (folder / "manifest.json").is_file():
        if (folder / "plan.json").is_file():
            raise ArtefactError(f"{folder}: unfinished (no manifest.json); run the command that made it again, it resumes")
        inner = sorted(child.parent.name for child in folder.glob("*/manifest.json"))
        hint = f"; it holds the artefacts {', '.join(inner)}: name one of them" if inner else ""
        raise ArtefactError(f"{folder}: not an artefact (no manifest.json){hint}")
    manifest = read_json(folder / "manifest.json")
    plan = plan_from_json(manifest.get("plan", {}))
    if kinds and plan.kind not in kinds:
        raise ArtefactError(f"{folder} is of kind {plan.kind}; wanted: {' or '.join(kinds)}")
    problems = _compare(folder, manifest, hashed=False)
    if problems:
        raise ArtefactError(f"{folder} does not match its manifest: {'; '.join(problems[:3])}. Build it again with --overwrite")
    return Artefact(folder, plan, manifest, sha256_of(folder / "manifest.json"))


def _of(kinds: Sequence[str]) -> str:
    return f" of kind {' or '.join(kinds)}" if kinds else ""


def verify(artefact: Artefact) -> list[str]:
    """Re-hash every file; what does not match, in words, empty when all is well."""
    return _compare(artefact.path, artefact.manifest, hashed=True)


def _compare(folder: Path, manifest: dict[str, Any], hashed: bool) -> list[str]:
    problems = []
    listed: dict[str, dict[str, Any]] = manifest["files"]
    present = {name: (folder / name).stat().st_size for name in tracked_files(folder)}
    for name, facts in listed.items():
        if name not in present:
            problems.append(f"{name} is missing")
        elif present[name] != facts["size"]:
            problems.append(f"{name} has {present[name]} bytes, not {facts['size']}")
        elif hashed and sha256_of(folder / name) != facts["sha256"]:
            problems.append(f"{name} has another sha256")
    problems.extend(f"{name} is not listed" for name in present if name not in listed)
    return problems
