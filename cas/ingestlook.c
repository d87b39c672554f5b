/*
 * Looking: a directory is opened, its entries are compared with what was
 * remembered, and what changed is read; or a single file is.
 *
 * Nothing is followed: every open is below the top and refuses symlinks.
 */
#include "cas/ingest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cas/base/clock.h"
#include "cas/base/err.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"

/* ---- looking at a directory ---- */

/* Open below the top without following a symlink anywhere on the way. */
static int
open_below(int top_fd, const char *path, int flags)
{
	static atomic_bool have_openat2 = true;
	struct open_how how = { .flags = (unsigned)(flags | O_CLOEXEC),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS };
	int fd;

	if (atomic_load_explicit(&have_openat2, memory_order_relaxed)) {
		fd = (int)syscall(SYS_openat2, top_fd, path, &how, sizeof how);
		if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
			return fd;
		if (errno == ENOSYS)
			atomic_store(&have_openat2, false);
	}
	return openat(top_fd, path, flags | O_CLOEXEC | O_NOFOLLOW);
}

void
ingest_file_read(struct ingest *in, struct ingest_node *node, size_t slot,
    const struct walk_stat *was, int fd, int64_t looked_ns, uint64_t read_len)
{
	struct ingest_file *file = &node->files[slot];
	struct stat st;

	file->sparse = was->blocks * 512 < read_len;
	file->print = walk_fingerprint(was, looked_ns);
	if (fstat(fd, &st) < 0)
		return;
	if (read_len == was->size && (uint64_t)st.st_size == was->size &&
	    (int64_t)st.st_mtim.tv_sec == was->mtime_s &&
	    (uint32_t)st.st_mtim.tv_nsec == was->mtime_ns)
		return;
	file->print = 0;
	ingest_item(in, node, node->dir.entries[slot].name, LARDER_ERR_PARTIAL,
	    "changed while it was read; stored as read");
}

static struct walk_xattrs *
entry_xattrs(struct ingest *in, struct ingest_node *node, size_t slot, int fd, int dir_fd, int *rc,
    struct larder_err *err)
{
	struct walk_xattrs found, *kept;

	*rc = walk_xattrs_read(&found, fd, dir_fd, node->dir.entries[slot].name, err);
	if (*rc < 0)
		return NULL;
	if (*rc == 1)
		ingest_item(in, node, node->dir.entries[slot].name, LARDER_ERR_PARTIAL,
		    "some of its extended attributes could not be read");
	*rc = LARDER_OK;
	if (found.count == 0) {
		walk_xattrs_release(&found);
		return NULL;
	}
	kept = mem_alloc(sizeof *kept);
	if (kept == NULL) {
		walk_xattrs_release(&found);
		*rc = err_nomem(err);
		return NULL;
	}
	*kept = found;
	return kept;
}

/* A regular file that has to be read. */
static int
take_file(struct ingest *in, unsigned worker, struct ingest_node *node, size_t slot, int dir_fd,
    int64_t looked_ns, struct larder_err *err)
{
	struct walk_entry *e = &node->dir.entries[slot];
	struct ingest_file *file = &node->files[slot];
	struct stat st;
	int fd, rc;

	fd = openat(dir_fd, e->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st) < 0) {
		file->left_out = true;
		if (errno != ENOENT)
			ingest_item(in, node, e->name, LARDER_ERR_IO, strerror(errno));
		if (fd >= 0)
			close(fd);
		return LARDER_OK;
	}
	if (!S_ISREG(st.st_mode)) {
		close(fd);
		file->left_out = true;
		ingest_item(in, node, e->name, LARDER_ERR_PARTIAL,
		    "changed its kind while it was looked at");
		return LARDER_OK;
	}
	walk_stat_from(&e->st, &st);
	e->stat_known = true;
	file->executable = ingest_is_executable(e);
	file->xattrs = entry_xattrs(in, node, slot, fd, dir_fd, &rc, err);
	if (rc == LARDER_OK && e->st.size > SMALL_FILE_MAX)
		return big_start(in, node, slot, fd, looked_ns, err);
	if (rc == LARDER_OK)
		rc = small_read(in, worker, node, slot, fd, looked_ns, err);
	if (rc == 1) { /* it grew meanwhile */
		if (fstat(fd, &st) == 0)
			walk_stat_from(&e->st, &st);
		return big_start(in, node, slot, fd, looked_ns, err);
	}
	close(fd);
	return rc;
}

static int
take_symlink(
    struct ingest *in, struct ingest_node *node, size_t slot, int dir_fd, struct larder_err *err)
{
	struct walk_entry *e = &node->dir.entries[slot];
	char target[PATH_LEN_MAX + 1];
	ssize_t len = readlinkat(dir_fd, e->name, target, sizeof target);

	if (len <= 0 || len > PATH_LEN_MAX) {
		node->files[slot].left_out = true;
		ingest_item(in, node, e->name, len > 0 ? LARDER_ERR_LIMIT : LARDER_ERR_IO,
		    len > 0 ? "its target is too long" : strerror(errno));
		return LARDER_OK;
	}
	node->files[slot].target = mem_alloc((size_t)len + 1);
	if (node->files[slot].target == NULL)
		return err_nomem(err);
	memcpy(node->files[slot].target, target, (size_t)len);
	node->files[slot].target[len] = 0;
	return LARDER_OK;
}

static int
take_dir(struct ingest *in, struct ingest_node *node, size_t slot, struct larder_err *err)
{
	struct walk_entry *e = &node->dir.entries[slot];
	struct ingest_node *child;

	if (node->depth >= PATH_DEPTH_MAX) {
		node->files[slot].left_out = true;
		ingest_item(in, node, e->name, LARDER_ERR_LIMIT, "lies deeper than 256 directories");
		return LARDER_OK;
	}
	if (strlen(node->path) + e->name_len + 2 > PATH_LEN_MAX) {
		node->files[slot].left_out = true;
		ingest_item(
		    in, node, e->name, LARDER_ERR_LIMIT, "its path is longer than 4,096 bytes");
		return LARDER_OK;
	}
	if (e->st.dev == in->rules.store_dev && e->st.ino == in->rules.store_ino) {
		node->files[slot].left_out =
		    true; /* nobody wants the store in the store: no word */
		return LARDER_OK;
	}
	child = ingest_node_new(in, node, slot, e->name);
	if (child == NULL)
		return err_nomem(err);
	atomic_fetch_add(&node->pending, 1);
	if (pool_submit(in->pool, RANK_DIR, ingest_look_task, child) < 0) {
		ingest_node_drop(&child->task);
		return err_nomem(err);
	}
	return LARDER_OK;
}

/* Fingerprints of the entries, and whether all of them are the remembered ones. */
static void
compare_with_seen(struct ingest_node *node, int64_t looked_ns)
{
	size_t print = 0;
	bool clean = node->seen && node->names == node->was.names && node->self_print != 0 &&
		     node->self_print == node->was.self;

	for (size_t i = 0; i < node->dir.count; i++) {
		const struct walk_entry *e = &node->dir.entries[i];

		if (e->kind == TREE_DIR)
			continue;
		if (e->stat_known)
			node->files[i].print = walk_fingerprint(&e->st, looked_ns);
		if (clean)
			clean = print < node->was.print_count && node->files[i].print != 0 &&
				node->files[i].print == node->was.prints[print];
		print++;
	}
	node->clean = clean && print == node->was.print_count;
}

/*
 * The remembered entry of this name, when it is unchanged. Prints stand in the
 * order of the remembered names, directories left out; `at` walks along.
 */
static bool
is_unchanged(struct ingest_node *node, size_t slot, size_t *at, size_t *print)
{
	const struct walk_entry *e = &node->dir.entries[slot];
	struct ingest_file *file = &node->files[slot];

	for (; *at < node->was_tree.count; (*at)++) {
		const struct tree_entry *was = &node->was_tree.entries[*at];
		int order = tree_name_compare(was->name, was->name_len, e->name, e->name_len);

		if (order > 0)
			return false;
		if (order == 0) {
			if (was->kind != (enum tree_kind)e->kind ||
			    *print >= node->was.print_count || file->print == 0 ||
			    file->print != node->was.prints[*print])
				return false;
			file->id = was->id;
			file->size = was->size;
			file->list = was->list;
			file->executable = was->executable;
			file->known_attrs = &node->was_attrs.rows[*at];
			return true;
		}
		if (was->kind != TREE_DIR)
			(*print)++;
	}
	return false;
}

/* Entries of an opened directory, each taken as what it is. */
static int
take_entries(struct ingest *in, unsigned worker, struct ingest_node *node, int fd,
    int64_t looked_ns, struct larder_err *err)
{
	size_t at = 0, print = 0;
	int rc = LARDER_OK;

	for (size_t i = 0; i < node->dir.count && rc == LARDER_OK; i++) {
		struct walk_entry *e = &node->dir.entries[i];
		bool unchanged;

		if (e->kind == TREE_DIR)
			continue; /* below, in reverse */
		if (node->clean)
			continue;
		unchanged = node->was_loaded && is_unchanged(node, i, &at, &print);
		if (e->kind == TREE_SYMLINK)
			rc = take_symlink(in, node, i, fd, err);
		else if (unchanged)
			atomic_fetch_add_explicit(&in->files, 1, memory_order_relaxed);
		else if (e->kind == TREE_FILE)
			rc = take_file(in, worker, node, i, fd, looked_ns, err);
		if (rc == LARDER_OK && !unchanged && e->kind != TREE_FILE)
			node->files[i].xattrs = entry_xattrs(in, node, i, -1, fd, &rc, err);
	}
	/* the last one submitted is the first one run: so they come in the order of their names */
	for (size_t i = node->dir.count; i-- > 0 && rc == LARDER_OK;)
		if (node->dir.entries[i].kind == TREE_DIR)
			rc = take_dir(in, node, i, err);
	return rc;
}

static void
bad_entry(void *context, const char *name, int sys_errno)
{
	void **both = context;

	ingest_item(both[0], both[1], name, LARDER_ERR_IO, strerror(sys_errno));
}

/* The row remembered for this directory, if what it refers to is there. */
static int
recall(struct ingest *in, unsigned worker, struct ingest_node *node, struct larder_err *err)
{
	struct ingest_worker *w = &in->workers[worker];
	struct index_place place;
	int rc;

	remember_key(node->key, in->top, node->path, &in->rules_id);
	rc = index_seen_get(&w->row, w->read, node->key, err);
	if (rc == LARDER_ERR_NOT_FOUND)
		return LARDER_OK;
	if (rc < 0)
		return rc;
	rc = remember_decode(&node->was, w->row.data, w->row.len);
	if (rc == LARDER_ERR_NOMEM)
		return err_nomem(err);
	if (rc < 0 || node->was.file != node->lone_file) {
		remember_release(&node->was);
		return LARDER_OK;
	}
	if (node->lone_file) {
		node->seen = node->was.list || node->was.size > 0
				 ? index_chunk_get(&place, w->read, &node->was.id, err) == LARDER_OK
				 : true;
		return LARDER_OK;
	}
	node->seen = index_chunk_get(&place, w->read, &node->was.tree, err) == LARDER_OK &&
		     index_chunk_get(&place, w->read, &node->was.attrs, err) == LARDER_OK;
	return LARDER_OK;
}

static int
look(struct ingest *in, unsigned worker, struct ingest_node *node, int fd, struct larder_err *err)
{
	void *both[2] = { in, node };
	int64_t looked_ns = clock_now_ns();
	struct stat st;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_sys(err, "stat %s", node->path);
	walk_stat_from(&node->self, &st);
	rc = recall(in, worker, node, err);
	if (rc < 0)
		return rc;
	if (node->parent != NULL && in->rules.one_file_system &&
	    node->self.dev != in->rules.root_dev) {
		node->seen = false; /* another file system: an empty directory stands for it */
	} else {
		rc = walk_dir_read(
		    &node->dir, fd, node->path, &in->rules, node->seen, bad_entry, both, err);
		if (rc < 0)
			return rc;
	}
	node->files = mem_zarray(node->dir.count ? node->dir.count : 1, sizeof *node->files);
	if (node->files == NULL)
		return err_nomem(err);
	node->self_print = walk_fingerprint(&node->self, looked_ns);
	for (size_t i = 0; i < node->dir.count; i++) {
		const struct walk_entry *e = &node->dir.entries[i];

		for (uint32_t n = 0; n < e->name_len; n += 8) {
			uint64_t word = 0;

			memcpy(&word, e->name + n, e->name_len - n < 8 ? e->name_len - n : 8);
			node->names = walk_mix(node->names, word);
		}
		node->names = walk_mix(node->names, (uint64_t)e->name_len << 8 | e->kind);
	}
	compare_with_seen(node, looked_ns);
	if (node->seen && !node->clean && ingest_load_was(in, worker, node, NULL) < 0)
		node->was_loaded = false; /* then everything is read again */
	if (!node->clean) {
		rc = walk_xattrs_read(&node->self_xattrs, fd, -1, "", err);
		if (rc < 0)
			return rc;
	} else {
		atomic_fetch_add_explicit(&in->files, node->was.print_count, memory_order_relaxed);
	}
	return take_entries(in, worker, node, fd, looked_ns, err);
}

int
ingest_look_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct ingest *in = context;
	struct ingest_node *node = arg;
	int fd, rc = LARDER_OK;

	fd = open_below(in->top_fd, node->path[0] ? node->path : ".", O_RDONLY | O_DIRECTORY);
	if (fd < 0) {
		node->left_out = true;
		if (errno != ENOENT)
			ingest_item(in, node, "", LARDER_ERR_IO, strerror(errno));
	} else {
		rc = look(in, worker, node, fd, err);
		close(fd);
	}
	ingest_progress(in);
	if (rc == LARDER_OK)
		rc = ingest_node_done(in, worker, node, err);
	return rc;
}

/* ---- a single file ---- */

int
ingest_lone_task(void *context, void *arg, unsigned worker, struct larder_err *err)
{
	struct ingest *in = context;
	struct ingest_node *node = arg;
	struct walk_entry *e = &node->dir.entries[0];
	int64_t looked_ns = clock_now_ns();
	struct stat st;
	int rc;

	if (fstat(in->top_fd, &st) < 0)
		return err_sys(err, "stat %s", in->top);
	walk_stat_from(&e->st, &st);
	node->files[0].print = walk_fingerprint(&e->st, looked_ns);
	rc = recall(in, worker, node, err);
	if (rc < 0)
		return rc;
	if (node->seen && node->files[0].print != 0 && node->files[0].print == node->was.self &&
	    !in->options->sha256) {
		node->clean = true;
		node->files[0].id = node->was.id;
		node->files[0].list = node->was.list;
		node->files[0].size = node->was.size;
		rc = LARDER_OK;
	} else {
		int fd = fcntl(in->top_fd, F_DUPFD_CLOEXEC, 0);

		if (fd < 0)
			return err_sys(err, "open %s", in->top);
		node->files[0].print = 0;
		rc = 1;
		if (e->st.size <= SMALL_FILE_MAX)
			rc = small_read(in, worker, node, 0, fd, looked_ns, err);
		if (rc == 1) {
			rc = big_start(in, node, 0, fd, looked_ns, err);
			fd = -1;
		}
		if (fd >= 0)
			close(fd);
		if (rc < 0)
			return rc;
	}
	return ingest_node_done(in, worker, node, err);
}

struct ingest_node *
ingest_lone_node(struct ingest *in, const char *name)
{
	struct ingest_node *node = ingest_node_new(in, NULL, 0, "");

	if (node == NULL)
		return NULL;
	node->lone_file = true;
	node->dir.entries = mem_zarray(1, sizeof *node->dir.entries);
	node->files = mem_zarray(1, sizeof *node->files);
	if (node->dir.entries == NULL || node->files == NULL ||
	    buf_append(&node->dir.names, name, strlen(name) + 1) < 0) {
		ingest_node_drop(&node->task);
		return NULL;
	}
	node->dir.count = 1;
	node->dir.entries[0].name = (const char *)node->dir.names.data;
	node->dir.entries[0].name_len = (uint32_t)strlen(name);
	node->dir.entries[0].kind = TREE_FILE;
	return node;
}
