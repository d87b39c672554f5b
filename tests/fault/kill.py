#!/usr/bin/env python3
# kill -9 at every point: by strace at the k-th call of each system call, and after random delays.
# After each: nothing acknowledged is lost, check is clean, the next put works and reuses.
# TIMEOUT: 3600
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *
import threading

PLACE = in_memory()
POINTS = int(os.environ.get("FAULT_POINTS") or (5000 if FULL else 1000))
BUDGET = float(os.environ.get("FAULT_BUDGET") or (3000 if FULL else 75))
SLACK = 3000
HAVE_STRACE = shutil.which("strace") is not None


class Line:
    """One store that lives through kills. Each round changes the tree, puts it and is killed."""

    def __init__(self, number):
        self.rng = random.Random(SEED * 1000 + number)
        self.base = os.path.join(PLACE, "line%d" % number)
        os.mkdir(self.base)
        self.stores = 0
        self.points = self.killed = self.deep = 0
        self.fresh()

    def fresh(self):
        self.store = os.path.join(self.base, "store%d" % self.stores)
        self.stores += 1
        self.top = os.path.join(self.base, "tree%d" % self.stores)
        small_tree(self.top, self.rng, files=24)
        self.acknowledged = []  # (version, snapshot)
        self.cost = 0

    def change(self):
        for _ in range(4):
            path = os.path.join(self.top, "d%d" % self.rng.randrange(4), "f%d" % self.rng.randrange(40))
            with open(path, "ab") as f:
                f.write(content(self.rng, self.rng.randrange(1, 3000)))
        self.last = snapshot(self.top)

    def cost_of_fresh(self, store):
        """What the same put costs where nothing was killed: an upper bound, in an empty store."""
        other = os.path.join(self.base, "cost")
        wipe(other)
        said = put(other, "t", self.top)
        wipe(other)
        return said["stored_bytes"]

    def command(self, inject):
        args = [LARDER, "-S", self.store, "-j", self.rng.choice(["1", "2"]), "put", "t", self.top]
        if inject:
            call, when = inject
            args = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call,
                    "-e", "inject=%s:signal=SIGKILL:when=%d" % (call, when)] + args
        return args

    def kill(self, args, delay):
        child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        if delay is not None:
            time.sleep(delay)
            child.kill()
        try:
            out, err = child.communicate(timeout=HANG)
        except subprocess.TimeoutExpired:
            child.kill()
            raise Failed("hangs: %s" % args)
        if child.returncode == 0:
            return True
        need(child.returncode in (-9, 137), "neither killed nor done:", Ran(args, child.returncode, out, err))
        self.killed += 1
        return False

    def verify(self, done, what):
        if done:
            log = ran(0, self.store, "--json", "log", "t").out.splitlines()
            self.acknowledged.append((json.loads(log[0])["version"], self.last))
        # depth 2: the one that recovers is killed too
        if self.rng.random() < 0.2:
            args = [LARDER, "-S", self.store, self.rng.choice(["ls", "check", "status"])]
            self.kill_any(args)
        if self.acknowledged:
            version, want = self.acknowledged[-1]
            comes_back(self.store, "t@%d" % version, want, os.path.join(self.base, "back"))
            if self.rng.random() < 0.1:
                version, want = self.rng.choice(self.acknowledged)
                comes_back(self.store, "t@%d" % version, want, os.path.join(self.base, "back"))
        checked = run(self.store, "check", "--read")
        if not self.acknowledged and checked.code == 3:
            pass
        else:
            need(checked.code == 0, "check is not clean:", checked)
        bound = self.cost_of_fresh(self.store) if self.rng.random() < 0.1 else None
        before = store_bytes(self.store)
        said = put(self.store, "t", self.top)
        # with a part of its chunks known, the others are grouped anew, and not always as well
        need(bound is None or said["stored_bytes"] <= 2 * bound + SLACK, "stored", said["stored_bytes"], "but a fresh put", bound)
        need(store_bytes(self.store) - before <= said["stored_bytes"] + 5000, "grew by", store_bytes(self.store) - before,
             "says", said["stored_bytes"])
        comes_back(self.store, "t@%d" % said["version"], self.last, os.path.join(self.base, "back"))
        if not said["unchanged"]:
            self.acknowledged.append((said["version"], self.last))

    def kill_any(self, args):
        child = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(self.rng.random() * 0.006)
        child.kill()
        child.wait()
        self.deep += 1

    def point(self, inject, delay, new_store):
        if new_store or len(self.acknowledged) > 60:
            wipe(self.store)
            wipe(self.top)
            self.fresh()
        self.change()
        done = self.kill(self.command(inject), delay)
        self.points += 1
        try:
            self.verify(done, inject or delay)
        except Failed as what:
            keep = os.path.join(folder("/tmp"), "store")
            shutil.copytree(self.store, keep, symlinks=True)
            _folders_keep(keep)
            raise Failed("after %s (%s): %s\nthe store is kept in %s" % (inject or "%.4f s" % delay, "killed" if not done else "done", what, keep))
        return done


def _folders_keep(path):
    import fault
    fault._folders[:] = [f for f in fault._folders if not path.startswith(f)]


def counts(new_store):
    """{system call: calls} of one put."""
    line = Line(900 + new_store)
    if not new_store:
        put(line.store, "t", line.top)
    line.change()
    out = os.path.join(line.base, "counts")
    subprocess.check_call(["strace", "-f", "-c", "-o", out, LARDER, "-S", line.store, "-j", "2", "put", "t", line.top],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    calls = {}
    with open(out, encoding="utf-8") as f:
        for row in f:
            parts = row.split()
            if len(parts) >= 5 and parts[3].isdigit() and parts[-1] != "total":
                calls[parts[-1]] = int(parts[3])
    wipe(line.base)
    return calls


def in_parallel(jobs, budget, work):
    """Two lines share the jobs until the budget is spent. Returns what was done."""
    lines, problems, lock = [Line(n + 10 * in_parallel.calls) for n in range(2)], [], threading.Lock()
    in_parallel.calls += 1
    started = time.monotonic()

    def worker(line):
        while True:
            with lock:
                if problems or not jobs or time.monotonic() - started > budget:
                    return
                job = jobs.pop()
            try:
                work(line, job)
            except Exception as what:
                with lock:
                    problems.append(what if isinstance(what, Failed) else Failed(traceback.format_exc()))
                return

    threads = [threading.Thread(target=worker, args=(l,)) for l in lines]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    for line in lines:
        wipe(line.base)
    if problems:
        raise problems[0]
    return "%d points, %d killed, %d of the recoveries killed too, %d points left for `make crash`, 0 lost" % (
        sum(l.points for l in lines), sum(l.killed for l in lines), sum(l.deep for l in lines), len(jobs))


in_parallel.calls = 0


def sweep(new_store, points, budget):
    if not HAVE_STRACE:
        raise Skipped("no strace")
    calls = counts(new_store)
    # execve and what the loader does are not ours to sweep more than once
    jobs = [(c, k) for c, n in sorted(calls.items()) if c not in ("execve", "exit_group") for k in range(1, min(n, 400) + 1)]
    total = len(jobs)
    random.Random(SEED).shuffle(jobs)
    jobs = jobs[-points:]
    dull = {}

    def work(line, job):
        call, k = job
        if k > dull.get(call, 1 << 30):
            return
        if line.point(job, None, new_store):
            # counters are per thread: beyond the busiest thread's there is nothing to hit
            line.survived = getattr(line, "survived", 0) + 1
            if k > 8:
                dull[call] = min(dull.get(call, 1 << 30), k * 2)

    return "%d calls; " % total + in_parallel(jobs, budget, work)


def at_random(points, budget):
    line = Line(990)
    times = []
    for _ in range(5):
        line.change()
        started = time.monotonic()
        put(line.store, "t", line.top)
        times.append(time.monotonic() - started)
    wipe(line.base)
    longest = sorted(times)[2] * 1.3
    rng = random.Random(SEED)
    jobs = [(rng.random() * longest, rng.random() < 0.15) for _ in range(points)]
    return "put takes %.1f ms; " % (1000 * sorted(times)[2]) + in_parallel(
        jobs, budget, lambda line, job: line.point(None, job[0], job[1]))


def others(budget):
    """The same for rm, reindex, the rebuilding of a lost index, and get (whose second try goes on)."""
    if not HAVE_STRACE:
        raise Skipped("no strace")
    rng = random.Random(SEED + 5)
    base = os.path.join(PLACE, "others")
    os.mkdir(base)
    store, top, back = (os.path.join(base, n) for n in ("store", "tree", "back"))
    small_tree(top, rng, files=20)
    put(store, "keep", top)
    want = snapshot(top)
    names = ["openat", "write", "pwrite64", "pwritev", "pwritev2", "fsync", "fdatasync", "rename", "renameat", "renameat2", "unlinkat", "unlink",
             "ftruncate", "mkdirat", "close", "fallocate", "pread64", "mmap", "fcntl", "msync", "linkat", "utimensat", "fchmod", "fchown"]
    jobs = [(cmd, c, k) for cmd in ("rm", "reindex", "ls", "get", "check") for c in names for k in range(1, 14)]
    rng.shuffle(jobs)
    started, done, killed, survived = time.monotonic(), 0, 0, set()
    for cmd, call, k in jobs:
        if time.monotonic() - started > budget:
            break
        if any((cmd, call, j) in survived for j in range(1, k + 1)):
            continue
        args = {"rm": ["rm", "victim"], "get": ["get", "keep", back]}.get(cmd, [cmd])
        if cmd == "rm":
            ran(0, store, "put", "victim", "-", stdin=b"%d" % k)
        if cmd == "ls":
            wipe(os.path.join(store, "index"))
        child = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e",
                                "inject=%s:signal=SIGKILL:when=%d" % (call, k), LARDER, "-S", store] + args,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=HANG)
        done += 1
        if child.returncode == 0:
            survived.add((cmd, call, k))
        else:
            need(child.returncode in (-9, 137), "larder", cmd, call, k, child.returncode, shown(child.stderr))
            killed += 1
        where = "after %s killed at %s %d:" % (cmd, call, k)
        if cmd == "get" and not os.path.lexists(back):
            ran(0, store, "get", "keep", back)
        if cmd == "get":
            same(want, snapshot(back), where)
            left = [n for n in os.listdir(base) if "larder-" in n]
            need(not left, where, "left behind", left)
            wipe(back)
        gone = run(store, "log", "victim")
        need(gone.code in (0, 3), where, gone)
        if cmd == "rm":
            need(child.returncode != 0 or gone.code == 3, where, "an acknowledged rm is forgotten:", gone)
        checked = run(store, "check", "--read")
        need(checked.code == 0, where, checked)
        comes_back(store, "keep", want, os.path.join(base, "back2"))
    wipe(base)
    return "%d points, %d killed" % (done, killed)


def large_puts(count):
    """Batches that were committed before the kill are not stored again."""
    base = os.path.join(PLACE, "large")
    os.mkdir(base)
    reused = []
    rng = random.Random(SEED + 7)
    files = 8
    for turn in range(count):
        top, store = os.path.join(base, "tree"), os.path.join(base, "store")
        wipe(top)
        wipe(store)
        os.mkdir(top)
        # one file in blocks, or eight
        per = 40 * MIB if turn % 2 else 320 * MIB
        for n in range(files if turn % 2 else 1):
            with open(os.path.join(top, "f%d" % n), "wb") as f:
                for _ in range(per // (8 * MIB)):
                    f.write(rng.randbytes(8 * MIB))
        total = 320 * MIB
        ran(0, store, "init")
        child = subprocess.Popen([LARDER, "-S", store, "put", "big", top], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        enough = rng.uniform(0.45, 0.9) * total
        while child.poll() is None and store_bytes(store, ("packs",)) < enough:
            time.sleep(0.001)
        child.kill()
        child.wait()
        packs = store_bytes(store, ("packs",))
        clean(store)
        said = put(store, "big", top)
        need(packs < total and said["stored_bytes"] <= total - packs + 2 * 64 * MIB + 8 * MIB,
             "packs when killed:", packs, "stored after:", said["stored_bytes"], "of", total)
        reused.append("%.0f %% of %.0f MiB" % (100 * (total * 1.0 - said["stored_bytes"]) / max(1, packs), packs / MIB))
        comes_back(store, "big", snapshot(top), os.path.join(base, "back"))
        clean(store)
    wipe(base)
    return "used again: " + ", ".join(reused)


tap = Tap()
tap.case("put, killed at the k-th system call", sweep, False, POINTS * 4 // 10, BUDGET * 0.35)
tap.case("the put that makes the store, killed at the k-th system call", sweep, True, POINTS * 2 // 10, BUDGET * 0.2)
tap.case("put, killed after a random time", at_random, POINTS * 4 // 10, BUDGET * 0.35)
tap.case("rm, reindex, rebuild, get, check, killed at the k-th system call", others, BUDGET * 0.15)
tap.case("a large put that was killed goes on where its last batch ended", large_puts, 12 if FULL else 2)
finish(tap)
