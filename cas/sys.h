#ifndef LARDER_SYS_H
#define LARDER_SYS_H

/*
 * The seams: all memory, files, clock and randomness of the library pass
 * through these tables, so that a test can make every one of them fail.
 * larder_sys_set() is process-wide and must be called before the first store
 * is opened; members left NULL keep their defaults, and NULL for the whole table
 * puts all defaults back. Less stable than larder.h.
 */
#include "cas/types.h"

#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

struct larder_sys {
	size_t size; /* sizeof(struct larder_sys) of the caller */

	/* memory; malloc semantics */
	void *(*mem_alloc)(size_t size);
	void *(*mem_realloc)(void *ptr, size_t size);
	void (*mem_free)(void *ptr);

	/* files; POSIX semantics: -1 and errno */
	int (*file_openat)(int dirfd, const char *path, int flags, mode_t mode);
	int (*file_close)(int fd);
	ssize_t (*file_pread)(int fd, void *buf, size_t len, off_t at);
	ssize_t (*file_pwritev)(int fd, const struct iovec *iov, int iov_count, off_t at);
	int (*file_fsync)(int fd);
	int (*file_fdatasync)(int fd);
	int (*file_ftruncate)(int fd, off_t len);
	int (*file_renameat)(int from_dirfd, const char *from, int to_dirfd, const char *to);
	int (*file_unlinkat)(int dirfd, const char *path, int flags);
	int (*file_mkdirat)(int dirfd, const char *path, mode_t mode);

	/* nanoseconds since 1970 (UTC), and a clock that never goes back */
	int64_t (*clock_now_ns)(void);
	int64_t (*clock_mono_ns)(void);

	/* fills buf with unpredictable bytes; 0, or -1 and errno */
	int (*random_bytes)(void *buf, size_t len);
};

LARDER_API void larder_sys_set(const struct larder_sys *sys);

#endif
