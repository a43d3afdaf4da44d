"""Paths that know their vault, as ``pathlib`` has them."""

from __future__ import annotations

import fnmatch
import os
import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from coffre._files import Buffer
    from coffre._vault import Vault


class VaultPath:
    """A path in a vault. It has the methods of ``pathlib.Path``, and is none: no path of this machine is mistaken for it.

    It is always absolute, and is made by ``vault.path("/folder", "name")`` or with ``/``.
    """

    __slots__ = ("_vault", "_path")

    def __init__(self, vault: Vault, *parts: str | os.PathLike[str]) -> None:
        self._vault = vault
        self._path = PurePosixPath("/", *parts)

    # The path itself

    @property
    def vault(self) -> Vault:
        """The vault that it is in."""
        return self._vault

    @property
    def name(self) -> str:
        """Its last part."""
        return self._path.name

    @property
    def stem(self) -> str:
        """The last part without its suffix."""
        return self._path.stem

    @property
    def suffix(self) -> str:
        """``.txt`` of ``notes.txt``."""
        return self._path.suffix

    @property
    def suffixes(self) -> list[str]:
        """``.tar`` and ``.gz`` of ``all.tar.gz``."""
        return self._path.suffixes

    @property
    def parts(self) -> tuple[str, ...]:
        """Its parts, of which ``/`` is the first."""
        return self._path.parts

    @property
    def parent(self) -> VaultPath:
        """The folder that it is in."""
        return self._like(self._path.parent)

    @property
    def parents(self) -> tuple[VaultPath, ...]:
        """All folders above it, the nearest first."""
        return tuple(self._like(path) for path in self._path.parents)

    def joinpath(self, *parts: str | os.PathLike[str]) -> VaultPath:
        """The path of something below."""
        return self._like(self._path.joinpath(*parts))

    __truediv__ = joinpath

    def with_name(self, name: str) -> VaultPath:
        """With another last part."""
        return self._like(self._path.with_name(name))

    def with_stem(self, stem: str) -> VaultPath:
        """With another last part and the same suffix."""
        return self._like(self._path.with_stem(stem))

    def with_suffix(self, suffix: str) -> VaultPath:
        """With another suffix."""
        return self._like(self._path.with_suffix(suffix))

    def relative_to(self, other: str | VaultPath) -> PurePosixPath:
        """The way from another path to this."""
        return self._path.relative_to(str(other))

    def is_relative_to(self, other: str | VaultPath) -> bool:
        """Whether it is below another path."""
        return self._path.is_relative_to(str(other))

    def match(self, pattern: str) -> bool:
        """Whether its end matches a pattern."""
        return self._path.match(pattern)

    def as_posix(self) -> str:
        """As text."""
        return str(self._path)

    # What is there

    def stat(self, *, follow_symlinks: bool = True) -> os.stat_result:
        """What is known of it."""
        return self._vault.stat(self, follow_symlinks=follow_symlinks)

    def lstat(self) -> os.stat_result:
        """What is known of a symbolic link itself."""
        return self._vault.lstat(self)

    def exists(self) -> bool:
        """Whether there is anything."""
        return self._vault.exists(self)

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._vault.isfile(self)

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return self._vault.isdir(self)

    def is_symlink(self) -> bool:
        """Whether it is a symbolic link."""
        return self._vault.islink(self)

    def iterdir(self) -> Iterator[VaultPath]:
        """What is in the folder."""
        for entry in self._vault.scandir(self):
            yield self / entry.name

    def walk(self, top_down: bool = True) -> Iterator[tuple[VaultPath, list[str], list[str]]]:
        """``(folder, names of folders, names of files)`` for this folder and each below."""
        for folder, folders, files in self._vault.walk(self, top_down):
            yield VaultPath(self._vault, folder), folders, files

    def glob(self, pattern: str) -> Iterator[VaultPath]:
        """What is below and matches: ``*.txt``, ``*/notes``, ``**/*.jpg``."""
        if not pattern:
            raise ValueError(f"unacceptable pattern: {pattern!r}")
        parts = PurePosixPath(pattern).parts
        if parts[0] == "/":
            raise NotImplementedError("non-relative patterns are unsupported")
        seen = set()
        for path in self._selected(parts):
            if path not in seen:
                seen.add(path)
                yield path

    def rglob(self, pattern: str) -> Iterator[VaultPath]:
        """The same at any depth."""
        return self.glob(f"**/{pattern}")

    def _selected(self, parts: tuple[str, ...]) -> Iterator[VaultPath]:
        if not parts:
            yield self
            return
        first, rest = parts[0], parts[1:]
        if first == "**":
            yield from self._selected(rest)
            for entry in self._entries():
                if entry.is_dir(follow_symlinks=False):
                    yield from (self / entry.name)._selected(parts)
        elif not set(first) & set("*?["):
            found = self / first
            if found.exists():
                yield from found._selected(rest)
        else:
            matches = re.compile(fnmatch.translate(first)).match
            for entry in self._entries():
                if matches(entry.name) and (not rest or entry.is_dir()):
                    yield from (self / entry.name)._selected(rest)

    def _entries(self) -> list[Any]:
        try:
            return list(self._vault.scandir(self))
        except (FileNotFoundError, NotADirectoryError):
            return []

    # Content

    def open(
        self,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Opens it, see ``Vault.open``."""
        return self._vault.open(self, mode, buffering, encoding, errors, newline)

    def read_bytes(self) -> bytes:
        """Its content."""
        return self._vault.read_bytes(self)

    def write_bytes(self, content: Buffer) -> int:
        """Replaces its content, all at once."""
        return self._vault.write_bytes(self, content)

    def read_text(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Its content as text."""
        return self._vault.read_text(self, encoding, errors)

    def write_text(self, content: str, encoding: str = "utf-8", errors: str = "strict") -> int:
        """Replaces its content by text, all at once."""
        return self._vault.write_text(self, content, encoding, errors)

    # Changes

    def mkdir(self, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes a folder."""
        self._vault.mkdir(self, parents=parents, exist_ok=exist_ok)

    def touch(self, exist_ok: bool = True) -> None:
        """Makes an empty file, or sets the times of what is there to now."""
        try:
            self._vault.open(self, "xb").close()
        except FileExistsError:
            if not exist_ok:
                raise
            self._vault.utime(self)

    def rmdir(self) -> None:
        """Removes an empty folder."""
        self._vault.rmdir(self)

    def rmtree(self) -> None:
        """Removes a folder with everything below."""
        self._vault.rmtree(self)

    def unlink(self, missing_ok: bool = False) -> None:
        """Removes a file or a symbolic link."""
        try:
            self._vault.remove(self)
        except FileNotFoundError:
            if not missing_ok:
                raise

    def rename(self, target: str | VaultPath) -> VaultPath:
        """Gives it another name, and answers the new path."""
        self._vault.rename(self, target)
        return VaultPath(self._vault, str(target))

    replace = rename

    def copy(self, target: str | VaultPath) -> VaultPath:
        """A copy that shares its content; answers its path."""
        self._vault.copy(self, target)
        return VaultPath(self._vault, str(target))

    def symlink_to(self, target: str | VaultPath) -> None:
        """Makes it a symbolic link."""
        self._vault.symlink(target, self)

    def readlink(self) -> str:
        """Where the symbolic link leads."""
        return self._vault.readlink(self)

    def chmod(self, mode: int) -> None:
        """Changes the permission bits."""
        self._vault.chmod(self, mode)

    # As a value

    def _like(self, path: PurePosixPath) -> VaultPath:
        return VaultPath(self._vault, path)

    def __str__(self) -> str:
        return str(self._path)

    def __repr__(self) -> str:
        return f"VaultPath({str(self._path)!r})"

    def __hash__(self) -> int:
        return hash((id(self._vault), self._path))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VaultPath):
            return NotImplemented
        return self._vault is other._vault and self._path == other._path

    def __lt__(self, other: VaultPath) -> bool:
        if not isinstance(other, VaultPath):
            return NotImplemented
        return self._path < other._path

