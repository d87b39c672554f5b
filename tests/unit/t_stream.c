/*
 * The bytes of a file to a descriptor: small and large, slow readers, none at
 * all, and never a last byte that was not verified.
 * FLAVOURS: release asan tsan
 */
#include "cas/larder.h"

#include <pthread.h>

#include "tests/doubles/doubles.h"
#include "tests/unit/t_store.h"

enum { LARGE = 30 * 1024 * 1024 + 12345 };

static uint8_t *large;

static int
no_sync(int fd)
{
	(void)fd;
	return 0;
}

/* "large" (as a file with its SHA-256), "small", "empty", and "dir" with all of them in it. */
static struct larder_store *
make(void **state)
{
	struct larder_put_options options = LARDER_PUT_OPTIONS_INIT;
	struct larder_sys sys = { .size = sizeof sys };
	struct larder_put_result result;
	struct larder_err err = { 0 };
	struct larder_store *store;

	sys.file_fsync = sys.file_fdatasync = no_sync;
	larder_sys_set(&sys);
	store = test_store_open(state, "store");
	large = malloc(LARGE);
	assert_non_null(large);
	test_fill(large, LARGE, 1);
	memset(large + 5000000, 'z', 9000000);
	assert_int_equal(mkdirat(test_dir(state), "dir", 0700), 0);
	test_write(state, "dir/large", large, LARGE);
	test_write(state, "dir/small", "small", 5);
	test_write(state, "dir/empty", "", 0);
	options.sha256 = true;
	assert_ok(
	    larder_put(store, "large", test_path(state, "dir/large"), &options, &result, &err),
	    &err);
	assert_true(result.has_sha256);
	assert_ok(larder_put(store, "dir", test_path(state, "dir"), NULL, &result, &err), &err);
	return store;
}

static void
unmake(struct larder_store *store)
{
	larder_store_close(store);
	free(large);
}

static int
open_out(void **state)
{
	int fd = openat(test_dir(state), "out", O_RDWR | O_CREAT | O_TRUNC, 0600);

	assert_true(fd >= 0);
	return fd;
}

static void
assert_got(void **state, struct larder_store *store, const char *spec, const void *want, size_t len)
{
	struct larder_get_result result;
	struct larder_err err = { 0 };
	int fd = open_out(state);
	size_t got;
	char *have;

	assert_ok(larder_get_fd(store, spec, fd, NULL, &result, &err), &err);
	close(fd);
	assert_int_equal(result.bytes, len);
	assert_int_equal(result.files, 1);
	have = test_read(state, "out", &got);
	assert_int_equal(got, len);
	assert_memory_equal(have, want, len);
	free(have);
}

static void
bytes_come_in_order(void **state)
{
	struct larder_store *store = make(state);

	assert_got(state, store, "large", large, LARGE);
	assert_got(state, store, "dir//large", large, LARGE);
	assert_got(state, store, "dir//small", "small", 5);
	assert_got(state, store, "dir//empty", "", 0);
	unmake(store);
}

static void
only_files_are_bytes(void **state)
{
	struct larder_store *store = make(state);
	struct larder_err err = { 0 };

	assert_status(
	    LARDER_ERR_USAGE, larder_get_fd(store, "dir", 1, NULL, NULL, &err), &err);
	assert_message(&err, "dir: is a directory");
	assert_status(LARDER_ERR_USAGE, larder_get_fd(store, NULL, 1, NULL, NULL, &err), &err);
	assert_status(
	    LARDER_ERR_NOT_FOUND, larder_get_fd(store, "none", 1, NULL, NULL, &err), &err);
	unmake(store);
}

static void
verifying_writes_nothing(void **state)
{
	struct larder_store *store = make(state);
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result;
	struct larder_err err = { 0 };

	options.verify_only = true;
	assert_ok(larder_get_fd(store, "large", -1, &options, &result, &err), &err);
	assert_int_equal(result.bytes, LARGE);
	assert_ok(larder_get_fd(store, "dir//small", -1, &options, &result, &err), &err);
	unmake(store);
}

static void
a_reader_that_goes_away_is_an_error(void **state)
{
	struct larder_store *store = make(state);
	struct larder_err err = { 0 };
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	assert_int_equal(pipe(ends), 0);
	close(ends[0]);
	assert_status(
	    LARDER_ERR_IO, larder_get_fd(store, "large", ends[1], NULL, NULL, &err), &err);
	assert_int_equal(err.sys_errno, EPIPE);
	assert_status(
	    LARDER_ERR_IO, larder_get_fd(store, "dir//small", ends[1], NULL, NULL, &err), &err);
	close(ends[1]);
	signal(SIGPIPE, SIG_DFL);
	unmake(store);
}

/* A pipe that does not block: the writer has to wait for room. */

struct drain {
	int fd;
	uint8_t *bytes;
	size_t len;
};

static void *
drain(void *arg)
{
	struct drain *d = arg;
	ssize_t n;

	while ((n = read(d->fd, d->bytes + d->len, 100000)) > 0)
		d->len += (size_t)n;
	return NULL;
}

static void
a_pipe_that_is_full_is_waited_for(void **state)
{
	struct larder_store *store = make(state);
	struct larder_err err = { 0 };
	struct drain d = { 0 };
	pthread_t thread;
	int ends[2];

	assert_int_equal(pipe2(ends, O_NONBLOCK), 0);
	assert_int_equal(fcntl(ends[0], F_SETFL, 0), 0);
	d.fd = ends[0];
	d.bytes = malloc(LARGE + 200000);
	assert_non_null(d.bytes);
	assert_int_equal(pthread_create(&thread, NULL, drain, &d), 0);
	assert_ok(larder_get_fd(store, "large", ends[1], NULL, NULL, &err), &err);
	close(ends[1]);
	pthread_join(thread, NULL);
	assert_int_equal(d.len, LARGE);
	assert_memory_equal(d.bytes, large, LARGE);
	close(ends[0]);
	free(d.bytes);
	unmake(store);
}

/* ---- damage ---- */


static int
put_version(void *context, struct index_write *write, struct larder_err *err)
{
	uint64_t number;

	return index_version_put(&number, write, context, err);
}

/* The version's SHA-256 is another one: all chunks are right, the whole is not. */
static void
a_whole_that_is_wrong_keeps_its_last_bytes_back(void **state)
{
	struct larder_store *store = make(state);
	struct index_version_row row = { 0 };
	struct index_read *read;
	struct larder_get_result result;
	struct larder_err err = { 0 };
	struct stat st;
	int fd = open_out(state);

	assert_ok(index_read_begin(&read, store->index, &err), &err);
	assert_ok(index_version_get(&row, read, "large", 0, INT64_MAX, &err), &err);
	index_read_end(read);
	row.version.sha256.bytes[0] ^= 1;
	assert_ok(index_update(store->index, put_version, &row.version, &err), &err);
	index_version_release(&row);

	assert_status(
	    LARDER_ERR_CORRUPT, larder_get_fd(store, "large", fd, NULL, &result, &err), &err);
	assert_message(&err, "the file as a whole");
	assert_int_equal(fstat(fd, &st), 0);
	assert_true(st.st_size > 0 && st.st_size < LARGE);
	assert_int_equal(st.st_size, result.bytes);
	close(fd);
	unmake(store);
}

static void
damage_is_found_and_only_what_is_before_it_goes_out(void **state)
{
	struct larder_store *store = make(state);
	struct larder_get_result result;
	struct larder_err err = { 0 };
	char command[1200];
	size_t len;
	char *have;
	int fd = open_out(state);

	larder_store_close(store);
	snprintf(command, sizeof command,
	    "p=$(ls -S '%s'/packs/*/* | head -n 1); chmod u+w $p; "
	    "printf X | dd of=$p bs=1 seek=100000 conv=notrunc 2>/dev/null",
	    test_path(state, "store"));
	assert_int_equal(system(command), 0);
	store = test_store_open(state, "store");
	assert_status(
	    LARDER_ERR_CORRUPT, larder_get_fd(store, "large", fd, NULL, &result, &err), &err);
	assert_message(&err, "pack");
	close(fd);
	have = test_read(state, "out", &len);
	assert_true(len < LARGE);
	assert_memory_equal(have, large, len);
	free(have);
	unmake(store);
}

static void
a_set_flag_cancels(void **state)
{
	struct larder_store *store = make(state);
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_err err = { 0 };
	volatile int cancel = 1;
	int fd = open_out(state);

	options.watch.cancel = &cancel;
	assert_status(LARDER_ERR_CANCELLED,
	    larder_get_fd(store, "large", fd, &options, NULL, &err), &err);
	assert_status(LARDER_ERR_CANCELLED,
	    larder_get_fd(store, "dir//small", fd, &options, NULL, &err), &err);
	close(fd);
	unmake(store);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(bytes_come_in_order),
		test_case(only_files_are_bytes),
		test_case(verifying_writes_nothing),
		test_case(a_reader_that_goes_away_is_an_error),
		test_case(a_pipe_that_is_full_is_waited_for),
		test_case(a_whole_that_is_wrong_keeps_its_last_bytes_back),
		test_case(damage_is_found_and_only_what_is_before_it_goes_out),
		test_case(a_set_flag_cancels),
	};

	return test_run(cases);
}
