#!/usr/bin/env python3
# Wrong input: one line that says what and what to do, the right exit code, nothing changed. What
# tests/cli has already is not here again; here are stores that are not what they should be, and
# places where a store must not be.
# TIMEOUT: 300
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *
import struct
import threading

PLACE = in_memory()
STORE, TOP = os.path.join(PLACE, "store"), os.path.join(PLACE, "tree")
READING = [("ls",), ("log", "t"), ("get", "t", "out"), ("check",), ("check", "--read"), ("status",), ("find", "f*"), ("diff", "t", "t"),
           ("cat", "t//d1/f1"), ("similar", "t"), ("reindex",)]
WRITING = [("put", "t", TOP), ("rm", "t")]


def make():
    small_tree(TOP, random.Random(SEED), files=30)
    put(STORE, "t", TOP)
    without_reserve(STORE)


def copy_of(name):
    copy = os.path.join(PLACE, name)
    wipe(copy)
    shutil.copytree(STORE, copy, symlinks=True)
    return copy


def unchanged(store, before, done):
    need(truth(store) == before, "the store was changed by", done)


def names_and_ids():
    before = truth(STORE)
    out = os.path.join(PLACE, "out")
    table = [
        (2, ("put", "a/../b", TOP)), (2, ("put", "..", TOP)), (2, ("put", "/a", TOP)), (2, ("put", "a//b", TOP)), (2, ("put", "", TOP)),
        (2, ("put", "a@3", TOP)), (2, ("put", "x" * 1025, TOP)), ((2, 3), ("get", "t@0", out)), ((2, 3), ("rm", "t@0")),
        (3, ("get", "t@2", out)), (3, ("get", "t@99999999999999999999", out), 2), (3, ("cat", "t//no/such")), (3, ("get", "nobody", out)),
        (2, ("cat", "id:1234567")), (2, ("cat", "id:zzzzzzzzzz")), (3, ("cat", "id:00000000")), (2, ("cat", "id:" + "0" * 65)),
        (3, ("put", "n", os.path.join(PLACE, "nowhere"))), (2, ("cat", "t")), (2, ("frobnicate",)), (2, ("ls", "--frobnicate")),
        (2, ("put",)), (2, ("cat", "t//..")), ((2, 3), ("cat", "t//d1/../d1/f1")), (2, ("put", "n", TOP, "--tag", "novalue")),
    ]
    for row in table:
        code, args = row[0], row[1]
        codes = (code if isinstance(code, tuple) else (code,)) + tuple(row[2:])
        done = run(STORE, *args)
        need(done.code in codes, "expected", codes, done)
        one_line(done)
        need(not done.out, "says something on stdout:", done)
        unchanged(STORE, before, done)
    need(not os.path.lexists(out), "get made something")
    # a prefix of 8 digits that fits two objects
    seen, n = {}, 0
    store = os.path.join(PLACE, "ambiguous")
    while True:
        data = b"%d" % n
        head = hashlib.sha256(data).hexdigest()[:8]
        if head in seen:
            break
        seen[head] = data
        n += 1
    for data in (seen[head], data):
        ran(0, store, "put", "x/%s" % data.decode(), "-", stdin=data)
    before = truth(store)
    done = run(store, "cat", "id:" + head)
    need(done.code == 2, done)
    one_line(done, "ambiguous", "objects begin")
    unchanged(store, before, done)
    need(ran(0, store, "cat", "id:" + hashlib.sha256(data).hexdigest()[:16]).out == data, "unambiguous")
    return "%d lines; %s fits two objects" % (len(table) + 1, head)


def not_a_store():
    place = os.path.join(PLACE, "stranger")
    os.mkdir(place)
    with open(os.path.join(place, "config"), "wb") as f:
        f.write(b"[core]\n")
    alone = os.path.join(PLACE, "letters")
    os.mkdir(alone)
    with open(os.path.join(alone, "letter"), "wb") as f:
        f.write(b"Dear Sir\n")
    for where, codes in ((place, (1, 2, 4)), (alone, (2,))):
        before = sorted(os.listdir(where)), truth(where)
        for args in READING + WRITING:
            done = run(where, *args)
            need(done.code in codes, done)
            one_line(done)
            need((sorted(os.listdir(where)), truth(where)) == before, "changed by", done)


def newer_format():
    store = copy_of("newer")
    path = os.path.join(store, "config")
    os.chmod(path, 0o600)
    with open(path, "rb") as f:
        lines = f.read().splitlines()[:-1]
    new = [b"format 2" if l.startswith(b"format ") else l for l in lines]
    need(new != lines, "no format in config", lines)
    body = b"\n".join(new) + b"\n"
    with open(path, "wb") as f:
        f.write(body + b"sha256 " + hashlib.sha256(body).hexdigest().encode() + b"\n")
    before = truth(store)
    for args in READING + WRITING:
        done = run(store, *args)
        need(done.code == 1, done)
        one_line(done, "newer")
        unchanged(store, before, done)


def cut_packs():
    """A pack cut short, at many lengths, and gone: found by check, never a wrong answer."""
    want = snapshot(TOP, False)
    packs = [os.path.join(p, n) for p, _, names in os.walk(os.path.join(STORE, "packs")) for n in names]
    path = os.path.relpath(packs[0], STORE)
    size = os.path.getsize(packs[0])
    out = os.path.join(PLACE, "out")
    for length in [None, 0, 1, 7, 63, size // 2, size - 64, size - 9, size - 1, size + 1]:
        store = copy_of("cut")
        pack = os.path.join(store, path)
        os.chmod(pack, 0o600)
        if length is None:
            os.unlink(pack)
        else:
            os.truncate(pack, length)
        before = truth(store)
        where = "pack of %d bytes cut to %s:" % (size, length)
        for with_index in (True, False):
            if not with_index:
                wipe(os.path.join(store, "index"))
            for args in (("check",), ("check", "--read")):
                done = run(store, *args)
                need(done.code == 4 or (length is not None and length >= size and done.code == 0 and args == ("check",)), where, done)
            done = run(store, "get", "t", out)
            need(done.code in (0, 4), where, done)
            if done.code == 0:
                same(want, snapshot(out, False), where)
            else:
                need(len([l for l in done.err.splitlines() if b"; rebuilt from" not in l]) == 1, where, done)
                need(not os.path.lexists(out), where, "half a tree is in place")
            wipe(out)
            for name in os.listdir(PLACE):
                if ".out.larder" in name:
                    wipe(os.path.join(PLACE, name))
            now = {k: v for k, v in truth(store).items() if k in before and k != "checked"}
            need(now == {k: v for k, v in before.items() if k != "checked"}, where, "changed", done)
        ran((0,), store, "put", "again", TOP) if length in (None, 0) else None
        wipe(store)


class Fuse:
    """The smallest file system that the kernel takes for a FUSE mount: an empty directory."""

    def __init__(self, point):
        os.makedirs(point, exist_ok=True)
        if not ROOT or not os.path.exists("/dev/fuse"):
            raise Skipped("no /dev/fuse, or not root")
        import ctypes
        self.point, self.fd = point, os.open("/dev/fuse", os.O_RDWR)
        libc = ctypes.CDLL(None, use_errno=True)
        options = b"fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other" % self.fd
        if libc.mount(b"larder-test", point.encode(), b"fuse", 0, options) != 0:
            raise Skipped("cannot mount: errno %d" % ctypes.get_errno())
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        attr = struct.pack("<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40777, 2, 0, 0, 0, 4096, 0)
        while True:
            try:
                request = os.read(self.fd, 1 << 17)
            except OSError:
                return
            length, opcode, unique = struct.unpack_from("<IIQ", request)
            error, body = 0, b""
            if opcode == 26:  # INIT
                body = struct.pack("<IIIIHHIIHHIIIIIIII", 7, 31, 65536, 0, 12, 9, 65536, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)[:64]
                body = body.ljust(64, b"\0")
            elif opcode == 3:  # GETATTR
                body = struct.pack("<QII", 0, 0, 0) + attr
            elif opcode == 27:  # OPENDIR
                body = struct.pack("<QII", 0, 0, 0)
            elif opcode in (28, 44):  # READDIR
                body = b""
            elif opcode == 17:  # STATFS
                body = struct.pack("<QQQQQIIII", 1 << 20, 1 << 19, 1 << 19, 1000, 900, 4096, 255, 4096, 0) + bytes(24)
            elif opcode in (2, 36, 42):  # FORGET, INTERRUPT
                continue
            elif opcode in (29, 18, 34, 20):  # RELEASEDIR, RELEASE, ACCESS, FSYNC
                body = b""
            elif opcode == 1:  # LOOKUP
                error = -2
            else:
                self.asked = opcode
                error = -38 if opcode not in (9, 35, 8, 13, 6, 5) else -30
            try:
                os.write(self.fd, struct.pack("<IiQ", 16 + len(body), error, unique) + body)
            except OSError:
                pass

    def close(self):
        subprocess.run(["umount", "-l", self.point], stderr=subprocess.DEVNULL)
        os.close(self.fd)


def network():
    """A file system that the kernel cannot vouch for: exit 7, for a store and for an index."""
    fuse = Fuse(os.path.join(PLACE, "fuse"))
    try:
        for args in (("put", "t", TOP), ("init",)):
            done = run(fuse.point, *args, hang=10)
            need(done.code == 7, done)
            one_line(done, "network", "remote", "FUSE", "fuse")
        copy = copy_of("indexed")
        before = truth(copy)
        done = run(copy, "--index-dir", fuse.point, "ls", hang=10)
        need(done.code == 7, done)
        one_line(done)
        unchanged(copy, before, done)
    finally:
        fuse.close()


def unreadable():
    """A config, journal, pack folder that may not be opened, or is of another kind."""
    for what, way in (("config is a folder", lambda s: (os.unlink(s + "/config"), os.mkdir(s + "/config"))),
                      ("config is empty", lambda s: open(s + "/config", "wb").close()),
                      ("config is gone", lambda s: os.unlink(s + "/config")),
                      ("journal is gone", lambda s: wipe(s + "/journal")),
                      ("packs is gone", lambda s: wipe(s + "/packs")),
                      ("packs is a file", lambda s: (wipe(s + "/packs"), open(s + "/packs", "wb").close())),
                      ("journal is a file", lambda s: (wipe(s + "/journal"), open(s + "/journal", "wb").close()))):
        for lose in (False, True):
            store = copy_of("odd")
            os.chmod(os.path.join(store, "config"), 0o600)
            way(store)
            if lose:
                wipe(os.path.join(store, "index"))
            for args in READING:
                done = run(store, *args)
                if args == ("check", "--read"):
                    need(done.code in (1, 2, 4), what, done)
                need(done.code >= 0 and done.code < 8, what, done)
                if done.code == 0 and args[0] == "get":
                    same(snapshot(TOP, False), snapshot("out", False), what)
                wipe("out")
                need(done.code != 1 or len(done.err.splitlines()) == 1, what, done)


os.chdir(PLACE)
tap = Tap()
make()
tap.case("names, ids, paths and commands that are wrong", names_and_ids)
tap.case("a folder that is not a store", not_a_store)
tap.case("a store of a newer format", newer_format)
tap.case("a pack cut short or gone", cut_packs)
tap.case("a store on a file system behind a network", network)
tap.case("a store of which parts are missing or odd", unreadable)
os.chdir("/")
finish(tap)
