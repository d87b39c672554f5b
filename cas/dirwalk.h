#ifndef LARDER_DIRWALK_H
#define LARDER_DIRWALK_H

/*
 * One directory of the file system as sorted entries: kinds, stat data,
 * xattrs, names of owners, exclusions, and the fingerprints by which an
 * unchanged file is recognised without reading it.
 */
#include <pthread.h>
#include <sys/stat.h>

#include "cas/base/buf.h"
#include "cas/object/attrs.h"
#include "cas/object/tree.h"
#include "cas/types.h"

/* What is kept of a struct stat. */
struct walk_stat {
	uint64_t size, ino, dev, rdev, blocks;
	int64_t mtime_s, ctime_s;
	uint32_t mtime_ns, ctime_ns;
	uint32_t mode, uid, gid;
	uint64_t nlink;
};
void walk_stat_from(struct walk_stat *out, const struct stat *st);

struct walk_entry {
	const char *name; /* NUL-terminated, in the directory's storage */
	uint32_t name_len;
	uint8_t kind; /* enum tree_kind */
	bool stat_known;
	struct walk_stat st;
};

struct walk_dir {
	struct walk_entry *entries; /* sorted by name */
	size_t count;
	struct buf names;
};
void walk_dir_release(struct walk_dir *dir);

/* Which paths stay out. Immutable after init; shareable. */
struct walk_rules {
	const char *const *exclude;
	size_t exclude_count;
	bool one_file_system;
	uint64_t root_dev;
	uint64_t store_dev, store_ino; /* the store itself is left out of what it stores */
};
bool walk_excluded(const struct walk_rules *rules, const char *path, const char *name);

/*
 * Entries of the open directory `fd`. `path` is relative to the top of the put
 * ("" for the top itself). With stat_files false, regular files are not looked at (stat_known
 * false: the reader of the file will fstat it anyway). An entry that vanished
 * meanwhile is left out; one that cannot be looked at is given to `bad`.
 */
typedef void (*walk_bad_fn)(void *context, const char *name, int sys_errno);
LARDER_MUST_USE int walk_dir_read(struct walk_dir *out, int fd, const char *path,
    const struct walk_rules *rules, bool stat_files, walk_bad_fn bad, void *context,
    struct larder_err *err);

/*
 * A number that changes when the file may have changed: size, times, inode,
 * mode, owner, links. Never 0 for a trustworthy stat; 0 when `st` is racy:
 * changed so shortly before `now_ns` that another change could leave the same
 * times (git's rule; two seconds where the file system has no nanoseconds).
 */
uint64_t walk_fingerprint(const struct walk_stat *st, int64_t now_ns);

/* One step of the mixing that fingerprints are made of (also of several of them). */
uint64_t walk_mix(uint64_t h, uint64_t v);

/*
 * Extended attributes, sorted by name; storage in `storage`. fd >= 0: of that
 * open file; else of `name` in the directory dir_fd, not following symlinks.
 * Attributes the rights do not let us read give 1 (some left out), else 0.
 */
struct walk_xattrs {
	struct attrs_xattr *list;
	size_t count;
	struct buf storage;
};
void walk_xattrs_release(struct walk_xattrs *xattrs);
LARDER_MUST_USE int walk_xattrs_read(
    struct walk_xattrs *out, int fd, int dir_fd, const char *name, struct larder_err *err);

/* uid -> user name, gid -> group name, asked once each. Shared by threads. */
struct walk_owners {
	pthread_mutex_t lock;
	struct walk_owner {
		uint32_t id;
		bool group;
		char *name; /* "" unknown */
	} * list;
	size_t count, room;
};
void walk_owners_init(struct walk_owners *owners);
void walk_owners_release(struct walk_owners *owners);
/* Lent until release. "" when it has no name (or no memory). */
const char *walk_owner_name(struct walk_owners *owners, uint32_t id, bool group);

#endif
