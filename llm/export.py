"""`eosin llm export`: adapters merged into their base, in the one layout that transformers and stock vLLM both load.

On disk a tower built in this version of transformers lacks the level `vision_model` that hub checkpoints have and vLLM asks for;
it is put in, and transformers reads it back without a missing key. What was written is read again and compared.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from eosin.artefacts import Artefact, ArtefactWriter, InputRef, Plan, open_artefact
from eosin.artefacts.files import digest_of_folder, read_json, replacing, write_json
from eosin.commands import Inputs, open_inputs
from eosin.config import settings_of
from eosin.errors import ArtefactError, EosinError, Unsupported
from eosin.llm import adapters
from eosin.llm.assistant import Assistant, read_assistant
from eosin.llm.config import ExportConfig
from eosin.models.loading import quiet
from eosin.models.transformers_chat import model_fingerprint
from eosin.models.turns import renderer
from eosin.progress import say
from eosin.seeds import generator

_TOWER = "vision_tower."
_LEVEL = "vision_tower.vision_model."


def export(config: ExportConfig, out: Path, *, overwrite: bool = False) -> Artefact:
    """Make the `llm_model` artefact whose folder is the model.

    Raises:
        ArtefactError: the base is missing, or is not the one the adapters were trained on.
        EosinError: the folder, read back, gives other logits than the trained model.
    """
    inputs = open_inputs(config)
    trained = inputs.artefacts["model"]
    facts = {**{key: trained.plan.facts[key] for key in ("intended_use", "limits") if key in trained.plan.facts}}
    plan = Plan(
        "llm_model",
        "llm export",
        settings_of(config),
        inputs.refs,
        facts={"title": "Vision-language assistant", "format": "transformers", **facts},
    )
    with ArtefactWriter(out, plan, overwrite=overwrite, paths=inputs.paths) as writer:
        if writer.finished:
            say(f"{out}: already there")
            return open_artefact(out)
        assistant, merged = _trained_model(trained, inputs)
        wanted = probe_logits(assistant, renderer(assistant.processor))
        model = merged()
        _write(model, assistant.processor, out)
        results = {**_parity(wanted, out, config.tolerance), "fingerprint": model_fingerprint(out, "torch.float32")}
        artefact = writer.finish(results)
    say(f"{out}: merged; logits differ by {results['max_logit_difference']:.1e} at most")
    return artefact


def _trained_model(trained: Artefact, inputs: Inputs) -> tuple[Assistant, Any]:
    """The model as it was trained, and what merges it."""
    if not (trained.path / adapters.FOLDER).is_dir():
        assistant = read_assistant(trained.path)
        return assistant, lambda: assistant.model
    base = find_base(trained, inputs.folders.get("base"))
    assistant = read_assistant(base)
    wrapped = adapters.read_adapters(assistant.model, trained.path / adapters.FOLDER).eval()
    return assistant, wrapped.merge_and_unload


def find_base(trained: Artefact, named: Path | None) -> Path:
    """Where the base of adapters lies: as named, else where it lay when they were trained.

    Raises:
        ArtefactError: it is not there, or its digest is another.
    """
    reference = next((item for item in trained.plan.inputs if item.name in ("model", "base")), None)
    if reference is None:
        raise ArtefactError(f"{trained.path}: its plan names no base; train the adapters again")
    noted = read_json(trained.path / "run.json").get("inputs", {}).get(reference.name)
    path = named or (Path(noted) if noted else None)
    if path is None or not path.is_dir():
        raise ArtefactError(f"the base of {trained.path} is not at {path}; name it by base=FOLDER")
    found = _digest(path, reference)
    if found != reference.digest:
        raise ArtefactError(
            f"{path} is not the base of {trained.path}: its digest is {found[:16]}, the adapters were trained on {reference.digest[:16]}; "
            "name the right one by base=FOLDER, or train the adapters again"
        )
    return path


def _digest(path: Path, reference: InputRef) -> str:
    return digest_of_folder(path) if reference.kind == "folder" else open_artefact(path, reference.kind).digest


def _write(model: Any, processor: Any, out: Path) -> None:
    if not isinstance(model.config.vision_feature_layer, int):
        raise Unsupported(f"vision_feature_layer is {model.config.vision_feature_layer}: vLLM would silently read one layer of several")
    with quiet():
        model.save_pretrained(out)
    processor.save_pretrained(out)
    for shard in sorted(out.glob("*.safetensors")):
        tensors = {_disk_name(name): tensor for name, tensor in load_file(shard).items()}
        with replacing(shard) as temporary:
            save_file(tensors, temporary, metadata={"format": "pt"})
    index = out / "model.safetensors.index.json"
    if index.is_file():
        values = json.loads(index.read_text(encoding="utf-8"))
        write_json(index, {**values, "weight_map": {_disk_name(name): file for name, file in values["weight_map"].items()}})


def _disk_name(name: str) -> str:
    return _LEVEL + name.removeprefix(_TOWER) if name.startswith(_TOWER) and not name.startswith(_LEVEL) else name


def probe_logits(assistant: Assistant, render: Any) -> list[Tensor]:
    """Logits of a few fixed chats, float32 [tokens, vocabulary] each: text alone, one image, two images over two turns."""
    noise = generator(0).integers(0, 256, (2, 96, 96, 3), dtype=np.uint8)
    pictures = [Image.fromarray(pixels) for pixels in noise]
    image, words = {"type": "image"}, {"type": "text", "text": "What does the image show? 12"}
    first = {"role": "user", "content": [image, words]}
    answer = {"role": "assistant", "content": [{"type": "text", "text": "tissue"}]}
    chats = [
        ([{"role": "user", "content": [words]}], []),
        ([first], pictures[:1]),
        ([first], pictures[1:]),
        ([first, answer, first], pictures),
    ]
    found = []
    for messages, images in chats:
        inputs = assistant.processor(text=[render(messages, True)], images=images or None, add_special_tokens=False, return_tensors="pt")
        with torch.inference_mode():
            found.append(assistant.model(**inputs).logits[0].float())
    return found


def _parity(wanted: list[Tensor], out: Path, tolerance: float) -> dict[str, Any]:
    """Read the folder back, complete, and compare.

    Raises:
        EosinError: a logit differs by more than `tolerance`.
    """
    again = read_assistant(out)
    found = probe_logits(again, renderer(again.processor))
    difference = max(float((one - other).abs().max()) for one, other in zip(wanted, found, strict=True))
    same = all(torch.equal(one.argmax(-1), other.argmax(-1)) for one, other in zip(wanted, found, strict=True))
    if not difference <= tolerance:
        raise EosinError(
            f"{out}: logits of the exported model differ by {difference:.2e} from the trained one; at most {tolerance:.0e} is allowed"
        )
    largest = max(float(logits.abs().max()) for logits in wanted)
    return {"max_logit_difference": difference, "largest_logit": round(largest, 4), "same_best_tokens": same}
