"""What can go wrong: the built-in exceptions where they fit, and the vault's own."""

from __future__ import annotations

import errno
import os


class Error(Exception):
    """Anything that only a vault can say. The message says what happened, to what, and what to do."""


class TamperedError(Error, OSError):
    """Something in the store is not what was written: altered, cut short or gone. ``filename`` says which file it is part of,
    where that is known."""


class RollbackError(TamperedError):
    """The store offers an older state than this machine has seen."""


class WrongVaultError(TamperedError):
    """Another vault is at the address than this machine knows there."""


class DamagedError(Error, OSError):
    """What this machine keeps of the vault is damaged."""


class UnreachableError(Error, ConnectionError):
    """The store does not answer. Nothing is lost: what was done is kept on this machine."""


class DeniedError(Error, PermissionError):
    """The store refuses the credentials."""


class StoreFullError(Error, OSError):
    """The store takes no more."""


class WrongSecretError(Error, PermissionError):
    """No passphrase or key that was given opens the vault."""


class NoVaultError(Error, FileNotFoundError):
    """There is no vault at the address."""


class VaultNotEmptyError(Error, FileExistsError):
    """Something is already where a vault was to be made."""


class BusyError(Error, BlockingIOError):
    """Another process has the vault open, or another thread uses the file."""


class DivergedError(Error, OSError):
    """Another device has published without knowing of this one."""


class MountError(Error, OSError):
    """The vault cannot be mounted, or not unmounted."""


class UnsupportedError(Error, OSError):
    """Made by a newer Coffre, or not to be had here."""


class UsageError(Error, ValueError):
    """An address, option or secret that cannot be used."""


class ForkedError(Error, RuntimeError):
    """Opened in a process of which this one is a child; what a vault needs does not survive a fork."""


# Why the library refuses an operation, as the numbers that the built-in exceptions are chosen by.
_REFUSALS = {
    "NoEntry": errno.ENOENT,
    "Exists": errno.EEXIST,
    "NotDirectory": errno.ENOTDIR,
    "IsDirectory": errno.EISDIR,
    "NotEmpty": errno.ENOTEMPTY,
    "Invalid": errno.EINVAL,
    "NameTooLong": errno.ENAMETOOLONG,
    "NoAttribute": errno.ENODATA,
    "TooLarge": errno.E2BIG,
    "FileTooLarge": errno.EFBIG,
    "NoSpace": errno.ENOSPC,
    "TooManyLinks": errno.EMLINK,
    "BadHandle": errno.EBADF,
    "ReadOnly": errno.EROFS,
    "NotPermitted": errno.EPERM,
    "NothingThere": errno.ENXIO,
    "Unsupported": errno.EOPNOTSUPP,
    "Loop": errno.ELOOP,
    "Stale": errno.ESTALE,
}

_SYSTEM: dict[str, tuple[type[OSError], int]] = {
    "Io": (OSError, errno.EIO),
    "Tampered": (TamperedError, errno.EIO),
    "Rollback": (RollbackError, errno.EIO),
    "WrongVault": (WrongVaultError, errno.EIO),
    "Damaged": (DamagedError, errno.EIO),
    "Unreachable": (UnreachableError, errno.EHOSTUNREACH),
    "Denied": (DeniedError, errno.EACCES),
    "Full": (StoreFullError, errno.ENOSPC),
    "WrongSecret": (WrongSecretError, errno.EACCES),
    "NoVault": (NoVaultError, errno.ENOENT),
    "VaultNotEmpty": (VaultNotEmptyError, errno.EEXIST),
    "Busy": (BusyError, errno.EBUSY),
    "Diverged": (DivergedError, errno.EIO),
    "Mount": (MountError, errno.EIO),
    "Newer": (UnsupportedError, errno.EOPNOTSUPP),
    "Other": (OSError, errno.EIO),
}


def made(kind: str, number: int | None, message: str, path: bytes | None) -> Exception:
    """The exception for what the library calls ``kind``; ``number`` is what the system said, where it said something."""
    if kind == "Closed":
        return ValueError(message)
    if kind == "Forked":
        return ForkedError(message)
    if kind == "Usage":
        return UsageError(message)
    name = None if path is None else os.fsdecode(path)
    refused = _REFUSALS.get(kind)
    if refused is not None:
        return OSError(refused, os.strerror(refused), name)
    known, usual = _SYSTEM.get(kind, _SYSTEM["Other"])
    return known(usual if number is None else number, message, name)
