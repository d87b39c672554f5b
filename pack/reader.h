#ifndef LARDER_PACK_READER_H
#define LARDER_PACK_READER_H

/* What pack/scan.c needs of pack/reader.c: a pack's descriptor, lent. */
#include "pack/pack.h"

struct pack_slot;

/*
 * The open file of a pack: *fd is lent until pack_files_give_back(), also when
 * other threads make the cache drop the pack. NOT_FOUND when it is not there.
 */
LARDER_MUST_USE int pack_files_take(struct pack_slot **slot, int *fd, struct pack_files *files,
    const struct id16 *pack, struct larder_err *err);
void pack_files_give_back(struct pack_files *files, struct pack_slot *slot);

#endif
