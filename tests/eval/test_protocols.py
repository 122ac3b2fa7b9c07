"""What a zero-shot protocol promises: its own prompts, its own classes, every prompt told, and nothing of another data set."""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eosin.artefacts import open_artefact
from eosin.cli import main as eosin
from eosin.config import load_recipe
from eosin.data_builders.sources.catalogue import SOURCES
from eosin.errors import ConfigError
from eosin.eval.prompts import find_class_set, load_prompts, read_conch, worded, worded_as
from eosin.eval.tasks.zero_shot import class_weights
from eosin.labels import LabelClass, LabelSet
from eosin.numerics import unit_rows
from eosin.records import Prediction

TISSUES = LabelSet({"A": LabelClass("fat", ("fat", "adipose tissue")), "B": LabelClass("mucus")})
SHIPPED = sorted(path.stem for path in Path(str(resources.files("eosin.configs"))).glob("prompts/*.yaml"))


def predicted(folder: Path) -> list[Prediction]:
    return list(open_artefact(folder, "predictions").records(Prediction))


def run(bench: Any, out: str, *words: str) -> int:
    inputs = (f"model={bench.clip}", f"data={bench.images}", "--out", str(bench.root / out))
    return eosin(["eval", "run", "demo/eval-zero-shot", *words, *inputs])


@pytest.mark.parametrize(
    ("name", "templates", "draws", "metric"),
    [
        ("plip", 1, None, "weighted_f1"),
        ("quilt", 4, None, "accuracy"),
        ("musk", 4, None, "balanced_accuracy"),
        ("pathgen", 1, None, "accuracy"),
        ("conch", 22, None, "balanced_accuracy"),
        ("conch-single", 22, (50, 1, 1), "balanced_accuracy"),
        ("mi-zero", 16, (50, 1, 16), "balanced_accuracy"),
        ("keep", 22, (50, 1, 1), "weighted_f1"),
        ("biomedclip", 2, None, "accuracy"),
    ],
)
def test_each_published_protocol_has_its_number_of_templates_draws_and_its_metric(
    name: str, templates: int, draws: tuple[int, int, int] | None, metric: str
) -> None:
    found = load_prompts(f"prompts/{name}")
    assert len(set(found.templates)) == templates
    assert (found.draws and (found.draws.count, found.draws.fewest, found.draws.most)) == draws
    assert found.metric == metric
    assert found.version >= 1


def test_the_protocols_that_share_templates_have_the_same_ones() -> None:
    conch, keep, zero = (load_prompts(f"prompts/{name}").templates for name in ("conch", "keep", "mi-zero"))
    assert conch == keep
    assert conch[:16] == zero
    assert load_prompts("prompts/quilt").templates == load_prompts("prompts/musk").templates


def test_class_sets_differ_between_protocols_as_published() -> None:
    assert find_class_set("quilt/nct_crc").left_out == ("BACK",)
    assert len(find_class_set("plip/nct_crc").classes) == len(find_class_set("conch/nct_crc").classes) == 9
    assert find_class_set("conch/nct_crc").classes["ADI"] == ("adipose", "adipose tissue", "adipocytes", "fat", "fat cells")
    assert find_class_set("pathgen/lc_lung").templates == ("An image of {name}",)
    with pytest.raises(ConfigError, match=r"has the sets: .*nct_crc"):
        find_class_set("conch/bones")


def test_only_its_own_class_names_make_a_run_the_published_protocol() -> None:
    own = worded_as("prompts/plip", "plip/nct_crc")
    assert (own.title, own.name) == ("PLIP", "plip v1")
    assert own.draws[0]["ADI"] == ("An H&E image patch of adipose tissue.",)
    assert worded_as("prompts/musk", "quilt/pcam").title == "MUSK"
    assert worded_as("prompts/pathgen", "pathgen/nct_crc").draws[0]["ADI"] == ("An H&E patch of adipose",)
    mixed = worded_as("prompts/pathgen", "quilt/nct_crc")
    assert (mixed.title, mixed.name) == ("PathGen templates, class names: quilt/nct_crc", "pathgen v1 + quilt/nct_crc")
    assert worded_as("prompts/conch", "pathgen/nct_crc").title.startswith("CONCH templates")
    # PathGen's own template does not enter another protocol.
    assert worded_as("prompts/quilt", "pathgen/nct_crc").draws[0]["ADI"][0] == "a histopathology slide showing adipose"
    assert worded("prompts/conch", TISSUES).title == "CONCH templates, class names: label set"
    assert worded("prompts/histology", TISSUES).title == "Histology tiles"
    assert worded_as("prompts/bare", "quilt/pcam").title == "Names alone"


@pytest.mark.parametrize("protocol", ["plip", "quilt", "musk", "pathgen", "biomedclip"])
def test_a_protocol_of_one_name_a_class_never_averages_names(protocol: str) -> None:
    wording = worded(f"prompts/{protocol}", LabelSet({"A": LabelClass("fat", ("fat", "adipose tissue")), "B": LabelClass("mucus")}))
    templates = load_prompts(f"prompts/{protocol}").templates
    assert wording.draws[0]["A"] == tuple(template.replace("{name}", "fat") for template in templates)
    assert "templates" in wording.title
    with pytest.raises(ConfigError, match="one name a class"):
        worded_as(f"prompts/{protocol}", "conch/nct_crc")


def test_every_template_meets_every_name_and_the_mean_has_unit_length() -> None:
    wording = worded("prompts/conch", TISSUES)
    assert {label: len(texts) for label, texts in wording.draws[0].items()} == {"A": 44, "B": 22}

    class Letters:
        def embed_texts(self, texts: list[str]) -> np.ndarray:
            return unit_rows(np.array([[text.count(letter) + 0.1 for letter in "aefimt"] for text in texts]))

    weights = class_weights(Letters(), list(wording.draws[0].values()))  # type: ignore[arg-type]
    np.testing.assert_allclose(np.linalg.norm(weights, axis=1), 1, atol=1e-6)
    vectors = Letters().embed_texts(list(wording.draws[0]["A"]))
    np.testing.assert_allclose(weights[0], vectors.mean(axis=0) / np.linalg.norm(vectors.mean(axis=0)), atol=1e-6)


def test_prompt_draws_are_seeded_take_one_name_and_the_same_templates_for_all_classes() -> None:
    wording = worded("prompts/mi-zero", TISSUES)
    assert len(wording.draws) == 50
    assert wording.draws == worded("prompts/mi-zero", TISSUES).draws
    sizes = set()
    for draw in wording.draws:
        sizes.add(len(draw["A"]))
        name = "fat" if "fat" in draw["A"][0] else "adipose tissue"
        assert [text.replace(name, "mucus") for text in draw["A"]] == list(draw["B"])
    assert min(sizes) >= 1
    assert max(sizes) <= 16
    assert len(sizes) > 8
    assert wording.facts()["protocol"]["aggregate"] == "median"
    assert wording.hash != worded("prompts/keep", TISSUES).hash


def test_a_prompt_file_of_conch_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "crc_prompts.json"
    names = {"ADI": ["fat", "adipose"], "MUC": "mucus"}
    path.write_text(json.dumps({"0": {"classnames": names, "templates": ["CLASSNAME.", "an image of CLASSNAME."]}}))
    wording = read_conch(path)
    assert wording.draws[0] == {
        "ADI": ("fat.", "an image of fat.", "adipose.", "an image of adipose."),
        "MUC": ("mucus.", "an image of mucus."),
    }
    assert wording.facts()["prompts"]["MUC"] == ["mucus.", "an image of mucus."]


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{}",
        "{",
        '{"0": {"classnames": {"A": ["a"], "B": []}, "templates": ["CLASSNAME"]}}',
        '{"0": {"classnames": {"A": "a", "B": "b"}, "templates": ["no place"]}}',
        '{"0": {"classnames": {"A": "a", "B": "b"}}}',
        '{"0": {"classnames": {"A": "a", "B": "b"}, "templates": ["CLASSNAME"]}, '
        '"1": {"classnames": {"A": "a", "C": "b"}, "templates": ["CLASSNAME"]}}',
    ],
)
def test_a_prompt_file_that_is_none_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "prompts.json").write_text(content)
    with pytest.raises(ConfigError):
        read_conch(tmp_path / "prompts.json")


def conch_file(bench: Any, classes: dict[str, list[str]]) -> str:
    path = bench.root / "prompts.json"
    path.write_text(json.dumps({"0": {"classnames": classes, "templates": ["CLASSNAME.", "an image of CLASSNAME."]}}))
    return str(path)


def test_every_prompt_of_every_draw_stands_in_the_result(bench: Any, embedder: Any) -> None:
    assert run(bench, "out", "prompts=prompts/keep") == 0
    facts = open_artefact(bench.root / "out").plan.facts
    assert len(facts["prompt_draws"]) == 50
    assert all(set(draw) == {"PINK", "BLUE", "GREEN"} and len(draw["PINK"]) == 1 for draw in facts["prompt_draws"])
    rows = predicted(bench.root / "out")
    assert all(len(row.extra["draws"]) == 50 for row in rows)
    assert all(sum(row.scores) == pytest.approx(1.0, abs=1e-5) and row.reply == row.answer for row in rows)
    assert eosin(["eval", "score", "demo/report", f"predictions=[{bench.root / 'out'}]", "--out", str(bench.root / "scores")]) == 0
    row = json.loads((bench.root / "scores" / "scores.json").read_text())["rows"][0]
    assert row["main"] == "weighted_f1"
    assert row["metrics"]["weighted_f1"]["value"] == row["metrics"]["weighted_f1_q1"]["value"] == 1.0


def test_images_of_a_class_that_the_protocol_leaves_out_are_counted_not_asked(bench: Any, embedder: Any) -> None:
    path = bench.root / "own.yaml"
    sets = "class_sets: {two: {left_out: [PINK], classes: {BLUE: [blue nuclei], GREEN: [green ink]}}}"
    path.write_text(f'templates: ["{{name}}"]\n{sets}\n')
    assert run(bench, "out", f"prompts={path}", f"class_names={path}/two") == 0
    found = open_artefact(bench.root / "out")
    assert found.plan.facts["questions"]["left_out"] == {"of a class the protocol leaves out": 8}
    assert {row.answer for row in predicted(bench.root / "out")} == {"BLUE", "GREEN"}
    assert {row.options for row in predicted(bench.root / "out")} == {("BLUE", "GREEN")}


def test_labels_are_renamed_to_those_of_the_class_set(bench: Any, embedder: Any) -> None:
    prompts = conch_file(bench, {"p": ["pink tissue"], "b": ["blue nuclei"], "g": ["green ink"]})
    assert run(bench, "wrong", f"prompts={prompts}") == 2
    assert run(bench, "out", f"prompts={prompts}", "rename={PINK: p, BLUE: b, GREEN: g}") == 0
    assert all(row.reply == row.answer and row.answer in "pbg" for row in predicted(bench.root / "out"))


def test_class_names_of_another_data_set_are_refused_before_a_model_is_loaded(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bench, "out", "prompts=prompts/conch", "class_names=conch/nct_crc") == 2
    said = " ".join(capsys.readouterr().err.split())
    for part in ("another data set", "BLUE", "ADI"):
        assert part in said


def test_a_class_without_images_stays_an_answer_and_is_named(bench: Any, embedder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    prompts = conch_file(bench, {"PINK": ["pink tissue"], "BLUE": ["blue nuclei"], "GREEN": ["green ink"], "RED": ["pink tissue"]})
    assert run(bench, "out", f"prompts={prompts}") == 0
    assert "no image of RED" in capsys.readouterr().err.replace("\n", " ")
    assert predicted(bench.root / "out")[0].options == ("PINK", "BLUE", "GREEN", "RED")
    prompts = conch_file(bench, {"PINK": ["pink tissue"], "BLUE": [], "GREEN": ["green ink"]})
    assert run(bench, "none", f"prompts={prompts}") == 2
    assert "has no name" in capsys.readouterr().err.replace("\n", " ")


def test_an_encoder_without_a_text_tower_is_refused(bench: Any, embedder: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from eosin.errors import Unsupported

    def no_text(texts: object) -> None:
        raise Unsupported("vision only: it has no text tower; it embeds images only")

    monkeypatch.setattr(embedder, "embed_texts", no_text)
    assert run(bench, "out") == 2


def test_classes_are_named_in_one_way_only(bench: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(bench, "out", "labels=lc25000", "class_names=quilt/pcam") == 2
    assert "keep one of" in capsys.readouterr().err.replace("\n", " ")


@pytest.mark.parametrize("protocol", SHIPPED)
def test_every_class_set_names_the_labels_that_a_data_builder_writes(protocol: str) -> None:
    written = [set(load_recipe(LabelSet, f"labels/{name}").classes) for name in sorted({*named_by_sources(), "osteosarcoma"})]
    for name, found in load_prompts(f"prompts/{protocol}").class_sets.items():
        known = set(found.classes) | set(found.left_out)
        assert any(set(found.classes) <= labels and (known <= labels) for labels in written), f"{protocol}/{name}"
        assert not set(found.classes) & set(found.left_out)


def named_by_sources() -> set[str]:
    return {name for source in SOURCES.values() for name in source.label_sets}


@pytest.mark.parametrize("protocol", SHIPPED)
def test_every_labelled_source_can_be_asked_by_every_protocol(protocol: str) -> None:
    for name in named_by_sources():
        labels = load_recipe(LabelSet, f"labels/{name}")
        wording = worded(f"prompts/{protocol}", labels)
        assert wording.classes == tuple(labels.classes)
        prompts = [text for draw in wording.draws for texts in draw.values() for text in texts]
        assert all(text.strip() and "{" not in text for text in prompts)
        assert all(len(set(draw.values())) == len(draw) for draw in wording.draws), f"{name}: two classes share a prompt"
