"""Open files: as Python's own, but that new content shows all at once."""

from __future__ import annotations

import gc
import io
import os
import random
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest

import coffre


def test_modes_are_those_of_open(vault: coffre.Vault, tmp_path: Path) -> None:
    """The same calls on a vault and on this machine, with the same outcome."""
    modes = ["r", "w", "x", "a", "r+", "w+", "x+", "a+"]
    for mode in [*modes, *(f"{mode}b" for mode in modes)]:
        for there in (True, False):
            outcomes = []
            for opened, name in ((open, tmp_path / "file"), (vault.open, "/file")):
                if there:
                    with opened(name, "wb") as file:
                        file.write(b"0123456789")
                outcomes.append(_tried(opened, name, mode))
                if opened is open:
                    Path(name).unlink(missing_ok=True)
                else:
                    vault.path(name).unlink(missing_ok=True)
            assert outcomes[0] == outcomes[1], (mode, there)


def _tried(opened: object, name: object, mode: str) -> list[object]:
    content: object = b"ab" if "b" in mode else "ab"
    done: list[object] = []
    try:
        file = opened(name, mode)  # type: ignore[operator]
    except OSError as error:
        return [type(error)]
    with file:
        done.append((file.readable(), file.writable(), file.seekable(), file.tell()))
        for step in (
            lambda: file.write(content),
            lambda: file.tell(),
            lambda: file.seek(0),
            lambda: file.read(3),
            lambda: file.seek(0, 2),
            lambda: file.write(content),
            lambda: file.seek(1),
            lambda: file.truncate(),
            lambda: file.read(),
        ):
            try:
                done.append(step())
            except io.UnsupportedOperation:
                done.append("unsupported")
    with opened(name, "rb") as file:  # type: ignore[operator]
        done.append(file.read())
    return done


@pytest.mark.parametrize("mode", ["x1", "rw", "", "rr", "b", "rtb", "z", "U"])
def test_modes_that_are_none(vault: coffre.Vault, mode: str) -> None:
    with pytest.raises(ValueError):
        vault.open("/file", mode)


def test_arguments_that_do_not_fit(vault: coffre.Vault) -> None:
    with pytest.raises(ValueError):
        vault.open("/file", "wb", encoding="utf-8")  # type: ignore[call-overload]
    with pytest.raises(ValueError):
        vault.open("/file", "w", buffering=0)
    with pytest.raises(LookupError):
        vault.open("/file", "w", encoding="no such encoding")
    with pytest.raises(TypeError):
        vault.open("/file", 3)  # type: ignore[call-overload]
    assert vault.listdir() == []


def test_text_is_utf_8_and_lines_are_lines(vault: coffre.Vault) -> None:
    with vault.open("/text", "w") as file:
        file.writelines(["one\n", "zwölf\n", "three"])
    assert vault.read_bytes("/text") == "one\nzwölf\nthree".encode()
    with vault.open("/text") as file:
        assert list(file) == ["one\n", "zwölf\n", "three"]
        assert (file.name, file.mode) == ("/text", "r")
    with vault.open("/text", "w", encoding="utf-16", newline="\r\n") as file:
        file.write("a\nb")
    assert vault.read_bytes("/text").decode("utf-16") == "a\r\nb"


def test_random_work_ends_as_on_this_machine(vault: coffre.Vault, tmp_path: Path) -> None:
    dice = random.Random(7)
    plain, sealed = (tmp_path / "f").open("w+b"), vault.open("/f", "w+b")
    with plain, sealed:
        for _ in range(2_000):
            place, length = dice.randrange(3_000_000), dice.randrange(1, 300_000)
            if dice.random() < 0.3:
                length = dice.randrange(1, 500)
            match dice.randrange(4):
                case 0:
                    content = dice.randbytes(min(length, 5_000)) * (length // 5_000 + 1)
                    for file in (plain, sealed):
                        file.seek(place)
                        file.write(content)
                case 1 | 2:
                    plain.seek(place)
                    sealed.seek(place)
                    assert plain.read(length) == sealed.read(length)
                case 3 if dice.random() < 0.1:
                    assert plain.truncate(place) == sealed.truncate(place)
    assert (tmp_path / "f").read_bytes() == vault.read_bytes("/f")


def test_new_content_shows_when_the_file_is_closed(vault: coffre.Vault) -> None:
    vault.write_bytes("/f", b"old")
    with vault.open("/f", "wb") as file:
        file.write(b"new" * 1_000_000)
        file.flush()
        assert vault.read_bytes("/f") == b"old"
    assert vault.read_bytes("/f") == b"new" * 1_000_000


@pytest.mark.parametrize(
    ("mode", "buffering"),
    [(mode, size) for mode in ("wb", "w+b", "xb") for size in (-1, 0, 16)]
    + [(mode, size) for mode in ("w", "x") for size in (-1, 1)],
)
def test_what_fails_half_way_leaves_what_was_there(
    vault: coffre.Vault, mode: str, buffering: int
) -> None:
    if "w" in mode:
        vault.write_bytes("/f", b"old")
    with pytest.raises(KeyError), vault.open("/f", mode, buffering) as file:
        file.write(b"half" * 100 if "b" in mode else "half" * 100)
        raise KeyError
    assert file.closed
    assert vault.listdir() == (["f"] if "w" in mode else [])
    assert "w" not in mode or vault.read_bytes("/f") == b"old"


@pytest.mark.parametrize("mode", ["w", "wb", "w+b"])
def test_a_file_that_nobody_closes_leaves_what_was_there(vault: coffre.Vault, mode: str) -> None:
    vault.write_bytes("/f", b"old")
    file = vault.open("/f", mode)
    file.write(b"half" if "b" in mode else "half")
    with pytest.warns(ResourceWarning, match="old content was kept"):
        del file
        gc.collect()
    assert vault.read_bytes("/f") == b"old"


def test_a_file_changed_in_place_keeps_what_was_done(vault: coffre.Vault) -> None:
    vault.write_bytes("/f", b"0123456789")
    with pytest.raises(KeyError), vault.open("/f", "r+b") as file:
        file.seek(2)
        file.write(b"XX")
        raise KeyError
    assert vault.read_bytes("/f") == b"01XX456789"


def test_only_one_makes_a_file(vault: coffre.Vault) -> None:
    first, second = vault.open("/f", "xb"), vault.open("/f", "xb")
    first.write(b"1")
    second.write(b"2")
    second.close()
    with pytest.raises(FileExistsError):
        first.close()
    assert first.closed
    assert vault.read_bytes("/f") == b"2"
    with pytest.raises(FileExistsError):
        vault.open("/f", "x")


def test_appending(vault: coffre.Vault) -> None:
    with vault.open("/log", "a") as log:
        log.write("one ")
    one, other = vault.open("/log", "ab", 0), vault.open("/log", "ab", 0)
    with one, other:
        one.write(b"two ")
        other.write(b"three ")
        one.write(b"four")
        assert one.tell() == 18
    assert vault.read_text("/log") == "one two three four"


def test_a_vault_that_is_closed_first_tells_its_writers(vault: coffre.Vault) -> None:
    vault.write_bytes("/f", b"old")
    vault.write_bytes("/in-place", b"old")
    new, in_place, read = vault.open("/f", "wb"), vault.open("/in-place", "r+b"), vault.open("/f", "rb")
    new.write(b"new")
    in_place.write(b"new")
    in_place.flush()
    vault.close()
    with pytest.raises(ValueError, match="closed"):
        new.close()
    assert new.closed
    in_place.close()
    with pytest.raises(ValueError, match="closed"):
        read.read()
    read.close()


def test_what_needs_a_file_object_takes_it(vault: coffre.Vault, tmp_path: Path) -> None:
    for i in range(20):
        (tmp_path / f"{i}").write_bytes(os.urandom(10_000 * i))
    with vault.open("/all.tar.gz", "wb") as into, tarfile.open(fileobj=into, mode="w:gz") as tar:
        for i in range(20):
            tar.add(tmp_path / f"{i}", arcname=f"{i}")
    with vault.open("/all.tar.gz", "rb") as out, tarfile.open(fileobj=out) as tar:
        found = tar.extractfile("19")
        assert found is not None and found.read() == (tmp_path / "19").read_bytes()
    with vault.open("/all.zip", "w+b") as both, zipfile.ZipFile(both, "w") as made:
        for i in range(20):
            made.write(tmp_path / f"{i}", f"{i}")
    with vault.open("/all.zip", "rb") as out, zipfile.ZipFile(out) as archive:
        assert archive.testzip() is None
        assert archive.read("7") == (tmp_path / "7").read_bytes()
    with vault.open("/copy", "wb") as into, (tmp_path / "19").open("rb") as source:
        shutil.copyfileobj(source, into)
    assert vault.read_bytes("/copy") == (tmp_path / "19").read_bytes()


def test_a_file_larger_than_the_bound_of_memory_streams(place: object) -> None:
    part = os.urandom(1 << 20)
    with place.open(memory=96 << 20) as vault:  # type: ignore[attr-defined]
        with vault.open("/large", "wb") as file:
            for i in range(300):
                file.write(i.to_bytes(4, "big") + part[4:])
        with vault.open("/large", "rb") as file:
            for i in range(300):
                assert file.read(1 << 20) == i.to_bytes(4, "big") + part[4:]
            assert file.read() == b""
