#!/usr/bin/env python3
"""Print what a tree holds, a line an entry: path, kind, mode, owner, time, link count, content, xattrs."""
import hashlib, os, stat, sys

def line(root, path):
    full = os.path.join(root, path) if path else root
    st = os.lstat(full)
    kind = stat.filemode(st.st_mode)
    what = ''
    if stat.S_ISREG(st.st_mode):
        with open(full, 'rb') as f:
            what = hashlib.sha256(f.read()).hexdigest()
    elif stat.S_ISLNK(st.st_mode):
        what = os.fsdecode(os.readlink(full))
    links = st.st_nlink if stat.S_ISREG(st.st_mode) else 1
    xattrs = ''
    if not stat.S_ISLNK(st.st_mode):
        xattrs = ' '.join('%s=%s' % (os.fsdecode(n), os.getxattr(full, n).hex())
                          for n in sorted(os.listxattr(full)) if not os.fsdecode(n).startswith('security.'))
    owner = '%d:%d' % (st.st_uid, st.st_gid) if os.geteuid() == 0 else '-'
    return ' '.join([repr(os.fsencode(path))[2:-1] or '.', kind, owner, str(st.st_mtime_ns),
                     str(links), what, xattrs]).rstrip()

root = os.fsencode(sys.argv[1])
found = [b'']
for d, ds, fs in os.walk(root):
    for n in ds + fs:
        found.append(os.path.relpath(os.path.join(d, n), root))
for p in sorted(found):
    print(line(os.fsdecode(root), os.fsdecode(p)))
