"""Vaults and what happens to processes: signals, forks, threads, sudden ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import coffre
from conftest import PASSPHRASE, Place


def child(place: Place, code: str) -> subprocess.Popen[str]:
    """A Python of its own that has the vault open as ``vault``."""
    program = f"""
import os, signal, sys, time, coffre
# What a shell starts in the background would ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
vault = coffre.open({str(place.store)!r}, passphrase={PASSPHRASE!r}, state_dir={str(place.folder / "a")!r})
{code}
"""
    return subprocess.Popen(
        [sys.executable, "-X", "dev", "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(
    "write",
    [
        "vault.write_bytes('/f', new)",
        "vault.write_bytes('/f', bytearray(new))",
        "f = vault.open('/f', 'wb'); [f.write(new[i : i + 999_999]) for i in range(0, len(new), 999_999)]; f.close()",
    ],
)
def test_ctrl_c_in_a_big_write_leaves_the_old_file_or_the_new(place: Place, write: str) -> None:
    old, length = b"old" * 1000, 600_000_000
    outcomes = set()
    for delay in (0.05, 0.3, 0.9):
        with place.open() as vault:
            vault.write_bytes("/f", old)
        process = child(
            place,
            f"""
new = b"new!" * {length // 4}
try:
    print("ready", flush=True)
    {write}
    print("done", flush=True)
    time.sleep(30)
except KeyboardInterrupt:
    print("interrupted", flush=True)
f = None
vault.close(publish=False)
""",
        )
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        told, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        outcomes.add(told)
        assert time.monotonic() - begin < 20
        with place.open() as vault:
            size = vault.stat("/f").st_size
            assert size == (length if "done" in told else len(old)) or told == "interrupted\n"
            assert size in (len(old), length)
            head = vault.read_bytes("/f", 0, 3)
            assert head == (b"old" if size == len(old) else b"new")
            vault.remove("/f")
            vault.close(publish=False)
    assert "interrupted\n" in outcomes, "no write was interrupted"


def test_a_process_that_is_killed_loses_nothing_that_was_synced(place: Place) -> None:
    process = child(
        place,
        """
for i in range(10_000):
    vault.write_bytes(f"/{i}", b"%d" % i)
    if i % 20 == 0:
        vault.sync()
        print(i, flush=True)
""",
    )
    assert process.stdout is not None
    done = -1
    for line in process.stdout:
        done = int(line)
        if done == 200:
            process.kill()
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    with place.open() as vault:
        kept = sorted(map(int, vault.listdir()))
        assert len(kept) > done
        # Of what came after, a beginning.
        assert kept == list(range(len(kept)))
        for i in kept:
            assert vault.read_bytes(f"/{i}") == b"%d" % i


def test_a_vault_that_is_not_closed_is_told_of_and_kept(place: Place) -> None:
    process = child(place, "vault.write_bytes('/f', b'kept')")
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "ResourceWarning" in errors and "was not closed" in errors
    with place.open() as vault:
        assert vault.read_bytes("/f") == b"kept"


FORKED = """
import threading, signal
vault.write_bytes("/f", b"x" * 3_000_000)
reader, writer, listing = vault.open("/f", "rb"), vault.open("/new", "wb"), vault.scandir("/")
writer.write(b"of the parent")
# Somebody works in the vault while the process is forked.
stop = threading.Event()
def work():
    while not stop.is_set():
        vault.write_bytes("/busy", b"y" * 100_000)
        vault.read_bytes("/f")
worker = threading.Thread(target=work)
worker.start()
for round in range(20):
    process = os.fork()
    if process == 0:
        signal.alarm(20)
        try:
            for use in (
                lambda: vault.read_bytes("/f"),
                lambda: vault.write_bytes("/f", b"child"),
                lambda: reader.read(),
                lambda: next(listing),
                lambda: vault.status(),
                lambda: vault.closed,
                lambda: vault.close(),
            ):
                try:
                    use()
                except coffre.ForkedError as error:
                    assert isinstance(error, RuntimeError)
                else:
                    os._exit(3)
            del reader, writer, listing, use
            if round == 0:
                # The store itself can be read again from here.
                import gc
                gc.collect()
                with coffre.open(sys.argv[1], passphrase=sys.argv[2], state_dir=sys.argv[3], read_only=True) as again:
                    again.listdir()
            vault = None
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(4)
        # As a program ends: with all finalizers.
        os._exit(0) if round % 2 else sys.exit(0)
    _, status = os.waitpid(process, 0)
    assert status == 0, (round, status)
stop.set()
worker.join()
writer.close()
reader.close()
listing.close()
assert vault.read_bytes("/new") == b"of the parent"
vault.close()
"""


def test_a_forked_child_gets_an_error_and_disturbs_nobody(place: Place) -> None:
    code = FORKED.replace("sys.argv[1]", repr(str(place.store)))
    code = code.replace("sys.argv[2]", repr(PASSPHRASE))
    code = code.replace("sys.argv[3]", repr(str(place.folder / "child")))
    process = child(place, code)
    _, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    with place.open() as vault:
        assert vault.read_bytes("/f") == b"x" * 3_000_000


def test_a_child_that_lives_on_does_not_keep_the_vault(place: Place) -> None:
    vault = place.open()
    process = os.fork()
    if process == 0:
        try:
            signal.alarm(60)
            time.sleep(50)
        finally:
            os._exit(0)
    try:
        vault.write_bytes("/f", b"x")
        vault.close()
        with place.open() as again:
            assert again.read_bytes("/f") == b"x"
    finally:
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)


def test_other_threads_run_while_a_call_waits(vault: coffre.Vault) -> None:
    counted = 0
    stop = threading.Event()

    def count() -> None:
        nonlocal counted
        while not stop.is_set():
            counted += 1
            time.sleep(0.001)

    counter = threading.Thread(target=count)
    content = os.urandom(1 << 20) * 200
    for work in (
        lambda: vault.write_bytes("/f", content),
        lambda: vault.read_bytes("/f"),
        lambda: vault.publish(),
    ):
        counted = 0
        stop.clear()
        counter = threading.Thread(target=count)
        counter.start()
        begin = time.monotonic()
        work()
        took = time.monotonic() - begin
        stop.set()
        counter.join()
        # A thousand a second if it is never kept waiting; none if the lock is held.
        assert counted > took * 20, (counted, took)


def test_many_threads_share_a_vault(vault: coffre.Vault) -> None:
    failed: list[BaseException] = []

    def work(number: int) -> None:
        try:
            content = bytes([number]) * 50_000
            for i in range(40):
                vault.write_bytes(f"/{number}-{i % 5}", content)
                vault.write_bytes("/common", content)
                assert vault.read_bytes(f"/{number}-{i % 5}") == content
                assert len(set(vault.read_bytes("/common"))) == 1
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    assert len(vault.listdir()) == 41


def test_a_process_pool_that_spawns_works_beside_it(place: Place, tmp_path: Path) -> None:
    import concurrent.futures
    import multiprocessing

    with place.open() as vault:
        vault.write_bytes("/f", b"shared")
        vault.publish()
        spawn = multiprocessing.get_context("spawn")
        with concurrent.futures.ProcessPoolExecutor(2, spawn) as pool:
            jobs = [
                pool.submit(read_elsewhere, str(place.store), str(tmp_path / f"state-{i}"))
                for i in range(2)
            ]
            assert [job.result(60) for job in jobs] == [b"shared", b"shared"]


def read_elsewhere(store: str, state: str) -> bytes:
    with coffre.open(store, passphrase=PASSPHRASE, state_dir=state, read_only=True) as vault:
        return vault.read_bytes("/f")
