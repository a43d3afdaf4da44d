"""What cannot be: refused by the exception that a Python programmer expects, with the path in it."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pytest

import coffre
from conftest import PASSPHRASE, Place


@pytest.fixture
def filled(vault: coffre.Vault) -> coffre.Vault:
    vault.makedirs("/folder/inner")
    vault.write_bytes("/file", b"content")
    vault.symlink("loop", "/loop")
    return vault


REFUSED: list[tuple[str, tuple[Any, ...], type[OSError], int]] = [
    ("read_bytes", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("read_bytes", ("/folder",), IsADirectoryError, errno.EISDIR),
    ("read_bytes", ("/file/below",), NotADirectoryError, errno.ENOTDIR),
    ("read_bytes", ("/loop",), OSError, errno.ELOOP),
    ("read_bytes", ("",), FileNotFoundError, errno.ENOENT),
    ("read_text", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("write_bytes", ("/folder", b""), IsADirectoryError, errno.EISDIR),
    ("write_bytes", ("/missing/file", b""), FileNotFoundError, errno.ENOENT),
    ("write_bytes", ("/file/below", b""), NotADirectoryError, errno.ENOTDIR),
    ("write_bytes", ("/" + "n" * 256, b""), OSError, errno.ENAMETOOLONG),
    ("open", ("/folder",), IsADirectoryError, errno.EISDIR),
    ("open", ("/folder", "w"), IsADirectoryError, errno.EISDIR),
    ("open", ("/folder", "a"), IsADirectoryError, errno.EISDIR),
    ("open", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("open", ("/missing", "r+"), FileNotFoundError, errno.ENOENT),
    ("open", ("/file", "x"), FileExistsError, errno.EEXIST),
    ("listdir", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("listdir", ("/file",), NotADirectoryError, errno.ENOTDIR),
    ("stat", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("mkdir", ("/folder",), FileExistsError, errno.EEXIST),
    ("mkdir", ("/file",), FileExistsError, errno.EEXIST),
    ("mkdir", ("/missing/folder",), FileNotFoundError, errno.ENOENT),
    ("makedirs", ("/file/below/it",), NotADirectoryError, errno.ENOTDIR),
    ("rmdir", ("/folder",), OSError, errno.ENOTEMPTY),
    ("rmdir", ("/file",), NotADirectoryError, errno.ENOTDIR),
    ("rmdir", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("rmtree", ("/file",), NotADirectoryError, errno.ENOTDIR),
    ("rmtree", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("rmtree", ("",), FileNotFoundError, errno.ENOENT),
    ("remove", ("/folder",), IsADirectoryError, errno.EISDIR),
    ("remove", ("/missing",), FileNotFoundError, errno.ENOENT),
    ("rename", ("/missing", "/other"), FileNotFoundError, errno.ENOENT),
    ("rename", ("/file", "/folder"), IsADirectoryError, errno.EISDIR),
    ("rename", ("/folder", "/folder/inner/itself"), OSError, errno.EINVAL),
    ("copy", ("/missing", "/other"), FileNotFoundError, errno.ENOENT),
    ("copy", ("/folder", "/other"), IsADirectoryError, errno.EISDIR),
    ("copy", ("/file", "/folder"), IsADirectoryError, errno.EISDIR),
    ("readlink", ("/file",), OSError, errno.EINVAL),
    ("truncate", ("/file", -1), OSError, errno.EINVAL),
    ("getxattr", ("/file", "user.missing"), OSError, errno.ENODATA),
    ("removexattr", ("/file", "user.missing"), OSError, errno.ENODATA),
    ("setxattr", ("/file", "user.large", bytes(70_000)), OSError, errno.E2BIG),
]


@pytest.mark.parametrize(("method", "arguments", "kind", "number"), REFUSED)
def test_what_is_refused(
    filled: coffre.Vault, method: str, arguments: tuple[Any, ...], kind: type[OSError], number: int
) -> None:
    with pytest.raises(kind) as caught:
        getattr(filled, method)(*arguments)
    assert caught.value.errno == number
    assert caught.value.filename is not None
    assert caught.value.strerror
    assert filled.read_bytes("/file") == b"content"
    assert sorted(filled.listdir()) == ["file", "folder", "loop"]


WRONG: list[tuple[str, tuple[Any, ...], type[Exception]]] = [
    ("read_bytes", (3,), TypeError),
    ("read_bytes", (None,), TypeError),
    ("read_bytes", ("/file", "a"), TypeError),
    ("read_bytes", ("/file", 1.5), TypeError),
    ("read_bytes", ("/file", -1), ValueError),
    ("read_bytes", ("/file", 0, -1), ValueError),
    ("read_bytes", ("/a\0b",), ValueError),
    ("write_bytes", ("/f", "text"), TypeError),
    ("write_bytes", ("/f", 3), TypeError),
    ("write_bytes", ("/f", None), TypeError),
    ("write_text", ("/f", b"bytes"), TypeError),
    ("write_text", ("/f", "\ud800"), UnicodeEncodeError),
    ("chmod", ("/file", "rwx"), TypeError),
    ("utime", ("/file", (1, 2, 3)), TypeError),
    ("utime", ("/file", "now"), TypeError),
    ("setxattr", ("/file", "user.x", "text"), TypeError),
    ("rename", ("/file", 3), TypeError),
    ("mount", (3,), TypeError),
]


@pytest.mark.parametrize(("method", "arguments", "kind"), WRONG)
def test_what_is_of_the_wrong_kind(
    filled: coffre.Vault, method: str, arguments: tuple[Any, ...], kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        getattr(filled, method)(*arguments)
    assert sorted(filled.listdir()) == ["file", "folder", "loop"]


def test_ranges_past_the_end_are_empty(filled: coffre.Vault) -> None:
    assert filled.read_bytes("/file", 7) == b""
    assert filled.read_bytes("/file", 2**62, 2**63) == b""
    assert filled.read_bytes("/file", 2**80) == b""
    assert filled.read_bytes("/file", 3, 2**80) == b"tent"
    with filled.open("/file", "rb") as file:
        file.seek(1_000_000)
        assert file.read(10) == b""


def test_a_closed_vault_says_so(place: Place) -> None:
    vault = place.open()
    vault.write_bytes("/file", b"x")
    listing = vault.scandir("/")
    vault.close()
    vault.close()
    for method, arguments in (
        ("read_bytes", ("/file",)),
        ("write_bytes", ("/file", b"")),
        ("write_bytes", ("/file", bytearray(b"x"))),
        ("open", ("/file",)),
        ("listdir", ()),
        ("exists", ("/file",)),
        ("publish", ()),
        ("status", ()),
        ("mount", ("/nowhere",)),
    ):
        with pytest.raises(ValueError, match="closed"):
            getattr(vault, method)(*arguments)
    listing.close()
    assert list(listing) == []
    with pytest.raises(ValueError, match="closed"), vault:
        vault.listdir()


def test_a_closed_file_says_so(filled: coffre.Vault) -> None:
    for mode in ("r", "rb", "w", "wb", "r+b", "a"):
        file = filled.open("/other" if "w" in mode else "/file", mode)
        file.close()
        file.close()
        for use in (file.read, file.tell, file.flush, lambda file=file: file.seek(0)):
            with pytest.raises(ValueError):
                use()
        with pytest.raises(ValueError):
            file.write(b"x" if "b" in mode else "x")
    with filled.open("/file", "rb") as file, pytest.raises(io.UnsupportedOperation):
        file.fileno()


def test_opening_what_cannot_be_opened(place: Place, tmp_path: Path) -> None:
    state = {"state_dir": tmp_path / "x"}
    with pytest.raises(coffre.NoVaultError) as missing:
        coffre.open(tmp_path / "nothing", passphrase=PASSPHRASE, **state)
    assert isinstance(missing.value, FileNotFoundError)
    assert str(tmp_path / "nothing") in str(missing.value)
    with pytest.raises(coffre.WrongSecretError) as wrong:
        coffre.open(place.store, passphrase="something else entirely", **state)
    assert isinstance(wrong.value, PermissionError)
    assert "something else" not in str(wrong.value)
    with pytest.raises(coffre.VaultNotEmptyError):
        coffre.init(place.store, passphrase=PASSPHRASE, light_kdf=True, **state)
    for address in ("s3://", "nonsense://x", "ftp-x://y"):
        with pytest.raises(coffre.UsageError):
            coffre.open(address, passphrase=PASSPHRASE, **state)
    with pytest.raises(TypeError):
        coffre.open(None, passphrase=PASSPHRASE, **state)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="secret"):
        coffre.open(place.store, passphrase=3, **state)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        coffre.open(place.store, PASSPHRASE)  # type: ignore[misc]
    with pytest.raises((ValueError, OverflowError, OSError)):
        coffre.open(place.store, passphrase=PASSPHRASE, memory=-1, **state)
    with place.open(), pytest.raises(coffre.BusyError) as busy:
        place.open()
    assert busy.value.errno == errno.EBUSY


def test_a_file_that_another_thread_uses_is_not_torn_away(filled: coffre.Vault) -> None:
    """Whoever closes a replacement while it is written gets an error or a whole file, and nothing crashes."""
    import threading

    for _ in range(20):
        file = filled.open("/new", "wb", 0)
        content = bytes(3_000_000)
        errors: list[BaseException] = []

        def write(file: Any = file, content: bytes = content, errors: list[Any] = errors) -> None:
            try:
                file.write(content)
            except (OSError, ValueError) as error:
                errors.append(error)

        writer = threading.Thread(target=write)
        writer.start()
        try:
            file.close()
        except (OSError, ValueError) as error:
            errors.append(error)
        writer.join()
        if filled.exists("/new"):
            assert set(filled.read_bytes("/new")) <= {0}
            filled.remove("/new")
