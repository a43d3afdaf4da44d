"""Where secrets come from, and that no copy of ours outlives its use."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from coffre import _coffre
from coffre._errors import UsageError

Secret = str | bytes | bytearray
StrPath = str | bytes | os.PathLike[str] | os.PathLike[bytes]

# The longest passphrase or key file, in bytes.
_LONGEST = 64 * 1024


def wipe(secret: Secret | None) -> None:
    """Overwrites a secret where Python allows it, which is in a bytearray."""
    if isinstance(secret, bytearray):
        secret[:] = bytes(len(secret))


def _read(path: StrPath) -> bytearray:
    # Unbuffered, and into one piece of memory that can be wiped.
    secret = bytearray(_LONGEST)
    with open(path, "rb", buffering=0) as file:
        length = 0
        while part := file.readinto(memoryview(secret)[length:]):
            length += part
    del secret[length:]
    return secret


@contextmanager
def generated(key_file: StrPath | None) -> Iterator[None]:
    """A new key in a file that is not there yet; gone again if what it was made for fails."""
    if key_file is None or os.path.exists(key_file):
        yield
        return
    text = _coffre.new_key_file()
    try:
        with open(os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb", 0) as file:
            file.write(text)
            os.fsync(file.fileno())
    finally:
        wipe(text)
    try:
        yield
    except BaseException:
        os.unlink(key_file)
        raise


@contextmanager
def gathered(
    passphrase: Secret | None,
    passphrase_file: StrPath | None,
    key_file: StrPath | None,
) -> Iterator[tuple[Secret | None, bytearray | None]]:
    """The passphrase and the content of the key file, from the arguments or else from the environment; wiped at the end."""
    if passphrase is not None and passphrase_file is not None:
        raise UsageError("a passphrase and a file with one are both given; give one of them")
    key = None
    try:
        key = None if key_file is None else _read(key_file)
        if passphrase is None and passphrase_file is not None:
            passphrase = _read(passphrase_file)
        if passphrase is None and key is None:
            passphrase = _from_environment()
        yield passphrase, key
    finally:
        wipe(passphrase)
        wipe(key)


def _from_environment() -> Secret:
    secret = os.environb.get(b"COFFRE_PASSPHRASE")
    if secret is not None:
        return secret
    path = os.environ.get("COFFRE_PASSPHRASE_FILE")
    if path is not None:
        return _read(path)
    raise UsageError(
        "no secret is given: pass passphrase, passphrase_file or key_file, or set COFFRE_PASSPHRASE_FILE"
    )
