"""Paths that know their vault."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

import pytest

import coffre


@pytest.fixture
def root(vault: coffre.Vault) -> coffre.VaultPath:
    for name in ("a/b/c", "a/d", "e"):
        vault.makedirs(name)
    for name in ("1.txt", "a/2.txt", "a/b/3.jpg", "a/b/c/4.txt", "a/d/.hidden"):
        vault.write_text(name, name)
    return vault.path("/")


@pytest.mark.parametrize(
    "pattern",
    ["*", "*.txt", "a/*", "*/*", "**/*.txt", "**", "**/b/*", "a/b/3.jpg", "a/**/*.jpg", "[ae]", "a/./b", "missing/*", "*/2.txt"],
)
def test_globbing_is_as_pathlib_does(
    root: coffre.VaultPath, tmp_path: Path, pattern: str
) -> None:
    here = tmp_path / "plain"
    for name in ("a/b/c", "a/d", "e"):
        (here / name).mkdir(parents=True)
    for name in ("1.txt", "a/2.txt", "a/b/3.jpg", "a/b/c/4.txt", "a/d/.hidden"):
        (here / name).write_text(name)
    expected = {str(path.relative_to(here)) for path in here.glob(pattern)}
    if pattern == "**":
        # Newer Pythons show files too.
        expected = {str(path.relative_to(here)) for path in [here, *here.rglob("*")] if path.is_dir()}
        found = {str(path.relative_to("/")) for path in root.glob(pattern) if path.is_dir()}
    else:
        found = {str(path.relative_to("/")) for path in root.glob(pattern)}
    assert found == expected


def test_the_parts_of_a_path(root: coffre.VaultPath) -> None:
    path = root / "a" / "b/all.tar.gz"
    assert str(path) == path.as_posix() == "/a/b/all.tar.gz"
    assert (path.name, path.stem, path.suffix, path.suffixes) == (
        "all.tar.gz",
        "all.tar",
        ".gz",
        [".tar", ".gz"],
    )
    assert path.parts == ("/", "a", "b", "all.tar.gz")
    assert [str(parent) for parent in path.parents] == ["/a/b", "/a", "/"]
    assert path.parent.parent == root / "a"
    assert str(path.with_name("x")) == "/a/b/x"
    assert str(path.with_suffix(".xz")) == "/a/b/all.tar.xz"
    assert str(path.with_stem("some")) == "/a/b/some.gz"
    assert path.relative_to(root / "a") == PurePosixPath("b/all.tar.gz")
    assert path.is_relative_to("/a") and not path.is_relative_to("/e")
    assert path.match("*.gz")
    assert repr(path) == "VaultPath('/a/b/all.tar.gz')"
    assert len({path, root / "a/b/all.tar.gz", root}) == 2
    assert sorted([root / "b", root / "a"]) == [root / "a", root / "b"]
    assert path != "/a/b/all.tar.gz"


def test_no_path_of_this_machine_is_mistaken_for_it(root: coffre.VaultPath) -> None:
    with pytest.raises(TypeError):
        os.fspath(root)  # type: ignore[call-overload]
    with pytest.raises(TypeError):
        open(root / "1.txt")  # type: ignore[call-overload]


def test_what_is_done_with_paths(root: coffre.VaultPath, vault: coffre.Vault) -> None:
    file = root / "new"
    file.touch()
    assert file.is_file() and file.stat().st_size == 0
    before = file.stat().st_mtime_ns
    file.touch()
    assert file.stat().st_mtime_ns > before
    with pytest.raises(FileExistsError):
        file.touch(exist_ok=False)
    file.write_bytes(b"content")
    assert file.read_bytes() == b"content"
    file.write_text("text")
    assert file.read_text() == "text"
    with file.open("a") as opened:
        opened.write(" and more")
    moved = file.rename("/e/moved")
    assert moved == root / "e" / "moved" and not file.exists()
    copied = moved.copy(root / "copied")
    assert copied.read_text() == "text and more"
    (root / "link").symlink_to("copied")
    assert (root / "link").is_symlink() and (root / "link").readlink() == "copied"
    assert (root / "link").lstat().st_size != copied.lstat().st_size
    copied.chmod(0o600)
    assert copied.stat().st_mode & 0o777 == 0o600
    (root / "x/y").mkdir(parents=True)
    (root / "x/y").rmdir()
    (root / "a").rmtree()
    copied.unlink()
    copied.unlink(missing_ok=True)
    with pytest.raises(FileNotFoundError):
        copied.unlink()
    assert sorted(path.name for path in root.iterdir()) == ["1.txt", "e", "link", "x"]
    assert vault.listdir(root / "e") == ["moved"]
    assert [(str(folder), files) for folder, _, files in root.walk()] == [
        ("/", ["1.txt", "link"]),
        ("/e", ["moved"]),
        ("/x", []),
    ]
