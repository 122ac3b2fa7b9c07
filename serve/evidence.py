"""Similar cases for a question: its last image, or its text where it has none, searched in an index of cases."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from eosin.errors import Unsupported
from eosin.evidence import Citation
from eosin.models.protocols import Chat, Embedder
from eosin.serve.errors import ApiError

if TYPE_CHECKING:
    from eosin.numerics import Floats

NO_INDEX = "this server has no index of cases, so it gives no evidence; start it with --index DIR --embedder DIR (see eosin serve --help)"


class Searchable(Protocol):
    """What is needed of `eosin.retrieval.case_index.CaseIndex`."""

    def search(self, vectors: Floats, k: int) -> Sequence[Sequence[Citation]]: ...


class EvidenceSource:
    """An embedder and the index it searches; may be used from several threads, one at a time gets through."""

    def __init__(self, embedder: Embedder, index: Searchable) -> None:
        self._embedder = embedder
        self._index = index
        self._lock = threading.Lock()

    @classmethod
    def load(cls, index: Path, embedder: Path, device: str) -> EvidenceSource:
        """Load both.

        Raises:
            ArtefactError: no index, or one of another embedder.
            EosinError: see `eosin.models.specs.load_embedder`.
        """
        from eosin.models.specs import EmbedderSpec, load_embedder
        from eosin.retrieval.case_index import CaseIndex

        model = load_embedder(EmbedderSpec(str(embedder), device=device))
        return cls(model, CaseIndex.open(index, fingerprint=model.fingerprint))

    def find(self, chat: Chat, k: int) -> list[Citation]:
        """The k cases nearest to the chat's last image, or to its last message where it has no image.

        Raises:
            ApiError: 400, there is no image and the embedder takes no text.
            ImageError: the image cannot be decoded.
        """
        with self._lock:
            try:
                vectors = (
                    self._embedder.embed_images(chat.images[-1:]) if chat.images else self._embedder.embed_texts([chat.messages[-1].text])
                )
            except Unsupported as error:
                kind = "image" if chat.images else "text"
                raise ApiError(
                    400, f"evidence cannot be searched by {kind}: {error}", code="unsupported_evidence", param="eosin.evidence"
                ) from error
            return list(self._index.search(vectors, k)[0])
