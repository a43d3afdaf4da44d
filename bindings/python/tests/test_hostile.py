"""A store that is not honest."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

import coffre
from conftest import Place


def _packs(place: Place) -> list[Path]:
    return sorted(path for path in (place.store / "packs").rglob("*") if path.is_file())


@pytest.mark.parametrize("harm", ["altered", "cut", "gone"])
def test_what_was_altered_is_told_with_its_file(place: Place, harm: str) -> None:
    with place.open() as vault:
        vault.write_bytes("/film", os.urandom(4_000_000))
        vault.write_bytes("/note", b"small")
    largest = max(_packs(place), key=lambda path: path.stat().st_size)
    content = bytearray(largest.read_bytes())
    largest.chmod(0o644)
    match harm:
        case "altered":
            content[len(content) // 2] ^= 1
            largest.write_bytes(content)
        case "cut":
            largest.write_bytes(content[:1_000_000])
        case "gone":
            largest.unlink()
    with place.open("b") as vault:
        with pytest.raises(coffre.TamperedError) as caught:
            vault.read_bytes("/film")
        assert isinstance(caught.value, OSError)
        assert caught.value.errno == errno.EIO
        assert "film" in str(caught.value.filename)
        with vault.open("/film", "rb") as film, pytest.raises(coffre.TamperedError):
            film.read()


def test_a_rollback_is_noticed(place: Place) -> None:
    with place.open() as vault:
        vault.write_bytes("/one", b"1")
    shutil.copytree(place.store, place.folder / "old")
    with place.open() as vault:
        vault.write_bytes("/two", b"2")
    shutil.rmtree(place.store)
    shutil.copytree(place.folder / "old", place.store)
    with pytest.raises(coffre.RollbackError) as caught:
        place.open()
    assert isinstance(caught.value, coffre.TamperedError)


def test_no_content_and_no_name_is_in_the_store(place: Place) -> None:
    with place.open() as vault:
        vault.write_bytes("/planted-name", b"planted content" * 1000)
        vault.setxattr("/planted-name", "user.planted", b"planted value")
    for path in place.store.rglob("*"):
        assert b"planted" not in os.fsencode(path)
        assert path.is_dir() or b"planted" not in path.read_bytes()
