"""A drive that its storage provider cannot read, alter, roll back or hold hostage.

    import coffre

    recovery_code = coffre.init("s3://my-bucket/coffre?region=eu-west-3", passphrase_file="passphrase")

    with coffre.open("s3://my-bucket/coffre?region=eu-west-3", passphrase_file="passphrase") as vault:
        vault.write_bytes("/reports/may.txt", b"sealed before it leaves")
        with vault.open("/film.mkv", "rb") as film:
            film.seek(1_000_000)
            part = film.read(4096)                  # fetches what it needs of it
        for path in vault.path("/reports").glob("*.txt"):
            print(path, path.stat().st_size)

Paths begin at the vault's root. What is done reaches this machine's disk within a second, at once with ``Vault.sync``, and is
uploaded in the background: ``Vault.publish`` and leaving the ``with`` wait for that. Errors are the built-in ones where those fit (``FileNotFoundError``,
``IsADirectoryError``, …); what has been altered in the store raises ``TamperedError``.

``coffre.aio`` has the same for asyncio; ``coffre.fsspec`` serves ``coffre://`` to pandas, pyarrow, DuckDB, zarr and whatever else
reads through fsspec.
"""

from importlib.metadata import version as _version

from coffre._errors import (
    BusyError,
    DamagedError,
    DeniedError,
    DivergedError,
    Error,
    ForkedError,
    MountError,
    NoVaultError,
    RollbackError,
    StoreFullError,
    TamperedError,
    UnreachableError,
    UnsupportedError,
    UsageError,
    VaultNotEmptyError,
    WrongSecretError,
    WrongVaultError,
)
from coffre._files import DirEntry
from coffre._path import VaultPath
from coffre._vault import Mount, Status, Vault, init, open

__version__ = _version("coffre")

__all__ = [
    "BusyError",
    "DamagedError",
    "DeniedError",
    "DirEntry",
    "DivergedError",
    "Error",
    "ForkedError",
    "Mount",
    "MountError",
    "NoVaultError",
    "RollbackError",
    "Status",
    "StoreFullError",
    "TamperedError",
    "UnreachableError",
    "UnsupportedError",
    "UsageError",
    "Vault",
    "VaultNotEmptyError",
    "VaultPath",
    "WrongSecretError",
    "WrongVaultError",
    "init",
    "open",
]
