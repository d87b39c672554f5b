#!/usr/bin/env python3
# What goes in comes out: random trees of everything that a file system holds, changed and put
# again, each version restored and compared fact by fact; streams around the borders of blocks.
# TIMEOUT: 900
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *

PLACE, STORES = folder(), in_memory()


def histories(first, count):
    """Each: a store, a tree, three changes; four versions come back, with several numbers of workers."""
    versions = entries = 0
    for seed in range(first, first + count):
        rng = random.Random(seed)
        base = os.path.join(PLACE, "h%d" % seed)
        wipe(base)
        os.mkdir(base)
        store, top, back = os.path.join(STORES, "h%d" % seed), os.path.join(base, "tree"), os.path.join(base, "back")
        wipe(store)
        try:
            tree = Tree(rng, top, large=rng.random() < 0.5)
            tree.fill(rng.choice([0, 1, 5, 30, 80]))
            if rng.random() < 0.7:
                tree.decorate(tree.top)
            wants = []
            for round_ in range(4):
                if round_:
                    tree.change(rng.randrange(1, 12))
                jobs = ("-j", str(rng.choice([1, 2, 4])))
                want = snapshot(top)
                said = ran(0, store, *jobs, "--json", "put", "t", top).json()
                if not wants or differences(wants[-1], want):
                    if said["unchanged"]:
                        raise Failed("a change was not seen: %s" % differences(wants[-1], want))
                    wants.append(want)
                need(said["version"] == len(wants), "version", said["version"], "not", len(wants))
                again = ran(0, store, "--json", "put", "t", top).json()
                need(again["unchanged"] and again["id"] == said["id"], "the same tree is not the same:", again)
                other = ran(0, store, "--json", "put", "other/%d" % round_, top).json()
                need(other["id"] == said["id"] and other["new_bytes"] == 0, "under another name:", other, said)
            for number, want in enumerate(wants, 1):
                comes_back(store, "t@%d" % number, want, back, more=("-j", str(rng.choice([1, 2, 4]))))
                versions += 1
                entries += len(want)
            if len(wants) > 1:
                ran(0, store, "get", "t@1", back)
                said = ran(0, store, "--json", "put", "back", back).json()
                first_id = ran(0, store, "--json", "put", "back", back).json()
                need(first_id["unchanged"], "what came back is put twice:", first_id)
                diff = ran(0, store, "diff", "t@1", "back")
                need(not diff.out, "what came back differs:", diff)
                wipe(back)
            clean(store)
        except Failed as what:
            raise Failed("FAULT_SEED=%d: %s" % (seed, what))
        except Exception:
            raise Failed("FAULT_SEED=%d: %s" % (seed, traceback.format_exc()))
        wipe(base)
        wipe(store)
    return "%d histories, %d versions, %d entries compared" % (count, versions, entries)


def streams():
    rng = random.Random(SEED)
    place = STORES
    store = os.path.join(place, "streams")
    sizes = [0, 1, 65535, 65536, 65537, 256 * 1024 - 1, 256 * 1024, 256 * 1024 + 1] + LARGE_BORDERS
    if FULL:
        sizes += [12 * MIB + d for d in (-262145, -262144, -1, 0, 1, 262143, 262145)] + [64 * MIB - 1, 64 * MIB + 1]
    base = content(rng, max(sizes)) if rng.random() < 0.5 else rng.randbytes(max(sizes))
    path = os.path.join(place, "bytes")
    for size in sizes:
        for data in (base[:size], text(rng, size), bytes(size)):
            piped = ran(0, store, "--json", "put", "stream", "-", stdin=data).json()
            with open(path, "wb") as f:
                f.write(data)
            filed = ran(0, store, "--json", "put", "file", path).json()
            need(piped["id"] == filed["id"], size, "bytes: a stream is", piped, "and a file", filed)
            need(piped["bytes"] == size, size, "bytes:", piped)
            for spec in ("stream", "file"):
                got = ran(0, store, "get", spec, "-").out
                need(got == data, size, "bytes of", spec, "come back as", len(got))
            back = os.path.join(place, "back")
            ran(0, store, "get", "file", back)
            same(snapshot(path, False), snapshot(back, False), "file of %d bytes" % size)
            os.unlink(back)
    # what arrives in odd pieces is cut the same
    data = base[:4 * MIB + 70001]
    whole = ran(0, store, "--json", "put", "whole", "-", stdin=data).json()
    child = subprocess.Popen([LARDER, "-S", store, "--json", "put", "pieces", "-"], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    at = 0
    while at < len(data):
        step = rng.choice([1, 7, 4095, 65536, 300001])
        child.stdin.write(data[at:at + step])
        child.stdin.flush()
        at += step
    child.stdin.close()
    pieces = json.loads(child.stdout.read().splitlines()[-1])
    child.wait()
    need(pieces["id"] == whole["id"], "pieces", pieces, "whole", whole)
    clean(store)
    return "%d sizes" % len(sizes)


def single_files():
    """A file alone keeps its attributes; a link, a fifo, a device alone too, or are refused in one line."""
    rng = random.Random(SEED + 1)
    store, back = os.path.join(STORES, "single"), os.path.join(PLACE, "single.back")
    for n in range(20):
        path = os.path.join(PLACE, "single.%d" % n)
        with open(path, "wb") as f:
            f.write(content(rng, some_length(rng, True)))
        Tree(rng, PLACE).decorate(os.fsencode(path))
        want = snapshot(path, False)
        put(store, "one/%d" % n, path)
        wipe(back)
        ran(0, store, "get", "one/%d" % n, back)
        got = snapshot(back, False)
        for facts in (want[b""], got[b""]):
            facts.pop("executable", None)
        same(want, got, "one/%d" % n)
        os.unlink(back)
    return "20 files"


def too_deep():
    """What is deeper than the format allows is named, left out, and the rest is there."""
    store, top = os.path.join(STORES, "deep"), os.path.join(PLACE, "deep")
    back = os.path.join(PLACE, "deep.back")
    for length, steps, fits in ((150, 40, False), (250, 17, False), (1, 255, True), (1, 300, None), (250, 16, True)):
        wipe(top)
        rng = random.Random(length)
        tree = Tree(rng, top, large=False, strange=False)
        tree.deep(length, steps)
        with open(os.path.join(top, "zzz"), "wb") as f:
            f.write(b"rest\n")
        done = ran((0, 5) if fits is None else 0 if fits else 5, store, "put", "deep", top)
        fits = done.code == 0
        need(fits or len(done.err.splitlines()) == 1, length, steps, "not one line:", done)
        wipe(back)
        ran(0, store, "get", "deep", back)
        with open(os.path.join(back, "zzz"), "rb") as f:
            need(f.read() == b"rest\n", "the rest")
        if fits:
            same(snapshot(top), snapshot(back), "%d directories of %d bytes" % (steps, length))
        wipe(back)
        clean(store)
    wipe(top)


def changes_while_read():
    """A file that changes while it is read: exit 5, named, stored as read."""
    store, path = os.path.join(STORES, "changing"), os.path.join(PLACE, "tree.changing")
    os.mkdir(path)
    victim = os.path.join(path, "log")
    with open(victim, "wb") as f:
        f.truncate(0)
        for n in range(48):
            f.write(random.Random(n).randbytes(MIB))
    with open(os.path.join(path, "still"), "wb") as f:
        f.write(b"still\n")
    seen = 0
    for _ in range(20):
        child = subprocess.Popen([LARDER, "-S", store, "-j", "1", "put", "c", path], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        while child.poll() is None:
            with open(victim, "r+b") as f:
                f.seek(random.randrange(48 * MIB))
                f.write(b"changed")
        out, err = child.communicate()
        need(child.returncode in (0, 5), "exit", child.returncode, shown(err))
        if child.returncode == 5:
            seen += 1
            need(b"log" in err and b"changed" in err, "not named:", shown(err))
            need(b"still" not in err, "too much named:", shown(err))
            back = os.path.join(PLACE, "changing.back")
            ran(0, store, "get", "c", back)
            need(os.path.getsize(os.path.join(back, "log")) == 48 * MIB, "size")
            wipe(back)
        if seen == 3:
            break
    need(seen > 0, "no put of a changing file ended with exit 5 in 20 tries")
    clean(store)
    # grown and cut short under the reader
    for action in ("grow", "cut", "small"):
        if action == "small":
            with open(victim, "wb") as f:
                f.write(b"x" * 30000)
        child = subprocess.Popen([LARDER, "-S", store, "-j", "1", "put", "c", path], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE)
        n = 0
        while child.poll() is None:
            with open(victim, "r+b") as f:
                n += 1
                size = 48 * MIB if action != "small" else 30000
                f.truncate(size + n if action == "grow" else max(0, size - n * 4096))
        out, err = child.communicate()
        need(child.returncode in (0, 5), action, "exit", child.returncode, shown(err))
        back = os.path.join(PLACE, "changing.back")
        ran(0, store, "get", "c", back)
        wipe(back)
    # afterwards the next put sees the truth, whatever the cache has seen
    put(store, "c", path)
    want = snapshot(path)
    comes_back(store, "c", want, os.path.join(PLACE, "changing.back"))
    clean(store)
    return "%d of the puts saw the change" % seen


tap = Tap()
count = int(os.environ.get("FAULT_COUNT") or (400 if FULL else 15))
if os.environ.get("FAULT_SEED"):
    tap.case("one history", histories, SEED, int(os.environ.get("FAULT_COUNT") or 1))
else:
    tap.case("random trees come back, version by version", histories, SEED, count)
tap.case("streams and files of sizes around borders are the same and come back", streams)
tap.case("files put alone come back", single_files)
tap.case("directories that are too deep are named", too_deep)
tap.case("a file that changes while it is read is named and stored as read", changes_while_read)
finish(tap)
