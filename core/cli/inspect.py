"""`eosin inspect DIR [--verify]`: what an artefact is, what is in it, and whether it is whole."""

from __future__ import annotations

import argparse
from pathlib import Path

from eosin.artefacts import open_artefact, verify
from eosin.errors import ArtefactError
from eosin.progress import show, show_table


def main(argv: list[str]) -> None:
    """Show an artefact.

    Raises:
        ArtefactError: it is missing, unfinished or, with `--verify`, not what its manifest says.
    """
    parser = argparse.ArgumentParser(prog="eosin inspect", description="Show an artefact.", allow_abbrev=False)
    parser.add_argument("artefact", metavar="DIR", type=Path)
    parser.add_argument("--verify", action="store_true", help="re-hash every file")
    arguments = parser.parse_args(argv)
    artefact = open_artefact(arguments.artefact)
    show((artefact.path / "README.md").read_text(encoding="utf-8"))
    files = artefact.manifest["files"]
    show_table("Files", ["file", "bytes", "sha256"], [(name, facts["size"], facts["sha256"][:16]) for name, facts in files.items()])
    if arguments.verify:
        problems = verify(artefact)
        if problems:
            raise ArtefactError(f"{artefact.path} is damaged: {'; '.join(problems)}")
        show(f"verified: {len(files)} files match the manifest")
