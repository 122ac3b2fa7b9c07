"""Artefacts: folders that say what made them, what is in them and whether they are finished.

DIR/plan.json        written first: kind, settings, inputs by digest, the ordered list of tasks
DIR/data/*.parquet   shards of data artefacts, each renamed into place when it is whole
DIR/_done/*.json     a sidecar a finished task: counts, rejects by reason, sha256: the checkpoint
DIR/_work/           scratch of an unfinished run (training checkpoints); gone when finished
DIR/rejects/         rejects.parquet: every record that was not taken, and why
DIR/README.md        the data-set or model card, generated
DIR/manifest.json    written last: the plan, merged counts, licences, every file with size and sha256
DIR/run.json         times, host, paths: outside every digest
"""

from eosin.artefacts.plan import InputRef, Plan, Task
from eosin.artefacts.reader import Artefact, open_artefact, verify
from eosin.artefacts.table import RecordTable, row_groups
from eosin.artefacts.writer import ArtefactWriter

__all__ = ["Artefact", "ArtefactWriter", "InputRef", "Plan", "RecordTable", "Task", "open_artefact", "row_groups", "verify"]
