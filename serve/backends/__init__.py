"""What answers behind the gateway: a model in this process, or a server spoken to over HTTP."""

if __name__ != "eosin.serve.backends":
    raise ImportError("import this package as eosin.serve.backends")
