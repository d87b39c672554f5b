/*
 * Beside the destination, then into place. See staging.h.
 */
#include "cas/staging.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/id.h"
#include "cas/base/mem.h"
#include "cas/base/random.h"
#include "cas/rmtree.h"

enum { TRIES = 4, HEX_BYTES = 8, SUFFIX_LEN = 8 + 2 * HEX_BYTES /* ".larder-" and digits */ };

/* ---- the destination ---- */

/* ".", the name cut where it would become too long, and ".larder-<hex>". */
static void
staged_name(char out[COMPONENT_LEN_MAX + 1], const char *name, const uint8_t bytes[HEX_BYTES])
{
	char hex[2 * HEX_BYTES + 1];

	hex_encode(hex, bytes, HEX_BYTES);
	snprintf(out, COMPONENT_LEN_MAX + 1, ".%.*s.larder-%s", COMPONENT_LEN_MAX - 1 - SUFFIX_LEN,
	    name, hex);
}

/* "a/b//" -> directory "a", name "b". */
static int
split(struct staging *out, char **dir, const char *dest, struct larder_err *err)
{
	size_t end = strlen(dest), from;

	while (end > 0 && dest[end - 1] == '/')
		end--;
	from = end;
	while (from > 0 && dest[from - 1] != '/')
		from--;
	if (end == from || strcmp(dest + from, ".") == 0 || strcmp(dest + from, "..") == 0)
		return err_set(err, LARDER_ERR_USAGE, "%s: a name to restore to is missing",
		    *dest != '\0' ? dest : "destination");
	if (end - from > COMPONENT_LEN_MAX)
		return err_set(
		    err, LARDER_ERR_USAGE, "the destination's name has %zu bytes", end - from);
	memcpy(out->name, dest + from, end - from);
	out->name[end - from] = '\0';
	*dir = from == 0 ? mem_strdup(".") : mem_strdup(dest);
	if (*dir == NULL)
		return err_nomem(err);
	if (from > 0)
		(*dir)[from] = '\0';
	return LARDER_OK;
}

static bool
is_there(const struct staging *s)
{
	struct stat st;

	return fstatat(s->parent_fd, s->name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

int
staging_open(struct staging *out, const char *dest, bool replace, const struct larder_id *what,
    struct larder_err *err)
{
	char *dir = NULL;
	int rc;

	memset(out, 0, sizeof *out);
	out->parent_fd = out->fd = -1;
	out->replace = replace;
	rc = split(out, &dir, dest, err);
	if (rc < 0)
		return rc;
	rc = file_open(&out->parent_fd, AT_FDCWD, dir, O_RDONLY | O_DIRECTORY, 0, err);
	mem_free(dir);
	if (rc == LARDER_ERR_NOT_FOUND) { /* the place is missing, not what is to be restored */
		rc = LARDER_ERR_IO;
		if (err != NULL)
			err->status = LARDER_ERR_IO;
	}
	if (rc < 0)
		return rc;
	staged_name(out->staged, out->name, what->bytes);
	if (!replace && is_there(out)) {
		staging_close(out);
		err_set(err, LARDER_ERR_EXISTS, "%s exists already", dest);
		err_hint(err, "another name, or --overwrite");
		return LARDER_ERR_EXISTS;
	}
	return LARDER_OK;
}

void
staging_close(struct staging *s)
{
	file_close(s->fd);
	file_close(s->parent_fd);
	s->fd = s->parent_fd = -1;
}

/* ---- what is staged ---- */

int
staging_clear(struct staging *s, struct larder_err *err)
{
	int rc = rmtree(s->parent_fd, s->staged, err);

	return rc == LARDER_ERR_NOT_FOUND ? LARDER_OK : rc;
}

/*
 * With s->fd open: 1 = it is ours and locked. 0 = somebody renamed or removed it
 * meanwhile, or it is not to be trusted and was removed: try again.
 */
static int
claim(struct staging *s, mode_t type, struct larder_err *err)
{
	struct stat st, named;
	int rc = 0;

	if (flock(s->fd, LOCK_EX | LOCK_NB) < 0) {
		if (errno == EWOULDBLOCK)
			return err_set(
			    err, LARDER_ERR_BUSY, "another restore writes %s", s->staged);
		if (errno != ENOTSUP && errno != ENOLCK && errno != ENOSYS)
			return err_sys(err, "lock %s", s->staged);
	}
	if (fstat(s->fd, &st) < 0)
		return err_sys(err, "look at %s", s->staged);
	if (fstatat(s->parent_fd, s->staged, &named, AT_SYMLINK_NOFOLLOW) < 0 ||
	    named.st_dev != st.st_dev || named.st_ino != st.st_ino)
		goto again;
	if ((st.st_mode & S_IFMT) == type && st.st_uid == geteuid() &&
	    (type == S_IFDIR ? (st.st_mode & 022) == 0 : st.st_nlink == 1))
		return 1;
	rc = staging_clear(s, err);
again:
	file_close(s->fd);
	s->fd = -1;
	return rc;
}

int
staging_make_dir(struct staging *s, struct larder_err *err)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	int rc = 0;

	for (int i = 0; i < TRIES && rc == 0; i++) {
		struct larder_err cause = { 0 };

		rc = file_mkdir(s->parent_fd, s->staged, 0700, &cause);
		s->existing = rc == LARDER_ERR_EXISTS;
		if (rc == LARDER_OK || s->existing)
			rc = file_open(&s->fd, s->parent_fd, s->staged, flags, 0, &cause);
		if (rc < 0 && s->existing) /* not a directory, or gone again */
			rc = staging_clear(s, &cause);
		else if (rc == LARDER_OK)
			rc = claim(s, S_IFDIR, &cause);
		if (rc < 0 && err != NULL)
			*err = cause;
	}
	if (rc == 0)
		return err_set(err, LARDER_ERR_BUSY, "%s comes and goes", s->staged);
	if (rc < 0)
		return rc;
	if (fchmod(s->fd, 0700) < 0)
		return err_sys(err, "set the mode of %s", s->staged);
	/* ACLs that the parent hands down would be handed down further */
	(void)fremovexattr(s->fd, "system.posix_acl_default");
	(void)fremovexattr(s->fd, "system.posix_acl_access");
	return LARDER_OK;
}

int
staging_make_file(struct staging *s, unsigned mode, struct larder_err *err)
{
	const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
	int rc = 0;

	for (int i = 0; i < TRIES && rc == 0; i++) {
		struct larder_err cause = { 0 };

		rc = file_open(&s->fd, s->parent_fd, s->staged, flags, (mode_t)mode, &cause);
		if (rc == LARDER_OK)
			rc = claim(s, S_IFREG, &cause);
		else if (cause.sys_errno == ELOOP || cause.sys_errno == EISDIR ||
			 cause.sys_errno == ENXIO || cause.sys_errno == EACCES)
			rc = staging_clear(s, &cause);
		if (rc < 0 && err != NULL)
			*err = cause;
	}
	if (rc == 0)
		return err_set(err, LARDER_ERR_BUSY, "%s comes and goes", s->staged);
	if (rc > 0) {
		struct stat st;

		s->existing = fstat(s->fd, &st) == 0 && st.st_size > 0;
		rc = LARDER_OK;
	}
	return rc;
}

/* ---- into place ---- */

/* Where the kernel or file system has no such rename, -1 and EINVAL or ENOSYS. */
static int
rename_with(const struct staging *s, unsigned flags)
{
#ifdef RENAME_NOREPLACE
	return renameat2(s->parent_fd, s->staged, s->parent_fd, s->name, flags);
#else
	(void)s;
	(void)flags;
	errno = ENOSYS;
	return -1;
#endif
}
#ifndef RENAME_NOREPLACE
#define RENAME_NOREPLACE 1
#define RENAME_EXCHANGE 2
#endif

static int
exists(const struct staging *s, struct larder_err *err)
{
	return err_set(err, LARDER_ERR_EXISTS,
	    "%s has come to exist meanwhile; what was restored is in %s", s->name, s->staged);
}

static int
move_new(struct staging *s, struct larder_err *err)
{
	if (rename_with(s, RENAME_NOREPLACE) == 0)
		return LARDER_OK;
	if (errno == EEXIST)
		return exists(s, err);
	if (errno != EINVAL && errno != ENOSYS)
		return err_sys(err, "rename %s to %s", s->staged, s->name);
	if (is_there(s))
		return exists(s, err);
	return file_rename(s->parent_fd, s->staged, s->parent_fd, s->name, err);
}

/* Without an exchange: the old one is out of the way for a moment. */
static int
move_aside(struct staging *s, char old[COMPONENT_LEN_MAX + 1], struct larder_err *err)
{
	uint8_t salt[HEX_BYTES];
	int rc;

	rc = random_bytes(salt, sizeof salt, err);
	if (rc < 0)
		return rc;
	staged_name(old, s->name, salt);
	rc = file_rename(s->parent_fd, s->name, s->parent_fd, old, err);
	if (rc < 0)
		return rc;
	rc = file_rename(s->parent_fd, s->staged, s->parent_fd, s->name, err);
	if (rc < 0 && file_rename(s->parent_fd, old, s->parent_fd, s->name, NULL) < 0)
		err_hint(err, "what stood there is in %s", old);
	return rc;
}

static int
move_over(struct staging *s, struct larder_err *err)
{
	char old[COMPONENT_LEN_MAX + 1];
	struct stat there, staged;
	int rc;

	if (fstatat(s->parent_fd, s->name, &there, AT_SYMLINK_NOFOLLOW) < 0)
		return file_rename(s->parent_fd, s->staged, s->parent_fd, s->name, err);
	if (fstatat(s->parent_fd, s->staged, &staged, AT_SYMLINK_NOFOLLOW) < 0)
		return err_sys(err, "look at %s", s->staged);
	if (!S_ISDIR(there.st_mode) && !S_ISDIR(staged.st_mode))
		return file_rename(s->parent_fd, s->staged, s->parent_fd, s->name, err);

	if (rename_with(s, RENAME_EXCHANGE) == 0) {
		memcpy(old, s->staged, sizeof old);
	} else {
		if (errno != EINVAL && errno != ENOSYS)
			return err_sys(err, "exchange %s and %s", s->staged, s->name);
		rc = move_aside(s, old, err);
		if (rc < 0)
			return rc;
	}
	if (rmtree(s->parent_fd, old, err) < 0) {
		err_prefix(err, "what was replaced is now %s", old);
		return 1;
	}
	return LARDER_OK;
}

int
staging_move(struct staging *s, struct larder_err *err)
{
	return s->replace ? move_over(s, err) : move_new(s, err);
}
