#ifndef LARDER_FILE_H
#define LARDER_FILE_H

/*
 * Files through the seam (cas/sys.h). Directories are handles (descriptors) and
 * paths are relative to them. Everything is opened with O_CLOEXEC; EINTR is
 * retried; short reads and writes are completed. A status is returned and the
 * sentence names the path given.
 */
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "cas/base/buf.h"
#include "cas/types.h"

/*
 * *fd on success, -1 otherwise; NOT_FOUND when absent, EXISTS when O_EXCL finds
 * one. flags without O_CLOEXEC.
 */
LARDER_MUST_USE int file_open(int *fd, int dirfd, const char *path, int flags, mode_t mode,
    struct larder_err *err);
/* Close errors count only for files that were written: this one reports them. fd -1 is fine. */
LARDER_MUST_USE int file_close_checked(int fd, const char *path, struct larder_err *err);
void file_close(int fd); /* fd -1 is fine; errors are ignored: for readers and abandoned files */

/* Exactly len bytes, else CORRUPT "cut short" (or IO). */
LARDER_MUST_USE int file_pread_all(int fd, void *buf, size_t len, uint64_t at, const char *path,
    struct larder_err *err);
/* Up to len bytes; *got < len only at the end of the file. */
LARDER_MUST_USE int file_pread_some(size_t *got, int fd, void *buf, size_t len, uint64_t at,
    const char *path, struct larder_err *err);
LARDER_MUST_USE int file_pwrite_all(int fd, const void *buf, size_t len, uint64_t at,
    const char *path, struct larder_err *err);
LARDER_MUST_USE int file_sync(int fd, const char *path, struct larder_err *err);     /* fsync */
LARDER_MUST_USE int file_datasync(int fd, const char *path, struct larder_err *err); /* fdatasync */
LARDER_MUST_USE int file_truncate(int fd, uint64_t len, const char *path, struct larder_err *err);
LARDER_MUST_USE int file_rename(int from_dir, const char *from, int to_dir, const char *to,
    struct larder_err *err);
/* NOT_FOUND when absent */
LARDER_MUST_USE int file_unlink(int dirfd, const char *path, struct larder_err *err);
/* EXISTS when there is something of that name */
LARDER_MUST_USE int file_mkdir(int dirfd, const char *path, mode_t mode, struct larder_err *err);
/* Opens the directory and fsyncs it: makes names in it durable. "." for dirfd itself. */
LARDER_MUST_USE int file_sync_dir(int dirfd, const char *path, struct larder_err *err);
LARDER_MUST_USE int file_size(uint64_t *size, int fd, const char *path, struct larder_err *err);

/* A whole small file, at most max bytes (LIMIT beyond); what was in out is replaced. */
LARDER_MUST_USE int file_read_whole(struct buf *out, int dirfd, const char *path, size_t max,
    struct larder_err *err);
/*
 * The durable way to write a small file: `path`.tmp-<random> beside it, write,
 * fsync, close, rename over `path`, fsync of the directory. After an error the
 * old content stands (or, if only the last sync failed, the new one may be there
 * without being durable). `replace` false: EXISTS when there is one already (linkat-free:
 * checked before the rename, callers hold a lock where it matters).
 */
LARDER_MUST_USE int file_write_whole(int dirfd, const char *path, const void *data, size_t len,
    mode_t mode, bool replace, struct larder_err *err);

/*
 * OFD lock on [start, start+len). wait false: BUSY when held by another open
 * file description. Dies with the descriptor.
 */
LARDER_MUST_USE int file_lock(int fd, uint64_t start, uint64_t len, bool exclusive, bool wait,
    const char *path, struct larder_err *err);
LARDER_MUST_USE int file_unlock(int fd, uint64_t start, uint64_t len, const char *path,
    struct larder_err *err);

/*
 * Names in a directory, without "." and "..", sorted bytewise; *names is one
 * allocation (free with mem_free): an array of *count pointers, strings behind it.
 */
LARDER_MUST_USE int file_list(char ***names, size_t *count, int dirfd, const char *path,
    struct larder_err *err);

/*
 * REFUSED when the file system of fd is NFS, CIFS/SMB, 9p, FUSE, AFS, Ceph or
 * the like; the message names it.
 */
LARDER_MUST_USE int file_refuse_network_fs(int fd, const char *path, struct larder_err *err);

/* Free bytes for an unprivileged writer on fd's file system. */
LARDER_MUST_USE int file_free_space(uint64_t *bytes, int fd, struct larder_err *err);

#endif
