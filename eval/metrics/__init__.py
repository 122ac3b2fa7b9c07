"""Metrics: one idea a file; each turns a reply and its gold answer into numbers that add up over questions."""

if __name__ != "eosin.eval.metrics":
    raise ImportError("import this package as eosin.eval.metrics")
