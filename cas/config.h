#ifndef LARDER_CONFIG_H
#define LARDER_CONFIG_H

/*
 * The file `config` of a store: written once by init, never changed. Lines of
 * text that a person can read; the last line is the SHA-256 of the lines before
 * it. Bytes: cas/OBJECTS.md, "config".
 */
#include "cas/base/buf.h"
#include "cas/base/id.h"
#include "cas/types.h"

enum { CONFIG_FORMAT = 1, CONFIG_SEED_LEN = 32 };

struct config {
	unsigned format;
	struct id16 id;          /* of the store */
	uint32_t chunk_size;     /* mean of the first class */
	/* Of the chunker; the same constant in all plain stores: stores that exchange objects must
	 * cut alike. */
	uint8_t seed[CONFIG_SEED_LEN];
	bool prefix;             /* protocol prefix instead of local */
};

/* CORRUPT, VERSION (unknown format or required feature), NOT_FOUND */
LARDER_MUST_USE int config_read(struct config *out, int root_fd, struct larder_err *err);
/* Draws the id, writes durably. EXISTS when there is one. USAGE: a chunk size that cannot be. */
LARDER_MUST_USE int config_create(struct config *out, int root_fd, uint32_t chunk_size,
    struct larder_err *err);

/* The file's bytes, pure: decode(encode(c)) = c, and encode(decode(b)) = b unless b has
 * `note` lines, which a reader leaves out. */
LARDER_MUST_USE int config_encode(struct buf *out, const struct config *config);
LARDER_MUST_USE int config_decode(
    struct config *out, const void *data, size_t len, struct larder_err *err);

#endif
