"""Stands between Eosin and a server it started, so that nothing of that server outlives Eosin, not even when Eosin is killed.

    python -I guard.py SCRATCH -- COMMAND...      with a pipe from the parent as standard input

The command runs in a session of its own. When the pipe closes, because the parent closed it or died in whatever way, the command gets
SIGTERM, and after a grace period everything in its session SIGKILL. A parent-death signal alone would not do: it reaches the server's
main process, and its workers, which hold the memory, live on. SCRATCH, the command's temporary folder, is removed at the end.

Run as a file, so that it needs nothing but the standard library.
"""

from __future__ import annotations

import ctypes
import os
import select
import shutil
import signal
import subprocess
import sys
import time

_PR_SET_PDEATHSIG = 1
_GRACE_SECONDS = 15.0
_POLL_SECONDS = 0.2


def _end_with_guard() -> None:
    """In the child: SIGTERM should the guard itself be killed."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _parent_lives() -> bool:
    """Waits a moment; the pipe becomes readable only when it is closed, for nothing is ever written into it."""
    readable, _, _ = select.select([sys.stdin.fileno()], [], [], _POLL_SECONDS)
    return not readable or bool(os.read(sys.stdin.fileno(), 4096))


def _kill_session(leader: int, sign: int) -> None:
    try:
        os.killpg(leader, sign)
    except ProcessLookupError:
        return


def main(arguments: list[str]) -> int:
    """Run the command while the parent lives; its exit code."""
    scratch, command = arguments[0], arguments[2:]
    # The guard has one thread, so that code between fork and exec is safe here.
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, preexec_fn=_end_with_guard)
    signal.signal(signal.SIGTERM, lambda *_: _kill_session(child.pid, signal.SIGTERM))
    try:
        while child.poll() is None and _parent_lives():
            pass
        if child.poll() is None:
            child.terminate()
        deadline = time.monotonic() + _GRACE_SECONDS
        while child.poll() is None and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    finally:
        _kill_session(child.pid, signal.SIGKILL)
        code = child.wait()
        shutil.rmtree(scratch, ignore_errors=True)
    return code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
