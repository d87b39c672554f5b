#ifndef LARDER_CHECK_H
#define LARDER_CHECK_H

/*
 * What the files of a check share: check.c (the call, the list of damage),
 * checkjournal.c (journals, and the index against them), checkpack.c (packs against
 * their checksums, their hashes and the index) and checktree.c (what versions refer to).
 *
 * Whatever is wrong with the store is a damage, which is written down and never
 * ends the check; what ends it is the machine (NOMEM, CANCELLED). `bad` says
 * which objects a damage makes unreadable; the walk over the versions then finds
 * the names that it hits.
 */
#include <pthread.h>
#include <stdatomic.h>

#include "cas/base/idset.h"
#include "cas/object/entry.h"
#include "cas/store.h"

enum {
	CHECK_NAMES_MAX = 20, /* of one damage */
	CHECK_DAMAGES_MAX = 10 * 1000, /* those beyond are counted, not described */
	/* objects known to be hit; some 40 bytes each, up to three times that as room */
	CHECK_BAD_MAX = 384 * 1024,
};

struct damage {
	char *what;
	char *names[CHECK_NAMES_MAX];
	size_t name_count;
	uint64_t names_total;
	uint64_t hit_last; /* the place in the walk where it was met last */
};

/* A pack that the journal or the index names. */
struct check_pack {
	struct id16 id;
	uint32_t number; /* in the index; 0 = not there */
	uint32_t chunk_count;
	uint64_t file_len;
	bool named;   /* by a journal */
	bool applied; /* the index must have it */
	bool chosen;  /* its segments are read */
	bool lost;    /* what it holds cannot be known from it: */
	uint64_t damage; /* the damage that says so */
	/* the index's rows with places in it, and the sum of their hashes */
	atomic_uint_fast64_t rows, sum;
};

/* A delta that could not be decoded, or not to what it should be: perhaps its base's fault. */
struct orphan {
	struct larder_id id, base;
	char *what;
};

struct check {
	struct larder_store *store;
	struct larder_check_options options;
	larder_damage_fn fn;
	void *context;
	struct pack_files *files; /* of our own: what is on disk now, not what was opened before */

	/* lock: everything down to `result`, while there are workers */
	pthread_mutex_t lock;
	struct damage *damages;
	size_t damage_count, damage_room;
	struct idset bad; /* -> number of the damage */
	struct orphan *orphans;
	size_t orphan_count, orphan_room;
	struct larder_progress progress;
	int64_t progress_due_ns;
	struct larder_check_result result;

	/* filled before there are workers; what is in `packs` is then one worker's each */
	struct check_pack *packs;
	size_t pack_count, pack_room;
	struct idset pack_ids; /* -> number in packs */
	struct id16 *strays; /* packs on disk that were not named when they were seen */
	size_t stray_count, stray_room;
	size_t *by_number;     /* number in the index -> number in packs, or SIZE_MAX */
	size_t by_number_count;

	/* the index at the beginning */
	uint64_t index_versions;
	struct index_position *positions;
	size_t position_count, position_room;

	atomic_bool index_told; /* a damage of the index is in the list */
	bool journal_bad; /* not all of it could be read */
};

/* ---- check.c ---- */

/* Write down a damage; *number (may be NULL) is what `bad` calls it. Any thread. */
LARDER_MUST_USE int check_damage(struct check *c, uint64_t *number, struct larder_err *err,
    const char *fmt, ...) LARDER_PRINTF(4, 5);
/* This object cannot be read because of that damage. Any thread. */
LARDER_MUST_USE int check_bad(struct check *c, const struct larder_id *id, uint64_t number,
    struct larder_err *err);
/* This delta came out wrong; `what` says how, for when its base is sound. Any thread. */
LARDER_MUST_USE int check_orphan(struct check *c, const struct larder_id *id,
    const struct larder_id *base, const char *what, struct larder_err *err);
/* The pack with this id; a new one if there was none. Before there are workers. */
LARDER_MUST_USE int check_pack_add(struct check_pack **out, struct check *c, const struct id16 *id,
    struct larder_err *err);
/* Is this a damage of the store, and not a failure of the check itself? */
bool check_is_damage(int status);
/* A look-up in the index failed: one damage, however often it happens. Any thread. */
LARDER_MUST_USE int check_index_failed(struct check *c, int status, const struct larder_err *cause,
    struct larder_err *err);
/* So many more bytes of packs were looked at. CANCELLED when that is wanted. Any thread. */
LARDER_MUST_USE int check_progress(struct check *c, uint64_t bytes, uint64_t packs,
    struct larder_err *err);

/* ---- checkjournal.c ---- */

/*
 * Every writer's journal: chain, operations; which packs it names; that the
 * index has what it says. Fills `packs`.
 */
LARDER_MUST_USE int check_journals(struct check *c, struct larder_err *err);
/* Every version that the index has, and ever had. Also learns of packs named meanwhile. */
typedef int (*check_version_fn)(void *context, const struct entry_version *version,
    struct larder_err *err);
LARDER_MUST_USE int check_each_version(struct check *c, check_version_fn fn, void *context,
    struct larder_err *err);

/* ---- checkpack.c ---- */

/* Directories, segments if they are to be read, and the index against both. */
LARDER_MUST_USE int check_packs(struct check *c, struct larder_err *err);
/*
 * Packs on disk that nothing names: not damage, but worth a line. Looked for before the
 * journals are read again, so that what others commit meanwhile is not among them.
 */
LARDER_MUST_USE int check_strays(struct check *c, struct larder_err *err);
void check_strays_tell(struct check *c);

/* ---- checktree.c ---- */

/* What all versions refer to: is it there, is it what it should be, what does `bad` hit? */
LARDER_MUST_USE int check_trees(struct check *c, struct larder_err *err);

#endif
