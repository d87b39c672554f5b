#ifndef LARDER_IDSET_H
#define LARDER_IDSET_H

/*
 * A map from ids to 64-bit integers, in memory: open addressing, grows by
 * doubling, at most `count_max` ids (then LIMIT). Ids are uniformly distributed
 * hashes, so their first bytes are the hash. Not shareable by threads without
 * the caller's lock. A set is a map whose values nobody reads.
 */
#include "cas/types.h"

struct idset {
	struct larder_id *ids;
	uint64_t *values;
	uint8_t *used;
	size_t count;
	size_t room; /* a power of two, or 0 */
	size_t count_max;
};

void idset_init(struct idset *set, size_t count_max);
void idset_release(struct idset *set);
void idset_clear(struct idset *set); /* empties, keeps the memory */
/* 1 = added, 0 = was there (its value stays), negative = NOMEM or LIMIT */
LARDER_MUST_USE int idset_add(struct idset *set, const struct larder_id *id, uint64_t value);
/* pointer to the value, or NULL; lent until the next change */
uint64_t *idset_find(const struct idset *set, const struct larder_id *id);

#endif
