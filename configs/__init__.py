"""Recipes, architectures, prompts, class names and templates: data only."""

if __name__ != "eosin.configs":
    raise ImportError("import this package as eosin.configs: the bare name 'configs' belongs to other software")
