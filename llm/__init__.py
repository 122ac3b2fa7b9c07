"""Vision-language assistants: building, training in two stages, chat, export."""

if __name__ != "eosin.llm":
    raise ImportError("import this package as eosin.llm: the bare name 'llm' belongs to other software")
