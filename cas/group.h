#ifndef LARDER_GROUP_H
#define LARDER_GROUP_H

/*
 * Which new chunks make a segment, and against which base.
 *
 * Small chunks gather in a window. A full window is sorted by extension and
 * within it left in the order of the walk, so that files of one kind and of one
 * place stand side by side. (Sorting by name as well was measured: 1 % smaller
 * on many versions of collections, 1 % larger on a kernel tree.)
 * First every chunk that has a near relative in the store (the same path in the
 * previous version, else the most alike one known by sketch) becomes a delta
 * against it, if that is small enough; the others are compressed together,
 * GROUP_SEGMENT bytes at a time. Runs of chunks of large files skip the window.
 */
#include "cas/base/pool.h"
#include "cas/packer.h"
#include "cas/store.h"
#include "cas/types.h"

struct group;

/* What every task handed to the pool of a put begins with: how to free it when it is not run. */
struct pool_task {
	void (*drop)(struct pool_task *task);
};

/* Tasks go to `pool` at `rank`. One worker number is used by one thread at a time. */
LARDER_MUST_USE int group_open(struct group **out, struct larder_store *store, struct pool *pool,
    unsigned rank, struct packer *packer, struct larder_err *err);
/* After the pool's end. NULL is fine. */
void group_close(struct group *group);

struct group_chunk {
	enum pack_type type;
	const struct larder_id *id;
	const uint8_t *data; /* copied */
	uint32_t len;
	const char *name; /* last component of the path, for its extension; may be "" */
	uint32_t name_len;
	const struct larder_id
	    *base;   /* the same path's chunk or tree in the previous version, or NULL */
	bool sketch; /* likely to have near relatives: worth looking for them by sketch */
};
LARDER_MUST_USE int group_add(
    struct group *group, const struct group_chunk *chunk, struct larder_err *err);

/*
 * Chunks of a large file that stand side by side: data is the first one's
 * bytes. Compressed here and now by the calling worker.
 */
LARDER_MUST_USE int group_run(struct group *group, unsigned worker, const uint8_t *data,
    const struct larder_id *ids, const uint32_t *lengths, uint32_t count, struct larder_err *err);
/* Shorter runs than this are better added chunk by chunk. */
enum { GROUP_RUN_MIN = 128 * 1024 };

/* Send off what is gathered: 1 if there was something, 0 if not. */
LARDER_MUST_USE int group_flush(struct group *group, struct larder_err *err);

#endif
