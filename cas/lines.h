#ifndef LARDER_LINES_H
#define LARDER_LINES_H

/*
 * Small files that a person can read: lines "key value", in a fixed order, and
 * as the last line the SHA-256 of the lines before it. `config` and `writer`
 * are such files. Pure.
 *
 * Reading: lines_open() compares the last line; then lines_take() and its kin
 * take one line after the other, each only if it has the key asked for.
 */
#include "cas/base/buf.h"
#include "cas/types.h"

enum { LINES_LEN_MAX = 4096 }; /* a file of this kind has a few hundred bytes */

struct lines {
	const char *at, *end; /* what was not taken yet, without the last line */
};

/* False: no such file, or changed since it was written. The data are lent. */
bool lines_open(struct lines *out, const void *data, size_t len);
/* The next line is `key` or `key value`: takes it and lends the value (not terminated). */
bool lines_take(struct lines *lines, const char *key, const char **value, size_t *value_len);
/* The same, and the value is a decimal number without leading zeros. */
bool lines_take_number(struct lines *lines, const char *key, uint64_t *out);
/* The same, and the value is 2 * len hex digits. */
bool lines_take_hex(struct lines *lines, const char *key, uint8_t *out, size_t len);
bool lines_done(const struct lines *lines);

/* Append one line; value NULL = the key alone. NOMEM, LIMIT. */
LARDER_MUST_USE int lines_put(struct buf *out, const char *key, const char *value);
LARDER_MUST_USE int lines_put_number(struct buf *out, const char *key, uint64_t value);
LARDER_MUST_USE int lines_put_hex(
    struct buf *out, const char *key, const uint8_t *bytes, size_t len);
/* Append the last line. */
LARDER_MUST_USE int lines_seal(struct buf *out);

#endif
