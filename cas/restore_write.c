/*
 * Chunks -> files.
 *
 * Pieces come sorted by place. Segment by segment: decode, hash every chunk
 * that is wanted, compare; only then is anything of it written. The pieces are
 * then put in the order of directories and files, so that neighbours in a file
 * become one write and neighbours in a directory use one handle.
 *
 * A file whose whole content is at hand is made, written and finished in one go;
 * the others (struct restore_large) are made by whoever has their first piece,
 * and finished by whoever writes their last.
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/rmtree.h"

enum {
	HOLE_LEN = 4096, /* a block of zeros becomes a hole, if the file had some */
	COMPARE_LEN = 256 * 1024,
	WRITEBACK_LEN_MIN = 1024 * 1024 /* files from this length on are sent to the disk at once */
};

/* ---- bytes ---- */

static bool
is_zero(const uint8_t *data, size_t len)
{
	return data[0] == 0 && memcmp(data, data + 1, len - 1) == 0;
}

/* Blocks are those of the file: `at` is where data begins. Skips zeros: the file has its length. */
static int
write_around_holes(
    int fd, const uint8_t *data, size_t len, uint64_t at, const char *name, struct larder_err *err)
{
	size_t from = 0, to = 0; /* not written yet */

	while (to < len) {
		size_t block = HOLE_LEN - (size_t)((at + to) % HOLE_LEN);
		int rc;

		if (block > len - to)
			block = len - to;
		if (!is_zero(data + to, block)) {
			to += block;
			continue;
		}
		rc = file_pwrite_all(fd, data + from, to - from, at + from, name, err);
		if (rc < 0)
			return rc;
		from = to += block;
	}
	return file_pwrite_all(fd, data + from, to - from, at + from, name, err);
}

/* 1: the file has exactly these bytes there. */
static int
is_there(struct restore_worker *w, int fd, const uint8_t *data, size_t len, uint64_t at,
    const char *name, struct larder_err *err)
{
	size_t done = 0;
	int rc;

	rc = buf_resize(&w->scratch, COMPARE_LEN);
	if (rc < 0)
		return buf_err(&w->scratch, rc, err);
	while (done < len) {
		size_t got, want = len - done < COMPARE_LEN ? len - done : COMPARE_LEN;

		rc = file_pread_some(&got, fd, w->scratch.data, want, at + done, name, err);
		if (rc < 0)
			return rc;
		if (got < want || memcmp(w->scratch.data, data + done, want) != 0)
			return 0;
		done += want;
	}
	return 1;
}

/* Blocks that differ from what is there are written; so holes that are right stay holes. */
static int
correct_window(int fd, const uint8_t *data, const uint8_t *have, size_t len, uint64_t at,
    const char *name, struct larder_err *err)
{
	size_t from = 0, to = 0; /* differ, and are not written yet */

	while (to < len) {
		size_t block = len - to < HOLE_LEN ? len - to : HOLE_LEN;
		int rc;

		if (memcmp(data + to, have + to, block) != 0) {
			to += block;
			continue;
		}
		rc = file_pwrite_all(fd, data + from, to - from, at + from, name, err);
		if (rc < 0)
			return rc;
		from = to += block;
	}
	return file_pwrite_all(fd, data + from, to - from, at + from, name, err);
}

static int
correct_bytes(struct restore_worker *w, int fd, const uint8_t *data, size_t len, uint64_t at,
    const char *name, struct larder_err *err)
{
	int rc;

	rc = buf_resize(&w->scratch, COMPARE_LEN);
	if (rc < 0)
		return buf_err(&w->scratch, rc, err);
	for (size_t done = 0; done < len;) {
		size_t got, want = len - done < COMPARE_LEN ? len - done : COMPARE_LEN;

		rc = file_pread_some(&got, fd, w->scratch.data, want, at + done, name, err);
		if (rc < 0)
			return rc;
		memset(w->scratch.data + got, 0, want - got); /* the file has its length */
		rc = correct_window(fd, data + done, w->scratch.data, want, at + done, name, err);
		if (rc < 0)
			return rc;
		done += want;
	}
	return LARDER_OK;
}

static int
write_bytes(int fd, const struct restore_file *file, const uint8_t *data, size_t len, uint64_t at,
    struct larder_err *err)
{
	if (file->meta.sparse)
		return write_around_holes(fd, data, len, at, file->name, err);
	return file_pwrite_all(fd, data, len, at, file->name, err);
}

/* ---- making ---- */

enum { MADE_NEW = 0, MADE_EXISTING = 1 };

static int
replace_file(int *fd, const struct restore_file *file, int dir_fd, struct larder_err *err)
{
	int rc = rmtree(dir_fd, file->name, err);

	if (rc < 0)
		return rc;
	return file_open(fd, dir_fd, file->name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW,
	    restore_open_mode(file), err);
}

/* What an interrupted restore left under this name: opened if it may be right, else made anew. */
static int
open_existing(int *fd, const struct restore_file *file, int dir_fd, struct larder_err *err)
{
	struct larder_err ignored;
	struct stat st;
	int rc;

	rc = file_open(fd, dir_fd, file->name, O_RDWR | O_NOFOLLOW | O_NONBLOCK, 0, &ignored);
	if (rc == LARDER_OK && fstat(*fd, &st) == 0 && S_ISREG(st.st_mode) &&
	    (uint64_t)st.st_size == file->size && (st.st_nlink == 1 || !file->large))
		return MADE_EXISTING;
	file_close(*fd);
	*fd = -1;
	return replace_file(fd, file, dir_fd, err);
}

/* MADE_NEW or MADE_EXISTING with *fd; *fd is -1 when the name was refused. */
static int
make_file(int *fd, struct restore *r, struct restore_worker *w, const struct restore_file *file,
    struct larder_err *err)
{
	struct larder_err cause = { 0 };
	int dir_fd, rc;

	*fd = -1;
	rc = restore_dir_fd(&dir_fd, r, w, file->dir, err);
	if (rc < 0)
		return rc;
	rc = file_open(fd, dir_fd, file->name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW,
	    restore_open_mode(file), &cause);
	if (rc == LARDER_ERR_EXISTS && r->resume)
		rc = open_existing(fd, file, dir_fd, &cause);
	if (rc < 0)
		rc = restore_refused(r, file->dir, file->name, rc, &cause, err);
	return rc;
}

/* The file is as it should be, or was refused (ok false). */
static int
file_done(struct restore *r, struct restore_worker *w, struct restore_file *file, bool ok,
    struct larder_err *err)
{
	struct restore_dir *dir = file->dir;
	int rc;

	atomic_fetch_add(&r->files, 1);
	rc = restore_link_done(r, w, file->link, ok, err);
	return rc < 0 ? rc : restore_dir_done(r, w, dir, err);
}

static int
write_new(int fd, const struct restore_file *file, const uint8_t *data, size_t len,
    struct larder_err *err)
{
	int rc = LARDER_OK;

	if (file->meta.sparse)
		rc = file_truncate(fd, len, file->name, err);
	if (rc == LARDER_OK && len > 0)
		rc = write_bytes(fd, file, data, len, 0, err);
	return rc;
}

/* MADE_EXISTING when its content is right; else *fd is a new file in its place. */
static int
keep_or_replace(int *fd, struct restore *r, struct restore_worker *w,
    const struct restore_file *file, const uint8_t *data, size_t len, struct larder_err *err)
{
	int dir_fd, rc;

	rc = is_there(w, *fd, data, len, 0, file->name, err);
	if (rc != 0)
		return rc < 0 ? rc : MADE_EXISTING;
	file_close(*fd);
	*fd = -1;
	rc = restore_dir_fd(&dir_fd, r, w, file->dir, err);
	return rc < 0 ? rc : replace_file(fd, file, dir_fd, err);
}

int
restore_write_file(struct restore *r, struct restore_worker *w, struct restore_file *file,
    const uint8_t *data, size_t len, struct larder_err *err)
{
	int fd, rc;

	if (r->verify_only) {
		rc = restore_attrs_verify(w, &file->meta, err);
		return rc < 0 ? rc : file_done(r, w, file, true, err);
	}
	rc = make_file(&fd, r, w, file, err);
	if (rc < 0)
		return rc;
	if (fd < 0)
		return file_done(r, w, file, false, err);
	if (rc == MADE_EXISTING)
		rc = keep_or_replace(&fd, r, w, file, data, len, err);
	if (rc == MADE_NEW)
		rc = write_new(fd, file, data, len, err);
	if (rc >= 0)
		rc = restore_attrs_fd(r, w, fd, &file->meta, file->dir, file->name, err);
	if (rc < 0) {
		file_close(fd);
		return rc;
	}
	rc = file_close_checked(fd, file->name, err);
	return rc < 0 ? rc : file_done(r, w, file, true, err);
}

/* ---- large files ---- */

void
restore_large_free(struct restore *r, struct restore_large *large)
{
	pthread_mutex_lock(&r->lock);
	if (large->next != NULL)
		large->next->previous = large->previous;
	if (large->previous != NULL)
		large->previous->next = large->next;
	else
		r->larges = large->next;
	pthread_mutex_unlock(&r->lock);
	pthread_mutex_destroy(&large->lock);
	mem_free(large);
}

/* Makes it at its first use. *fd is -1 when it was refused. Under large->lock. */
static int
begin_large(int *fd, struct restore *r, struct restore_worker *w, struct restore_large *large,
    struct larder_err *err)
{
	int rc = LARDER_OK;

	if (large->fd >= 0)
		*fd = large->fd;
	else
		rc = make_file(fd, r, w, &large->file, err);
	if (rc < 0)
		return rc;
	if (rc == MADE_EXISTING)
		large->existing = true;
	large->refused = *fd < 0;
	large->begun = true;
	if (*fd < 0)
		return LARDER_OK;
	rc = file_truncate(*fd, large->file.size, large->file.name, err);
	if (rc < 0 && *fd != large->fd) {
		file_close(*fd);
		*fd = -1;
	}
	return rc;
}

static int
open_large(int *fd, struct restore *r, struct restore_worker *w, struct restore_large *large,
    struct larder_err *err)
{
	bool again;
	int dir_fd, rc = LARDER_OK;

	*fd = -1;
	pthread_mutex_lock(&large->lock);
	again = large->begun;
	if (!again)
		rc = begin_large(fd, r, w, large, err);
	pthread_mutex_unlock(&large->lock);
	if (!again || large->refused)
		return rc;
	if (large->fd >= 0) {
		*fd = large->fd;
		return LARDER_OK;
	}
	rc = restore_dir_fd(&dir_fd, r, w, large->file.dir, err);
	if (rc == LARDER_OK)
		rc = file_open(fd, dir_fd, large->file.name, O_RDWR | O_NOFOLLOW, 0, err);
	return rc;
}

static int
close_large(const struct restore_large *large, int fd, struct larder_err *err)
{
	return fd == large->fd ? LARDER_OK : file_close_checked(fd, large->file.name, err);
}

/* `fd` is open on it unless it is -1. */
static int
finish_large(struct restore *r, struct restore_worker *w, struct restore_large *large, int fd,
    struct larder_err *err)
{
	struct restore_file *file = &large->file;
	int rc = LARDER_OK, closed;

	if (r->verify_only) {
		rc = restore_attrs_verify(w, &file->meta, err);
	} else {
		if (fd < 0)
			rc = open_large(&fd, r, w, large, err);
		if (rc == LARDER_OK && !large->refused)
			rc = restore_attrs_fd(r, w, fd, &file->meta, file->dir, file->name, err);
	}
	if (fd >= 0) {
		closed = close_large(large, fd, rc == LARDER_OK ? err : NULL);
		if (rc == LARDER_OK)
			rc = closed;
	}
	if (rc == LARDER_OK)
		rc = file_done(r, w, file, !large->refused, err);
	restore_large_free(r, large);
	return rc;
}

int
restore_large_done(struct restore *r, struct restore_worker *w, struct restore_large *large,
    size_t count, struct larder_err *err)
{
	if (atomic_fetch_sub(&large->left, count) > count)
		return LARDER_OK;
	return finish_large(r, w, large, -1, err);
}

static int
write_part(struct restore *r, struct restore_worker *w, struct restore_large *large,
    const uint8_t *data, size_t len, uint64_t at, size_t pieces, struct larder_err *err)
{
	int fd = -1, rc;

	if (r->verify_only)
		return restore_large_done(r, w, large, pieces, err);
	rc = open_large(&fd, r, w, large, err);
	if (rc < 0)
		return rc;
	if (fd < 0)
		return restore_large_done(r, w, large, pieces, err);
	rc = large->existing ? correct_bytes(w, fd, data, len, at, large->file.name, err)
			     : write_bytes(fd, &large->file, data, len, at, err);
	if (rc == LARDER_OK && large->file.size >= WRITEBACK_LEN_MIN)
		writeback_hint(r->writeback, fd, at, len);
	if (rc < 0) {
		(void)close_large(large, fd, NULL);
		return rc;
	}
	if (atomic_load(&large->left) == pieces) /* nobody else is left who could look at it */
		return finish_large(r, w, large, fd, err);
	rc = close_large(large, fd, err);
	return rc < 0 ? rc : restore_large_done(r, w, large, pieces, err);
}

/* ---- pieces ---- */

static int
more_jobs(struct restore_worker *w, size_t count, struct larder_err *err)
{
	struct sha256_job *jobs;
	struct larder_id *digests;

	if (count <= w->job_room)
		return LARDER_OK;
	jobs = mem_resize(w->jobs, count, sizeof *jobs);
	if (jobs == NULL)
		return err_nomem(err);
	w->jobs = jobs;
	digests = mem_resize(w->digests, count, sizeof *digests);
	if (digests == NULL)
		return err_nomem(err);
	w->digests = digests;
	w->job_room = count;
	return LARDER_OK;
}

static int
name_file(int rc, const struct restore_piece *piece, struct larder_err *err)
{
	struct buf path = { 0 };

	if (rc < 0 && restore_path(&path, piece->file->dir, piece->file->name) == LARDER_OK)
		spec_prefix(err, (const char *)path.data);
	buf_release(&path);
	return rc;
}

/* All chunks of one segment that are wanted; those at one place are one job. */
static int
verify(struct restore_worker *w, const struct restore_piece *pieces, size_t count,
    const uint8_t *plain, uint32_t plain_len, struct larder_err *err)
{
	struct larder_id none = { { 0 } };
	size_t jobs = 0;
	int rc;

	rc = more_jobs(w, count, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++) {
		const struct index_place *p = &pieces[i].place;

		if (p->chunk_at > plain_len || p->chunk_len > plain_len - p->chunk_at)
			return name_file(
			    fetch_verify(w->reader, &pieces[i].id, p, &none, err), &pieces[i], err);
		if (i == 0 || p->chunk_at != pieces[i - 1].place.chunk_at ||
		    p->chunk_len != pieces[i - 1].place.chunk_len)
			w->jobs[jobs++] = (struct sha256_job){ .data = plain + p->chunk_at,
				.len = p->chunk_len,
				.out = &w->digests[i] };
	}
	sha256_many(w->jobs, jobs);
	for (size_t i = 0; i < count; i++) {
		const struct index_place *p = &pieces[i].place;

		if (i > 0 && p->chunk_at == pieces[i - 1].place.chunk_at &&
		    p->chunk_len == pieces[i - 1].place.chunk_len)
			w->digests[i] = w->digests[i - 1];
		rc = fetch_verify(w->reader, &pieces[i].id, p, &w->digests[i], err);
		if (rc < 0)
			return name_file(rc, &pieces[i], err);
	}
	return LARDER_OK;
}

static int
compare_targets(const void *a, const void *b)
{
	const struct restore_piece *x = a, *y = b;

	if (x->file->dir->serial != y->file->dir->serial)
		return x->file->dir->serial < y->file->dir->serial ? -1 : 1;
	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	return (x->at > y->at) - (x->at < y->at);
}

/* How many pieces from here on are neighbours in one file and in the segment. */
static size_t
run_of(const struct restore_piece *pieces, size_t count, size_t *len)
{
	size_t n = 1;

	*len = pieces[0].place.chunk_len;
	while (n < count && pieces[n].file == pieces[0].file &&
	       pieces[n].at == pieces[0].at + *len &&
	       pieces[n].place.chunk_at == pieces[0].place.chunk_at + *len)
		*len += pieces[n++].place.chunk_len;
	return n;
}

static int
write_segment(struct restore *r, struct restore_worker *w, struct restore_piece *pieces,
    size_t count, struct larder_err *err)
{
	const uint8_t *plain;
	uint32_t plain_len;
	size_t n;
	int rc;

	rc = fetch_segment(
	    &plain, &plain_len, w->reader, pieces[0].place.pack, pieces[0].place.segment_at, err);
	if (rc < 0)
		return name_file(rc, &pieces[0], err);
	rc = verify(w, pieces, count, plain, plain_len, err);
	if (rc < 0)
		return rc;
	if (count > 1)
		qsort(pieces, count, sizeof *pieces, compare_targets);
	for (size_t i = 0; i < count && rc == LARDER_OK; i += n) {
		struct restore_file *file = pieces[i].file;
		const uint8_t *data = plain + pieces[i].place.chunk_at;
		size_t len;

		n = run_of(pieces + i, count - i, &len);
		atomic_fetch_add(&r->bytes, len);
		if (file->large)
			rc = write_part(
			    r, w, (struct restore_large *)file, data, len, pieces[i].at, n, err);
		else
			rc = restore_write_file(r, w, file, data, len, err);
		if (rc < 0) /* the file may be gone: its name is in the sentence */
			return rc;
	}
	return rc;
}

int
restore_write_pieces(struct restore *r, struct restore_worker *w, struct restore_piece *pieces,
    size_t count, struct larder_err *err)
{
	size_t from = 0, to;
	int rc = LARDER_OK;

	for (; from < count && rc == LARDER_OK; from = to) {
		for (to = from + 1; to < count; to++)
			if (pieces[to].place.pack != pieces[from].place.pack ||
			    pieces[to].place.segment_at != pieces[from].place.segment_at)
				break;
		rc = write_segment(r, w, pieces + from, to - from, err);
	}
	return rc;
}
