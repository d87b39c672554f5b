/*
 * Chunks -> files.
 *
 * Pieces come sorted by place. Segment by segment: decode, hash every chunk
 * that is wanted, compare; only then is anything of it written. The pieces are
 * then put in the order of directories and files, so that neighbours in a file
 * become one write and neighbours in a directory use one handle.
 *
 * A file whose whole content is at hand is made, written and finished in one go;
 * the others are in restore_large.c.
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

/* ---- making ---- */

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
		return RESTORE_EXISTING;
	file_close(*fd);
	*fd = -1;
	return replace_file(fd, file, dir_fd, err);
}

int
restore_make_file(int *fd, struct restore *r, struct restore_worker *w,
    const struct restore_file *file, struct larder_err *err)
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

int
restore_file_done(struct restore *r, struct restore_worker *w, struct restore_file *file, bool ok,
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
		rc = restore_bytes_write(fd, file, data, len, 0, err);
	return rc;
}

/* RESTORE_EXISTING when its content is right; else *fd is a new file in its place. */
static int
keep_or_replace(int *fd, struct restore *r, struct restore_worker *w,
    const struct restore_file *file, const uint8_t *data, size_t len, struct larder_err *err)
{
	int dir_fd, rc;

	rc = restore_bytes_compare(w, *fd, data, len, 0, file->name, err);
	if (rc != 0)
		return rc < 0 ? rc : RESTORE_EXISTING;
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
		return rc < 0 ? rc : restore_file_done(r, w, file, true, err);
	}
	rc = restore_make_file(&fd, r, w, file, err);
	if (rc < 0)
		return rc;
	if (fd < 0)
		return restore_file_done(r, w, file, false, err);
	if (rc == RESTORE_EXISTING)
		rc = keep_or_replace(&fd, r, w, file, data, len, err);
	if (rc == RESTORE_NEW)
		rc = write_new(fd, file, data, len, err);
	if (rc >= 0)
		rc = restore_attrs_fd(r, w, fd, &file->meta, file->dir, file->name, err);
	if (rc < 0) {
		file_close(fd);
		return rc;
	}
	rc = file_close_checked(fd, file->name, err);
	return rc < 0 ? rc : restore_file_done(r, w, file, true, err);
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
			rc = restore_large_write(
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
