"""Tar archives: read from any section, no sample lost, nothing outside reached, damage named."""

import gzip
import io
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eosin.data_builders.sources.reading.tar_files import section_samples, tar_sections
from eosin.data_builders.sources.source import Refused
from eosin.errors import InputError

NAMES = st.lists(st.text("abcdefgh0123456789_-", min_size=1, max_size=140), min_size=1, max_size=25, unique=True)


def pack(path: Path, members: list[tuple[str, bytes]], **more: str) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT if more.get("gnu") else tarfile.PAX_FORMAT) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def read_all(path: Path, size: int) -> list[tuple[int, str, dict[str, bytes]]]:
    sections = list(tar_sections(path, "x", size=size))
    # Each section by itself, the last one first: none may depend on another.
    found = [entry for section in reversed(sections) for entry in reversed(list(section_samples(path, section)))]
    return [(number, sample.key, sample.members) for number, sample in reversed(found)]


@settings(max_examples=40)
@given(names=NAMES, size=st.integers(1, 7), gnu=st.booleans(), packed=st.booleans(), sizes=st.data())
def test_every_sample_is_read_once_in_order_whatever_the_sections(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], size: int, gnu: bool, packed: bool, sizes: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("tar") / "shard.tar"
    wanted = []
    members = []
    for number, name in enumerate(names):
        content = {"jpg": bytes([number]) * sizes.draw(st.integers(0, 1200)), "txt": name.encode()}
        wanted.append((number, f"part/{name}", content))
        members += [(f"part/{name}.{suffix}", data) for suffix, data in content.items()]
    pack(path, members, **({"gnu": "yes"} if gnu else {}))
    if packed:
        path.write_bytes(gzip.compress(path.read_bytes(), mtime=0))
    assert read_all(path, size) == wanted


def test_members_that_lead_out_or_are_no_files_are_refused_and_the_others_stay(tmp_path: Path) -> None:
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as archive:
        for name in ("a.jpg", "../evil.jpg", "/etc/evil.jpg", "b.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"123"))
        link = tarfile.TarInfo("c.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    [section] = tar_sections(path, "x")
    reasons = {}
    for _, sample in section_samples(path, section):
        try:
            sample.check()
        except Refused as refused:
            reasons[sample.key] = refused.reason
    assert reasons == {"../evil": "path_outside", "/etc/evil": "path_outside", "c": "not_a_file"}
    assert [sample.members for _, sample in section_samples(path, section) if sample.refused is None] == [{"jpg": b"123"}] * 2


@pytest.mark.parametrize("keep", [700, 1300, 1024, 2048, 3072])
def test_an_archive_that_is_cut_off_is_named(tmp_path: Path, keep: int) -> None:
    path = pack(tmp_path / "shard-7.tar", [(f"{number}.jpg", bytes(500)) for number in range(3)])
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"shard-7\.tar: cut off or damaged"):
        list(tar_sections(path, "x"))


def test_a_damaged_header_is_not_taken_for_the_end(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard.tar", [(f"{number}.jpg", bytes(500)) for number in range(3)])
    content = bytearray(path.read_bytes())
    content[1024 + 150] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(InputError, match="a header is damaged"):
        list(tar_sections(path, "x"))


def test_names_that_come_twice_are_told_and_lose_nothing(tmp_path: Path) -> None:
    path = pack(tmp_path / "near.tar", [("a.jpg", b"1"), ("a.jpg", b"2"), ("b.jpg", b"3")])
    [section] = tar_sections(path, "x")
    first, second = (sample for _, sample in section_samples(path, section))
    with pytest.raises(Refused, match="comes twice"):
        first.check()
    assert second.members == {"jpg": b"3"}
    path = pack(tmp_path / "far.tar", [("a.jpg", b"1"), ("b.jpg", b"3"), ("a.jpg", b"2")])
    with pytest.raises(InputError, match="samples called a come twice"):
        list(tar_sections(path, "x"))


def test_archives_that_were_joined_are_told(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard.tar", [("a.jpg", b"1")])
    path.write_bytes(path.read_bytes() * 2)
    with pytest.raises(InputError, match="more follows the end"):
        list(tar_sections(path, "x"))


def test_a_compressed_archive_that_is_cut_off_is_named(tmp_path: Path) -> None:
    path = pack(tmp_path / "shard.tar", [(f"{number}.jpg", bytes(range(250)) * 2) for number in range(9)])
    path.write_bytes(gzip.compress(path.read_bytes())[:-60])
    with pytest.raises(InputError, match="cut off or damaged"):
        list(tar_sections(path, "x"))
