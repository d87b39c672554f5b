#ifndef LARDER_INDEX_NAMES_H
#define LARDER_INDEX_NAMES_H

/* What names.c (versions of one name) and nameorder.c (one name after the other) share. */
#include "index/table.h"

/* A name and its key, with room for what other tables put behind it. Lends the text. */
struct name {
	const char *text;
	size_t len;
	size_t key_len;
	uint8_t key[ROW_KEY_MAX];
};

/* 1 .. NAME_LEN_MAX bytes. */
void name_set(struct name *n, const char *text, size_t len);
/* The latest version at that time, `row` being the name's: NOT_FOUND when there was none. */
LARDER_MUST_USE int name_latest(struct index_version_row *out, struct index_read *read,
    const struct name *n, const struct row_name *row, int64_t at_ns, struct larder_err *err);

#endif
