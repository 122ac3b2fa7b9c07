"""A vLLM server of our own behind the gateway: started, watched, started again when it crashes, and ended with us."""

from __future__ import annotations

import asyncio
import time
from collections import deque

import aiohttp

from eosin.errors import BackendError
from eosin.progress import say
from eosin.serve.backends.upstream import Endpoint, UpstreamBackend
from eosin.serve.backends.vllm_process import VllmProcess, VllmSettings, start, what_the_log_says
from eosin.serve.errors import busy

_POLL_SECONDS = 0.25
_NEWS_SECONDS = 15.0


class VllmBackend(UpstreamBackend):
    """`Backend` over a vLLM server that lives and dies with it.

    Args:
        settings: how vLLM is started.
        stall: see `UpstreamBackend`.
    """

    kind = "vllm"

    def __init__(self, settings: VllmSettings, stall: float = 300.0) -> None:
        super().__init__(Endpoint("", settings.name), stall)
        self._settings = settings
        self._process: VllmProcess | None = None
        self._watch: asyncio.Task[None] | None = None
        self._problem: str | None = "vLLM is not started"

    @property
    def problem(self) -> str | None:
        """Why it cannot answer now."""
        return self._problem

    async def start(self) -> None:
        """Start vLLM and wait until it is ready.

        Raises:
            BackendError: it died or did not become ready; with what its log says.
        """
        self._settings.log.unlink(missing_ok=True)
        self.connect()
        await self._launch()
        self._watch = asyncio.get_running_loop().create_task(self._keep_alive())

    async def stop(self) -> None:
        """End vLLM and wait until it is gone."""
        self._problem = "the server is stopping"
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait({self._watch})
        await self._end_process()
        await super().stop()

    def _ready(self) -> tuple[aiohttp.ClientSession, Endpoint]:
        if self._problem is not None:
            raise busy(self._problem, seconds=10)
        return super()._ready()

    async def _launch(self) -> None:
        """One start, until ready; what was started is ended again when it fails or is cancelled."""
        ready = False
        self._process = start(self._settings)
        self._endpoint = Endpoint(f"http://127.0.0.1:{self._process.port}/v1", self._settings.name, self._process.key)
        try:
            await self._wait_until_ready(self._process)
            ready = True
            self._problem = None
        finally:
            if not ready:
                await self._end_process()

    async def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await asyncio.to_thread(process.stop)

    async def _wait_until_ready(self, process: VllmProcess) -> None:
        began = news = time.monotonic()
        say(f"vLLM: starting (its log: {self._settings.log})")
        while not await self._is_healthy(process):
            now = time.monotonic()
            if process.exit_code is not None:
                raise BackendError(f"vLLM ended with code {process.exit_code} before it was ready; {what_the_log_says(self._settings.log)}")
            if now - began > self._settings.start_seconds:
                words = what_the_log_says(self._settings.log)
                raise BackendError(f"vLLM was not ready after {self._settings.start_seconds:g} s; {words}")
            if now - news > _NEWS_SECONDS:
                news = now
                say(f"vLLM: still loading after {now - began:.0f} s")
            await asyncio.sleep(_POLL_SECONDS)
        say(f"vLLM: ready after {time.monotonic() - began:.0f} s")

    async def _is_healthy(self, process: VllmProcess) -> bool:
        session, _ = super()._ready()
        try:
            async with session.get(f"http://127.0.0.1:{process.port}/health", timeout=aiohttp.ClientTimeout(5)) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def _keep_alive(self) -> None:
        """Start vLLM again when it crashes, a limited number of times within the window."""
        crashes: deque[float] = deque(maxlen=self._settings.restarts + 1)
        while True:
            while self._process is not None and self._process.exit_code is None:
                await asyncio.sleep(_POLL_SECONDS)
            crashes.append(time.monotonic())
            if len(crashes) > self._settings.restarts and crashes[-1] - crashes[0] < self._settings.restart_window:
                break
            await self._restart(len(crashes))
        await self._end_process()
        self._problem = f"vLLM crashed {len(crashes)} times and is not started again; see {self._settings.log}, then restart eosin serve"
        say(f"{self._problem}; {what_the_log_says(self._settings.log)}")

    async def _restart(self, number: int) -> None:
        wait = self._settings.first_wait * 2 ** (number - 1)
        self._problem = "vLLM crashed and is being started again"
        say(f"{self._problem} in {wait:g} s; {what_the_log_says(self._settings.log)}")
        await self._end_process()
        await asyncio.sleep(wait)
        try:
            await self._launch()
        except BackendError as error:
            say(f"vLLM: {error}")
