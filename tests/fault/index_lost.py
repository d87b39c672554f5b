#!/usr/bin/env python3
# The index is gone, old, foreign or of a copy: every command rebuilds it by itself, with one line
# of notice, and answers as before.
# TIMEOUT: 600
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *

PLACE = in_memory()
STORE, TOP = os.path.join(PLACE, "store"), os.path.join(PLACE, "tree")
OTHER = os.path.join(PLACE, "other")


def answers(store):
    out = []
    for args in (("ls",), ("ls", "-R", "-l", "a//"), ("ls", "-R", "a@1//"), ("log", "a"), ("log", "b"), ("diff", "a@1", "a@2"),
                 ("find", "*"), ("check",), ("check", "--read"), ("similar", "a"), ("cat", "a//fixed"),
                 ("get", "b", "-"), ("get", "a@1", "--verify-only", "-q")):
        done = run(store, *args)
        out.append((args, done.code, done.out))
    said = ran(0, store, "--json", "status").json()
    for volatile in ("index_bytes", "seconds", "last_check", "last_check_ns"):
        said.pop(volatile, None)
    out.append((("status",), 0, json.dumps(said, sort_keys=True)))
    return out


def equal(a, b):
    for (args, code, out), (_, code2, out2) in zip(a, b):
        if args[0] in ("check", "similar") and code == code2:
            continue
        need((code, out) == (code2, out2), "larder", " ".join(args), "was exit", code, shown(out) if isinstance(out, bytes) else out,
             "\nis exit", code2, shown(out2) if isinstance(out2, bytes) else out2)


def make():
    rng = random.Random(SEED)
    tree = Tree(rng, TOP, large=True)
    tree.fill(40)
    with open(os.path.join(TOP, "fixed"), "wb") as f:
        f.write(text(rng, 70000))
    put(STORE, "a", TOP)
    tree.change(5)
    with open(os.path.join(TOP, "fixed"), "ab") as f:
        f.write(b"more\n")
    put(STORE, "a", TOP)
    ran(0, STORE, "put", "b", "-", stdin=rng.randbytes(300000))
    ran(0, STORE, "put", "gone", "-", stdin=b"gone\n")
    ran(0, STORE, "put", "b", "-", stdin=rng.randbytes(5 * MIB))
    ran(0, STORE, "rm", "gone")
    ran(0, STORE, "rm", "b@1")
    put(OTHER, "x", TOP)


def noticed(done):
    lines = [l for l in done.err.splitlines() if l]
    need(len(lines) == 1 and b"index" in lines[0] and b"rebuilt" in lines[0], "not one line of notice:", done)


def any_command():
    """rm -rf index/, then each command in turn."""
    before = answers(STORE)
    want = snapshot(TOP)
    fixed = os.path.join(TOP, "fixed")
    commands = [("ls",), ("ls", "-R", "a//"), ("log", "a"), ("check",), ("check", "--read"), ("status",), ("find", "fixed"),
                ("diff", "a@1", "a@2"), ("similar", "a"), ("cat", "a//fixed"), ("get", "b", "-"),
                ("get", "a", os.path.join(PLACE, "g")), ("put", "a", TOP), ("rm", "a@1", "--dry-run"),
                ("put", "c", fixed, "--dry-run"), ("rm", "nothing")]
    for args in commands:
        wipe(os.path.join(STORE, "index"))
        done = ran((0, 3), STORE, *args)
        need((done.code == 3) == (args == ("rm", "nothing")), done)
        if done.code == 0:
            noticed(done)
        quiet = run(STORE, *args[:1], *args[1:]) if args[0] not in ("get",) else run(STORE, "ls")
        need(b"rebuilt" not in quiet.err, "rebuilt twice:", quiet)
    equal(before, answers(STORE))
    comes_back(STORE, "a@2", want, os.path.join(PLACE, "back"))
    return "%d commands" % len(commands)


def ways_of_losing():
    before = answers(STORE)
    index = os.path.join(STORE, "index")
    data = os.path.join(index, "data.mdb")
    keep = os.path.join(PLACE, "index.keep")

    def rubbish():
        with open(data, "wb") as f:
            f.write(random.randbytes(50000))

    def cut(length):
        os.truncate(data, length)

    def foreign():
        wipe(index)
        shutil.copytree(os.path.join(OTHER, "index"), index)

    def as_file():
        wipe(index)
        with open(index, "wb") as f:
            f.write(b"not a directory")

    size = os.path.getsize(data)
    ways = [("no data.mdb", lambda: os.unlink(data)), ("no lock.mdb", lambda: wipe(os.path.join(index, "lock.mdb"))),
            ("empty directory", lambda: (wipe(index), os.mkdir(index))), ("empty", lambda: cut(0)), ("one byte", lambda: cut(1)),
            ("one page", lambda: cut(4096)), ("two pages", lambda: cut(8192)), ("three pages", lambda: cut(12288)),
            ("half", lambda: cut(size // 2 & ~4095)), ("half and a bit", lambda: cut(size // 2 + 77)),
            ("one byte less", lambda: cut(size - 1)), ("one page less", lambda: cut(size - 4096)),
            ("rubbish", rubbish), ("of another store", foreign), ("half built", lambda: os.rename(index, index + ".new"))]
    for what, way in ways:
        way()
        done = run(STORE, "ls")
        need(done.code == 0, what + ":", done)
        need(len(done.err.splitlines()) <= 1, what, "more than one line:", done)
        try:
            equal(before, answers(STORE))
        except Failed as why:
            raise Failed("%s: %s" % (what, why))
    # as it was before the last writes: replayed, no notice needed, and right
    shutil.copytree(index, keep)
    ran(0, STORE, "put", "late", "-", stdin=b"late\n")
    ran(0, STORE, "rm", "late")
    ran(0, STORE, "put", "late", "-", stdin=b"later\n")
    after = answers(STORE)
    wipe(index)
    shutil.copytree(keep, index)
    equal(after, answers(STORE))
    need(ran(0, STORE, "cat", "late").out == b"later\n", "an old index answers for the new")
    # an index newer than the journal: the journal was put back from an old copy
    ran(0, STORE, "rm", "late")
    clean(STORE)
    return "%d ways" % len(ways)


def histories(count):
    """Operations at random; after each few, an index rebuilt answers as the one that grew."""
    for seed in range(SEED, SEED + count):
        rng = random.Random(seed)
        store = os.path.join(PLACE, "h")
        wipe(store)
        top = os.path.join(PLACE, "ht")
        wipe(top)
        tree = Tree(rng, top, large=False)
        tree.fill(8)
        ran(0, store, "init")
        for step in range(12):
            what = rng.random()
            name = rng.choice(["a", "b", "n/x", "n/y"])
            if what < 0.5:
                tree.change(2)
                ran(0, store, "put", name, top)
            elif what < 0.7:
                ran(0, store, "put", name, "-", stdin=content(rng, some_length(rng, False)))
            elif what < 0.85:
                ran((0, 3), store, "rm", name)
            else:
                ran((0, 3), store, "rm", "%s@%d" % (name, rng.randrange(1, 4)))
        def look():
            out = []
            for args in [("ls",), ("ls", "n"), ("find", "*"), ("find", "*", "--in", "n")] + [("log", n) for n in ("a", "b", "n/x", "n/y")]:
                done = run(store, "--json", *args)
                need(done.code in (0, 3), done)
                out.append((args, done.code, [l for l in done.out.splitlines() if b'"done"' not in l and b'"error"' not in l]))
            said = ran(0, store, "--json", "status").json()
            out.append({k: said[k] for k in ("names", "versions", "chunks", "bytes", "stored_bytes", "packs")})
            return out
        grown = look()
        if rng.random() < 0.5:
            wipe(os.path.join(store, "index"))
        else:
            ran(0, store, "reindex")
        rebuilt = look()
        for a, b in zip(grown, rebuilt):
            need(a == b, "FAULT_SEED=%d" % seed, "grown:", a, "\nrebuilt:", b)
        clean(store)
    return "%d histories" % count


def writers_of(store):
    return {n for n in os.listdir(os.path.join(store, "journal")) if os.path.isdir(os.path.join(store, "journal", n))}


def copies():
    """cp -a: both go on, each under a writer of its own."""
    copy = os.path.join(PLACE, "copy")
    subprocess.check_call(["cp", "-a", STORE, copy])
    had = writers_of(copy)
    before = answers(STORE)
    equal([a for a in before if a[0] != ("status",)], [a for a in answers(copy) if a[0] != ("status",)])
    need(writers_of(copy) == had, "reading alone drew a writer")
    for turn in range(3):
        for place in (STORE, copy):
            ran(0, place, "put", "turn", "-", stdin=b"turn %d of %s\n" % (turn, place.encode()))
    need(len(writers_of(copy)) == len(had) + 1, "the copy has writers", writers_of(copy), "had", had)
    need(writers_of(STORE) == had, "the original drew a writer")
    for place in (STORE, copy):
        need(ran(0, place, "cat", "turn").out == b"turn 2 of %s\n" % place.encode(), "turn")
        clean(place)
        wipe(os.path.join(place, "index"))
        need(ran(0, place, "cat", "turn@2").out == b"turn 1 of %s\n" % place.encode(), "turn")
        clean(place)
    # a copy of a copy, moved; and the first of all under another name
    again = os.path.join(PLACE, "again")
    subprocess.check_call(["cp", "-a", copy, again])
    wipe(copy)
    os.rename(again, copy)
    ran(0, copy, "put", "turn", "-", stdin=b"again\n")
    clean(copy)
    os.rename(STORE, STORE + ".moved")
    ran(0, STORE + ".moved", "put", "turn", "-", stdin=b"moved\n")
    clean(STORE + ".moved")
    os.rename(STORE + ".moved", STORE)
    # without the file, or with a broken one
    for broken in (b"", b"rubbish\n", None):
        path = os.path.join(copy, "writer")
        os.chmod(path, 0o600)
        if broken is None:
            os.unlink(path)
        else:
            with open(path, "wb") as f:
                f.write(broken)
        ran(0, copy, "put", "turn", "-", stdin=b"broken %r\n" % broken)
        need(ran(0, copy, "cat", "turn").out == b"broken %r\n" % broken, "turn")
        clean(copy)
    return "%d writers in the copy" % len(writers_of(copy))


tap = Tap()
make()
tap.case("a deleted index is rebuilt by any command, with one line", any_command)
tap.case("an index lost in any way is rebuilt and answers the same", ways_of_losing)
tap.case("a rebuilt index equals the one that grew", histories, 300 if FULL else 12)
tap.case("a copied store goes on under a writer of its own", copies)
finish(tap)
