/*
 * Files through the seam.
 *
 * 1. EINTR is retried and short reads and writes are completed here, and
 *    nowhere else.
 * 2. A sentence names the path it was given; who knows the folder puts it in
 *    front.
 * 3. A failed sync is reported and never tried again here: the kernel may have
 *    dropped the pages, and a second call would say that all is well.
 */
#include "cas/base/file.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/id.h"
#include "cas/base/mem.h"
#include "cas/base/random.h"
#include "cas/base/seam.h"

/* The call, again as long as a signal interrupts it. */
#define RETRY(result, call)                                                                        \
	do                                                                                         \
		(result) = (call);                                                                 \
	while ((result) < 0 && errno == EINTR)

int
file_open(int *fd, int dirfd, const char *path, int flags, mode_t mode, struct larder_err *err)
{
	int got;

	*fd = -1;
	RETRY(got, seam.file_openat(dirfd, path, flags | O_CLOEXEC, mode));
	if (got < 0 && errno == EEXIST)
		return err_set(err, LARDER_ERR_EXISTS, "%s exists already", path);
	if (got < 0)
		return err_sys(err, "open %s", path);
	*fd = got;
	return LARDER_OK;
}

int
file_close_checked(int fd, const char *path, struct larder_err *err)
{
	/* Linux frees the descriptor whatever it answers: EINTR is not a reason to call again. */
	if (fd >= 0 && seam.file_close(fd) < 0 && errno != EINTR)
		return err_sys(err, "close %s", path);
	return LARDER_OK;
}

void
file_close(int fd)
{
	int saved = errno;

	if (fd >= 0)
		seam.file_close(fd);
	errno = saved;
}

/* off_t is signed: a place beyond it is nowhere. */
static int
check_range(uint64_t at, size_t len, const char *path, struct larder_err *err)
{
	if (at > INT64_MAX || len > INT64_MAX - at)
		return err_set(err, LARDER_ERR_LIMIT, "%s: offset %llu is beyond every file", path,
		    (unsigned long long)at);
	return LARDER_OK;
}

int
file_pread_some(size_t *got, int fd, void *buf, size_t len, uint64_t at, const char *path,
    struct larder_err *err)
{
	uint8_t *to = buf;
	size_t have = 0;
	int rc;

	*got = 0;
	rc = check_range(at, len, path, err);
	if (rc < 0)
		return rc;
	while (have < len) {
		ssize_t n;

		RETRY(n, seam.file_pread(fd, to + have, len - have, (off_t)(at + have)));
		if (n < 0)
			return err_sys(err, "read %s at %llu", path,
			    (unsigned long long)(at + have));
		if (n == 0)
			break;
		have += (size_t)n;
	}
	*got = have;
	return LARDER_OK;
}

int
file_pread_all(int fd, void *buf, size_t len, uint64_t at, const char *path, struct larder_err *err)
{
	size_t got;
	int rc;

	rc = file_pread_some(&got, fd, buf, len, at, path, err);
	if (rc < 0)
		return rc;
	if (got < len)
		return err_set(err, LARDER_ERR_CORRUPT, "%s cut short: %zu of %zu bytes at %llu",
		    path, got, len, (unsigned long long)at);
	return LARDER_OK;
}

int
file_pwrite_all(int fd, const void *buf, size_t len, uint64_t at, const char *path,
    struct larder_err *err)
{
	const uint8_t *from = buf;
	size_t done = 0;
	int rc;

	rc = check_range(at, len, path, err);
	if (rc < 0)
		return rc;
	while (done < len) {
		/* iovec serves both directions and therefore has no const */
		struct iovec piece = {
			.iov_base = (void *)(uintptr_t)(from + done),
			.iov_len = len - done,
		};
		ssize_t n;

		RETRY(n, seam.file_pwritev(fd, &piece, 1, (off_t)(at + done)));
		if (n == 0) {
			errno = EIO; /* no progress and no reason: do not turn for ever */
			n = -1;
		}
		if (n < 0)
			return err_sys(err, "write %s at %llu", path,
			    (unsigned long long)(at + done));
		done += (size_t)n;
	}
	return LARDER_OK;
}

int
file_sync(int fd, const char *path, struct larder_err *err)
{
	int rc;

	RETRY(rc, seam.file_fsync(fd));
	return rc < 0 ? err_sys(err, "sync %s", path) : LARDER_OK;
}

int
file_datasync(int fd, const char *path, struct larder_err *err)
{
	int rc;

	RETRY(rc, seam.file_fdatasync(fd));
	return rc < 0 ? err_sys(err, "sync %s", path) : LARDER_OK;
}

int
file_truncate(int fd, uint64_t len, const char *path, struct larder_err *err)
{
	int rc;

	rc = check_range(len, 0, path, err);
	if (rc < 0)
		return rc;
	RETRY(rc, seam.file_ftruncate(fd, (off_t)len));
	return rc < 0 ? err_sys(err, "truncate %s", path) : LARDER_OK;
}

int
file_rename(int from_dir, const char *from, int to_dir, const char *to, struct larder_err *err)
{
	int rc;

	RETRY(rc, seam.file_renameat(from_dir, from, to_dir, to));
	return rc < 0 ? err_sys(err, "rename %s to %s", from, to) : LARDER_OK;
}

int
file_unlink(int dirfd, const char *path, struct larder_err *err)
{
	int rc;

	RETRY(rc, seam.file_unlinkat(dirfd, path, 0));
	return rc < 0 ? err_sys(err, "remove %s", path) : LARDER_OK;
}

int
file_mkdir(int dirfd, const char *path, mode_t mode, struct larder_err *err)
{
	int rc;

	RETRY(rc, seam.file_mkdirat(dirfd, path, mode));
	if (rc < 0 && errno == EEXIST)
		return err_set(err, LARDER_ERR_EXISTS, "%s exists already", path);
	return rc < 0 ? err_sys(err, "make directory %s", path) : LARDER_OK;
}

int
file_sync_dir(int dirfd, const char *path, struct larder_err *err)
{
	int fd, rc;

	rc = file_open(&fd, dirfd, path, O_RDONLY | O_DIRECTORY, 0, err);
	if (rc < 0)
		return rc;
	rc = file_sync(fd, path, err);
	file_close(fd);
	return rc;
}

int
file_size(uint64_t *size, int fd, const char *path, struct larder_err *err)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "size of %s", path);
	*size = (uint64_t)st.st_size;
	return LARDER_OK;
}

/* ------------------------------------------------------------------------------------------
 * Whole files
 */

/*
 * All of fd into the empty buffer. One byte is asked for before room is made
 * for more, so that a file of exactly `max` bytes needs no room beyond it.
 */
static int
read_to_end(struct buf *out, int fd, const char *path, size_t max, struct larder_err *err)
{
	enum { PIECE = 64 * 1024 };
	uint64_t size; /* a hint: it may grow while we read, and is 0 for files of the kernel */
	int rc;

	rc = file_size(&size, fd, path, err);
	if (rc < 0)
		return rc;
	if (size > max)
		return err_set(err, LARDER_ERR_LIMIT, "%s is longer than %zu bytes", path, max);
	for (;;) {
		size_t want = size > out->len ? (size_t)size - out->len : PIECE, got;
		uint8_t more;

		rc = file_pread_some(&got, fd, &more, 1, out->len, path, err);
		if (rc < 0 || got == 0)
			return rc;
		if (out->len == max)
			return err_set(err, LARDER_ERR_LIMIT, "%s is longer than %zu bytes", path,
			    max);
		if (want > max - out->len)
			want = max - out->len;
		rc = buf_reserve(out, want);
		if (rc < 0) {
			rc = buf_err(out, rc, err);
			err_prefix(err, "read %s", path);
			return rc;
		}
		rc = file_pread_some(&got, fd, out->data + out->len, want, out->len, path, err);
		if (rc < 0)
			return rc;
		out->len += got;
	}
}

int
file_read_whole(struct buf *out, int dirfd, const char *path, size_t max, struct larder_err *err)
{
	int fd, rc;

	buf_clear(out);
	rc = file_open(&fd, dirfd, path, O_RDONLY, 0, err);
	if (rc < 0)
		return rc;
	rc = read_to_end(out, fd, path, max, err);
	if (rc < 0)
		buf_clear(out);
	file_close(fd);
	return rc;
}

static int
refuse_existing(int dirfd, const char *path, struct larder_err *err)
{
	struct stat st;

	if (fstatat(dirfd, path, &st, AT_SYMLINK_NOFOLLOW) == 0)
		return err_set(err, LARDER_ERR_EXISTS, "%s exists already", path);
	return errno == ENOENT ? LARDER_OK : err_sys(err, "look at %s", path);
}

/* `path`.tmp-<random>, caller owns; NULL and the status in *rc when it cannot be. */
static char *
temporary_name(int *rc, const char *path, struct larder_err *err)
{
	size_t room = strlen(path) + sizeof ".tmp-" + 16;
	uint8_t bytes[8];
	char hex[17], *name;

	*rc = random_bytes(bytes, sizeof bytes, err);
	if (*rc < 0)
		return NULL;
	name = mem_alloc(room);
	if (name == NULL) {
		*rc = err_nomem(err);
		return NULL;
	}
	hex_encode(hex, bytes, sizeof bytes);
	snprintf(name, room, "%s.tmp-%s", path, hex);
	return name;
}

/* Make the name `path` durable: sync the directory that holds it. */
static int
sync_parent(int dirfd, const char *path, struct larder_err *err)
{
	const char *slash = strrchr(path, '/');
	char *parent;
	int rc;

	if (slash == NULL)
		return file_sync_dir(dirfd, ".", err);
	parent = mem_strdup(path);
	if (parent == NULL)
		return err_nomem(err);
	parent[slash == path ? 1 : slash - path] = '\0';
	rc = file_sync_dir(dirfd, parent, err);
	mem_free(parent);
	return rc;
}

int
file_write_whole(int dirfd, const char *path, const void *data, size_t len, mode_t mode,
    bool replace, struct larder_err *err)
{
	char *temporary = NULL;
	bool made = false;
	int fd = -1, rc;

	if (!replace) {
		rc = refuse_existing(dirfd, path, err);
		if (rc < 0)
			return rc;
	}
	temporary = temporary_name(&rc, path, err);
	if (temporary == NULL)
		goto out;
	rc = file_open(&fd, dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL, mode, err);
	if (rc < 0)
		goto out;
	made = true;
	rc = file_pwrite_all(fd, data, len, 0, temporary, err);
	if (rc < 0)
		goto out;
	rc = file_sync(fd, temporary, err);
	if (rc < 0)
		goto out;
	rc = file_close_checked(fd, temporary, err);
	fd = -1;
	if (rc < 0)
		goto out;
	if (!replace) {
		rc = refuse_existing(dirfd, path, err);
		if (rc < 0)
			goto out;
	}
	rc = file_rename(dirfd, temporary, dirfd, path, err);
	if (rc < 0)
		goto out;
	made = false;
	rc = sync_parent(dirfd, path, err);
out:
	file_close(fd);
	if (made)
		seam.file_unlinkat(dirfd, temporary, 0); /* the first error is the one to tell */
	mem_free(temporary);
	return rc;
}

/* ------------------------------------------------------------------------------------------
 * Locks
 */

static int
set_lock(int fd, short type, uint64_t start, uint64_t len, bool wait)
{
	struct flock lock = {
		.l_type = type,
		.l_whence = SEEK_SET,
		.l_start = (off_t)start,
		.l_len = (off_t)len,
	};
	int rc;

	RETRY(rc, fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock));
	return rc;
}

int
file_lock(int fd, uint64_t start, uint64_t len, bool exclusive, bool wait, const char *path,
    struct larder_err *err)
{
	assert(start <= INT64_MAX && len <= INT64_MAX - start);
	if (set_lock(fd, exclusive ? F_WRLCK : F_RDLCK, start, len, wait) == 0)
		return LARDER_OK;
	if (errno == EAGAIN || errno == EACCES)
		return err_set(err, LARDER_ERR_BUSY, "%s is held by another", path);
	return err_sys(err, "lock %s", path);
}

int
file_unlock(int fd, uint64_t start, uint64_t len, const char *path, struct larder_err *err)
{
	assert(start <= INT64_MAX && len <= INT64_MAX - start);
	if (set_lock(fd, F_UNLCK, start, len, false) < 0)
		return err_sys(err, "unlock %s", path);
	return LARDER_OK;
}

/* ------------------------------------------------------------------------------------------
 * Directories and file systems
 */

static int
compare_names(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* All names, each with its NUL, in the order of the directory. */
static int
read_names(struct buf *text, size_t *count, DIR *dir, const char *path, struct larder_err *err)
{
	const struct dirent *entry;

	*count = 0;
	while (errno = 0, (entry = readdir(dir)) != NULL) {
		const char *name = entry->d_name;
		int rc;

		if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
			continue;
		rc = buf_append(text, name, strlen(name) + 1);
		if (rc < 0) {
			rc = buf_err(text, rc, err);
			err_prefix(err, "list %s", path);
			return rc;
		}
		(*count)++;
	}
	return errno != 0 ? err_sys(err, "list %s", path) : LARDER_OK;
}

/* One allocation: the pointers, then what they point to. NULL when out of memory. */
static char **
names_of_text(const struct buf *text, size_t count)
{
	char **names = mem_alloc(count * sizeof *names + text->len);
	char *at;

	if (names == NULL || count == 0)
		return names;
	at = (char *)(names + count);
	memcpy(at, text->data, text->len);
	for (size_t i = 0; i < count; i++) {
		names[i] = at;
		at += strlen(at) + 1;
	}
	qsort(names, count, sizeof *names, compare_names);
	return names;
}

int
file_list(char ***names, size_t *count, int dirfd, const char *path, struct larder_err *err)
{
	struct buf text;
	DIR *dir = NULL;
	int fd, copy, rc;

	*names = NULL;
	*count = 0;
	buf_init(&text, 1024 * 1024 * 1024);
	rc = file_open(&fd, dirfd, path, O_RDONLY | O_DIRECTORY, 0, err);
	if (rc < 0)
		goto out;
	/* closedir() closes its descriptor, and ours must be closed through the seam */
	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	dir = copy < 0 ? NULL : fdopendir(copy);
	if (dir == NULL) {
		rc = err_sys(err, "list %s", path);
		if (copy >= 0)
			close(copy);
		goto out;
	}
	rc = read_names(&text, count, dir, path, err);
	if (rc < 0)
		goto out;
	*names = names_of_text(&text, *count);
	if (*names == NULL)
		rc = err_nomem(err);
out:
	if (rc < 0)
		*count = 0;
	if (dir != NULL)
		closedir(dir);
	file_close(fd);
	buf_release(&text);
	return rc;
}

int
file_refuse_network_fs(int fd, const char *path, struct larder_err *err)
{
	/* Their maps are not coherent between machines, or their locks do not hold. */
	static const struct {
		uint32_t magic;
		const char *name;
	} refused[] = {
		{ 0x00006969, "NFS" },
		{ 0x0000517b, "SMB" },
		{ 0xff534d42, "CIFS" },
		{ 0xfe534d42, "SMB" },
		{ 0x01021997, "9p" },
		{ 0x65735546, "FUSE" },
		{ 0x5346414f, "AFS" },
		{ 0x6b414653, "AFS" },
		{ 0x00c36400, "Ceph" },
		{ 0x73757245, "Coda" },
		{ 0x0000564c, "NCP" },
		{ 0x0bd00bd0, "Lustre" },
		{ 0x47504653, "GPFS" },
		{ 0x01161970, "GFS2" },
		{ 0x7461636f, "OCFS2" },
		{ 0x786f4256, "a VirtualBox shared folder" },
		{ 0xbacbacbc, "a VMware shared folder" },
	};
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return err_sys(err, "file system of %s", path);
	for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++)
		if ((uint32_t)fs.f_type == refused[i].magic) {
			err_set(err, LARDER_ERR_REFUSED, "%s is on %s", path, refused[i].name);
			err_hint(err, "a local store needs a local file system");
			return LARDER_ERR_REFUSED;
		}
	return LARDER_OK;
}

int
file_free_space(uint64_t *bytes, int fd, struct larder_err *err)
{
	struct statvfs fs;

	if (fstatvfs(fd, &fs) < 0)
		return err_sys(err, "free space");
	if (__builtin_mul_overflow((uint64_t)fs.f_bavail, (uint64_t)fs.f_frsize, bytes))
		*bytes = UINT64_MAX;
	return LARDER_OK;
}
