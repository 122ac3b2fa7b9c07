"""The chat page in Gradio: a tile or an example, a question, the streamed answer and the similar cases."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import gradio as gr

from eosin.errors import BackendError
from eosin.serve.examples import Example
from eosin.serve.page import cards
from eosin.serve.page.settings import PageSettings

Log = list[dict[str, Any]]
_SUFFIX = {b"\xff\xd8": ".jpg", b"\x89P": ".png", b"GI": ".gif", b"RI": ".webp", b"BM": ".bmp"}


def build_page(settings: PageSettings) -> gr.Blocks:
    """The page, not yet mounted."""
    examples = _write_examples(settings)
    page = gr.Blocks(title="Eosin", analytics_enabled=False, delete_cache=(600, 3600))
    with page:
        gr.HTML(cards.head(settings.model))
        with gr.Row(equal_height=False):
            with gr.Column(scale=2, min_width=300):
                tile = _tile()
                gallery = _gallery(examples) if examples else None
            with gr.Column(scale=3, min_width=380):
                hint = "Add a tile, then ask about it."
                log = gr.Chatbot(label="Conversation", height=340, placeholder=hint, buttons=["copy"], feedback_options=None, elem_id="log")
                question = gr.Textbox(label="Question", placeholder="What tissue is shown?", lines=1, max_lines=6, elem_id="question")
                with gr.Row():
                    send = gr.Button("Ask", variant="primary", min_width=90, elem_id="ask")
                    stop = gr.Button("Stop", min_width=90, elem_id="stop")
                    clear = gr.Button("Clear", min_width=90, elem_id="clear")
                evidence, k = _evidence_settings(settings.evidence)
        gr.HTML(cards.title("Similar cases"), padding=False)
        found = gr.HTML(cards.NO_CASES if settings.evidence else cards.NO_INDEX, padding=False, elem_id="cases")
        asker = _Asker(settings)
        inputs, outputs = [tile, question, evidence, k, log], [log, found, question]
        private: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        events = [gr.on([send.click, question.submit], asker.ask, inputs, outputs, concurrency_limit=8, **private)]
        stop.click(None, cancels=events, **private)
        clear.click(lambda: (None, [], asker.no_cases), None, [tile, log, found], cancels=events, **private)
        if gallery is not None:
            gallery.select(_picker(examples), [question], [tile, question], **private)
    page.queue(max_size=64)
    return page


def _tile() -> gr.Image:
    """An image whose file is handed on as it came: the API decodes it, under its limits, and says what is wrong with it."""
    tile = gr.Image(label="Tile", image_mode=None, sources=["upload", "clipboard"], buttons=[], height=300, elem_id="tile")
    # Not a subclass: Gradio writes a stub file beside the module of each one.
    vars(tile)["preprocess"] = _path_of
    return tile


def _path_of(payload: Any) -> str | None:
    return str(payload.path) if payload is not None and payload.path else None


def _evidence_settings(possible: bool) -> tuple[gr.Checkbox, gr.Slider]:
    info = "The assistant reads them before it answers."
    with gr.Row():
        wanted = gr.Checkbox(possible, label="Use similar cases", info=info, interactive=possible, elem_id="evidence")
        k = gr.Slider(1, 8, value=4, step=1, label="How many cases", interactive=possible, buttons=[], elem_id="k")
    return wanted, k


def _gallery(examples: Sequence[tuple[str, Example]]) -> gr.Gallery:
    gr.HTML(cards.title("Or pick an example"), padding=False)
    pictures = [(path, example.label) for path, example in examples]
    return gr.Gallery(
        pictures,
        label="Examples",
        show_label=False,
        columns=4,
        height="auto",
        allow_preview=False,
        object_fit="cover",
        buttons=[],
        elem_id="examples",
    )


def _picker(examples: Sequence[tuple[str, Example]]) -> Any:
    def pick(question: str, event: gr.SelectData) -> tuple[str, str]:
        path, example = examples[int(event.index)]
        return path, example.question or question

    return pick


def _write_examples(settings: PageSettings) -> list[tuple[str, Example]]:
    folder = settings.example_folder
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for number, example in enumerate(settings.examples, 1):
        path = folder / f"example-{number}{_SUFFIX.get(example.image[:2], '.tif')}"
        path.write_bytes(example.image)
        written.append((str(path), example))
    return written


class _Asker:
    """Puts a question to the API and writes what comes into the page."""

    def __init__(self, settings: PageSettings) -> None:
        self._client = settings.client
        self._max_bytes = settings.max_upload_bytes
        self.no_cases = cards.NO_CASES if settings.evidence else cards.NO_INDEX

    async def ask(self, tile: str | None, question: str, evidence: bool, k: float, log: Log) -> AsyncGenerator[tuple[Any, Any, Any], None]:
        """Yields the conversation, the cards and the question box, at each piece of the answer."""
        words = question.strip()
        if not words:
            gr.Warning("Write a question first.")
            yield log, gr.skip(), gr.skip()
            return
        asked: Log = [*log, *_asked(tile, words)]
        yield [*asked, {"role": "assistant", "content": "…"}], self.no_cases, ""
        text = ""
        try:
            image = self._read(tile)
            async with aclosing(self._client.ask(words, image, int(k) if evidence else None)) as answers:
                async for answer in answers:
                    text = answer.text
                    shown = cards.cases(answer.citations) if answer.citations else gr.skip()
                    yield [*asked, {"role": "assistant", "content": text or "…"}], shown, gr.skip()
        except BackendError as error:
            message = f"{text}\n\nNo answer: {error}" if text else f"No answer: {error}"
            yield [*asked, {"role": "assistant", "content": message}], gr.skip(), words

    def _read(self, tile: str | None) -> bytes | None:
        if tile is None:
            return None
        path = Path(tile)
        if path.stat().st_size > self._max_bytes:
            raise BackendError(f"the file is larger than {self._max_bytes / 2**20:.1f} MB, the most this server takes")
        return path.read_bytes()


def _asked(tile: str | None, words: str) -> Log:
    turns: Log = [] if tile is None else [{"role": "user", "content": {"path": tile, "alt_text": "the tile that was asked about"}}]
    return [*turns, {"role": "user", "content": words}]
