"""The demo, whole and small: every artefact verifies, every score can be worked out again, a rerun does nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Protocol

import pyarrow.parquet as pq
import pytest

from eosin.artefacts import open_artefact, verify
from eosin.cli.demo import stages


class SmallDemo(Protocol):
    """See tests/conftest.py."""

    out: Path
    python: Path
    printed: str


@pytest.fixture
def summary(small_demo: SmallDemo) -> dict[str, Any]:
    return dict(json.loads((small_demo.out / "summary.json").read_text()))


def predictions(demo: SmallDemo, name: str) -> list[dict[str, Any]]:
    files = sorted((demo.out / "predictions" / name / "data").glob("*.parquet"))
    return [row for file in files for row in pq.read_table(file, columns=["task", "answer", "reply", "condition"]).to_pylist()]


def test_the_summary_names_every_stage_score_and_artefact(small_demo: SmallDemo, summary: dict[str, Any]) -> None:
    names = [stage.name for stage in stages(small_demo.out, "small")]
    assert list(summary["stages"]) == sorted(names) or set(summary["stages"]) == set(names)
    wanted = {"zero_shot", "closed_vqa", "open_exact", "closed_vqa_blind", "open_exact_blind", "colour_baseline", "zero_shot_blind"}
    assert wanted <= set(summary["scores"])
    assert summary["peak_memory_mb"] < 6000
    for folder in summary["artefacts"].values():
        assert not Path(folder).is_absolute()
        assert (small_demo.out / folder).is_dir()


def test_every_artefact_matches_its_manifest(small_demo: SmallDemo) -> None:
    manifests = sorted(small_demo.out.rglob("manifest.json"))
    assert len(manifests) >= 18
    for manifest in manifests:
        assert verify(open_artefact(manifest.parent)) == []


def test_scores_can_be_worked_out_again_from_the_predictions(small_demo: SmallDemo, summary: dict[str, Any]) -> None:
    """By code of its own: the plainest definition of each score."""
    zero_shot = predictions(small_demo, "zero_shot")
    assert summary["scores"]["zero_shot"] == pytest.approx(sum(r["reply"] == r["answer"] for r in zero_shot) / len(zero_shot), abs=1e-6)
    for name, suffix in (("vqa", ""), ("vqa_blind", "_blind")):
        rows = predictions(small_demo, name)
        closed = [r for r in rows if r["task"] == "closed"]
        right = sum(r["reply"].strip().strip(".").lower() == r["answer"].lower() for r in closed)
        # The scorer also reads "yes, it does": it can only find more right answers than this.
        assert right / len(closed) <= summary["scores"][f"closed_vqa{suffix}"] + 1e-6
        opened = [r for r in rows if r["task"] == "open"]
        right = sum(r["reply"].strip().strip(".").lower() == r["answer"].lower() for r in opened)
        assert summary["scores"][f"open_exact{suffix}"] == pytest.approx(right / len(opened), abs=0.02)


def test_no_group_crosses_the_splits(small_demo: SmallDemo) -> None:
    for kind in ("labelled_images", "image_text", "conversations"):
        groups: dict[str, set[str]] = {}
        for file in sorted((small_demo.out / "data" / kind / "data").glob("*.parquet")):
            split = file.stem.rsplit("-", 1)[0]
            groups.setdefault(split, set()).update(pq.read_table(file, columns=["group"]).column("group").to_pylist())
        assert set(groups) == {"train", "val", "test"}
        assert not groups["train"] & groups["test"]
        assert not groups["train"] & groups["val"]
        assert not groups["val"] & groups["test"]


def test_a_second_run_finds_everything_there(small_demo: SmallDemo) -> None:
    before = {path: path.stat().st_mtime_ns for path in small_demo.out.rglob("manifest.json")}
    stages_before = json.loads((small_demo.out / "summary.json").read_text())["stages"]
    command = [str(small_demo.python), "-m", "eosin.cli", "demo", "--small", "--no-serve", "--out", str(small_demo.out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {path: path.stat().st_mtime_ns for path in small_demo.out.rglob("manifest.json")} == before
    assert json.loads((small_demo.out / "summary.json").read_text())["stages"] == stages_before


def test_the_report_is_one_file_that_needs_no_network(small_demo: SmallDemo) -> None:
    page = (small_demo.out / "report/report.html").read_text()
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert "https://" not in page
    assert "<svg" in page or "data:image/" in page
