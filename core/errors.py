"""Every exception Eosin raises on purpose, in one tree.

    EosinError                    exit code 1: a fault of ours
    ├── UserError                 exit code 2: something the user can mend
    │   ├── ConfigError           a recipe or an override that does not fit the stage's config
    │   ├── InputError            a file, folder or record that is missing or not what it should be
    │   │   └── ImageError        an image that is refused; carries the reason that goes into the rejects
    │   ├── ArtefactError         an artefact of the wrong kind, of another plan, or damaged
    │   │   └── LockedError       another process is writing the artefact
    │   ├── MissingDependency     an optional package is absent; names the extra that brings it
    │   ├── Unsupported           the model or backend cannot do what was asked
    │   └── BudgetSpent           a run reached the limit that its recipe sets; it resumes with a larger one
    └── BackendError              a model server failed, timed out or broke its protocol
        └── Overloaded            it asked for patience (429, 503 with Retry-After) to the last: nothing is wrong with the request

A message says what came, what is allowed, and what to do. `Ctrl-C` ends with exit code 130.
"""

from __future__ import annotations

import errno


class EosinError(Exception):
    """Base of every error that Eosin raises on purpose."""

    exit_code = 1


class UserError(EosinError):
    """The user can mend it: wrong input, wrong config, missing package."""

    exit_code = 2


class ConfigError(UserError):
    """A recipe or a command-line override does not fit the stage's config."""


class InputError(UserError):
    """A file, folder or record is missing or is not what it should be."""


class ImageError(InputError):
    """An image is refused.

    Args:
        reason: the short, stable name that is counted in the rejects, such as `truncated`.
        message: what is wrong with this image, for people.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(f"{message} [{reason}]")
        self.reason = reason
        self.message = message

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str]]:
        return type(self), (self.reason, self.message)


class ArtefactError(UserError):
    """An artefact is of the wrong kind, belongs to another plan, or is damaged."""


class LockedError(ArtefactError):
    """Another process is writing the artefact."""


class MissingDependency(UserError):
    """An optional package is absent.

    Args:
        package: the package that could not be imported.
        extra: the extra of `eosin` that brings it; empty where none does.
    """

    def __init__(self, package: str, extra: str) -> None:
        wanted = f'"eosin[{extra}]"' if extra else package
        super().__init__(f"{package} is not installed; run: pip install {wanted}")
        self.package = package
        self.extra = extra

    def __reduce__(self) -> tuple[type[MissingDependency], tuple[str, str]]:
        return type(self), (self.package, self.extra)


class Unsupported(UserError):
    """The model or backend cannot do what was asked."""


class BudgetSpent(UserError):
    """A run reached the limit of requests, tokens or money that its recipe sets; with a larger one it resumes."""


class BackendError(EosinError):
    """A model server failed, timed out or broke its protocol."""


class Overloaded(BackendError):
    """A model server asked for patience to the last try (HTTP 429, or 503 with Retry-After): nothing is wrong with the request."""


def disk_is_full(error: BaseException) -> bool:
    """Whether an error, or one behind it, is that of a full disk.

    Libraries in C++ and Rust (FAISS, safetensors, torch) raise errors of their own, with the system's words in them or its error behind.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        if "No space left on device" in str(seen):
            return True
        seen = seen.__cause__ or seen.__context__
    return False
