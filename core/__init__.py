"""Eosin: one toolchain for vision-language assistants in pathology."""

from __future__ import annotations

__version__ = "0.1.0"

if __name__ != "eosin":
    raise ImportError("import this package as eosin, not by its folder's name")
