#!/usr/bin/env python3
# Eight processes in one store at once: overlapping trees, a store that none of them has made yet,
# readers and forgetters beside them, and some that are killed meanwhile.
# TIMEOUT: 900
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *

PLACE = in_memory()
EIGHT = 8


def overlapping(base, rng, files=60):
    """Eight trees: most files are everybody's, some are shared by neighbours, some are own."""
    common = [content(rng, some_length(rng, False)) for _ in range(files)]
    common += [rng.randbytes(5 * MIB + 12345)]
    tops = []
    for n in range(EIGHT):
        top = os.path.join(base, "tree%d" % n)
        for m, data in enumerate(common):
            if (m + n) % 8 == 0:
                continue
            if (m * 7 + n) % 5 == 0 and data:
                data = data[:len(data) // 2] + b"%d" % (n // 2) + data[len(data) // 2:]
            path = os.path.join(top, "d%d" % (m % 5), "f%d" % m)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "wb") as f:
                f.write(data)
        with open(os.path.join(top, "own"), "wb") as f:
            f.write(rng.randbytes(30000 + n))
        tops.append(top)
    return tops


def start(store, *args):
    return subprocess.Popen([LARDER, "-S", store] + list(args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)


def end(children, codes=(0,)):
    out = []
    deadline = time.monotonic() + 120
    try:
        for child in children:
            o, e = child.communicate(timeout=max(1, deadline - time.monotonic()))
            done = Ran(child.args[3:], child.returncode, o, e)
            need(child.returncode in codes, "beside others:", done)
            out.append(done)
    except subprocess.TimeoutExpired:
        raise Failed("hangs: %s" % child.args)
    finally:
        for child in children:
            if child.poll() is None:
                child.kill()
                child.wait()
    return out


def rounds(fresh, count):
    for seed in range(SEED, SEED + count):
        rng = random.Random(seed)
        base = os.path.join(PLACE, "r")
        wipe(base)
        os.mkdir(base)
        store, back = os.path.join(base, "store"), os.path.join(base, "back")
        tops = overlapping(base, rng)
        wants = [snapshot(top) for top in tops]
        if not fresh:
            ran(0, store, "init")
            put(store, "before", tops[0])
        end([start(store, "-j", str(rng.choice([1, 2])), "put", "own/%d" % n, tops[n]) for n in range(EIGHT)])
        for n in range(EIGHT):
            comes_back(store, "own/%d" % n, wants[n], back)
        # all eight as versions of one name
        said = [d.json() for d in end([start(store, "--json", "put", "shared", tops[n]) for n in range(EIGHT)])]
        need(sorted(s["version"] for s in said) == list(range(1, EIGHT + 1)), "versions", [s["version"] for s in said])
        for n in range(EIGHT):
            comes_back(store, "shared@%d" % said[n]["version"], wants[n], back)
        clean(store)
        # nothing is there twice but for what was under way at once
        names = ran(0, store, "ls").out.splitlines()
        need(len(names) == EIGHT + (1 if fresh else 2), "names:", names)
        wipe(os.path.join(store, "index"))
        for n in range(EIGHT):
            comes_back(store, "own/%d" % n, wants[n], back)
        clean(store)
        wipe(base)
    return "%d rounds" % count


def beside_others(count):
    """Putting, forgetting, looking, checking and rebuilding at once; some are killed."""
    killed = 0
    for seed in range(SEED, SEED + count):
        rng = random.Random(seed)
        base = os.path.join(PLACE, "m")
        wipe(base)
        os.mkdir(base)
        store, back = os.path.join(base, "store"), os.path.join(base, "back")
        tops = overlapping(base, rng, files=25)
        wants = [snapshot(top) for top in tops]
        for n in range(EIGHT):
            put(store, "keep/%d" % n, tops[n])
        for turn in range(4):
            children, victims = [], []
            for n in range(EIGHT):
                top = tops[(n + turn) % EIGHT]
                what = rng.choice(["put", "put", "put", "get", "check", "ls", "rm", "reindex"])
                args = {"put": ("put", "turn/%d" % n, top), "get": ("get", "keep/%d" % n, os.path.join(base, "g%d" % n)),
                        "check": ("check", "--read"), "ls": ("ls", "-R", "keep/%d//" % n),
                        "rm": ("rm", "turn/%d" % n), "reindex": ("reindex",)}[what]
                child = start(store, *args)
                (victims if rng.random() < 0.3 else children).append(child)
            for child in victims:
                time.sleep(rng.random() * 0.02)
                child.kill()
                child.communicate()
                killed += 1
            for done in end(children, (0, 1, 3, 6)):
                allowed = {"rm": (0, 3), "reindex": (0, 6)}.get(done.args[0], (0,))
                need(done.code in allowed, "beside others:", done)
            for n in range(EIGHT):
                wipe(os.path.join(base, "g%d" % n))
        for n in range(EIGHT):
            comes_back(store, "keep/%d" % n, wants[n], back)
        clean(store)
        put(store, "after", tops[0])
        comes_back(store, "after", wants[0], back)
        wipe(base)
    return "%d rounds, %d processes killed" % (count, killed)


def lost_index(count):
    """The index is gone, and eight processes find out at once: one builds, all answer, at once."""
    base = os.path.join(PLACE, "lost")
    wipe(base)
    os.mkdir(base)
    store = os.path.join(base, "store")
    top = small_tree(os.path.join(base, "tree"), random.Random(SEED), files=1500, length=4000)
    put(store, "t", top)
    want = snapshot(top)
    kinds = [("ls", "-R", "t//"), ("reindex",), ("check", "--read"), ("put", "u", top), ("log", "t"), ("status",)]
    for seed in range(count):
        rng = random.Random(SEED + seed)
        wipe(os.path.join(store, "index"))
        begun = time.monotonic()
        chosen = [kinds[0]] * EIGHT if seed == 0 else [kinds[1]] * EIGHT if seed == 1 else rng.choices(kinds, k=EIGHT)
        end([start(store, *args) for args in chosen])
        need(time.monotonic() - begun < 20, "they waited for one another:", time.monotonic() - begun, "s")
        clean(store)
    comes_back(store, "t", want, os.path.join(base, "back"))
    wipe(base)
    return "%d times" % count


tap = Tap()
tap.case("eight processes find at once that the index is gone", lost_index, 60 if FULL else 6)
tap.case("eight puts at once into a store that is not there yet", rounds, True, 20 if FULL else 3)
tap.case("eight puts at once into a store", rounds, False, 20 if FULL else 2)
tap.case("puts beside readers, forgetters, rebuilders and the killed", beside_others, 40 if FULL else 4)
finish(tap)
