"""Every source: a full card, shown and checked by the command."""

import re
from pathlib import Path

import pytest

from eosin.config import load
from eosin.data_builders.cli import main
from eosin.data_builders.sources.catalogue import SOURCES
from eosin.errors import ConfigError, InputError


@pytest.mark.parametrize("name", SOURCES)
def test_a_card_tells_all_a_user_needs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    source = SOURCES[name]
    card = source.card
    assert card.name == name == name.lower()
    assert all((card.title, card.paper, card.homepage, card.licence, card.splits, card.groups, card.files))
    assert all(expected.holds and expected.origin for expected in card.files)
    assert not card.homepage.startswith("http:")
    assert re.match(r"@\w+\{", card.citation) or card.paper.startswith("none")
    load(source.Options, {})
    main(["--card", name])
    shown = capsys.readouterr()
    assert card.title in shown.out + shown.err
    assert f"source={name}" in shown.out + shown.err


def test_the_list_names_every_source(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--list"])
    shown = capsys.readouterr()
    lines = (shown.out + shown.err).splitlines()
    assert {line.split()[0] for line in lines if line.startswith("  ")} == set(SOURCES)


@pytest.mark.parametrize("name", SOURCES)
def test_a_folder_that_holds_something_else_is_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(InputError) as error:
        main(["data/source", f"source={name}", f"folder={tmp_path}", "--out", str(tmp_path / "out")])
    assert str(tmp_path) in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_name_that_is_no_source_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean lc25000"):
        main(["--card", "lc2500"])


def test_check_counts_the_items_and_writes_nothing(tmp_path: Path, jpeg, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(jpeg(1))
    (folder / "t.csv").write_text("image,caption\na.jpg,Glands\n")
    main(["data/source", "source=csv", f"folder={folder}", "--check"])
    assert "1 items" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
