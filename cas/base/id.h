#ifndef LARDER_ID_H
#define LARDER_ID_H

/*
 * 32-byte object ids and 16-byte random ids (packs, writers, stores, version
 * gids): hex both ways.
 */
#include <stdbool.h>
#include <string.h>

#include "cas/types.h"

enum { ID_HEX_LEN = 64, ID16_LEN = 16, ID16_HEX_LEN = 32 };

struct id16 {
	uint8_t bytes[ID16_LEN];
};

static inline bool
id_equal(const struct larder_id *a, const struct larder_id *b)
{
	return memcmp(a->bytes, b->bytes, LARDER_ID_LEN) == 0;
}

static inline int
id_compare(const struct larder_id *a, const struct larder_id *b)
{
	return memcmp(a->bytes, b->bytes, LARDER_ID_LEN);
}

bool id_is_zero(const struct larder_id *id);
/* out: 2 * len digits and a NUL */
void hex_encode(char *out, const uint8_t *bytes, size_t len);
/* exactly 2 * len lower- or upper-case digits; false otherwise */
bool hex_decode(uint8_t *out, size_t len, const char *hex, size_t hex_len);
void id_to_hex(char out[ID_HEX_LEN + 1], const struct larder_id *id);
bool id_from_hex(struct larder_id *out, const char *hex, size_t hex_len);
void id16_to_hex(char out[ID16_HEX_LEN + 1], const struct id16 *id);
bool id16_from_hex(struct id16 *out, const char *hex, size_t hex_len);
/* A fresh random id through the seam. */
LARDER_MUST_USE int id16_random(struct id16 *out, struct larder_err *err);
/*
 * The range of ids that start with the given 1..64 hex digits: lowest and
 * highest; false when a digit is wrong. For `id:HEX`.
 */
bool id_prefix_range(struct larder_id *lowest, struct larder_id *highest, const char *hex,
    size_t hex_len);

#endif
