/*
 * The seams with what stands behind them by default: libc and the kernel.
 *
 * 1. Every member of `seam` can be called at any time.
 * 2. larder_sys_set() starts from the defaults each time, so that a test that
 *    sets a table with one member undoes what the test before it set.
 */
#include "cas/base/seam.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h> /* renameat */
#include <stdlib.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

static int
open_by_libc(int dirfd, const char *path, int flags, mode_t mode)
{
	return openat(dirfd, path, flags, mode);
}

static int64_t
read_clock(clockid_t clock)
{
	struct timespec t;

	if (clock_gettime(clock, &t) < 0)
		return 0; /* both clocks exist wherever this runs */
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static int64_t
now_by_libc(void)
{
	return read_clock(CLOCK_REALTIME);
}

static int64_t
mono_by_libc(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

static int
random_by_kernel(void *buf, size_t len)
{
	uint8_t *at = buf;

	while (len > 0) {
		ssize_t n = getrandom(at, len, 0);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		at += n;
		len -= (size_t)n;
	}
	return 0;
}

#define SEAM_DEFAULTS                                                                              \
	{                                                                                          \
		.size = sizeof(struct larder_sys),                                                 \
		.mem_alloc = malloc,                                                               \
		.mem_realloc = realloc,                                                            \
		.mem_free = free,                                                                  \
		.file_openat = open_by_libc,                                                       \
		.file_close = close,                                                               \
		.file_pread = pread,                                                               \
		.file_pwritev = pwritev,                                                           \
		.file_fsync = fsync,                                                               \
		.file_fdatasync = fdatasync,                                                       \
		.file_ftruncate = ftruncate,                                                       \
		.file_renameat = renameat,                                                         \
		.file_unlinkat = unlinkat,                                                         \
		.file_mkdirat = mkdirat,                                                           \
		.clock_now_ns = now_by_libc,                                                       \
		.clock_mono_ns = mono_by_libc,                                                     \
		.random_bytes = random_by_kernel,                                                  \
	}

static const struct larder_sys defaults = SEAM_DEFAULTS;
struct larder_sys seam = SEAM_DEFAULTS;

void
larder_sys_set(const struct larder_sys *sys)
{
	struct larder_sys next = defaults;

	/* A caller compiled against an older header has a shorter struct: the rest is default. */
#define TAKE(member)                                                                               \
	if (sys->size >= offsetof(struct larder_sys, member) + sizeof sys->member                  \
	    && sys->member != NULL)                                                                \
	next.member = sys->member

	if (sys != NULL) {
		TAKE(mem_alloc);
		TAKE(mem_realloc);
		TAKE(mem_free);
		TAKE(file_openat);
		TAKE(file_close);
		TAKE(file_pread);
		TAKE(file_pwritev);
		TAKE(file_fsync);
		TAKE(file_fdatasync);
		TAKE(file_ftruncate);
		TAKE(file_renameat);
		TAKE(file_unlinkat);
		TAKE(file_mkdirat);
		TAKE(clock_now_ns);
		TAKE(clock_mono_ns);
		TAKE(random_bytes);
	}
#undef TAKE
	seam = next;
}
