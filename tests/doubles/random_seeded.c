/* Random bytes that are the same in every run. Each call draws from a counter of its own, so that
 * the bytes do not depend on which thread asked for how many. */
#include <errno.h>
#include <stdatomic.h>

#include "tests/doubles/doubles.h"

static _Atomic uint64_t seed_now, draws;
static atomic_long calls_left; /* -1 = no end */

static uint64_t
scramble(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15u;
	x ^= x >> 29;
	x *= 0xd6e8feb86659fd93u;
	return x ^ x >> 32;
}

static int
random_seeded(void *buf, size_t len)
{
	uint64_t call = atomic_fetch_add(&draws, 1) + 1;
	uint8_t *out = buf;

	if (atomic_load(&calls_left) >= 0 && atomic_fetch_sub(&calls_left, 1) <= 0) {
		atomic_store(&calls_left, 0);
		errno = EIO;
		return -1;
	}
	for (size_t i = 0; i < len; i++) {
		uint64_t word = scramble(atomic_load(&seed_now) + scramble(call * 65536 + i / 8));

		out[i] = (uint8_t)(word >> (8 * (i % 8)));
	}
	return 0;
}

void
random_seeded_into(struct larder_sys *sys, uint64_t seed)
{
	atomic_store(&seed_now, seed);
	atomic_store(&draws, 0);
	atomic_store(&calls_left, -1);
	sys->random_bytes = random_seeded;
}

void
random_seeded_set(uint64_t seed)
{
	struct larder_sys sys = { .size = sizeof sys };

	random_seeded_into(&sys, seed);
	larder_sys_set(&sys);
}

void
random_seeded_fail_after(long calls)
{
	atomic_store(&calls_left, calls);
}
