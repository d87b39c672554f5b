/*
 * Mode, owner, times, extended attributes.
 *
 * In this order, because each step may undo another: owner (takes set-id bits
 * and capabilities away), attributes other than ACLs (need a file that is still
 * writable), mode, ACLs (whose mask is the mode's group bits), times.
 *
 * What cannot be set is given to the caller and counted; nothing here stops a
 * restore but a damaged store.
 */
#include "cas/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/limits.h"

enum { SET_ID = S_ISUID | S_ISGID, MODE_BITS = 07777 };

/* ---- keeping ---- */

size_t
restore_meta_room(const struct attrs_row *row)
{
	size_t room = 0;

	for (size_t i = 0; row != NULL && i < row->xattr_count; i++) {
		room += sizeof row->xattrs[i] + row->xattrs[i].name_len + 1;
		if (row->xattrs[i].value != NULL)
			room += row->xattrs[i].value_len;
	}
	return room;
}

void
restore_meta_take(struct restore_meta *out, const struct attrs_row *row, void *storage)
{
	struct attrs_xattr *copy = storage;
	uint8_t *bytes;

	memset(out, 0, sizeof *out);
	if (row == NULL)
		return;
	out->known = true;
	out->mode = row->mode;
	out->uid = row->uid;
	out->gid = row->gid;
	out->mtime_s = row->mtime_s;
	out->mtime_ns = row->mtime_ns;
	out->sparse = row->sparse;
	out->xattr_count = (uint32_t)row->xattr_count;
	if (row->xattr_count == 0)
		return;
	out->xattrs = copy;
	bytes = (uint8_t *)(copy + row->xattr_count);
	for (size_t i = 0; i < row->xattr_count; i++) {
		const struct attrs_xattr *x = &row->xattrs[i];

		copy[i] = *x;
		memcpy(bytes, x->name, x->name_len);
		bytes[x->name_len] = '\0';
		copy[i].name = (const char *)bytes;
		bytes += x->name_len + 1;
		if (x->value == NULL)
			continue;
		memcpy(bytes, x->value, x->value_len);
		copy[i].value = bytes;
		bytes += x->value_len;
	}
}

mode_t
restore_open_mode(const struct restore_file *file)
{
	if (!file->meta.known)
		return file->executable ? 0777 : 0666;
	/* attributes can only be set on what its owner may write to */
	return file->meta.xattr_count > 0 ? 0600 : file->meta.mode & 0777;
}

/* ---- setting: of a descriptor, or of a name in a directory ---- */

struct target {
	struct restore *r;
	struct restore_worker *w;
	const struct restore_meta *meta;
	const struct restore_dir *dir; /* and name: for messages */
	const char *name;
	int fd;
	int dir_fd; /* -1: fd is the thing itself */
	bool symlink;
};

static void
not_set(const struct target *t, const char *what, const char *which)
{
	int code = errno;

	restore_item(t->r, t->dir, t->name,
	    code == EPERM || code == EACCES ? LARDER_ERR_REFUSED : LARDER_ERR_IO,
	    "%s%s could not be set: %s", what, which, strerror(code));
}

static int
change_owner(const struct target *t, uid_t uid, gid_t gid)
{
	if (t->dir_fd < 0)
		return fchown(t->fd, uid, gid);
	return fchownat(t->dir_fd, t->name, uid, gid, AT_SYMLINK_NOFOLLOW);
}

/* The set-id bits that may be set, as a mask; *changed when the owner was. */
static uint32_t
set_owner(const struct target *t, const struct stat *st, bool *changed)
{
	const struct restore_meta *meta = t->meta;
	bool same_user = st->st_uid == meta->uid, same_group = st->st_gid == meta->gid;

	*changed = false;
	if (same_user && same_group)
		return SET_ID;
	if (!t->r->is_root && !same_user)
		return 0; /* only root may give files away: nothing to report */
	*changed = true;
	if (change_owner(
		t, same_user ? (uid_t)-1 : meta->uid, same_group ? (gid_t)-1 : meta->gid) == 0)
		return SET_ID;
	not_set(t, same_user ? "group" : "owner", "");
	return same_user ? S_ISUID : 0;
}

static void
set_mode(const struct target *t, const struct stat *st, uint32_t set_id, bool owner_changed)
{
	uint32_t mode = t->meta->mode & ((MODE_BITS & ~SET_ID) | set_id);
	int rc;

	if (t->symlink)
		return;
	if (mode != t->meta->mode)
		restore_item(t->r, t->dir, t->name, LARDER_ERR_REFUSED,
		    "set-id bits are left out: the owner could not be set");
	if ((st->st_mode & MODE_BITS) == mode && !(owner_changed && (mode & SET_ID) != 0))
		return;
	rc = t->dir_fd < 0 ? fchmod(t->fd, mode) : fchmodat(t->dir_fd, t->name, mode, 0);
	if (rc < 0)
		not_set(t, "mode", "");
}

static void
set_times(const struct target *t)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT },
		{ .tv_sec = t->meta->mtime_s, .tv_nsec = t->meta->mtime_ns } };
	int rc;

	rc = t->dir_fd < 0 ? futimens(t->fd, times)
			   : utimensat(t->dir_fd, t->name, times, AT_SYMLINK_NOFOLLOW);
	if (rc < 0)
		not_set(t, "times", "");
}

static bool
is_acl(const char *name)
{
	return strncmp(name, "system.posix_acl_", 17) == 0;
}

static int
set_xattr(const struct target *t, const char *name, const void *value, size_t len)
{
	char path[64 + COMPONENT_LEN_MAX + 1];

	if (t->dir_fd < 0)
		return fsetxattr(t->fd, name, value, len, 0);
	/* there is no lsetxattrat; the last component is not followed */
	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", t->dir_fd, t->name);
	return lsetxattr(path, name, value, len, 0);
}

static int
set_xattrs(const struct target *t, bool acls, struct larder_err *err)
{
	for (uint32_t i = 0; i < t->meta->xattr_count; i++) {
		const struct attrs_xattr *x = &t->meta->xattrs[i];
		const void *value = x->value;
		int rc;

		if (is_acl(x->name) != acls)
			continue;
		if (value == NULL) {
			buf_clear(&t->w->scratch);
			rc = fetch_chunk(&t->w->scratch, t->w->reader, &x->id, err);
			if (rc < 0)
				return rc;
			value = t->w->scratch.data;
		}
		if (set_xattr(t, x->name, value, x->value_len) < 0)
			not_set(t, "attribute ", x->name);
	}
	return LARDER_OK;
}

static int
set_all(const struct target *t, const struct stat *st, struct larder_err *err)
{
	bool owner_changed;
	uint32_t set_id = set_owner(t, st, &owner_changed);
	int rc = LARDER_OK;

	if (t->meta->xattr_count > 0)
		rc = set_xattrs(t, false, err);
	if (rc < 0)
		return rc;
	set_mode(t, st, set_id, owner_changed);
	if (t->meta->xattr_count > 0)
		rc = set_xattrs(t, true, err);
	if (rc == LARDER_OK)
		set_times(t);
	return rc;
}

int
restore_attrs_fd(struct restore *r, struct restore_worker *w, int fd,
    const struct restore_meta *meta, const struct restore_dir *dir, const char *name,
    struct larder_err *err)
{
	const struct target t = {
		.r = r, .w = w, .meta = meta, .dir = dir, .name = name, .fd = fd, .dir_fd = -1
	};
	struct stat st;

	if (!meta->known)
		return LARDER_OK;
	if (fstat(fd, &st) < 0)
		return err_sys(err, "look at %s", name != NULL ? name : dir->name);
	return set_all(&t, &st, err);
}

int
restore_attrs_at(struct restore *r, struct restore_worker *w, int dir_fd,
    const struct restore_meta *meta, bool symlink, const struct restore_dir *dir, const char *name,
    struct larder_err *err)
{
	const struct target t = { .r = r,
		.w = w,
		.meta = meta,
		.dir = dir,
		.name = name,
		.fd = -1,
		.dir_fd = dir_fd,
		.symlink = symlink };
	struct stat st;

	if (!meta->known)
		return LARDER_OK;
	if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "look at %s", name);
	return set_all(&t, &st, err);
}

int
restore_attrs_verify(
    struct restore_worker *w, const struct restore_meta *meta, struct larder_err *err)
{
	int rc = LARDER_OK;

	for (uint32_t i = 0; i < meta->xattr_count && rc == LARDER_OK; i++) {
		if (meta->xattrs[i].value != NULL)
			continue;
		buf_clear(&w->scratch);
		rc = fetch_chunk(&w->scratch, w->reader, &meta->xattrs[i].id, err);
	}
	return rc;
}
