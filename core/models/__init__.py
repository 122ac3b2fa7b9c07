"""Models behind two protocols, `Embedder` and `ChatModel`, loaded from plain specs."""

if __name__ != "eosin.models":
    raise ImportError("import this package as eosin.models")
