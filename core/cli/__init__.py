"""The command line: `eosin VERB`."""
