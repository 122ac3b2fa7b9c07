"""Everything below configs/ is read by the code that uses it: a file that nothing reads, or that no longer fits, fails here."""

from __future__ import annotations

import json
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import pytest
from transformers import LlamaConfig

from eosin.clip.architecture import find_architecture
from eosin.clip.config import ClipTrainConfig
from eosin.clip.model_config import ClipEmbedConfig, ClipExportConfig
from eosin.config import load_recipe
from eosin.data_builders.balance import BalanceConfig
from eosin.data_builders.cleaning.clean import CleanConfig
from eosin.data_builders.duplicates.builder import DedupConfig
from eosin.data_builders.evidence_cases import EvidenceConfig
from eosin.data_builders.exports.llava import LlavaConfig
from eosin.data_builders.exports.webdataset import WebDatasetConfig
from eosin.data_builders.image_folder import ImageFolderConfig
from eosin.data_builders.phantom_set import PhantomsConfig
from eosin.data_builders.phrasing import load_phrasing
from eosin.data_builders.resplit import SplitConfig
from eosin.data_builders.slides.settings import TileSlidesConfig
from eosin.data_builders.sources.builder import SourceConfig
from eosin.data_builders.teach import TeachConfig
from eosin.data_builders.writing.captions import CaptionsConfig
from eosin.data_builders.writing.instructions import InstructionsConfig
from eosin.data_builders.writing.prompts import load_prompt
from eosin.data_builders.writing.tiles import RetrievalPrompts, TilesConfig
from eosin.data_builders.writing.tools import load_tools
from eosin.errors import ConfigError
from eosin.eval.config import ColourConfig, ScoreConfig, VqaConfig, ZeroShotConfig
from eosin.eval.encoder_config import ProbeConfig, RetrievalConfig, SlideProbeConfig, SlideZeroShotConfig
from eosin.eval.prompts import load_prompts
from eosin.labels import LabelSet
from eosin.llm.config import ExportConfig, TrainConfig
from eosin.retrieval.config import IndexConfig

ROOT = Path(str(resources.files("eosin.configs")))


@dataclass(frozen=True)
class Recipe:
    """The config a stage reads a recipe into, and the inputs it does not do without."""

    config: type[Any]
    inputs: tuple[str, ...] = ()


RECIPES = {
    "demo/phantoms": Recipe(PhantomsConfig),
    "demo/phantoms-small": Recipe(PhantomsConfig),
    "demo/tiles": Recipe(ImageFolderConfig),
    "demo/evidence": Recipe(EvidenceConfig),
    "demo/clip": Recipe(ClipTrainConfig),
    "demo/small-clip": Recipe(ClipTrainConfig),
    "demo/tiles-clip": Recipe(ClipTrainConfig),
    "clip/plip": Recipe(ClipTrainConfig),
    "clip/quiltnet-b32": Recipe(ClipTrainConfig),
    "clip/pathclip": Recipe(ClipTrainConfig),
    "clip/pathgen-clip-b16": Recipe(ClipTrainConfig),
    "clip/pathgen-clip-l14-336": Recipe(ClipTrainConfig),
    "clip/conch-coca": Recipe(ClipTrainConfig),
    "clip/keep": Recipe(ClipTrainConfig),
    "clip/biomedclip": Recipe(ClipTrainConfig),
    "clip/pathoclip": Recipe(ClipTrainConfig),
    "clip/lc25000": Recipe(ClipTrainConfig),
    "demo/clip-export": Recipe(ClipExportConfig),
    "demo/embed": Recipe(ClipEmbedConfig),
    "clip/embed": Recipe(ClipEmbedConfig),
    "demo/index": Recipe(IndexConfig),
    "demo/llm-stage1": Recipe(TrainConfig),
    "demo/llm-stage2": Recipe(TrainConfig),
    "demo/small-llm-stage1": Recipe(TrainConfig),
    "demo/small-llm-stage2": Recipe(TrainConfig),
    "demo/tiles-evidence": Recipe(EvidenceConfig),
    "demo/tiles-llm-stage1": Recipe(TrainConfig),
    "demo/tiles-llm-stage2": Recipe(TrainConfig),
    "demo/llm-export": Recipe(ExportConfig),
    "demo/eval-zero-shot": Recipe(ZeroShotConfig, ("model=x",)),
    "demo/eval-zero-shot-blind": Recipe(ZeroShotConfig, ("model=x",)),
    "demo/eval-colour": Recipe(ColourConfig, ("data=x",)),
    "demo/eval-vqa": Recipe(VqaConfig, ("model=x",)),
    "demo/eval-vqa-blind": Recipe(VqaConfig, ("model=x",)),
    "demo/eval-vqa-evidence": Recipe(VqaConfig, ("model=x", "index=x", "embedder=x")),
    "demo/report": Recipe(ScoreConfig),
    **dict.fromkeys(("eval/zero-shot", "eval/zero-shot-draws", "eval/robustness", "eval/domains"), Recipe(ZeroShotConfig, ("model=x",))),
    "eval/colour-matched": Recipe(ZeroShotConfig, ("model=x",)),
    "eval/colour-baseline": Recipe(ColourConfig, ("data=x",)),
    "eval/retrieval": Recipe(RetrievalConfig, ("model=x",)),
    **dict.fromkeys(("eval/linear-probe", "eval/knn", "eval/few-shot", "eval/simpleshot"), Recipe(ProbeConfig)),
    **dict.fromkeys(("eval/slides-topk", "eval/slides-tumour-ratio"), Recipe(SlideZeroShotConfig, ("model=x",))),
    **dict.fromkeys(("eval/slide-probe", "eval/survival"), Recipe(SlideProbeConfig)),
    "data/clean-captions": Recipe(CleanConfig),
    "data/clean-reports": Recipe(CleanConfig),
    "data/split": Recipe(SplitConfig),
    "data/balance": Recipe(BalanceConfig),
    "data/dedup": Recipe(DedupConfig),
    "data/source": Recipe(SourceConfig),
    "data/teach": Recipe(TeachConfig),
    "data/export-webdataset": Recipe(WebDatasetConfig),
    "data/export-llava": Recipe(LlavaConfig),
    "data/tile-slides": Recipe(TileSlidesConfig),
    "data/write-tiles": Recipe(TilesConfig),
    "data/write-captions": Recipe(CaptionsConfig),
    "data/write-labels": Recipe(CaptionsConfig),
    "data/write-instructions": Recipe(InstructionsConfig),
    "data/write-reports": Recipe(InstructionsConfig),
}
ARCHITECTURES = {"clip-vit-192x6-96": "clip", "clip-conch-b16-448": "clip", "clip-resnet-16-160": "clip", "llama-256x4": "llama"}
# vLLM's constraints are read in tests/serve/test_vllm_env.py, the chat template in tests/llm/test_encoding.py.
READ_ELSEWHERE = {"vllm/constraints.txt", "vllm/constraints-cuda.txt", "templates/eosin.jinja"}


def names(folder: str, suffix: str) -> list[str]:
    return sorted(path.relative_to(ROOT).with_suffix("").as_posix() for path in ROOT.glob(f"{folder}/*{suffix}"))


def test_every_file_has_a_reader() -> None:
    read = {f"{name}.yaml" for name in RECIPES} | {f"architectures/{name}.json" for name in ARCHITECTURES} | READ_ELSEWHERE
    folders = ("labels", "vision", "prompts", "questions", "writing", "cleaning", "writing/prompts")
    for folder, suffix in (*((folder, ".yaml") for folder in folders), ("templates", ".jinja")):
        read |= {f"{name}{suffix}" for name in names(folder, suffix)}
    shipped = {path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*") if path.is_file() and path.suffix not in (".py", ".pyc")}
    assert shipped == read, "a new file needs its line in this test; a removed one must leave it"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_fits_its_stage_and_no_key_of_it_is_unknown(name: str) -> None:
    recipe = RECIPES[name]
    assert isinstance(load_recipe(recipe.config, name, recipe.inputs), recipe.config)
    with pytest.raises(ConfigError, match="colour_of_the_sky: unknown key"):
        load_recipe(recipe.config, name, (*recipe.inputs, "colour_of_the_sky=pink"))


@pytest.mark.parametrize("name", [name for name in RECIPES if "eosin" in (ROOT / f"{name}.yaml").read_text()])
def test_a_recipes_command_names_the_recipe(name: str) -> None:
    text = (ROOT / f"{name}.yaml").read_text()
    commands = [line.split() for line in text.splitlines() if line.startswith("#") and " eosin " in line]
    assert any(name in words for words in commands), "what comes before it, such as building its data, may be told too"


@pytest.mark.parametrize("name", names("labels", ".yaml"))
def test_a_label_set_gives_each_class_its_own_answer_and_names(name: str) -> None:
    classes = load_recipe(LabelSet, name).classes
    assert len({found.answer for found in classes.values()}) == len(classes) > 1
    for found in classes.values():
        assert found.answer in found.names
        assert len(set(found.names)) == len(found.names)


@pytest.mark.parametrize("name", names("questions", ".yaml"))
def test_a_phrasing_asks_about_the_class_in_every_way(name: str) -> None:
    words = load_phrasing(name.removeprefix("questions/")).words("class")
    assert words.open
    assert words.closed
    assert words.mcq


@pytest.mark.parametrize("name", names("writing/prompts", ".yaml"))
def test_a_writing_prompt_holds_together(name: str) -> None:
    prompt = load_prompt(name.removeprefix("writing/prompts/"))
    assert prompt.slots
    assert prompt.chat(dict.fromkeys(prompt.slots, "x")).messages[-1].role == "user"


def test_tools_and_retrieval_prompts_hold_together() -> None:
    assert "detect_objects" in load_tools("tools").instruction
    assert len(load_recipe(RetrievalPrompts, "writing/retrieval").of("Colon")) > 12
    assert names("writing", ".yaml") == ["writing/retrieval", "writing/tools"]


@pytest.mark.parametrize("name", names("prompts", ".yaml"))
def test_a_prompt_set_names_the_class_in_each_template(name: str) -> None:
    assert all("{name}" in template for template in load_prompts(name).templates)


@pytest.mark.parametrize("name", [name for name, kind in ARCHITECTURES.items() if kind == "clip"])
def test_a_clip_architecture_is_found_by_its_name(name: str) -> None:
    found = find_architecture(name)
    assert found["embed_dim"] > 0
    vision = found["vision_cfg"]
    # A residual network of open_clip ends 32 times as wide as it begins, and 32 times as coarse.
    width, patch = (32 * vision["width"], 32) if isinstance(vision["layers"], list) else (vision["width"], vision["patch_size"])
    assert width % vision["head_width"] == 0
    assert vision["image_size"] % patch == 0


@pytest.mark.parametrize("name", [name for name, kind in ARCHITECTURES.items() if kind == "llama"])
def test_a_language_model_architecture_holds_values_of_llama_only(name: str) -> None:
    values = json.loads((ROOT / "architectures" / f"{name}.json").read_text())
    assert set(values) <= set(LlamaConfig().to_dict())
    assert values["num_attention_heads"] * values["head_dim"] == values["hidden_size"]


@pytest.mark.parametrize("name", [name for name in names("templates", ".jinja") if "report" in name])
def test_a_report_template_is_valid_jinja(name: str) -> None:
    assert jinja2.Environment(autoescape=True).parse((ROOT / f"{name}.jinja").read_text()).body
