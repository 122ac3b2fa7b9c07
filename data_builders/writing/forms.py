"""The kinds of conversation: what a model is asked for, and what is made of its answer.

What must be right is not left to the model: coordinates come from the record's boxes, calls are checked against the tool's schema, yes and
no come in pairs from one answer, and the place of the right option is chosen by whoever sees all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from eosin.data_builders.questions import NO, SMALLEST_SIDE, YES
from eosin.data_builders.subjects import stable_number
from eosin.data_builders.writing.leaks import bare_options, check_dialogue, check_leak, check_options, check_source, words_of
from eosin.data_builders.writing.materials import Material
from eosin.data_builders.writing.replies import Refused
from eosin.data_builders.writing.tools import ToolSet
from eosin.records import Box, box_to_text

Turn = tuple[str, str]
OPTIONS = 4
_NUMBERS = re.compile(r"[\[\d]|\b(?:both|two|three|four|five|six|seven|eight|nine|ten)\b", re.IGNORECASE)


@dataclass(frozen=True)
class Draft:
    """One conversation to be.

    Attributes:
        task: one of `eosin.records.TASKS`.
        turns: (role, text) in order; the picture goes before the first of the user's.
        answer: the gold answer.
        distractors: the wrong options of a multiple choice question, whose right one has no place yet.
    """

    task: str
    turns: tuple[Turn, ...]
    answer: str
    distractors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Aids:
    """What forms need beside the material.

    Attributes:
        seed: of the draws.
        max_boxes: the most boxes an answer lists.
        tools: that can be called.
    """

    seed: int
    max_boxes: int
    tools: ToolSet


@dataclass(frozen=True)
class Form:
    """A kind of conversation.

    Attributes:
        fits: whether this material can be asked about in this way.
        slots: values for the prompt, beside `facts`.
        drafts: the conversations in an answer; raises `Refused` where it is no good.
    """

    fits: Callable[[Material, Aids], bool]
    slots: Callable[[Material, Aids], dict[str, str]]
    drafts: Callable[[dict[str, Any], Material, Aids], list[Draft]]


def _always(material: Material, aids: Aids) -> bool:
    return True


def _nothing(material: Material, aids: Aids) -> dict[str, str]:
    return {}


def _single(task: str, question: str, answer: str) -> Draft:
    return Draft(task, (("user", question), ("assistant", answer)), answer)


def _asked(question: str, answer: str) -> tuple[str, str]:
    """Question and answer, trimmed and checked."""
    question, answer = question.strip(), answer.strip()
    if not words_of(question) or not words_of(answer):
        raise Refused("empty", "The question or the answer is empty")
    check_source(question, answer)
    check_leak(question, answer)
    return question, answer


def _closed(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    yes, no = value["yes_question"].strip(), value["no_question"].strip()
    if words_of(yes) == words_of(no):
        raise Refused("same_question", "Both questions are the same, so that one of the answers is wrong")
    return [_single("closed", *_asked(yes, YES)), _single("closed", *_asked(no, NO))]


def _open(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    return [_single("open", *_asked(value["question"], value["answer"]))]


def _mcq(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    right, *distractors = bare_options([str(option).strip() for option in (value["answer"], *value["distractors"])])
    question, answer = _asked(value["question"], right)
    check_source(*distractors)
    check_options(answer, distractors)
    return [Draft("mcq", (("user", question),), answer, tuple(distractors))]


def _dialogue(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    turns: list[Turn] = []
    for turn in value["turns"]:
        question, answer = _asked(turn["question"], turn["answer"])
        turns += [("user", question), ("assistant", answer)]
    check_dialogue([(question, answer) for (_, question), (_, answer) in zip(turns[::2], turns[1::2], strict=True)])
    if len({text for role, text in turns if role == "user"}) < len(value["turns"]):
        raise Refused("same_question", "A question comes twice")
    return [Draft("open", tuple(turns), turns[-1][1])]


def _reasoning(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    question, answer = _asked(value["question"], value["answer"])
    steps = [str(step).strip() for step in value["steps"]]
    check_source(*steps)
    reply = "\n".join([*(f"{number}. {step}" for number, step in enumerate(steps, 1)), f"Answer: {answer}"])
    return [Draft("open", (("user", question), ("assistant", reply)), answer)]


def _report(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    request, report = _asked(value["request"], value["report"])
    return [_single("report", request, report)]


def boxed_label(material: Material, aids: Aids) -> str:
    """The label whose boxes are asked for; empty where there is none, or too many of each."""
    boxes = _large(material.boxes)
    small = {box.label for box in material.boxes} - {box.label for box in boxes}
    labels = sorted({box.label for box in boxes} - small)
    few = [label for label in labels if sum(box.label == label for box in boxes) <= aids.max_boxes]
    return few[stable_number(aids.seed, "boxes", material.id) % len(few)] if few else ""


def _large(boxes: Sequence[Box]) -> list[Box]:
    return [box for box in boxes if min(box.x1 - box.x0, box.y1 - box.y0) >= SMALLEST_SIDE]


def _boxed(material: Material, aids: Aids) -> bool:
    return bool(boxed_label(material, aids))


def _box_slots(material: Material, aids: Aids) -> dict[str, str]:
    return {"label": boxed_label(material, aids)}


def _grounding(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    question, label = value["question"].strip(), boxed_label(material, aids)
    if _NUMBERS.search(re.sub(re.escape(label), "", question, flags=re.IGNORECASE)):
        raise Refused("answer_in_question", "The question holds numbers; it must not tell where or how many")
    if not all(word in question.casefold() for word in words_of(label)):
        raise Refused("label_not_asked", f"The question must name {label!r}")
    check_source(question)
    answer = "; ".join(box_to_text(box) for box in _large(material.boxes) if box.label == label)
    return [_single("grounding", question, answer)]


def _tool_name(material: Material, aids: Aids) -> str:
    names = aids.tools.names(boxes=_boxed(material, aids))
    return names[stable_number(aids.seed, "tool", material.id) % len(names)]


def _has_tool(material: Material, aids: Aids) -> bool:
    return bool(aids.tools.names(boxes=_boxed(material, aids)))


def _tool_slots(material: Material, aids: Aids) -> dict[str, str]:
    name = _tool_name(material, aids)
    wanted = f'The argument label is "{boxed_label(material, aids)}".' if aids.tools.tools[name].result == "boxes" else ""
    return {"tool": aids.tools.listing(name), "wanted": wanted}


def _tool(value: dict[str, Any], material: Material, aids: Aids) -> list[Draft]:
    name, label, request = _tool_name(material, aids), boxed_label(material, aids), value["request"].strip()
    call = aids.tools.call(name, value["arguments"], label)
    check_source(request)
    if name in request.casefold() or name.replace("_", " ") == " ".join(words_of(request)):
        raise Refused("answer_in_question", f"The request names the tool {name}; a user does not know it")
    turns: list[Turn] = [("system", aids.tools.instruction), ("user", request), ("assistant", call)]
    if aids.tools.tools[name].result == "boxes":
        result, reply = aids.tools.found(_large(material.boxes), label)
        turns += [("tool", result), ("assistant", reply)]
    return [Draft("tool", tuple(turns), call)]


FORMS: dict[str, Form] = {
    "closed": Form(_always, _nothing, _closed),
    "open": Form(_always, _nothing, _open),
    "mcq": Form(_always, _nothing, _mcq),
    "dialogue": Form(_always, _nothing, _dialogue),
    "reasoning": Form(_always, _nothing, _reasoning),
    "report": Form(_always, _nothing, _report),
    "grounding": Form(_boxed, _box_slots, _grounding),
    "tool": Form(_has_tool, _tool_slots, _tool),
}
