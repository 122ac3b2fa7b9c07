"""Cleaning of text: captions and conversations by rules, reports by what an H&E image can show.

verdict.py     what a rule answers, and a chain of rules
rules/         one rule a file
captions.py    which rules, with their thresholds
panels.py      captions of compound figures, a part a panel
sentences.py   sentences, no character lost
sections.py    the sections of a report, by English and Dutch headings
reports.py     the sentences of a report that an H&E image can show
clean.py       the builder
"""

if __name__ != "eosin.data_builders.cleaning":
    raise ImportError("import this package as eosin.data_builders.cleaning: a bare name belongs to other software")
