/*
 * Directories -> what is to be written.
 *
 * Each directory is a task: it loads its tree and attributes, makes its
 * subdirectories (one task each), FIFOs and devices, empty files and links to
 * what is there, and gathers the content of the others as pieces. Symlinks wait
 * until the directory is complete, so that no name is ever resolved beside one.
 *
 * Names come out of trees: the decoder has refused "", ".", "..", '/', NUL and
 * doubles (cas/object/tree.h).
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/rmtree.h"

/* ---- content ---- */

/* Place and length as the index has them must be what the tree or list says. */
static int
check_place(struct restore_worker *w, const struct larder_id *id, const struct index_place *place,
    uint64_t len, struct larder_err *err)
{
	char hex[ID_HEX_LEN + 1];

	if (place->pack == 0)
		return fetch_missing(w->reader, id, err);
	if (place->chunk_len == len)
		return LARDER_OK;
	id_to_hex(hex, id);
	return err_set(err, LARDER_ERR_CORRUPT, "object %s has %u bytes where %llu belong", hex,
	    place->chunk_len, (unsigned long long)len);
}

int
restore_more_places(struct restore_worker *w, size_t count, struct larder_err *err)
{
	struct index_place *places;
	struct larder_id *ids;

	if (count <= w->place_room)
		return LARDER_OK;
	places = mem_resize(w->places, count, sizeof *places);
	if (places == NULL)
		return err_nomem(err);
	w->places = places;
	ids = mem_resize(w->ids, count, sizeof *ids);
	if (ids == NULL)
		return err_nomem(err);
	w->ids = ids;
	w->place_room = count;
	return LARDER_OK;
}

/* ---- entries ---- */

static int
take_empty(struct restore *r, struct restore_worker *w, struct restore_file *file,
    const struct attrs_row *row, struct larder_err *err)
{
	void *storage = NULL;
	int rc;

	if (restore_meta_room(row) > 0) {
		storage = mem_alloc(restore_meta_room(row));
		if (storage == NULL)
			return err_nomem(err);
	}
	restore_meta_take(&file->meta, row, storage);
	rc = restore_write_file(r, w, file, NULL, 0, err);
	mem_free(storage);
	return rc;
}

static int
take_file(struct restore *r, struct restore_worker *w, struct restore_dir *dir, const char *name,
    const struct restore_entry *entry, struct restore_link *link, struct larder_err *err)
{
	const struct tree_entry *e = entry->tree;
	struct restore_file file = {
		.dir = dir, .name = name, .size = e->size, .link = link, .executable = e->executable
	};
	struct restore_piece piece = { .id = e->id, .file = &file };
	int rc;

	if (e->list || entry->lent_fd >= 0)
		return restore_large_start(r, &file, entry, err);
	if (e->size == 0)
		return take_empty(r, w, &file, entry->row, err);
	piece.place = *entry->place;
	rc = check_place(w, &e->id, &piece.place, e->size, err);
	return rc < 0 ? rc : restore_batch_add_file(r, w, &piece, &file, entry->row, err);
}

static int
node_in(struct restore *r, int fd, const char *name, mode_t mode, dev_t dev, struct larder_err *err)
{
	struct stat st;
	int rc;

	if (mknodat(fd, name, mode, dev) == 0)
		return LARDER_OK;
	if (errno == EEXIST && r->resume) {
		if (fstatat(fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
		    (st.st_mode & S_IFMT) == (mode & S_IFMT) && st.st_rdev == dev)
			return LARDER_OK;
		rc = rmtree(fd, name, err);
		if (rc < 0)
			return rc;
		if (mknodat(fd, name, mode, dev) == 0)
			return LARDER_OK;
	}
	if (errno == EEXIST)
		return err_set(err, LARDER_ERR_EXISTS, "there is something of that name");
	return err_sys(err, "make the %s",
	    S_ISFIFO(mode)   ? "FIFO"
	    : S_ISSOCK(mode) ? "socket"
			     : "device");
}

/* FIFOs, sockets, devices. */
static int
take_special(struct restore *r, struct restore_worker *w, struct restore_dir *dir, const char *name,
    const struct restore_entry *entry, struct restore_link *link, struct larder_err *err)
{
	static const mode_t types[TREE_KIND_COUNT] = { [TREE_FIFO] = S_IFIFO,
		[TREE_CHAR] = S_IFCHR,
		[TREE_BLOCK] = S_IFBLK,
		[TREE_SOCKET] = S_IFSOCK };
	const struct tree_entry *e = entry->tree;
	struct larder_err cause = { 0 };
	struct restore_meta meta;
	void *storage = NULL;
	bool made = true;
	int fd, rc = LARDER_OK;

	if (restore_meta_room(entry->row) > 0) {
		storage = mem_alloc(restore_meta_room(entry->row));
		if (storage == NULL)
			return err_nomem(err);
	}
	restore_meta_take(&meta, entry->row, storage);
	atomic_fetch_add(&r->files, 1);
	if (r->verify_only) {
		rc = restore_attrs_verify(w, &meta, err);
		goto out;
	}
	rc = restore_dir_fd(&fd, r, w, dir, err);
	if (rc < 0)
		goto out;
	rc = node_in(r, fd, name, types[e->kind] | (meta.known ? 0600 : 0666),
	    e->kind == TREE_CHAR || e->kind == TREE_BLOCK ? makedev(e->major, e->minor) : 0,
	    &cause);
	if (rc < 0) {
		made = false;
		rc = restore_refused(r, dir, name, rc, &cause, err);
	} else {
		rc = restore_attrs_at(r, w, fd, &meta, false, dir, name, err);
	}
out:
	mem_free(storage);
	if (rc == LARDER_OK)
		rc = restore_link_done(r, w, link, made, err);
	return rc < 0 ? rc : restore_dir_done(r, w, dir, err);
}

static int
take_symlink(struct restore *r, struct restore_dir *dir, const char *name,
    const struct restore_entry *entry, uint64_t number, struct larder_err *err)
{
	const struct tree_entry *e = entry->tree;
	size_t meta_room = restore_meta_room(entry->row);
	size_t head = (sizeof(struct restore_late) + 7) & ~(size_t)7;
	struct restore_late *late = mem_alloc(head + meta_room + e->name_len + e->target_len + 2);
	char *strings = (char *)late + head + meta_room;

	if (late == NULL)
		return err_nomem(err);
	late->dir = dir;
	late->link = number;
	restore_meta_take(&late->meta, entry->row, (char *)late + head);
	late->name = strings;
	memcpy(strings, name, e->name_len + 1);
	strings += e->name_len + 1;
	late->target = strings;
	memcpy(strings, e->target, e->target_len);
	strings[e->target_len] = '\0';

	if (number == 0) { /* the dir's own: nobody else looks before it is complete */
		late->next = dir->late;
		dir->late = late;
		return LARDER_OK;
	}
	pthread_mutex_lock(&r->lock);
	late->next = r->late_links;
	r->late_links = late;
	pthread_mutex_unlock(&r->lock);
	atomic_fetch_add(&dir->pending, 1);
	return LARDER_OK;
}

static int
make_dir(struct restore *r, struct restore_worker *w, struct restore_dir *parent,
    struct restore_dir *dir, const struct attrs_row *row, struct larder_err *err)
{
	struct stat st;
	int fd, rc;

	rc = restore_dir_fd(&fd, r, w, parent, err);
	if (rc < 0)
		return rc;
	rc = file_mkdir(fd, dir->name, row != NULL ? 0700 : 0777, err);
	if (rc != LARDER_ERR_EXISTS || !r->resume)
		return rc;
	if (fstatat(fd, dir->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode)) {
		/* it may have been complete already: open it up again */
		if ((st.st_mode & 0700) != 0700 && fchmodat(fd, dir->name, 0700, 0) < 0)
			return err_sys(err, "open up %s", dir->name);
		dir->existing = true;
		return LARDER_OK;
	}
	rc = rmtree(fd, dir->name, err);
	return rc < 0 ? rc : file_mkdir(fd, dir->name, row != NULL ? 0700 : 0777, err);
}

static int
take_dir(struct restore *r, struct restore_worker *w, struct restore_dir *parent, const char *name,
    const struct restore_entry *entry, struct larder_err *err)
{
	struct larder_err cause = { 0 };
	struct restore_dir *dir;
	int rc;

	rc = restore_dir_new(&dir, r, parent, name, entry->tree->name_len, err);
	if (rc < 0)
		return rc;
	dir->tree = entry->tree->id;
	dir->has_attrs = entry->row != NULL;
	if (entry->row != NULL)
		dir->attrs = entry->row->child;
	if (!r->verify_only) {
		rc = make_dir(r, w, parent, dir, entry->row, &cause);
		if (rc < 0) {
			rc = restore_refused(r, parent, name, rc, &cause, err);
			if (rc < 0)
				return rc;
			restore_dir_drop(r, dir);
			return restore_dir_done(r, w, parent, err);
		}
	}
	return restore_dir_submit(r, dir, err);
}

int
restore_take_entry(struct restore *r, struct restore_worker *w, struct restore_dir *dir,
    const struct restore_entry *entry, struct larder_err *err)
{
	const struct tree_entry *e = entry->tree;
	uint64_t number = entry->row != NULL && !entry->row->is_dir ? entry->row->link : 0;
	struct restore_link *link = NULL;
	char name[COMPONENT_LEN_MAX + 1];
	int rc;

	memcpy(name, e->name, e->name_len);
	name[e->name_len] = '\0';
	if (e->kind == TREE_DIR)
		return take_dir(r, w, dir, name, entry, err);
	if (e->kind == TREE_SYMLINK)
		return take_symlink(r, dir, name, entry, number, err);

	atomic_fetch_add(&dir->pending, 1);
	if (number != 0) {
		rc = restore_link_take(&link, r, w, dir, e, number, err);
		if (rc == 0) {
			atomic_fetch_add(&r->files, 1);
			atomic_fetch_add(&r->bytes, e->size);
		}
		if (rc <= 0)
			return rc;
	}
	if (e->kind == TREE_FILE)
		return take_file(r, w, dir, name, entry, link, err);
	return take_special(r, w, dir, name, entry, link, err);
}

/* ---- directories ---- */

/* An interrupted restore goes on here: what does not belong to this version goes. */
static int
purge(struct restore *r, struct restore_worker *w, struct restore_dir *dir,
    const struct tree_list *tree, struct larder_err *err)
{
	char **names = NULL;
	size_t count = 0;
	int fd, own = -1, rc;

	rc = restore_dir_fd(&fd, r, w, dir, err);
	if (rc == LARDER_OK)
		rc = file_open(&own, fd, ".", O_RDONLY | O_DIRECTORY, 0, err);
	if (rc == LARDER_OK)
		rc = file_list(&names, &count, own, ".", err);
	for (size_t i = 0; i < count && rc == LARDER_OK; i++)
		if (tree_list_find(tree, names[i], strlen(names[i])) == NULL)
			rc = rmtree(own, names[i], err);
	mem_free(names);
	file_close(own);
	return rc;
}

/* The places of all files of one chunk, in one transaction; in order, others left out. */
static int
find_places(struct restore_worker *w, const struct tree_list *tree, struct larder_err *err)
{
	size_t count = 0;
	int rc;

	rc = restore_more_places(w, tree->count, err);
	if (rc < 0)
		return rc;
	for (size_t i = 0; i < tree->count; i++) {
		const struct tree_entry *e = &tree->entries[i];

		if (e->kind == TREE_FILE && !e->list && e->size > 0)
			w->ids[count++] = e->id;
	}
	return count > 0 ? fetch_places(w->places, w->reader, w->ids, count, err) : LARDER_OK;
}

static int
take_self(struct restore_dir *dir, const struct attrs_list *attrs, const struct tree_list *tree,
    struct larder_err *err)
{
	size_t room = restore_meta_room(&attrs->self);

	if (attrs->count != tree->count)
		return err_set(err, LARDER_ERR_CORRUPT,
		    "a directory of %zu entries with attributes of %zu", tree->count, attrs->count);
	if (room > 0) {
		dir->storage = mem_alloc(room);
		if (dir->storage == NULL)
			return err_nomem(err);
	}
	restore_meta_take(&dir->meta, &attrs->self, dir->storage);
	return LARDER_OK;
}

static int
take_entries(struct restore *r, struct restore_worker *w, struct restore_dir *dir,
    const struct tree_list *tree, const struct attrs_list *attrs, struct larder_err *err)
{
	size_t place = 0;
	int rc = LARDER_OK;

	for (size_t i = 0; i < tree->count && rc == LARDER_OK; i++) {
		const struct tree_entry *e = &tree->entries[i];
		struct restore_entry entry = { .tree = e, .lent_fd = -1 };

		if (dir->has_attrs) {
			entry.row = &attrs->rows[i];
			if (entry.row->is_dir != (e->kind == TREE_DIR))
				return err_set(err, LARDER_ERR_CORRUPT,
				    "attributes that do not belong to their directory");
		}
		if (e->kind == TREE_FILE && !e->list && e->size > 0)
			entry.place = &w->places[place++];
		rc = restore_take_entry(r, w, dir, &entry, err);
	}
	return rc;
}

static int
look_at_dir(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct restore *r = context;
	struct restore_worker *w = &r->workers[worker];
	struct restore_dir *dir = arg;
	struct tree_list tree = { 0 };
	struct attrs_list attrs = { 0 };
	struct buf path = { 0 };
	int rc;

	rc = tree_load(&tree, w->reader, &dir->tree, err);
	if (rc == LARDER_OK && dir->has_attrs)
		rc = attrs_load(&attrs, w->reader, &dir->attrs, err);
	if (rc == LARDER_OK && dir->has_attrs)
		rc = take_self(dir, &attrs, &tree, err);
	if (rc == LARDER_OK && dir->has_attrs && r->verify_only)
		rc = restore_attrs_verify(w, &dir->meta, err);
	if (rc == LARDER_OK && dir->existing)
		rc = purge(r, w, dir, &tree, err);
	if (rc == LARDER_OK)
		rc = find_places(w, &tree, err);
	if (rc < 0 && restore_path(&path, dir, NULL) == LARDER_OK)
		spec_prefix(err, (const char *)path.data);
	if (rc == LARDER_OK)
		rc = take_entries(r, w, dir, &tree, &attrs, err);
	buf_release(&path);
	tree_list_release(&tree);
	attrs_list_release(&attrs);
	atomic_fetch_sub(&r->walking, 1);
	if (rc == LARDER_OK)
		rc = restore_dir_done(r, w, dir, err);
	restore_progress(r);
	return rc;
}

int
restore_dir_submit(struct restore *r, struct restore_dir *dir, struct larder_err *err)
{
	atomic_fetch_add(&r->walking, 1);
	if (pool_submit(r->pool, RESTORE_DIR, look_at_dir, dir) < 0)
		return err_nomem(err);
	return LARDER_OK;
}
