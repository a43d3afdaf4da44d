"""What programs do to a file system, one scenario each; prints what they see.

    python3 scenarios.py SCENARIO FOLDER

Run on a local disk and on the drive, the output must be the same: nothing in it depends on where it runs.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import struct
import subprocess
import sys
import time

NOBODY = 65534
LIBC = ctypes.CDLL(None, use_errno=True)


def attempt(action, *arguments, **keywords):
    """What it answers, or the name of its error."""
    try:
        return action(*arguments, **keywords)
    except OSError as error:
        return errno.errorcode[error.errno]


def as_user(user, action, groups=()):
    """Runs it in a process of that user; what it returns is printed there."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        os.setgroups(list(groups))
        os.setgid(user)
        os.setuid(user)
        print(action(), flush=True)
        os._exit(0)
    os.waitpid(child, 0)


def children(count, action):
    """Runs it in several processes at once; whether all ended well."""
    sys.stdout.flush()
    started = []
    for index in range(count):
        child = os.fork()
        if child == 0:
            try:
                action(index)
                os._exit(0)
            except BaseException as error:
                print("child:", error, flush=True)
                os._exit(1)
        started.append(child)
    return [os.waitpid(child, 0)[1] for child in started]


def write(path, content):
    with open(path, "wb") as file:
        file.write(content)


def mode(path):
    return oct(os.lstat(path).st_mode & 0o7777)


def locks(folder):
    path = os.path.join(folder, "file")
    write(path, b"x" * 100)
    file = open(path, "r+b")
    other = """
import errno, fcntl, sys
file = open(sys.argv[1], "r+b")
def attempt(action, *arguments):
    try:
        action(*arguments)
        return "taken"
    except OSError as error:
        return errno.errorcode[error.errno]
print("flock", attempt(fcntl.flock, file, fcntl.LOCK_EX | fcntl.LOCK_NB))
print("first half", attempt(fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB, 50, 0))
print("second half", attempt(fcntl.lockf, file, fcntl.LOCK_EX | fcntl.LOCK_NB, 50, 50))
"""

    def look(what):
        told = subprocess.run([sys.executable, "-c", other, path], capture_output=True, text=True)
        print(what, told.stdout.split("\n"), told.stderr)

    look("free")
    fcntl.flock(file, fcntl.LOCK_EX)
    look("flock held")
    fcntl.flock(file, fcntl.LOCK_UN)
    fcntl.lockf(file, fcntl.LOCK_EX, 50, 0)
    look("first half held")
    fcntl.lockf(file, fcntl.LOCK_UN, 50, 0)
    fcntl.lockf(file, fcntl.LOCK_EX, 50, 50)
    look("second half held")
    # A lock that is waited for comes when its owner ends.
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        mine = open(path, "r+b")
        fcntl.lockf(mine, fcntl.LOCK_EX, 10, 0)
        os.write(writer, b"held")
        time.sleep(0.3)
        os._exit(0)
    os.read(reader, 4)
    fcntl.lockf(file, fcntl.LOCK_EX, 10, 0)
    print("waited for:", os.waitpid(child, 0)[1])


def shared_mapping(folder):
    path = os.path.join(folder, "file")
    write(path, bytes(1 << 20))

    def fill(index):
        with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as mapping:
            for at in range(index, 1 << 20, 4):
                mapping[at] = index + 1

    print(children(4, fill))
    with open(path, "rb") as file:
        content = file.read()
        print(content == bytes([1, 2, 3, 4]) * (1 << 18))
        # A mapping and writes through the file see each other.
        with open(path, "r+b") as both, mmap.mmap(both.fileno(), 0) as mapping:
            os.pwrite(both.fileno(), b"written", 5000)
            print(mapping[5000:5007])
            mapping[9000:9006] = b"mapped"
            print(os.pread(both.fileno(), 6, 9000))
            mapping.flush()
    print(os.stat(path).st_size)


def appends(folder):
    path = os.path.join(folder, "log")
    write(path, b"")

    def append(index):
        file = os.open(path, os.O_WRONLY | os.O_APPEND)
        for line in range(500):
            os.write(file, b"%d %04d %s\n" % (index, line, b"x" * (index * 37)))

    print(children(4, append))
    lines = open(path, "rb").read().split(b"\n")
    print(len(lines), lines[-1])
    for index in range(4):
        mine = [line for line in lines if line.startswith(b"%d " % index)]
        right = [b"%d %04d %s" % (index, line, b"x" * (index * 37)) for line in range(500)]
        print(mine == right)


def direct(folder):
    path = os.path.join(folder, "file")
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
    block = mmap.mmap(-1, 8192)
    block.write(b"d" * 8192)
    print(os.pwrite(file, block, 0), os.pwrite(file, block, 8192))
    back = mmap.mmap(-1, 4096)
    print(os.preadv(file, [back], 12288), back[:] == b"d" * 4096)
    buffered = os.open(path, os.O_RDWR)
    print(os.pwrite(buffered, b"buffered", 4096))
    print(os.preadv(file, [back], 4096), back[:10])
    print(os.fstat(file).st_size)


def renames(folder):
    old, new = os.path.join(folder, "old"), os.path.join(folder, "new")
    write(old, b"old content")
    write(new, b"new content")
    reading, writing = open(old, "rb"), open(old, "r+b")
    os.rename(new, old)
    print(reading.read(), open(old, "rb").read(), os.fstat(reading.fileno()).st_nlink)
    writing.write(b"into the unlinked one")
    writing.flush()
    print(os.pread(reading.fileno(), 100, 0), open(old, "rb").read())
    os.unlink(old)
    print(os.listdir(folder), os.pread(reading.fileno(), 3, 0))
    os.mkdir(old)
    held = os.open(old, os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir(old)
    print(attempt(os.listdir, held), attempt(os.open, "inside", os.O_CREAT | os.O_WRONLY, dir_fd=held))


class Entry(ctypes.Structure):
    _fields_ = [
        ("inode", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("length", ctypes.c_uint16),
        ("kind", ctypes.c_uint8),
        ("name", ctypes.c_char * 256),
    ]


def telldir(folder):
    """Entries that are there all the time come exactly once, whatever comes and goes meanwhile."""
    LIBC.opendir.restype = ctypes.c_void_p
    LIBC.readdir.restype = ctypes.POINTER(Entry)
    LIBC.telldir.restype = ctypes.c_long
    LIBC.readdir.argtypes = LIBC.telldir.argtypes = LIBC.rewinddir.argtypes = [ctypes.c_void_p]
    LIBC.closedir.argtypes = [ctypes.c_void_p]
    LIBC.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    staying = {"stay%04d" % index for index in range(3000)}
    for name in staying:
        write(os.path.join(folder, name), b"")
    for index in range(500):
        write(os.path.join(folder, "go%04d" % index), b"")
    stream = LIBC.opendir(folder.encode())
    seen, places, step = [], [], 0
    while True:
        place = LIBC.telldir(stream)
        entry = LIBC.readdir(stream)
        if not entry:
            break
        name = entry.contents.name.decode()
        seen.append(name)
        places.append((place, name))
        step += 1
        if step % 7 == 0 and step // 7 < 500:
            os.unlink(os.path.join(folder, "go%04d" % (step // 7)))
        # Fewer come than go, so that no place keeps its number by chance.
        if step % 21 == 0:
            write(os.path.join(folder, "come%04d" % step), b"")
    print(len([name for name in seen if name in staying]), set(seen) >= staying)
    # Each place leads back to the entry that came there.
    right = 0
    for place, name in places[::97]:
        if name not in staying:
            continue
        LIBC.seekdir(stream, place)
        right += LIBC.readdir(stream).contents.name.decode() == name
    print(right == len([name for _, name in places[::97] if name in staying]))
    LIBC.rewinddir(stream)
    again = []
    while entry := LIBC.readdir(stream):
        again.append(entry.contents.name.decode())
    print(len(again) == len(set(again)), set(again) - {".", ".."} == set(os.listdir(folder)))
    LIBC.closedir(stream)


def read_few(file):
    """Names that the system answers at once to a program with little room for them, as those in Go and on musl are."""
    room = ctypes.create_string_buffer(4096)
    length = LIBC.getdents64(file, room, len(room))
    found, at = [], 0
    while at < length:
        size = struct.unpack_from("<H", room.raw, at + 16)[0]
        found.append(room.raw[at + 19 : at + size].split(b"\0")[0].decode())
        at += size
    return [name for name in found if name not in (".", "..")], length > 0


def listing(folder):
    """Names that come a few at a time, some of them looked at, while others change."""
    few = ["%04d" % index for index in range(2000)]
    for name in few:
        write(os.path.join(folder, name), b"x")
    for begin, step in [(0, 1), (600, 1), (600, 300), (0, 2000), (1990, 1)]:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        seen, more, looked = [], True, begin
        while more:
            found, more = read_few(file)
            seen += found
            if found and len(seen) > looked:
                looked = len(seen) + step
                os.stat(os.path.join(folder, seen[0]))
                os.stat(os.path.join(folder, found[0]))
        print(len(seen), sorted(seen) == few)
        os.close(file)
    file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    seen, _ = read_few(file)
    for name in seen:
        os.stat(os.path.join(folder, name))
    rest = sorted(set(few) - set(seen))
    gone, changed, replaced = rest[::9], rest[1::9], rest[2::9]
    for name in gone:
        os.unlink(os.path.join(folder, name))
    for name in changed:
        os.chmod(os.path.join(folder, name), 0o600)
    for name in replaced:
        write(os.path.join(folder, "new"), b"longer")
        os.rename(os.path.join(folder, "new"), os.path.join(folder, name))
    more = True
    while more:
        found, more = read_few(file)
        for name in found:
            attempt(os.stat, os.path.join(folder, name))
        seen += found
    print(set(seen) >= set(few) - set(gone), len(seen) == len(set(seen)))
    print({attempt(mode, os.path.join(folder, name)) for name in gone})
    print({mode(os.path.join(folder, name)) for name in changed})
    print({os.stat(os.path.join(folder, name)).st_size for name in replaced})
    # All that is left of it goes while it is read.
    file, left = os.open(folder, os.O_RDONLY | os.O_DIRECTORY), set(few) - set(gone)
    while found := read_few(file)[0]:
        for name in sorted(left & set(found)) + sorted(left - set(found))[:60]:
            os.unlink(os.path.join(folder, name))
            left.remove(name)
    print(len(left), len(os.listdir(folder)))


def removed_and_synced(folder):
    """What was removed with something of it held back fails no sync, and a file that is replaced stays with who has it open."""
    place = os.open(folder, os.O_RDONLY)
    for index in range(20):
        path = os.path.join(folder, "short")
        write(path, b"x" if index % 2 else b"")
        os.unlink(path)
        if LIBC.syncfs(place) != 0:
            print("syncfs", errno.errorcode[ctypes.get_errno()])
    path, until = os.path.join(folder, "file"), time.monotonic() + 2
    write(path, b"content")

    def work(index):
        wrong = 0
        while time.monotonic() < until:
            if index == 0:
                write(path + " new", b"content")
                os.rename(path + " new", path)
                continue
            file = attempt(os.open, path, os.O_RDONLY)
            if isinstance(file, int):
                wrong += attempt(os.fstat, file) == "ESTALE"
                os.close(file)
        if wrong:
            raise OSError("%d open files were gone" % wrong)

    print(children(4, work))


def sparse(folder):
    path = os.path.join(folder, "file")
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.ftruncate(file, 1 << 40)
    os.pwrite(file, b"in the middle", 1 << 39)
    os.pwrite(file, b"at the end", (1 << 40) - 10)
    found = os.fstat(file)
    print(found.st_size, found.st_blocks * 512 < 1 << 20)
    print(os.pread(file, 20, (1 << 39) - 4), os.pread(file, 20, (1 << 40) - 10))
    data = os.lseek(file, 0, os.SEEK_DATA)
    print(data <= 1 << 39, data > (1 << 39) - (1 << 20))
    hole = os.lseek(file, 1 << 39, os.SEEK_HOLE)
    print(1 << 39 < hole <= (1 << 39) + (1 << 20))
    print(attempt(os.ftruncate, file, -1))
    os.ftruncate(file, 1 << 39)
    print(os.fstat(file).st_size, os.pread(file, 1, 1 << 39))
    # Cut and grown again: what was there is gone.
    os.ftruncate(file, 1 << 40)
    print(os.pread(file, 13, 1 << 39))


def names(folder):
    folder = folder.encode()
    some = [
        b"\xff" * 255,
        bytes(range(1, 47)) + bytes(range(48, 256)),
        "é".encode(),
        "e\u0301".encode(),
        b" ",
        b"...",
        b"-rf",
        b"new\nline",
        b"\\",
        b"a" * 255,
    ]
    for name in some:
        write(os.path.join(folder, name), name)
    print(sorted(os.listdir(folder)) == sorted(some))
    print(all(open(os.path.join(folder, name), "rb").read() == name for name in some))
    print(attempt(write, os.path.join(folder, b"a" * 256), b""))
    print(attempt(os.stat, os.path.join(folder, b"a" * 256)))
    deep = folder
    for _ in range(12):
        deep = os.path.join(deep, b"d" * 255)
        os.mkdir(deep)
    print(os.listdir(deep))
    print(attempt(os.mkdir, os.path.join(deep, b"d" * 255, b"d" * 255, b"d" * 255, b"d" * 255)))


def groups_and_sticky(folder):
    os.chmod(folder, 0o755)
    shared = os.path.join(folder, "shared")
    os.mkdir(shared)
    os.chown(shared, 0, 1234)
    os.chmod(shared, 0o2777)
    write(os.path.join(shared, "file"), b"")
    os.mkdir(os.path.join(shared, "inside"))
    for name in ["file", "inside"]:
        found = os.stat(os.path.join(shared, name))
        print(name, found.st_gid, oct(found.st_mode & 0o7000))
    sticky = os.path.join(folder, "sticky")
    os.mkdir(sticky)
    os.chmod(sticky, 0o1777)
    write(os.path.join(sticky, "of root"), b"")
    path = os.path.join(sticky, "of root")
    as_user(NOBODY, lambda: (attempt(os.unlink, path), attempt(os.rename, path, path + "2")))
    mine = os.path.join(sticky, "mine")
    as_user(NOBODY, lambda: (attempt(write, mine, b"x"), attempt(os.unlink, mine)))
    # Who is not in the group loses set-gid with chmod.
    other = os.path.join(sticky, "other")
    write(other, b"")
    os.chown(other, NOBODY, 1234)
    as_user(NOBODY, lambda: (attempt(os.chmod, other, 0o2755), mode(other)))


def privileges(folder):
    os.chmod(folder, 0o777)
    path = os.path.join(folder, "file")
    capability = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)

    def prepare():
        write(path, b"content")
        os.chown(path, 0, 0)
        os.chmod(path, 0o6777)
        os.setxattr(path, "security.capability", capability)

    def look():
        capable = attempt(os.getxattr, path, "security.capability")
        return mode(path), capable if isinstance(capable, str) else "capable"

    prepare()
    print("before", look())

    def change(what):
        file = os.open(path, os.O_WRONLY)
        if what == "write":
            os.pwrite(file, b"x", 0)
        elif what == "ftruncate":
            os.ftruncate(file, 3)
        elif what == "fallocate":
            os.posix_fallocate(file, 0, 100)
        os.close(file)
        return what

    for what in ["write", "ftruncate", "fallocate"]:
        prepare()
        as_user(NOBODY, lambda: change(what))
        print("by another user:", what, look())
    prepare()
    os.truncate(path, 2)
    print("truncated by root:", look())
    prepare()
    change("write")
    print("written by root:", look())
    prepare()
    os.close(os.open(path, os.O_WRONLY | os.O_TRUNC))
    print("emptied by root:", look())
    prepare()
    os.chown(path, 1, 1)
    print("chown by root:", look())


def attributes(folder):
    path = os.path.join(folder, "file")
    os.chmod(folder, 0o755)
    write(path, b"")
    os.chmod(path, 0o644)
    for name in ["user.one", "trusted.one", "security.one"]:
        os.setxattr(path, name, name.encode())
        print(name, os.getxattr(path, name))
    print(sorted(os.listxattr(path)))
    as_user(NOBODY, lambda: sorted(os.listxattr(path)))
    as_user(NOBODY, lambda: (attempt(os.getxattr, path, "trusted.one"), attempt(os.getxattr, path, "user.one")))
    as_user(NOBODY, lambda: attempt(os.setxattr, path, "user.two", b"x"))
    print(attempt(os.setxattr, path, "user.one", b"new", os.XATTR_CREATE))
    print(attempt(os.setxattr, path, "user.none", b"new", os.XATTR_REPLACE))
    os.setxattr(path, "user.one", b"", os.XATTR_REPLACE)
    print(os.getxattr(path, "user.one"))
    print(attempt(os.removexattr, path, "user.none"), os.removexattr(path, "user.one"))
    print(attempt(os.setxattr, path, "unknown.name", b""), attempt(os.setxattr, path, "user.", b""))
    print(attempt(os.setxattr, path, "user." + "n" * 251, b""))
    link = os.path.join(folder, "link")
    os.symlink("file", link)
    print(attempt(os.setxattr, link, "user.one", b"", follow_symlinks=False))
    os.setxattr(link, "trusted.link", b"of the link", follow_symlinks=False)
    print(os.listxattr(link, follow_symlinks=False))


def access_lists(folder):
    os.chmod(folder, 0o777)
    shared = os.path.join(folder, "shared")
    os.mkdir(shared)

    def acl(*arguments):
        subprocess.run(["setfacl", *arguments, shared], check=True)

    def told(path):
        output = subprocess.run(["getfacl", "-pcn", path], capture_output=True, text=True, check=True)
        return output.stdout.split()

    acl("-m", "u:65534:rwx")
    as_user(NOBODY, lambda: attempt(write, os.path.join(shared, "by nobody"), b"x"))
    acl("-m", "u:65534:r-x")
    as_user(NOBODY, lambda: attempt(write, os.path.join(shared, "refused"), b"x"))
    print(told(shared))
    acl("-d", "-m", "u::rwx,g::rwx,o::r-x,u:1234:rw-")
    # A default list stands in for the umask.
    os.umask(0o077)
    write(os.path.join(shared, "file"), b"")
    os.mkdir(os.path.join(shared, "folder"))
    os.mkfifo(os.path.join(shared, "fifo"))
    for name in ["file", "folder", "fifo"]:
        path = os.path.join(shared, name)
        print(name, mode(path), told(path))
    acl("-b")
    write(os.path.join(shared, "after"), b"")
    print("after", mode(os.path.join(shared, "after")), told(shared))
    os.umask(0o022)
    path = os.path.join(shared, "file")
    os.chmod(path, 0o604)
    print(told(path))


def times(folder):
    path = os.path.join(folder, "file")
    write(path, b"x")
    os.utime(path, ns=(-1, 4_102_444_800_123_456_789))
    found = os.stat(path)
    print(found.st_atime_ns, found.st_mtime_ns)
    before = os.stat(path).st_ctime_ns
    # Longer than a tick of the clock that kernels use for times.
    time.sleep(0.02)
    os.chmod(path, 0o600)
    print(os.stat(path).st_ctime_ns > before, os.stat(path).st_mtime_ns == found.st_mtime_ns)
    os.utime(folder, (1, 1))
    write(os.path.join(folder, "new"), b"")
    print(os.stat(folder).st_mtime_ns > 10**18)


def unnamed(folder):
    """Files without a name, from before they got one or after they lost it."""
    path = os.path.join(folder, "file")
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    os.unlink(path)
    os.write(file, b"content")
    print(os.fstat(file).st_nlink, os.pread(file, 7, 0), os.listdir(folder))
    print(attempt(os.link, "/proc/self/fd/%d" % file, path, follow_symlinks=True))
    os.mkfifo(os.path.join(folder, "fifo"))
    reader = os.open(os.path.join(folder, "fifo"), os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(os.path.join(folder, "fifo"), os.O_WRONLY)
    os.write(writer, b"through")
    print(os.read(reader, 10))
    import socket

    server = socket.socket(socket.AF_UNIX)
    os.chdir(folder)
    server.bind("socket")
    server.listen()
    client = socket.socket(socket.AF_UNIX)
    client.connect("socket")
    server.accept()[0].sendall(b"answered")
    print(client.recv(10))


def space(folder):
    before = os.statvfs(folder)
    print(before.f_namemax, before.f_bavail > 0, before.f_bfree <= before.f_blocks, before.f_ffree > 0)


if __name__ == "__main__":
    os.umask(0o022)
    globals()[sys.argv[1]](sys.argv[2])
