"""An open_clip model as a folder of CLIPModel or SiglipModel: weights, tokenizer, image processor, and the proof that they agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from eosin.artefacts import ArtefactWriter
from eosin.artefacts.files import replacing
from eosin.clip.architecture import check_activation
from eosin.clip.convert import Ids, check_convertible, clip_config, convert_weights
from eosin.clip.convert_siglip import check_siglip, convert_siglip_weights, is_siglip, siglip_config
from eosin.clip.model_config import ClipExportConfig
from eosin.clip.parity import check_features, check_pixels, compare, feature_differences, pixel_differences, text_features
from eosin.errors import EosinError, Unsupported
from eosin.models.open_clip import OpenClipModel, load_open_clip, preprocessing_of, read_open_clip_config, tokenizer_of
from eosin.models.transformers_clip import no_bars, transformers_fingerprint
from eosin.progress import say

_RESAMPLE = {"bilinear": 2, "bicubic": 3}
_PUNCTUATION = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^`{|}~]"
_EXAMPLES = (
    "",
    "colon adenocarcinoma",
    "An H&E image patch of normal lung tissue.",
    "Grade 3/3; 12 mitoses  per mm2",
    "kernpolymorphie " * 200,
)


def export(source: Path, writer: ArtefactWriter, config: ClipExportConfig) -> dict[str, Any]:
    """Write the folder and check it.

    Args:
        source: the open_clip model.
        writer: of the new artefact.
        config: the recipe.

    Returns:
        The artefact's results: activation, ids, differences.

    Raises:
        Unsupported: neither CLIPModel nor SiglipModel can compute this architecture.
        EosinError: what transformers loads back does not agree with open_clip.
    """
    model_cfg = read_open_clip_config(source)["model_cfg"]
    siglip = is_siglip(model_cfg)
    if not siglip:
        check_convertible(model_cfg)
    model = load_open_clip(source)
    if siglip:
        check_siglip(model, model_cfg)
    activation = check_activation(model, model_cfg)
    folder = writer.scratch / "export"
    with no_bars():
        ids = write_tokenizer(source, folder, model.context_length, siglip=siglip)
        if siglip:
            _write_siglip(model, siglip_config(model, model_cfg, ids), folder)
        else:
            _write_model(model, clip_config(model_cfg, activation, ids), folder)
        exact = write_processor(model, folder, "SiglipProcessor" if siglip else "CLIPProcessor")
        results = _check(source, folder, model, ids, config, exact)
    for path in sorted(folder.iterdir()):
        with replacing(writer.path / path.name) as temporary:
            temporary.write_bytes(path.read_bytes())
    return {
        "format": "transformers",
        "fingerprint": transformers_fingerprint(writer.path),
        "activation": activation,
        "end_token_id": ids.end,
        "context_length": int(model.context_length),
        "embed_dim": int(model_cfg["embed_dim"]),
        "logit_scale": float(model.logit_scale.detach().exp()),
        "exact_pixels_on": "every image" if exact else "square images; on others the middle may lie one pixel aside",
        **_left_out(model, siglip=siglip),
        **results,
    }


def _left_out(model: OpenClipModel, *, siglip: bool) -> dict[str, Any]:
    """What a CLIPModel has no place for: the bias by which SigLIP's objective moves all logits alike."""
    bias = getattr(model, "logit_bias", None)
    if siglip or bias is None:
        return {}
    value = float(bias.detach())
    say(f"clip export: a CLIPModel has no logit_bias; left out is {value:.4g}, which only probabilities by a sigmoid need")
    return {"left_out": {"logit_bias": value}}


def _write_model(model: OpenClipModel, values: dict[str, Any], folder: Path) -> None:
    """Weights and config, through CLIPModel itself, so that every name must fit."""
    from transformers import CLIPConfig, CLIPModel

    converted = CLIPModel(CLIPConfig(**values))
    converted.load_state_dict(convert_weights(model.state_dict()), strict=True)
    converted.save_pretrained(str(folder))


def _write_siglip(model: OpenClipModel, values: dict[str, Any], folder: Path) -> None:
    """Likewise through SiglipModel."""
    from transformers import SiglipConfig, SiglipModel

    converted = SiglipModel(SiglipConfig(**values))
    converted.load_state_dict(convert_siglip_weights(model.state_dict()), strict=True)
    converted.save_pretrained(str(folder))


def write_tokenizer(source: Path, folder: Path, context: int, *, siglip: bool = False) -> Ids:
    """The tokenizer's files; open_clip's built-in one is written as the CLIPTokenizer it stems from.

    Raises:
        Unsupported: a tokenizer without the tokens at which the model pools, or one that cleans texts in a way of its own.
    """
    from transformers import AutoTokenizer

    folder.mkdir(exist_ok=True)
    if (source / "tokenizer.json").is_file():
        tokenizer = AutoTokenizer.from_pretrained(str(source), local_files_only=True)
    else:
        tokenizer = _built_in_tokenizer(source, context)
    if siglip:
        _clean_as_open_clip(source, tokenizer)
        tokenizer.model_max_length = context
        if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
            raise Unsupported(f"{source}: its tokenizer has no end or padding token, at which SiglipModel pools")
        tokenizer.save_pretrained(str(folder))
        # SigLIP has no start token; transformers' config wants a number.
        return Ids(int(tokenizer.bos_token_id or tokenizer.eos_token_id), int(tokenizer.eos_token_id), int(tokenizer.pad_token_id))
    if tokenizer.bos_token_id is None or tokenizer.eos_token_id is None:
        raise Unsupported(f"{source}: its tokenizer has no start or end token, where CLIPModel pools")
    tokenizer.save_pretrained(str(folder))
    return Ids(int(tokenizer.bos_token_id), int(tokenizer.eos_token_id), int(tokenizer.pad_token_id or 0))


def _clean_as_open_clip(source: Path, tokenizer: Any) -> None:
    """Let the tokenizer do itself what open_clip does to texts before it: `canonicalize` takes away case and punctuation."""
    from tokenizers import Regex, normalizers

    clean = read_open_clip_config(source)["model_cfg"]["text_cfg"].get("tokenizer_kwargs", {}).get("clean", "whitespace")
    if clean not in ("whitespace", "canonicalize"):
        raise Unsupported(f"{source}: its texts are cleaned by {clean!r}; only whitespace and canonicalize can be exported")
    steps = [normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()]
    if clean == "canonicalize":
        drop = [normalizers.Replace("_", " "), normalizers.Replace(Regex(_PUNCTUATION), ""), normalizers.Lowercase()]
        steps = [*drop, *steps]
    backend = tokenizer.backend_tokenizer
    own = [backend.normalizer] if backend.normalizer is not None else []
    backend.normalizer = normalizers.Sequence([*steps, *own])


def _built_in_tokenizer(source: Path, context: int) -> Any:
    """open_clip's own vocabulary and merges under the names that transformers gives them."""
    from transformers import CLIPTokenizer

    own: Any = tokenizer_of(source)
    renamed = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    vocabulary = {renamed.get(token, token): number for token, number in own.encoder.items()}
    merges = [pair for pair, _ in sorted(own.bpe_ranks.items(), key=lambda item: item[1])]
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=context, split_special_tokens=True)


def write_processor(model: OpenClipModel, folder: Path, processor_class: str) -> bool:
    """`preprocessor_config.json`; whether it gives open_clip's pixels on every image, square or not.

    Under the name CLIPImageProcessor transformers 5 loads its torchvision backend, whose resize differs by up to one grey level. The
    plain PIL backend has no such double, and gives open_clip's pixels wherever it is loaded.

    Raises:
        Unsupported: open_clip resizes in a way that transformers cannot.
    """
    from transformers import PilBackend

    cfg = model.visual.preprocess_cfg
    size = cfg["size"][0] if isinstance(cfg["size"], tuple | list) else cfg["size"]
    if cfg["resize_mode"] not in ("squash", "shortest") or cfg["interpolation"] not in _RESAMPLE:
        raise Unsupported(
            f"images are resized by {cfg['resize_mode']} and {cfg['interpolation']}; transformers' CLIP processor cannot do that"
        )
    squash: bool = cfg["resize_mode"] == "squash"
    square = {"height": size, "width": size}
    processor = PilBackend(
        do_convert_rgb=True,
        do_resize=True,
        size=square if squash else {"shortest_edge": size},
        default_to_square=squash,
        resample=_RESAMPLE[cfg["interpolation"]],
        do_center_crop=not squash,
        crop_size=square,
        do_rescale=True,
        rescale_factor=1 / 255,
        do_normalize=True,
        image_mean=list(cfg["mean"]),
        image_std=list(cfg["std"]),
    )
    processor.save_pretrained(str(folder))
    file = folder / "preprocessor_config.json"
    values = {**json.loads(file.read_text(encoding="utf-8")), "processor_class": processor_class}
    file.write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return squash


def _check(source: Path, folder: Path, model: OpenClipModel, ids: Ids, config: ClipExportConfig, exact: bool) -> dict[str, Any]:
    """Compare what transformers loads back with the original; the differences found."""
    from transformers import AutoModel, AutoProcessor

    loaded, report = AutoModel.from_pretrained(str(folder), local_files_only=True, output_loading_info=True)
    processor = AutoProcessor.from_pretrained(str(folder), local_files_only=True)  # type: ignore[no-untyped-call]
    if report["missing_keys"] or report["unexpected_keys"] or loaded.config.text_config.eos_token_id != ids.end:
        raise EosinError(f"transformers does not load {folder} as it was written: {report}")
    features = feature_differences(model, loaded.eval(), config.seed, ids)
    check_features(features, config.tolerance, source)
    pixels = pixel_differences(preprocessing_of(model), processor.image_processor, config.seed)
    check_pixels(pixels, exact=exact)
    _check_texts(source, model, loaded, processor.tokenizer, config.tolerance)
    return {
        "differences": {name: {"largest": found.largest, "of_up_to": found.scale} for name, found in features.items()},
        "pixel_differences": pixels,
        "tolerance": config.tolerance,
    }


def _check_texts(source: Path, model: OpenClipModel, loaded: Any, tokenizer: Any, tolerance: float) -> None:
    """Both tokenizers, each before its own model, on real texts; they may pad differently, which changes no feature."""
    import torch

    theirs = tokenizer(list(_EXAMPLES), padding="max_length", truncation=True, max_length=model.context_length, return_tensors="pt")[
        "input_ids"
    ]
    with torch.inference_mode():
        ours = model.encode_text(tokenizer_of(source)(list(_EXAMPLES)))
        found = compare(ours, text_features(loaded, theirs))
    if not found.within(tolerance):
        raise EosinError(f"{source}: the exported tokenizer reads texts differently (features differ by {found.largest})")
