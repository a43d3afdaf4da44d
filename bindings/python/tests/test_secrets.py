"""What opens a vault, and that it is not left lying about."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest

import coffre
from conftest import PASSPHRASE, Place


def test_secrets_come_in_many_forms(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.open(passphrase=PASSPHRASE).close()
    place.open(passphrase=PASSPHRASE.encode()).close()
    place.open(passphrase=bytearray(PASSPHRASE.encode())).close()
    place.open(passphrase=PASSPHRASE + "\n").close()
    place.open(passphrase=None, passphrase_file=place.passphrase_file).close()
    with pytest.raises(coffre.UsageError, match="passphrase_file"):
        place.open(passphrase=None)
    with pytest.raises(coffre.UsageError, match="both"):
        place.open(passphrase=PASSPHRASE, passphrase_file=place.passphrase_file)
    with pytest.raises(FileNotFoundError):
        place.open(passphrase=None, passphrase_file=place.folder / "missing")
    monkeypatch.setenv("COFFRE_PASSPHRASE_FILE", str(place.passphrase_file))
    place.open(passphrase=None).close()
    monkeypatch.setenv("COFFRE_PASSPHRASE", "not this one")
    with pytest.raises(coffre.WrongSecretError):
        place.open(passphrase=None)


def test_the_recovery_code_opens_it_too(tmp_path: Path) -> None:
    place = Place(tmp_path)
    code = place.make()
    assert len(code) > 30
    with place.open("b", passphrase=code) as vault:
        assert vault.listdir() == []


def test_a_key_file_alone_and_beside_a_passphrase(tmp_path: Path) -> None:
    key = tmp_path / "key"
    alone, both = Place(tmp_path / "alone"), Place(tmp_path / "both")
    for place in (alone, both):
        place.folder.mkdir()
    state = {"state_dir": tmp_path / "state", "light_kdf": True}
    coffre.init(alone.store, key_file=key, **state)
    assert key.stat().st_mode & 0o777 == 0o600
    with pytest.raises(coffre.VaultNotEmptyError):
        coffre.init(alone.store, key_file=tmp_path / "for nothing", **state)
    assert not (tmp_path / "for nothing").exists()
    coffre.init(both.store, passphrase=PASSPHRASE, key_file=key, **state)
    alone.open(key_file=key).close()
    both.open(key_file=key, passphrase=PASSPHRASE).close()
    with pytest.raises(coffre.WrongSecretError):
        both.open(key_file=key)
    with pytest.raises(coffre.WrongSecretError):
        both.open(passphrase=PASSPHRASE)


def test_a_bytearray_is_wiped_whatever_comes_of_it(place: Place, tmp_path: Path) -> None:
    right = bytearray(PASSPHRASE.encode())
    place.open(passphrase=right).close()
    assert right == bytes(len(PASSPHRASE))
    wrong = bytearray(b"something else entirely")
    with pytest.raises(coffre.WrongSecretError):
        place.open(passphrase=wrong)
    assert wrong == bytes(len(wrong))
    for_nothing = bytearray(PASSPHRASE.encode())
    with pytest.raises(coffre.NoVaultError):
        coffre.open(tmp_path / "nothing", passphrase=for_nothing, state_dir=tmp_path / "s")
    assert for_nothing == bytes(len(PASSPHRASE))
    new = bytearray(PASSPHRASE.encode())
    coffre.init(tmp_path / "new", passphrase=new, state_dir=tmp_path / "s", light_kdf=True)
    assert new == bytes(len(PASSPHRASE))


def test_a_weak_passphrase_is_refused(tmp_path: Path) -> None:
    state = {"state_dir": tmp_path / "s", "light_kdf": True}
    with pytest.raises(coffre.UsageError) as caught:
        coffre.init(tmp_path / "v", passphrase="hunter2", **state)
    assert "hunter2" not in str(caught.value)
    assert not (tmp_path / "v").exists() or not any((tmp_path / "v").iterdir())
    with pytest.raises(coffre.UsageError):
        coffre.init(tmp_path / "v", passphrase="", weak=True, **state)
    coffre.init(tmp_path / "v", passphrase="hunter2", weak=True, **state)


def test_nothing_that_is_shown_or_pickled_holds_a_secret(place: Place) -> None:
    with place.open(options={}) as vault:
        for thing in (vault, vault.path("/x"), vault.status()):
            assert PASSPHRASE not in repr(thing)
        with pytest.raises(TypeError):
            pickle.dumps(vault)
    shown = repr(
        coffre.Vault(None, "s3://bucket/prefix")  # type: ignore[arg-type]
    )
    assert "bucket/prefix" in shown
