"""Vaults to try things on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import coffre

PASSPHRASE = "correct horse battery staple"


@dataclass
class Place:
    """A vault's store, and the folders of machines that open it."""

    folder: Path

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def passphrase_file(self) -> Path:
        return self.folder / "passphrase"

    def make(self) -> str:
        self.passphrase_file.write_text(PASSPHRASE + "\n")
        return coffre.init(
            self.store, passphrase=PASSPHRASE, state_dir=self.folder / "a", light_kdf=True
        )

    def open(self, machine: str = "a", **options: Any) -> coffre.Vault:
        if "key_file" not in options:
            options.setdefault("passphrase", PASSPHRASE)
        return coffre.open(self.store, state_dir=self.folder / machine, **options)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A vault that nobody opens: deriving its key once is enough for all tests."""
    made = Place(tmp_path_factory.mktemp("made"))
    made.make()
    return made


@pytest.fixture
def place(made: Place, tmp_path: Path) -> Place:
    place = Place(tmp_path)
    shutil.copytree(made.store, place.store)
    shutil.copy(made.passphrase_file, place.passphrase_file)
    return place


@pytest.fixture
def vault(place: Place) -> Iterator[coffre.Vault]:
    with place.open() as vault:
        yield vault


@pytest.fixture(autouse=True)
def _no_secret_of_the_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("COFFRE_PASSPHRASE", "COFFRE_PASSPHRASE_FILE", "COFFRE_STATE_DIR"):
        monkeypatch.delenv(variable, raising=False)
