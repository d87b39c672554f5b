#ifndef LARDER_H
#define LARDER_H

/*
 * larder: a content-addressed object store with a dedup index.
 *
 * Caveats first.
 *
 * - What a call reported as done is durable, on a disk that honours flushes.
 *   What a failed call had already committed stays; the rest is garbage that
 *   harms nobody.
 * - A handle does not survive fork: in the child its calls return USAGE.
 * - The library never prints, never exits, changes neither locale nor signal
 *   handlers. Embedders should ignore SIGXFSZ (a full quota) and SIGPIPE, and may
 *   call larder_fault() from a SIGSEGV/SIGBUS handler of their own: the index is
 *   a memory map, and a failing disk shows there as a signal.
 * - Network file systems are refused (REFUSED) for a store and its index.
 * - Memory: about 200 MiB for put, get and check, whatever the store holds. One
 *   exception: a single directory with a million entries costs some 150 bytes each.
 *
 * Threads may share a store handle; processes may share a store. Callbacks run
 * on the thread that made the call unless their comment says otherwise, never
 * two at once for one call, and must not call back into the same call's store
 * to write.
 *
 * Every function that can fail returns LARDER_OK (0) or a negative enum
 * larder_status, and fills *err (may be NULL). Strings are UTF-8 by habit and
 * bytes by law: names of files are whatever the file system has.
 *
 * Times are int64 nanoseconds since 1970-01-01T00:00:00Z.
 */
#include "cas/types.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0" */
LARDER_API const char *larder_version(void);
/* "not_found" for LARDER_ERR_NOT_FOUND; "ok" for 0. Static. */
LARDER_API const char *larder_status_code(int status);

/*
 * True when `address` lies in the map of an index this process has open; the
 * index is then marked to be rebuilt by the next open. Async-signal-safe.
 */
LARDER_API bool larder_fault(const void *address);

/* ---- the store ---- */

struct larder_store;

struct larder_open_options {
	size_t size;
	bool create;           /* make a store when `path` is absent or an empty directory */
	bool create_exclusive; /* for init: EXISTS when there is a store already */
	uint32_t chunk_size; /* new stores: mean of the first class, power of two 4 KiB .. 64 KiB; 0
				= 16 KiB */
	const char *index_dir; /* another place for index/; NULL = in the store */
	bool no_index;         /* do not open or rebuild the index: only larder_reindex and
				  larder_store_path work */
	unsigned threads;      /* workers of put, get, check; 0 = one per processor */
	/*
	 * A line for the user about something done by itself ("index rebuilt: ...",
	 * "this store was copied: new writer id"). May be NULL. Any time during open
	 * or a later call, on the calling thread.
	 */
	void (*on_notice)(void *context, const char *line);
	void *context;
};
#define LARDER_OPEN_OPTIONS_INIT                                                                   \
	{                                                                                          \
		.size = sizeof(struct larder_open_options)                                         \
	}

/*
 * Open the store at `path` (options NULL = defaults). On success *out is a new
 * handle: caller owns, larder_store_close() ends it. On failure *out is NULL.
 *
 *   NOT_FOUND  `path` is absent or an empty directory, and !create
 *   USAGE      a directory with other things in it, and no store
 *   EXISTS     create_exclusive, and there is a store
 *   VERSION    a store that needs a newer library
 *   REFUSED    a network file system
 *   CORRUPT    the config or the journal is damaged
 *   IO, NO_SPACE, NOMEM
 *
 * An index that is absent, damaged or of another store is rebuilt here, with a notice.
 */
LARDER_API LARDER_MUST_USE int larder_store_open(struct larder_store **out, const char *path,
    const struct larder_open_options *options, struct larder_err *err);
/* NULL is fine. Cannot fail. */
LARDER_API void larder_store_close(struct larder_store *store);

struct larder_store_info {
	size_t size;
	char id[33];      /* hex */
	char writer[33];  /* this replica's writer id, hex */
	const char *path; /* as given; lent until close */
	const char *mode; /* "plain" */
	unsigned format;  /* 1 */
	uint32_t chunk_size;
};
#define LARDER_STORE_INFO_INIT                                                                     \
	{                                                                                          \
		.size = sizeof(struct larder_store_info)                                           \
	}
LARDER_API void larder_store_info(struct larder_store_info *out, const struct larder_store *store);

/* ---- progress, items, cancellation: shared by the long calls ---- */

struct larder_progress {
	uint64_t files_done, bytes_done;
	uint64_t files_total, bytes_total; /* 0 = not known (yet) */
	uint64_t bytes_new, bytes_known;   /* put only */
};

/* An input or output that was left out or is worth a line; the run goes on and ends with PARTIAL.
 */
struct larder_item {
	const char *path;          /* lent for the call */
	enum larder_status status; /* why */
	const char *message;       /* one sentence without the path */
};

struct larder_watch {
	/* At most every 100 ms, from any one worker at a time. May be NULL. */
	void (*on_progress)(void *context, const struct larder_progress *progress);
	/* From any one worker at a time. May be NULL. */
	void (*on_item)(void *context, const struct larder_item *item);
	void *context;
	/* non-zero: stop with CANCELLED; what was committed stays. May be NULL. */
	const volatile int *cancel;
};

/* ---- put ---- */

enum larder_kind { LARDER_KIND_FILE = 1, LARDER_KIND_DIR = 2, LARDER_KIND_ARCHIVE = 3 };

struct larder_tag {
	const char *key, *value;
};

struct larder_put_options {
	size_t size;
	const char *const
	    *exclude; /* globs: without '/' they match a name, with one a path from the top */
	size_t exclude_count;
	bool one_file_system;
	const struct larder_tag *tags;
	size_t tag_count;
	bool opaque;  /* an archive is stored as it comes (version 0.1 takes none apart) */
	bool sha256;  /* also for files over 64 KiB */
	bool dry_run; /* read, cut, hash, look up; write nothing */
	struct larder_watch watch;
};
#define LARDER_PUT_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct larder_put_options)                                          \
	}

struct larder_put_result {
	uint64_t version;
	enum larder_kind kind;
	struct larder_id id;
	uint64_t bytes;        /* plain bytes of all files */
	uint64_t new_bytes;    /* of content not known before */
	uint64_t stored_bytes; /* added on disk: packs and journal */
	uint64_t files;
	bool unchanged; /* equal to the latest version: no new one was made */
	bool has_sha256;
	struct larder_id sha256;
	uint64_t skipped; /* inputs left out, each given to on_item */
};

/*
 * Store the file or directory at `path` as the next version of `name`. A file
 * that changes while it is read is stored as read and given to on_item.
 * `options` may be NULL, `result` may not.
 * The store itself, if it lies below `path`, is left out without a word.
 * PARTIAL: done (result is filled), but some inputs were left out or changed.
 * USAGE: a name that is not allowed (one that begins with "id:", too), or a tag.
 * NOT_FOUND: no such path.
 */
LARDER_API LARDER_MUST_USE int larder_put(struct larder_store *store, const char *name,
    const char *path, const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err);
/* The same from a descriptor until its end: `larder put NAME -`. */
LARDER_API LARDER_MUST_USE int larder_put_fd(struct larder_store *store, const char *name, int fd,
    const struct larder_put_options *options, struct larder_put_result *result,
    struct larder_err *err);

/* ---- what a spec is ----
 *
 * NAME, NAME@version, NAME//path inside, NAME@version//path, id:HEX (8 to 64
 * digits, unambiguous; an object by id, also with //path when it is a tree).
 * at_ns: as the store was then; 0 = now.
 */

/* ---- get, cat ---- */

struct larder_get_options {
	size_t size;
	int64_t at_ns;
	bool verify_only; /* read and verify everything, write nothing */
	bool overwrite;   /* replace what is at the destination */
	struct larder_watch watch;
};
#define LARDER_GET_OPTIONS_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct larder_get_options)                                          \
	}

struct larder_get_result {
	char name[1025]; /* empty for id: */
	uint64_t version;
	struct larder_id id;
	uint64_t bytes, files;
	uint64_t skipped; /* entries or attributes that could not be set, each given to on_item */
};

/*
 * Write exactly what was put to `dest`, which must not exist unless overwrite is
 * set (EXISTS). Everything is written beside it first (`.<name>.larder-<id>`) and moved into
 * place at the end; a second try after an interruption goes on with what is
 * there and right. PARTIAL: done but for the items given to on_item.
 * CORRUPT: something failed verification; nothing was moved into place.
 */
LARDER_API LARDER_MUST_USE int larder_get(struct larder_store *store, const char *spec,
    const char *dest, const struct larder_get_options *options, struct larder_get_result *result,
    struct larder_err *err);
/* A file's bytes to a descriptor; USAGE for a directory. For `get NAME -` and `cat`. */
LARDER_API LARDER_MUST_USE int larder_get_fd(struct larder_store *store, const char *spec, int fd,
    const struct larder_get_options *options, struct larder_get_result *result,
    struct larder_err *err);

/* ---- looking ---- */

struct larder_version_info {
	const char *name;
	uint64_t version;
	char gid[33]; /* global id of the version */
	enum larder_kind kind;
	struct larder_id id;
	int64_t created_ns;
	uint64_t bytes, new_bytes, stored_bytes, files;
	bool has_sha256;
	struct larder_id sha256;
	const struct larder_tag *tags;
	size_t tag_count;
};
/* Non-zero stops and is returned. Everything is lent for the call. */
typedef int (*larder_version_fn)(void *context, const struct larder_version_info *version);

/* The latest version of every name that starts with `prefix` ("" = all), in bytewise order. */
LARDER_API LARDER_MUST_USE int larder_names(struct larder_store *store, const char *prefix,
    int64_t at_ns, larder_version_fn fn, void *context, struct larder_err *err);
/* The versions of a name, newest first. NOT_FOUND when there is none. */
LARDER_API LARDER_MUST_USE int larder_log(struct larder_store *store, const char *name,
    int64_t at_ns, larder_version_fn fn, void *context, struct larder_err *err);

enum larder_entry_type {
	LARDER_ENTRY_FILE = 0,
	LARDER_ENTRY_DIR = 1,
	LARDER_ENTRY_SYMLINK = 2,
	LARDER_ENTRY_FIFO = 3,
	LARDER_ENTRY_CHAR = 4,
	LARDER_ENTRY_BLOCK = 5,
	LARDER_ENTRY_SOCKET = 6
};

struct larder_entry {
	const char
	    *path; /* from the spec's place, '/' between; NUL-terminated (names have no NUL) */
	enum larder_entry_type type;
	bool executable;
	uint32_t mode; /* permission bits; 0 when the object has no attributes (an id: of a tree) */
	uint64_t bytes;
	int64_t mtime_ns; /* clamped to what 64 bits of nanoseconds hold */
	uint32_t uid, gid;
	const char *user, *group; /* "" unknown */
	const char *target;       /* SYMLINK, else "" */
	struct larder_id id;      /* FILE with bytes, DIR */
};
typedef int (*larder_entry_fn)(void *context, const struct larder_entry *entry);

/* What is inside a directory (of a version, below a path), sorted by name; recursive: depth first.
 */
LARDER_API LARDER_MUST_USE int larder_entries(struct larder_store *store, const char *spec,
    int64_t at_ns, bool recursive, larder_entry_fn fn, void *context, struct larder_err *err);

enum larder_change { LARDER_ADDED = 1, LARDER_REMOVED = 2, LARDER_CHANGED = 3, LARDER_ATTRS = 4 };
struct larder_diff {
	const char *path;
	enum larder_change change; /* ATTRS: same content, other attributes */
	enum larder_entry_type type;
};
typedef int (*larder_diff_fn)(void *context, const struct larder_diff *diff);
/* What becomes of A on the way to B; equal subtrees are not opened. Path ".": the two as such. */
LARDER_API LARDER_MUST_USE int larder_diff(struct larder_store *store, const char *spec_a,
    const char *spec_b, int64_t at_ns, larder_diff_fn fn, void *context, struct larder_err *err);

struct larder_found {
	const char *name;
	uint64_t version;
	const char *path; /* inside; "" = the name itself */
	enum larder_entry_type type;
	uint64_t bytes;
	struct larder_id id;
};
typedef int (*larder_found_fn)(void *context, const struct larder_found *found);
/*
 * Where a path (glob; without '/' it matches a last component; NULL = any) or a
 * content (id, may be NULL) stands, over all versions of all names with `prefix`.
 * Each distinct tree is opened once per version that holds it.
 */
LARDER_API LARDER_MUST_USE int larder_find(struct larder_store *store, const char *glob,
    const char *prefix, const struct larder_id *content, int64_t at_ns, larder_found_fn fn,
    void *context, struct larder_err *err);

struct larder_similar {
	const char *name;
	double percent;           /* of the bytes of both that both have */
	const char *const *paths; /* that differ, at most 20 */
	size_t path_count;
	uint64_t paths_total;
};
typedef int (*larder_similar_fn)(void *context, const struct larder_similar *similar);
/* The names most like the latest version of `spec`, most similar first. */
LARDER_API LARDER_MUST_USE int larder_similar(struct larder_store *store, const char *spec,
    unsigned limit, int64_t at_ns, larder_similar_fn fn, void *context, struct larder_err *err);

/* ---- forgetting ---- */

/* NAME or NAME@version; *count gets how many versions went (would go: dry_run). The content stays
 * until gc. */
LARDER_API LARDER_MUST_USE int larder_rm(struct larder_store *store, const char *spec, bool dry_run,
    uint64_t *count, struct larder_err *err);

/* ---- upkeep ---- */

struct larder_status_info {
	size_t size;
	uint64_t names, versions, objects, chunks, records, cache_entries;
	uint64_t bytes;        /* plain bytes of all versions */
	uint64_t stored_bytes; /* packs and journal */
	uint64_t index_bytes;
	uint64_t packs;
	int64_t last_check_ns; /* 0 = never */
	bool last_check_clean;
	char cause[256]; /* "" = healthy */
};
#define LARDER_STATUS_INFO_INIT                                                                    \
	{                                                                                          \
		.size = sizeof(struct larder_status_info)                                          \
	}
LARDER_API LARDER_MUST_USE int larder_status(
    struct larder_status_info *out, struct larder_store *store, struct larder_err *err);

struct larder_check_options {
	size_t size;
	bool read;     /* decode and hash every byte */
	double sample; /* percent of the packs to read, chosen at random; 0 = all when `read` */
	struct larder_watch watch;
};
#define LARDER_CHECK_OPTIONS_INIT                                                                  \
	{                                                                                          \
		.size = sizeof(struct larder_check_options)                                        \
	}
struct larder_damage {
	const char *what;         /* one sentence */
	const char *const *names; /* "name@version//path" that it hits, at most 20 */
	size_t name_count;
	uint64_t names_total;
};
typedef void (*larder_damage_fn)(void *context, const struct larder_damage *damage);
struct larder_check_result {
	uint64_t packs, segments, chunks, versions, bytes; /* bytes: plain bytes hashed */
	uint64_t damages;
	uint64_t journal_tail; /* bytes after the last acknowledged entry: never acknowledged, no
				  damage */
};
/*
 * 0 = all is well; CORRUPT = damage was found, each given to `fn`. Packs that
 * nothing names (an interrupted put) are no damage: on_item hears of them with
 * status OK.
 */
LARDER_API LARDER_MUST_USE int larder_check(struct larder_store *store,
    const struct larder_check_options *options, larder_damage_fn fn, void *context,
    struct larder_check_result *result, struct larder_err *err);

struct larder_reindex_result {
	uint64_t packs, chunks, entries, versions;
	uint64_t damages; /* packs or entries that could not be read: run check */
};
/* A new index from packs and journal, then the swap. */
LARDER_API LARDER_MUST_USE int larder_reindex(struct larder_store *store,
    const struct larder_watch *watch, struct larder_reindex_result *result, struct larder_err *err);

struct larder_bench_row {
	const char *what; /* "SHA-256, many, 16 KiB" */
	const char *unit; /* "GB/s", "/s" */
	double value;
	double reference; /* the figure measured on the reference machine (2 cores of a 2019
			     server); 0 = none */
};
typedef int (*larder_bench_fn)(void *context, const struct larder_bench_row *row);
/* This machine's rates for hash, chunk, compress, look-up. Needs no store. */
LARDER_API LARDER_MUST_USE int larder_bench(
    bool quick, larder_bench_fn fn, void *context, struct larder_err *err);

#ifdef __cplusplus
}
#endif

#endif
