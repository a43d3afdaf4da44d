"""The same for asyncio."""

from __future__ import annotations

import asyncio
import os

import pytest

import coffre
from coffre import aio
from conftest import PASSPHRASE, Place


def test_everything_can_be_awaited(place: Place) -> None:
    async def work() -> None:
        state = place.folder / "a"
        async with await aio.open(str(place.store), passphrase=PASSPHRASE, state_dir=state) as vault:
            await vault.makedirs("/d/e")
            await vault.write_bytes("/d/f", b"content")
            assert await vault.read_bytes("/d/f", 1, 3) == b"on"
            async with await vault.open("/text", "w") as file:
                await file.write("one\ntwo\n")
            async with await vault.open("/text") as file:
                assert [line async for line in file] == ["one\n", "two\n"]
            with pytest.raises(KeyError):
                async with await vault.open("/text", "w") as file:
                    await file.write("half")
                    raise KeyError
            assert await vault.read_text("/text") == "one\ntwo\n"
            assert sorted([entry.name async for entry in vault.scandir("/")]) == ["d", "text"]
            assert len([entry async for entry in vault.scan_all()]) == 4
            assert [names async for names in vault.walk("/d")] == [
                ("/d", ["e"], ["f"]),
                ("/d/e", [], []),
            ]
            assert (await vault.status()).unpublished_operations > 0
            await vault.publish()
            with pytest.raises(FileNotFoundError):
                await vault.read_bytes("/missing")
        assert vault.vault.closed

    asyncio.run(work())


def test_the_loop_goes_on_and_calls_run_beside_each_other(place: Place) -> None:
    async def work() -> None:
        vault = aio.AsyncVault(place.open())
        async with vault:
            content = os.urandom(1 << 20) * 50
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.001)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            await asyncio.gather(*(vault.write_bytes(f"/{i}", content) for i in range(4)))
            read = await asyncio.gather(*(vault.read_bytes(f"/{i}") for i in range(4)))
            ticking.cancel()
            assert read == [content] * 4
            assert ticks > 20

    asyncio.run(work())


def test_a_task_that_is_cancelled_leaves_the_old_file_or_the_new(place: Place) -> None:
    async def work() -> None:
        async with aio.AsyncVault(place.open()) as vault:
            for wait in (0, 0.005, 0.02, 0.5):
                await vault.write_bytes("/f", b"old")
                writing = asyncio.ensure_future(vault.write_bytes("/f", bytes(50_000_000)))
                await asyncio.sleep(wait)
                writing.cancel()
                (ended,) = await asyncio.gather(writing, return_exceptions=True)
                size = (await vault.stat("/f")).st_size
                # A machine that is fast, or a wait that was long, has it done before the cancelling.
                if isinstance(ended, asyncio.CancelledError):
                    assert size in (3, 50_000_000)
                else:
                    assert wait > 0 and ended == size == 50_000_000

    asyncio.run(work())


def test_making_a_vault(place: Place) -> None:
    async def work() -> str:
        return await aio.init(
            str(place.folder / "new"), passphrase=PASSPHRASE, state_dir=place.folder / "b", light_kdf=True
        )

    code = asyncio.run(work())
    with coffre.open(place.folder / "new", passphrase=code, state_dir=place.folder / "c") as vault:
        assert vault.listdir() == []
