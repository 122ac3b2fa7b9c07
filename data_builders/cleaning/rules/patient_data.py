"""What may name a patient, a doctor or a case: rejected, or masked and counted.

Patterns only: a name without a title or a key word before it is not found; that takes a model of names. Full dates count, as the Safe
Harbor method of the HIPAA Privacy Rule has it (45 CFR 164.514(b)(2)); a year alone does not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from eosin.data_builders.cleaning.verdict import Dropped, Kept, Verdict
from eosin.errors import ConfigError

_MONTH = (
    r"(?:jan(?:uary|uari)?|feb(?:ruary|ruari)?|mar(?:ch)?|maart|mrt|apr(?:il)?|may|mei|june?|juni|july?|juli|aug(?:ust|ustus)?"
    r"|sept?(?:ember)?|oct(?:ober)?|okt(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DATE = (
    rf"(?:\d{{1,2}}[/.\- ]\d{{1,2}}[/.\- ](?:19|20)\d\d|\d{{1,2}}[/.-]\d{{1,2}}[/.-]\d\d(?!\d)|(?:19|20)\d\d[/.-]\d{{1,2}}[/.-]\d{{1,2}}"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[\s-]{_MONTH},?[\s-]+(?:19|20)\d\d|{_MONTH}\s\d{{1,2}}(?:st|nd|rd|th)?,?\s(?:19|20)\d\d)(?!\d)"
)
_PARTICLE = r"(?:[Vv]an|[Dd]e[rn]?|[Tt]en|[Tt]er|[Vv]on|[Dd]i|[Dd]a|[Ll]a|[Ll]e|[Ee]l|[Aa]l)"
_NAME = (
    rf"(?:[A-Z]\.[ \t]?)*(?:{_PARTICLE}[ \t]){{0,3}}[A-Z][\w'’-]+"
    rf"(?:[ \t](?:[A-Z]\.[ \t]?){{0,2}}(?:{_PARTICLE}[ \t]){{0,3}}[A-Z][\w'’-]+){{0,2}}"
)
# "DOE, JANE Q." and "Jansen, P.", as forms have it: the family name first.
_FORM_NAME = rf"{_NAME}(?:,[ \t]*(?:[A-Z]\.[ \t]?)*(?:[A-Z][\w'’-]+(?:[ \t][A-Z]\b\.?)?|(?<=\.)))?"
# "MR" alone is magnetic resonance.
_TITLE = r"(?:(?:Drs?|DR|Prof|PROF|Mr|Mrs|MRS|Ms|Miss|Dhr|Mevr|Mw|Ir|[Dd]e [Hh]eer|[Mm]evrouw|[Mm]eneer)\b\.?|MR\.|MS\.)"
_NUMBER = r"(?:no\.?|nr\.?|number|nummer|id|#)"

# In the order in which they are masked: what is longer and surer first. `gone`, where there is one, is what is masked of a match.
PATTERNS: dict[str, re.Pattern[str]] = {
    "email": re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"),
    "date_of_birth": re.compile(
        r"\b(?:d\.?o\.?b\.?|date\s+of\s+birth|born(?:\s+on)?|geboortedatum|geb(?:oren)?\.?(?:\s+op)?)\s*[:=]?\s*"
        rf"(?P<gone>{_DATE})",
        re.IGNORECASE,
    ),
    "record_number": re.compile(
        rf"\b(?:m\.?r\.?n\.?|medical\s+record(?:\s+{_NUMBER})?|(?:patient|hospital|pati[eë]nt|ziekenhuis)[\s-]*{_NUMBER}|bsn|ssn|nhs\s+{_NUMBER})"
        r"\s*[:=#]?\s*(?P<gone>[A-Z]{0,3}[\d][\d./-]{3,}\d)",
        re.IGNORECASE,
    ),
    "case_number": re.compile(
        rf"\b(?i:(?:accession|case|specimen|lab|report|slide|biopsy|[tp]-)[\s-]*{_NUMBER}|casus|rapport{_NUMBER})\s*[:=#]?\s*"
        r"(?P<gone>[A-Z]{0,4}[\s-]?\d[\w./-]+\w)"
        r"|(?P<code>(?<![\w-])[A-Z]{1,3}\s?\d{2}[-–/]\d{3,}(?![\w-]))"
    ),
    "phone": re.compile(
        r"(?:\b(?:tel(?:ephone|efoon)?|phone|fax|mob(?:ile|iel)?|pager|sein)\b\.?\s*[:=]?\s*(?P<gone>\+?\(?\d[\d\s().-]{5,}\d))"
        r"|(?P<plain>(?<![\w.,/-])(?:\+\d{1,3}[\s.-]?(?:\(0\))?\d{1,4}(?:[\s.-]?\d{2,4}){2,3}|\(\d{3}\)\s?\d{3}[-.\s]\d{4}"
        r"|\d{3}[-.]\d{3}[-.]\d{4}|0\d{1,3}[-\s]\d{6,8})(?![\w/-]))",
        re.IGNORECASE,
    ),
    "date": re.compile(rf"(?<![\w.,/-])(?P<gone>{_DATE})(?![\w/])", re.IGNORECASE),
    "name": re.compile(
        rf"\b{_TITLE}(?:\s(?:dr|med)\.)*\s+(?P<gone>{_NAME})"
        r"|\b(?:(?i:patient(?:['’]s)?\s+name|name\s+of\s+(?:the\s+)?patient|naam(?:\s+pati[eë]nt)?|pati[eë]ntnaam"
        r"|pathologist|patholoog|pulmonologist|longarts|surgeon|chirurg|arts|physician|examiner|signed(?:\s+by)?)"
        rf"|Name|NAME|Pati[eë]nt|PATI[EË]NT)\s*:\s*(?P<named>{_FORM_NAME})"
        rf"|\b(?i:(?:signed|authenticated|verified)\s+by)\s+(?P<signed>{_NAME})"
        rf"|(?<![\w.])(?P<titled>{_NAME}),?\s(?:M\.?D|Ph\.?D|D\.O)\b"
    ),
}
_WITHOUT_NUMBERS = ("email", "name")
_GROUPS = ("gone", "code", "plain", "named", "signed", "titled")


@dataclass(frozen=True)
class PatientDataRule:
    """`patient_data`, where `action` is reject.

    Attributes:
        action: `reject` drops the text; `mask` puts the kind in square brackets, `[date]`, and counts it.
        kinds: of `PATTERNS`; all of them by default.
    """

    action: Literal["reject", "mask"] = "reject"
    kinds: tuple[str, ...] = tuple(PATTERNS)

    def __post_init__(self) -> None:
        unknown = sorted(set(self.kinds) - PATTERNS.keys())
        if unknown:
            raise ConfigError(f"patient_data: there is no kind {', '.join(unknown)}; allowed: {', '.join(PATTERNS)}")

    def __call__(self, text: str) -> Verdict:
        """The text, masked where there was something, or a drop."""
        masked, changes = mask(text, self.kinds)
        if changes and self.action == "reject":
            return Dropped("patient_data", f"it holds {', '.join(f'{name} ({count})' for name, count in sorted(changes.items()))}")
        return Kept(masked, {f"masked_{name}": count for name, count in changes.items()})


def mask(text: str, kinds: tuple[str, ...] = tuple(PATTERNS)) -> tuple[str, dict[str, int]]:
    """The text with what `kinds` find replaced by `[kind]`, and how often each was.

    A name that a title or a key word gave away is masked wherever else the text has it, also with the family name last.
    """
    counts: dict[str, int] = {}
    numbers = any(character.isdigit() for character in text)
    for name, pattern in PATTERNS.items():
        if name in kinds and (numbers or name in _WITHOUT_NUMBERS):
            known = {_told(found) for found in pattern.finditer(text)} if name == "name" else set()
            text, count = pattern.subn(lambda found, name=name: _masked(found, name), text)  # type: ignore[misc]
            for again in _again(known):
                text, more = again.subn(f"[{name}]", text)
                count += more
            if count:
                counts[name] = count
    return text, counts


def _again(names: set[str]) -> list[re.Pattern[str]]:
    """What finds these names again, longest first; a name of one word only as it is written, for "Brown" may be a colour too."""
    spellings = set()
    for name in names:
        name = re.sub(r"['’]s$", "", name.strip(" ,."))
        words = [word.strip(" ,.") for word in name.split(",")]
        spellings |= {name, " ".join(word for word in reversed(words) if word)}
    return [
        re.compile(rf"(?<![\w\[]){re.escape(spelling)}(?![\w\]])", re.IGNORECASE if " " in spelling else 0)
        for spelling in sorted(spellings, key=lambda spelling: (-len(spelling), spelling))
        if len(spelling) > 3
    ]


def _told(found: re.Match[str]) -> str:
    group = _group(found)
    return found.group(group) if group else found.group()


def _group(found: re.Match[str]) -> str | None:
    return next((key for key in _GROUPS if found.re.groupindex.get(key) and found.group(key) is not None), None)


def _masked(found: re.Match[str], name: str) -> str:
    """A match with its telling part replaced; the key word before it stays."""
    group = _group(found)
    if group is None:
        return f"[{name}]"
    start = found.start()
    whole = found.group(0)
    return f"{whole[: found.start(group) - start]}[{name}]{whole[found.end(group) - start :]}"
