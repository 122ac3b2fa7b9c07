"""What must not be torn apart: a source's patients or slides. Sources number them on their own, so that a number alone is no patient."""

from __future__ import annotations


def group_key(source: str, group: str) -> str:
    """A group told apart from those of other sources that have its name."""
    return f"{source}\n{group}"
