/*
 * Names of one inode: the first that the walk meets is restored, the others
 * become links to it, at once if it is there already, else as soon as it is.
 * So hard links only ever go to what the same run has restored.
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/rmtree.h"

enum link_state { LINK_COMING, LINK_THERE, LINK_FAILED };

struct waiting {
	struct waiting *next;
	struct restore_dir *dir; /* one of its pending */
	char name[];
};

struct restore_link {
	uint64_t number;
	struct larder_id id;
	uint64_t size;
	enum tree_kind kind;
	enum link_state state; /* and waiting: under r->links_lock */
	struct waiting *waiting;
	struct restore_dir *dir; /* one of its refs */
	char name[];
};

/* ---- table: open addressing, under r->links_lock ---- */

static struct restore_link **
slot_of(struct restore_link **table, size_t room, uint64_t number)
{
	size_t at = (size_t)((number * UINT64_C(0x9e3779b97f4a7c15)) >> 32) & (room - 1);

	while (table[at] != NULL && table[at]->number != number)
		at = (at + 1) & (room - 1);
	return &table[at];
}

static int
grow(struct restore *r)
{
	size_t room = r->link_room ? r->link_room * 2 : 256;
	struct restore_link **table = mem_zarray(room, sizeof(struct restore_link *));

	if (table == NULL)
		return LARDER_ERR_NOMEM;
	for (size_t i = 0; i < r->link_room; i++)
		if (r->links[i] != NULL)
			*slot_of(table, room, r->links[i]->number) = r->links[i];
	mem_free(r->links);
	r->links = table;
	r->link_room = room;
	return LARDER_OK;
}

static struct restore_link *
new_link(struct restore_dir *dir, const struct tree_entry *entry, uint64_t number)
{
	struct restore_link *link = mem_zalloc(sizeof *link + entry->name_len + 1);

	if (link == NULL)
		return NULL;
	link->number = number;
	link->id = entry->id;
	link->size = entry->size;
	link->kind = entry->kind;
	link->dir = dir;
	restore_dir_keep(dir);
	memcpy(link->name, entry->name, entry->name_len);
	return link;
}

static bool
same_content(const struct restore_link *link, const struct tree_entry *entry)
{
	return link->kind == entry->kind && link->size == entry->size &&
	       (entry->kind != TREE_FILE || entry->size == 0 || id_equal(&link->id, &entry->id));
}

/* ---- linking ---- */

static bool
are_one(int a_fd, const char *a, int b_fd, const char *b)
{
	struct stat x, y;

	return fstatat(a_fd, a, &x, AT_SYMLINK_NOFOLLOW) == 0 &&
	       fstatat(b_fd, b, &y, AT_SYMLINK_NOFOLLOW) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

static int
link_in(struct restore *r, int from_fd, const char *from, int to_fd, const char *to,
    struct larder_err *err)
{
	int rc;

	if (linkat(from_fd, from, to_fd, to, 0) == 0)
		return LARDER_OK;
	if (errno == EEXIST && r->resume) {
		if (are_one(from_fd, from, to_fd, to))
			return LARDER_OK;
		rc = rmtree(to_fd, to, err);
		if (rc < 0)
			return rc;
		if (linkat(from_fd, from, to_fd, to, 0) == 0)
			return LARDER_OK;
	}
	if (errno == EEXIST)
		return err_set(err, LARDER_ERR_EXISTS, "there is something of that name");
	return err_sys(err, "make the link");
}

/* One name more; the directory's pending stays the caller's. */
static int
make_link(struct restore *r, struct restore_worker *w, const struct restore_link *link, bool ok,
    struct restore_dir *dir, const char *name, struct larder_err *err)
{
	struct larder_err cause = { 0 };
	int from_fd = -1, to_fd, rc;

	if (r->verify_only)
		return LARDER_OK;
	if (!ok) {
		restore_item(
		    r, dir, name, LARDER_ERR_IO, "is a link to what could not be restored");
		return LARDER_OK;
	}
	/* two handles at once: the worker lends one at a time */
	rc = restore_dir_fd(&to_fd, r, w, link->dir, err);
	if (rc == LARDER_OK)
		rc = file_open(&from_fd, to_fd, ".", O_PATH | O_DIRECTORY, 0, err);
	if (rc == LARDER_OK)
		rc = restore_dir_fd(&to_fd, r, w, dir, err);
	if (rc < 0)
		goto out;
	rc = link_in(r, from_fd, link->name, to_fd, name, &cause);
	if (rc < 0)
		rc = restore_refused(r, dir, name, rc, &cause, err);
out:
	file_close(from_fd);
	return rc;
}

static int
wait_for(struct restore_link *link, struct restore_dir *dir, const struct tree_entry *entry)
{
	struct waiting *w = mem_zalloc(sizeof *w + entry->name_len + 1);

	if (w == NULL)
		return LARDER_ERR_NOMEM;
	memcpy(w->name, entry->name, entry->name_len);
	w->dir = dir;
	w->next = link->waiting;
	link->waiting = w;
	return LARDER_OK;
}

int
restore_link_take(struct restore_link **out, struct restore *r, struct restore_worker *w,
    struct restore_dir *dir, const struct tree_entry *entry, uint64_t number,
    struct larder_err *err)
{
	enum link_state state = LINK_COMING;
	struct restore_link *link = NULL, **slot;
	char name[COMPONENT_LEN_MAX + 1];
	int rc = LARDER_OK;

	*out = NULL;
	pthread_mutex_lock(&r->links_lock);
	if (r->link_count * 2 >= r->link_room)
		rc = grow(r);
	if (rc == LARDER_OK) {
		slot = slot_of(r->links, r->link_room, number);
		link = *slot;
		if (link == NULL) {
			*out = *slot = new_link(dir, entry, number);
			r->link_count += *out != NULL;
			rc = *out != NULL ? 1 : LARDER_ERR_NOMEM;
		} else if (!same_content(link, entry)) {
			rc = 2;
		} else {
			state = link->state;
			if (state == LINK_COMING)
				rc = wait_for(link, dir, entry);
		}
	}
	pthread_mutex_unlock(&r->links_lock);
	if (rc < 0)
		return err_nomem(err);
	if (rc > 0 || state == LINK_COMING)
		return rc;
	memcpy(name, entry->name, entry->name_len);
	name[entry->name_len] = '\0';
	rc = make_link(r, w, link, state == LINK_THERE, dir, name, err);
	return rc < 0 ? rc : restore_dir_done(r, w, dir, err);
}

int
restore_link_done(struct restore *r, struct restore_worker *w, struct restore_link *link, bool ok,
    struct larder_err *err)
{
	struct waiting *waiting, *next;
	int rc = LARDER_OK;

	if (link == NULL)
		return LARDER_OK;
	pthread_mutex_lock(&r->links_lock);
	waiting = link->waiting;
	link->waiting = NULL;
	link->state = ok ? LINK_THERE : LINK_FAILED;
	pthread_mutex_unlock(&r->links_lock);
	for (; waiting != NULL; waiting = next) {
		next = waiting->next;
		if (rc == LARDER_OK)
			rc = make_link(r, w, link, ok, waiting->dir, waiting->name, err);
		if (rc == LARDER_OK)
			rc = restore_dir_done(r, w, waiting->dir, err);
		mem_free(waiting);
	}
	return rc;
}

void
restore_links_free(struct restore *r)
{
	for (size_t i = 0; i < r->link_room; i++) {
		struct restore_link *link = r->links[i];
		struct waiting *next;

		if (link == NULL)
			continue;
		for (struct waiting *w = link->waiting; w != NULL; w = next) {
			next = w->next;
			mem_free(w);
		}
		restore_dir_drop(r, link->dir);
		mem_free(link);
	}
	mem_free(r->links);
	r->links = NULL;
	r->link_room = r->link_count = 0;
}
