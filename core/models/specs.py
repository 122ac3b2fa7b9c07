"""Plain, picklable specs of models, and the loaders that turn them into models; heavy imports happen inside.

`EmbedderSpec` and `ChatSpec` can stand in a recipe: they hold no live object.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from eosin.errors import ConfigError
from eosin.models.protocols import ChatModel, PixelEmbedder


@dataclass(frozen=True)
class EmbedderSpec:
    """An embedder.

    Attributes:
        path: a `clip_model` artefact, or any folder of open_clip, transformers or timm.
        implementation: `auto` follows the folder's format, and the preset where one is given.
        device: `auto` takes a GPU where there is one.
        batch_size: images or texts a forward pass.
        preset: how a published image tower is to be read (`eosin.models.vision_presets`); empty: as its folder says.
        precision: `bf16` computes in bfloat16; weights and vectors stay float32.
    """

    path: str
    implementation: Literal["auto", "open_clip", "transformers", "timm"] = "auto"
    device: str = "auto"
    batch_size: int = 64
    preset: str = ""
    precision: Literal["fp32", "bf16"] = "fp32"


@dataclass(frozen=True)
class ChatSpec:
    """A chat model.

    Attributes:
        model: a folder (an exported `llm_model` artefact or any image-text-to-text model), or for `http` the name at the server.
        implementation: in this process by transformers, or at an OpenAI-compatible server.
        url: the server's base, such as http://127.0.0.1:8000/v1.
        api_key_env: the environment variable that holds the key; keys do not stand in recipes.
        device: `auto` takes a GPU where there is one.
        dtype: of the weights.
        batch_size: chats generated together, or requests under way at once.
        timeout: seconds for one request.
    """

    model: str
    implementation: Literal["transformers", "http"] = "transformers"
    url: str | None = None
    api_key_env: str | None = None
    device: str = "auto"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    batch_size: int = 16
    timeout: float = 300.0


def load_embedder(spec: EmbedderSpec) -> PixelEmbedder:
    """The embedder a spec names.

    Raises:
        ArtefactError, InputError: the folder is not such a model.
        ConfigError: there is no such preset.
        MissingDependency: its library is not installed.
    """
    if spec.preset:
        from eosin.models.vision import PresetEmbedder

        return PresetEmbedder(spec)
    implementation = spec.implementation
    if implementation == "auto":
        from eosin.models.formats import clip_format

        implementation = clip_format(spec.path)
    if implementation == "open_clip":
        from eosin.models.open_clip import OpenClipEmbedder

        return OpenClipEmbedder(spec)
    if implementation == "timm":
        from eosin.models.vision import TimmEmbedder

        return TimmEmbedder(spec)
    from eosin.models.transformers_clip import TransformersEmbedder

    return TransformersEmbedder(spec)


def load_chat(spec: ChatSpec) -> ChatModel:
    """The chat model a spec names.

    Raises:
        ConfigError: an http spec without url.
        ArtefactError, InputError: the folder is not such a model.
        MissingDependency: its library is not installed.
    """
    if spec.implementation == "http":
        if not spec.url:
            raise ConfigError("a chat model with implementation http needs url, such as http://127.0.0.1:8000/v1")
        from eosin.models.http_chat import HttpChat

        return HttpChat(spec)
    from eosin.models.transformers_chat import TransformersChat

    return TransformersChat(spec)
