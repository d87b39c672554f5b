/*
 * Removing a directory of any depth without recursion: subdirectories that are
 * not empty are moved up, beside their parent, where their turn comes. So there
 * is never more than one level to look into.
 */
#include "cas/rmtree.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/base/err.h"
#include "cas/base/file.h"
#include "cas/base/mem.h"
#include "cas/base/random.h"

enum { LIFTED_NAME_LEN = 64 };

/* Names for what is moved up: unlike any that is there, as far as chance goes. */
struct lift {
	int top_fd;
	uint64_t salt, count;
	bool moved; /* something: another round is needed */
};

static int
open_dir(int *fd, int dir_fd, const char *name, struct larder_err *err)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW;
	struct larder_err first = { 0 };
	int rc = file_open(fd, dir_fd, name, flags, 0, &first);

	/* a mode that shuts its owner out */
	if (rc < 0 && first.sys_errno == EACCES && fchmodat(dir_fd, name, 0700, 0) == 0)
		rc = file_open(fd, dir_fd, name, flags, 0, &first);
	if (rc < 0) {
		if (err != NULL)
			*err = first;
		return rc;
	}
	(void)fchmod(*fd, 0700); /* its entries must be removable; the next step says if not */
	return LARDER_OK;
}

static int
lift_up(struct lift *lift, int dir_fd, const char *name, struct larder_err *err)
{
	char to[LIFTED_NAME_LEN];
	int fd, rc;

	/* who is not root must own the right to write into what is moved */
	rc = open_dir(&fd, dir_fd, name, err);
	if (rc < 0)
		return rc;
	file_close(fd);
	snprintf(to, sizeof to, ".larder-rm-%016llx-%llu", (unsigned long long)lift->salt,
	    (unsigned long long)++lift->count);
	rc = file_rename(dir_fd, name, lift->top_fd, to, err);
	lift->moved = true;
	return rc;
}

/* The entries of one directory: gone, or (directories with content) moved up. */
static int
empty(struct lift *lift, int fd, const char *path, struct larder_err *err)
{
	char **names = NULL;
	size_t count = 0;
	int rc;

	rc = file_list(&names, &count, fd, ".", err);
	for (size_t i = 0; i < count && rc == LARDER_OK; i++) {
		if (unlinkat(fd, names[i], 0) == 0)
			continue;
		if (errno != EISDIR && errno != EPERM)
			rc = err_sys(err, "remove %s/%s", path, names[i]);
		else if (unlinkat(fd, names[i], AT_REMOVEDIR) < 0)
			rc = lift_up(lift, fd, names[i], err);
	}
	mem_free(names);
	return rc;
}

/* One round over the top: whatever is left in it afterwards was moved up meanwhile. */
static int
round_of(struct lift *lift, struct larder_err *err)
{
	char **names = NULL;
	size_t count = 0;
	int rc;

	lift->moved = false;
	rc = file_list(&names, &count, lift->top_fd, ".", err);
	for (size_t i = 0; i < count && rc == LARDER_OK; i++) {
		int fd;

		if (unlinkat(lift->top_fd, names[i], 0) == 0)
			continue;
		if (errno != EISDIR && errno != EPERM) {
			rc = err_sys(err, "remove %s", names[i]);
			break;
		}
		rc = open_dir(&fd, lift->top_fd, names[i], err);
		if (rc < 0)
			break;
		rc = empty(lift, fd, names[i], err);
		file_close(fd);
		if (rc == LARDER_OK && unlinkat(lift->top_fd, names[i], AT_REMOVEDIR) < 0)
			rc = err_sys(err, "remove %s", names[i]);
	}
	mem_free(names);
	return rc;
}

int
rmtree(int dir_fd, const char *name, struct larder_err *err)
{
	struct lift lift = { .top_fd = -1 };
	int rc;

	if (unlinkat(dir_fd, name, 0) == 0)
		return LARDER_OK;
	if (errno != EISDIR && errno != EPERM)
		return err_sys(err, "remove %s", name);
	rc = random_bytes(&lift.salt, sizeof lift.salt, err);
	if (rc == LARDER_OK)
		rc = open_dir(&lift.top_fd, dir_fd, name, err);
	if (rc < 0)
		return rc;
	do
		rc = round_of(&lift, err);
	while (rc == LARDER_OK && lift.moved);
	file_close(lift.top_fd);
	if (rc == LARDER_OK && unlinkat(dir_fd, name, AT_REMOVEDIR) < 0)
		rc = err_sys(err, "remove %s", name);
	if (rc < 0)
		err_prefix(err, "remove %s", name);
	return rc;
}
