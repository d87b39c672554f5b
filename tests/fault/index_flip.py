#!/usr/bin/env python3
# Bytes of index/data.mdb and lock.mdb are changed, one at a time: each command ends with the right
# answer (the index is rebuilt by itself), or with exit 4 and one line. Never a wrong answer, a
# hang, or a death by signal. All of them with FAULT_FULL; else every page's head and a sample.
# TIMEOUT: 14000
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *
import threading

PLACE = in_memory()
STORE, TOP, MORE = (os.path.join(PLACE, n) for n in ("store", "tree", "more"))
BUDGET = float(os.environ.get("FAULT_BUDGET") or (7200 if FULL else 40))
COMMANDS = [("ls", "-R", "t//"), ("ls",), ("log", "t"), ("get", "t", "-V"), ("cat", "s"), ("check",), ("find", "f1*"), ("status",)]


def make():
    rng = random.Random(SEED)
    small_tree(TOP, rng, files=20, length=2000)
    put(STORE, "t", TOP)
    with open(os.path.join(TOP, "d1", "f1"), "ab") as f:
        f.write(b"more\n")
    put(STORE, "t", TOP)
    ran(0, STORE, "put", "s", "-", stdin=rng.randbytes(150000))
    ran(0, STORE, "put", "gone", "-", stdin=b"gone")
    ran(0, STORE, "rm", "gone")
    without_reserve(STORE)
    shutil.copytree(TOP, MORE)
    with open(os.path.join(MORE, "new"), "wb") as f:
        f.write(b"new\n" * 100)


def command(store, args):
    if args[0] == "get":
        return run(store, "get", "t", "--verify-only", "-q", hang=5)
    return run(store, *args, hang=5)


def judge(store, args, right, where):
    done = command(store, args)
    if args[0] == "status" and done.code == 0:
        done.out = done.out[:0]
    if done.code == 4:
        need(len(done.err.splitlines()) >= 1 and done.err.startswith(b"larder: "), where, "not one line:", done)
        need(args[0] == "check" or len(done.err.splitlines()) <= 2, where, "not one line:", done)
        return 4
    need(done.code == right.code, where, done)
    if args[0] != "check":
        need(done.out == right.out, where, "A WRONG ANSWER:", done, "\nright:", right)
    return 5 if b"rebuilt" in done.err else 0


def flip(path, at, how):
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(1)[0]
        f.seek(at)
        f.write(bytes([how(old)]))


HOWS = [lambda b: b ^ 0x01, lambda b: b ^ 0x80, lambda b: b ^ 0xff, lambda b: (b + 1) & 255, lambda b: 0 if b else 0x5a]


def flips(name):
    path = os.path.join(STORE, "index", name)
    with open(path, "rb") as f:
        good = f.read()
    rights = {args: command(STORE, args) for args in COMMANDS}
    for args, right in rights.items():
        need(right.code == 0, right)
        if args[0] == "status":
            right.out = right.out[:0]
    want = snapshot(MORE)
    rng = random.Random(SEED)
    if name == "data.mdb":
        points = list(range(len(good)))
        if not FULL:
            points = list(range(0, 300)) + list(range(4096, 4096 + 300))
            points += [p * 4096 + o for p in range(2, len(good) // 4096) for o in range(0, 24)]
            points = rng.sample(points, len(points)) + [rng.randrange(len(good)) for _ in range(20000)]
        else:
            rng.shuffle(points)
    else:
        points = list(range(min(len(good), 4096))) if FULL else rng.sample(range(min(len(good), 4096)), 300)
    started, tally, problems, lock = time.monotonic(), {}, [], threading.Lock()
    budget = BUDGET * (0.85 if name == "data.mdb" else 0.15)
    todo = list(reversed(points))

    def worker(number):
        # A copy is another store to the writer file; reading does not mind, putting draws a writer.
        store = os.path.join(PLACE, "w%d.%s" % (number, name))
        count, dirty = 0, True
        mine = random.Random(SEED + number)
        while True:
            with lock:
                if problems or not todo or time.monotonic() - started > budget:
                    break
                at = todo.pop()
            count += 1
            if dirty:
                shutil.rmtree(store, ignore_errors=True)
                shutil.copytree(STORE, store, symlinks=True)
                dirty = False
            how = mine.randrange(len(HOWS))
            victim = os.path.join(store, "index", name)
            where = "byte %d of %s, way %d:" % (at, name, how)
            try:
                chosen = mine.sample(COMMANDS, 2)
                result = 0
                for args in chosen:
                    # each command meets the damage itself
                    if result:
                        shutil.rmtree(store)
                        shutil.copytree(STORE, store, symlinks=True)
                    with open(victim, "wb") as f:
                        f.write(good)
                    flip(victim, at, HOWS[how])
                    result = judge(store, args, rights[args], where)
                    if result == 4:
                        again = judge(store, args, rights[args], where + " the command after exit 4:")
                        need(again != 4, where, "exit 4 twice")
                    with lock:
                        tally[result] = tally.get(result, 0) + 1
                    dirty = dirty or result != 0
                if count % 8 == 0:
                    dirty = True
                    with open(victim, "wb") as f:
                        f.write(good)
                    flip(victim, at, HOWS[how])
                    done = run(store, "put", "t", MORE, hang=5)
                    need(done.code in (0, 4), where, done)
                    if done.code == 4:
                        need(len(done.err.splitlines()) <= 2, where, done)
                        done = run(store, "put", "t", MORE, hang=5)
                    need(done.code == 0, where, "the put after:", done)
                    back = os.path.join(PLACE, "back%d" % number)
                    for _ in range(2):
                        wipe(back)
                        got = run(store, "get", "t", back, hang=5)
                        if got.code == 0:
                            break
                        need(got.code == 4, where, got)
                    need(got.code == 0, where, "after the put:", got)
                    same(want, snapshot(back), where + " put and got")
                    checked = run(store, "check", "--read", hang=5)
                    if checked.code == 4:  # what is left of the damage, told; then it is rebuilt
                        checked = run(store, "check", "--read", hang=5)
                    need(checked.code == 0, where, "after the put:", checked)
            except Exception as what:
                with lock:
                    problems.append("%s" % (what if isinstance(what, Failed) else where + traceback.format_exc()))
                return
        wipe(store)

    threads = [threading.Thread(target=worker, args=(n,)) for n in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if problems:
        raise Failed("\n".join(problems[:3]))
    return "%d of %d bytes tried; %d answers right, %d after a rebuild, %d times exit 4" % (
        len(points) - len(todo), len(good), tally.get(0, 0), tally.get(5, 0), tally.get(4, 0))


tap = Tap()
make()
tap.case("changed bytes of data.mdb", flips, "data.mdb")
tap.case("changed bytes of lock.mdb", flips, "lock.mdb")
finish(tap)
