#!/usr/bin/env python3
# A full disk at every stage, on tmpfs of many sizes; too few inodes; a limit on the size of files.
# One line, exit 1, the store opens and is right, and works again when there is room.
# TIMEOUT: 1800
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *
import resource

PLACE = folder()
DISK = os.path.join(PLACE, "disk")
TOP = os.path.join(PLACE, "tree")
RNG = random.Random(SEED)


def mount(options):
    os.makedirs(DISK, exist_ok=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", DISK], stderr=subprocess.PIPE).returncode:
        raise Skipped("cannot mount a tmpfs here")


def grow(options):
    subprocess.check_call(["mount", "-o", "remount," + options, DISK])


def unmount():
    subprocess.check_call(["umount", DISK])


def root_only():
    if not ROOT:
        raise Skipped("needs root")


def tree():
    if not os.path.exists(TOP):
        small_tree(TOP, RNG, files=40, length=20000)
        with open(os.path.join(TOP, "big"), "wb") as f:
            f.write(RNG.randbytes(6 * MIB))
    return TOP


def full_line(done):
    need(done.code == 1, "not exit 1:", done)
    one_line(done, "space", "full", "room", "inode", "too large", "quota", "limit")
    return done


def first_put(sizes):
    """The put that makes the store, on disks of many sizes."""
    root_only()
    top, want, failed = tree(), snapshot(tree()), 0
    for size in sizes:
        mount("size=%dk" % size)
        store = os.path.join(DISK, "store")
        try:
            done = run(store, "put", "t", top)
            if done.code != 0:
                failed += 1
                full_line(done)
            checked = run(store, "check", "--read")
            need(checked.code in (0, 3) or (checked.code == 1 and done.code == 1 and room(checked)),
                 "%d KiB: still full:" % size, checked)
            grow("size=200m")
            if os.path.exists(os.path.join(store, "config")):
                clean(store)
            ran(0, store, "put", "t", top)
            comes_back(store, "t", want, os.path.join(PLACE, "back"))
            clean(store)
        except Failed as what:
            raise Failed("%d KiB: %s" % (size, what))
        finally:
            unmount()
    need(0 < failed < len(sizes) or len(sizes) < 10, "failed", failed, "of", len(sizes))
    return "%d sizes, %d of them too small" % (len(sizes), failed)


def room(done):
    return any(w in done.err.lower() for w in (b"space", b"full", b"room"))


def fill(leave, name="filler"):
    """A file that takes all but `leave` bytes."""
    path = os.path.join(DISK, name)
    st = os.statvfs(DISK)
    free = st.f_bavail * st.f_frsize - leave
    with open(path, "wb") as f:
        if free > 0:
            os.posix_fallocate(f.fileno(), 0, free)
    return path


def later(leaves):
    """A store with an acknowledged version, then the disk fills up to all but a little."""
    root_only()
    top, rng = tree(), random.Random(SEED + 3)
    want = snapshot(top)
    outcomes = {}
    for leave in leaves:
        mount("size=300m")
        store = os.path.join(DISK, "store")
        try:
            ran(0, store, "put", "keep", top)
            ran(0, store, "put", "victim", "-", stdin=b"victim")
            more = os.path.join(PLACE, "more")
            wipe(more)
            shutil.copytree(top, more)
            with open(os.path.join(more, "new"), "wb") as f:
                f.write(rng.randbytes(3 * MIB))
            filler = fill(leave * 1024)
            steps = [("put", ("put", "keep", more)), ("put", ("put", "s", "-")), ("reindex", ("reindex",)), ("check", ("check", "--read")),
                     ("get", ("get", "keep@1", os.path.join(DISK, "back"))), ("rm", ("rm", "victim")), ("ls", ("ls",)),
                     ("put", ("put", "keep", more))]
            for what, args in steps:
                done = run(store, *args, stdin=rng.randbytes(100000) if args[-1] == "-" else None)
                outcomes[(what, done.code)] = outcomes.get((what, done.code), 0) + 1
                if done.code != 0:
                    full_line(done)
                    need(what not in ("ls", "check"), "reading fails on a full disk:", done)
                left = [n for n in os.listdir(DISK) if "larder-" in n]
                for name in left:  # the rest of a get: a second try may go on with it
                    wipe(os.path.join(DISK, name))
                wipe(os.path.join(DISK, "back"))
                checked = run(store, "check", "--read")
                need(checked.code == 0, "after", what, done, "\nstill full:", checked)
                comes_back(store, "keep@1", want, os.path.join(PLACE, "back"))
            # a lost index cannot be rebuilt without room: one line, and right again later
            wipe(os.path.join(store, "index"))
            again = fill(leave * 1024, "filler2")
            done = run(store, "ls")
            outcomes[("lost", done.code)] = outcomes.get(("lost", done.code), 0) + 1
            if done.code != 0:
                full_line(done)
            os.unlink(again)
            os.unlink(filler)
            clean(store)
            ran(0, store, "put", "keep", more)
            ran((0, 3), store, "rm", "victim")
            ran(0, store, "reindex")
            comes_back(store, "keep", snapshot(more), os.path.join(PLACE, "back"))
            clean(store)
            left = os.listdir(os.path.join(store, "tmp"))
            need(not left, "left behind in tmp/:", left)
        except Failed as what:
            raise Failed("%d KiB free: %s" % (leave, what))
        finally:
            unmount()
    return ", ".join("%s exit %s: %d" % (k[0], k[1], v) for k, v in sorted(outcomes.items()))


def inodes(counts):
    root_only()
    top, want, failed = tree(), snapshot(tree()), 0
    for count in counts:
        mount("size=200m,nr_inodes=%d" % count)
        store = os.path.join(DISK, "store")
        try:
            done = run(store, "put", "t", top)
            if done.code != 0:
                failed += 1
                full_line(done)
            checked = run(store, "check", "--read")
            need(checked.code in (0, 3) or (checked.code in (1, 2) and done.code == 1), "still full:", checked)
            grow("nr_inodes=5000")
            ran(0, store, "put", "t", top)
            comes_back(store, "t", want, os.path.join(PLACE, "back"))
            clean(store)
        except Failed as what:
            raise Failed("%d inodes: %s" % (count, what))
        finally:
            unmount()
    return "%d counts, %d of them too small" % (len(counts), failed)


def file_sizes(limits):
    """ulimit -f"""
    top, want, failed = tree(), snapshot(tree()), 0
    for limit in limits:
        store = os.path.join(PLACE, "limited")
        wipe(store)

        def limited():
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        try:
            for args in (("put", "t", top), ("put", "t", top), ("ls",), ("check", "--read"), ("reindex",), ("rm", "t"), ("put", "u", top)):
                done = run(store, *args, before=limited)
                if done.code not in (0, 3):
                    failed += 1
                    full_line(done)
                if os.path.exists(os.path.join(store, "config")):
                    clean(store)
            ran(0, store, "put", "t", top)
            comes_back(store, "t", want, os.path.join(PLACE, "back"))
            clean(store)
        except Failed as what:
            raise Failed("limit %d: %s" % (limit, what))
    return "%d limits, %d commands failed" % (len(limits), failed)


def restore_target():
    """get to a disk that is too small: one line, nothing in place, and the second try works."""
    root_only()
    top, want = tree(), snapshot(tree())
    store = os.path.join(PLACE, "store")
    ran(0, store, "put", "t", top)
    for size in (64, 512, 1024, 3000, 6000, 6600):
        mount("size=%dk" % size)
        back = os.path.join(DISK, "back")
        try:
            done = run(store, "get", "t", back)
            if done.code:
                full_line(done)
                need(not os.path.exists(back), "half a tree is in place")
            grow("size=100m")
            if done.code:
                ran(0, store, "get", "t", back)
            same(want, snapshot(back), "the second try at %d KiB" % size)
            need(os.listdir(DISK) == ["back"], "left behind:", os.listdir(DISK))
        finally:
            unmount()
        out = run(store, "get", "t//big", "/dev/full")
        need(out.code != 0, out)
    with open("/dev/full", "wb") as f:
        child = subprocess.run([LARDER, "-S", store, "cat", "t//big"], stdout=f, stderr=subprocess.PIPE)
        need(child.returncode == 1 and len(child.stderr.splitlines()) == 1, "cat to a full device:", child)


def spread(low, high, count):
    return sorted({int(low * (high / low) ** (n / (count - 1))) for n in range(count)})


tap = Tap()
N = 50 if FULL else 14
tap.case("the first put, on disks of many sizes", first_put, spread(8, 30000, N))
tap.case("every command on a disk that filled up later", later, [0] + spread(4, 8000, 30 if FULL else 8))
tap.case("too few inodes", inodes, spread(4, 700, 60 if FULL else 12))
tap.case("a limit on the size of files", file_sizes, spread(1, 10 * MIB, 40 if FULL else 10))
tap.case("restoring to a disk that is too small", restore_target)
finish(tap)
