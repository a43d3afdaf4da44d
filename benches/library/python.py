"""One measurement of the Python package, told as seconds: ``read VAULT STATE PASSPHRASE_FILE`` or ``write …``."""

import os
import sys
import time

import coffre

what, address, state, passphrase = sys.argv[1:]
with coffre.open(address, passphrase_file=passphrase, state_dir=state) as vault:
    if what == "read":
        begin = time.perf_counter()
        content = vault.read_bytes("/big")
        seconds = time.perf_counter() - begin
        assert len(content) == vault.stat("/big").st_size
    else:
        contents = [os.urandom(4096) for _ in range(10_000)]
        folder = f"/{time.time_ns()}"
        begin = time.perf_counter()
        vault.mkdir(folder)
        for i, content in enumerate(contents):
            vault.write_bytes(f"{folder}/{i}", content)
        vault.publish()
        seconds = time.perf_counter() - begin
print(seconds)
