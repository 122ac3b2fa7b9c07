"""Sentences of captions and reports. Abbreviations, initials, decimals and "No. 3" do not end one; no character is lost."""

from __future__ import annotations

import re

# English and Latin, titles, Dutch, months.
_ABBREVIATIONS = re.compile(
    r"e\.g|i\.e|cf|vs|viz|approx|ca?|et\.al|al|figs?|refs?|resp|incl|excl|max|min|mag|orig|dept|st|inc|spp?"
    r"|drs?|prof|mrs?|ms|phd|md|m\.d|ph\.d|ir|dhr|mevr|mw"
    r"|bijv|bv|m\.b\.v|n\.a\.v|i\.v\.m|o\.a|o\.a\.m|d\.w\.z|m\.n|t\.i|t\.o\.v|t\.a\.v|m\.i|a\.d\.h\.v|z\.o\.z|jl|enz|re|li|bdz|o\.b\.v"
    r"|jan|feb|mrt|apr|jun|jul|aug|sept?|okt|oct|nov|dec"
)
_BEFORE_NUMBER = re.compile(r"no|nrs?|nos|vol|pp?|blok|potje|level|grade|stage")
_END = re.compile(r"[.!?]+[\"'’”)\]]*(?=\s)|\n")
_LAST_WORD = re.compile(r"[^\s(\[\"“]+$")
# "pT2", "p16", "ypN0" begin a sentence in small letters.
_CODE = re.compile(r"[a-z]{1,2}[A-Z0-9]")
_NEW_LINE_STARTS = re.compile(r"\s*(?:\n|[A-Z0-9À-Þ•*\-–(\[\"“<>#]|$)")


def split_sentences(text: str) -> list[str]:
    """The sentences, each with the space behind it: joined, they are the text again."""
    pieces, start = [], 0
    for match in _END.finditer(text):
        if match.start() < start or not _ends(text, match):
            continue
        end = match.end()
        while end < len(text) and text[end].isspace():
            end += 1
        if text[start:end].strip():
            pieces.append(text[start:end])
            start = end
    if start < len(text):
        pieces.append(text[start:])
    return pieces


def _ends(text: str, match: re.Match[str]) -> bool:
    """Whether a mark ends a sentence."""
    mark = match.group(0)
    if mark == "\n":
        # A line that goes on in lower case was only broken to fit a page.
        before = text[: match.start()].rstrip(" \t")
        return not before or before[-1] in ".:!?" or _NEW_LINE_STARTS.match(text, match.end()) is not None
    if mark[0] != ".":
        return True
    following = text[match.end() :].lstrip()[:4]
    found = _LAST_WORD.search(text, 0, match.start())
    word = found.group(0).casefold() if found else ""
    if _ABBREVIATIONS.fullmatch(word) or (_BEFORE_NUMBER.fullmatch(word) and following[:1].isdigit()):
        return False
    if len(word) == 1 and found is not None and found.group(0).isupper() and word != "i":
        return False
    return not following[:1].islower() or _CODE.match(following) is not None
