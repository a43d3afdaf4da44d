#!/usr/bin/env python3
"""Lists and extracts a Coffre vault in a local folder, written from docs/FORMAT.md alone.

It is the proof that data outlives the program: nothing here comes from it.

    coffre_reader.py VAULT --passphrase-file FILE list
    coffre_reader.py VAULT --passphrase-file FILE extract FOLDER
"""

import argparse
import hmac
import json
import os
import struct
import sys
import unicodedata

import blake3
import zstandard
from argon2.low_level import Type, hash_secret_raw
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

ROOT = 1
BLOCK = 128 * 1024
INODE, LINK, XATTR, ENTRY, BLOCKS = 0x10, 0x20, 0x30, 0x40, 0x50
KINDS = ["regular", "directory", "symlink", "fifo", "socket", "char", "block"]

class Damaged(Exception):
    """Bytes are not what they must be."""

def require(condition, what):
    if not condition:
        raise Damaged(what)

def derive(context, material, length):
    return blake3.blake3(material, derive_key_context="coffre v1 " + context).digest(length)

def keyed(key, *parts):
    return blake3.blake3(b"".join(parts), key=key).digest()

def hchacha20(key, nonce16):
    """The subkey of XChaCha20 (draft-irtf-cfrg-xchacha-03, section 2.2)."""
    state = list(struct.unpack("<4I", b"expand 32-byte k") + struct.unpack("<8I", key) + struct.unpack("<4I", nonce16))

    def quarter(a, b, c, d):
        for x, y, z, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[x] = (state[x] + state[y]) & 0xFFFFFFFF
            mixed = state[z] ^ state[x]
            state[z] = ((mixed << turn) | (mixed >> (32 - turn))) & 0xFFFFFFFF

    for _ in range(10):
        for column in ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)):
            quarter(*column)
        for diagonal in ((0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)):
            quarter(*diagonal)
    return struct.pack("<8I", *(state[:4] + state[12:]))

def decrypt(key, nonce24, aad, sealed, what):
    cipher = ChaCha20Poly1305(hchacha20(key, nonce24[:16]))
    try:
        return cipher.decrypt(b"\0" * 4 + nonce24[16:], sealed, aad)
    except Exception as error:
        raise Damaged(what + " does not authenticate") from error

def open_sealed(key, label, aad, sealed, what):
    return decrypt(key[:32], sealed[:24], label.ljust(16, b"\0") + aad, sealed[24:], what)

class Cursor:
    """Fields from the front of some bytes."""

    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, length):
        require(self.at + length <= len(self.data), "something is truncated")
        self.at += length
        return self.data[self.at - length : self.at]

    def unpack(self, form):
        return struct.unpack("<" + form, self.take(struct.calcsize("<" + form)))

    def varint(self):
        number = shift = 0
        while True:
            byte = self.take(1)[0]
            number |= (byte & 0x7F) << shift
            if not byte & 0x80:
                return number
            shift += 7

    def zigzag(self):
        number = self.varint()
        return (number >> 1) ^ -(number & 1)

    def bytes(self):
        return self.take(self.varint())

    def done(self):
        return self.at == len(self.data)

def open_slot(slot, passphrase):
    """Vault id, epoch, root key and structure key, or None if the passphrase does not open it."""
    require(len(slot) == 1024 and slot[:8] == b"coffreK1", "not a key slot")
    clear = slot[:96]
    version, kind, _, m, t, p, epoch, _ = struct.unpack("<HBBIIIII", clear[8:32])
    if version != 1 or kind != 1:
        return None
    require(65536 <= m <= 1 << 20 and 3 <= t <= 16 and 1 <= p <= 16, "derivation parameters out of bounds")
    vault, salt = clear[32:48], clear[64:96]
    stretched = hash_secret_raw(passphrase, salt, t, m, p, 64, Type.ID, 19)
    okm = derive("slot", stretched + bytes(32) + clear, 64)
    if not hmac.compare_digest(okm[:32], slot[96:128]):
        return None
    payload = open_sealed(okm[32:] * 2, b"coffre1 slot", clear, slot[128:296], "key slot")
    require(struct.unpack("<I", payload[:4])[0] == epoch and not any(payload[68:]), "key slot payload")
    return vault, epoch, payload[4:36], payload[36:68]

class Keys:
    """Every key of a vault, by epoch."""

    def __init__(self, vault, epoch, root, structure):
        self.vault = vault
        self.epochs = {}
        self.add(epoch, root)
        material = structure + vault
        self.frame_hash = derive("frame hash", material, 32)
        self.node_hash = derive("node hash", material, 32)

    def add(self, epoch, root):
        material = root + self.vault + struct.pack("<I", epoch)
        self.epochs[epoch] = {name: derive(name, material, 64) for name in ("commit", "data")}

class Vault:
    """A vault in a folder, opened with a passphrase."""

    def __init__(self, folder, passphrase):
        self.folder, self.packs = folder, {}
        self.keys = self.unlock(passphrase)
        self.root = self.newest_root()

    def read(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def unlock(self, passphrase):
        for name in sorted(os.listdir(os.path.join(self.folder, "keys"))):
            opened = open_slot(self.read("keys/" + name), passphrase)
            if opened:
                return Keys(*opened)
        raise Damaged("the passphrase opens no key slot")

    def newest_root(self):
        """The root of the head that has the most commits behind it."""
        best = None
        for device in sorted(os.listdir(os.path.join(self.folder, "commits"))):
            for name in sorted(os.listdir(os.path.join(self.folder, "commits", device)))[:1]:
                commit = self.commit(device, name)
                weight = commit["seq"] + sum(seq for d, (seq, _) in commit["merged"].items() if d.hex() != device)
                if best is None or weight > best[0]:
                    best = (weight, commit["root"])
        require(best, "there is no commit")
        return best[1]

    def commit(self, device, name):
        data = self.read(f"commits/{device}/{name}")
        inverted, short = name.split(".")
        signed, signature = data[:-64], data[-64:]
        digest = derive("commit hash", signed, 32)
        require(digest[:16].hex() == short, "a commit does not have its name")
        cursor = Cursor(signed)
        require(cursor.take(8) == b"coffreC1" and cursor.unpack("HH") == (1, 0), "not a commit of format 1")
        required, _, _ = cursor.unpack("III")
        require(required == 0, "a newer program is needed")
        vault, (epoch,) = cursor.take(16), cursor.unpack("I")
        owner, public = cursor.take(16), cursor.take(32)
        (seq,) = cursor.unpack("Q")
        cursor.take(32 + 1 + 32)
        (packs,) = cursor.unpack("I")
        cursor.take(packs * 56)
        require(vault == self.keys.vault and owner.hex() == device, "a commit of another vault or device")
        require(derive("device", vault + public, 16) == owner, "a device id is not its key's")
        require(seq == 2**64 - 1 - int(inverted, 16), "a commit is at another place")
        Ed25519PublicKey.from_public_bytes(public).verify(signature, b"coffre1 commit\0\0" + digest)
        clear = signed[: cursor.at]
        body = open_sealed(self.keys.epochs[epoch]["commit"], b"coffre1 commit", clear, signed[cursor.at :], "commit")
        (length,) = struct.unpack("<I", body[:4])
        body = Cursor(body[4 : 4 + length])
        require(body.take(1) == b"\x01", "a commit body of another version")
        root = self.child(body)
        merged = self.vector(body)
        self.vector(body)
        body.varint()
        for _ in range(body.varint()):
            older = body.varint()
            self.keys.add(older, body.take(32))
        return {"seq": seq, "root": root, "merged": merged}

    def vector(self, cursor):
        return {cursor.take(16): (cursor.varint(), cursor.take(32)) for _ in range(cursor.varint())}

    def child(self, cursor):
        """A child as commits write it: place (1 = in a named pack), stored length, digest, hash, sums."""
        require(cursor.varint() == 1, "a root must be in a named pack")
        pack = (cursor.take(16), cursor.take(16), cursor.varint())
        pointer = (pack, cursor.varint(), cursor.varint(), cursor.take(32))
        found = (pointer, cursor.take(32))
        cursor.varint(), cursor.varint()
        return found

    def pack(self, pack):
        name, salt, epoch = pack
        if name not in self.packs:
            data = self.read(f"packs/{name.hex()[:2]}/{name.hex()}")
            require(blake3.blake3(data).digest()[:16] == name, "a pack does not have its name")
            head = data[:32]
            require(head == b"coffreP1" + struct.pack("<II", epoch, 0) + salt, "a pack has another preamble")
            self.packs = {name: (data, derive("pack", self.keys.epochs[epoch]["data"] + salt, 128))}
        return self.packs[name]

    def frame(self, pointer, kind):
        pack, offset, stored, digest = pointer
        data, okm = self.pack(pack)
        encryption, nonce_key, mask_key = okm[:32], okm[32:64], okm[64:96]
        frame = data[offset : offset + 52 + stored]
        nonce, masked = frame[:24], frame[24:36]
        header = bytes(a ^ b for a, b in zip(masked, keyed(mask_key, nonce)))
        aad = b"coffre1 frame".ljust(16, b"\0") + self.keys.vault + struct.pack("<I", pack[2]) + pack[1]
        aad += struct.pack("<Q", offset) + header
        require(keyed(nonce_key, aad, digest)[:24] == nonce, "a frame is not what its pointer names")
        plain = decrypt(encryption, nonce, aad, frame[36:], "a frame")
        found, flags, _, length, raw = struct.unpack("<BBHII", header)
        require(found == kind and length == stored, "a frame has another header")
        require(keyed(self.keys.frame_hash, bytes([kind, flags]), plain) == digest, "a frame's digest")
        if flags & 1:
            plain = zstandard.ZstdDecompressor().decompress(plain, max_output_size=raw)
        require(len(plain) == raw, "a frame's length")
        return plain

    def records(self, child=None):
        """All records in order: (inode, tag, rest, value)."""
        pointer, expected = child or self.root
        cursor = Cursor(self.frame(pointer, 2))
        version, level = cursor.take(2)
        require(version == 1, "a node of another version")
        packs = [pointer[0]]
        for _ in range(cursor.varint()):
            packs.append((cursor.take(16), cursor.take(16), cursor.unpack("I")[0]))
        count = cursor.varint()
        hashed = [b"node", bytes([level]), struct.pack("<I", count)]
        key, children, leaves = b"", [], []
        for _ in range(count):
            shared = cursor.varint()
            key = key[:shared] + cursor.bytes()
            if level:
                place = (packs[cursor.varint()], cursor.varint(), cursor.varint(), cursor.take(32))
                logical = cursor.take(32)
                cursor.varint(), cursor.varint()
                hashed.append(logical)
                children.append((place, logical))
            else:
                value, logical = self.value(key[8], cursor.bytes(), packs)
                for part in (key, logical):
                    hashed += [struct.pack("<I", len(part)), part]
                leaves.append((struct.unpack(">Q", key[:8])[0], key[8], key[9:], value))
        require(cursor.done(), "bytes follow a node's entries")
        require(keyed(self.keys.node_hash, *hashed) == expected, "a node's logical hash")
        for child in children:
            yield from self.records(child)
        yield from leaves

    def value(self, tag, data, packs):
        """A value, and the form of it that hashes cover."""
        cursor = Cursor(data)
        if cursor.take(1) == b"\0":
            length = cursor.at
            size = cursor.varint()
            head = data[length : cursor.at]
            pointer = (packs[cursor.varint()], cursor.varint(), cursor.varint(), cursor.take(32))
            whole = self.frame(pointer, 1)
            require(len(whole) == size, "a spilled value's length")
            return self.value(tag, whole, packs)[0], b"\0" + head + pointer[3]
        if tag != BLOCKS:
            return data[1:], data
        if cursor.varint() == 0:
            inline = cursor.bytes()
            return [(0, len(inline), 0, inline)], data
        pieces, logical, count = [], b"", cursor.varint()
        for _ in range(count):
            start = cursor.at
            at, length, skip = cursor.varint(), cursor.varint(), cursor.varint()
            logical += data[start : cursor.at]
            pointer = (packs[cursor.varint()], cursor.varint(), cursor.varint(), cursor.take(32))
            logical += pointer[3]
            pieces.append((at, length, skip, pointer))
        return pieces, data[:2] + bytes([count]) + logical

def attributes(data):
    cursor = Cursor(data)
    found = {"kind": KINDS[cursor.varint()], "mode": cursor.varint(), "uid": cursor.varint(), "gid": cursor.varint()}
    found["size"] = cursor.varint()
    for name in ("atime", "mtime", "ctime", "btime"):
        found[name] = (cursor.zigzag(), cursor.varint())
    found["rdev"], _ = cursor.varint(), cursor.varint()
    found["target"] = cursor.bytes() if cursor.take(1) == b"\x01" else None
    return found

def load(vault):
    """Inodes by number, and each directory's entries."""
    inodes, entries = {}, {}
    for inode, tag, rest, value in vault.records():
        if inode == 0:
            continue
        if tag == INODE:
            inodes[inode] = attributes(value) | {"xattrs": {}, "blocks": {}}
        elif tag == XATTR:
            inodes[inode]["xattrs"][rest] = Cursor(value).bytes()
        elif tag == ENTRY:
            entries.setdefault(inode, []).append((rest, Cursor(value).varint()))
        elif tag == BLOCKS:
            inodes[inode]["blocks"][struct.unpack(">Q", rest)[0]] = value
    return inodes, entries

def walk(entries, inode=ROOT, path=b""):
    for name, child in entries.get(inode, []):
        yield path + name, child
        yield from walk(entries, child, path + name + b"/")

def pieces(vault, file):
    """Runs of content: (offset, bytes). What lies between them is a hole."""
    for index, block in sorted(file["blocks"].items()):
        for at, length, skip, content in block:
            data = content if isinstance(content, bytes) else vault.frame(content, 1)
            yield index * BLOCK + at, data[skip : skip + length]

def digest(vault, file):
    content = bytearray(file["size"])
    for offset, data in pieces(vault, file):
        content[offset : offset + len(data)] = data[: file["size"] - offset]
    return blake3.blake3(bytes(content)).hexdigest()

def describe(vault, path, file):
    line = {"path": os.fsdecode(path), "kind": file["kind"], "mode": file["mode"]}
    if file["kind"] == "regular":
        line |= {"size": file["size"], "blake3": digest(vault, file)}
    if file["target"]:
        line["target"] = os.fsdecode(file["target"])
    if file["xattrs"]:
        line["xattrs"] = {os.fsdecode(k): blake3.blake3(v).hexdigest() for k, v in file["xattrs"].items()}
    return line

def extract(vault, path, file):
    if file["kind"] == "directory":
        os.makedirs(path, exist_ok=True)
    elif file["kind"] == "symlink":
        os.symlink(file["target"], path)
    elif file["kind"] == "regular":
        with open(path, "wb") as out:
            for offset, data in pieces(vault, file):
                out.seek(offset)
                out.write(data)
            out.truncate(file["size"])
        os.chmod(path, file["mode"])

def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("vault")
    parser.add_argument("--passphrase-file", required=True)
    parser.add_argument("what", choices=["list", "extract"])
    parser.add_argument("folder", nargs="?")
    arguments = parser.parse_args()
    with open(arguments.passphrase_file, encoding="utf-8") as file:
        passphrase = unicodedata.normalize("NFC", file.read().removesuffix("\n"))
    vault = Vault(arguments.vault, passphrase.encode())
    inodes, entries = load(vault)
    seen = {}
    for path, number in walk(entries):
        if arguments.what == "list":
            print(json.dumps(describe(vault, path, inodes[number]), sort_keys=True))
            continue
        target = os.path.join(os.fsencode(arguments.folder), path)
        if number in seen:
            os.link(seen[number], target)
        else:
            extract(vault, target, inodes[number])
            if inodes[number]["kind"] != "directory":
                seen[number] = target

if __name__ == "__main__":
    try:
        main()
    except Damaged as damage:
        sys.exit(f"coffre_reader: {damage}")
