/*
 * A directory as sorted entries. See dirwalk.h.
 *
 * Everything is done relative to directory descriptors and never follows a
 * symlink: what is walked is what was named, whatever is swapped meanwhile.
 */
#include "cas/dirwalk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/limits.h"
#include "cas/base/mem.h"

enum {
	RACY_NS = 50 * 1000 * 1000,
	RACY_COARSE_S = 2,
	NAMES_MAX = 1 << 30,
};

void
walk_stat_from(struct walk_stat *out, const struct stat *st)
{
	out->size = (uint64_t)st->st_size;
	out->ino = (uint64_t)st->st_ino;
	out->dev = (uint64_t)st->st_dev;
	out->rdev = (uint64_t)st->st_rdev;
	out->blocks = (uint64_t)st->st_blocks;
	out->mtime_s = (int64_t)st->st_mtim.tv_sec;
	out->ctime_s = (int64_t)st->st_ctim.tv_sec;
	out->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
	out->ctime_ns = (uint32_t)st->st_ctim.tv_nsec;
	out->mode = (uint32_t)st->st_mode;
	out->uid = (uint32_t)st->st_uid;
	out->gid = (uint32_t)st->st_gid;
	out->nlink = (uint64_t)st->st_nlink;
}

void
walk_dir_release(struct walk_dir *dir)
{
	mem_free(dir->entries);
	buf_release(&dir->names);
	memset(dir, 0, sizeof *dir);
}

bool
walk_excluded(const struct walk_rules *rules, const char *path, const char *name)
{
	for (size_t i = 0; i < rules->exclude_count; i++) {
		const char *glob = rules->exclude[i];

		if (strchr(glob, '/') == NULL) {
			if (fnmatch(glob, name, 0) == 0)
				return true;
		} else {
			if (fnmatch(glob[0] == '/' ? glob + 1 : glob, path, FNM_PATHNAME) == 0)
				return true;
		}
	}
	return false;
}

static int
kind_of_mode(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return TREE_FILE;
	case S_IFDIR:
		return TREE_DIR;
	case S_IFLNK:
		return TREE_SYMLINK;
	case S_IFIFO:
		return TREE_FIFO;
	case S_IFCHR:
		return TREE_CHAR;
	case S_IFBLK:
		return TREE_BLOCK;
	case S_IFSOCK:
		return TREE_SOCKET;
	default:
		return -1;
	}
}

static int
compare_entries(const void *a, const void *b)
{
	const struct walk_entry *x = a, *y = b;

	return tree_name_compare(x->name, x->name_len, y->name, y->name_len);
}

/* All names, one behind the other with a NUL each, and whether d_type says regular file. */
static int
read_names(struct walk_dir *out, int fd, const char *path, const struct walk_rules *rules,
    struct larder_err *err)
{
	size_t room = 0, path_len = strlen(path);
	char full[PATH_LEN_MAX + COMPONENT_LEN_MAX + 3];
	struct dirent *d;
	DIR *stream;
	int rc = LARDER_OK, copy;

	copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (copy < 0)
		return err_sys(err, "open again");
	stream = fdopendir(copy);
	if (stream == NULL) {
		close(copy);
		return err_sys(err, "read the directory");
	}
	buf_init(&out->names, NAMES_MAX);
	memcpy(full, path, path_len);
	if (path_len > 0)
		full[path_len++] = '/';

	for (;;) {
		size_t len;

		errno = 0;
		d = readdir(stream);
		if (d == NULL)
			break;
		len = strlen(d->d_name);
		if (d->d_name[0] == '.' && (len == 1 || (len == 2 && d->d_name[1] == '.')))
			continue;
		if (rules->exclude_count > 0) {
			memcpy(full + path_len, d->d_name, len + 1);
			if (walk_excluded(rules, full, d->d_name))
				continue;
		}
		if (out->count == room) {
			size_t more = room ? room * 2 : 16;
			void *grown = mem_resize(out->entries, more, sizeof *out->entries);

			if (grown == NULL) {
				rc = err_nomem(err);
				break;
			}
			out->entries = grown;
			room = more;
		}
		memset(&out->entries[out->count], 0, sizeof out->entries[0]);
		out->entries[out->count].name_len = (uint32_t)len;
		out->entries[out->count].kind = d->d_type == DT_REG ? TREE_FILE : TREE_KIND_COUNT;
		rc = buf_append(&out->names, d->d_name, len + 1);
		if (rc < 0) {
			rc = buf_err(&out->names, rc, err);
			break;
		}
		out->count++;
	}
	if (rc == LARDER_OK && d == NULL && errno != 0)
		rc = err_sys(err, "read the directory");
	closedir(stream);
	return rc;
}

int
walk_dir_read(struct walk_dir *out, int fd, const char *path, const struct walk_rules *rules,
    bool stat_files, walk_bad_fn bad, void *context, struct larder_err *err)
{
	size_t kept = 0, at = 0;
	struct stat st;
	int rc;

	memset(out, 0, sizeof *out);
	rc = read_names(out, fd, path, rules, err);
	if (rc < 0) {
		walk_dir_release(out);
		return rc;
	}
	for (size_t i = 0; i < out->count; i++) {
		out->entries[i].name = (const char *)out->names.data + at;
		at += out->entries[i].name_len + 1u;
	}
	if (out->count > 1)
		qsort(out->entries, out->count, sizeof out->entries[0], compare_entries);

	for (size_t i = 0; i < out->count; i++) {
		struct walk_entry *e = &out->entries[i];
		int kind;

		if (stat_files || e->kind != TREE_FILE) {
			if (fstatat(fd, e->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
				if (errno != ENOENT)
					bad(context, e->name, errno);
				continue;
			}
			kind = kind_of_mode((uint32_t)st.st_mode);
			if (kind < 0)
				continue;
			e->kind = (uint8_t)kind;
			walk_stat_from(&e->st, &st);
			e->stat_known = true;
		}
		out->entries[kept++] = *e;
	}
	out->count = kept;
	return LARDER_OK;
}

uint64_t
walk_mix(uint64_t h, uint64_t v)
{
	unsigned __int128 product;

	/* one round of multiply and fold; the odd constants are digits of the golden ratio and of
	 * pi */
	h ^= v;
	product = (unsigned __int128)(h ^ 0x9e3779b97f4a7c15u) * 0x243f6a8885a308d3u;
	return (uint64_t)product ^ (uint64_t)(product >> 64) ^ (h << 1);
}

static bool
racy(int64_t s, uint32_t ns, int64_t now_ns)
{
	if (ns == 0) /* perhaps a file system that keeps whole seconds */
		return s >= now_ns / 1000000000 - RACY_COARSE_S;
	if (s > now_ns / 1000000000)
		return true;
	return s >= now_ns / 1000000000 - 1 && s * 1000000000 + ns > now_ns - RACY_NS;
}

uint64_t
walk_fingerprint(const struct walk_stat *st, int64_t now_ns)
{
	uint64_t h = 0x6c61726465722031u;

	/* mtime may be anything (tar sets it); ctime is what the kernel last saw */
	if (racy(st->ctime_s, st->ctime_ns, now_ns))
		return 0;
	h = walk_mix(h, st->size);
	h = walk_mix(h, (uint64_t)st->mtime_s);
	h = walk_mix(h, (uint64_t)st->ctime_s);
	h = walk_mix(h, (uint64_t)st->mtime_ns << 32 | st->ctime_ns);
	h = walk_mix(h, st->ino);
	h = walk_mix(h, (uint64_t)st->mode << 32 | st->uid);
	h = walk_mix(h, (uint64_t)st->gid << 32 | (st->nlink & 0xffffffffu));
	h = walk_mix(h, st->rdev);
	return h ? h : 1;
}

/* ---- xattrs ---- */

void
walk_xattrs_release(struct walk_xattrs *xattrs)
{
	mem_free(xattrs->list);
	buf_release(&xattrs->storage);
	memset(xattrs, 0, sizeof *xattrs);
}

static int
compare_xattrs(const void *a, const void *b)
{
	const struct attrs_xattr *x = a, *y = b;

	return tree_name_compare(x->name, x->name_len, y->name, y->name_len);
}

static ssize_t
xattr_names(int fd, const char *path, char *out, size_t room)
{
	return fd >= 0 ? flistxattr(fd, out, room) : llistxattr(path, out, room);
}

static ssize_t
xattr_value(int fd, const char *path, const char *name, void *out, size_t room)
{
	return fd >= 0 ? fgetxattr(fd, name, out, room) : lgetxattr(path, name, out, room);
}

int
walk_xattrs_read(
    struct walk_xattrs *out, int fd, int dir_fd, const char *name, struct larder_err *err)
{
	char path[64 + COMPONENT_LEN_MAX];
	char names[4096], *list = names;
	size_t count = 0, at;
	ssize_t len;
	int rc = LARDER_OK, left_out = 0;

	memset(out, 0, sizeof *out);
	if (fd < 0)
		snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir_fd, name);
	len = xattr_names(fd, path, list, sizeof names);
	if (len < 0 && errno == ERANGE) {
		list = mem_alloc(65536); /* the kernel's own limit (XATTR_LIST_MAX) */
		if (list == NULL)
			return err_nomem(err);
		len = xattr_names(fd, path, list, 65536);
	}
	if (len <= 0) {
		if (len < 0 && errno != ENOTSUP && errno != ENOENT)
			left_out = 1;
		goto out;
	}
	for (at = 0; at < (size_t)len; at += strlen(list + at) + 1)
		count++;
	out->list = mem_zarray(count, sizeof *out->list);
	if (out->list == NULL) {
		rc = err_nomem(err);
		goto out;
	}
	buf_init(&out->storage, 64 * MIB);
	for (at = 0; at < (size_t)len; at += strlen(list + at) + 1) {
		struct attrs_xattr *x = &out->list[out->count];
		size_t name_len = strlen(list + at), value_at;
		ssize_t value_len;

		if (name_len == 0 || name_len > ATTRS_XATTR_NAME_MAX) {
			left_out = 1;
			continue;
		}
		value_at = out->storage.len + name_len + 1;
		rc = buf_append(&out->storage, list + at, name_len + 1);
		if (rc == LARDER_OK)
			rc = buf_reserve(&out->storage, ATTRS_XATTR_VALUE_MAX);
		if (rc < 0) {
			rc = buf_err(&out->storage, rc, err);
			goto out;
		}
		value_len = xattr_value(
		    fd, path, list + at, out->storage.data + value_at, ATTRS_XATTR_VALUE_MAX);
		if (value_len < 0) {
			if (errno != ENODATA)
				left_out = 1;
			out->storage.len = value_at - name_len - 1;
			continue;
		}
		out->storage.len = value_at + (size_t)value_len;
		x->name_len = name_len;
		x->value_len = (size_t)value_len;
		out->count++;
	}
	/* the storage has stopped moving: now the pointers */
	at = 0;
	for (size_t i = 0; i < out->count; i++) {
		out->list[i].name = (const char *)out->storage.data + at;
		at += out->list[i].name_len + 1;
		out->list[i].value = out->storage.data + at;
		at += out->list[i].value_len;
	}
	if (out->count > 1)
		qsort(out->list, out->count, sizeof *out->list, compare_xattrs);
out:
	if (list != names)
		mem_free(list);
	if (rc < 0)
		walk_xattrs_release(out);
	return rc < 0 ? rc : left_out;
}

/* ---- owners ---- */

void
walk_owners_init(struct walk_owners *owners)
{
	memset(owners, 0, sizeof *owners);
	pthread_mutex_init(&owners->lock, NULL);
}

void
walk_owners_release(struct walk_owners *owners)
{
	for (size_t i = 0; i < owners->count; i++)
		mem_free(owners->list[i].name);
	mem_free(owners->list);
	pthread_mutex_destroy(&owners->lock);
}

static char *
ask_name(uint32_t id, bool group)
{
	char text[16384];
	struct passwd pw, *user = NULL;
	struct group gr, *grp = NULL;

	if (group) {
		if (getgrgid_r(id, &gr, text, sizeof text, &grp) == 0 && grp != NULL)
			return mem_strdup(gr.gr_name);
	} else {
		if (getpwuid_r(id, &pw, text, sizeof text, &user) == 0 && user != NULL)
			return mem_strdup(pw.pw_name);
	}
	return mem_strdup("");
}

const char *
walk_owner_name(struct walk_owners *owners, uint32_t id, bool group)
{
	const char *name = NULL;

	pthread_mutex_lock(&owners->lock);
	for (size_t i = 0; i < owners->count && name == NULL; i++)
		if (owners->list[i].id == id && owners->list[i].group == group)
			name = owners->list[i].name;
	if (name == NULL) {
		if (owners->count == owners->room) {
			size_t more = owners->room ? owners->room * 2 : 16;
			void *grown = mem_resize(owners->list, more, sizeof *owners->list);

			if (grown != NULL) {
				owners->list = grown;
				owners->room = more;
			}
		}
		if (owners->count < owners->room) {
			char *asked = ask_name(id, group);

			if (asked != NULL) {
				owners->list[owners->count++] =
				    (struct walk_owner){ .id = id, .group = group, .name = asked };
				name = asked;
			}
		}
	}
	pthread_mutex_unlock(&owners->lock);
	return name ? name : "";
}
