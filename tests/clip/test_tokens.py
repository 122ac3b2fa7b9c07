from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from eosin.clip.config import TokenizerConfig
from eosin.clip.tokens import END, save_tokenizer, settle_tokenizer, tokenise, train_tokenizer
from eosin.errors import ConfigError, InputError

TEXTS = ["colon adenocarcinoma", "normal lung tissue", "lung squamous cell carcinoma", "a tile of colon"] * 3
MODEL = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"context_length": 12, "vocab_size": 300}}


def settled(folder: Path, kind: str = "train", **model: object) -> dict[str, object]:
    import json

    cfg = settle_tokenizer(TokenizerConfig(kind), TEXTS, {**MODEL, **model}, folder, None)  # type: ignore[arg-type]
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": cfg, "preprocess_cfg": {}}))
    return cfg["text_cfg"]  # type: ignore[no-any-return]


def test_the_end_token_has_the_highest_id_and_ends_every_text(tmp_path: Path) -> None:
    text_cfg = settled(tmp_path)
    ids, cut = tokenise(tmp_path, [*TEXTS, "", "ångström µm ✓ unseen"], 12)
    end = text_cfg["eos_id"]
    assert end == text_cfg["vocab_size"] - 1 != 2  # type: ignore[operator]
    assert text_cfg["vocab_size"] <= 300  # type: ignore[operator]
    assert ids.shape == (len(TEXTS) + 2, 12)
    assert (ids.max(axis=1) == end).all()
    assert ((ids == end).sum(axis=1) == 1).all()
    assert (ids[-2] == [end - 1, end, *[0] * 10]).all()  # type: ignore[operator]
    assert cut.tolist() == [False] * (len(TEXTS) + 1) + [True], "a text that is cut is counted"


def test_transformers_reads_a_text_as_open_clip_does(tmp_path: Path) -> None:
    settled(tmp_path)
    theirs = AutoTokenizer.from_pretrained(str(tmp_path), local_files_only=True)
    texts = ["Colon  Adenocarcinoma\n", "normal lung tissue, x20", "é"]
    ours, _ = tokenise(tmp_path, texts, 12)
    np.testing.assert_array_equal(theirs(texts, padding="max_length", truncation=True, max_length=12)["input_ids"], ours)
    assert theirs.decode(ours[0], skip_special_tokens=True).strip() == "colon adenocarcinoma"


def test_training_the_tokenizer_twice_gives_the_same_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_tokenizer(train_tokenizer(TEXTS, 290, lowercase=True), tmp_path / name, 12)
    assert (tmp_path / "a/tokenizer.json").read_bytes() == (tmp_path / "b/tokenizer.json").read_bytes()


def test_case_is_kept_where_it_is_wanted() -> None:
    tokenizer = train_tokenizer(TEXTS, 280, lowercase=False)
    assert tokenizer.encode("HER2").ids != tokenizer.encode("her2").ids
    assert tokenizer.encode("HER2").tokens[-1] == END


def test_a_vocabulary_without_room_for_bytes_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least 259"):
        train_tokenizer(TEXTS, 200, lowercase=True)


def test_open_clips_tokenizer_needs_its_vocabulary(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="49408"):
        settled(tmp_path, "open_clip")
    assert settled(tmp_path, "open_clip", text_cfg={"context_length": 77}) == {"context_length": 77}
    ids, cut = tokenise(tmp_path, ["colon", "word " * 200], 77)
    assert (ids.max(axis=1) == 49407).all()
    assert cut.tolist() == [False, True]


def test_a_tokenizer_that_is_carried_over_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no tokenizer\.json"):
        settled(tmp_path, "init")
