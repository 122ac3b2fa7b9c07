"""Ways to ask: zero-shot classification, questions to a chat model, and the colour baseline."""

if __name__ != "eosin.eval.tasks":
    raise ImportError("import this package as eosin.eval.tasks")
