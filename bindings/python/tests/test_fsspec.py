"""``coffre://`` in fsspec: its own conformance suite, and what a vault promises beyond that."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import pickle
import posixpath
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import fsspec
import pytest
from fsspec.tests.abstract import (
    AbstractCopyTests,
    AbstractFixtures,
    AbstractGetTests,
    AbstractOpenTests,
    AbstractPipeTests,
    AbstractPutTests,
)

import coffre
from coffre.fsspec import CoffreFileSystem

PHRASE = "correct horse battery staple"

Options = dict[str, Any]

_folders = count()


def at(folder: Path) -> Options:
    """The storage options of the vault in a folder."""
    names = {"vault": "store", "passphrase_file": "phrase", "state_dir": "state"}
    return {option: str(folder / name) for option, name in names.items()}


def made(folder: Path) -> Options:
    """The same of a new one."""
    options = at(folder)
    coffre.init(options["vault"], passphrase=PHRASE, state_dir=options["state_dir"], light_kdf=True)
    Path(options["passphrase_file"]).write_text(PHRASE)
    return options


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Options]:
    """One vault for most tests: making one takes longer than using it."""
    options = made(tmp_path_factory.mktemp("vault"))
    yield options
    fsspec.filesystem("coffre", **options).close()


@pytest.fixture
def fs(where: Options) -> CoffreFileSystem:
    return fsspec.filesystem("coffre", **where)


@pytest.fixture
def here(fs: CoffreFileSystem) -> Iterator[str]:
    """A folder of each test's own."""
    folder = f"/test {next(_folders)}"
    fs.mkdir(folder)
    yield folder
    fs.rm(folder, recursive=True)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a new vault that nobody opens: making one takes longer than copying it."""
    folder = tmp_path_factory.mktemp("new")
    made(folder)
    return folder


@pytest.fixture
def alone(new: Path, tmp_path: Path) -> Iterator[Options]:
    """A vault that a test may close, or leave to other processes."""
    shutil.copytree(new, tmp_path, dirs_exist_ok=True)
    options = at(tmp_path)
    yield options
    for fs in list(CoffreFileSystem._cache.values()):
        if fs.storage_options.get("vault") == options["vault"]:
            fs.close()


def contents(fs: CoffreFileSystem, folder: str) -> dict[str, bytes]:
    """What is in each file below a folder."""
    return {path.removeprefix(f"{folder}/"): fs.cat_file(path) for path in fs.find(folder)}


def run(script: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs a script in another process, in which a warning for what was not closed is an error."""
    command = [sys.executable, "-W", "error::ResourceWarning", "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


# fsspec's own suite


class Fixtures(AbstractFixtures):
    @pytest.fixture
    def fs(self, where: Options) -> CoffreFileSystem:
        return fsspec.filesystem("coffre", **where)

    @pytest.fixture
    def fs_join(self) -> Any:
        return posixpath.join

    @pytest.fixture
    def fs_path(self, here: str) -> str:
        return here


class TestCopy(Fixtures, AbstractCopyTests):
    pass


class TestGet(Fixtures, AbstractGetTests):
    pass


class TestPut(Fixtures, AbstractPutTests):
    pass


class TestOpen(Fixtures, AbstractOpenTests):
    pass


class TestPipe(Fixtures, AbstractPipeTests):
    pass


# Which vault


def test_the_protocol_is_known_without_an_import() -> None:
    script = """
import sys, fsspec
assert "coffre" in fsspec.available_protocols()
assert "coffre" not in sys.modules
print(fsspec.get_filesystem_class("coffre").__module__)
"""
    done = run(script)
    assert (done.stdout.strip(), done.stderr) == ("coffre.fsspec", "")


def test_a_url_and_options_open_a_file(where: Options, fs: CoffreFileSystem, here: str) -> None:
    with fsspec.open(f"coffre:/{here}/new/a", "wb", **where) as file:
        file.write(b"by its url")
    with fsspec.open(f"coffre:/{here}/new/a", "rb", **where) as file:
        assert file.read() == b"by its url"
    found, path = fsspec.url_to_fs(f"coffre:/{here}/new/a", **where)
    assert found is fs
    assert path == f"{here}/new/a"


def test_the_address_may_be_called_url(where: Options, fs: CoffreFileSystem, here: str) -> None:
    options = dict(where)
    options["url"] = Path(options.pop("vault"))
    assert fsspec.filesystem("coffre", **options).vault is fs.vault
    with fsspec.open(f"coffre:/{here}/a", "wt", **options) as file:
        file.write("né")
    assert fs.cat(f"{here}/a") == "né".encode()


def test_an_open_vault_stays_its_openers(alone: Options) -> None:
    with coffre.open(alone["vault"], passphrase=PHRASE, state_dir=alone["state_dir"]) as vault:
        fs = CoffreFileSystem(vault=vault)
        fs.pipe("/a/b", b"1")
        assert vault.read_bytes("/a/b") == b"1"
        with pytest.raises(TypeError):
            pickle.dumps(fs)
        with pytest.raises(TypeError):
            fs.to_json()
        vault.close()
        with pytest.raises(ValueError, match="closed"):
            fs.cat("/a/b")


def test_what_names_no_vault_is_refused(where: Options) -> None:
    with pytest.raises(coffre.UsageError, match="vault"):
        fsspec.filesystem("coffre", passphrase_file=where["passphrase_file"])
    with pytest.raises(coffre.UsageError, match="one vault"):
        fsspec.filesystem("coffre", url=where["vault"], **where)
    with pytest.raises(coffre.NoVaultError):
        fsspec.filesystem("coffre", **{**where, "vault": where["vault"] + "/nothing/there"})


def test_a_passphrase_among_the_options_is_refused(where: Options) -> None:
    with pytest.raises(coffre.UsageError, match="sent to other processes") as refused:
        fsspec.filesystem("coffre", vault=where["vault"], state_dir=where["state_dir"], passphrase=PHRASE)
    assert PHRASE not in str(refused.value)
    with pytest.raises(coffre.UsageError, match="sent to other processes"):
        fsspec.open("coffre://a", passphrase=PHRASE, **where)


def test_the_passphrase_file_may_be_in_the_environment(alone: Options, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COFFRE_PASSPHRASE", raising=False)
    monkeypatch.setenv("COFFRE_PASSPHRASE_FILE", alone["passphrase_file"])
    fs = fsspec.filesystem("coffre", vault=alone["vault"], state_dir=alone["state_dir"])
    fs.pipe("/a", b"1")
    fs.close()
    assert fsspec.filesystem("coffre", **alone).cat("/a") == b"1"


def test_equal_options_share_one_vault(where: Options, fs: CoffreFileSystem) -> None:
    paths = {key: Path(value) for key, value in where.items()}
    same = [
        fsspec.filesystem("coffre", **where, skip_instance_cache=True),
        fsspec.filesystem("coffre", **where, auto_mkdir=False),
        fsspec.filesystem("coffre", **dict(reversed(where.items()))),
        fsspec.filesystem("coffre", **paths),
    ]
    assert {id(other.vault) for other in same} == {id(fs.vault)}


def test_threads_share_one_vault(alone: Options) -> None:
    barrier = threading.Barrier(8, timeout=20)

    def write(number: int) -> int:
        barrier.wait()
        fs = fsspec.filesystem("coffre", **alone)
        fs.pipe(f"/shared/{number}", b"%d" % number)
        return id(fs.vault)

    with ThreadPoolExecutor(8) as threads:
        vaults = set(threads.map(write, range(8)))
    fs = fsspec.filesystem("coffre", **alone)
    assert vaults == {id(fs.vault)}
    assert contents(fs, "/shared") == {f"{number}": b"%d" % number for number in range(8)}


def test_a_closed_vault_is_opened_again_when_it_is_needed(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    other = fsspec.filesystem("coffre", **alone, skip_instance_cache=True)
    fs.pipe("/a", b"1")
    before = fs.vault
    fs.close()
    assert before.closed
    # The vault is free meanwhile.
    with coffre.open(alone["vault"], passphrase=PHRASE, state_dir=alone["state_dir"]) as vault:
        vault.write_bytes("/a", b"2")
    assert fsspec.filesystem("coffre", **alone).cat("/a") == b"2"
    assert other.vault is fs.vault is not before


def test_closing_twice_opens_nothing(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    fs.close()
    fs.close()
    with coffre.open(alone["vault"], passphrase=PHRASE, state_dir=alone["state_dir"]) as vault:
        assert vault.listdir() == []


def test_a_read_only_file_system_changes_nothing(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    fs.pipe("/a", b"1")
    fs.close()
    fs = fsspec.filesystem("coffre", **alone, read_only=True)
    assert fs.cat("/a") == b"1"
    with pytest.raises(OSError, match="Read-only"):
        fs.pipe("/a", b"2")
    with pytest.raises(OSError, match="Read-only"):
        fs.rm("/a")
    fs.close()


# Other processes


def test_pickling_keeps_the_options_and_holds_no_secret(where: Options, fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a", b"1")
    pickled = pickle.dumps(fs)
    again = pickle.loads(pickled)
    assert again.storage_options == where
    assert again.cat(f"{here}/a") == b"1"
    assert PHRASE.encode() not in pickled
    assert where["passphrase_file"].encode() in pickled


def test_json_keeps_the_options_and_holds_no_secret(where: Options, fs: CoffreFileSystem) -> None:
    text = fs.to_json()
    again = fsspec.AbstractFileSystem.from_json(text)
    assert isinstance(again, CoffreFileSystem)
    assert again.vault is fs.vault
    assert PHRASE not in text
    assert json.loads(text)["passphrase_file"] == where["passphrase_file"]


def test_an_open_file_that_was_pickled_unopened_is_read_in_another_process(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    fs.pipe("/a", b"over there")
    fs.close()
    pickled = pickle.dumps(fsspec.open("coffre://a", "rb", **alone))
    fs.close()
    script = "import sys, pickle\nwith pickle.loads(bytes.fromhex(sys.argv[1])) as file: print(file.read())"
    done = run(script, pickled.hex())
    assert (done.stdout.strip(), done.stderr) == ("b'over there'", "")


WRITE_AND_EXIT = """
import json, sys, fsspec
options = json.loads(sys.argv[1])
fs = fsspec.filesystem("coffre", **options)
with fs.open("/folder/binary", "wb") as file:
    file.write(bytes(range(256)) * 1000)
with fsspec.open("coffre://folder/text", "w", **options) as file:
    file.write("née")
"""


def test_a_process_that_ends_has_uploaded_what_it_wrote(alone: Options, tmp_path: Path) -> None:
    done = run(WRITE_AND_EXIT, json.dumps(alone))
    assert (done.returncode, done.stderr) == (0, "")
    # Another machine knows what the store has, and nothing else.
    script = """
import sys, coffre
with coffre.open(sys.argv[1], passphrase_file=sys.argv[2], state_dir=sys.argv[3]) as vault:
    assert vault.read_bytes("/folder/binary") == bytes(range(256)) * 1000
    print(vault.read_text("/folder/text"))
"""
    done = run(script, alone["vault"], alone["passphrase_file"], tmp_path / "another machine")
    assert (done.stdout.strip(), done.stderr) == ("née", "")


def test_what_cannot_be_uploaded_at_the_end_of_a_process_is_kept_on_its_machine(alone: Options) -> None:
    store = Path(alone["vault"])
    away = store.with_name("away")
    script = """
import json, os, sys, fsspec
fs = fsspec.filesystem("coffre", **json.loads(sys.argv[1]))
os.rename(sys.argv[2], sys.argv[3])
fs.pipe("/a", b"kept")
"""
    done = run(script, json.dumps(alone), store, away)
    assert done.returncode == 0
    assert "UserWarning: <coffre.Vault" in done.stderr
    assert "Traceback" not in done.stderr
    away.rename(store)
    assert fsspec.filesystem("coffre", **alone).cat("/a") == b"kept"


def test_a_file_that_nobody_closed_when_the_process_ends_leaves_the_old_content(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    fs.pipe("/a", b"old")
    fs.close()
    script = """
import json, sys, fsspec
fs = fsspec.filesystem("coffre", **json.loads(sys.argv[1]))
file = fs.open("/a", "wb")
file.write(b"half")
"""
    assert run(script, json.dumps(alone)).returncode == 0
    assert fs.cat("/a") == b"old"


# In each child: what it tries ends with a result or an error before the alarm does.
FORK = """
import json, os, signal, sys, threading, fsspec
options = json.loads(sys.argv[1])

def child(tried):
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(20)
        try:
            answer = repr(tried())
        except BaseException as error:
            answer = type(error).__name__
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as answer:
        print(answer.read().decode())
    assert os.waitpid(pid, 0)[1] == 0
"""


def test_a_forked_child_is_refused_its_parents_vault(alone: Options) -> None:
    script = """
fs = fsspec.filesystem("coffre", **options)
fs.pipe("/a", b"1")
file = fs.open("/b", "wb")
file.write(b"of the parent")
child(lambda: fs.cat("/a"))
child(lambda: fs.pipe("/a", b"2"))
child(lambda: file.close())
child(lambda: globals().pop("file") and globals().pop("fs") and None)
file.close()
print(fs.cat("/a"), fs.cat("/b"))
"""
    done = run(FORK + script, json.dumps(alone))
    assert done.stderr == ""
    expected = ["ForkedError", "ForkedError", "ForkedError", "None", "b'1' b'of the parent'"]
    assert done.stdout.splitlines() == expected


def test_a_forked_child_that_names_the_vault_gets_one_of_its_own_or_hears_that_it_is_taken(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    fs.pipe("/a", b"1")
    fs.close()
    script = """
def read(**more):
    fs = fsspec.filesystem("coffre", **options, **more)
    return fs.cat("/a"), fs.vault.read_only

fs = fsspec.filesystem("coffre", **options, read_only=True)
child(lambda: read(read_only=True))
print(fs.cat("/a"))
fs.close()
fs = fsspec.filesystem("coffre", **options)
child(read)
print(fs.cat("/a"))
"""
    done = run(FORK + script, json.dumps(alone))
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["(b'1', True)", "b'1'", "BusyError", "b'1'"]


def test_a_child_that_is_forked_while_a_vault_is_being_opened_does_not_wait_for_that(alone: Options) -> None:
    script = """
import coffre

def slow(*_, **__):
    opening.set()
    go_on.wait()
    raise FileNotFoundError

opening, go_on = threading.Event(), threading.Event()
quick, coffre.open = coffre.open, slow
def opens():
    try:
        fsspec.filesystem("coffre", vault="/nowhere")
    except FileNotFoundError:
        print("not there")
thread = threading.Thread(target=opens, daemon=True)
thread.start()
opening.wait()
coffre.open = quick
child(lambda: fsspec.filesystem("coffre", **options).ls("/"))
go_on.set()
thread.join()
"""
    done = run(FORK + script, json.dumps(alone))
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["[]", "not there"]


def test_a_forked_child_that_ends_leaves_its_parents_vault_alone(alone: Options) -> None:
    script = """
fs = fsspec.filesystem("coffre", **options)
fs.pipe("/a", b"1")
pid = os.fork()
if pid == 0:
    signal.alarm(20)
    sys.exit(0)
assert os.waitpid(pid, 0)[1] == 0
fs.pipe("/b", b"2")
print(fs.cat("/a"), fs.cat("/b"))
"""
    done = run(FORK + script, json.dumps(alone))
    assert (done.stdout.strip(), done.stderr) == ("b'1' b'2'", "")


# What fails half-way

MODES: list[tuple[str, Options, Any]] = [
    ("wb", {}, b"new"),
    ("w", {}, "new"),
    ("wt", {"encoding": "utf-16"}, "new"),
    ("wb", {"compression": "gzip"}, b"new"),
    ("wt", {"compression": "gzip"}, "new"),
    ("wb", {"compression": "bz2"}, b"new"),
    ("wb", {"compression": "xz"}, b"new"),
    ("wb", {"compression": "zip"}, b"new"),
    ("wb", {"compression": "infer"}, b"new"),
]


class Stop(Exception):
    pass


@pytest.mark.parametrize(("mode", "more", "content"), MODES)
def test_what_fails_half_way_leaves_the_old_content(
    fs: CoffreFileSystem, here: str, mode: str, more: Options, content: Any
) -> None:
    path = f"{here}/file.gz"
    fs.pipe(path, b"old")
    with pytest.raises(Stop), fs.open(path, mode, **more) as file:
        # More than any buffer keeps back.
        file.write(content * 1_000_000)
        raise Stop
    assert file.closed
    assert fs.cat(path) == b"old"
    assert fs.ls(here, detail=False) == [path]


@pytest.mark.parametrize(("mode", "more", "content"), MODES)
def test_what_is_closed_is_there_at_once_and_not_before(
    fs: CoffreFileSystem, here: str, mode: str, more: Options, content: Any
) -> None:
    path = f"{here}/file.gz"
    fs.pipe(path, b"old")
    with fs.open(path, mode, **more) as file:
        file.write(content * 1000)
        file.flush()
        assert fs.cat(path) == b"old"
    with fs.open(path, mode.replace("w", "r"), **more) as file:
        assert file.read() == content * 1000


@pytest.mark.parametrize("more", [{}, {"compression": "gzip"}])
def test_what_is_neither_closed_nor_kept_leaves_the_old_content_with_a_warning(
    fs: CoffreFileSystem, here: str, more: Options
) -> None:
    fs.pipe(f"{here}/a", b"old")
    file = fs.open(f"{here}/a", "wb", **more)
    file.write(b"half")
    with pytest.warns(ResourceWarning, match="not closed"):
        del file
    assert fs.cat(f"{here}/a") == b"old"


def test_compressed_files_are_those_of_everybody(fs: CoffreFileSystem, here: str) -> None:
    for name, reads in (("a.gz", gzip.decompress), ("a.bz2", bz2.decompress), ("a.xz", lzma.decompress)):
        with fs.open(f"{here}/{name}", "w", compression="infer", encoding="utf-8") as file:
            file.write("à la carte\n" * 50_000)
        assert reads(fs.cat(f"{here}/{name}")).decode() == "à la carte\n" * 50_000
        with fs.open(f"{here}/{name}", "r", compression="infer") as file:
            assert file.readline() == "à la carte\n"


def test_a_compressed_file_is_made_or_extended_as_any_other(fs: CoffreFileSystem, here: str) -> None:
    with fs.open(f"{here}/a", "xb", compression="gzip") as file:
        file.write(b"one ")
    with fs.open(f"{here}/a", "ab", compression="gzip") as file:
        file.write(b"two")
    with pytest.raises(FileExistsError):
        fs.open(f"{here}/a", "xb", compression="gzip")
    assert gzip.decompress(fs.cat(f"{here}/a")) == b"one two"


def test_a_with_of_fsspec_itself_is_held_back_by_a_transaction(where: Options, fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a.gz", b"old")
    with pytest.raises(Stop), fs.transaction, fsspec.open(
        f"coffre:/{here}/a.gz", "wt", compression="infer", **where
    ) as file:
        file.write("half")
        raise Stop
    assert fs.cat(f"{here}/a.gz") == b"old"


def test_text_is_utf_8_wherever_it_is_read(fs: CoffreFileSystem, here: str) -> None:
    fs.write_text(f"{here}/a", "Zoë\n")
    assert fs.cat(f"{here}/a") == "Zoë\n".encode()
    assert fs.read_text(f"{here}/a") == "Zoë\n"
    fs.write_text(f"{here}/b", "Zoë\n", encoding="latin-1", newline="\r\n")
    assert fs.cat(f"{here}/b") == b"Zo\xeb\r\n"
    with pytest.raises(UnicodeDecodeError):
        fs.read_text(f"{here}/b")


# Transactions


def test_a_transaction_puts_everything_in_place_at_its_end(fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a", b"old")
    with fs.transaction:
        with fs.open(f"{here}/a", "wb") as file:
            file.write(b"new")
        with fs.open(f"{here}/b", "w") as file:
            file.write("né")
        with fs.open(f"{here}/c", "wt", compression="gzip") as file:
            file.write("packed")
        fs.pipe(f"{here}/d", b"piped")
        fs.touch(f"{here}/e")
        # One that is left open is closed then.
        late = fs.open(f"{here}/late", "wb")
        late.write(b"late")
        assert contents(fs, here) == {"a": b"old"}
    assert late.closed
    found = contents(fs, here)
    assert gzip.decompress(found.pop("c")) == b"packed"
    assert found == {"a": b"new", "b": "né".encode(), "d": b"piped", "e": b"", "late": b"late"}
    fs.pipe(f"{here}/after", b"at once")
    assert fs.cat(f"{here}/after") == b"at once"


def test_a_transaction_that_fails_puts_nothing_in_place(fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a", b"old")
    with pytest.raises(Stop), fs.transaction:
        with fs.open(f"{here}/a", "wb") as file:
            file.write(b"new")
        with fs.open(f"{here}/b", "wt", compression="gzip") as file:
            file.write("packed")
        fs.pipe(f"{here}/c", b"piped")
        late = fs.open(f"{here}/late", "w")
        late.write("late")
        raise Stop
    assert late.closed
    assert contents(fs, here) == {"a": b"old"}
    fs.pipe(f"{here}/after", b"at once")
    assert fs.cat(f"{here}/after") == b"at once"


def test_a_file_that_fails_in_a_transaction_is_all_that_is_missing(fs: CoffreFileSystem, here: str) -> None:
    with fs.transaction:
        with pytest.raises(Stop), fs.open(f"{here}/a", "wb") as file:
            file.write(b"half")
            raise Stop
        fs.pipe(f"{here}/b", b"whole")
    assert contents(fs, here) == {"b": b"whole"}


def test_a_file_that_is_extended_in_a_transaction_changes_where_it_is(fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a", b"1")
    with fs.transaction, fs.open(f"{here}/a", "ab") as file:
        file.write(b"2")
    assert fs.cat(f"{here}/a") == b"12"


def test_a_transaction_does_not_replace_what_appeared_meanwhile(fs: CoffreFileSystem, here: str) -> None:
    fs.start_transaction()
    fs.pipe_file(f"{here}/a", b"made", mode="create")
    fs.vault.write_bytes(f"{here}/a", b"of another")
    with pytest.raises(FileExistsError):
        fs.end_transaction()
    assert fs.cat(f"{here}/a") == b"of another"


# Ranges


def test_ranges_count_as_slices_do(fs: CoffreFileSystem, here: str) -> None:
    content = bytes(range(100))
    fs.pipe(f"{here}/a", content)
    for start in (None, 0, 7, 99, 100, 1000, -1, -30, -100, -1000):
        for end in (None, 0, 5, 60, 100, 1000, -1, -40, -100, -1000):
            assert fs.cat_file(f"{here}/a", start, end) == content[start:end], (start, end)
    assert fs.cat(f"{here}/a", start=-3) == content[-3:]


def test_several_ranges_are_read_at_once(fs: CoffreFileSystem, here: str) -> None:
    fs.pipe({f"{here}/a": b"0123456789", f"{here}/b": b"abcdef"})
    paths = [f"{here}/a", f"{here}/b", f"{here}/a", f"{here}/none"]
    found = fs.cat_ranges(paths, [0, -2, 8, 0], [3, None, 100, 1])
    assert found[:3] == [b"012", b"ef", b"89"]
    assert isinstance(found[3], FileNotFoundError)
    with pytest.raises(FileNotFoundError):
        fs.cat_ranges(paths, 0, 1, on_error="raise")


def test_the_ends_of_files_and_blocks_of_lines_are_read(fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a", b"one\ntwo\nthree\n")
    assert fs.head(f"{here}/a", 5) == b"one\nt"
    assert fs.tail(f"{here}/a", 4) == b"ree\n"
    assert fs.read_block(f"{here}/a", 2, 4, delimiter=b"\n") == b"two\n"
    with fs.open(f"{here}/a", "rb") as file:
        assert file.size == 14
        file.seek(-6, os.SEEK_END)
        assert file.readlines() == [b"three\n"]


def test_a_file_is_read_and_changed_where_it_is(fs: CoffreFileSystem, here: str) -> None:
    fs.pipe(f"{here}/a", b"0123456789")
    with fs.open(f"{here}/a", "r+b") as file:
        file.seek(4)
        file.write(b"XY")
        file.seek(0)
        assert file.read() == b"0123XY6789"
    assert fs.cat(f"{here}/a") == b"0123XY6789"


# What is there


@pytest.fixture
def tree(fs: CoffreFileSystem, here: str) -> str:
    """``a.txt``, ``b.bin``, ``one/a.txt``, ``one/two/c.txt`` and ``empty``."""
    for size, name in enumerate(("a.txt", "b.bin", "one/a.txt", "one/two/c.txt"), 1):
        fs.pipe(f"{here}/{name}", b"x" * size)
    fs.mkdir(f"{here}/empty")
    return here


def below(folder: str, found: list[str]) -> list[str]:
    return [path.removeprefix(folder).removeprefix("/") for path in found]


def test_find_lists_all_below(fs: CoffreFileSystem, tree: str) -> None:
    files = ["a.txt", "b.bin", "one/a.txt", "one/two/c.txt"]
    everything = ["", "a.txt", "b.bin", "empty", "one", "one/a.txt", "one/two", "one/two/c.txt"]
    assert below(tree, fs.find(tree)) == files
    assert below(tree, fs.find(f"{tree}/")) == files
    assert below(tree, fs.find(tree, withdirs=True)) == everything
    assert below(tree, fs.find(tree, maxdepth=1)) == ["a.txt", "b.bin"]
    assert below(tree, fs.find(tree, maxdepth=2, withdirs=True)) == everything[:-1]
    assert fs.find(f"{tree}/a.txt") == [f"{tree}/a.txt"]
    assert fs.find(f"{tree}/none") == []
    detail = fs.find(tree, detail=True)
    assert {path: info["size"] for path, info in detail.items()} == fs.du(tree, total=False)
    assert detail[f"{tree}/one/a.txt"] == fs.info(f"{tree}/one/a.txt")


def test_the_whole_vault_is_found(alone: Options) -> None:
    fs = fsspec.filesystem("coffre", **alone)
    fs.pipe({"/a/b/c": b"1", "/d": b"2"})
    assert fs.find("") == fs.find("/") == fs.find("coffre://") == ["/a/b/c", "/d"]
    assert fs.ls("", detail=False) == ["/a", "/d"]
    assert fs.glob("*") == fs.glob("/*") == fs.glob("coffre://*") == ["/a", "/d"]
    assert fs.info("/")["type"] == "directory"
    with pytest.raises(OSError, match="Invalid"):
        fs.rm("/", recursive=True)
    assert fs.cat("/d") == b"2"


def test_glob_matches_at_each_depth(fs: CoffreFileSystem, tree: str) -> None:
    assert below(tree, fs.glob(f"{tree}/*.txt")) == ["a.txt"]
    assert below(tree, fs.glob(f"{tree}/*/*.txt")) == ["one/a.txt"]
    assert below(tree, fs.glob(f"{tree}/**/*.txt")) == ["a.txt", "one/a.txt", "one/two/c.txt"]
    assert below(tree, fs.glob(f"{tree}/*/")) == ["empty", "one"]
    assert below(tree, fs.glob(f"{tree}/[ab].???")) == ["a.txt", "b.bin"]
    assert fs.glob(f"{tree}/none*") == []
    assert fs.glob(f"{tree}/a.txt") == [f"{tree}/a.txt"]


def test_walk_goes_down_and_up(fs: CoffreFileSystem, tree: str) -> None:
    def sort(found: Any) -> list[Any]:
        return [(folder.removeprefix(tree), sorted(dirs), sorted(files)) for folder, dirs, files in found]

    folders = [
        ("", ["empty", "one"], ["a.txt", "b.bin"]),
        ("/empty", [], []),
        ("/one", ["two"], ["a.txt"]),
        ("/one/two", [], ["c.txt"]),
    ]
    assert sort(fs.walk(tree))[0] == folders[0]
    assert sorted(sort(fs.walk(tree))) == folders
    assert sort(fs.walk(tree, topdown=False))[-1] == folders[0]
    assert sort(fs.walk(tree, maxdepth=1)) == folders[:1]
    pruned = []
    for folder, dirs, files in fs.walk(tree):
        dirs[:] = [name for name in dirs if name != "one"]
        pruned.append((folder.removeprefix(tree), sorted(dirs), sorted(files)))
    assert [folder for folder, _, _ in pruned] == ["", "/empty"]
    assert list(fs.walk(f"{tree}/none")) == []
    with pytest.raises(FileNotFoundError):
        list(fs.walk(f"{tree}/none", on_error="raise"))


def test_du_adds_up(fs: CoffreFileSystem, tree: str) -> None:
    assert fs.du(tree) == 1 + 2 + 3 + 4
    assert fs.du(f"{tree}/one") == 3 + 4
    assert fs.du(tree, maxdepth=1) == 1 + 2


def test_ls_shows_a_folder_and_a_file(fs: CoffreFileSystem, tree: str) -> None:
    assert below(tree, fs.ls(tree, detail=False)) == ["a.txt", "b.bin", "empty", "one"]
    shown = {info["name"]: info["type"] for info in fs.ls(f"{tree}/one")}
    assert shown == {f"{tree}/one/a.txt": "file", f"{tree}/one/two": "directory"}
    assert fs.ls(f"{tree}/a.txt") == [fs.info(f"{tree}/a.txt")]
    assert fs.ls(f"{tree}/empty") == []
    with pytest.raises(FileNotFoundError):
        fs.ls(f"{tree}/none")


def test_what_is_not_there_is_nothing(fs: CoffreFileSystem, tree: str) -> None:
    for path in (f"{tree}/none", f"{tree}/a.txt/below", f"{tree}/{'long' * 100}"):
        assert not fs.exists(path)
        assert not fs.lexists(path)
        assert not fs.isfile(path)
        assert not fs.isdir(path)
        with pytest.raises(OSError):
            fs.info(path)


def test_names_are_taken_as_they_are(fs: CoffreFileSystem, here: str) -> None:
    for name in ("coffre:x", "coffre::x", "a b", "é", "#?&=%20", "tab\tnewline\n", "..."):
        fs.pipe_file(f"{here}/{name}", name.encode())
        assert fs.cat_file(f"coffre:/{here}/{name}") == name.encode()
        assert fs.ls(here, detail=False) == [f"{here}/{name}"]
        fs.rm_file(f"{here}/{name}")
    assert fs._strip_protocol("coffre://coffre:x") == "/coffre:x"
    assert fs._strip_protocol(["coffre://a/", "b", "/"]) == ["/a", "/b", "/"]
    assert fs.unstrip_protocol("/a/b") == fs.unstrip_protocol("coffre://a/b") == "coffre://a/b"


def test_times_and_keys_follow_the_content(fs: CoffreFileSystem, here: str) -> None:
    path = f"{here}/a"
    fs.pipe(path, b"1")
    keys = {fs.ukey(path)}
    fs.pipe(path, b"2")
    keys.add(fs.ukey(path))
    with fs.open(path, "r+b") as file:
        file.write(b"3")
    keys.add(fs.ukey(path))
    assert len(keys) == 3
    assert fs.ukey(path) in keys
    fs.vault.utime(path, (0, 0))
    assert fs.modified(path).timestamp() == 0
    fs.touch(path, truncate=False)
    assert fs.modified(path).timestamp() > 0
    assert fs.cat(path) == b"3"
    fs.touch(path)
    assert fs.cat(path) == b""


# Names and folders


def test_mv_gives_files_and_folders_another_name(fs: CoffreFileSystem, tree: str) -> None:
    inode = fs.info(f"{tree}/a.txt")["ino"]
    fs.mv(f"{tree}/a.txt", f"{tree}/new/folder/moved.txt")
    assert fs.info(f"{tree}/new/folder/moved.txt")["ino"] == inode
    fs.mv(f"coffre:/{tree}/one", f"{tree}/uno")
    assert below(tree, fs.find(tree)) == ["b.bin", "new/folder/moved.txt", "uno/a.txt", "uno/two/c.txt"]
    fs.mv(f"{tree}/b.bin", f"{tree}/empty/")
    fs.mv(f"{tree}/uno", f"{tree}/empty", recursive=True)
    assert below(f"{tree}/empty", fs.find(f"{tree}/empty")) == ["b.bin", "uno/a.txt", "uno/two/c.txt"]
    fs.mv(f"{tree}/empty/b.bin", f"{tree}/empty/uno/a.txt")
    assert fs.cat(f"{tree}/empty/uno/a.txt") == b"xx"


def test_mv_expands_patterns(fs: CoffreFileSystem, tree: str) -> None:
    fs.mv(f"{tree}/*.*", f"{tree}/empty")
    assert below(tree, fs.find(tree)) == ["empty/a.txt", "empty/b.bin", "one/a.txt", "one/two/c.txt"]


def test_mv_that_cannot_be_leaves_everything(fs: CoffreFileSystem, tree: str) -> None:
    before = fs.find(tree, withdirs=True)
    with pytest.raises(FileNotFoundError):
        fs.mv(f"{tree}/none", f"{tree}/new/a")
    with pytest.raises(OSError):
        fs.mv(f"{tree}/one", f"{tree}/one/two/three")
    fs.mv(f"{tree}/one", f"{tree}/one")
    fs.mv(f"{tree}/a.txt", f"coffre:/{tree}/a.txt")
    assert fs.find(tree, withdirs=True) == before


def test_rm_takes_folders_only_with_all_below(fs: CoffreFileSystem, tree: str) -> None:
    with pytest.raises(OSError, match="not empty"):
        fs.rm(f"{tree}/one")
    fs.rm(f"{tree}/one", recursive=True)
    fs.rm(f"{tree}/empty")
    fs.rm(f"{tree}/a.txt", recursive=True)
    assert below(tree, fs.find(tree, withdirs=True)) == ["", "b.bin"]
    for recursive in (False, True):
        with pytest.raises(FileNotFoundError):
            fs.rm(f"{tree}/one", recursive=recursive)


def test_rm_takes_patterns_and_lists_that_name_a_folder_and_what_is_in_it(fs: CoffreFileSystem, tree: str) -> None:
    fs.rm([f"{tree}/one", f"{tree}/one/two", f"{tree}/a.txt"], recursive=True)
    assert below(tree, fs.find(tree, withdirs=True)) == ["", "b.bin", "empty"]
    fs.pipe(f"{tree}/one/two/three", b"3")
    fs.rm(f"{tree}/**", recursive=True)
    assert not fs.exists(tree)
    fs.mkdir(tree)


def test_copies_are_files_of_their_own(fs: CoffreFileSystem, tree: str) -> None:
    fs.cp(f"{tree}/a.txt", f"{tree}/new/folder/copy.txt")
    fs.pipe(f"{tree}/a.txt", b"changed")
    assert fs.cat(f"{tree}/new/folder/copy.txt") == b"x"
    fs.cp_file(f"{tree}/a.txt", f"{tree}/a.txt")
    assert fs.cat(f"{tree}/a.txt") == b"changed"
    with pytest.raises(FileNotFoundError):
        fs.cp(f"{tree}/none", f"{tree}/new/none")


def test_folders_are_made_only_where_that_is_wanted(where: Options, fs: CoffreFileSystem, tree: str) -> None:
    careful = fsspec.filesystem("coffre", **where, auto_mkdir=False)
    for write in (
        lambda: careful.pipe(f"{tree}/new/a", b""),
        lambda: careful.open(f"{tree}/new/a", "wb"),
        lambda: careful.touch(f"{tree}/new/a"),
        lambda: careful.cp_file(f"{tree}/a.txt", f"{tree}/new/a"),
        lambda: careful.mv(f"{tree}/a.txt", f"{tree}/new/a"),
        lambda: careful.mkdir(f"{tree}/new/a", create_parents=False),
    ):
        with pytest.raises(FileNotFoundError):
            write()
    assert not fs.exists(f"{tree}/new")
    with pytest.raises(FileExistsError):
        fs.mkdir(f"{tree}/one")
    with pytest.raises(FileExistsError):
        fs.makedirs(f"{tree}/one")
    fs.makedirs(f"{tree}/one", exist_ok=True)
    with pytest.raises(OSError, match="not empty"):
        fs.rmdir(f"{tree}/one")


def test_threads_that_write_into_the_same_new_folder_do_not_disturb_each_other(
    fs: CoffreFileSystem, here: str
) -> None:
    barrier = threading.Barrier(8, timeout=20)

    def write(number: int) -> None:
        for turn in range(20):
            barrier.wait()
            fs.pipe_file(f"{here}/{turn}/new/folder/{number}", b"%d" % number)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(write, range(8)))
    assert len(fs.find(here)) == 20 * 8


# Links


def test_links_lead_to_files_and_folders(fs: CoffreFileSystem, tree: str) -> None:
    fs.vault.symlink("one/a.txt", f"{tree}/to a file")
    fs.vault.symlink(f"{tree}/one", f"{tree}/to a folder")
    assert fs.cat(f"{tree}/to a file") == b"xxx"
    file, folder = fs.info(f"{tree}/to a file"), fs.info(f"{tree}/to a folder")
    assert (file["type"], file["size"], file["islink"]) == ("file", 3, True)
    assert (folder["type"], folder["islink"]) == ("directory", True)
    assert not fs.info(f"{tree}/one")["islink"]
    assert below(tree, fs.ls(f"{tree}/to a folder", detail=False)) == ["to a folder/a.txt", "to a folder/two"]
    assert below(tree, fs.find(f"{tree}/to a folder")) == ["to a folder/a.txt", "to a folder/two/c.txt"]
    assert below(tree, fs.glob(f"{tree}/to a folder/*.txt")) == ["to a folder/a.txt"]


def test_links_are_removed_and_renamed_themselves(fs: CoffreFileSystem, tree: str) -> None:
    fs.vault.symlink(f"{tree}/one", f"{tree}/link")
    fs.mv(f"{tree}/link", f"{tree}/renamed")
    assert fs.vault.readlink(f"{tree}/renamed") == f"{tree}/one"
    fs.rm(f"{tree}/renamed", recursive=True)
    fs.vault.symlink(f"{tree}/one", f"{tree}/link")
    fs.rm(f"{tree}/link")
    assert not fs.lexists(f"{tree}/link")
    assert fs.cat(f"{tree}/one/a.txt") == b"xxx"


@pytest.mark.parametrize("target", ["nowhere", "link"])
def test_links_that_lead_nowhere_are_shown_and_can_be_removed(
    fs: CoffreFileSystem, tree: str, target: str
) -> None:
    fs.vault.symlink(target, f"{tree}/link")
    assert not fs.exists(f"{tree}/link")
    assert fs.lexists(f"{tree}/link")
    info = fs.info(f"{tree}/link")
    assert (info["type"], info["size"], info["islink"]) == ("other", 0, True)
    assert info in fs.ls(tree)
    assert f"{tree}/link" in fs.find(tree)
    assert fs.du(tree) == 1 + 2 + 3 + 4
    fs.mv(f"{tree}/link", f"{tree}/new/link")
    fs.rm(f"{tree}/new/link")
    assert not fs.lexists(f"{tree}/new/link")


def test_links_that_lead_in_circles_are_not_followed(fs: CoffreFileSystem, tree: str) -> None:
    for name in ("one", "two"):
        fs.vault.symlink(tree, f"{tree}/empty/{name}")
    files = ["a.txt", "b.bin", "one/a.txt", "one/two/c.txt"]
    assert below(tree, fs.find(tree)) == files
    assert below(tree, fs.find(tree, maxdepth=100)) == files
    folders = sorted(folder for folder, _, _ in fs.walk(tree))
    assert below(tree, folders) == ["", "empty", "one", "one/two"]
    _, dirs, _ = next(fs.walk(f"{tree}/empty"))
    assert sorted(dirs) == ["one", "two"]
    fs.cp(tree, f"{tree} copy", recursive=True)
    assert below(f"{tree} copy", fs.find(f"{tree} copy")) == files
    fs.rm(f"{tree} copy", recursive=True)


# Through other layers of fsspec


def test_a_mapping_and_a_folder_of_it_serve_a_vault(fs: CoffreFileSystem, here: str) -> None:
    mapping = fs.get_mapper(f"{here}/map", create=True)
    mapping["a/b"] = b"1"
    assert dict(mapping) == {"a/b": b"1"}
    assert mapping.getitems(["a/b", "none"], on_error="omit") == {"a/b": b"1"}
    del mapping["a/b"]
    assert "a/b" not in mapping
    folder = fsspec.filesystem("dir", path=f"{here}/folder", fs=fs)
    folder.pipe("x/y", b"2")
    assert fs.cat(f"{here}/folder/x/y") == b"2"
    assert folder.find("") == ["x/y"]


def test_a_chain_reads_an_archive_in_a_vault(where: Options, fs: CoffreFileSystem, here: str) -> None:
    with fs.open(f"{here}/all.zip", "wb") as file:
        archive = fsspec.filesystem("zip", fo=file, mode="w")
        archive.pipe("inside.txt", b"packed")
        archive.close()
    with fsspec.open(f"zip://inside.txt::coffre:/{here}/all.zip", coffre=where) as file:
        assert file.read() == b"packed"


def test_what_is_up_and_down_loaded_is_the_same(fs: CoffreFileSystem, here: str, tmp_path: Path) -> None:
    content = os.urandom(5_000_000)
    (tmp_path / "up").mkdir()
    (tmp_path / "up" / "large").write_bytes(content)
    fs.put(str(tmp_path / "up"), here, recursive=True)
    fs.get(f"{here}/up", str(tmp_path / "down"), recursive=True)
    assert (tmp_path / "down" / "large").read_bytes() == content
    assert fs.cat_file(f"{here}/up/large", -1_500_000, -10) == content[-1_500_000:-10]
