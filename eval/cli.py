"""`eosin eval run | score | leaderboard`."""

from __future__ import annotations

import argparse
from pathlib import Path

from eosin.commands import add_engine, building_parser, open_inputs, read_config
from eosin.errors import ConfigError
from eosin.progress import show

_USAGE = """usage: eosin eval run RECIPE [KEY=VALUE ...] --out DIR
       eosin eval score RECIPE 'predictions=[DIR,DIR]' --out DIR
       eosin eval leaderboard RUN... --out DIR"""


def main(argv: list[str]) -> None:
    """Run `eosin eval`.

    Raises:
        ConfigError: neither run, score nor leaderboard was asked for.
        EosinError: see `run_evaluation`, `score_predictions` and `make_leaderboard`.
    """
    verbs = {"run": _run, "score": _score, "leaderboard": _leaderboard}
    if argv and argv[0] in ("-h", "--help"):
        show(_USAGE)
        return
    if not argv or argv[0] not in verbs:
        raise ConfigError(f"eosin eval: {argv[0] + ' is unknown' if argv else 'what to do is missing'}\n{_USAGE}")
    verbs[argv[0]](argv[1:])


def _run(argv: list[str]) -> None:
    parser = building_parser("eosin eval run", "Ask a model the questions of a benchmark.")
    add_engine(parser)
    arguments = parser.parse_args(argv)
    from eosin.eval.run import run_evaluation

    run_evaluation(arguments)


def _score(argv: list[str]) -> None:
    arguments = building_parser("eosin eval score", "Score predictions and write a report.").parse_args(argv)
    from eosin.eval.config import ScoreConfig

    config = read_config(ScoreConfig, arguments)
    if config is None:
        return
    inputs = open_inputs(config)
    from eosin.eval.score import score_predictions

    score_predictions(config, inputs, arguments.out, overwrite=arguments.overwrite)


def _leaderboard(argv: list[str]) -> None:
    parser = argparse.ArgumentParser("eosin eval leaderboard", description="Rank runs over the same questions by the same protocol.")
    parser.add_argument("runs", metavar="RUN", nargs="+", help="predictions artefacts")
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="leaderboard.md, .html, .csv and .json go there")
    parser.add_argument("--title", default="Leaderboard")
    parser.add_argument("--separate", action="store_true", help="a ranking for each protocol, where runs of several are given")
    parser.add_argument("--resamples", type=int, default=1000, help="draws of the bootstrap (default: 1000)")
    parser.add_argument("--confidence", type=float, default=0.95, help="of the intervals and tests (default: 0.95)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace another leaderboard in DIR")
    given = parser.parse_args(argv)
    from eosin.eval.config import LeaderboardConfig

    config = LeaderboardConfig(tuple(given.runs), given.title, given.resamples, given.confidence, given.seed, given.separate)
    inputs = open_inputs(config)
    from eosin.eval.leaderboard import make_leaderboard

    make_leaderboard(config, inputs, given.out, overwrite=given.overwrite)
