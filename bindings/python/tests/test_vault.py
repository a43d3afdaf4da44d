"""What is done with the files in a vault."""

from __future__ import annotations

import errno
import gc
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

import coffre

from conftest import PASSPHRASE, Place


def test_what_was_written_is_there_on_another_machine(place: Place) -> None:
    content = os.urandom(3_000_001)
    with place.open() as vault:
        assert vault.write_bytes("/a", content) == len(content)
        vault.makedirs("/deep/er")
        vault.write_text("deep/er/text", "naïve\n")
        vault.setxattr("/a", "user.kind", b"noise")
        vault.symlink("deep/er", "/link")
        vault.chmod("/a", 0o640)
        vault.utime("/a", ns=(1_000_000_007, 1_700_000_000_123_456_789))
    with place.open("b") as vault:
        assert vault.read_bytes("a") == content
        assert vault.read_bytes("/a", 5, 10) == content[5:10]
        assert vault.read_bytes("/a", 3_000_000) == content[-1:]
        assert vault.read_bytes("/a", 3_000_000, 9_999_999) == content[-1:]
        assert vault.read_bytes("/a", 9_999_999) == b""
        assert vault.read_bytes("/a", 10, 5) == b""
        assert vault.read_text("/link/text") == "naïve\n"
        assert vault.getxattr("/a", "user.kind") == b"noise"
        assert vault.listxattr("/a") == ["user.kind"]
        vault.removexattr("/a", b"user.kind")
        assert vault.listxattr("/a") == []
        found = vault.stat("/a")
        assert (found.st_size, stat.S_IMODE(found.st_mode)) == (len(content), 0o640)
        assert found.st_mtime_ns == 1_700_000_000_123_456_789
        assert found.st_atime_ns == 1_000_000_007
        assert found.st_mtime == pytest.approx(1_700_000_000.123456789)
        assert vault.readlink("/link") == "deep/er"


def test_any_buffer_can_be_written(vault: coffre.Vault) -> None:
    import array

    numbers = array.array("i", range(1000))
    for content in (b"bytes", bytearray(b"array"), memoryview(b"xviewx")[1:5], numbers, b""):
        exact = memoryview(content).tobytes()
        assert vault.write_bytes("/f", content) == len(exact)
        assert vault.read_bytes("/f") == exact
    large = bytearray(os.urandom(1_000_003)) * 9
    vault.write_bytes("/f", large)
    assert vault.read_bytes("/f") == large


def test_listing(vault: coffre.Vault) -> None:
    vault.makedirs("d/inner")
    vault.write_bytes("d/file", b"12345")
    vault.symlink("file", "d/to-file")
    vault.symlink("inner", "d/to-folder")
    vault.symlink("nowhere", "d/to-nothing")
    assert sorted(vault.listdir("d")) == ["file", "inner", "to-file", "to-folder", "to-nothing"]
    with vault.scandir("/d") as entries:
        found = {entry.name: entry for entry in entries}
    assert found["file"].path == "/d/file"
    assert found["file"].stat().st_size == 5
    assert found["file"].inode() == vault.stat("/d/file").st_ino
    kinds = {name: (e.is_file(), e.is_dir(), e.is_symlink()) for name, e in found.items()}
    assert kinds == {
        "file": (True, False, False),
        "inner": (False, True, False),
        "to-file": (True, False, True),
        "to-folder": (False, True, True),
        "to-nothing": (False, False, True),
    }
    assert not found["to-folder"].is_dir(follow_symlinks=False)
    assert found["to-file"].stat().st_size == 5
    assert stat.S_ISLNK(found["to-file"].stat(follow_symlinks=False).st_mode)
    with pytest.raises(FileNotFoundError):
        found["to-nothing"].stat()
    for i in range(2_500):
        vault.write_bytes(f"d/inner/{i}", b"")
    assert len(vault.listdir("d/inner")) == 2_500
    assert sum(1 for _ in vault.scan_all("/")) == 2_506


def test_walking_is_as_os_walk_does(vault: coffre.Vault, tmp_path: Path) -> None:
    here = tmp_path / "plain"
    for name in ("a/b/c", "a/d", "e"):
        (here / name).mkdir(parents=True)
        vault.makedirs(name)
    for name in ("1", "a/2", "a/b/3", "a/b/c/4"):
        (here / name).write_text(name)
        vault.write_text(name, name)
    (here / "a/b/link").symlink_to("../d")
    vault.symlink("../d", "a/b/link")
    for topdown in (True, False):
        for follow in (True, False):
            plain = os.walk(here, topdown, followlinks=follow)
            expected = {
                (os.path.relpath(folder, here), *map(tuple, map(sorted, names)))
                for folder, *names in plain
            }
            found = {
                (os.path.relpath(folder, "/"), *map(tuple, map(sorted, names)))
                for folder, *names in vault.walk("/", topdown, followlinks=follow)
            }
            assert found == expected
    pruned = []
    for folder, folders, _ in vault.walk("/"):
        pruned.append(folder)
        folders[:] = [name for name in folders if name != "b"]
    assert pruned == ["/", "/a", "/a/d", "/e"] or sorted(pruned) == ["/", "/a", "/a/d", "/e"]
    errors: list[OSError] = []
    assert list(vault.walk("/missing", onerror=errors.append)) == []
    assert errors[0].errno == errno.ENOENT


def test_names(vault: coffre.Vault) -> None:
    vault.write_bytes("/one", b"1")
    vault.rename("/one", "/two")
    assert not vault.exists("/one")
    vault.write_bytes("/three", b"3")
    vault.replace("/two", "/three")
    assert vault.read_bytes("/three") == b"1"
    vault.copy("/three", "/four")
    vault.write_bytes("/three", b"changed")
    assert vault.read_bytes("/four") == b"1"
    vault.remove("/four")
    assert vault.listdir() == ["three"]
    vault.mkdir("/folder")
    vault.mkdir("/folder", exist_ok=True)
    vault.mkdir("/p/q/r", parents=True)
    vault.write_bytes("/p/q/r/file", b"x")
    vault.rmdir("/folder")
    vault.rmtree("/p")
    assert vault.listdir() == ["three"]


def test_names_of_any_bytes(vault: coffre.Vault) -> None:
    odd = b"/not \xff text"
    vault.write_bytes(odd, b"x")
    (name,) = vault.listdir()
    assert os.fsencode(name) == odd[1:]
    assert vault.read_bytes(f"/{name}") == b"x"
    for name in ("été", "日本語", "a b", "-rf", "🗝"):
        vault.write_text(name, name)
        assert vault.read_text(Path("/") / name) == name


def test_publish_and_status(place: Place) -> None:
    with place.open() as vault:
        vault.write_bytes("/f", os.urandom(500_000))
        vault.sync()
        before = vault.status()
        assert before.unpublished_operations > 0
        assert before.unpublished_bytes >= 500_000
        vault.publish()
        after = vault.status()
        assert after.unpublished_operations == 0
        assert after.last_commit > before.last_commit
        with place.open("reader", read_only=True) as other:
            assert other.read_only
            assert other.stat("/f").st_size == 500_000
            with pytest.raises(OSError, match="Read-only") as caught:
                other.write_bytes("/f", b"")
            assert caught.value.errno == errno.EROFS


def test_closing_without_publishing_keeps_what_was_done(place: Place) -> None:
    vault = place.open()
    vault.write_bytes("/f", b"kept")
    vault.close(publish=False)
    vault.close()
    assert vault.closed
    with place.open("b", read_only=True) as other:
        assert not other.exists("/f")
    with place.open() as vault:
        assert vault.read_bytes("/f") == b"kept"


def test_a_vault_of_s3_needs_no_more_than_options(place: Place) -> None:
    with pytest.raises(coffre.UnreachableError) as caught:
        coffre.open(
            "s3://bucket/prefix?region=here&endpoint=http://127.0.0.1:9",
            passphrase=PASSPHRASE,
            options={"access_key_id": "id", "secret_access_key": "very-secret"},
            state_dir=place.folder / "s3",
        )
    assert isinstance(caught.value, ConnectionError)
    assert "very-secret" not in str(caught.value)


@pytest.mark.skipif(not os.path.exists("/dev/fuse"), reason="there is no FUSE here")
def test_a_mount_is_for_every_program(vault: coffre.Vault, tmp_path: Path) -> None:
    folder = tmp_path / "mnt"
    folder.mkdir()
    vault.write_text("/from-python", "sealed")
    with vault.mount(folder) as mount:
        assert mount.folder == str(folder)
        assert (folder / "from-python").read_text() == "sealed"
        subprocess.run(["cp", sys.executable, folder / "copied"], check=True)
        with (folder / "open").open("w"), pytest.raises(coffre.MountError, match="in use"):
            mount.unmount()
        with pytest.raises(coffre.MountError, match="already"):
            vault.mount(folder)
    assert list(folder.iterdir()) == []
    assert vault.read_bytes("/copied") == Path(sys.executable).read_bytes()
    with pytest.raises(coffre.MountError, match="does not exist"):
        vault.mount(tmp_path / "missing")
    # It stays, also if nobody holds on to it, until the vault is closed.
    vault.mount(folder)
    gc.collect()
    assert (folder / "from-python").read_text() == "sealed"
    vault.close()
    assert list(folder.iterdir()) == []
