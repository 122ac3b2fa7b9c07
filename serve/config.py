"""What `eosin serve` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Dtype = Literal["auto", "float32", "bfloat16", "float16"]
DTYPES: tuple[Dtype, ...] = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ServeConfig:
    """One server.

    Attributes:
        model: folder of the model; with a URL as backend, the model's name there.
        name: the model's name in the API; by default the folder's name.
        backend: `transformers`, `vllm`, or the address of a running server.
        index: `index` artefact for evidence, with `embedder`, the `clip_model` that made its vectors.
        examples: `labelled_images` or `conversations` artefact whose tiles the page offers.
        host, port: where to listen; port 0 takes a free one.
        api_key_env: the environment variable that holds the API key; without one everybody who reaches the port may ask.
        backend_key_env: the environment variable that holds the key of the server behind.
        allow_host: further names the server goes by.
        max_body_mb: of a request, in MB.
        max_images: a request.
        max_waiting: requests under way and waiting in front of the in-process model.
        timeout: seconds without a byte from the server behind before a request is given up.
        device, dtype: of the in-process model; dtype also of vLLM.
        vllm_args: further arguments of vLLM.
        vllm_log: its log; by default in this user's state folder.
    """

    model: str
    name: str | None = None
    backend: str = "transformers"
    index: Path | None = None
    embedder: Path | None = None
    examples: Path | None = None
    host: str = "127.0.0.1"
    port: int = 7860
    api_key_env: str | None = None
    backend_key_env: str | None = None
    allow_host: tuple[str, ...] = ()
    max_body_mb: float = 25.0
    max_images: int = 8
    max_waiting: int = 32
    timeout: float = 300.0
    device: str = "auto"
    dtype: Dtype = "auto"
    vllm_args: tuple[str, ...] = ()
    vllm_log: Path | None = None

    @property
    def api_name(self) -> str:
        """The model's name in the API."""
        return self.name or Path(self.model).resolve().name or self.model

    @property
    def max_body_bytes(self) -> int:
        """Of a request."""
        return int(self.max_body_mb * 2**20)

    @property
    def max_upload_bytes(self) -> int:
        """Of a file on the page: it travels in a body as base64, which is a third longer, with room for the words."""
        return max(1, (self.max_body_bytes - 65536) * 3 // 4)
