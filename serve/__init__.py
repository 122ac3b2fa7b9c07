"""The OpenAI-compatible gateway, its backends and the chat page."""

if __name__ != "eosin.serve":
    raise ImportError("import this package as eosin.serve: the bare name 'serve' belongs to other software")
