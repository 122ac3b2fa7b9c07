"""`eosin index build | search`."""

from __future__ import annotations

import argparse
from pathlib import Path

from eosin.commands import building_parser, open_inputs, read_config
from eosin.errors import ConfigError
from eosin.progress import say, show, show_table
from eosin.retrieval.config import IndexConfig

_USAGE = "usage: eosin index build RECIPE --out DIR | eosin index search INDEX --embedder CLIP (--image FILE | --text WORDS)"


def main(argv: list[str]) -> None:
    """Run `eosin index`.

    Raises:
        ConfigError: neither build nor search was asked for.
        EosinError: see `build_index` and `CaseIndex`.
    """
    verbs = {"build": _build, "search": _search}
    if argv and argv[0] in ("-h", "--help"):
        show(_USAGE)
        return
    if not argv or argv[0] not in verbs:
        raise ConfigError(f"eosin index: {argv[0] + ' is unknown' if argv else 'what to do is missing'}\n{_USAGE}")
    verbs[argv[0]](argv[1:])


def _build(argv: list[str]) -> None:
    arguments = building_parser("eosin index build", "Index embeddings for search.").parse_args(argv)
    config = read_config(IndexConfig, arguments)
    if config is None:
        return
    inputs = open_inputs(config)
    from eosin.retrieval.build import build_index

    build_index(config, inputs, arguments.out, overwrite=arguments.overwrite)


def _search(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="eosin index search", description="Show the most similar cases.", allow_abbrev=False)
    parser.add_argument("index", metavar="INDEX", type=Path)
    parser.add_argument("--embedder", metavar="CLIP", required=True, help="the model whose vectors the index holds")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--image", metavar="FILE", type=Path, help="cases that look like this image")
    query.add_argument("--text", metavar="WORDS", help="cases that fit these words")
    parser.add_argument("-k", type=int, default=5, help="how many (default: 5)")
    parser.add_argument("--exclude-group", metavar="GROUP", action="append", default=[], help="leave out the cases of this group")
    arguments = parser.parse_args(argv)

    from eosin.images import decode_image, read_image_file
    from eosin.models.specs import EmbedderSpec, load_embedder
    from eosin.retrieval.case_index import CaseIndex

    image = read_image_file(arguments.image) if arguments.image is not None else None
    if image is not None:
        # Told now, not after the model was loaded.
        decode_image(image)
    embedder = load_embedder(EmbedderSpec(arguments.embedder))
    index = CaseIndex.open(arguments.index, fingerprint=embedder.fingerprint)
    vectors = embedder.embed_texts([arguments.text]) if image is None else embedder.embed_images([image])
    found = index.search(vectors, arguments.k, exclude_groups=arguments.exclude_group)[0]
    rows = [
        [number, f"{case.score:.4f}", case.id, case.label or "", case.caption or "", case.group, case.source, case.licence]
        for number, case in enumerate(found, 1)
    ]
    show_table("", ["rank", "score", "id", "label", "caption", "group", "source", "licence"], rows)
    if len(found) < arguments.k:
        say(f"only {len(found)} cases are left to find")
