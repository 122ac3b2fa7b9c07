"""What stands in figure captions and says nothing of the picture: its number, scale bars, "see text", copyright."""

from __future__ import annotations

import re
from dataclasses import dataclass

from eosin.data_builders.cleaning.sentences import split_sentences
from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict, has_words, tidy

_NUMBER = re.compile(
    r"^\s*(?:supplement(?:ary|al)\s+|extended\s+data\s+|online\s+)?(?:fig(?:ure)?s?|plate|photo|image|picture|afbeelding|figuur)\b\.?\s*"
    r"[a-z]{0,2}\d+(?:[.\-]\d+)*(?:\s?[a-z]\b(?:\s?[-–,&]\s?[a-z]\b)*)?\s*(?:[.:)|–—-]+\s*|\s+(?=[A-Z])|$)",
    re.IGNORECASE,
)
_UNIT = r"(?:[µμu]m|mm|nm|cm|microns?|micromet(?:er|re)s?)\b"
_SCALE_BAR = re.compile(
    rf"(?:\b(?:the\s+)?(?:scale|calibration|magnification)[\s-]*bars?\b|\bbars?\b(?=\s*[:=,]|\s+(?:represents?|indicates?|is|are)\b))"
    rf"(?:\s+(?:in\s+[^.;,=:]{{0,40}}|for\s+[^.;,=:]{{0,40}}))?\s*(?:[:=,]|represents?|indicates?|corresponds?\s+to|is|are|of)?\s*"
    rf"(?:\d[\d.,]*\s?{_UNIT}(?:\s*(?:\([^)]{{0,40}}\)|,|and|;)?\s*(?=\d[\d.,]*\s?{_UNIT}))?\s*)*",
    re.IGNORECASE,
)
_ASIDES = re.compile(
    r"[(\[]\s*(?:please\s+)?see\s+(?:also\s+)?(?:the\s+)?(?:main\s+)?(?:text|legend|methods|table|figure|fig\.?)[^)\]]{0,60}[)\]]"
    r"|[(\[]\s*(?:for\s+)?colou?r\s+(?:version|figure|image)[^)\]]{0,120}[)\]]"
    r"|\[\s*\d+(?:\s*[,–-]\s*\d+)*\s*\]",
    re.IGNORECASE,
)
_SENTENCE = re.compile(
    r"\bsee\s+(?:the\s+)?(?:main\s+)?(?:text|legend|methods)\b(?:\s+for\b)?|\bas\s+described\s+in\s+(?:the\s+)?(?:text|methods)\b"
    r"|\bcolou?r\s+(?:version|figure|image)s?\b.{0,60}\b(?:online|available|viewed)\b|\binterpretation\s+of\s+the\s+references\s+to\s+colou?r\b"
    r"|©|\(c\)\s*(?:19|20)\d\d|\bcopyright\b|\ball\s+rights\s+reserved\b|\b(?:reproduced|reprinted|adapted|modified|used)\b.{0,40}\b(?:from|with)\b"
    r"(?=.{0,80}(?:permission|et\s+al|\[|\d{4}|licen[cs]e))|\bwith\s+(?:kind\s+)?permission\b|\b(?:image\s+)?courtesy\s+of\b|\bcreative\s+commons\b"
    r"|\bclick\s+(?:here|to)\b|\bthis\s+figure\s+(?:is|was)\s+(?:created|made)\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class BoilerplateRule:
    """`boilerplate` where nothing else is left; otherwise it is taken out and counted."""

    def __call__(self, text: str) -> Verdict:
        """The text without boilerplate, or a drop."""
        changes: dict[str, int] = {}
        for name, pattern in (("figure_number", _NUMBER), ("scale_bar", _SCALE_BAR), ("aside", _ASIDES)):
            text, count = pattern.subn("" if name == "figure_number" else " ", text)
            if count:
                changes[name] = count
        sentences = split_sentences(text)
        left = [sentence for sentence in sentences if not _SENTENCE.search(sentence)]
        if len(left) < len(sentences):
            changes["notice"] = len(sentences) - len(left)
        if not changes:
            return Kept(text)
        text = tidy("".join(left))
        return Kept(text, changes) if has_words(text) else Dropped("boilerplate", f"nothing is left without {', '.join(sorted(changes))}")
