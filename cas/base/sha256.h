#ifndef LARDER_SHA256_H
#define LARDER_SHA256_H

/*
 * SHA-256 (FIPS 180-4): one digest, a stream, or many digests at once.
 *
 * Many at once is the fast way: independent messages run side by side in the
 * lanes of vector registers, or two by two through the SHA instructions. What
 * is used follows from the machine (cas/base/cpu.h) and from how many messages
 * are left; all ways give the same digests, and none allocates.
 *
 * Callers with several chunks should hand them over together: 64 and more keep
 * the lanes 95 percent full though chunks differ in length. Where the first
 * cache has 8 ways (before Ice Lake), messages that all start at the same place
 * of a 4 KiB page push each other out and take twice as long; cuts by content
 * avoid it by themselves, slots of a fixed size need a skew of 64 bytes.
 */
#include "cas/types.h"

/* One message and where its digest goes. `data` may be NULL if `len` is 0. */
struct sha256_job {
	const void *data;
	size_t len;
	struct larder_id *out;
};

/* A stream. The caller's storage, no resources: init, update as often as needed, final. */
struct sha256 {
	uint32_t state[8];
	uint64_t len;     /* bytes so far */
	uint8_t held[64]; /* the len % 64 bytes that no block holds yet */
};

/* The ways to digest; all but the scalar one depend on the machine. */
enum sha256_way {
	SHA256_SCALAR,    /* portable C, one message */
	SHA256_INSTR,     /* SHA instructions, one message */
	SHA256_INSTR_TWO, /* SHA instructions, two messages interleaved */
	SHA256_NEON,      /* 4 lanes */
	SHA256_AVX2,      /* 8 lanes */
	SHA256_AVX512VL,  /* 8 lanes with rotates and three-input logic */
	SHA256_AVX512,    /* 16 lanes */
	SHA256_WAY_COUNT,
};

/* The digest of `len` bytes at `data`. */
void sha256(struct larder_id *out, const void *data, size_t len);

/*
 * The digests of all `jobs`, each to its own `out`. The order in which they
 * are done is not the order of the array, which is left as it is.
 */
void sha256_many(const struct sha256_job *jobs, size_t count);

void sha256_init(struct sha256 *stream);
void sha256_update(struct sha256 *stream, const void *data, size_t len);
/* The digest of all that was given. The stream needs sha256_init() before it is used again. */
void sha256_final(struct sha256 *stream, struct larder_id *out);

/*
 * Compare every way this machine would use with the scalar code, and the
 * scalar code with a published vector. Returns 0; or -1 if something differs:
 * then the scalar code is used for the rest of the process. Costs 50 to 90
 * microseconds; once per process, before the first digest that matters.
 */
int sha256_self_check(void);

/* What is used now, for people, such as "one: instr; many: instr from 1,
 * instr x2 from 2, avx512vl x8 from 7, avx512 x16 from 12": the ways, each from
 * so many messages on. Lent until the thread calls it again. */
const char *sha256_describe(void);

/* For tests and bench: the name of a way, and all jobs by that way alone, idle
 * lanes and all. Returns 0, or -1 if the machine does not have it (also with
 * `count` 0, which is how to ask). */
const char *sha256_way_name(enum sha256_way way);
int sha256_many_with(enum sha256_way way, const struct sha256_job *jobs, size_t count);

#endif
