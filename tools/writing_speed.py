"""What the writer itself takes for a request: requests a second with a server that answers at once.

python tools/writing_speed.py [--requests 2000] [--size 224] [--concurrency 1 8 32]

The server is a process of its own on this machine, and answers the same words to everything. The figures are of whole requests: the
picture made plain, the request sent, the answer checked and on the disk; then of the same requests again, from the journal. The last line
is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from eosin.data_builders.writing.crew import work_through
from eosin.data_builders.writing.endpoint import WriterConfig
from eosin.data_builders.writing.journal import Journal
from eosin.data_builders.writing.prompts import load_prompt
from eosin.data_builders.writing.writer import Writer
from eosin.images import encode_png

ANSWER = json.dumps({"question": "Which lesion is seen here?", "answer": "adenocarcinoma"})
REPLY = {
    "choices": [{"index": 0, "message": {"role": "assistant", "content": ANSWER}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 300, "completion_tokens": 20},
}


async def converse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request of a connection."""
    data = json.dumps(REPLY).encode()
    reply = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(data), data)
    while head := (await reader.readline()):
        while line := (await reader.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                head = line
        await reader.readexactly(int(head.split(b":")[1]))
        writer.write(reply)
        await writer.drain()
    writer.close()


def serve(pipe: Connection) -> None:
    """Serve on a free port until the process is ended; tells the port."""

    async def run() -> None:
        server = await asyncio.start_server(converse, "127.0.0.1", 0, limit=2**20)
        pipe.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def rate(writer: Writer, count: int, pictures: list[bytes]) -> float:
    """Requests a second, each another question."""
    prompt = load_prompt("open")

    def ask(number: int) -> int:
        sent = (pictures[number % len(pictures)],) if pictures else ()
        return writer.write(prompt, {"facts": f"Caption: case {number}"}, sent).answers

    start = time.perf_counter()
    work_through(writer, range(count), ask, str)
    return count / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=2000)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--concurrency", type=int, nargs="+", default=[1, 8, 32])
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    pictures = [encode_png(rng.integers(0, 255, (options.size, options.size, 3), dtype=np.uint8)) for _ in range(16)]
    here, there = multiprocessing.Pipe()
    server = multiprocessing.get_context("spawn").Process(target=serve, args=(there,), daemon=True)
    server.start()
    url, found = f"http://127.0.0.1:{here.recv()}/v1", {}
    for concurrency in options.concurrency:
        for name, shown in (("words", []), ("picture", pictures)):
            with tempfile.TemporaryDirectory() as folder:
                config = WriterConfig(model="instant", url=url, concurrency=concurrency)
                writer = Writer(config, Journal(Path(folder) / "answers.sqlite"))
                for step in ("sent", "kept"):
                    found[f"{name}_{concurrency}_{step}"] = round(rate(writer, options.requests, shown))
    server.terminate()
    print(json.dumps({"requests": options.requests, "size": options.size, "a_second": found}))


if __name__ == "__main__":
    main()
