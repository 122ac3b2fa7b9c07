"""What every builder that writes shares: the journal's place, the plan's settings, the totals for the manifest."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from eosin.config import settings_of
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.prompts import PromptFile
from eosin.data_builders.writing.writer import Writer, shared_writer
from eosin.progress import say
from eosin.records import Provenance

LOCAL = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True)
class Desk:
    """A writer and its prompts; picklable: each process opens its own connections.

    Attributes:
        config: the writer's.
        journal: the file that keeps the answers.
        prompts: step -> prompt.
    """

    config: WriterConfig
    journal: str
    prompts: Mapping[str, PromptFile]

    @property
    def writer(self) -> Writer:
        """This process's writer."""
        return shared_writer(json.dumps(settings_of(self.config), sort_keys=True), self.journal)

    @cached_property
    def settings(self) -> dict[str, Any]:
        """What decides the text, for plans."""
        named = {step: {"version": prompt.version, "hash": prompt.hash} for step, prompt in self.prompts.items()}
        return {"writer": self.config.settings, "prompts": named}

    def provenance(self, *steps: str) -> Provenance:
        """Of a text that these steps made, in order."""
        return Provenance("+".join(self.prompts[step].hash for step in steps), self.config.fingerprint)


def desk_at(config: WriterConfig, out: Path, prompts: Mapping[str, PromptFile]) -> Desk:
    """The desk of a run into `out`; says where texts and images go.

    Raises:
        ConfigError, ArtefactError, InputError: see `Writer` and `Journal`.
    """
    journal = Path(config.journal).absolute() if config.journal else out.absolute() / "answers.sqlite"
    desk = Desk(config, str(journal), prompts)
    spent = desk.writer.journal.spent(config.fingerprint)
    kept = f"; {spent.requests} answers are there already" if spent.requests else ""
    say(f"texts and images go to {config.url}; answers are kept in {journal}{kept}")
    return desk


def totals(folder: Path, *names: str) -> dict[str, dict[str, int]]:
    """Sums over all records of the counts that stand in `extra` under `names`."""
    found: dict[str, Counter[str]] = {name: Counter() for name in names}
    for shard in sorted((folder / "data").glob("*.parquet")):
        with pq.ParquetFile(shard) as file:
            for batch in file.iter_batches(4096, columns=["extra"]):
                for text in batch.column("extra").to_pylist():
                    extra = json.loads(text)
                    for name in names:
                        counts = extra.get(name, {})
                        found[name].update(counts if isinstance(counts, dict) else {str(counts): 1})
    return {name: dict(sorted(counts.items())) for name, counts in found.items()}
