"""``coffre://`` for fsspec: pandas, pyarrow, DuckDB, zarr, dask and whatever else reads and writes through it.

    import pandas as pd

    where = {"vault": "s3://my-bucket/coffre?region=eu-west-3", "passphrase_file": "/home/me/.passphrase"}
    frame.to_parquet("coffre://reports/may.parquet", storage_options=where)
    pd.read_parquet("coffre://reports/may.parquet", storage_options=where)

A path names a file in the vault, ``storage_options`` say which vault. All file systems of a process with the same
options share one open vault; it is closed, and all of it uploaded, when the process ends or with
``CoffreFileSystem.close``.

What is written takes its place when it is closed. If ``with fs.open(…)`` ends with an exception, the old content
stays. ``with fsspec.open(…)`` does not tell its file of the exception: what is half takes its place then too, unless
``with fs.transaction`` is around it.

Paths are listed with a slash at the beginning. pyarrow wants them so from the start: ``/reports``, not ``reports``.
"""

from __future__ import annotations

import atexit
import io
import json
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from stat import S_ISDIR, S_ISLNK, S_ISREG
from typing import IO, Any, ClassVar, TypeVar, cast

from fsspec import AbstractFileSystem
from fsspec.compression import compr
from fsspec.core import get_compression

import coffre
from coffre._files import Listing, RawFile, give_up, wrapped
from coffre._secrets import StrPath
from coffre._vault import Vault

_R = TypeVar("_R")

_opened: dict[tuple[int, str], Vault] = {}
_opening = threading.Lock()


def _shared(address: str, options: dict[str, Any]) -> Vault:
    """The vault of this process for these options; a forked child needs one of its own."""
    key = (os.getpid(), json.dumps([address, options], sort_keys=True, default=os.fsdecode))
    with _opening:
        vault = _opened.get(key)
        if vault is None or vault.closed:
            vault = _opened[key] = coffre.open(address, **options)
        return vault


def _unlock() -> None:
    """A thread that was opening a vault while this process was forked does not go on here."""
    global _opening
    _opening = threading.Lock()


os.register_at_fork(after_in_child=_unlock)


@atexit.register
def _close_all() -> None:
    for (process, *_), vault in list(_opened.items()):
        if process != os.getpid():
            continue
        try:
            vault.close()
        except OSError as error:
            warnings.warn(f"{vault!r}: {error}", stacklevel=1)
            vault.close(publish=False)


class CoffreFileSystem(AbstractFileSystem):  # type: ignore[misc]
    """The files of a vault.

    :param vault: Where the vault is, as :func:`coffre.open` takes it; or a vault that is open already, which stays the
        caller's to close.
    :param url: Another name for that, where it is free: much of what passes storage options on has a ``url`` itself.
    :param passphrase_file: A file with the passphrase; or ``key_file``, or ``COFFRE_PASSPHRASE_FILE`` in the
        environment. Options are kept, compared and sent to other processes, so that a passphrase itself is not among
        them.
    :param auto_mkdir: Makes folders that are missing when something is written into them.

    All other options are those of :func:`coffre.open`.
    """

    protocol: ClassVar[str] = "coffre"
    root_marker: ClassVar[str] = "/"

    def __init__(
        self,
        vault: str | os.PathLike[str] | Vault | None = None,
        *,
        url: str | os.PathLike[str] | None = None,
        auto_mkdir: bool = True,
        passphrase_file: StrPath | None = None,
        key_file: StrPath | None = None,
        options: dict[str, str] | None = None,
        state_dir: StrPath | None = None,
        cache_dir: StrPath | None = None,
        read_only: bool = False,
        memory: int | None = None,
        cache: int | None = None,
        **storage_options: Any,
    ) -> None:
        if "passphrase" in storage_options:
            raise coffre.UsageError(
                "storage options are kept and sent to other processes: name a passphrase_file, or pass an open vault"
            )
        super().__init__(**storage_options)
        self.auto_mkdir = auto_mkdir
        self._options: dict[str, Any] = {
            "passphrase_file": passphrase_file,
            "key_file": key_file,
            "options": options,
            "state_dir": state_dir,
            "cache_dir": cache_dir,
            "read_only": read_only,
            "memory": memory,
            "cache": cache,
        }
        given = url if vault is None else vault
        if given is None or (vault is not None and url is not None):
            raise coffre.UsageError("storage options are to name one vault: pass its address as vault")
        self._address = None if isinstance(given, Vault) else os.fspath(given)
        self._vault = given if isinstance(given, Vault) else _shared(os.fspath(given), self._options)

    @property
    def vault(self) -> Vault:
        """The vault. One that was opened by its address is opened again after it was closed: fsspec keeps file systems
        for ever."""
        if self._address is not None and self._vault.closed:
            self._vault = _shared(self._address, self._options)
        return self._vault

    def close(self) -> None:
        """Uploads everything and closes the vault, also for all others who share it."""
        self._vault.close()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, list):
            return [cls._strip_protocol(part) for part in path]
        return "/" + os.fspath(path).removeprefix("coffre:").strip("/")

    def unstrip_protocol(self, name: str) -> str:
        return f"coffre:/{self._strip_protocol(name)}"

    # What is there

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        return self._info(path, self.vault.lstat(path))

    def _info(self, path: str, found: os.stat_result) -> dict[str, Any]:
        link = S_ISLNK(found.st_mode)
        if link:
            # One that leads nowhere is shown as itself.
            with suppress(OSError):
                found = self.vault.stat(path)
        kind = "directory" if S_ISDIR(found.st_mode) else "file" if S_ISREG(found.st_mode) else "other"
        return {
            "name": path,
            "size": found.st_size if kind == "file" else 0,
            "type": kind,
            "mtime": found.st_mtime,
            "ctime_ns": found.st_ctime_ns,
            "mode": found.st_mode,
            "uid": found.st_uid,
            "gid": found.st_gid,
            "ino": found.st_ino,
            "nlink": found.st_nlink,
            "islink": link,
        }

    def _entries(self, listing: Listing) -> Iterator[dict[str, Any]]:
        for entry in listing:
            yield self._info(entry.path, entry.stat(follow_symlinks=False))

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        path = self._strip_protocol(path)
        try:
            found = list(self._entries(self.vault.scandir(path)))
        except NotADirectoryError:
            found = [self.info(path)]
        return found if detail else sorted(info["name"] for info in found)

    def find(
        self,
        path: str,
        maxdepth: int | None = None,
        withdirs: bool = False,
        detail: bool = False,
        **more: Any,
    ) -> Any:
        if maxdepth is not None:
            return super().find(path, maxdepth, withdirs, detail, **more)
        path = self._strip_protocol(path)
        found = {info["name"]: info for info in self._below(path) if withdirs or info["type"] != "directory"}
        if withdirs and path != "/" and self.vault.isdir(path):
            found[path] = self.info(path)
        return dict(sorted(found.items())) if detail else sorted(found)

    def _below(self, path: str) -> Iterator[dict[str, Any]]:
        try:
            yield from self._entries(self.vault.scan_all(path))
        except NotADirectoryError:
            yield self.info(path)
        except FileNotFoundError:
            return

    def walk(self, path: str, *args: Any, below: bool = False, **more: Any) -> Iterator[Any]:
        # Links to folders are shown and not followed, as by find: they may lead in circles.
        path = self._strip_protocol(path)
        if not (below and self.vault.islink(path)):
            yield from super().walk(path, *args, below=True, **more)

    def exists(self, path: str, **_: Any) -> bool:
        return self.vault.exists(self._strip_protocol(path))

    def lexists(self, path: str, **_: Any) -> bool:
        path = self._strip_protocol(path)
        return self.vault.islink(path) or self.vault.exists(path)

    def isfile(self, path: str) -> bool:
        return self.vault.isfile(self._strip_protocol(path))

    def isdir(self, path: str) -> bool:
        return self.vault.isdir(self._strip_protocol(path))

    def created(self, path: str) -> datetime:
        return self.modified(path)

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(self.info(path)["mtime"], UTC)

    def ukey(self, path: str) -> str:
        """Another one for whatever content a path has had."""
        info = self.info(path)
        return f"{info['ino']:x}-{info['size']:x}-{info['ctime_ns']:x}"

    # Content

    def open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        cache_options: dict[str, Any] | None = None,
        compression: str | None = None,
        **more: Any,
    ) -> Any:
        # Text and compression are layers of our own: what fails half-way puts nothing in place.
        path = self._strip_protocol(path)
        autocommit = more.get("autocommit", not self._intrans)
        text = {} if "b" in mode else {name: more.get(name) for name in ("encoding", "errors", "newline")}
        codec = get_compression(path, compression)
        if codec is None:
            file = self._file(path, mode, autocommit, **text)
        else:
            packed = self._file(path, mode.replace("t", "").replace("b", "") + "b", autocommit=False)
            file = _unpacked(packed, codec, mode, autocommit, **text)
        if not autocommit and "r" not in mode:
            self.transaction.files.append(file)
        return file

    def _open(
        self,
        path: str,
        mode: str = "rb",
        block_size: int | None = None,
        autocommit: bool = True,
        cache_options: dict[str, Any] | None = None,
        **_: Any,
    ) -> IO[bytes]:
        return self._file(path, mode, autocommit)

    def _file(
        self,
        path: str,
        mode: str,
        autocommit: bool,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        def file() -> IO[Any]:
            return self.vault._open(path, mode, -1, encoding, errors, newline, autocommit)

        return file() if "r" in mode else self._with_room(path, file)

    def cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        path = self._strip_protocol(path)
        if (start or 0) < 0 or (end or 0) < 0:
            size = self.vault.stat(path).st_size
            start = max(size + start, 0) if start is not None and start < 0 else start
            end = max(size + end, 0) if end is not None and end < 0 else end
        return self.vault.read_bytes(path, start or 0, end)

    def pipe_file(self, path: str, value: Any, mode: str = "overwrite", **_: Any) -> None:
        path = self._strip_protocol(path)
        if mode == "create" or self._intrans:
            with self.open(path, "xb" if mode == "create" else "wb") as file:
                file.write(value)
            return
        self._with_room(path, lambda: self.vault.write_bytes(path, value))

    def touch(self, path: str, truncate: bool = True, **_: Any) -> None:
        path = self._strip_protocol(path)
        if truncate or not self.vault.exists(path):
            self.pipe_file(path, b"")
        else:
            self.vault.utime(path)

    # Names and folders

    def mkdir(self, path: str, create_parents: bool = True, **_: Any) -> None:
        self.vault.mkdir(self._strip_protocol(path), parents=create_parents)

    def makedirs(self, path: str, exist_ok: bool = False) -> None:
        self.vault.makedirs(self._strip_protocol(path), exist_ok)

    def rmdir(self, path: str) -> None:
        self.vault.rmdir(self._strip_protocol(path))

    def rm_file(self, path: str) -> None:
        path = self._strip_protocol(path)
        if self.vault.isdir(path) and not self.vault.islink(path):
            self.vault.rmdir(path)
        else:
            self.vault.remove(path)

    _rm = rm_file

    def rm(self, path: Any, recursive: bool = False, maxdepth: int | None = None) -> None:
        if not recursive or maxdepth is not None:
            super().rm(path, recursive, maxdepth)
            return
        # What is below a folder comes after it, and is gone already if the folder goes first.
        for found in reversed(self.expand_path(path)):
            if self.vault.isdir(found) and not self.vault.islink(found):
                self.vault.rmtree(found)
            else:
                self.vault.remove(found)

    def cp_file(self, path1: str, path2: str, **_: Any) -> None:
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if self.vault.isdir(source):
            self.vault.makedirs(target, exist_ok=True)
            return
        there = partial(self.vault.exists, source)
        self._with_room(target, lambda: self.vault.copy(source, target), there)

    def mv(
        self,
        path1: Any,
        path2: Any,
        recursive: bool | None = None,
        maxdepth: int | None = None,
        **more: Any,
    ) -> None:
        plain = isinstance(path1, str) and isinstance(path2, str) and not set(path1) & set("*?[")
        if not plain or maxdepth is not None:
            super().mv(path1, path2, recursive=bool(recursive), maxdepth=maxdepth, **more)
            return
        source, target = self._strip_protocol(path1), self._strip_protocol(path2)
        if source == target:
            return
        if path2.endswith("/") or self.vault.isdir(target):
            target = f"{target.rstrip('/')}/{source.rpartition('/')[2]}"
        there = partial(self.lexists, source)
        self._with_room(target, lambda: self.vault.rename(source, target), there)

    def _with_room(self, path: str, do: Callable[[], _R], possible: Callable[[], bool] = lambda: True) -> _R:
        """Does what makes something at a path; once more, where only the folder was missing that it goes into. That may be
        there by then, of another thread's making."""
        try:
            return do()
        except FileNotFoundError:
            if not self.auto_mkdir or not possible():
                raise
            self.vault.makedirs(self._parent(path), exist_ok=True)
        return do()


def _unpacked(
    file: IO[bytes],
    codec: str,
    mode: str,
    autocommit: bool,
    encoding: str | None = None,
    errors: str | None = None,
    newline: str | None = None,
) -> IO[Any]:
    """What a file holds compressed, to be read or written."""
    stream = compr[codec](file, mode=mode[0])
    if "r" not in mode:
        packer = cast(RawFile, _Packer(file, stream, autocommit))
        return wrapped(packer, "b" not in mode, -1, encoding, errors, newline)
    if "b" in mode:
        return cast(IO[bytes], stream)
    return io.TextIOWrapper(stream, encoding or "utf-8", errors, newline)


class _Packer(io.RawIOBase):
    """What is written to it reaches a file compressed. It ends as other files do: codecs do not close the file, nor do
    they tell what is whole from what failed half-way."""

    def __init__(self, file: Any, stream: Any, commit_at_close: bool) -> None:
        self._file = file
        self._stream = stream
        self._commit_at_close = commit_at_close
        self.name = file.name
        self.mode = file.mode

    def writable(self) -> bool:
        return True

    def write(self, content: Any, /) -> int:
        self._stream.write(content)
        return len(content)

    @property
    def replaces(self) -> bool:
        return bool(self._file.raw.replaces)

    def commit(self) -> None:
        self._file.commit()

    def discard(self) -> None:
        with suppress(Exception):
            self._stream.close()
        self._file.discard()
        super().close()

    def close(self) -> None:
        if self.closed:
            return
        try:
            self._stream.close()
            self._file.close()
            if self._commit_at_close:
                self._file.commit()
        except BaseException:
            self._file.discard()
            raise
        finally:
            super().close()

    def __del__(self) -> None:
        give_up(self, cast(RawFile, self))
