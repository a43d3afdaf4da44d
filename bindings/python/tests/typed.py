"""What mypy is to accept and to know: it is checked, not run."""

from __future__ import annotations

import os
from typing import IO, Any, BinaryIO, TextIO, assert_type

import coffre
from coffre import aio


def whole_files(vault: coffre.Vault) -> None:
    assert_type(vault.read_bytes("/f", 0, 10), bytes)
    assert_type(vault.read_text(b"/f"), str)
    assert_type(vault.write_bytes(vault.path("/f"), bytearray(3)), int)
    assert_type(vault.stat("/f"), os.stat_result)
    assert_type(vault.listdir(), list[str])
    assert_type(vault.status().unpublished_bytes, int)
    assert_type(coffre.init("/v", passphrase="x"), str)


def open_files(vault: coffre.Vault, mode: str) -> None:
    with vault.open("/f") as text:
        assert_type(text, TextIO)
    with vault.open("/f", "rb") as binary:
        assert_type(binary, BinaryIO)
    assert_type(vault.open("/f", mode), IO[Any])
    with vault.scandir("/") as entries:
        for entry in entries:
            assert_type(entry, coffre.DirEntry)


def paths(vault: coffre.Vault) -> None:
    path = vault.path("/a") / "b"
    assert_type(path, coffre.VaultPath)
    assert_type([below for below in path.glob("*")], list[coffre.VaultPath])


async def awaited(vault: aio.AsyncVault) -> None:
    assert_type(await vault.read_bytes("/f", 0, 10), bytes)
    assert_type(await vault.stat("/f"), os.stat_result)
    await vault.write_bytes("/f", b"")
    async for entry in vault.scandir("/"):
        assert_type(entry, coffre.DirEntry)


def failures(vault: coffre.Vault) -> None:
    try:
        vault.read_bytes("/f")
    except coffre.TamperedError as error:
        assert_type(error.filename, Any)
    vault.read_bytes(3)  # type: ignore[arg-type]
