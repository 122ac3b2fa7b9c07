"""Artefacts in the making: plan, lock, shards, sidecars, manifest; killed at any point and started again, the same result."""

from __future__ import annotations

import fcntl
import itertools
import os
import platform
import shutil
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import TracebackType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from eosin.artefacts.card import card
from eosin.artefacts.files import SCRATCH, read_json, replacing, sha256_of, tracked_files, write_json
from eosin.artefacts.groups import groups_across_splits
from eosin.artefacts.ids import check_ids
from eosin.artefacts.parquet import read_parquet
from eosin.artefacts.plan import Plan, Task
from eosin.artefacts.reader import Artefact, open_artefact, verify
from eosin.errors import ArtefactError, InputError, LockedError, disk_is_full
from eosin.records import REJECT_SCHEMA, SCHEMAS, Record, Reject, to_table

# About 100 rows a row group: the unit in which readers shuffle and resume.
ROWS_PER_GROUP = 100
_REJECTS_A_GROUP = 10_000
# Image columns hold few repeats: a dictionary of them only costs memory.
_DICTIONARY_COLUMNS = ("source", "licence", "group", "split", "slide", "task", "label", "organ", "stain", "condition", "model", "benchmark")
_SOFTWARE = ("eosin", "numpy", "pillow", "pyarrow", "torch", "open_clip_torch", "transformers", "peft", "faiss-cpu", "scikit-learn")


class ArtefactWriter:
    """Writes one artefact; a context manager that holds the folder's lock.

    Args:
        path: the folder; made when missing.
        plan: what it will be. The same plan resumes, or finds it finished.
        overwrite: throw away an artefact of another plan that lies there, and what is damaged of one of this plan.
        paths: where the inputs lie on this machine, for `run.json`.

    Raises:
        ArtefactError: the folder holds an artefact of another plan, or something that is no artefact.
        LockedError: another process is writing it.
        InputError: the folder cannot be made, or not be written.
    """

    def __init__(self, path: str | Path, plan: Plan, *, overwrite: bool = False, paths: Mapping[str, str] | None = None) -> None:
        self.path = Path(path)
        self.plan = plan
        self._overwrite = overwrite
        self._paths = dict(paths or {})
        self._started = time.time()
        self._lock: int | None = None

    def __enter__(self) -> ArtefactWriter:
        self._lock = _lock(self.path)
        try:
            self._claim()
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._release()

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self) -> None:
        """Make the folder this plan's: fresh, resumed, or emptied."""
        others = [child for child in self.path.iterdir() if child.name != ".lock"]
        plan_file = self.path / "plan.json"
        if others and not plan_file.is_file():
            # A kill between mkdir and the first plan leaves only our own temporary files.
            if any(not child.name.startswith(".plan.json.") for child in others):
                raise ArtefactError(f"{self.path} is not empty and not an artefact; name an empty or a new folder")
        elif plan_file.is_file() and read_json(plan_file) != self.plan.to_json():
            if not self._overwrite:
                raise ArtefactError(
                    f"{self.path} holds an artefact of another plan ({_difference(read_json(plan_file), self.plan.to_json())}); "
                    "name another folder, or add --overwrite to replace it"
                )
            self._empty()
        elif self._overwrite:
            self._drop_damage()
        if not plan_file.is_file():
            write_json(plan_file, self.plan.to_json())

    def _empty(self) -> None:
        children = [child for child in self.path.iterdir() if child.name != ".lock"]
        # The plan goes last: until then the folder is still recognised as an artefact.
        for child in sorted(children, key=lambda child: child.name == "plan.json"):
            shutil.rmtree(child) if child.is_dir() else child.unlink()

    def _drop_damage(self) -> None:
        """Everything of a finished artefact that is not what its manifest lists; of an unfinished one, the tasks that are not whole."""
        if self.finished:
            try:
                whole = not verify(open_artefact(self.path))
            except ArtefactError:
                whole = False
            if not whole:
                self._empty()
            return
        for name in self.plan.shard_names():
            if not _is_whole(self.path, name):
                _sidecar(self.path, name).unlink(missing_ok=True)

    @property
    def finished(self) -> bool:
        """Whether the manifest is there: nothing is left to do."""
        return (self.path / "manifest.json").is_file()

    @property
    def scratch(self) -> Path:
        """A folder for checkpoints, removed by `finish`."""
        folder = self.path / SCRATCH
        folder.mkdir(exist_ok=True)
        return folder

    def pending(self) -> list[tuple[str, Task]]:
        """The tasks whose sidecar is missing, with their shard names, in order."""
        # The folder is listed, not asked for each name: that is one look for all tasks, and on NFS the one that is never stale.
        folder = _sidecar(self.path, "").parent
        done = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        named = zip(self.plan.shard_names(), self.plan.tasks, strict=True)
        return [(name, task) for name, task in named if _sidecar(self.path, name).name not in done]

    def finish(self, results: Mapping[str, Any] | None = None) -> Artefact:
        """Merge the sidecars, write rejects, card and manifest; a finished artefact is opened and left as it is.

        Args:
            results: what the work found and readers need: scores, fingerprints, formats.

        Raises:
            ArtefactError: tasks are left to do, or what is finished does not match its manifest.
            InputError: an id is in two shards.
        """
        if self.finished:
            return open_artefact(self.path)
        left = self.pending()
        if left:
            raise ArtefactError(f"{self.path}: {len(left)} of {len(self.plan.tasks)} tasks are not done; run the command again")
        shutil.rmtree(self.path / SCRATCH, ignore_errors=True)
        sidecars = [read_json(_sidecar(self.path, name)) for name in self.plan.shard_names()]
        check_ids([self.path / sidecar["shard"] for sidecar in sidecars if sidecar["shard"]])
        self._merge_rejects()
        summary = {**_merge(sidecars), "results": dict(results or {}), "software": _software()}
        if across := groups_across_splits(self._shards(sidecars)):
            summary["groups_across_splits"] = across
        with replacing(self.path / "README.md") as temporary:
            temporary.write_text(card(self.plan, summary), encoding="utf-8")
        self._remove_leftovers()
        write_json(self.path / "run.json", self._run_facts())
        write_json(
            self.path / "manifest.json",
            {"plan": self.plan.to_json(), "plan_digest": self.plan.digest, "files": self._files(sidecars), **summary},
        )
        return open_artefact(self.path)

    def _shards(self, sidecars: Iterable[Mapping[str, Any]]) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for sidecar in sidecars:
            if sidecar["shard"]:
                found.setdefault(sidecar["split"], []).append(self.path / sidecar["shard"])
        return found

    def _files(self, sidecars: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
        """Every file with its size and sha256."""
        # Shards were hashed by whoever wrote them: to read all of a large artefact again would only take damage since then for the truth.
        hashed = {sidecar["shard"]: sidecar["sha256"] for sidecar in sidecars}
        return {
            name: {"size": (self.path / name).stat().st_size, "sha256": hashed.get(name) or sha256_of(self.path / name)}
            for name in tracked_files(self.path)
        }

    def _merge_rejects(self) -> None:
        parts = [self.path / "_done" / f"{name}.rejects.parquet" for name in self.plan.shard_names()]
        tables = (read_parquet(part) for part in parts if part.is_file())
        first = next(tables, None)
        if first is None:
            return
        with replacing(self.path / "rejects" / "rejects.parquet") as temporary, pq.ParquetWriter(temporary, REJECT_SCHEMA) as writer:
            held, rows = [first], len(first)
            for table in tables:
                if rows >= _REJECTS_A_GROUP:
                    writer.write_table(pa.concat_tables(held))
                    held, rows = [], 0
                held.append(table)
                rows += len(table)
            writer.write_table(pa.concat_tables(held))

    def _remove_leftovers(self) -> None:
        """Temporary files of killed runs."""
        for path in self.path.rglob(".*.tmp"):
            path.unlink()

    def _run_facts(self) -> dict[str, Any]:
        return {
            "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self._started)),
            "seconds": round(time.time() - self._started, 3),
            "host": socket.gethostname(),
            "platform": platform.platform(),
            "command_line": sys.argv,
            "inputs": self._paths,
        }


def write_shard(
    folder: Path, kind: str, name: str, split: str, items: Iterable[Record | Reject], schema: pa.Schema | None = None
) -> dict[str, Any]:
    """Write one task's records as `data/{name}.parquet` and its sidecar; runs in any process.

    Memory holds one row group. A task without records makes no file: an empty shard would only trouble readers.

    Args:
        folder: the artefact.
        kind: the kind of record.
        name: the shard's name.
        split: the split all its records must carry.
        items: records and rejects, in a stable order.
        schema: of the file, where it is not the kind's own.

    Returns:
        The sidecar: counts, rejects by reason, licences, sha256.

    Raises:
        InputError: a record of another split, or an id twice in this shard.
    """
    tally = _Tally(name, split)
    target = folder / "data" / f"{name}.parquet"
    with replacing(target) as temporary, _parquet_writer(temporary, schema or SCHEMAS[kind]) as writer:
        kept = tally.sift(items)
        while group := list(itertools.islice(kept, ROWS_PER_GROUP)):
            writer.write_table(to_table(kind, group, schema))
    if not tally.kept:
        target.unlink()
    if tally.rejects:
        with replacing(folder / "_done" / f"{name}.rejects.parquet") as temporary:
            pq.write_table(pa.Table.from_pylist(tally.rejects, schema=REJECT_SCHEMA), temporary)
    sidecar = tally.sidecar(target if tally.kept else None)
    write_json(_sidecar(folder, name), sidecar)
    return sidecar


class _Tally:
    """Counts what passes through one task."""

    def __init__(self, name: str, split: str) -> None:
        self.name, self.split, self.kept = name, split, 0
        self.rejects: list[dict[str, str]] = []
        self._licences = Counter[str]()
        self._seen: set[str] = set()

    def sift(self, items: Iterable[Record | Reject]) -> Iterator[Record]:
        """The records among `items`; rejects are noted.

        Raises:
            InputError: a record of another split, or an id twice.
        """
        for item in items:
            if isinstance(item, Reject):
                self.rejects.append({"task": self.name, "key": item.key, "reason": item.reason, "message": item.message})
                continue
            if item.split != self.split:
                raise InputError(f"record {item.id!r} is of split {item.split!r}, in a shard of split {self.split!r}")
            if item.id in self._seen:
                raise InputError(f"the id {item.id!r} comes twice; ids must be unique")
            self._seen.add(item.id)
            self._licences[item.licence] += 1
            self.kept += 1
            yield item

    def sidecar(self, shard: Path | None) -> dict[str, Any]:
        """What `_done/` holds for this task."""
        return {
            "shard": None if shard is None else f"data/{shard.name}",
            "split": self.split,
            "in": self.kept + len(self.rejects),
            "out": self.kept,
            "rejected": dict(sorted(Counter(reject["reason"] for reject in self.rejects).items())),
            "licences": dict(sorted(self._licences.items())),
            "sha256": None if shard is None else sha256_of(shard),
        }


def _parquet_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=[n for n in _DICTIONARY_COLUMNS if n in schema.names])


def _sidecar(folder: Path, name: str) -> Path:
    return folder / "_done" / f"{name}.json"


def _is_whole(folder: Path, name: str) -> bool:
    """Whether a task is done, and its files are what it wrote."""
    rejects = folder / "_done" / f"{name}.rejects.parquet"
    try:
        facts = read_json(_sidecar(folder, name))
        if rejects.is_file():
            read_parquet(rejects)
    except (ArtefactError, FileNotFoundError):
        return False
    shard = facts["shard"]
    return shard is None or ((folder / shard).is_file() and sha256_of(folder / shard) == facts["sha256"])


def _merge(sidecars: Iterable[dict[str, Any]]) -> dict[str, Any]:
    counts, rejected, licences, splits = Counter[str](), Counter[str](), Counter[str](), Counter[str]()
    for sidecar in sidecars:
        counts.update({"in": sidecar["in"], "out": sidecar["out"]})
        rejected.update(sidecar["rejected"])
        licences.update(sidecar["licences"])
        splits[sidecar["split"]] += sidecar["out"]
    return {
        "counts": {"in": counts["in"], "out": counts["out"], "rejected": dict(sorted(rejected.items()))},
        "splits": {name: count for name, count in sorted(splits.items()) if count},
        "licences": dict(sorted(licences.items())),
    }


def _software() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _SOFTWARE:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _lock(folder: Path) -> int:
    """The folder, made where it is missing, and a lock on it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        if disk_is_full(error):
            raise
        raise InputError(f"{folder} cannot be made or written ({error.strerror}); name another folder with --out") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise LockedError(f"{folder} is being written by another process; wait for it, or name another folder") from error
    return handle


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Where two plans first differ, for people."""
    for key in ("kind", "command", "settings", "inputs", "tasks", "facts", "schema_version"):
        before, after = old.get(key), new.get(key)
        if before == after:
            continue
        if isinstance(before, dict) and isinstance(after, dict):
            inner = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
            return f"{key}.{inner[0]} was {before.get(inner[0])!r}, now {after.get(inner[0])!r}"
        if isinstance(before, str | int):
            return f"{key} was {before!r}, now {after!r}"
        return f"its {key} differ"
    return "the plans differ"
