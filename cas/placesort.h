#ifndef LARDER_PLACESORT_H
#define LARDER_PLACESORT_H

/*
 * Places of chunks, sorted by id, in bounded memory: runs are sorted in memory,
 * spilled to files in tmp/ when there is more than one, and merged.
 *
 *	placesort_open(&sort, root_fd, PLACESORT_ROWS, err);
 *	placesort_add(sort, &id, &place, err);              as often as needed
 *	while ((rc = placesort_next(&id, &place, sort, err)) == 1)
 *		...
 *	placesort_close(sort);
 *
 * Of equal ids only one comes out: the one in the pack with the lowest number, and
 * in it the one that stands first. Not shareable by threads.
 */
#include "cas/types.h"
#include "index/index.h"

struct placesort;

enum { PLACESORT_ROWS = 1024 * 1024 }; /* of one run: 52 MiB */

/* root_fd: the store's directory, lent until close. rows_max: of one run. */
LARDER_MUST_USE int placesort_open(struct placesort **out, int root_fd, size_t rows_max,
    struct larder_err *err);
LARDER_MUST_USE int placesort_add(struct placesort *sort, const struct larder_id *id,
    const struct index_place *place, struct larder_err *err);
/* 1 = the next in order, 0 = no more. After the first call nothing is added. */
LARDER_MUST_USE int placesort_next(struct larder_id *id, struct index_place *place,
    struct placesort *sort, struct larder_err *err);
void placesort_close(struct placesort *sort); /* NULL is fine */

#endif
