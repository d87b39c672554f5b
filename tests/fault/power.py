#!/usr/bin/env python3
# The power goes: ext4 on a loop mount is shut down without flushing its log, while two writers
# work. What was acknowledged to the outside is there after the next mount.
# TIMEOUT: 3600
import sys, os
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from fault import *
import fcntl
import struct
import threading

SHUTDOWN = 0x8004587D  # _IOR('X', 125, uint32_t)
NO_LOG_FLUSH = 2
CYCLES = int(os.environ.get("FAULT_CYCLES") or (500 if FULL else 40))


class Disk:
    def __init__(self, place):
        if not ROOT:
            raise Skipped("needs root")
        if not shutil.which("mkfs.ext4") or not os.path.exists("/dev/loop-control"):
            raise Skipped("no loop device or no mkfs.ext4")
        self.image, self.point = os.path.join(place, "image"), os.path.join(place, "disk")
        os.makedirs(self.point, exist_ok=True)

    def make(self, options):
        self.options = options
        with open(self.image, "wb") as f:
            f.truncate(256 * MIB)
        subprocess.check_call(["mkfs.ext4", "-q", "-F", "-O", "^metadata_csum_seed", self.image], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL)
        self.mount()

    def mount(self):
        done = subprocess.run(["mount", "-o", "loop" + self.options, self.image, self.point], stderr=subprocess.PIPE)
        if done.returncode:
            raise Skipped("cannot mount a loop device: %s" % shown(done.stderr).strip())

    def cut(self):
        fd = os.open(self.point, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def unmount(self):
        for _ in range(50):
            if subprocess.run(["umount", self.point], stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.02)
        raise Failed("the disk cannot be unmounted")


def stream_of(name, number):
    rng = random.Random("%d %s %d" % (SEED, name, number))
    return content(rng, rng.choice([0, 10, 3000, 65537, 200000, 2 * MIB if number % 7 == 0 else 500]))


def cycles(count):
    place = in_memory()
    disk = Disk(place)
    kept = {}       # name -> number acknowledged
    versions = {}   # (name, version) -> number
    removed = set()  # names whose removal was acknowledged
    trees = {}      # version of "tree" -> snapshot
    acknowledged = lost = 0
    rng = random.Random(SEED)
    store = os.path.join(disk.point, "store")
    top = os.path.join(place, "tree")
    tree = Tree(rng, top, large=False, strange=False)
    tree.fill(15)
    number = 0
    for cycle in range(count):
        if cycle % 10 == 0:
            if cycle:
                disk.unmount()
            disk.make("" if cycle % 20 == 0 else ",data=writeback,noauto_da_alloc")
            kept, versions, removed, trees = {}, {}, set(), {}
        off = threading.Event()
        notes = []

        def streams(name, first):
            n = first
            while not off.is_set():
                done = run(store, "--json", "put", name, "-", stdin=stream_of(name, n))
                if done.code != 0:
                    notes.append(("failed", name, done))
                    return
                said = done.json()
                notes.append(("put", name, said["version"], n))
                if n % 9 == 0:
                    victim = "rm/%s-%d" % (name, n)  # each writer its own: the other would put it again
                    if run(store, "put", victim, "-", stdin=b"%d" % n).code == 0 and run(store, "rm", victim).code == 0:
                        notes.append(("rm", victim))
                n += 1

        def directories():
            for _ in range(400):
                if off.is_set():
                    return
                tree.change(2)
                want = snapshot(top)
                done = run(store, "--json", "put", "tree", top)
                if done.code != 0:
                    notes.append(("failed", "tree", done))
                    return
                notes.append(("tree", done.json()["version"], want))

        threads = [threading.Thread(target=streams, args=("s%d" % n, number * 1000)) for n in range(2)]
        threads.append(threading.Thread(target=directories))
        number += 1
        for t in threads:
            t.start()
        time.sleep(0.02 + rng.random() * 0.45)
        disk.cut()
        held = list(notes)  # acknowledged before the cut, and what slips in just then counts too
        off.set()
        for t in threads:
            t.join()
        for note in notes:
            if note[0] == "failed":
                need(note[2].code in (1, 4) and len(note[2].err.splitlines()) == 1, "while the disk was gone:", note[2])
            elif note[0] == "put":
                versions[(note[1], note[2])] = note[3]
                acknowledged += 1
            elif note[0] == "rm":
                removed.add(note[1])
                acknowledged += 1
            else:
                trees[note[1]] = note[2]
                acknowledged += 1
        disk.unmount()
        disk.mount()
        if not versions and not trees:
            need(run(store, "check", "--read").code in (0, 3), run(store, "check", "--read"))
            continue
        try:
            clean(store)
            recent = sorted(versions)[-6:] + rng.sample(sorted(versions), min(6, len(versions)))
            for name, version in recent:
                got = ran(0, store, "get", "%s@%d" % (name, version), "-").out
                need(got == stream_of(name, versions[(name, version)]), name, version, "comes back wrong")
            for name in ("s0", "s1"):
                mine = {v for n, v in versions if n == name}
                if mine:
                    log = ran(0, store, "--json", "log", name).out.splitlines()
                    there = {json.loads(l)["version"] for l in log if b'"done"' not in l}
                    need(mine <= there, name, "versions lost:", sorted(mine - there))
            for name in removed:
                need(run(store, "log", name).code == 3, "an acknowledged rm is forgotten:", name)
            for version in sorted(trees)[-2:]:
                comes_back(store, "tree@%d" % version, trees[version], os.path.join(place, "back"))
            put(store, "tree", top)
            comes_back(store, "tree", snapshot(top), os.path.join(place, "back"))
            clean(store)
        except Failed as what:
            keep = os.path.join("/tmp", "larder-power-%d" % SEED)
            shutil.copytree(store, keep, symlinks=True, dirs_exist_ok=True)
            raise Failed("cycle %d%s: %s\nthe store is kept in %s" % (cycle, disk.options, what, keep))
    disk.unmount()
    return "%d cycles, %d acknowledged, %d lost" % (count, acknowledged, lost)


tap = Tap()
tap.case("power cuts on ext4 lose nothing that was acknowledged", cycles, CYCLES)
finish(tap)
