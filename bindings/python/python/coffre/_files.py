"""Open files as Python knows them, and what listing a folder shows."""

from __future__ import annotations

import io
import os
import stat as _stat
import warnings
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import IO, Any, Literal, Self, cast

from coffre import _coffre

Buffer = Any  # what has the buffer protocol; typing.Buffer is of a later Python
Facts = tuple[int, int, int, int, int, int, int, int, int, int, int, int]

# A frame of a vault: less cannot be opened at a time.
_READ_AHEAD = 128 * 1024
_WRITE_BEHIND = 1024 * 1024
# Content that may change under us is copied in parts of this size.
PART = 4 * 1024 * 1024
END = 2**63 - 1


def stat_result(facts: Facts) -> os.stat_result:
    """What the library knows of a file, as the system would say it."""
    mode, inode, links, uid, gid, size, atime, mtime, ctime, _, allocated, rdev = facts
    second = 1_000_000_000
    seconds = (atime // second, mtime // second, ctime // second)
    more = {
        "st_atime": atime / second,
        "st_mtime": mtime / second,
        "st_ctime": ctime / second,
        "st_atime_ns": atime,
        "st_mtime_ns": mtime,
        "st_ctime_ns": ctime,
        "st_blksize": _READ_AHEAD,
        "st_blocks": (allocated + 511) // 512,
        "st_rdev": rdev,
    }
    return os.stat_result((mode, inode, 0, links, uid, gid, size, *seconds), more)


class DirEntry:
    """Something in a folder, as ``os.DirEntry`` shows it. What is known of it came with the listing."""

    __slots__ = ("name", "path", "_facts", "_follow")

    def __init__(
        self, path: str, facts: Facts, follow: Callable[[str], os.stat_result]
    ) -> None:
        self.path = path
        self.name = path.rpartition("/")[2]
        self._facts = facts
        self._follow = follow

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What is known of it; of what a symbolic link leads to, if it is asked."""
        if follow_symlinks and self.is_symlink():
            return self._follow(self.path)
        return stat_result(self._facts)

    def inode(self) -> int:
        """Its number."""
        return self._facts[1]

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return _stat.S_ISLNK(self._facts[0])

    def is_dir(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a folder, or leads to one."""
        return _stat.S_ISDIR(self._mode(follow_symlinks))

    def is_file(self, *, follow_symlinks: bool = True) -> bool:
        """Whether it is a file, or leads to one."""
        return _stat.S_ISREG(self._mode(follow_symlinks))

    def _mode(self, follow_symlinks: bool) -> int:
        if not (follow_symlinks and self.is_symlink()):
            return self._facts[0]
        try:
            return self._follow(self.path).st_mode
        except OSError:
            return 0

    def __repr__(self) -> str:
        return f"<DirEntry {self.name!r}>"


class Listing(Iterator[DirEntry]):
    """The entries of a folder, fetched as they are asked for; a context manager, as ``os.scandir`` gives one."""

    def __init__(self, core: _coffre.Listing, follow: Callable[[str], os.stat_result]) -> None:
        self._core = core
        self._follow = follow
        self._batch: Iterator[tuple[bytes, Facts]] = iter(())

    def __next__(self) -> DirEntry:
        for path, facts in self._batch:
            return DirEntry(os.fsdecode(path), facts, self._follow)
        batch = self._core.batch()
        if not batch:
            raise StopIteration
        self._batch = iter(batch)
        return next(self)

    def close(self) -> None:
        """Ends it."""
        self._core.close()
        self._batch = iter(())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Ends:
    """How a ``with`` ends: what fails half-way puts nothing in place."""

    def __exit__(
        self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None
    ) -> None:
        file = cast(Any, self)
        if kind is None:
            file.close()
        else:
            file.discard()


class RawFile(_Ends, io.RawIOBase):
    """An open file without a buffer. One that is written anew is a replacement: it takes its place when it is closed."""

    def __init__(
        self,
        core: _coffre.OpenFile,
        name: str,
        mode: str,
        way: Literal["in place", "append", "replace", "make"],
        commit_at_close: bool = True,
    ) -> None:
        self._core = core
        self.name = name
        self.mode = mode
        self._way = way
        self._commit_at_close = commit_at_close
        self._position = 0
        self._abandoned = False
        if way == "append":
            self._position = self.size()

    def readable(self) -> bool:
        self._check()
        return "r" in self.mode or "+" in self.mode

    def writable(self) -> bool:
        self._check()
        return "r" not in self.mode or "+" in self.mode

    def seekable(self) -> bool:
        self._check()
        return True

    def tell(self) -> int:
        self._check()
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._check()
        if whence == os.SEEK_SET:
            base = 0
        elif whence == os.SEEK_CUR:
            base = self._position
        elif whence == os.SEEK_END:
            base = self.size()
        else:
            raise ValueError(f"invalid whence ({whence}, should be 0, 1 or 2)")
        if base + offset < 0:
            raise ValueError(f"negative seek position {base + offset}")
        self._position = base + offset
        return self._position

    def size(self) -> int:
        """Its length."""
        self._check()
        return self._core.stat()[5]

    def readinto(self, buffer: Buffer, /) -> int:
        self._check_reading()
        into = memoryview(buffer).cast("B")
        content = self._core.read_at(self._position, self._position + len(into))
        into[: len(content)] = content
        self._position += len(content)
        return len(content)

    def readall(self) -> bytes:
        self._check_reading()
        content = self._core.read_at(self._position, END)
        self._position += len(content)
        return content

    def write(self, content: Buffer, /) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        view = memoryview(content).cast("B")
        # It may change under us.
        exact = content if type(content) is bytes else bytes(view[:PART])
        if self._way == "append":
            written = self._core.append(exact)
            self._position = self.size()
        else:
            written = self._core.write_at(self._position, exact)
            self._position += written
        return written

    def truncate(self, size: int | None = None, /) -> int:
        if not self.writable():
            raise io.UnsupportedOperation("not writable")
        size = self._position if size is None else size
        if size < 0:
            raise OSError(22, os.strerror(22), self.name)
        self._core.truncate(size)
        return size

    @property
    def replaces(self) -> bool:
        """Whether nothing of it shows before it is closed."""
        return self._way in ("replace", "make")

    def commit(self) -> None:
        """Puts a replacement in its place, unless it was discarded."""
        if self.replaces:
            self._core.commit(self._way == "make")

    def discard(self) -> None:
        """Closes it; a replacement is gone, and what it was to replace stays."""
        self._way = "in place"
        self._core.close()
        self.close()

    def abandon(self) -> None:
        """What becomes of it when its vault is closed first."""
        self._abandoned = self.replaces
        self._core.close()

    def close(self) -> None:
        """Closes it, and puts a replacement in its place."""
        if self.closed:
            return
        try:
            if self._abandoned:
                raise ValueError(
                    f"{self.name!r}: the vault was closed before the file, and the old content was kept"
                )
            if not self.replaces:
                self._core.close()
            elif self._commit_at_close:
                self.commit()
        finally:
            super().close()

    def __enter__(self) -> Self:
        self._check()
        return self

    def __del__(self) -> None:
        give_up(self, self)

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def _check_reading(self) -> None:
        if not self.readable():
            raise io.UnsupportedOperation("not readable")


def give_up(file: Any, raw: RawFile) -> None:
    """A file that nobody holds any more. It may be here because what was writing it failed: what is half is not put in place."""
    try:
        if raw.closed:
            return
        if not raw.replaces:
            file.close()
            return
        raw.discard()
        warnings.warn(
            f"{raw.name!r} was not closed, and the old content was kept", ResourceWarning, 2
        )
    except (AttributeError, ImportError, RuntimeError, ValueError):
        # It never came to be, or belongs to the process that this one was forked from, perhaps while Python ends.
        pass


class _Buffered(_Ends):
    """What a buffer has to know of replacements: what fails half-way puts nothing in place."""

    def _file(self) -> RawFile:
        file = cast(Any, self)
        file = getattr(file, "buffer", file)
        return cast(RawFile, file.raw)

    def close(self) -> None:
        """Writes what is left and closes the file."""
        file = cast(Any, self)
        if file.closed:
            return
        try:
            file.flush()
        except BaseException:
            self._file().discard()
            raise
        finally:
            super().close()  # type: ignore[misc]

    def discard(self) -> None:
        """Closes it; what was to replace a file is gone, and that file stays. A file that is changed where it is keeps what
        was written."""
        if self._file().replaces:
            self._file().discard()
        else:
            self.close()

    def commit(self) -> None:
        """Closes it and puts in place what was held back (fsspec's transactions)."""
        self.close()
        self._file().commit()

    def __del__(self) -> None:
        try:
            raw = self._file()
        except (AttributeError, ValueError):
            return
        give_up(self, raw)


class Reader(io.BufferedReader):
    """A file that is read, with a buffer."""

    @property
    def size(self) -> int:
        """Its length, which fsspec asks files for."""
        return cast(RawFile, self.raw).size()


class Writer(_Buffered, io.BufferedWriter):
    """A file that is written, with a buffer."""


class Random(_Buffered, io.BufferedRandom):
    """A file that is read and written, with a buffer."""


class Text(_Buffered, io.TextIOWrapper):
    """A file of text."""


def wrapped(
    raw: RawFile,
    text: bool,
    buffering: int,
    encoding: str | None,
    errors: str | None,
    newline: str | None,
) -> IO[Any]:
    """The file with the buffer and the decoder that ``open`` was asked for."""
    line_buffering = buffering == 1 and text
    if buffering == 0:
        return cast(IO[Any], raw)
    size = buffering if buffering > 1 else 0
    buffered: Any
    if raw.readable() and raw.writable():
        buffered = Random(raw, size or _READ_AHEAD)
    elif raw.writable():
        buffered = Writer(raw, size or _WRITE_BEHIND)
    else:
        buffered = Reader(raw, size or _READ_AHEAD)
    if not text:
        return cast(IO[Any], buffered)
    shown = Text if raw.writable() else io.TextIOWrapper
    decoded = shown(buffered, encoding, errors, newline, line_buffering)
    decoded.mode = raw.mode.replace("b", "")  # type: ignore[misc]
    return decoded
