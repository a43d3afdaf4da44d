"""One measurement of the Python package, told as seconds: ``read|write|init VAULT STATE PASSPHRASE_FILE``."""

import os
import sys
import time

import coffre

what, address, state, passphrase = sys.argv[1:]
begin = time.perf_counter()
if what == "init":
    coffre.init(address, passphrase_file=passphrase, state_dir=state, light_kdf=True)
    seconds = time.perf_counter() - begin
    print(seconds)
    sys.exit()
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
