"""What the page is told; no Gradio here, so that it can be said before Gradio is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from eosin.serve.examples import Example
from eosin.serve.page.client import ApiClient


@dataclass(frozen=True)
class PageSettings:
    """What the page shows.

    Attributes:
        client: how it asks the API.
        model: the model's name.
        evidence: whether the server has an index of cases.
        examples: tiles to start from.
        folder: where uploads and examples lie while the server runs.
        max_upload_bytes: of one file.
    """

    client: ApiClient
    model: str
    evidence: bool
    examples: Sequence[Example]
    folder: Path
    max_upload_bytes: int

    @property
    def uploads(self) -> Path:
        """Gradio's own folder, which it clears of what is old."""
        return self.folder / "uploads"

    @property
    def example_folder(self) -> Path:
        """The examples, out of reach of that."""
        return self.folder / "examples"
