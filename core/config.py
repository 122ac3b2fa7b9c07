"""Recipes: YAML files and dotted overrides become frozen dataclasses, strictly.

Every stage has one frozen dataclass, next to its consumer. An unknown key is an error that suggests the nearest name; a
value of the wrong type is an error that names the key. Recipes name things from closed sets, never import paths.

A field made with `input_path` names an artefact or a folder on this machine: it is kept out of the plan's settings (and
so out of its digest), which hold the input's digest instead.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

import yaml

from eosin.errors import ConfigError

T = TypeVar("T")


def input_path(*kinds: str, required: bool = True) -> Any:
    """A dataclass field that names an input: an artefact of one of `kinds`, or a plain folder when none is given."""
    return dataclasses.field(default="", metadata={"input": kinds, "required": required})


def input_paths(*kinds: str, required: bool = True) -> Any:
    """Like `input_path`, for a tuple of inputs; they are opened as `name[0]`, `name[1]` and so on."""
    return dataclasses.field(default=(), metadata={"input": kinds, "required": required})


def find_recipe(recipe: str) -> Path:
    """A recipe's file: `recipe` is a path, else a name in `eosin.configs`, such as `demo/clip`.

    Raises:
        ConfigError: there is neither.
    """
    path = Path(recipe)
    if path.is_file():
        return path
    root = Path(str(resources.files("eosin.configs")))
    shipped = root / f"{recipe}.yaml"
    if shipped.is_file():
        return shipped
    names = sorted(found.relative_to(root).with_suffix("").as_posix() for found in root.rglob("*.yaml"))
    raise ConfigError(f"there is no recipe {recipe!r}: no such file, and no such name in eosin.configs{_suggest(recipe, names)}")


def read_recipe(recipe: str) -> dict[str, Any]:
    """The recipe's YAML as a mapping.

    Raises:
        ConfigError: the file is not YAML, or not a mapping.
    """
    path = find_recipe(recipe)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not readable as YAML: {error}") from error
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: a recipe is a mapping of keys to values; got {type(values).__name__}")
    return values


def with_overrides(values: Mapping[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """`values` with `a.b=c` overrides laid over them; each c is read as YAML.

    Raises:
        ConfigError: an override is not of the form `key=value`, or goes through a key that holds no mapping.
    """
    merged = _copy(values)
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"an override is written key=value, such as train.epochs=3; got {override!r}")
        place = merged
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ConfigError(f"override {override!r}: {parent} is a value, not a group of keys")
        try:
            place[last] = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ConfigError(f"override {override!r}: the value is not readable as YAML: {error}") from error
    return merged


def _copy(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _copy(value) if isinstance(value, Mapping) else value for key, value in values.items()}


def load(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """A frozen dataclass from a mapping, checked field by field.

    Args:
        cls: the dataclass.
        values: what the recipe says.
        where: the dotted key of this mapping, for messages.

    Raises:
        ConfigError: an unknown key, a missing key, or a value of the wrong type or outside its choices.
    """
    hints = typing.get_type_hints(cls)
    known = {item.name: item for item in dataclasses.fields(cls) if item.init}  # type: ignore[arg-type]
    for key in values:
        if key not in known:
            raise ConfigError(f"{_dotted(where, str(key))}: unknown key{_suggest(str(key), list(known))}")
    found: dict[str, Any] = {}
    for name, item in known.items():
        if name in values:
            found[name] = _convert(hints[name], values[name], _dotted(where, name))
        elif item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING:
            raise ConfigError(f"{_dotted(where, name)}: this key has no default and is missing")
    return cls(**found)


def _dotted(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _suggest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{hint} (known: {', '.join(known)})"


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation `hint` asks; whole numbers pass for floats, nothing else is coerced."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        rest = [argument for argument in arguments if argument is not type(None)]
        if len(rest) == 1:
            return _convert(rest[0], value, where)
        return _convert_union(rest, value, where)
    if origin is Literal:
        if value not in arguments:
            raise ConfigError(f"{where}: got {value!r}; allowed: {', '.join(map(str, arguments))}")
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise ConfigError(f"{where}: a list is wanted; got {value!r}")
        return tuple(_convert(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, dict):
            raise ConfigError(f"{where}: a mapping is wanted; got {value!r}")
        inner = arguments[1] if arguments else Any
        return {str(key): _convert(inner, item, _dotted(where, str(key))) for key, item in value.items()}
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{where}: a mapping is wanted; got {value!r}")
        return load(typing.cast(type, hint), value, where)
    return _convert_plain(hint, value, where)


def _convert_union(choices: list[Any], value: Any, where: str) -> Any:
    errors = []
    for choice in choices:
        try:
            return _convert(choice, value, where)
        except ConfigError as error:
            errors.append(str(error))
    raise ConfigError(f"{where}: {value!r} fits none of the allowed forms: {'; '.join(errors)}")


def _convert_plain(hint: Any, value: Any, where: str) -> Any:
    if hint is Any:
        return value
    if hint is str and value is None:
        # `key=` on the command line, and `key:` in a file, are an empty text to whoever writes them.
        return ""
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint is float and isinstance(value, str):
        # YAML 1.1 reads 1e-3, without a dot, as a string.
        try:
            return float(value)
        except ValueError:
            raise ConfigError(f"{where}: a number is wanted; got {value!r}") from None
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    raise ConfigError(f"{where}: {hint.__name__} is wanted; got {value!r}")


def load_recipe(cls: type[T], recipe: str, overrides: Sequence[str] = ()) -> T:
    """The recipe, its overrides laid over it, as the dataclass `cls`.

    Raises:
        ConfigError: see `find_recipe`, `with_overrides` and `load`; the message begins with the recipe's name.
    """
    values = with_overrides(read_recipe(recipe), overrides)
    try:
        return load(cls, values)
    except ConfigError as error:
        raise ConfigError(f"{recipe}: {error}") from None


def settings_of(config: Any) -> dict[str, Any]:
    """All of a config but its inputs, as plain JSON values: what goes into a plan."""
    found: dict[str, Any] = {}
    for item in dataclasses.fields(config):
        if "input" not in item.metadata:
            found[item.name] = _plain(getattr(config, item.name))
    return found


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return settings_of(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def inputs_of(config: Any) -> dict[str, tuple[str, tuple[str, ...]]]:
    """A config's inputs: name -> (path, kinds allowed). Optional inputs that were left empty are left out.

    Raises:
        ConfigError: a required input is empty.
    """
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    for item in dataclasses.fields(config):
        if "input" not in item.metadata:
            continue
        paths = getattr(config, item.name)
        if isinstance(paths, tuple):
            found.update({f"{item.name}[{number}]": (path, item.metadata["input"]) for number, path in enumerate(paths)})
        elif paths:
            found[item.name] = (paths, item.metadata["input"])
        if not paths and item.metadata["required"]:
            raise ConfigError(f"{item.name}: this input is missing; add {item.name}=PATH to the command")
    return found
