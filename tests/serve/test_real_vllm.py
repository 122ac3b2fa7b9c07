"""The demo's merged model in real vLLM, behind our gateway: the greedy tokens of transformers in float32."""

from __future__ import annotations

import base64
import io
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import openai
import pytest
import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

from eosin.artefacts import open_artefact
from eosin.records import Conversation

pytestmark = pytest.mark.vllm

QUESTIONS = 16
NEW_TOKENS = 16
NEAR_TIE = 1e-3
MOST_NEAR_TIES = 0.02


class SmallDemo(Protocol):
    """See tests/conftest.py."""

    out: Path


@dataclass(frozen=True)
class Question:
    """An image and a question about it."""

    image: bytes
    text: str


@dataclass(frozen=True)
class Greedy:
    """Greedy tokens as text, and at each step how far the best logit lies above the second."""

    tokens: list[str]
    gaps: list[float]


@pytest.fixture(scope="module")
def client(small_demo: SmallDemo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    """`eosin serve --backend vllm` with index and embedder, until it answers."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    out, log = small_demo.out, tmp_path_factory.mktemp("serve") / "log"
    command = [sys.executable, "-m", "eosin.cli", "serve", str(out / "assistant"), "--backend", "vllm", "--port", str(port)]
    command += ["--index", str(out / "index"), "--embedder", str(out / "clip")]
    root = Path(__file__).resolve().parents[2]
    with log.open("w") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, cwd=root, env={**os.environ, "OMP_NUM_THREADS": "2"})
    try:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", timeout=300, max_retries=0)
        _wait_until_ready(client, process, log)
        yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _wait_until_ready(client: openai.OpenAI, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        if process.poll() is not None:
            pytest.fail(f"eosin serve ended:\n{log.read_text()[-3000:]}", pytrace=False)
        try:
            client.models.list()
            return
        except openai.OpenAIError:
            time.sleep(0.5)
    pytest.fail(f"vLLM was not ready in time:\n{log.read_text()[-3000:]}", pytrace=False)


@pytest.fixture(scope="module")
def questions(small_demo: SmallDemo) -> list[Question]:
    """Questions on different images, open ones and captions, so that replies are long enough to differ."""
    found: dict[bytes, Question] = {}
    for record in open_artefact(small_demo.out / "data/conversations").records(Conversation, "test"):
        if record.task in ("open", "caption", "grounding") and record.images[0] not in found:
            found[record.images[0]] = Question(record.images[0], record.messages[0].text)
    assert len(found) >= QUESTIONS
    return list(found.values())[:QUESTIONS]


def messages(question: Question, image: bytes | None = None) -> list[Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(image or question.image).decode()}"
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question.text}]}]


def ask(client: openai.OpenAI, question: Question, image: bytes | None = None, **more: Any) -> Any:
    model = client.models.list().data[0].id
    return client.chat.completions.create(
        model=model, messages=messages(question, image), max_tokens=NEW_TOKENS, temperature=0, logprobs=True, top_logprobs=2, **more
    )


def replied_tokens(reply: Any) -> list[str]:
    return [entry.token for entry in reply.choices[0].logprobs.content]


def transformers_greedy(folder: Path, questions: list[Question]) -> list[Greedy]:
    """Plain transformers code, one question at a time."""
    processor = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    for question in questions:
        turns = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question.text}]}]
        prompt = processor.apply_chat_template(turns, add_generation_prompt=True)
        image = Image.open(io.BytesIO(question.image)).convert("RGB")
        inputs = processor(images=image, text=prompt, return_tensors="pt")
        with torch.inference_mode():
            done = model.generate(**inputs, max_new_tokens=NEW_TOKENS, do_sample=False, output_logits=True, return_dict_in_generate=True)
        ids = done.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        best = [torch.topk(step[0], 2).values for step in done.logits]
        found.append(Greedy([processor.tokenizer.decode([token]) for token in ids], [float(two[0] - two[1]) for two in best]))
    return found


def test_vllm_gives_the_greedy_tokens_of_transformers(client: openai.OpenAI, small_demo: SmallDemo, questions: list[Question]) -> None:
    expected = transformers_greedy(small_demo.out / "assistant", questions)
    steps, ties, distinct = 0, 0, set()
    for question, greedy in zip(questions, expected, strict=True):
        got = replied_tokens(ask(client, question))
        # vLLM leaves the end token out of what it lists.
        wanted = greedy.tokens[: len(got)] if len(greedy.tokens) == len(got) + 1 else greedy.tokens
        steps += len(got)
        distinct.add(tuple(got))
        if got != wanted:
            first = next(number for number, pair in enumerate(zip(got, wanted, strict=False)) if pair[0] != pair[1])
            assert greedy.gaps[first] < NEAR_TIE, f"{question.text!r}: {got} is not {wanted}; gap {greedy.gaps[first]} at step {first}"
            ties += 1
    assert ties <= MOST_NEAR_TIES * steps
    assert len(distinct) > 1


def test_another_image_changes_answers(client: openai.OpenAI, questions: list[Question]) -> None:
    own = [ask(client, question) for question in questions]
    swapped = [ask(client, question, image=questions[number - 1].image) for number, question in enumerate(questions)]

    def logprobs(reply: Any) -> list[float]:
        return [entry.logprob for entry in reply.choices[0].logprobs.content]

    assert sum(logprobs(a)[0] != pytest.approx(logprobs(b)[0], abs=1e-6) for a, b in zip(own, swapped, strict=True)) >= QUESTIONS // 2
    assert any(replied_tokens(a) != replied_tokens(b) for a, b in zip(own, swapped, strict=True))


def test_a_streamed_chat_with_evidence_comes_through_the_gateway(client: openai.OpenAI, questions: list[Question]) -> None:
    model = client.models.list().data[0].id
    whole = ask(client, questions[0], extra_body={"eosin": {"evidence": {"k": 3}}})
    assert len(whole.choices[0].message.eosin["citations"]) == 3
    stream = client.chat.completions.create(
        model=model,
        messages=messages(questions[0]),
        max_tokens=NEW_TOKENS,
        temperature=0,
        stream=True,
        extra_body={"eosin": {"evidence": {"k": 3}}},
    )
    chunks = list(stream)
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert any(chunk.choices and chunk.choices[0].finish_reason for chunk in chunks)
    assert [c["id"] for c in chunks[-1].choices[0].delta.eosin["citations"]] == [
        c["id"] for c in whole.choices[0].message.eosin["citations"]
    ]
