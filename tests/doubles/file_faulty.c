/*
 * Files on a disk that fails, fills up or does less than it was asked for.
 * A call that is to fail does not happen, except close, which closes all the
 * same, as the kernel does.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/doubles/doubles.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct file_faulty_plan plan; /* lock */
static long calls, open_count;       /* lock */
static bool failed, interrupted;     /* lock */
static uint64_t space_left;          /* lock */

enum verdict { WORKS, FAILS, SHORT };

static enum verdict
judge(unsigned op)
{
	enum verdict verdict = WORKS;

	pthread_mutex_lock(&lock);
	if (plan.ops & op) {
		bool hit;

		if (plan.interrupt && interrupted) {
			interrupted = false; /* the same call again */
			pthread_mutex_unlock(&lock);
			return WORKS;
		}
		calls++;
		hit = plan.nth > 0 && (calls == plan.nth || (plan.for_ever && calls > plan.nth));
		if (hit) {
			failed = true;
			verdict = plan.shorten ? SHORT : FAILS;
			interrupted = plan.interrupt;
			errno = plan.interrupt ? EINTR : plan.code != 0 ? plan.code : EIO;
		}
	}
	pthread_mutex_unlock(&lock);
	return verdict;
}

static void
count_open(int change)
{
	pthread_mutex_lock(&lock);
	open_count += change;
	pthread_mutex_unlock(&lock);
}

static int
openat_faulty(int dirfd, const char *path, int flags, mode_t mode)
{
	int fd = judge(FILE_FAULTY_OPEN) == FAILS ? -1 : openat(dirfd, path, flags, mode);

	if (fd >= 0)
		count_open(1);
	return fd;
}

static int
close_faulty(int fd)
{
	enum verdict verdict = judge(FILE_FAULTY_CLOSE);
	int code = errno, rc = close(fd);

	if (rc == 0 || errno != EBADF)
		count_open(-1);
	if (verdict != FAILS)
		return rc;
	errno = code;
	return -1;
}

static ssize_t
pread_faulty(int fd, void *buf, size_t len, off_t at)
{
	switch (judge(FILE_FAULTY_READ)) {
	case FAILS:
		return -1;
	case SHORT:
		return pread(fd, buf, len > 1 ? len / 2 : len, at);
	default:
		return pread(fd, buf, len, at);
	}
}

/* Bytes of `len` that there is space for; counted as used. */
static size_t
use_space(size_t len)
{
	size_t n = len;

	pthread_mutex_lock(&lock);
	if (plan.has_space) {
		if (n > space_left)
			n = (size_t)space_left;
		space_left -= n;
		if (n < len)
			failed = true;
	}
	pthread_mutex_unlock(&lock);
	return n;
}

static ssize_t
pwritev_faulty(int fd, const struct iovec *iov, int iov_count, off_t at)
{
	struct iovec cut[16];
	size_t want = 0, may;
	int n = 0;

	switch (judge(FILE_FAULTY_WRITE)) {
	case FAILS:
		return -1;
	case SHORT:
		for (int i = 0; i < iov_count; i++)
			want += iov[i].iov_len;
		want = want > 1 ? want / 2 : want;
		break;
	default:
		for (int i = 0; i < iov_count; i++)
			want += iov[i].iov_len;
	}
	may = use_space(want);
	if (may == 0 && want > 0) {
		errno = ENOSPC;
		return -1;
	}
	for (size_t left = may; left > 0 && n < iov_count && n < 16; n++) {
		cut[n] = iov[n];
		if (cut[n].iov_len > left)
			cut[n].iov_len = left;
		left -= cut[n].iov_len;
	}
	return pwritev(fd, cut, n, at);
}

static int
fsync_faulty(int fd)
{
	return judge(FILE_FAULTY_SYNC) == FAILS ? -1 : fsync(fd);
}

static int
fdatasync_faulty(int fd)
{
	return judge(FILE_FAULTY_SYNC) == FAILS ? -1 : fdatasync(fd);
}

static int
ftruncate_faulty(int fd, off_t len)
{
	return judge(FILE_FAULTY_TRUNCATE) == FAILS ? -1 : ftruncate(fd, len);
}

static int
renameat_faulty(int from_dirfd, const char *from, int to_dirfd, const char *to)
{
	if (judge(FILE_FAULTY_RENAME) == FAILS)
		return -1;
	return renameat(from_dirfd, from, to_dirfd, to);
}

static int
unlinkat_faulty(int dirfd, const char *path, int flags)
{
	return judge(FILE_FAULTY_UNLINK) == FAILS ? -1 : unlinkat(dirfd, path, flags);
}

static int
mkdirat_faulty(int dirfd, const char *path, mode_t mode)
{
	return judge(FILE_FAULTY_MKDIR) == FAILS ? -1 : mkdirat(dirfd, path, mode);
}

void
file_faulty_into(struct larder_sys *sys, const struct file_faulty_plan *next)
{
	pthread_mutex_lock(&lock);
	plan = *next;
	calls = open_count = 0;
	failed = interrupted = false;
	space_left = next->space;
	pthread_mutex_unlock(&lock);

	sys->file_openat = openat_faulty;
	sys->file_close = close_faulty;
	sys->file_pread = pread_faulty;
	sys->file_pwritev = pwritev_faulty;
	sys->file_fsync = fsync_faulty;
	sys->file_fdatasync = fdatasync_faulty;
	sys->file_ftruncate = ftruncate_faulty;
	sys->file_renameat = renameat_faulty;
	sys->file_unlinkat = unlinkat_faulty;
	sys->file_mkdirat = mkdirat_faulty;
}

void
file_faulty_set(const struct file_faulty_plan *next)
{
	struct larder_sys sys = { .size = sizeof sys };

	file_faulty_into(&sys, next);
	larder_sys_set(&sys);
}

static long
read_counter(const long *counter)
{
	long n;

	pthread_mutex_lock(&lock);
	n = *counter;
	pthread_mutex_unlock(&lock);
	return n;
}

long
file_faulty_calls(void)
{
	return read_counter(&calls);
}

bool
file_faulty_failed(void)
{
	bool answer;

	pthread_mutex_lock(&lock);
	answer = failed;
	pthread_mutex_unlock(&lock);
	return answer;
}

long
file_faulty_open(void)
{
	return read_counter(&open_count);
}
