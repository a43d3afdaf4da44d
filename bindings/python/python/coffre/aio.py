"""Vaults for asyncio: each call runs in a thread, and the event loop goes on.

    async with await coffre.aio.open("/path/to/vault", passphrase_file="passphrase") as vault:
        await vault.write_bytes("/note", b"...")
        async for entry in vault.scandir("/"):
            print(entry.name)
        async with await vault.open("/film.mkv", "rb") as film:
            head = await film.read(4096)

A task that is cancelled stops waiting; what it had begun goes on to its end.
"""

from __future__ import annotations

import asyncio
import builtins
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import IO, Any, Concatenate, Generic, ParamSpec, Self, TypeVar

import coffre
from coffre._files import DirEntry
from coffre._vault import AnyPath, Mount, Vault

__all__ = ["AsyncFile", "AsyncVault", "init", "open"]

_P = ParamSpec("_P")
_R = TypeVar("_R")
_T = TypeVar("_T", str, bytes)


def _in_thread(function: Callable[_P, _R]) -> Callable[_P, Awaitable[_R]]:
    async def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await asyncio.to_thread(function, *args, **kwargs)

    call.__doc__ = function.__doc__
    return call


def _method(
    method: Callable[Concatenate[Vault, _P], _R],
) -> Callable[Concatenate[AsyncVault, _P], Awaitable[_R]]:
    async def call(self: AsyncVault, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        return await asyncio.to_thread(method, self.vault, *args, **kwargs)

    call.__doc__ = method.__doc__
    call.__name__ = method.__name__
    return call


async def _each(listing: Callable[[], Iterator[DirEntry]]) -> AsyncIterator[DirEntry]:
    """Some entries at a time, so that not every one costs a thread."""
    entries = await asyncio.to_thread(listing)

    def some() -> list[DirEntry]:
        return [entry for _, entry in zip(range(512), entries, strict=False)]

    while batch := await asyncio.to_thread(some):
        for entry in batch:
            yield entry


class AsyncFile(Generic[_T]):
    """An open file whose methods are awaited."""

    def __init__(self, file: IO[_T]) -> None:
        self._file: IO[_T] = file

    async def read(self, size: int = -1, /) -> _T:
        """Up to so much, or all that is left."""
        return await asyncio.to_thread(self._file.read, size)

    async def readline(self) -> _T:
        """The next line."""
        return await asyncio.to_thread(self._file.readline)

    async def write(self, content: _T, /) -> int:
        """Writes all of it."""
        return await asyncio.to_thread(self._file.write, content)

    async def seek(self, offset: int, whence: int = 0, /) -> int:
        """Goes to another place."""
        return await asyncio.to_thread(self._file.seek, offset, whence)

    async def tell(self) -> int:
        """Where it is."""
        return await asyncio.to_thread(self._file.tell)

    async def truncate(self, size: int | None = None, /) -> int:
        """Cuts it to this length."""
        return await asyncio.to_thread(self._file.truncate, size)

    async def flush(self) -> None:
        """Hands over what is buffered."""
        await asyncio.to_thread(self._file.flush)

    async def close(self) -> None:
        """Closes it; what was written anew takes its place now."""
        await asyncio.to_thread(self._file.close)

    async def __aiter__(self) -> AsyncIterator[_T]:
        while line := await self.readline():
            yield line

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # Not awaited before it is done: a task that is cancelled here leaves no file half closed.
        await asyncio.shield(asyncio.to_thread(self._file.__exit__, kind, value, trace))


class AsyncVault:
    """An open vault whose methods are awaited; they are those of :class:`coffre.Vault`."""

    def __init__(self, vault: Vault) -> None:
        #: The vault itself.
        self.vault = vault

    read_bytes = _method(Vault.read_bytes)
    write_bytes = _method(Vault.write_bytes)
    read_text = _method(Vault.read_text)
    write_text = _method(Vault.write_text)
    listdir = _method(Vault.listdir)
    mkdir = _method(Vault.mkdir)
    makedirs = _method(Vault.makedirs)
    rmdir = _method(Vault.rmdir)
    rmtree = _method(Vault.rmtree)
    rename = _method(Vault.rename)
    replace = _method(Vault.replace)
    remove = _method(Vault.remove)
    unlink = _method(Vault.unlink)
    copy = _method(Vault.copy)
    symlink = _method(Vault.symlink)
    readlink = _method(Vault.readlink)
    stat = _method(Vault.stat)
    lstat = _method(Vault.lstat)
    exists = _method(Vault.exists)
    isfile = _method(Vault.isfile)
    isdir = _method(Vault.isdir)
    islink = _method(Vault.islink)
    chmod = _method(Vault.chmod)
    chown = _method(Vault.chown)
    utime = _method(Vault.utime)
    truncate = _method(Vault.truncate)
    getxattr = _method(Vault.getxattr)
    setxattr = _method(Vault.setxattr)
    listxattr = _method(Vault.listxattr)
    removexattr = _method(Vault.removexattr)
    sync = _method(Vault.sync)
    publish = _method(Vault.publish)
    status = _method(Vault.status)
    close = _method(Vault.close)

    async def open(
        self,
        path: AnyPath,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> AsyncFile[Any]:
        """Opens a file, see ``Vault.open``."""
        opened = await asyncio.to_thread(
            self.vault.open, path, mode, buffering, encoding, errors, newline
        )
        return AsyncFile(opened)

    def scandir(self, path: AnyPath = "/") -> AsyncIterator[DirEntry]:
        """What is in a folder."""
        return _each(lambda: self.vault.scandir(path))

    def scan_all(self, path: AnyPath = "/") -> AsyncIterator[DirEntry]:
        """Everything below a folder."""
        return _each(lambda: self.vault.scan_all(path))

    async def walk(
        self, top: AnyPath = "/", topdown: bool = True
    ) -> AsyncIterator[tuple[str, builtins.list[str], builtins.list[str]]]:
        """As ``os.walk``."""
        folders = self.vault.walk(top, topdown)
        while (found := await asyncio.to_thread(next, folders, None)) is not None:
            yield found

    async def mount(self, folder: str, *, allow_other: bool = False) -> Mount:
        """Mounts the vault on an empty folder."""
        return await asyncio.to_thread(self.vault.mount, folder, allow_other=allow_other)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.shield(asyncio.to_thread(self.vault.__exit__))


init = _in_thread(coffre.init)


async def open(url: str, **options: Any) -> AsyncVault:
    """Opens a vault; the options are those of :func:`coffre.open`."""
    return AsyncVault(await asyncio.to_thread(coffre.open, url, **options))
