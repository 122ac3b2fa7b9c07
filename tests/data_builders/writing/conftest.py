"""An OpenAI-compatible server on a real port that answers by what the request's schema asks for, and misbehaves on demand."""

from __future__ import annotations

import hashlib
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import Artefact, ArtefactWriter, Plan, Task
from eosin.artefacts.writer import write_shard
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.journal import Journal
from eosin.data_builders.writing.prompts import PromptFile
from eosin.data_builders.writing.writer import Writer, Written
from eosin.images import encode_png
from eosin.records import Box, ImageText, LabelledImage, Record, Slide

MARK = "It must fit this JSON schema:\n"
ARGUMENTS: dict[str, dict[str, Any]] = {
    "detect_objects": {"label": "mitosis"},
    "segment_nuclei": {},
    "segment_tissue": {"tissues": ["stroma"]},
    "classify_tissue": {"classes": ["colon", "lung"]},
    "count_mitoses": {},
    "score_stain": {"marker": "Ki-67", "compartment": "nucleus"},
    "measure_area": {"structure": "stroma"},
    "find_similar": {"count": 4},
    "search_literature": {"query": "cribriform glands"},
}
Trouble = Callable[["Handler", dict[str, Any]], bool]
PROMPT = PromptFile(
    1,
    "Caption {{name}}.",
    {
        "type": "object",
        "properties": {"caption": {"type": "string", "minLength": 1}},
        "required": ["caption"],
        "additionalProperties": False,
    },
)


def texts_of(body: dict[str, Any], role: str) -> list[str]:
    """The text of each message of a role."""
    found = []
    for message in body["messages"]:
        if message["role"] == role:
            content = message["content"]
            found.append(content if isinstance(content, str) else "\n".join(part.get("text", "") for part in content))
    return found


def asked(body: dict[str, Any]) -> str:
    """The first thing the schema requires: which prompt this is."""
    return str(json.loads(texts_of(body, "user")[0].rpartition(MARK)[2])["required"][0])


def digest_of(body: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def good_answer(body: dict[str, Any]) -> dict[str, Any]:
    """An answer that every check takes, and that differs from request to request."""
    kind, mark = asked(body), digest_of(body)[:6]
    if kind == "yes_question":
        return {"yes_question": f"Is gland {mark} seen here?", "no_question": f"Is bone {mark} seen here?"}
    if kind == "turns":
        turn = {"question": f"What does region {mark} show?", "answer": "crowded nuclei"}
        return {"turns": [turn, {"question": f"And what follows for {mark}?", "answer": "an adenocarcinoma"}]}
    text = texts_of(body, "user")[0]
    answers: dict[str, dict[str, Any]] = {
        "description": {"description": f"Crowded glands with dark nuclei {mark}. The stroma is loose. There is bone."},
        "operations": {"operations": [{"op": "delete", "find": "There is bone."}, {"op": "replace", "find": "absent words", "text": "x"}]},
        "caption": {"caption": f"Crowded glands {mark} with dark nuclei in loose stroma."},
        "label": {"label": "colon adenocarcinoma"},
        "steps": {"question": f"Which tumour is {mark}?", "steps": ["Glands are crowded.", "Nuclei are dark."], "answer": "adenocarcinoma"},
        "request": {
            "request": f"Please report the picture {mark}.",
            "report": "Crowded glands with dark nuclei. Conclusion: adenocarcinoma.",
        },
        "question": {"question": f"Which lesion is seen in {mark}?", "answer": "adenocarcinoma"},
    }
    if "distractors" in text:
        return {**answers["question"], "distractors": ["tubular adenoma", f"lymphoma {mark}", "normal mucosa"]}
    if '"steps"' in text:
        return answers["steps"]
    if '"arguments"' in text:
        name = json.loads(next(line for line in text.splitlines() if line.startswith('{"name"')))["name"]
        return {"request": f"Please look into {mark}.", "arguments": ARGUMENTS[name]}
    if "with boxes" in text:
        return {"question": "Please mark every mitosis in the picture."}
    return answers[kind]


class Handler(BaseHTTPRequestHandler):
    """Counts what comes, then lets the first trouble that wants the request have it, else answers."""

    protocol_version = "HTTP/1.1"
    server: StandIn

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        server = self.server
        with server.lock:
            server.bodies.append(body)
            server.keys.append(self.headers.get("authorization"))
            server.under_way += 1
            server.most = max(server.most, server.under_way)
        try:
            if not any(trouble(self, body) for trouble in server.troubles):
                time.sleep(server.pause)
                self.complete(json.dumps(server.answer(body)), body)
        except (BrokenPipeError, ConnectionResetError):
            pass
        finally:
            with server.lock:
                server.under_way -= 1

    def reply(self, status: int, data: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def complete(self, text: str, body: dict[str, Any], finish: str | None = "stop", count: bool = True) -> None:
        """A whole reply, as a stream where one was asked for."""
        usage = {"prompt_tokens": 100, "completion_tokens": 20} if count else None
        with self.server.lock:
            self.server.completed += 1
        if not body.get("stream"):
            choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
            self.reply(200, json.dumps({"choices": [choice], "usage": usage}).encode(), content_type="application/json")
            return
        self.events(
            {"choices": [{"index": 0, "delta": {"content": text[:10]}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {"content": text[10:]}, "finish_reason": finish}]},
            {"choices": [], "usage": usage},
        )

    def events(self, *events: dict[str, Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.send_header("connection", "close")
        self.end_headers()
        for event in events:
            self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class StandIn(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str | None] = []
        self.troubles: list[Trouble] = []
        self.answer: Callable[[dict[str, Any]], dict[str, Any]] = good_answer
        self.pause = 0.0
        self.under_way = self.most = self.completed = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    @property
    def counts(self) -> Counter[str]:
        """How often each request came."""
        with self.lock:
            return Counter(map(digest_of, self.bodies))

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that was killed is no news."""


@pytest.fixture
def server() -> Iterator[StandIn]:
    server = StandIn()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def kit() -> Any:
    """This module's helpers: test files cannot import a conftest."""
    return sys.modules[__name__]


def write_artefact(folder: Path, kind: str, records: list[Record], **facts: Any) -> Artefact:
    """A finished artefact of these records, a shard a split."""
    splits = sorted({record.split for record in records})
    tasks = tuple(Task("own", 0, sum(record.split == split for record in records), split) for split in splits)
    with ArtefactWriter(folder, Plan(kind, "build", {}, (), tasks, facts)) as writer:
        for name, task in writer.pending():
            write_shard(folder, kind, name, task.split, [record for record in records if record.split == task.split])
        return writer.finish()


def picture(number: int) -> bytes:
    return encode_png(np.random.default_rng(number).integers(0, 255, (8, 8, 3), dtype=np.uint8))


def common(number: int, split: str = "train") -> dict[str, Any]:
    return {"id": f"toy/{number:03d}", "source": "toy", "licence": "CC0-1.0", "group": f"case-{number // 2}", "split": split, "mpp": 0.5}


@pytest.fixture
def labelled(tmp_path: Path) -> Callable[[int], Path]:
    """A `labelled_images` artefact of so many pictures, two classes in turn; every third has two mitoses boxed."""

    def make(count: int) -> Path:
        boxes = (Box(0.1, 0.2, 0.3, 0.4, "mitosis"), Box(0.5, 0.5, 0.75, 1.0, "mitosis"))
        records: list[Record] = [
            LabelledImage(
                **common(number, "test" if number % 7 == 6 else "train"),
                image=picture(number),
                label=("colon_aca", "colon_n")[number % 2],
                boxes=boxes if number % 3 == 0 else (),
            )
            for number in range(count)
        ]
        classes = ["colon_aca", "colon_n", "lung_aca", "lung_n", "lung_scc"]
        return write_artefact(tmp_path / "labelled", "labelled_images", records, classes=classes).path

    return make


@pytest.fixture
def captioned(tmp_path: Path) -> Callable[[int], Path]:
    """An `image_text` artefact of so many pictures."""

    def make(count: int) -> Path:
        records: list[Record] = [
            ImageText(**common(number), image=picture(number), captions=(f"glands of case {number}",), organ="colon", stain="H&E")
            for number in range(count)
        ]
        return write_artefact(tmp_path / "captioned", "image_text", records).path

    return make


@pytest.fixture
def slides(tmp_path: Path) -> Path:
    """A `slides` artefact of two slides with reports and one without."""
    records: list[Record] = [
        Slide(**common(number), slide=f"S{number}", path=f"S{number}.svs", width=9, height=9, report="Crowded glands." if number else None)
        for number in range(3)
    ]
    return write_artefact(tmp_path / "slides-in", "slides", records).path


@pytest.fixture
def recipe(server: StandIn) -> Callable[..., dict[str, Any]]:
    """A recipe with its writer at the stand-in: `recipe("write_captions", images=..., writer={...})`."""

    def make(builder: str, writer: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
        defaults = {"model": "stand-in", "url": server.url, "concurrency": 4, "timeout": 5.0, "tries": 3, "first_wait": 0.01}
        return {"builder": builder, "writer": {**defaults, **(writer or {})}, **more}

    return make


class Captioner(Writer):
    """A writer of captions for names."""

    def caption(self, name: str, check: Callable[[dict[str, Any]], None] | None = None) -> Written:
        return self.write(PROMPT, {"name": name}, check=check)


@pytest.fixture
def writer(server: Any, tmp_path: Path) -> Callable[..., Captioner]:
    """A writer at the stand-in, each with the same journal: `writer(tries=2)`."""

    def make(**changes: Any) -> Captioner:
        config = WriterConfig(
            **{"model": "m", "url": server.url, "timeout": 5.0, "tries": 3, "first_wait": 0.01, "concurrency": 4, **changes}
        )
        return Captioner(config, Journal(tmp_path / "answers.sqlite"))

    return make
