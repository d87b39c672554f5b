/*
 * Files whose content comes in many pieces.
 *
 * A task reads the list of chunks and gathers its pieces. Whoever writes the
 * first of them makes the file with its whole length; whoever writes the last
 * one sets its attributes and frees it. `left` says who that is: one for the
 * list, one for each piece. Nobody looks at a file after taking from `left`
 * what was his.
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"

enum {
	GATHER_MAX = 1024,              /* chunks whose places come in one transaction */
	WRITEBACK_LEN_MIN = 1024 * 1024 /* files from this length on are sent to the disk at once */
};

/* ---- writing ---- */

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
		rc = restore_make_file(fd, r, w, &large->file, err);
	if (rc < 0)
		return rc;
	if (rc == RESTORE_EXISTING)
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
		rc = restore_file_done(r, w, file, !large->refused, err);
	restore_large_free(r, large);
	return rc;
}

static int
pieces_done(struct restore *r, struct restore_worker *w, struct restore_large *large, size_t count,
    struct larder_err *err)
{
	if (atomic_fetch_sub(&large->left, count) > count)
		return LARDER_OK;
	return finish_large(r, w, large, -1, err);
}

int
restore_large_write(struct restore *r, struct restore_worker *w, struct restore_large *large,
    const uint8_t *data, size_t len, uint64_t at, size_t pieces, struct larder_err *err)
{
	int fd = -1, rc;

	if (r->verify_only)
		return pieces_done(r, w, large, pieces, err);
	rc = open_large(&fd, r, w, large, err);
	if (rc < 0)
		return rc;
	if (fd < 0)
		return pieces_done(r, w, large, pieces, err);
	rc = large->existing ? restore_bytes_correct(w, fd, data, len, at, large->file.name, err)
			     : restore_bytes_write(fd, &large->file, data, len, at, err);
	if (rc == LARDER_OK && large->file.size >= WRITEBACK_LEN_MIN)
		writeback_hint(r->writeback, fd, at, len);
	if (rc < 0) {
		(void)close_large(large, fd, NULL);
		return rc;
	}
	if (atomic_load(&large->left) == pieces) /* nobody else is left who could look at it */
		return finish_large(r, w, large, fd, err);
	rc = close_large(large, fd, err);
	return rc < 0 ? rc : pieces_done(r, w, large, pieces, err);
}

/* ---- gathering ---- */

/* The pieces of a list, a window at a time, so that their places come in one transaction. */
struct gather {
	struct restore *r;
	struct restore_worker *w;
	struct restore_large *large;
	size_t count;
};

static int
wrong_size(const struct restore_large *large, struct larder_err *err)
{
	return err_set(err, LARDER_ERR_CORRUPT, "%s: chunks of %llu bytes in a file of %llu",
	    large->file.name, (unsigned long long)large->gathered,
	    (unsigned long long)large->file.size);
}

static int
flush_gathered(struct gather *g, struct larder_err *err)
{
	struct restore_large *large = g->large;
	int rc;

	rc = fetch_places(g->w->places, g->w->reader, g->w->ids, g->count, err);
	if (rc == LARDER_OK)
		atomic_fetch_add(&large->left, g->count);
	for (size_t i = 0; i < g->count && rc == LARDER_OK; i++) {
		struct restore_piece piece = { .place = g->w->places[i],
			.id = g->w->ids[i],
			.at = large->gathered,
			.file = &large->file };

		if (piece.place.pack == 0)
			return fetch_missing(g->w->reader, &piece.id, err);
		large->gathered += piece.place.chunk_len;
		if (large->gathered > large->file.size)
			return wrong_size(large, err);
		rc = restore_batch_add(g->r, g->w, &piece, err);
	}
	g->count = 0;
	return rc;
}

static int
gather_chunk(void *context, const struct larder_id *id, uint64_t len, struct larder_err *err)
{
	struct gather *g = context;

	(void)len; /* the sum is compared with the file's size, each chunk with its id */
	if (g->count == GATHER_MAX) {
		int rc = flush_gathered(g, err);

		if (rc < 0)
			return rc;
		if (restore_cancelled(g->r))
			return err_set(err, LARDER_ERR_CANCELLED, "interrupted");
	}
	g->w->ids[g->count++] = *id;
	return LARDER_OK;
}

static int
gather_large(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct restore *r = context;
	struct restore_worker *w = &r->workers[worker];
	struct restore_large *large = arg;
	struct gather g = { .r = r, .w = w, .large = large };
	int rc;

	rc = restore_more_places(w, GATHER_MAX, err);
	if (rc == LARDER_OK && large->file.size == 0)
		rc = LARDER_OK; /* nothing to gather */
	else if (rc == LARDER_OK && large->has_list)
		rc = reach_file(w->reader, &large->list, gather_chunk, NULL, &g, err);
	else if (rc == LARDER_OK)
		rc = gather_chunk(&g, &large->list, large->file.size, err);
	if (rc == LARDER_OK && g.count > 0)
		rc = flush_gathered(&g, err);
	if (rc == LARDER_OK && large->gathered != large->file.size)
		rc = wrong_size(large, err);
	atomic_fetch_sub(&r->walking, 1);
	return rc < 0 ? rc : pieces_done(r, w, large, 1, err);
}

int
restore_large_start(struct restore *r, const struct restore_file *file,
    const struct restore_entry *entry, struct larder_err *err)
{
	size_t name_len = strlen(file->name) + 1, meta_room = restore_meta_room(entry->row);
	size_t head = (sizeof(struct restore_large) + 7) & ~(size_t)7;
	struct restore_large *large = mem_zalloc(head + meta_room + name_len);
	char *storage = (char *)large + head;

	if (large == NULL)
		return err_nomem(err);
	large->file = *file;
	large->file.large = true;
	restore_meta_take(&large->file.meta, entry->row, storage);
	memcpy(storage + meta_room, file->name, name_len);
	large->file.name = storage + meta_room;
	large->restore = r;
	large->list = entry->tree->id;
	large->has_list = entry->tree->list;
	large->fd = entry->lent_fd;
	large->existing = entry->lent_existing;
	atomic_init(&large->left, 1);
	pthread_mutex_init(&large->lock, NULL);

	pthread_mutex_lock(&r->lock);
	large->next = r->larges;
	if (large->next != NULL)
		large->next->previous = large;
	r->larges = large;
	pthread_mutex_unlock(&r->lock);
	atomic_fetch_add(&r->walking, 1);
	if (pool_submit(r->pool, RESTORE_LIST, gather_large, large) < 0)
		return err_nomem(err);
	return LARDER_OK;
}
