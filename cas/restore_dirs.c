/*
 * Directories under way: their handles, and what is done when one is complete.
 *
 * 1. Every name is used relative to the handle of its own directory, and every
 *    handle was opened from the handle of its parent without following a symlink.
 * 2. Each worker keeps some handles; a slot that is needed otherwise is closed.
 *    Serials are never used again, so a slot cannot show another directory.
 * 3. `pending` counts what must be finished first. Whoever takes it to zero
 *    completes the directory and goes on with its parent.
 * 4. Until it is complete a directory that we made has mode 0700.
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/rmtree.h"

#ifndef O_PATH
#define O_PATH O_RDONLY
#endif

/* ---- nodes ---- */

int
restore_dir_new(struct restore_dir **out, struct restore *r, struct restore_dir *parent,
    const char *name, size_t name_len, struct larder_err *err)
{
	struct restore_dir *dir = mem_zalloc(sizeof *dir + name_len + 1);

	*out = dir;
	if (dir == NULL)
		return err_nomem(err);
	memcpy(dir->name, name, name_len);
	dir->parent = parent;
	atomic_init(&dir->pending, 1);
	atomic_init(&dir->refs, 1);
	if (parent != NULL) {
		restore_dir_keep(parent);
		atomic_fetch_add(&parent->pending, 1);
	}
	pthread_mutex_lock(&r->lock);
	dir->serial = ++r->next_serial;
	dir->next = r->dirs;
	if (dir->next != NULL)
		dir->next->previous = dir;
	r->dirs = dir;
	pthread_mutex_unlock(&r->lock);
	return LARDER_OK;
}

void
restore_dir_keep(struct restore_dir *dir)
{
	atomic_fetch_add(&dir->refs, 1);
}

/* Takes it out of the list of all and frees it, whoever still refers to it. */
void
restore_dir_free(struct restore *r, struct restore_dir *dir)
{
	struct restore_late *next;

	pthread_mutex_lock(&r->lock);
	if (dir->next != NULL)
		dir->next->previous = dir->previous;
	if (dir->previous != NULL)
		dir->previous->next = dir->next;
	else
		r->dirs = dir->next;
	pthread_mutex_unlock(&r->lock);
	for (struct restore_late *late = dir->late; late != NULL; late = next) {
		next = late->next;
		mem_free(late);
	}
	mem_free(dir->storage);
	mem_free(dir);
}

void
restore_dir_drop(struct restore *r, struct restore_dir *dir)
{
	while (dir != NULL && atomic_fetch_sub(&dir->refs, 1) == 1) {
		struct restore_dir *parent = dir->parent;

		restore_dir_free(r, dir);
		dir = parent;
	}
}

int
restore_path(struct buf *out, const struct restore_dir *dir, const char *name)
{
	size_t len = name != NULL ? strlen(name) : 0, at;
	int rc;

	for (const struct restore_dir *d = dir; d->parent != NULL; d = d->parent)
		len += strlen(d->name) + (len > 0);
	buf_clear(out);
	if (len == 0) {
		rc = buf_append(out, ".", 2);
		return rc;
	}
	rc = buf_resize(out, len + 1);
	if (rc < 0)
		return rc;
	at = len;
	out->data[at] = '\0';
	if (name != NULL) {
		at -= strlen(name);
		memcpy(out->data + at, name, strlen(name));
	}
	for (const struct restore_dir *d = dir; d->parent != NULL; d = d->parent) {
		if (at < len)
			out->data[--at] = '/';
		at -= strlen(d->name);
		memcpy(out->data + at, d->name, strlen(d->name));
	}
	return LARDER_OK;
}

/* ---- handles ---- */

static struct restore_handle *
handle_of(const struct restore *r, const struct restore_worker *w, const struct restore_dir *dir)
{
	return &w->handles[dir->serial % r->handle_count];
}

static int
push(struct restore_worker *w, size_t count, struct restore_dir *dir, struct larder_err *err)
{
	if (count == w->chain_room) {
		size_t room = count ? count * 2 : 64;
		struct restore_dir **grown =
		    mem_resize(w->chain, room, sizeof(struct restore_dir *));

		if (grown == NULL)
			return err_nomem(err);
		w->chain = grown;
		w->chain_room = room;
	}
	w->chain[count] = dir;
	return LARDER_OK;
}

int
restore_dir_fd(int *fd, struct restore *r, struct restore_worker *w, struct restore_dir *dir,
    struct larder_err *err)
{
	size_t count = 0;
	int at = r->top_fd, rc;

	for (; dir->parent != NULL; dir = dir->parent) {
		const struct restore_handle *handle = handle_of(r, w, dir);

		if (handle->fd >= 0 && handle->serial == dir->serial) {
			at = handle->fd;
			break;
		}
		rc = push(w, count++, dir, err);
		if (rc < 0)
			return rc;
	}
	while (count > 0) {
		struct restore_handle *handle;
		int below;

		dir = w->chain[--count];
		rc = file_open(&below, at, dir->name, O_PATH | O_DIRECTORY | O_NOFOLLOW, 0, err);
		if (rc < 0)
			return rc;
		handle = handle_of(r, w, dir);
		file_close(handle->fd);
		handle->fd = below;
		handle->serial = dir->serial;
		at = below;
	}
	*fd = at;
	return LARDER_OK;
}

/* ---- completing ---- */

static bool
is_right(int dir_fd, const char *name, const char *target)
{
	char have[PATH_LEN_MAX + 1];
	ssize_t len = readlinkat(dir_fd, name, have, sizeof have);

	return len >= 0 && (size_t)len == strlen(target) && memcmp(have, target, (size_t)len) == 0;
}

static int
symlink_in(
    struct restore *r, int dir_fd, const char *name, const char *target, struct larder_err *err)
{
	int rc;

	if (symlinkat(target, dir_fd, name) == 0)
		return LARDER_OK;
	if (errno == EEXIST && r->resume) {
		if (is_right(dir_fd, name, target))
			return LARDER_OK;
		rc = rmtree(dir_fd, name, err);
		if (rc < 0)
			return rc;
		if (symlinkat(target, dir_fd, name) == 0)
			return LARDER_OK;
	}
	if (errno == EEXIST)
		return err_set(err, LARDER_ERR_EXISTS, "there is something of that name");
	return err_sys(err, "make the symlink");
}

/* *made: it is there; false: it was refused. */
static int
make_symlink(struct restore *r, struct restore_worker *w, const struct restore_late *late,
    bool *made, struct larder_err *err)
{
	struct larder_err cause = { 0 };
	int fd, rc;

	*made = true;
	atomic_fetch_add(&r->files, 1);
	if (r->verify_only)
		return restore_attrs_verify(w, &late->meta, err);
	rc = restore_dir_fd(&fd, r, w, late->dir, err);
	if (rc < 0)
		return rc;
	rc = symlink_in(r, fd, late->name, late->target, &cause);
	if (rc < 0) {
		*made = false;
		return restore_refused(r, late->dir, late->name, rc, &cause, err);
	}
	return restore_attrs_at(r, w, fd, &late->meta, true, late->dir, late->name, err);
}

static int
set_dir_attrs(
    struct restore *r, struct restore_worker *w, struct restore_dir *dir, struct larder_err *err)
{
	int fd, rc;

	if (dir->parent == NULL) {
		if (!r->top_is_new)
			return LARDER_OK;
		if (!dir->meta.known && fchmod(r->top_fd, r->top_mode) < 0)
			return err_sys(err, "set the mode of the top directory");
		return restore_attrs_fd(r, w, r->top_fd, &dir->meta, dir, NULL, err);
	}
	if (!dir->meta.known)
		return LARDER_OK;
	rc = restore_dir_fd(&fd, r, w, dir->parent, err);
	if (rc == LARDER_OK)
		rc = file_open(&fd, fd, dir->name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, 0, err);
	if (rc < 0)
		return rc;
	rc = restore_attrs_fd(r, w, fd, &dir->meta, dir, NULL, err);
	file_close(fd);
	return rc;
}

static int
complete(
    struct restore *r, struct restore_worker *w, struct restore_dir *dir, struct larder_err *err)
{
	bool made;
	int rc = LARDER_OK;

	for (const struct restore_late *l = dir->late; l != NULL && rc == LARDER_OK; l = l->next)
		rc = make_symlink(r, w, l, &made, err);
	if (rc == LARDER_OK && !r->verify_only)
		rc = set_dir_attrs(r, w, dir, err);
	return rc;
}

/* A mode that would shut us out waits: a hard link may still be wanted to a file in there. */
static int
hold(struct restore *r, struct restore_dir *dir, struct larder_err *err)
{
	int rc = LARDER_OK;

	dir->held = true;
	pthread_mutex_lock(&r->lock);
	if (r->held_count == r->held_room) {
		size_t room = r->held_room ? r->held_room * 2 : 16;
		struct restore_dir **grown =
		    mem_resize(r->held, room, sizeof(struct restore_dir *));

		if (grown == NULL)
			rc = err_nomem(err);
		else
			r->held = grown, r->held_room = room;
	}
	if (rc == LARDER_OK)
		r->held[r->held_count++] = dir;
	pthread_mutex_unlock(&r->lock);
	return rc;
}

static int
complete_upwards(
    struct restore *r, struct restore_worker *w, struct restore_dir *dir, struct larder_err *err)
{
	for (;;) {
		struct restore_dir *parent = dir->parent;
		int rc;

		if (!r->is_root && !r->verify_only && !dir->held && dir->meta.known &&
		    (dir->meta.mode & 0700) != 0700)
			return hold(r, dir, err);
		rc = complete(r, w, dir, err);
		if (rc < 0)
			return rc;
		restore_dir_drop(r, dir);
		if (parent == NULL || atomic_fetch_sub(&parent->pending, 1) > 1)
			return LARDER_OK;
		dir = parent;
	}
}

int
restore_dir_done(
    struct restore *r, struct restore_worker *w, struct restore_dir *dir, struct larder_err *err)
{
	if (atomic_fetch_sub(&dir->pending, 1) > 1)
		return LARDER_OK;
	return complete_upwards(r, w, dir, err);
}

static int
make_late_link(
    struct restore *r, struct restore_worker *w, struct restore_late *late, struct larder_err *err)
{
	const struct tree_entry entry = { .name = late->name,
		.name_len = strlen(late->name),
		.kind = TREE_SYMLINK,
		.target = late->target,
		.target_len = strlen(late->target) };
	struct restore_link *link;
	bool made = false;
	int rc;

	rc = restore_link_take(&link, r, w, late->dir, &entry, late->link, err);
	if (rc == 0)
		atomic_fetch_add(&r->files, 1);
	if (rc <= 0)
		return rc;
	rc = make_symlink(r, w, late, &made, err);
	if (rc == LARDER_OK)
		rc = restore_link_done(r, w, link, made, err);
	return rc < 0 ? rc : restore_dir_done(r, w, late->dir, err);
}

int
restore_dirs_end(struct restore *r, struct restore_worker *w, struct larder_err *err)
{
	int rc = LARDER_OK;

	while (r->late_links != NULL && rc == LARDER_OK) {
		struct restore_late *late = r->late_links;

		r->late_links = late->next;
		rc = make_late_link(r, w, late, err);
		mem_free(late);
	}
	while (r->held_count > 0 && rc == LARDER_OK)
		rc = complete_upwards(r, w, r->held[--r->held_count], err);
	return rc;
}
