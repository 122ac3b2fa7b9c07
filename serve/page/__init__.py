"""The chat page: a client of the HTTP API and nothing more."""

if __name__ != "eosin.serve.page":
    raise ImportError("import this package as eosin.serve.page")
