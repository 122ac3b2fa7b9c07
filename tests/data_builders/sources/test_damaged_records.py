"""Whatever stands in a publisher's JSON, an item becomes a record or a reject with a reason, never a crash."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from eosin.data_builders.sources.catalogue import SOURCES
from eosin.data_builders.sources.checks import record_or_reject
from eosin.errors import InputError
from eosin.records import Record, Reject, to_table

IMAGE = "v0123456789_roi_0a1b2c3d-1111-4222-8333-444455556666.jpg"
SLIDE = "TCGA-AA-0001-01Z-00-DX1"
TURNS = [{"from": "human", "value": "<image>\nWhich? A) x B) y"}, {"from": "gpt", "value": "B"}]
LLAVA = {"id": "1", "image": IMAGE, "conversations": TURNS, "type": "CLOSE", "wsi_id": SLIDE, "domain": {"histology": True}}
BOX = {"image": IMAGE, "image_id": IMAGE, "bbox": [1, 2, 9, 9], "expression": ["a gland"], "height": 16, "width": 16}
CHOICE = {"No": 1, "img": IMAGE, "question": "Which?", "options": ["A) x", "B) y"], "answer": "B) y"}
QUILT = {"image": IMAGE, "question": "Is it?", "answer": "No, it is not.", "answer_type": "CLOSED", "yes_no_answer": "No"}
FILES: dict[str, tuple[str, dict[str, Any]]] = {
    "llava": ("train.json", LLAVA),
    "llava_med": ("llava_med_instruct_60k_inline_mention.json", LLAVA),
    "pathgen_instruct": ("PathGen-Instruct.json", LLAVA),
    "quilt_instruct": ("quilt_instruct_107k.json", LLAVA),
    "mm_skin": ("vqa_MM.json", LLAVA),
    "slide_instruct": ("SlideInstruct_train_stage2_vqa.json", {**LLAVA, "image": [f"./{SLIDE}.csv"]}),
    "pathmmu": ("data.json", CHOICE),
    "pathvqa": ("pvqa_test.json", {"img_id": IMAGE, "sentf": {"pvqa": ["Is it?"]}, "labelf": {"pvqa": [{"yes": 1}]}}),
    "quilt_vqa": ("quiltvqa_test_w_ans.json", QUILT),
    "refpath": ("testA.jsonl", BOX),
    "wsi_vqa": ("WsiVQA_test.json", {"Id": SLIDE, "Question": "Which?", "Choice": ["x", "y"], "Answer": "y"}),
}
DEEP: list[Any] = []
for _ in range(300):
    DEEP = [DEEP]
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-3, 300)
    | st.floats(allow_nan=False)
    | st.sampled_from(["", "<image>", "A", "B) y", IMAGE, "../x", "cut \ud83d", "long" * 2000, 10**400, float("nan"), DEEP]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["from", "value", "role", "type", "pvqa", "yes"]), inner, max_size=3)
    ),
    max_leaves=6,
)


def items_of(name: str, folder: Path, record: Any) -> list[Record | Reject]:
    file, _ = FILES[name]
    content = {"PubMed": {"test": [record]}} if name == "pathmmu" else [record]
    (folder / file).write_text(json.dumps(record) if file.endswith("l") else json.dumps(content))
    source = SOURCES[name](folder, SOURCES[name].Options())
    return [record_or_reject(item.build, item.key) for section in source.sections() for item in source.items(section)]


@pytest.mark.parametrize("name", FILES)
def test_the_undamaged_record_is_read(name: str, tmp_path: Path, jpeg) -> None:
    (tmp_path / IMAGE).write_bytes(jpeg(1))
    [found] = items_of(name, tmp_path, FILES[name][1])
    assert isinstance(found, Record)


@pytest.mark.parametrize("name", FILES)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_record_is_a_record_or_a_reject(name: str, tmp_path: Path, jpeg, data: st.DataObject) -> None:
    (tmp_path / IMAGE).write_bytes(jpeg(1))
    record = dict(FILES[name][1])
    for key in data.draw(st.lists(st.sampled_from(sorted(record)), min_size=1, max_size=2)):
        record[key] = data.draw(JSON)
    damaged = data.draw(st.just(record) | JSON)
    if name == "refpath" and not isinstance(damaged, dict):
        return
    try:
        found = items_of(name, tmp_path, damaged)
    except InputError:
        return
    assert all(isinstance(item, Record | Reject) and (isinstance(item, Record) or item.reason != "invalid_record") for item in found)
    for item in found:
        if isinstance(item, Record):
            to_table(item.kind, [item])
        else:
            pa.Table.from_pylist([dataclasses.asdict(item)])
