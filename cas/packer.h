#ifndef LARDER_PACKER_H
#define LARDER_PACKER_H

/*
 * Finished segments -> packs -> commits, for the one who takes in much: workers
 * add segments, full packs go to a committer of their own, so that nobody waits
 * for the disk while there is something to compress.
 *
 * Full packs are committed by themselves, as many at once as have gathered while
 * the last commit ran (a killed put resumes there); packer_end commits the rest
 * together with the caller's last operations.
 */
#include "cas/commit.h"
#include "cas/store.h"
#include "cas/types.h"

struct packer;

/* dry_run: segments are counted and thrown away. */
LARDER_MUST_USE int packer_open(
    struct packer **out, struct larder_store *store, bool dry_run, struct larder_err *err);
/*
 * Take one segment (copied). Any thread. Blocks while too much waits for the
 * disk. After a failed commit every call returns its error.
 */
LARDER_MUST_USE int packer_add(struct packer *packer, const struct buf *segment,
    const struct larder_id *ids, const uint32_t *lengths, uint32_t count, struct larder_err *err);
/* A sketch of a chunk that was added: a hint, written with some later commit. Dropped when out of
 * memory. */
void packer_sketch(struct packer *packer, uint64_t feature, uint64_t id_prefix);
/*
 * No more segments: waits for commits under way and finishes the open pack, so
 * that packer_stored_bytes() can stand in the version.
 */
LARDER_MUST_USE int packer_finish(struct packer *packer, struct larder_err *err);
/*
 * After packer_finish: commit what is left with these operations (may be NULL) and the caller's own
 * hints. Nothing to commit and no operations: nothing is written.
 */
LARDER_MUST_USE int packer_end(struct packer *packer, const struct buf *operations,
    int (*hints)(void *context, struct index_write *write, struct larder_err *err), void *context,
    struct larder_err *err);
/* Bytes of packs finished and of journal written; in a dry run of segments taken. */
uint64_t packer_stored_bytes(const struct packer *packer);
void packer_close(
    struct packer *packer); /* without end: abandons what is not committed. NULL is fine */

#endif
