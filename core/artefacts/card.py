"""The data-set or model card that every artefact carries: generated, so that it cannot go stale."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from eosin.artefacts.plan import Plan
from eosin.records import SCHEMAS


def card(plan: Plan, summary: Mapping[str, Any]) -> str:
    """The card in Markdown.

    Args:
        plan: the artefact's plan; `plan.facts` may hold title, description, intended_use, limits, classes.
        summary: counts, splits, licences, results, software and groups in several splits, as in the manifest.
    """
    facts = plan.facts
    lines = _front_matter(summary) if plan.kind in SCHEMAS else []
    lines += [f"# {facts.get('title', plan.kind.replace('_', ' '))}", ""]
    lines += [str(facts["description"]), ""] if "description" in facts else []
    lines += [f"Kind `{plan.kind}`, made by `eosin {plan.command}`. Plan `{plan.digest[:16]}`.", ""]
    if plan.kind in SCHEMAS:
        lines += _data_lines(facts, summary)
    if summary["results"]:
        lines += ["## Results", "", "```json", json.dumps(summary["results"], indent=1, sort_keys=True, ensure_ascii=False), "```", ""]
    for key in ("intended_use", "limits"):
        if key in facts:
            lines += [f"## {key.replace('_', ' ').capitalize()}", "", str(facts[key]), ""]
    lines += ["## Inputs", ""]
    lines += [f"- {item.name}: {item.kind} `{item.digest[:16]}`" for item in plan.inputs] or ["None."]
    lines += ["", "## Settings", "", "```json", json.dumps(plan.settings, indent=1, sort_keys=True, ensure_ascii=False), "```", ""]
    lines += ["## Software", "", ", ".join(f"{name} {number}" for name, number in summary["software"].items()), ""]
    return "\n".join(lines)


def _front_matter(summary: Mapping[str, Any]) -> list[str]:
    """What tells `datasets.load_dataset` where the shards lie: without it, rejects would be read as records."""
    lines = ["---", "configs:", "- config_name: default", "  data_files:"]
    for split in summary["splits"]:
        lines += [f"  - split: {split}", f"    path: data/{split}-*.parquet"]
    return [*lines, "---", ""] if summary["splits"] else []


def _data_lines(facts: Mapping[str, Any], summary: Mapping[str, Any]) -> list[str]:
    counts = summary["counts"]
    lines = ["## Content", "", "| split | records |", "|---|---|"]
    lines += [f"| {name} | {count} |" for name, count in summary["splits"].items()]
    lines += ["", f"{counts['in']} came in, {counts['out']} were kept.", ""]
    if counts["rejected"]:
        lines += ["| rejected because | records |", "|---|---|"]
        lines += [f"| {reason} | {count} |" for reason, count in counts["rejected"].items()] + [""]
    lines += ["| licence | records |", "|---|---|"]
    lines += [f"| {licence} | {count} |" for licence, count in summary["licences"].items()] + [""]
    if across := summary.get("groups_across_splits"):
        named = "; ".join(f"{group} ({', '.join(splits)})" for group, splits in across["examples"].items())
        lines += [f"Groups in several splits, {across['count']}: {named}. Scores over these splits are too high.", ""]
    if facts.get("classes"):
        lines += ["Classes: " + ", ".join(facts["classes"]) + ".", ""]
    return lines
