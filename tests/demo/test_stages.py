"""The demo's plan of commands."""

from __future__ import annotations

from pathlib import Path

import pytest

from eosin.cli import VERBS, main
from eosin.cli.demo import stages
from eosin.config import find_recipe


@pytest.mark.parametrize("flavour", ["phantoms", "tiles", "small"])
def test_every_stage_is_a_command_with_a_shipped_recipe(flavour: str) -> None:
    plan = stages(Path("OUT"), flavour, Path("TILES") if flavour == "tiles" else None)
    assert len({stage.artefact for stage in plan}) == len(plan)
    for stage in plan:
        verb, *rest = stage.arguments
        assert verb in VERBS
        recipe = next(word for word in rest if word.startswith("demo/"))
        assert find_recipe(recipe).is_file()
        assert stage.arguments[-2:] == ("--out", f"OUT/{stage.artefact}")


def test_an_input_is_made_before_it_is_read() -> None:
    made: list[str] = []
    for stage in stages(Path("OUT"), "phantoms"):
        for word in stage.arguments[1:-2]:
            _, sign, value = word.partition("=")
            for path in value.strip("[]").split(",") if sign else ():
                assert any(path.startswith(f"OUT/{folder}") for folder in made), f"{stage.name} reads {path}"
        made.append(stage.artefact)


def test_a_folder_of_tiles_that_is_missing_is_the_users_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--no-serve", "--tiles", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")]) == 2
    assert "no such folder" in capsys.readouterr().err
