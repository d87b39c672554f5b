#ifndef LARDER_RESTORE_H
#define LARDER_RESTORE_H

/*
 * What the files of a restore share: restore.c (the call; where things are
 * written and how they get into place), restore_walk.c (directories -> what to
 * write), restore_batch.c (sorted and shared out), restore_write.c (chunks ->
 * files), restore_large.c (files of many pieces), restore_bytes.c (bytes into an
 * open file), restore_dirs.c (handles of directories, and what is done when one
 * is complete), restore_attrs.c (mode, owner, times, xattrs), restore_links.c
 * (names of one inode).
 *
 * The walk makes the directories and gathers *pieces*: (place of a chunk, file,
 * offset). A batch of pieces is sorted by place and shared out by segments: each
 * segment is decoded once for all files that want something of it, its chunks
 * are hashed many at once, and only then is anything written.
 *
 * A directory is complete when all in it is: then come its symlinks, then its
 * attributes; the times last, because everything before changes them.
 *
 * Owners are numbers, as tar --numeric-owner and restic have them: names are for
 * people. A process that is not root leaves the owner alone where it is not
 * itself, and sets no set-id bits there.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "cas/base/idset.h"
#include "cas/base/pool.h"
#include "cas/base/sha256.h"
#include "cas/fetch.h"
#include "cas/reach.h"
#include "cas/spec.h"
#include "cas/store.h"
#include "cas/writeback.h"

enum restore_rank {
	RESTORE_WRITE = 0, /* decode, verify, write */
	RESTORE_LIST = 1,  /* gather the chunks of a large file */
	RESTORE_DIR = 2,   /* look at a directory: depth first */
};

/* What is set on an entry: the part of its row that outlives the row. */
struct restore_meta {
	int64_t mtime_s;
	uint32_t mtime_ns;
	uint32_t mode, uid, gid;
	uint32_t xattr_count;
	bool known; /* false: nothing is recorded, and the process's umask decides the mode */
	bool sparse;
	const struct attrs_xattr *xattrs; /* names are NUL-terminated here */
};

/* A symlink, until its directory is complete. */
struct restore_late {
	struct restore_late *next;
	struct restore_dir *dir;
	struct restore_meta meta;
	uint64_t link;
	const char *name, *target;
};

struct restore_dir {
	struct restore_dir *parent;          /* NULL: the top */
	struct restore_dir *next, *previous; /* all there are; under r->lock */
	uint64_t serial;                     /* parents before children; never used again */
	atomic_size_t pending; /* what must be finished first; one for the look itself */
	atomic_size_t refs;    /* who may still ask for its path */
	struct restore_meta meta;
	void *storage; /* behind meta */
	struct restore_late *late;
	struct larder_id tree, attrs;
	bool has_attrs;
	bool existing; /* was there: an interrupted restore goes on */
	bool held;     /* its mode would shut us out: attributes at the very end */
	char name[];
};

/* A regular file with content. */
struct restore_file {
	struct restore_dir *dir;
	const char *name;
	uint64_t size;
	struct restore_meta meta;
	struct restore_link *link; /* other names wait for this one; NULL: none */
	bool executable;
	bool large; /* is the head of a struct restore_large */
};

struct restore_large {
	struct restore_file file;
	struct restore *restore;
	struct restore_large *next, *previous; /* all under way; under r->lock */
	struct larder_id list;                 /* or its only chunk */
	bool has_list;
	atomic_size_t left; /* pieces to be written; one for the list */
	uint64_t gathered;  /* bytes, by the one task that reads the list */
	pthread_mutex_t lock; /* guards the next ones */
	bool begun, refused;
	bool existing; /* content that may be right already */
	int fd;        /* given by the caller and lent; -1: opened by name each time */
};

struct restore_piece {
	struct index_place place;
	struct larder_id id;
	uint64_t at; /* in the file */
	struct restore_file *file;
};

/* Pieces and what they point to; freed with the last task. */
struct restore_batch {
	struct restore_batch *next, *previous; /* all under way; under r->lock */
	struct restore_piece *pieces;
	size_t count, room;
	struct restore_block *blocks;
	struct restore_stretch *stretches;
	size_t memory;
	uint64_t bytes;
	atomic_size_t left; /* tasks */
};

/* A task: whole segments of a batch. */
struct restore_stretch {
	struct restore_batch *batch;
	size_t from, to;
};

struct restore_handle {
	uint64_t serial;
	int fd; /* -1: none */
};

/* Per worker; used by one thread at a time. */
struct restore_worker {
	struct fetch_reader *reader;
	struct restore_handle *handles; /* slot: serial % handle_count */
	struct restore_dir **chain;
	size_t chain_room;
	struct sha256_job *jobs;
	struct larder_id *digests;
	size_t job_room;
	struct index_place *places;
	struct larder_id *ids;
	size_t place_room;
	struct buf scratch;
};

struct restore {
	struct larder_store *store;
	const struct larder_get_options *options;
	bool verify_only;
	bool resume;    /* something of an interrupted restore is there */
	bool is_root;
	uint32_t euid;
	int top_fd;     /* the top directory; lent */
	bool top_is_new; /* false: the top is the parent of what is restored, and left alone */
	uint32_t top_mode; /* for a top without attributes */
	struct pool *pool;
	struct writeback *writeback;
	struct restore_worker *workers;
	unsigned worker_count;
	unsigned handle_count;

	pthread_mutex_t lock; /* guards the next ones */
	struct restore_dir *dirs;
	struct restore_large *larges;
	struct restore_batch *batches;
	struct restore_batch *gathering;
	struct restore_late *late_links; /* symlinks of several names */
	struct restore_dir **held;
	size_t held_count, held_room;
	uint64_t next_serial;

	pthread_mutex_t links_lock; /* guards the next ones */
	struct restore_link **links;
	size_t link_count, link_room;

	atomic_size_t walking; /* tasks that may still gather */
	atomic_uint_fast64_t files, bytes, skipped;
	uint64_t files_total, bytes_total;
	pthread_mutex_t watch_lock; /* one callback at a time; guards progress_due_ns */
	int64_t progress_due_ns;
};

/* ---- restore.c ---- */

/* Tell the caller about one entry of `dir` (name NULL: the directory itself), and count it. */
void restore_item(struct restore *r, const struct restore_dir *dir, const char *name,
    enum larder_status status, const char *fmt, ...) LARDER_PRINTF(5, 6);
/*
 * An entry that could not be made, from a call that failed: OK when it was this
 * entry's fault, was given to on_item and the others go on; else the status.
 */
LARDER_MUST_USE int restore_refused(struct restore *r, const struct restore_dir *dir,
    const char *name, int status, const struct larder_err *cause, struct larder_err *err);
void restore_progress(struct restore *r);
bool restore_cancelled(const struct restore *r);

/* ---- restore_walk.c ---- */

LARDER_MUST_USE int restore_dir_submit(struct restore *r, struct restore_dir *dir,
    struct larder_err *err);
/* One entry of a directory that is there; row NULL: no attributes. */
struct restore_entry {
	const struct tree_entry *tree;
	const struct attrs_row *row;
	const struct index_place *place; /* FILE of one chunk: where it is */
	int lent_fd;                     /* FILE: write to this one, without place; -1: make it */
	bool lent_existing;              /* and it has content that may be right */
};
LARDER_MUST_USE int restore_take_entry(struct restore *r, struct restore_worker *w,
    struct restore_dir *dir, const struct restore_entry *entry, struct larder_err *err);
/* Room for so many in w->places and w->ids. */
LARDER_MUST_USE int restore_more_places(struct restore_worker *w, size_t count,
    struct larder_err *err);

/* ---- restore_batch.c ---- */

LARDER_MUST_USE int restore_batch_add(struct restore *r, struct restore_worker *w,
    const struct restore_piece *piece, struct larder_err *err);
/* A small file with its one piece; the file, its name and its row (may be NULL) are copied. */
LARDER_MUST_USE int restore_batch_add_file(struct restore *r, struct restore_worker *w,
    const struct restore_piece *piece, const struct restore_file *file,
    const struct attrs_row *row, struct larder_err *err);
/* Send off what is gathered: 1 if there was enough, 0 if not. `all`: whatever there is. */
LARDER_MUST_USE int restore_batch_flush(struct restore *r, struct restore_worker *w, bool all,
    struct larder_err *err);
void restore_batch_free(struct restore *r, struct restore_batch *batch);

/* ---- restore_write.c ---- */

/* Pieces of whole segments, sorted by place. */
LARDER_MUST_USE int restore_write_pieces(struct restore *r, struct restore_worker *w,
    struct restore_piece *pieces, size_t count, struct larder_err *err);
/* A file without content, or one whose bytes are at hand. */
LARDER_MUST_USE int restore_write_file(struct restore *r, struct restore_worker *w,
    struct restore_file *file, const uint8_t *data, size_t len, struct larder_err *err);
enum { RESTORE_NEW = 0, RESTORE_EXISTING = 1 };
/* RESTORE_NEW or RESTORE_EXISTING, with *fd; *fd is -1 when the name was refused. */
LARDER_MUST_USE int restore_make_file(int *fd, struct restore *r, struct restore_worker *w,
    const struct restore_file *file, struct larder_err *err);
/* The file is as it should be, or was refused (ok false). It may be gone afterwards. */
LARDER_MUST_USE int restore_file_done(struct restore *r, struct restore_worker *w,
    struct restore_file *file, bool ok, struct larder_err *err);

/* ---- restore_large.c ---- */

LARDER_MUST_USE int restore_large_start(struct restore *r, const struct restore_file *file,
    const struct restore_entry *entry, struct larder_err *err);
/* Bytes of `pieces` neighbouring pieces; it may be gone afterwards. */
LARDER_MUST_USE int restore_large_write(struct restore *r, struct restore_worker *w,
    struct restore_large *large, const uint8_t *data, size_t len, uint64_t at, size_t pieces,
    struct larder_err *err);
void restore_large_free(struct restore *r, struct restore_large *large);

/* ---- restore_bytes.c ---- */

/* As they are; blocks of zeros are left out if the file is sparse, and then it has its length. */
LARDER_MUST_USE int restore_bytes_write(int fd, const struct restore_file *file,
    const uint8_t *data, size_t len, uint64_t at, struct larder_err *err);
/* 1: the file has exactly these bytes there; 0: it has not. */
LARDER_MUST_USE int restore_bytes_compare(struct restore_worker *w, int fd, const uint8_t *data,
    size_t len, uint64_t at, const char *name, struct larder_err *err);
/* Only the blocks that differ are written. */
LARDER_MUST_USE int restore_bytes_correct(struct restore_worker *w, int fd, const uint8_t *data,
    size_t len, uint64_t at, const char *name, struct larder_err *err);

/* ---- restore_dirs.c ---- */

LARDER_MUST_USE int restore_dir_new(struct restore_dir **out, struct restore *r,
    struct restore_dir *parent, const char *name, size_t name_len, struct larder_err *err);
/* A handle for names below `dir`; lent until the worker's next use of restore_dir_fd. */
LARDER_MUST_USE int restore_dir_fd(int *fd, struct restore *r, struct restore_worker *w,
    struct restore_dir *dir, struct larder_err *err);
/* One of `pending` is done; completes the directory, and its parents, after the last. */
LARDER_MUST_USE int restore_dir_done(struct restore *r, struct restore_worker *w,
    struct restore_dir *dir, struct larder_err *err);
void restore_dir_keep(struct restore_dir *dir); /* for its path */
void restore_dir_drop(struct restore *r, struct restore_dir *dir);
/* What waits for the end of all: symlinks of several names, directories that shut us out. */
LARDER_MUST_USE int restore_dirs_end(struct restore *r, struct restore_worker *w,
    struct larder_err *err);
void restore_dir_free(struct restore *r, struct restore_dir *dir);
/* "a/b/name" relative to the top; "." for the top itself. */
LARDER_MUST_USE int restore_path(struct buf *out, const struct restore_dir *dir, const char *name);

/* ---- restore_attrs.c ---- */

/* Bytes that restore_meta_take() needs for a row's xattrs; 0 without. */
size_t restore_meta_room(const struct attrs_row *row);
/* `storage`: restore_meta_room() bytes, 8-aligned; row NULL = unknown. */
void restore_meta_take(struct restore_meta *out, const struct attrs_row *row, void *storage);
/* Mode to open a new file with: not more than it will have. */
mode_t restore_open_mode(const struct restore_file *file);
/* All attributes of an open file or directory, the times last. */
LARDER_MUST_USE int restore_attrs_fd(struct restore *r, struct restore_worker *w, int fd,
    const struct restore_meta *meta, const struct restore_dir *dir, const char *name,
    struct larder_err *err);
/* The same of a name, for what is not opened: symlinks, FIFOs, sockets, devices. */
LARDER_MUST_USE int restore_attrs_at(struct restore *r, struct restore_worker *w, int dir_fd,
    const struct restore_meta *meta, bool symlink, const struct restore_dir *dir,
    const char *name, struct larder_err *err);
/* Content of xattrs that are objects of their own: verified, nothing set. */
LARDER_MUST_USE int restore_attrs_verify(struct restore_worker *w, const struct restore_meta *meta,
    struct larder_err *err);

/* ---- restore_links.c ---- */

/*
 * A name of an inode that has several. 1: the first one, which the caller
 * restores and then hands to restore_link_done; *out is for that. 0: it became,
 * or will become, a link to the first; the directory's pending was taken over.
 * 2: it differs from the first one in content: restore it by itself.
 */
LARDER_MUST_USE int restore_link_take(struct restore_link **out, struct restore *r,
    struct restore_worker *w, struct restore_dir *dir, const struct tree_entry *entry,
    uint64_t number, struct larder_err *err);
/* The first name is there (or is not: ok false); NULL is fine. */
LARDER_MUST_USE int restore_link_done(struct restore *r, struct restore_worker *w,
    struct restore_link *link, bool ok, struct larder_err *err);
void restore_links_free(struct restore *r);

#endif
