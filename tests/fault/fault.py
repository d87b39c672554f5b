"""What the campaigns in this folder share: TAP, running larder, random trees, and a comparer.

A campaign prints its seed. FAULT_SEED=n repeats one, FAULT_FULL=1 (`make crash`) takes the large
numbers. LARDER is the program; everything happens below TMPDIR (or in memory, where the disk does
not matter).
"""
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import traceback

LARDER = os.path.abspath(os.environ.get("LARDER") or ".build/release/larder")
FULL = bool(os.environ.get("FAULT_FULL"))
SEED = int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1, 1 << 31))
ROOT = os.geteuid() == 0
HANG = 60.0

MIB = 1 << 20


class Failed(Exception):
    """A sentence that was expected to be true and is not."""


class Skipped(Exception):
    """Something that this machine lacks."""


# ---- TAP ----

class Tap:
    def __init__(self):
        self.count, self.bad = 0, 0
        print("# seed %d%s" % (SEED, ", full" if FULL else ""), flush=True)

    def case(self, title, fn, *args):
        self.count += 1
        started = time.monotonic()
        try:
            said = fn(*args)
        except Skipped as why:
            print("# SKIPPED: %s: %s" % (title, why))
            print("ok %d - %s # SKIP %s" % (self.count, title, why), flush=True)
            return
        except Failed as what:
            self._bad(title, str(what))
            return
        except Exception:
            self._bad(title, traceback.format_exc())
            return
        if said:
            print("# %s" % said)
        print("# %.1f s" % (time.monotonic() - started))
        print("ok %d - %s" % (self.count, title), flush=True)

    def _bad(self, title, what):
        self.bad += 1
        for line in what.splitlines()[:60]:
            print("# " + line)
        print("# seed %d" % SEED)
        print("not ok %d - %s" % (self.count, title), flush=True)

    def end(self):
        print("1..%d" % self.count)
        sys.exit(1 if self.bad else 0)


def need(condition, *words):
    if not condition:
        raise Failed(" ".join(str(w) for w in words))


# ---- running ----

class Ran:
    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __str__(self):
        return "larder %s: exit %s\n--- stdout\n%s\n--- stderr\n%s" % (
            " ".join(map(str, self.args)), self.code, shown(self.out), shown(self.err))

    def json(self):
        return json.loads(self.out.decode("utf-8", "replace").splitlines()[-1])


def shown(data):
    return data[:3000].decode("utf-8", "backslashreplace")


def run(store, *args, stdin=None, env=None, hang=None, before=None):
    """larder -S store args...; bytes in, bytes out. A hang is a failure."""
    command = [LARDER, "-S", store] + list(args)
    child = subprocess.Popen(command, stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=env, preexec_fn=before)
    try:
        out, err = child.communicate(stdin, timeout=hang or HANG)
    except subprocess.TimeoutExpired:
        child.kill()
        out, err = child.communicate()
        raise Failed("hangs: %s" % Ran(args, "none", out, err))
    return Ran(args, child.returncode, out, err)


def ran(code, store, *args, **more):
    """The same, and the exit code (or one of a tuple) is expected."""
    done = run(store, *args, **more)
    if done.code not in (code if isinstance(code, tuple) else (code,)):
        raise Failed("expected exit %s, got %s" % (code, done))
    return done


def one_line(done, *words):
    """One line on stderr that starts with `larder: ` and has one of the words."""
    lines = done.err.splitlines()
    need(len(lines) == 1 and lines[0].startswith(b"larder: "), "not one line of ours:", done)
    if words:
        need(any(w.lower().encode() in lines[0].lower() for w in words), "none of", words, "in:", done)
    return done


def put(store, name, path, *more, code=0):
    return ran(code, store, "--json", "put", name, path, *more).json()


def clean(store):
    """check --read says that all is well, without a word about anything else."""
    return ran(0, store, "check", "--read")


# ---- folders ----

def in_memory():
    """A folder on tmpfs, where syncs cost nothing; else below TMPDIR."""
    place = "/dev/shm"
    if os.access(place, os.W_OK) and os.statvfs(place).f_bavail * os.statvfs(place).f_frsize > 2 << 30:
        return folder(place)
    return folder()


_folders = []


def folder(place=None):
    made = tempfile.mkdtemp(prefix="larder-fault-", dir=place)
    _folders.append(made)
    return made


def forget_folders():
    for made in _folders:
        wipe(made)


def wipe(path):
    """Also what is too deep for a path."""
    subprocess.run(["rm", "-rf", "--", path], stderr=subprocess.DEVNULL)


def mounts_below(path):
    with open("/proc/mounts", encoding="utf-8", errors="replace") as f:
        return [line.split()[1] for line in f if line.split()[1].startswith(path)]


def unmount_all():
    for made in _folders:
        for point in sorted(mounts_below(made), reverse=True):
            subprocess.run(["umount", "-l", point], stderr=subprocess.DEVNULL)


def finish(tap):
    try:
        unmount_all()
    finally:
        forget_folders()
    tap.end()


# ---- content ----

WORDS = (b"package service template file recipe attribute default node cookbook include if end do "
         b"notifies owner group mode source variables action install enable start").split()


def text(rng, length):
    out, size = [], 0
    while size < length:
        line = b" ".join(rng.choices(WORDS, k=rng.randrange(1, 12))) + b"\n"
        out.append(line)
        size += len(line)
    return b"".join(out)[:length]


def content(rng, length):
    kind = rng.random()
    if kind < 0.45:
        return text(rng, length)
    if kind < 0.8:
        return rng.randbytes(length)
    if kind < 0.9:
        return bytes([rng.randrange(256)]) * length
    half = rng.randbytes(max(1, min(length // 3, 70000)))
    return (half * (length // len(half) + 1))[:length]


BORDERS = [0, 1, 2, 3, 31, 32, 33, 4095, 4096, 4097, 16383, 16384, 16385, 65535, 65536, 65537, 65536 * 2 - 1,
           65536 * 2, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1]
LARGE_BORDERS = [4 * MIB - 1, 4 * MIB, 4 * MIB + 1, 4 * MIB - 256 * 1024 - 1, 4 * MIB - 256 * 1024,
                 4 * MIB - 256 * 1024 + 1, 4 * MIB + 256 * 1024 - 1, 4 * MIB + 256 * 1024,
                 4 * MIB + 256 * 1024 + 1, 8 * MIB - 1, 8 * MIB, 8 * MIB + 1]


def some_length(rng, large):
    kind = rng.random()
    if large and kind < 0.06:
        return rng.choice(LARGE_BORDERS)
    if kind < 0.3:
        return rng.choice(BORDERS)
    return int(2 ** rng.uniform(0, 17))


# ---- random trees ----

class Tree:
    """Random trees of everything that a file system can hold; all names are bytes."""

    def __init__(self, rng, top, large=True, strange=True):
        self.rng, self.top, self.large, self.strange = rng, os.fsencode(top), large, strange
        self.pool = []  # contents that may come again
        os.makedirs(self.top, exist_ok=True)

    # -- parts

    def name(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.75 or not self.strange:
            return b"".join(rng.choices([b"a", b"b", b"c", b"rb", b"erb", b".", b"_", b"-", b"7"], k=rng.randrange(1, 8))) + \
                b"%x" % rng.randrange(4096)
        if kind < 0.80:
            return bytes(rng.choices([c for c in range(1, 256) if c != 47], k=rng.randrange(3, 60))) + b"~"
        if kind < 0.84:
            return b"\xff\xfe" + bytes(rng.choices(range(128, 256), k=rng.randrange(1, 40)))
        if kind < 0.88:
            return (b"long" * 64)[:255 - 8] + b"%08x" % rng.getrandbits(32)
        if kind < 0.92:
            return rng.choice([b"-rf", b"--help", b" ", b"  lead", b"trail ", b"a\nb", b"tab\t", b"'q'", b'"', b"\\", b"*",
                               b"?", b"...", b"..a", b"a@3", b"~", b"$HOME", b"\x1b[31m", b"\x7f"]) + b"%x" % rng.randrange(4096)
        return rng.choice(["ü", "日本", "🥫", "e\u0301", "Ω"]).encode() + b"%x" % rng.randrange(4096)

    def data(self):
        rng = self.rng
        if self.pool and rng.random() < 0.35:
            old = rng.choice(self.pool)
            if rng.random() < 0.4 or not old:
                return old
            at = rng.randrange(len(old))
            return old[:at] + content(rng, rng.randrange(1, 200)) + old[at + rng.randrange(0, 100):]
        new = content(rng, some_length(rng, self.large))
        self.pool.append(new)
        if len(self.pool) > 40:
            self.pool.pop(rng.randrange(40))
        return new

    def when(self):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.7:
            return rng.randrange(1, 1700000000) * 10**9 + rng.randrange(10**9)
        return rng.choice([0, 1, 999999999, -1, -10**9, -12345678901, 10**9, 2**31 * 10**9, 2**32 * 10**9 + 5,
                           1500000000 * 10**9])

    # -- making

    def fill(self, count):
        """About `count` entries, in random places."""
        places = [self.top] + [p for p, s in self.walk() if stat.S_ISDIR(s.st_mode)]
        for _ in range(count):
            place = self.rng.choice(places)
            if len(place) > 2500:
                continue
            made = self.add(place)
            if made and stat.S_ISDIR(os.lstat(made).st_mode):
                places.append(made)
        if self.strange and self.rng.random() < 0.5:
            self.deep()

    def deep(self, length=150, steps=None):
        """A path that may be longer than PATH_MAX, made step by step; 4,096 bytes inside the tree are allowed."""
        fd = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY)
        name = (b"deep%x" % self.rng.randrange(1 << 30)).ljust(length, b"_")[:max(length, 1)]
        for _ in range(steps or self.rng.choice([3, 10, 26, 27])):
            os.mkdir(name, 0o755, dir_fd=fd)
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=fd)
            os.close(fd)
            fd = below
        leaf = os.open(b"leaf", os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=fd)
        os.write(leaf, content(self.rng, 1000))
        os.close(leaf)
        os.close(fd)

    def add(self, place):
        rng = self.rng
        path = place + b"/" + self.name()
        if os.path.lexists(path):
            return None
        kind = rng.random()
        if kind < 0.2:
            os.mkdir(path)
        elif kind < 0.3:
            target = rng.choice([b".", b"..", b"/etc/passwd", b"nowhere", b"\xff\xfe", b"a/b/../c", b"x" * 4000, self.name()])
            os.symlink(target, path)
        elif kind < 0.33 and self.strange:
            os.mkfifo(path)
        elif kind < 0.35 and self.strange:
            sock = socket.socket(socket.AF_UNIX)
            fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
            try:
                sock.bind(b"/proc/self/fd/%d/" % fd + os.path.basename(path))
            except OSError:  # the name is too long for a socket
                pass
            os.close(fd)
            sock.close()
            if not os.path.lexists(path):
                return None
        elif kind < 0.38 and self.strange and ROOT:
            os.mknod(path, rng.choice([stat.S_IFCHR, stat.S_IFBLK]) | 0o600,
                     os.makedev(rng.randrange(1, 300), rng.randrange(0, 70000)))
        elif kind < 0.45:
            files = [p for p, s in self.walk() if stat.S_ISREG(s.st_mode) or stat.S_ISLNK(s.st_mode)]
            if files:
                os.link(rng.choice(files), path, follow_symlinks=False)
                return path
            return None
        elif kind < 0.50:
            self.sparse(path)
        else:
            with open(path, "wb") as f:
                f.write(self.data())
        self.decorate(path)
        return path

    def sparse(self, path):
        rng = self.rng
        size = rng.choice([5000, 70000, 300000, 5 * MIB, 9 * MIB]) if self.large else rng.choice([5000, 70000])
        with open(path, "wb") as f:
            for _ in range(rng.randrange(0, 4)):
                f.seek(rng.randrange(size) & ~4095)
                f.write(content(rng, rng.randrange(1, 20000)))
            if f.tell() < size:
                f.truncate(size)
            else:
                f.truncate(max(size, os.fstat(f.fileno()).st_size))

    def decorate(self, path):
        """Owner, xattrs, ACL, mode, times: in the order in which they do not undo each other."""
        rng = self.rng
        kind = os.lstat(path).st_mode
        link = stat.S_ISLNK(kind)
        if ROOT and rng.random() < 0.5:
            os.chown(path, rng.choice([0, 1, 1000, 65534, 4000000000]), rng.choice([0, 5, 1000, 4000000000]),
                     follow_symlinks=False)
        if not link and rng.random() < 0.9:
            mode = rng.choice([0o644, 0o600, 0o755, 0o400, 0o000, 0o777, 0o4755, 0o2755, 0o1777, 0o6711, 0o7777])
            os.chmod(path, mode | (0o700 if stat.S_ISDIR(kind) and not ROOT else 0))
        if rng.random() < 0.25:
            self.xattr(path, kind)
        if rng.random() < 0.15 and not link:
            subprocess.run(["setfacl", "-m", "u:%d:r-x,g:%d:rw-" % (rng.randrange(1, 2000), rng.randrange(1, 2000)), b"./" + os.path.basename(path)],
                           cwd=os.path.dirname(path), stderr=subprocess.DEVNULL)
            if stat.S_ISDIR(kind):
                subprocess.run(["setfacl", "-d", "-m", "u:%d:rwx" % rng.randrange(1, 2000), b"./" + os.path.basename(path)],
                               cwd=os.path.dirname(path), stderr=subprocess.DEVNULL)
        if rng.random() < 0.9:
            when = self.when()
            try:
                os.utime(path, ns=(when, when), follow_symlinks=False)
            except OSError:
                pass

    def xattr(self, path, kind):
        rng = self.rng
        if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
            values = [(b"user.%s" % rng.choice([b"a", b"comment", b"\xc3\xbc", b"n" * 200]),
                       content(rng, rng.choice([0, 1, 20, 255, 256, 257, 3000])))]
            if ROOT and stat.S_ISREG(kind) and rng.random() < 0.4:
                values.append((b"security.capability", bytes.fromhex("0100000200040000000000000000000000000000")))
        else:
            values = []
        if ROOT and rng.random() < 0.3:
            values.append((b"trusted.t%d" % rng.randrange(9), content(rng, rng.randrange(0, 100))))
        for name, value in values:
            try:
                os.setxattr(path, name, value, follow_symlinks=False)
            except OSError:  # full, or not for this kind of file
                pass

    # -- changing

    def walk(self):
        """All that paths can reach, without following links."""
        for place, dirs, files in os.walk(self.top, onerror=None, followlinks=False):
            if len(place) > 3000:
                dirs.clear()
                continue
            for name in dirs + files:
                path = place + b"/" + name
                try:
                    yield path, os.lstat(path)
                except OSError:
                    pass

    def change(self, count):
        rng = self.rng
        for _ in range(count):
            all_ = sorted(self.walk(), key=lambda e: e[0])
            if not all_:
                self.fill(3)
                continue
            path, st = rng.choice(all_)
            try:
                self.change_one(path, st)
            except FileExistsError:
                pass

    def change_one(self, path, st):
        rng, kind = self.rng, self.rng.random()
        regular = stat.S_ISREG(st.st_mode)
        if kind < 0.12:
            self.add(os.path.dirname(path))
        elif kind < 0.2:
            wipe(path)
        elif kind < 0.3:
            there = [self.top] + [p for p, s in self.walk() if stat.S_ISDIR(s.st_mode) and len(p) < 2500
                                  and not (p + b"/").startswith(path + b"/")]
            os.rename(path, rng.choice(there) + b"/" + self.name())
        elif kind < 0.4:
            self.decorate(path)
        elif kind < 0.45 and not stat.S_ISLNK(st.st_mode):
            for name in os.listxattr(path, follow_symlinks=False):
                os.removexattr(path, name, follow_symlinks=False)
        elif kind < 0.5:
            wipe(path)
            if regular:
                os.mkdir(path)
                self.add(path)
            else:
                with open(path, "wb") as f:
                    f.write(self.data())
        elif regular:
            self.change_file(path, st)

    def change_file(self, path, st):
        rng, kind = self.rng, self.rng.random()
        if kind < 0.25:
            with open(path, "ab") as f:
                f.write(content(rng, rng.randrange(1, 5000)))
        elif kind < 0.5 and st.st_size > 0:
            with open(path, "r+b") as f:
                f.seek(rng.randrange(st.st_size))
                f.write(content(rng, rng.randrange(1, 300)))
        elif kind < 0.65 and st.st_size > 0:
            with open(path, "rb") as f:
                data = f.read()
            at = rng.randrange(len(data))
            new = os.path.dirname(path) + b"/.new"
            with open(new, "wb") as f:
                f.write(data[:at] + content(rng, rng.randrange(1, 3000)) + data[at:])
            os.rename(new, path)
        elif kind < 0.8:
            os.truncate(path, rng.randrange(0, st.st_size * 2 + 2))
        elif kind < 0.9:
            # same size, and the clock put back: only the change time tells
            if st.st_size > 0:
                with open(path, "r+b") as f:
                    f.seek(rng.randrange(st.st_size))
                    f.write(b"\0" if rng.random() < 0.5 else b"!")
                os.utime(path, ns=(st.st_mtime_ns, st.st_mtime_ns))
        else:
            with open(path, "wb") as f:
                f.write(self.data())


def small_tree(top, rng, files=30, length=3000):
    """A plain tree, quickly made: for faults that do not hang on what files are."""
    os.makedirs(top)
    for n in range(files):
        place = os.path.join(top, "d%d" % (n % 4))
        os.makedirs(place, exist_ok=True)
        with open(os.path.join(place, "f%d" % n), "wb") as f:
            f.write(content(rng, rng.randrange(0, length)))
    return top


# ---- comparing ----

def snapshot(top, attributes=True):
    """Everything that must come back: {path: facts}. Paths are bytes, b"" is the top."""
    out, inodes = {}, {}
    top = os.fsencode(top)
    st = os.lstat(top)
    if not stat.S_ISDIR(st.st_mode):
        place = os.open(os.path.dirname(top), os.O_RDONLY | os.O_DIRECTORY)
        out[b""] = _facts(place, os.path.basename(top), st, b"", inodes, attributes)
        os.close(place)
        return out
    fd = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    out[b""] = _facts(fd, b".", st, b"", inodes, attributes)
    _snapshot(fd, b"", out, inodes, attributes)
    os.close(fd)
    return out


def _snapshot(fd, prefix, out, inodes, attributes):
    for name in sorted(os.listdir(b"/proc/self/fd/%d" % fd)):
        st = os.stat(name, dir_fd=fd, follow_symlinks=False)
        path = prefix + name
        out[path] = _facts(fd, name, st, path, inodes, attributes)
        if stat.S_ISDIR(st.st_mode):
            below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            _snapshot(below, path + b"/", out, inodes, attributes)
            os.close(below)


def _facts(fd, name, st, path, inodes, attributes):
    facts = {"type": stat.S_IFMT(st.st_mode)}
    if stat.S_ISREG(st.st_mode):
        facts["size"] = st.st_size
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd)
        digest = hashlib.sha256()
        while True:
            part = os.read(file, MIB)
            if not part:
                break
            digest.update(part)
        facts["content"] = digest.hexdigest()
        os.close(file)
    elif stat.S_ISLNK(st.st_mode):
        facts["target"] = os.readlink(name, dir_fd=fd)
    elif stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        facts["device"] = st.st_rdev
    if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
        facts["same as"] = inodes.setdefault((st.st_dev, st.st_ino), path)
        facts["links"] = st.st_nlink
    if not attributes:
        if stat.S_ISREG(st.st_mode):
            facts["executable"] = bool(st.st_mode & 0o100)
        return facts
    facts["mode"] = oct(stat.S_IMODE(st.st_mode))
    facts["owner"] = (st.st_uid, st.st_gid)
    facts["mtime"] = st.st_mtime_ns
    place = b"/proc/self/fd/%d/" % fd + name
    facts["xattrs"] = sorted((n, os.getxattr(place, n, follow_symlinks=False))
                             for n in os.listxattr(place, follow_symlinks=False))
    if stat.S_ISREG(st.st_mode):
        facts["holes"] = st.st_blocks * 512 + 4096 < st.st_size
        facts["blocks"] = st.st_blocks
    return facts


def differences(want, got, limit=12):
    out = []
    for path in sorted(set(want) | set(got)):
        if path not in got:
            out.append("%r is missing" % path)
        elif path not in want:
            out.append("%r was not there" % path)
        else:
            a, b = dict(want[path]), dict(got[path])
            # A hole may become larger (a block of zeros), never smaller by more than rounding.
            holes, more = a.pop("holes", False), b.pop("holes", False)
            blocks, taken = a.pop("blocks", 0), b.pop("blocks", 0)
            if holes and taken > blocks + 64:
                out.append("%r: takes %d blocks, not %d" % (path, taken, blocks))
            if more and not holes:
                out.append("%r: has holes that it had not" % path)
            for fact in sorted(set(a) | set(b)):
                if a.get(fact) != b.get(fact):
                    out.append("%r: %s is %r, not %r" % (path, fact, b.get(fact), a.get(fact)))
        if len(out) >= limit:
            out.append("...")
            break
    return out


def same(want, got, what):
    found = differences(want, got)
    need(not found, what + " differs:\n" + "\n".join(found))


def comes_back(store, spec, want, place, attributes=True, more=()):
    """Restores `spec` to a fresh place and compares it with a snapshot."""
    wipe(place)
    ran(0, store, *more, "get", spec, place)
    same(want, snapshot(place, attributes), spec)
    wipe(place)


def store_bytes(store, parts=("packs", "journal")):
    total = 0
    for part in parts:
        for place, _, files in os.walk(os.path.join(store, part)):
            for name in files:
                try:
                    total += os.lstat(os.path.join(place, name)).st_size
                except FileNotFoundError:
                    pass
    return total


def without_reserve(store):
    """The room kept for a full disk only makes copies slow; a store without it is a store."""
    path = os.path.join(store, "reserve")
    if os.path.lexists(path):
        os.unlink(path)


def truth(store):
    """What the store says apart from what may be rebuilt: {path: sha256}."""
    out = {}
    for place, dirs, files in os.walk(store):
        if place == store:
            dirs[:] = [d for d in dirs if d not in ("index", "tmp")]
        for name in files:
            path = os.path.join(place, name)
            if name == "lock":
                continue
            with open(path, "rb") as f:
                out[os.path.relpath(path, store)] = hashlib.sha256(f.read()).hexdigest()
    return out


__all__ = [n for n in dir() if not n.startswith("_")]
