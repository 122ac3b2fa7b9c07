import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eosin.clip.text_store import TextStore, TextStoreWriter


@given(st.lists(st.text(max_size=12)))
def test_texts_come_back_by_their_numbers_and_equal_ones_have_one(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "texts.bin"
        with TextStoreWriter(path) as writer:
            numbers = [writer.number(text) for text in texts]
        store = TextStore(path)
        assert [store[number] for number in numbers] == texts
        assert list(store) == list(dict.fromkeys(texts))
        assert store[0 : len(store)] == list(store)
        with pytest.raises(IndexError):
            store[len(store)]
