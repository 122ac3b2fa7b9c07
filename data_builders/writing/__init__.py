"""Text written by a model behind any OpenAI-compatible endpoint: captions, instructions, and the choice of tiles to write about.

prompts.py         prompts as files, with a version and a hash
replies.py         a reply is one JSON object that fits its schema, or a named refusal
leaks.py           a question must not hold its answer, nor speak of the text it was made from
journal.py         every answer that was paid for, kept by content
endpoint.py        the endpoint, how it is asked, and what it may cost
writer.py          one request: cache, budget, retries, repair
settings.py        what every builder that writes shares
crew.py            many requests at once, in order, stopped cleanly
materials.py       what there is to write about: images with captions or labels, slides with reports
edits.py           edit operations, applied by code
tokens.py          how long a caption is for CLIP
captions.py        `write_captions`: describe, revise, summarise, verify
forms.py, tools.py the kinds of conversation
instructions.py    `write_instructions`: conversations of every kind
choosing.py        prompt retrieval, clustering, near duplicates: pure array functions
slide_scores.py    a slide's tiles, scored a block of vectors at a time
tiles.py           `choose_tiles`: the tiles of a slide that are worth a description
"""

if __name__ != "eosin.data_builders.writing":
    raise ImportError("import this package as eosin.data_builders.writing: a bare name belongs to other software")
