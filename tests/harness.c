/* Folders, files and assertions for tests; libc and cmocka only, so that stories can use it too. */
#include "tests/harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cas/sys.h"

struct folder {
	int fd;
	char path[4096];
};

int
test_setup(void **state)
{
	const char *base = getenv("TMPDIR");
	struct folder *folder = calloc(1, sizeof *folder);

	if (folder == NULL)
		return -1;
	snprintf(folder->path, sizeof folder->path, "%s/larder-test-XXXXXX",
	    base != NULL && base[0] != '\0' ? base : "/tmp");
	if (mkdtemp(folder->path) == NULL) {
		print_error("no folder %s: %s\n", folder->path, strerror(errno));
		free(folder);
		return -1;
	}
	folder->fd = open(folder->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder->fd < 0)
		return -1;
	*state = folder;
	return 0;
}

static int
remove_one(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)st, (void)where;
	if (type == FTW_DNR && chmod(path, 0700) < 0)
		return -1;
	return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

/* Directories that a test made unreadable must become writable before their content can go. */
static int
open_up(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	if ((type == FTW_D || type == FTW_DNR) && (st->st_mode & 0700) != 0700)
		return chmod(path, 0700);
	return 0;
}

int
test_teardown(void **state)
{
	struct folder *folder = *state;

	larder_sys_set(NULL);
	if (folder == NULL)
		return 0;
	close(folder->fd);
	nftw(folder->path, open_up, 32, FTW_PHYS);
	if (nftw(folder->path, remove_one, 32, FTW_PHYS | FTW_DEPTH) < 0)
		print_error("%s stays: %s\n", folder->path, strerror(errno));
	free(folder);
	*state = NULL;
	return 0;
}

int
test_dir(void **state)
{
	const struct folder *folder = *state;

	return folder->fd;
}

const char *
test_folder(void **state)
{
	const struct folder *folder = *state;

	return folder->path;
}

const char *
test_path(void **state, const char *name)
{
	static char paths[16][8192];
	static unsigned next;
	char *path = paths[next++ % 16];

	snprintf(path, sizeof paths[0], "%s/%s", test_folder(state), name);
	return path;
}

void
test_write(void **state, const char *name, const void *data, size_t len)
{
	FILE *f = fopen(test_path(state, name), "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(data, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

char *
test_read(void **state, const char *name, size_t *len)
{
	FILE *f = fopen(test_path(state, name), "rb");
	struct stat st;
	char *data;
	size_t n;

	if (f == NULL)
		fail_msg("cannot read %s: %s", name, strerror(errno));
	assert_int_equal(fstat(fileno(f), &st), 0);
	data = malloc((size_t)st.st_size + 1);
	assert_non_null(data);
	n = fread(data, 1, (size_t)st.st_size, f);
	data[n] = '\0';
	fclose(f);
	if (len != NULL)
		*len = n;
	return data;
}

bool
test_exists(void **state, const char *name)
{
	struct stat st;

	return fstatat(test_dir(state), name, &st, AT_SYMLINK_NOFOLLOW) == 0;
}

size_t
test_entries(void **state, const char *name)
{
	DIR *dir = opendir(test_path(state, name));
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir) != NULL)
		count++;
	closedir(dir);
	return count - 2; /* "." and ".." */
}

void
test_fill(void *out, size_t len, uint64_t seed)
{
	uint8_t *p = out;
	uint64_t x = seed * 0x9e3779b97f4a7c15u + 1;

	for (size_t i = 0; i < len; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		p[i] = (uint8_t)(x >> 32);
	}
}

static const char *
status_name(int status)
{
	switch (status) {
	case LARDER_OK:
		return "OK";
#define CASE(name, value, code, text)                                                              \
	case value:                                                                                \
		return #name;
		LARDER_STATUS_LIST(CASE)
#undef CASE
	default:
		return "no status";
	}
}

void
test_status(int want, int got, const struct larder_err *err, const char *what, const char *file,
    int line)
{
	if (want == got)
		return;
	print_error("%s\n  is %s (%d) and should be %s (%d)\n", what, status_name(got), got,
	    status_name(want), want);
	if (err != NULL && err->message[0] != '\0')
		print_error("  message: %s\n", err->message);
	_fail(file, line);
}

void
test_message(const struct larder_err *err, const char *part, const char *file, int line)
{
	if (strstr(err->message, part) != NULL || strstr(err->hint, part) != NULL)
		return;
	print_error("\"%s\" is not in the message \"%s\" nor in the hint \"%s\"\n", part,
	    err->message, err->hint);
	_fail(file, line);
}
