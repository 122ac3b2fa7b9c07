import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.clip.ontology import Node, build_ontology, read_ontology
from eosin.errors import InputError

TREE = {"TISSUE": {"name": "Tissue", "children": {"LUNG": {"name": "Lung", "children": {
    "NSCLC": {"name": "Non-Small Cell Lung Cancer", "children": {"LUAD": {"name": "Lung Adenocarcinoma", "children": {}}}}}},
    "SKIN": {"name": "Skin", "children": {}}}}}  # fmt: skip
FLAT = [
    {"code": "LUNG", "name": "Lung", "parent": None},
    {"code": "NSCLC", "name": "Non-Small Cell Lung Cancer", "parent": "LUNG"},
    {"code": "LUAD", "name": "Lung Adenocarcinoma", "parent": "NSCLC"},
    {"code": "SKIN", "name": "Skin", "parent": None},
]
CSV = "\ufeffid,name,parents,synonyms\r\nLUNG,Lung,,\r\nNSCLC,Non-Small Cell Lung Cancer,LUNG,\r\n"
CSV += 'LUAD,Lung Adenocarcinoma,NSCLC|LUNG,"pulmonary adenocarcinoma|adenocarcinoma, lung"\r\nSKIN,Skin,,\r\n'
OBO = """format-version: 1.4

[Term]
id: LUNG
name: Lung

[Term]
id: NSCLC
name: Non-Small Cell Lung Cancer
is_a: LUNG {source="x"} ! Lung

[Term]
id: LUAD
name: Lung Adenocarcinoma
synonym: "pulmonary adenocarcinoma" EXACT []
is_a: NSCLC ! Non-Small Cell Lung Cancer

[Term]
id: OLD
name: old one
is_a: GONE
is_obsolete: true

[Term]
id: SKIN
name: Skin

[Typedef]
id: part_of
name: part of
"""


def folder(path: Path, name: str, text: str) -> Path:
    (path / name).write_bytes(text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tree.json", json.dumps(TREE)),
        ("flat.json", json.dumps(FLAT)),
        ("mine.csv", CSV),
        ("doid.obo", OBO),
        ("d.obo", OBO.replace("\n", "\r\n")),
    ],
)
def test_every_format_gives_the_same_kinds(tmp_path: Path, name: str, text: str) -> None:
    found = read_ontology(folder(tmp_path, name, text))
    luad, nsclc, lung, skin = (found.find(key) for key in ("LUAD", "non small-cell lung CANCER", "lung", "Skin"))
    assert min(luad, nsclc, lung, skin) >= 0
    assert found.related(luad, lung)
    assert found.related(nsclc, luad)
    assert found.related(skin, skin)
    assert not found.related(luad, skin)
    assert found.find("old one") == found.find("") == -1
    assert found.chain(luad).startswith("Lung Adenocarcinoma, a kind of Non-Small Cell Lung Cancer, a kind of Lung")


def test_the_longest_name_in_a_caption_wins_and_ids_are_no_names(tmp_path: Path) -> None:
    found = read_ontology(folder(tmp_path, "mine.csv", CSV))
    assert found.find_in("A lung adenocarcinoma, acinar growth.") == found.find("LUAD")
    assert found.find_in("adenocarcinoma, lung: solid") == found.find("LUAD")
    assert found.find_in("lung parenchyma") == found.find("LUNG")
    assert found.find_in("an LUAD") == -1
    assert found.find_in("") == -1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "id,name,parents\nA,a,B\n", "1 parents are no nodes, such as B"),
        ("a.csv", "id,name,parents\nA,a,B\nB,b,A\n", "a kind of itself"),
        ("a.csv", "id,name,parents\nA,a,\na,b,\n", "comes twice"),
        ("a.csv", "code,name\nA,a\n", "no ontology that can be read"),
        ("a.csv", "id,name,parents\nA,,\n", "node 'A' needs a name"),
        ("a.json", '[{"id": "A", "name": null}]', "node 'A' needs a name"),
        ("a.json", "[1]", "no ontology that can be read"),
        ("a.json", "{", "no ontology that can be read"),
        ("a.obo", "format-version: 1.4\n", "no disease"),
        ("a.txt", "", "must hold one file"),
    ],
)
def test_a_file_that_is_no_ontology_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ontology(folder(tmp_path, name, text))


CONFUSABLE = """[Term]
id: DOID:1
name: pulmonary disease
alt_id: DOID:99
synonym: "lung cancer" RELATED []
synonym: "lung trouble" BROAD [x:1]
synonym: "no scope" []
synonym: "pneumopathy" EXACT CLINICAL [x:1]

[Term]
id: DOID:2
name: lung cancer
synonym: "pulmonary disease" EXACT []
"""


def test_of_synonyms_only_exact_ones_count_and_the_disease_of_a_name_goes_first(tmp_path: Path) -> None:
    found = read_ontology(folder(tmp_path, "d.obo", CONFUSABLE))
    first, second = found.find("DOID:1"), found.find("DOID:2")
    assert found.find("lung cancer") == found.find_in("a lung cancer, solid") == second
    assert found.find("pulmonary disease") == found.find("pneumopathy") == found.find("doid:99") == first
    assert found.find("lung trouble") == found.find("no scope") == -1
    assert found.notes == (
        "d.obo: 1 names stand for more than one disease, such as 'pulmonary disease', which is taken for DOID:1 and not for DOID:2",
        "d.obo: 3 synonyms that are not EXACT are passed over",
    )


def test_letters_of_all_scripts_and_signs_at_a_words_end_tell_diseases_apart() -> None:
    names = ("γδ T-cell lymphoma", "αβ T-cell lymphoma", "β-thalassemia", "CML, BCR-ABL1+", "CML, BCR-ABL1-", "肺腺癌", "Sjögren")
    ids = ("α", "β", "C", "D", "E", "F", "G")
    found = build_ontology(tuple(Node(id, name) for id, name in zip(ids, names, strict=True)), "x")
    assert [found.find(name) for name in names] == [found.find_in(f"({name}) here") for name in names] == list(range(7))
    assert [found.find(id) for id in ids] == list(range(7))
    assert found.find("α-thalassemia") == found.find("thalassemia") == found.find("CML, BCR-ABL1") == -1
    assert found.find("cml bcr abl1\u207b") == 4, "a raised minus is one"
    assert found.find("SJO\u0308GREN") == 6
    assert found.notes == ()
    assert found.find_in("αβ T-cell lymphoma- high grade") == 1, "a dash of the sentence"


def test_two_diseases_of_one_name_are_said() -> None:
    (note,) = build_ontology((Node("A", "lymphoma"), Node("B", "Lymphoma")), "x").notes
    assert "'Lymphoma', which is taken for A and not for B" in note


@given(st.lists(st.lists(st.integers(0, 30), max_size=3), min_size=1, max_size=31))
def test_ancestors_are_all_that_can_be_reached(links: list[list[int]]) -> None:
    parents = [sorted({parent for parent in above if parent < number}) for number, above in enumerate(links)]
    found = build_ontology(
        tuple(Node(f"n{number}", f"name {number}", tuple(f"n{p}" for p in above)) for number, above in enumerate(parents)), "x"
    )
    for number, above in enumerate(parents):
        assert found.above[number] == set(above).union(*(found.above[parent] for parent in above))
