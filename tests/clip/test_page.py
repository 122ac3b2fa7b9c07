"""Every command that docs/clip.md and the recipes of configs/clip tell is one that Eosin takes."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from eosin.clip.cli import main as clip
from eosin.data_builders.audit.cli import parser as audit_parser
from eosin.data_builders.cli import main as build
from eosin.eval.cli import main as evaluate

ROOT = Path(__file__).parents[2]
# What RECIPE may stand for.
RECIPES = {"train": "clip/plip", "embed": "clip/embed", "export": "demo/clip-export"}
PAGES = [ROOT / "docs/clip.md", *sorted((ROOT / "configs/clip").glob("*.yaml"))]


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command, from `eosin`'s verb on; launchers before it are left out."""
    text = re.sub(r"^#", "", page.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    told = [line.strip() for line in text.splitlines()] + re.findall(r"`(eosin [^`]+)`", text)
    for line in told:
        found = re.match(r"(?:torchrun .*? -m eosin\.cli|accelerate launch .*? -m eosin\.cli|eosin) ((?:clip|build|audit|eval) .*)", line)
        if found and "--out" in line:
            yield shlex.split(found.group(1).replace("...", ""), comments=True)


TOLD = [(page.name, words) for page in PAGES for words in commands(page)]


def test_every_page_tells_commands() -> None:
    assert {page for page, _ in TOLD} == {page.name for page in PAGES}
    verbs = {" ".join(words[:2]) if words[0] in ("clip", "eval") else words[0] for page, words in TOLD if page == "clip.md"}
    assert verbs == {"clip train", "clip embed", "clip export", "build", "audit", "eval run"}


@pytest.mark.parametrize(("page", "words"), TOLD, ids=[f"{page}-{number}" for number, (page, _) in enumerate(TOLD)])
def test_a_command_is_taken(page: str, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    verb, rest = words[0], words[1:]
    if verb == "audit":
        audit_parser().parse_args(rest)
        return
    rest = [RECIPES[rest[0]] if word == "RECIPE" else word for word in rest]
    {"clip": clip, "build": build, "eval": evaluate}[verb]([*rest, "--print-config"])
    assert capsys.readouterr().out.count(":") > 3, "the resolved recipe"
