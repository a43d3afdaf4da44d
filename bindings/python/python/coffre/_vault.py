"""Making and opening vaults, and what is done with the files in one."""

from __future__ import annotations

import errno
import os
import stat as _stat
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any, BinaryIO, Literal, Self, TextIO, overload

from coffre import _coffre
from coffre._files import END, PART, Buffer, DirEntry, Listing, RawFile, stat_result, wrapped
from coffre._path import VaultPath
from coffre._secrets import Secret, StrPath, gathered, generated

AnyPath = StrPath | VaultPath

# What says that nothing is at a path, nor can be.
_NOWHERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def init(
    url: str | os.PathLike[str],
    *,
    passphrase: Secret | None = None,
    passphrase_file: StrPath | None = None,
    key_file: StrPath | None = None,
    options: Mapping[str, str] | None = None,
    state_dir: StrPath | None = None,
    weak: bool = False,
    light_kdf: bool = False,
) -> str:
    """Makes a vault where nothing is yet, and returns its recovery code.

    The recovery code opens the vault when the passphrase is forgotten. It is shown nowhere else: keep it on paper.

    :param url: A folder of this machine, or an address such as ``s3://bucket/prefix?region=eu-west-3``.
    :param passphrase: ``str``, ``bytes``, or a ``bytearray``, which is overwritten with zeros.
    :param passphrase_file: A file that holds it. Without any secret ``COFFRE_PASSPHRASE`` and ``COFFRE_PASSPHRASE_FILE`` count.
    :param key_file: A file with a key, which is made if it is not there. With a passphrase too, only both together open the
        vault.
    :param options: Of the store's service, credentials for one, as OpenDAL calls them; else the environment counts.
    :param state_dir: Where this machine keeps what it remembers of its vaults [``$XDG_STATE_HOME/coffre``].
    :param weak: Takes a passphrase that can be guessed.
    :param light_kdf: Deriving the key takes 64 MiB instead of 256 MiB, and guessing is as much cheaper.
    :raises UsageError: if the passphrase is too weak or the address is none.
    :raises VaultNotEmptyError: if something is there already.
    """
    with generated(key_file), gathered(passphrase, passphrase_file, key_file) as (phrase, key):
        return _coffre.init(
            os.fspath(url),
            phrase,
            key,
            options=dict(options or {}),
            state_dir=_folder(state_dir, "COFFRE_STATE_DIR"),
            weak=weak,
            light_kdf=light_kdf,
        )


def open(
    url: str | os.PathLike[str],
    *,
    passphrase: Secret | None = None,
    passphrase_file: StrPath | None = None,
    key_file: StrPath | None = None,
    options: Mapping[str, str] | None = None,
    state_dir: StrPath | None = None,
    cache_dir: StrPath | None = None,
    read_only: bool = False,
    memory: int | None = None,
    cache: int | None = None,
) -> Vault:
    """Opens a vault. Deriving the key takes about a second; close the vault, or use it in a ``with``.

    The secrets and ``options`` are those of :func:`init`; a recovery code is good as a passphrase.

    :param cache_dir: Where sealed parts of a store elsewhere are kept [``$XDG_CACHE_HOME/coffre``].
    :param read_only: Changes nothing. Other machines may have the vault open meanwhile, and so may other readers of this one.
    :param memory: The bound of memory, in bytes [512 MiB].
    :param cache: The bound of the local cache, in bytes [10 GiB; none where the store is a folder of this machine].
    :raises NoVaultError: if there is no vault.
    :raises WrongSecretError: if the secret does not open it.
    :raises BusyError: if another process has it open, or this one.
    :raises RollbackError: if the store offers less than this machine has seen.
    """
    with gathered(passphrase, passphrase_file, key_file) as (phrase, key):
        core = _coffre.open(
            os.fspath(url),
            phrase,
            key,
            options=dict(options or {}),
            state_dir=_folder(state_dir, "COFFRE_STATE_DIR"),
            cache_dir=_folder(cache_dir, "COFFRE_CACHE_DIR"),
            read_only=read_only,
            memory=memory,
            cache=cache,
        )
    return Vault(core, os.fspath(url).partition("?")[0])


def _folder(given: StrPath | None, variable: str) -> str | None:
    return os.environ.get(variable) if given is None else os.fsdecode(given)


@dataclass(frozen=True)
class Status:
    """What is not in the store yet, and what keeps it. Sizes are in bytes, times in seconds."""

    #: What waits in the journal and for upload.
    unpublished_bytes: int
    #: Operations that no commit in the store contains.
    unpublished_operations: int
    #: Since the oldest of them.
    unpublished_seconds: int
    #: Packs that wait for their upload.
    queue: int
    #: Of the last upload, a second.
    speed: int
    #: The number of this device's last commit.
    last_commit: int
    #: When that was made, since 1970.
    last_commit_time: int
    #: What the local cache takes.
    cache_bytes: int
    #: What the files hold.
    used_bytes: int
    #: What waits for its upload on this machine, and how much may.
    local_bytes: int
    local_limit: int
    #: Why the last upload failed, if it did.
    last_error: str | None
    #: How long the store has not answered, and what was met.
    away_seconds: int | None
    away_error: str | None
    #: What can be done about it.
    advice: str | None
    #: Devices that have gone another way than this one.
    diverged: list[str]
    warnings: list[str]


class Mount:
    """A mounted vault; unmounts at the end of a ``with``."""

    def __init__(self, core: _coffre.Mount, folder: str, known: set[Mount]) -> None:
        self._core = core
        # Of the vault, until it is unmounted: nobody else needs to hold on to it.
        self._known = known
        known.add(self)
        #: Where it is mounted.
        self.folder = folder

    def unmount(self) -> None:
        """Unmounts it. What programs wrote is in the vault then.

        :raises MountError: if a program still uses it.
        """
        self._core.unmount()
        self._known.discard(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.unmount()

    def __repr__(self) -> str:
        return f"<coffre.Mount {self.folder!r}>"


class Vault:
    """An open vault: the files in it, by path. Any thread may use it.

    Paths begin at the vault's root, with or without a slash, and may be ``str``, ``bytes`` or path objects. Symbolic links are
    followed within the vault. Nothing is checked against permissions.
    """

    def __init__(self, core: _coffre.OpenVault, address: str) -> None:
        self._core = core
        self._address = address
        self._files: weakref.WeakSet[RawFile] = weakref.WeakSet()
        self._mounts: set[Mount] = set()

    # Whole files

    def read_bytes(self, path: AnyPath, start: int = 0, end: int | None = None) -> bytes:
        """A file's content, or that from byte ``start`` up to byte ``end``, as far as there is any. No more than that is
        fetched."""
        if start < 0 or (end is not None and end < 0):
            raise ValueError("a range is counted from the beginning of the file")
        return self._core.read(_encoded(path), min(start, END), END if end is None else min(end, END))

    def write_bytes(self, path: AnyPath, content: Buffer) -> int:
        """Makes a file with this content or replaces all of one, and returns its length. Whoever reads meanwhile finds the
        old content or the new, also if this is interrupted."""
        if type(content) is bytes:
            self._core.write(_encoded(path), content)
            return len(content)
        view = memoryview(content).cast("B")
        file = self._core.replace(_encoded(path))
        try:
            for start in range(0, len(view), PART):
                part = bytes(view[start : start + PART])
                written = 0
                while written < len(part):
                    written += file.write_at(start + written, part[written:] if written else part)
            file.commit(new=False)
        finally:
            file.close()
        return len(view)

    def read_text(self, path: AnyPath, encoding: str = "utf-8", errors: str = "strict") -> str:
        """A file's content, decoded."""
        with self.open(path, "r", encoding=encoding, errors=errors) as file:
            return file.read()

    def write_text(
        self, path: AnyPath, content: str, encoding: str = "utf-8", errors: str = "strict"
    ) -> int:
        """As :meth:`write_bytes`, encoded; returns the number of characters."""
        if not isinstance(content, str):
            raise TypeError(f"content must be str, not {type(content).__name__}")
        self.write_bytes(path, content.encode(encoding, errors))
        return len(content)

    # Open files

    @overload
    def open(
        self,
        path: AnyPath,
        mode: Literal["r", "w", "x", "a", "r+", "w+", "x+", "a+", "rt", "wt", "xt", "at"] = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIO: ...
    @overload
    def open(
        self,
        path: AnyPath,
        mode: Literal["rb", "wb", "xb", "ab", "rb+", "wb+", "xb+", "ab+", "r+b", "w+b", "x+b", "a+b"],
        buffering: int = -1,
        encoding: None = None,
        errors: None = None,
        newline: None = None,
    ) -> BinaryIO: ...
    @overload
    def open(
        self,
        path: AnyPath,
        mode: str,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]: ...
    def open(
        self,
        path: AnyPath,
        mode: str = "r",
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> IO[Any]:
        """Opens a file as the built-in ``open`` does, with one difference for the modes ``w`` and ``x``: what is written takes
        the place of the file when it is closed, all at once. Until then, and for ever if the ``with`` ends with an exception or
        the file is never closed, the old content stays. The modes ``r+`` and ``a`` change the file where it is.

        Text is UTF-8 if nothing else is said.
        """
        return self._open(path, mode, buffering, encoding, errors, newline, True)

    def _open(
        self,
        path: AnyPath,
        mode: str,
        buffering: int,
        encoding: str | None,
        errors: str | None,
        newline: str | None,
        commit_at_close: bool,
    ) -> IO[Any]:
        if not isinstance(mode, str):
            raise TypeError(f"open() argument 'mode' must be str, not {type(mode).__name__}")
        given = set(mode)
        if given - set("rwxabt+") or len(mode) > len(given) or {"b", "t"} <= given:
            raise ValueError(f"invalid mode: {mode!r}")
        if len(given & set("rwxa")) != 1:
            raise ValueError("must have exactly one of create/read/write/append mode")
        text = "b" not in given
        if not text and not (encoding is errors is newline is None):
            raise ValueError("binary mode doesn't take an encoding, errors or newline argument")
        if text and buffering == 0:
            raise ValueError("can't have unbuffered text I/O")
        name = _encoded(path)
        shown = os.fsdecode(name)
        raw_mode = mode.replace("t", "").replace("b", "") + "b"
        if "r" in given:
            core = self._core.open(name, write="+" in given, create=False)
            raw = RawFile(core, shown, raw_mode, "in place")
        elif "a" in given:
            core = self._core.open(name, write=True, create=True)
            raw = RawFile(core, shown, raw_mode, "append")
        else:
            if "x" in given and self._exists(name, follow=False):
                raise FileExistsError(17, os.strerror(17), shown)
            core = self._core.replace(name)
            way: Literal["make", "replace"] = "make" if "x" in given else "replace"
            raw = RawFile(core, shown, raw_mode, way, commit_at_close)
        self._files.add(raw)
        encoding = "utf-8" if text and encoding is None else encoding
        try:
            return wrapped(raw, text, buffering, encoding, errors, newline)
        except BaseException:
            raw.discard()
            raise

    # Folders

    def listdir(self, path: AnyPath = "/") -> list[str]:
        """The names in a folder, in no order."""
        return [entry.name for entry in self.scandir(path)]

    def scandir(self, path: AnyPath = "/") -> Listing:
        """What is in a folder, with what is known of it."""
        return Listing(self._core.list(_encoded(path)), self.stat)

    def scan_all(self, path: AnyPath = "/") -> Listing:
        """Everything below a folder, each folder before what is in it; links are shown and not followed."""
        return Listing(self._core.walk(_encoded(path)), self.stat)

    def walk(
        self,
        top: AnyPath = "/",
        topdown: bool = True,
        onerror: Callable[[OSError], object] | None = None,
        followlinks: bool = False,
    ) -> Iterator[tuple[str, list[str], list[str]]]:
        """As ``os.walk``: ``(folder, names of folders, names of files)`` for each folder."""
        folder = os.fsdecode(_encoded(top))
        folders: list[DirEntry] = []
        files: list[str] = []
        try:
            for entry in self.scandir(folder):
                if entry.is_dir():
                    folders.append(entry)
                else:
                    files.append(entry.name)
        except OSError as error:
            if onerror is not None:
                onerror(error)
            return
        names = [entry.name for entry in folders]
        links = {entry.name for entry in folders if entry.is_symlink()}
        if topdown:
            yield folder, names, files
        for name in names:
            if followlinks or name not in links:
                below = f"{folder.rstrip('/')}/{name}" if folder else name
                yield from self.walk(below, topdown, onerror, followlinks)
        if not topdown:
            yield folder, names, files

    def mkdir(self, path: AnyPath, *, parents: bool = False, exist_ok: bool = False) -> None:
        """Makes a folder; with ``parents`` those above it too, as far as they are missing."""
        name = _encoded(path)
        if parents:
            self._core.makedirs(os.path.dirname(name.rstrip(b"/")) or b"/")
        try:
            self._core.mkdir(name)
        except OSError as error:
            known = isinstance(error, FileExistsError) or name.strip(b"/") == b""
            if not (exist_ok and known and self.isdir(path)):
                raise

    def makedirs(self, path: AnyPath, exist_ok: bool = False) -> None:
        """As ``os.makedirs``."""
        self.mkdir(path, parents=True, exist_ok=exist_ok)

    def rmdir(self, path: AnyPath) -> None:
        """Removes an empty folder."""
        self._core.rmdir(_encoded(path))

    def rmtree(self, path: AnyPath) -> None:
        """Removes a folder with everything below."""
        name = _encoded(path)
        if not _stat.S_ISDIR(self._core.stat(name, False)[0]):
            raise NotADirectoryError(20, os.strerror(20), os.fsdecode(name))
        self._core.remove_all(name)

    # Names

    def rename(self, source: AnyPath, target: AnyPath) -> None:
        """Gives a file or folder another name in one step, and replaces the file or the empty folder that has it."""
        self._core.rename(_encoded(source), _encoded(target))

    replace = rename

    def remove(self, path: AnyPath) -> None:
        """Removes a file or a symbolic link."""
        self._core.remove(_encoded(path))

    unlink = remove

    def copy(self, source: AnyPath, target: AnyPath) -> None:
        """Copies a file to exactly this path, and replaces what is there. The copies share their content: it takes neither
        time nor space."""
        self._core.copy(_encoded(source), _encoded(target))

    def symlink(self, target: AnyPath, path: AnyPath) -> None:
        """Makes a symbolic link at ``path`` that leads to ``target``."""
        self._core.symlink(_encoded(target), _encoded(path))

    def readlink(self, path: AnyPath) -> str:
        """Where a symbolic link leads."""
        return os.fsdecode(self._core.readlink(_encoded(path)))

    # What is known of files

    def stat(self, path: AnyPath, *, follow_symlinks: bool = True) -> os.stat_result:
        """What is known of a file or folder, as ``os.stat`` says it."""
        return stat_result(self._core.stat(_encoded(path), follow_symlinks))

    def lstat(self, path: AnyPath) -> os.stat_result:
        """The same of a symbolic link itself."""
        return self.stat(path, follow_symlinks=False)

    def exists(self, path: AnyPath) -> bool:
        """Whether there is anything."""
        return self._exists(_encoded(path), follow=True)

    def isfile(self, path: AnyPath) -> bool:
        """Whether there is a file."""
        return _stat.S_ISREG(self._mode(path))

    def isdir(self, path: AnyPath) -> bool:
        """Whether there is a folder."""
        return _stat.S_ISDIR(self._mode(path))

    def islink(self, path: AnyPath) -> bool:
        """Whether there is a symbolic link."""
        return _stat.S_ISLNK(self._mode(path, follow=False))

    def chmod(self, path: AnyPath, mode: int) -> None:
        """Changes the permission bits."""
        self._core.set(_encoded(path), mode=mode & 0o7777)

    def chown(self, path: AnyPath, uid: int = -1, gid: int = -1) -> None:
        """Changes owner and group; -1 leaves one as it is."""
        self._core.set(
            _encoded(path), uid=None if uid == -1 else uid, gid=None if gid == -1 else gid
        )

    def utime(
        self,
        path: AnyPath,
        times: tuple[float, float] | None = None,
        *,
        ns: tuple[int, int] | None = None,
    ) -> None:
        """Sets when it was read and changed last, in seconds or in nanoseconds since 1970; without either, to now."""
        if times is not None and ns is not None:
            raise ValueError("utime: you may specify either 'times' or 'ns' but not both")
        if times is not None:
            if len(times) != 2:
                raise TypeError("utime: 'times' must be a tuple of two numbers")
            ns = (int(times[0] * 1e9), int(times[1] * 1e9))
        self._core.touch(_encoded(path)) if ns is None else self._core.set(_encoded(path), times=ns)

    def truncate(self, path: AnyPath, length: int) -> None:
        """Cuts a file to this length, or extends it with zeros that take no room."""
        if length < 0:
            raise OSError(22, os.strerror(22), os.fsdecode(_encoded(path)))
        self._core.set(_encoded(path), size=length)

    def getxattr(self, path: AnyPath, attribute: str | bytes) -> bytes:
        """The value of an extended attribute."""
        return self._core.getxattr(_encoded(path), _encoded(attribute))

    def setxattr(self, path: AnyPath, attribute: str | bytes, value: Buffer) -> None:
        """Sets an extended attribute, as ``user.something``; of at most 64 KiB."""
        self._core.setxattr(_encoded(path), _encoded(attribute), bytes(memoryview(value)))

    def listxattr(self, path: AnyPath) -> list[str]:
        """The names of all extended attributes."""
        return [os.fsdecode(name) for name in self._core.listxattr(_encoded(path))]

    def removexattr(self, path: AnyPath, attribute: str | bytes) -> None:
        """Removes an extended attribute."""
        self._core.removexattr(_encoded(path), _encoded(attribute))

    # The vault

    def path(self, *parts: str | os.PathLike[str]) -> VaultPath:
        """A path in the vault that knows its vault, as ``pathlib`` has them."""
        return VaultPath(self, *parts)

    def sync(self) -> None:
        """Waits until everything done so far survives a kill and a power cut, on this machine. By itself that is so within a
        second."""
        self._core.sync()

    def publish(self) -> None:
        """Uploads now, and waits until the store has everything done so far. :meth:`status` shows from another thread how far
        it is."""
        self._core.publish()

    def status(self) -> Status:
        """What is not in the store yet, and what keeps it."""
        return Status(**self._core.status())

    def mount(self, folder: StrPath, *, allow_other: bool = False) -> Mount:
        """Mounts the vault on an empty folder, for all programs, until the mount is unmounted or the vault is closed.

        :raises MountError: if that is not possible; the message says what is missing.
        """
        place = os.path.abspath(os.path.expanduser(os.fsdecode(folder)))
        return Mount(self._core.mount(place, allow_other), place, self._mounts)

    @property
    def read_only(self) -> bool:
        """Whether it takes no changes."""
        return self._core.read_only

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._core.is_closed()

    def close(self, *, publish: bool = True) -> None:
        """Uploads everything, unmounts and closes the vault. With ``publish=False`` it does not wait for uploads: what is not in
        the store yet is kept on this machine, and goes up when the vault is opened here again.

        A file that is still open is closed; one that was to replace another leaves that as it is.

        :raises UnreachableError: if the store does not answer. The vault stays open; nothing is lost.
        """
        if self.closed:
            return
        for mount in list(self._mounts):
            mount.unmount()
        if publish and not self.read_only:
            self._core.publish()
        for file in list(self._files):
            if not file.closed:
                file.abandon()
        if publish:
            self._core.close()
        else:
            self._core.close_now()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        finally:
            # Where uploading failed: nobody else is kept from the vault, and what waits is kept.
            self.close(publish=False)

    def __del__(self) -> None:
        try:
            if self.closed:
                return
            warnings.warn(f"{self!r} was not closed", ResourceWarning, 2)
            self.close(publish=False)
        except (AttributeError, ImportError, RuntimeError):
            # It never came to be, or belongs to the process that this one was forked from, perhaps while Python ends.
            pass

    def __repr__(self) -> str:
        return f"<coffre.Vault {self._address!r} at {id(self):#x}>"

    def _exists(self, name: bytes, follow: bool) -> bool:
        try:
            self._core.stat(name, follow)
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            return False
        return True

    def _mode(self, path: AnyPath, follow: bool = True) -> int:
        try:
            return self._core.stat(_encoded(path), follow)[0]
        except OSError as error:
            if error.errno not in _NOWHERE:
                raise
            return 0


def _encoded(path: AnyPath) -> bytes:
    name = os.fsencode(str(path) if isinstance(path, VaultPath) else path)
    if not name:
        raise FileNotFoundError(2, os.strerror(2), "")
    if b"\0" in name:
        raise ValueError("embedded null byte")
    return name
