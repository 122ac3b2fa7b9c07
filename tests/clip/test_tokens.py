import json
import time
from pathlib import Path

import numpy as np
import pytest
from transformers import AutoTokenizer

from eosin.clip.config import TokenizerConfig
from eosin.clip.tokens import END, save_tokenizer, settle_tokenizer, tokenise, train_tokenizer
from eosin.errors import ConfigError, InputError
from eosin.models.open_clip import tokenizer_of
from eosin.models.words import word_limit

TEXTS = ["colon adenocarcinoma", "normal lung tissue", "lung squamous cell carcinoma", "a tile of colon"] * 3
MODEL = {"embed_dim": 8, "vision_cfg": {}, "text_cfg": {"context_length": 12, "vocab_size": 300}}


def settled(folder: Path, kind: str = "train", **model: object) -> dict[str, object]:
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


def test_the_name_of_a_token_in_a_caption_is_text(tmp_path: Path) -> None:
    end = settled(tmp_path)["eos_id"]
    ids, _ = tokenise(tmp_path, ["<end> colon", "<end> lung", "<pad><start> colon"], 12)
    assert ((ids == end).sum(axis=1) == 1).all()
    assert not np.array_equal(ids[0], ids[1])
    assert (ids[2] != 0)[: int((ids[2] == end).argmax())].all()
    (tmp_path / "carried").mkdir()
    # A tokenizer from elsewhere that does not say how it reads such names.
    config = tmp_path / "tokenizer_config.json"
    config.write_text(json.dumps({key: value for key, value in json.loads(config.read_text()).items() if key != "split_special_tokens"}))
    settle_tokenizer(TokenizerConfig("init"), TEXTS, MODEL, tmp_path / "carried", tmp_path)
    (tmp_path / "carried/open_clip_config.json").write_bytes((tmp_path / "open_clip_config.json").read_bytes())
    np.testing.assert_array_equal(tokenise(tmp_path / "carried", ["<end> colon"], 12)[0], ids[:1])


def test_open_clips_tokenizer_reads_the_names_of_its_tokens_as_the_text_they_are(tmp_path: Path) -> None:
    settled(tmp_path, "open_clip", text_cfg={"context_length": 77})
    ids, _ = tokenise(tmp_path, ["a <END_OF_TEXT> colon", "a < end_of_text > colon", "a ((<start_of_text>"], 77)
    assert ((ids == 49407).sum(axis=1) == 1).all()
    assert ((ids == 49406).sum(axis=1) == 1).all()
    np.testing.assert_array_equal(ids[0], ids[1])


@pytest.mark.parametrize("kind", ["train", "open_clip"])
def test_a_word_of_a_hundred_thousand_letters_takes_no_time_and_is_counted_as_cut(kind: str, tmp_path: Path) -> None:
    context = 12 if kind == "train" else 77
    settled(tmp_path, kind, text_cfg={"context_length": context, **({"vocab_size": 300} if kind == "train" else {})})
    word = "".join(chr(97 + number) for number in np.random.default_rng(0).integers(0, 26, 100_000))
    start = time.process_time()
    ids, cut = tokenise(tmp_path, [f"colon {word} lung", f"colon {word[:20_000]}"], context)
    assert time.process_time() - start < 3
    assert cut.all()
    np.testing.assert_array_equal(ids[0], ids[1])
    if kind == "train":
        limit = word_limit(tokenizer_of(tmp_path).tokenizer, context)  # type: ignore[attr-defined]
        whole = AutoTokenizer.from_pretrained(str(tmp_path))(word[: 2 * limit], truncation=True, max_length=context)["input_ids"]
        np.testing.assert_array_equal(tokenise(tmp_path, [word], context)[0][0], whole)
