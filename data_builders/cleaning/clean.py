"""`clean`: the same records with their texts cleaned; what no rule lets through becomes a reject with the rule's name.

What was changed is counted in `extra["cleaned"]`; the sentences that a report lost are in `extra["dropped"]`. Texts that are dropped for
patient data are written nowhere, neither into rejects nor into `extra`: what a source put there (captions as they were before its own
corrections, explanations) is asked for patient data too.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from eosin.artefacts import Artefact, Plan, Task
from eosin.commands import open_inputs
from eosin.config import input_path, settings_of
from eosin.data_builders.cleaning.captions import CaptionRules
from eosin.data_builders.cleaning.panels import NotSplit, split_panels
from eosin.data_builders.cleaning.reports import ReportWords, load_report_words, visible_report
from eosin.data_builders.cleaning.rules.encoding import EncodingRule
from eosin.data_builders.cleaning.rules.patient_data import PatientDataRule
from eosin.data_builders.cleaning.verdict import Dropped, Kept, Rule, Verdict, judge
from eosin.data_builders.exports.samples import records_of, tasks_of
from eosin.pipeline import Step
from eosin.records import Conversation, ImageText, Message, Part, Record, Reject, Slide

RECORDS_A_SHARD = 2048
CARRIED_FACTS = ("classes", "label_set", "groups_unknown")


@dataclass(frozen=True)
class ReportRules:
    """How reports are cleaned.

    Attributes:
        encoding: as for captions.
        patient_data: as for captions; before sentences are judged, so that those kept apart are masked too.
        headings: by section: a file, or a name below `eosin.configs/cleaning`.
        sentences: words by what they speak of: a file, or a name below `eosin.configs/cleaning`.
    """

    encoding: EncodingRule | None = field(default_factory=EncodingRule)
    patient_data: PatientDataRule | None = field(default_factory=lambda: PatientDataRule("mask"))
    headings: str = "report_headings"
    sentences: str = "report_sentences"

    def chain(self) -> tuple[Rule, ...]:
        """The rules for the whole report."""
        return tuple(rule for rule in (self.encoding, self.patient_data) if rule is not None)


@dataclass(frozen=True)
class CleanConfig:
    """What is cleaned, and how.

    Attributes:
        data: image-text pairs, conversations, or slides with reports.
        splits: of it; empty for all.
        rules: for captions; for conversations `encoding`, `links`, `patient_data` and `language` go over every turn, the others over the
            answers of the tasks caption and report.
        panels: captions of compound figures: `keep` them whole; `take` the part of the panel that `extra[panel_key]` names, and reject
            those that have several parts and name none; `reject` all that have several parts. Both reject letters that leave one out.
        panel_key: of `extra`.
        report: for slides.
    """

    builder: Literal["clean"] = "clean"
    data: str = input_path("image_text", "conversations", "slides")
    splits: tuple[str, ...] = ()
    rules: CaptionRules = field(default_factory=CaptionRules)
    panels: Literal["keep", "take", "reject"] = "keep"
    panel_key: str = "panel"
    report: ReportRules = field(default_factory=ReportRules)


def clean_steps(config: CleanConfig, out: Path) -> Generator[Step, Artefact, None]:
    """The one step of this builder: an artefact of the input's kind.

    Raises:
        ConfigError: a split is not there, or a rule or a word list does not fit.
        MissingDependency: ftfy is not installed.
    """
    inputs = open_inputs(config)
    data = inputs.artefacts["data"]
    settings: dict[str, Any] = {"splits": list(config.splits)}
    texts = config.report if data.kind == "slides" else config.rules
    private = () if texts.patient_data is None else tuple(rule for rule in (texts.encoding, texts.patient_data) if rule is not None)
    if data.kind == "slides":
        words = load_report_words(config.report.headings, config.report.sentences)
        cleaner: Cleaner = CleanReport(config.report.chain(), words)
        settings["report"] = {
            **settings_of(config.report),
            "headings": settings_of(words.headings),
            "sentences": settings_of(words.sentences),
        }
    else:
        settings["rules"] = config.rules.settings()
        if data.kind == "image_text":
            cleaner = CleanPair(config.rules.chain(), config.panels, config.panel_key)
            settings |= {"panels": config.panels, "panel_key": config.panel_key}
        else:
            cleaner = CleanConversation(config.rules.of_turns(), config.rules.of_answers())
    facts = {key: data.plan.facts[key] for key in CARRIED_FACTS if key in data.plan.facts}
    facts["title"] = f"{data.plan.facts.get('title', data.kind)}, cleaned"
    plan = Plan(data.kind, "build", settings, inputs.refs, tuple(tasks_of(data, config.splits, RECORDS_A_SHARD)), facts)
    yield Step(data.kind, plan, Clean(data, cleaner, private), inputs.paths)


Cleaner = Callable[[Any], Record | Reject]


@dataclass(frozen=True)
class Clean:
    """Cleans a task's records; picklable."""

    data: Artefact
    cleaner: Cleaner
    private: tuple[Rule, ...]

    def __call__(self, task: Task) -> Iterator[Record | Reject]:
        """Each record, or its reject, in their order."""
        for record in records_of(self.data, task):
            found = self.cleaner(record)
            yield found if isinstance(found, Reject) or not self.private else self._without_patients(found)

    def _without_patients(self, record: Record) -> Record:
        counts: Counter[str] = Counter()
        extra = private_texts(record.extra, self.private, counts)
        return dataclasses.replace(record, extra=with_counts(extra, counts)) if counts else record


@dataclass(frozen=True)
class CleanPair:
    """Captions one by one: bad ones are left out and counted; without any left the pair is rejected for the first one's reason."""

    rules: tuple[Rule, ...]
    panels: Literal["keep", "take", "reject"]
    panel_key: str

    def __call__(self, record: ImageText) -> ImageText | Reject:
        """The pair with the captions that are left, none of them twice."""
        if not record.captions:
            return Reject(record.id, "no_caption", "it has no caption")
        counts: Counter[str] = Counter()
        kept: list[str] = []
        bad: list[Dropped] = []
        for caption in record.captions:
            verdict = self._caption(caption, str(record.extra.get(self.panel_key, "")))
            if isinstance(verdict, Dropped):
                bad.append(verdict)
                counts[f"dropped_{verdict.reason}"] += 1
            elif verdict.text in kept:
                counts["dropped_repeated"] += 1
            else:
                kept.append(verdict.text)
                counts.update(verdict.changes)
        if not kept:
            return Reject(record.id, bad[0].reason, f"none of its captions ({len(bad)}) is left; the first: {bad[0].message}")
        return dataclasses.replace(record, captions=tuple(kept), extra=with_counts(record.extra, counts))

    def _caption(self, caption: str, panel: str) -> Verdict:
        if self.panels == "keep":
            return judge(caption, self.rules)
        found = split_panels(caption)
        if isinstance(found, NotSplit):
            if found.reason == "gap":
                return Dropped("compound_gap", "the letters of its panels leave one out, so that nobody knows which text is whose")
            if found.reason == "labels_follow_text" and self.panels == "reject":
                return Dropped("compound", "it speaks of several panels")
            return judge(caption, self.rules)
        if self.panels == "reject":
            return Dropped("compound", f"it speaks of {len(found.parts)} panels")
        part = found.of(panel) if panel else None
        if part is None:
            return Dropped("compound_unknown_panel", f"it speaks of {len(found.parts)} panels, and extra names none of them")
        verdict = judge(part, self.rules)
        return verdict if isinstance(verdict, Dropped) else Kept(verdict.text, {**verdict.changes, "panel_taken": 1})


@dataclass(frozen=True)
class CleanConversation:
    """Turns: one that is bad rejects the conversation, for what comes after may lean on it.

    Attributes:
        turns: for every text, the gold answer and the options too.
        answers: after those, for the assistant's turns of the tasks caption and report.
    """

    turns: tuple[Rule, ...]
    answers: tuple[Rule, ...]

    def __call__(self, record: Conversation) -> Conversation | Reject:
        """The conversation with every text cleaned."""
        counts: Counter[str] = Counter()
        describes = record.task in ("caption", "report")
        try:
            messages = tuple(
                Message(
                    message.role,
                    tuple(
                        dataclasses.replace(part, text=self._text(part, counts, describes and message.role == "assistant"))
                        for part in message.content
                    ),
                )
                for message in record.messages
            )
            answer = None if record.answer is None else self._clean(record.answer, Counter(), describes)
            options = tuple(self._clean(option, Counter(), False) for option in record.options)
        except _Refused as refused:
            return Reject(record.id, refused.verdict.reason, f"a turn: {refused.verdict.message}")
        return dataclasses.replace(record, messages=messages, answer=answer, options=options, extra=with_counts(record.extra, counts))

    def _text(self, part: Part, counts: Counter[str], describes: bool) -> str | None:
        return part.text if part.type != "text" or not part.text else self._clean(part.text, counts, describes)

    def _clean(self, text: str, counts: Counter[str], describes: bool) -> str:
        # A number or a mark can be an answer; rules are about words.
        if not any(character.isalpha() for character in text):
            return text
        verdict = judge(text, (*self.turns, *self.answers) if describes else self.turns)
        if isinstance(verdict, Dropped):
            raise _Refused(verdict)
        counts.update(verdict.changes)
        return verdict.text


class _Refused(Exception):
    """A turn cannot be kept."""

    def __init__(self, verdict: Dropped) -> None:
        super().__init__(verdict.reason)
        self.verdict = verdict


@dataclass(frozen=True)
class CleanReport:
    """Reports: what an H&E section can show is kept, the rest goes into `extra["dropped"]`; a slide without a report is left as it is."""

    rules: tuple[Rule, ...]
    words: ReportWords

    def __call__(self, record: Slide) -> Slide | Reject:
        """The slide with the visible part of its report."""
        if record.report is None:
            return record
        verdict = judge(record.report, self.rules)
        if isinstance(verdict, Dropped):
            return Reject(record.id, verdict.reason, f"its report: {verdict.message}")
        visible = visible_report(verdict.text, self.words)
        if not visible.text:
            reasons = Counter(piece.reason for piece in visible.dropped)
            told = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
            return Reject(record.id, "nothing_visible", f"no sentence of its report speaks of what a slide shows: {told or 'it is empty'}")
        extra = record.extra
        if visible.dropped:
            extra = _for_our_own(extra, "dropped", _are_sentences)
            now = ({"sentence": piece.text, "reason": piece.reason} for piece in visible.dropped)
            extra = {**extra, "dropped": [*extra.get("dropped", ()), *now]}
        extra = with_counts(extra, Counter(verdict.changes))
        return dataclasses.replace(record, report=visible.text, extra=extra)


def private_texts(value: Any, rules: tuple[Rule, ...], counts: Counter[str]) -> Any:
    """A JSON value with the patient data in its texts masked, or where the rules drop such a text, `[patient_data]` in its place.

    Texts are strings with a space: a key that other records join by is none.
    """
    if isinstance(value, Mapping):
        return {key: private_texts(item, rules, counts) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [private_texts(item, rules, counts) for item in value]
    if not isinstance(value, str) or not any(character.isspace() for character in value):
        return value
    verdict = judge(value, rules)
    if isinstance(verdict, Dropped):
        if verdict.reason != "patient_data":
            return value
        counts["extra_patient_data"] += 1
        return "[patient_data]"
    masked = sum(count for name, count in verdict.changes.items() if name.startswith("masked_"))
    if not masked:
        return value
    counts["extra_patient_data"] += masked
    return verdict.text


def with_counts(extra: Mapping[str, Any], counts: Counter[str]) -> Mapping[str, Any]:
    """`extra` with `counts` added to those of an earlier cleaning."""
    if not counts:
        return extra
    extra = _for_our_own(extra, "cleaned", _are_counts)
    earlier: Mapping[str, int] = extra.get("cleaned", {})
    return {**extra, "cleaned": dict(sorted((Counter(earlier) + counts).items()))}


def _for_our_own(extra: Mapping[str, Any], key: str, is_own: Callable[[Any], bool]) -> Mapping[str, Any]:
    """`extra` with `key` free for what is written here, or holding what was: a publisher's value of that name goes to `KEY_given`."""
    if key not in extra or is_own(extra[key]):
        return extra
    given = f"{key}_given"
    while given in extra:
        given += "_"
    return {given if name == key else name: value for name, value in extra.items()}


def _are_counts(value: Any) -> bool:
    return isinstance(value, Mapping) and all(type(count) is int for count in value.values())


def _are_sentences(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(item, Mapping) and item.keys() == {"sentence", "reason"} for item in value)
