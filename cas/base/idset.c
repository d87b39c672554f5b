/*
 * Ids to integers by open addressing with linear steps.
 *
 * 1. room is 0 or a power of two, and at most three quarters of it are used,
 *    so that a search always ends at an unused place.
 * 2. What fails changes nothing.
 */
#include "cas/base/idset.h"

#include <string.h>

#include "cas/base/bytes.h"
#include "cas/base/id.h"
#include "cas/base/mem.h"

enum { ROOM_MIN = 64 };

void
idset_init(struct idset *set, size_t count_max)
{
	*set = (struct idset) { .count_max = count_max };
}

void
idset_release(struct idset *set)
{
	mem_free(set->ids);
	mem_free(set->values);
	mem_free(set->used);
	idset_init(set, set->count_max);
}

void
idset_clear(struct idset *set)
{
	if (set->room > 0)
		memset(set->used, 0, set->room);
	set->count = 0;
}

/* Where the id is, or the unused place where it would go. Needs room > 0. */
static size_t
place(const struct idset *set, const struct larder_id *id)
{
	size_t mask = set->room - 1;
	size_t at = (size_t)get_le64(id->bytes) & mask;

	while (set->used[at] && !id_equal(&set->ids[at], id))
		at = (at + 1) & mask;
	return at;
}

static void
occupy(struct idset *set, size_t at, const struct larder_id *id, uint64_t value)
{
	set->ids[at] = *id;
	set->values[at] = value;
	set->used[at] = 1;
	set->count++;
}

static int
grow(struct idset *set)
{
	struct idset next = { .count_max = set->count_max };

	if (set->room > SIZE_MAX / 2)
		return LARDER_ERR_NOMEM;
	next.room = set->room < ROOM_MIN ? ROOM_MIN : set->room * 2;
	next.ids = mem_array(next.room, sizeof *next.ids);
	next.values = mem_array(next.room, sizeof *next.values);
	next.used = mem_zalloc(next.room);
	if (next.ids == NULL || next.values == NULL || next.used == NULL) {
		idset_release(&next);
		return LARDER_ERR_NOMEM;
	}
	for (size_t i = 0; i < set->room; i++)
		if (set->used[i])
			occupy(&next, place(&next, &set->ids[i]), &set->ids[i], set->values[i]);
	idset_release(set);
	*set = next;
	return LARDER_OK;
}

int
idset_add(struct idset *set, const struct larder_id *id, uint64_t value)
{
	if (idset_find(set, id) != NULL)
		return 0;
	if (set->count >= set->count_max)
		return LARDER_ERR_LIMIT;
	if (set->count >= set->room / 4 * 3) {
		int rc = grow(set);

		if (rc < 0)
			return rc;
	}
	occupy(set, place(set, id), id, value);
	return 1;
}

uint64_t *
idset_find(const struct idset *set, const struct larder_id *id)
{
	size_t at;

	if (set->room == 0)
		return NULL;
	at = place(set, id);
	return set->used[at] ? &set->values[at] : NULL;
}
