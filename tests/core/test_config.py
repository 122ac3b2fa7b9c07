"""Recipes are read strictly, and messages name the key and the nearest known one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.config import find_recipe, input_path, input_paths, inputs_of, load, load_recipe, settings_of, with_overrides
from eosin.errors import ConfigError


@dataclass(frozen=True)
class Optimiser:
    rate: float = 1e-3
    kind: Literal["adamw", "sgd"] = "adamw"


@dataclass(frozen=True)
class Train:
    steps: int
    optimiser: Optimiser = field(default_factory=Optimiser)
    names: tuple[str, ...] = ()
    limit: int | None = None
    shares: dict[str, float] = field(default_factory=dict)
    data: str = input_path("image_text")
    extras: tuple[str, ...] = input_paths("embeddings", required=False)


def test_a_full_recipe_becomes_the_dataclass() -> None:
    values = {"steps": 3, "optimiser": {"rate": 1, "kind": "sgd"}, "names": ["a", "b"], "limit": None, "shares": {"train": 1}}
    assert load(Train, values) == Train(3, Optimiser(1.0, "sgd"), ("a", "b"), None, {"train": 1.0})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"steps": 1, "optimser": {}}, "optimser: unknown key; did you mean optimiser?"),
        ({"steps": 1, "optimiser": {"rat": 1}}, r"optimiser\.rat: unknown key; did you mean rate?"),
        ({}, "steps: this key has no default and is missing"),
        ({"steps": "many"}, "steps: int is wanted; got 'many'"),
        ({"steps": True}, "steps: int is wanted; got True"),
        ({"steps": 1, "optimiser": {"kind": "lion"}}, "allowed: adamw, sgd"),
        ({"steps": 1, "names": "a"}, "names: a list is wanted"),
        ({"steps": 1, "names": [1]}, r"names\[0\]: str is wanted"),
        ({"steps": 1, "shares": {"train": "x"}}, r"shares\.train: a number is wanted"),
        ({"steps": 1, "optimiser": 3}, "optimiser: a mapping is wanted"),
    ],
)
def test_a_value_that_does_not_fit_is_named(values: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load(Train, values)


def test_overrides_reach_inner_keys_and_leave_the_recipe_alone() -> None:
    recipe = {"steps": 1, "optimiser": {"rate": 0.1}}
    merged = with_overrides(recipe, ["optimiser.rate=1e-2", "names=[x, y]", "optimiser.kind=sgd"])
    assert load(Train, merged) == Train(1, Optimiser(0.01, "sgd"), ("x", "y"))
    assert recipe == {"steps": 1, "optimiser": {"rate": 0.1}}


@pytest.mark.parametrize("override", ["steps", "=3", "steps.inner=3", "names=[1"])
def test_an_override_of_another_form_is_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="override"):
        with_overrides({"steps": 1}, [override])


def test_inputs_stay_out_of_the_settings() -> None:
    config = Train(1, data="/somewhere/a", extras=("/b", "/c"))
    assert "data" not in settings_of(config)
    assert "extras" not in settings_of(config)
    assert inputs_of(config) == {
        "data": ("/somewhere/a", ("image_text",)),
        "extras[0]": ("/b", ("embeddings",)),
        "extras[1]": ("/c", ("embeddings",)),
    }


def test_a_missing_input_says_how_to_give_it() -> None:
    with pytest.raises(ConfigError, match="add data=PATH"):
        inputs_of(Train(1))


@given(st.builds(Optimiser, rate=st.floats(allow_nan=False, allow_infinity=False), kind=st.sampled_from(["adamw", "sgd"])))
def test_settings_load_back_to_the_same_config(optimiser: Optimiser) -> None:
    config = Train(2, optimiser, ("a",), 4, {"x": 0.5}, data="d")
    assert load(Train, {**settings_of(config), "data": "d"}) == config


def test_a_recipe_is_a_path_or_a_shipped_name(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("steps: 7\n")
    assert load_recipe(Train, str(path)).steps == 7
    with pytest.raises(ConfigError, match="no recipe 'demo/clib'"):
        find_recipe("demo/clib")


@pytest.mark.parametrize("text", ["[1, 2]", "a: [", "just words"])
def test_a_recipe_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError):
        load_recipe(Train, str(path))
