#ifndef LARDER_INGEST_H
#define LARDER_INGEST_H

/*
 * What the files of the put pipeline share: ingest.c (the calls, chunks and
 * objects), ingestlook.c (directories and files are looked at), ingestnode.c
 * (directories on their way), ingestend.c (version and last commit), smallfile.c
 * (whole files up to SMALL_FILE_MAX, hashed many at once) and bigfile.c (files and
 * streams in blocks).
 *
 * Tasks of a lower rank go first: what is in memory leaves it before more is
 * read. No task waits for another; whoever completes something goes on with it.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "cas/base/idset.h"
#include "cas/base/pool.h"
#include "cas/base/sha256.h"
#include "cas/dirwalk.h"
#include "cas/fetch.h"
#include "cas/group.h"
#include "cas/packer.h"
#include "cas/reach.h"
#include "cas/remember.h"
#include "cas/store.h"

enum ingest_rank {
	RANK_COMPRESS = 0, /* windows, blocks that are cut */
	RANK_BLOCK = 1,    /* read and search a block */
	RANK_DIR = 2,      /* look at a directory: depth first */
};

/* One entry of a directory on its way. */
struct ingest_file {
	struct larder_id id;    /* content; of a directory: its tree */
	struct larder_id attrs; /* of a directory */
	uint64_t size;
	uint64_t print; /* fingerprint; 0 = not to be trusted */
	char *target;   /* symlink */
	struct walk_xattrs *xattrs;
	const struct attrs_row
	    *known_attrs; /* unchanged: as they were, lent from node->was_attrs */
	bool executable, list, sparse;
	bool left_out; /* could not be read */
};

struct ingest_node {
	struct pool_task task;
	struct ingest *in;
	struct ingest_node *next, *previous; /* all there are: in->nodes */
	struct ingest_node *parent;
	unsigned depth; /* of the top: 0 */
	size_t slot; /* our place among the parent's entries */
	char *path;  /* relative to the top; "" for the top */
	struct walk_dir dir;
	struct ingest_file *files; /* beside dir.entries */
	atomic_size_t
	    pending; /* what must finish before we are complete; one for the look itself */

	struct walk_stat self;
	struct walk_xattrs self_xattrs;
	uint64_t self_print;
	uint64_t names; /* hash of names and kinds */
	uint8_t key[REMEMBER_KEY_LEN];
	bool seen;      /* `was` is filled */
	bool clean;     /* all but the subdirectories is as it was */
	bool lone_file; /* the put of a single file: one entry, no directory */
	bool left_out;
	struct remember was;
	struct tree_list was_tree; /* of was.tree, loaded when needed */
	struct attrs_list was_attrs;
	bool was_loaded;

	/* the same directory in the name's previous version, loaded when a base is wanted */
	pthread_mutex_t before_lock;
	bool before_asked;
	struct tree_list before;

	/* result */
	struct larder_id tree, attrs;
	atomic_uint_fast64_t files_below, bytes_below;
	bool children_changed;
};

struct small_job {
	struct ingest_node *node;
	size_t slot;
	size_t at;
	uint32_t len;
};

enum { BATCH_LEN = 2 * 1024 * 1024, BATCH_JOBS = 512 };

/* Per worker; used by one thread at a time. */
struct ingest_worker {
	struct index_read *read;
	struct fetch_reader *reader;
	uint8_t *batch; /* BATCH_LEN + SMALL_FILE_MAX + slack */
	size_t batch_len;
	struct small_job jobs[BATCH_JOBS];
	size_t job_count;
	struct buf bytes; /* of trees, attrs, lists while they are encoded */
	struct buf row;
};

struct ingest {
	struct larder_store *store;
	const struct larder_put_options *options;
	struct pool *pool;
	struct packer *packer;
	struct group *group;
	struct ingest_worker *workers;
	unsigned worker_count;
	struct walk_rules rules;
	struct larder_id rules_id;
	struct walk_owners owners;
	int top_fd;
	char *top; /* absolute path of what is put: half of the seen keys */

	/* the name's latest version, if it has one: a directory, or a file of one chunk */
	bool has_before, was_chunk;
	struct larder_id before_id;

	pthread_mutex_t nodes_lock;
	struct ingest_node *nodes;

	/* ids this put found to be new, in two generations: not in the index yet, perhaps */
	pthread_mutex_t fresh_lock;
	struct idset fresh[2];

	/* large files under way (bigfile.c) */
	pthread_mutex_t bigs_lock;
	struct big *bigs;
	struct big_room *rooms;
	unsigned rooms_count;
	size_t overlap; /* bytes in which a chunk that begins in a block must end */

	/* rows to remember, in an unlinked file of tmp/ until the last commit */
	pthread_mutex_t spill_lock;
	int spill_fd;
	uint64_t spill_len;
	struct buf spill;

	pthread_mutex_t watch_lock;
	int64_t progress_due_ns;
	atomic_uint_fast64_t files, bytes, new_bytes, known_bytes;
	atomic_uint_fast64_t skipped;

	/* what came out at the top */
	bool done;
	bool is_dir;
	struct larder_id id, attrs;
	bool list;
	uint64_t total_files, total_bytes;
	bool has_sha256;
	struct larder_id sha256;
};

/* ingest.c */

/* 1: nobody had this chunk, and the caller must store it; 0: known. Negative on error. */
LARDER_MUST_USE int ingest_admit(
    struct ingest *in, unsigned worker, const struct larder_id *id, struct larder_err *err);
/* Tree, attrs, list: hash, admit, store. `name` for the order, `base` may be NULL. */
LARDER_MUST_USE int ingest_object(struct ingest *in, unsigned worker, struct larder_id *id,
    enum pack_type type, const void *data, size_t len, const struct larder_id *base,
    struct larder_err *err);

/* ingestlook.c: tasks of the pool; arg is the node */

int ingest_look_task(void *context, void *arg, unsigned worker, struct larder_err *err);
int ingest_lone_task(void *context, void *arg, unsigned worker, struct larder_err *err);
bool ingest_is_executable(const struct walk_entry *entry);

/* ingestend.c */

/* Version, last commit, remembered rows; fills the result. PARTIAL when inputs were left out. */
LARDER_MUST_USE int ingest_end(
    struct ingest *in, const char *name, struct larder_put_result *result, struct larder_err *err);

/* ingestnode.c */

/* A node for `name` in `parent` (NULL: the top); belongs to in->nodes until it is dropped. */
struct ingest_node *ingest_node_new(
    struct ingest *in, struct ingest_node *parent, size_t slot, const char *name);
/* The node of a single file. */
struct ingest_node *ingest_lone_node(struct ingest *in, const char *name);
void ingest_node_drop(struct pool_task *task);
/* The directory's tree as remembered or in the previous version: a base for the new one. */
bool ingest_before_tree(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_id *tree);
/* Tree and attributes that were remembered, into node->was_tree and was_attrs. */
LARDER_MUST_USE int ingest_load_was(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err);
/* What is gathered of remembered rows goes to their file. */
LARDER_MUST_USE int ingest_spill_flush(struct ingest *in, struct larder_err *err);
/* One of the node's pending things is finished; completes the node (and its parents) after the
 * last. */
LARDER_MUST_USE int ingest_node_done(
    struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err);
/* The chunk that stood at this entry's path in the previous version; NULL when unknown. Lent until
 * the node goes. */
const struct larder_id *ingest_base(
    struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot);
/* "top/path/name" for messages; caller's buffer. */
void ingest_path(char *out, size_t room, const struct ingest *in, const struct ingest_node *node,
    const char *name);
/* Tell the caller about one input, and count it. */
void ingest_item(struct ingest *in, const struct ingest_node *node, const char *name,
    enum larder_status status, const char *message);
void ingest_progress(struct ingest *in);
/* The stat of a file after it was read: racy or changed, and what it means for fingerprint and
 * user. */
void ingest_file_read(struct ingest *in, struct ingest_node *node, size_t slot,
    const struct walk_stat *before, int fd, int64_t looked_ns, uint64_t read_len);

/* smallfile.c */

/* Read an open small file into the worker's batch; 1 when it turned out to be larger than
 * SMALL_FILE_MAX. */
LARDER_MUST_USE int small_read(struct ingest *in, unsigned worker, struct ingest_node *node,
    size_t slot, int fd, int64_t looked_ns, struct larder_err *err);
/* Bytes that are in memory already, as one whole small file. */
LARDER_MUST_USE int small_add(struct ingest *in, unsigned worker, struct ingest_node *node,
    size_t slot, const void *data, size_t len, struct larder_err *err);
/* Hash and store what is gathered: 1 if there was something, 0 if not. */
LARDER_MUST_USE int small_flush(struct ingest *in, unsigned worker, struct larder_err *err);

/* bigfile.c */

/* Takes over fd. The entry is pending until all blocks are through. */
LARDER_MUST_USE int big_start(struct ingest *in, struct ingest_node *node, size_t slot, int fd,
    int64_t looked_ns, struct larder_err *err);
/*
 * Read a stream until `to` holds `want` bytes or it ends; *ended tells. Looks up
 * between reads, since streams may be slow or endless: CANCELLED when the pool stopped.
 */
LARDER_MUST_USE int stream_read(struct ingest *in, int fd, uint8_t *to, size_t *have, size_t want,
    bool *ended, struct larder_err *err);
/* A stream, read by the calling thread (no worker) to its end; `head` was read from it already. */
LARDER_MUST_USE int big_stream(struct ingest *in, struct ingest_node *node, size_t slot, int fd,
    const void *head, size_t head_len, struct larder_err *err);

/* After the pool's end: frees what a failure left under way, and the memory kept for blocks. */
void big_abandon(struct ingest *in);

#endif
