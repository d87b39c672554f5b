/*
 * Opening and closing, processes, growing, dying, and what happens when the
 * disk or the memory says no. Damage to single bytes: t_flips.c; threads: t_gate.c.
 */
#include "tests/unit/t_index.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "cas/sys.h"
#include "tests/doubles/doubles.h"

/* LMDB's syncs, and ours: fail while set. The executable's definition comes before libc's. */
static int failing_syncs;

__attribute__((visibility("default"))) int fdatasync(int fd);

int
fdatasync(int fd)
{
	if (failing_syncs > 0) {
		failing_syncs--;
		errno = EIO;
		return -1;
	}
	return fsync(fd);
}

/* The exit code of a child that runs fn(arg); 1000 + signal when it was killed. */
static int
in_child(int (*fn)(void *), void *arg)
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (pid == 0)
		_exit(fn(arg));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + WTERMSIG(status);
}

/* Children cannot assert: this ends them with the line. */
#define need(what)                                                                                 \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "# %s:%d: %s\n", __FILE__, __LINE__, #what);               \
			_exit(99);                                                                 \
		}                                                                                  \
	} while (0)

static struct index *
child_open(void **state)
{
	struct index_options options = test_index_options(state);
	struct larder_err err = { 0 };
	struct index *index = NULL;
	int rc = index_open(&index, &options, &err);

	if (rc < 0)
		fprintf(stderr, "# %s\n", err.message);
	need(rc == 0);
	return index;
}

static bool
child_has_chunk(struct index *index, uint64_t n)
{
	struct index_read *read = NULL;
	struct larder_id id = test_id(n);
	struct index_place place;
	int rc;

	need(index_read_begin(&read, index, NULL) == 0);
	rc = index_chunk_get(&place, read, &id, NULL);
	index_read_end(read);
	need(rc == 0 || rc == LARDER_ERR_NOT_FOUND);
	return rc == 0 && is_place(&place, n);
}

/* ---- opening ---- */

static void
an_index_that_is_not_there_is_not_found(void **state)
{
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_NOT_FOUND, test_index_try(state, &err), &err);
	assert_false(test_exists(state, "index"));
	/* a folder of that name is not an index yet */
	assert_int_equal(mkdirat(test_dir(state), "index", 0700), 0);
	assert_status(LARDER_ERR_NOT_FOUND, test_index_try(state, &err), &err);
	index_close(test_index_open(state));
	assert_ok(test_index_try(state, &err), &err);
}

static void
closing_nothing_is_fine(void **state)
{
	(void)state;
	index_close(NULL);
	index_read_end(NULL);
}

static unsigned
mode_of(void **state, const char *name)
{
	struct stat st;

	assert_int_equal(stat(test_path(state, name), &st), 0);
	return st.st_mode & 0777;
}

static void
nobody_else_may_read_it(void **state)
{
	mode_t old = umask(0);

	index_close(test_index_open(state));
	umask(old);
	assert_int_equal(mode_of(state, "index"), 0700);
	assert_int_equal(mode_of(state, "index/data.mdb"), 0600);
	assert_int_equal(mode_of(state, "index/lock.mdb"), 0600);
	assert_int_equal(mode_of(state, "index/session"), 0600);
}

static void
no_descriptor_passes_an_exec(void **state)
{
	struct index *index = test_index_open(state);
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;
	int found = 0;

	assert_non_null(dir);
	while ((entry = readdir(dir)) != NULL) {
		char target[4096];
		ssize_t len = readlinkat(dirfd(dir), entry->d_name, target, sizeof target - 1);

		if (len < 0)
			continue;
		target[len] = '\0';
		if (strncmp(target, test_folder(state), strlen(test_folder(state))) != 0)
			continue;
		assert_int_equal(fcntl((int)strtol(entry->d_name, NULL, 10), F_GETFD), FD_CLOEXEC);
		found++;
	}
	closedir(dir);
	assert_true(found >= 4);
	index_close(index);
}

static void
an_index_of_another_store_is_refused(void **state)
{
	struct index_options options = test_index_options(state);
	struct larder_err err = { 0 };
	struct index *index = test_index_open(state), *other = NULL;

	options.store.bytes[0] ^= 1;
	assert_status(LARDER_ERR_CORRUPT, index_open(&other, &options, &err), &err);
	assert_message(&err, "another store");
	index_close(index);
	assert_status(LARDER_ERR_CORRUPT, index_open(&other, &options, &err), &err);
	assert_message(&err, "another store");
	assert_null(other);
	assert_ok(test_index_try(state, &err), &err);
}

/* Changes the head as no larder would, with LMDB alone. */
static void
write_head(void **state, const struct row_head *head, bool right_check)
{
	uint8_t bytes[ROW_HEAD_LEN + ROW_CHECK_LEN];
	MDB_val key = { 4, (void *)(uintptr_t) "head" }, value = { sizeof bytes, bytes };
	uint64_t check;
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi dbi;

	row_head_encode(bytes, head);
	check = row_check(0, TABLE_HEAD, "head", 4, bytes, ROW_HEAD_LEN) + !right_check;
	for (size_t i = 0; i < ROW_CHECK_LEN; i++)
		bytes[ROW_HEAD_LEN + i] = (uint8_t)(check >> (8 * i));
	assert_int_equal(mdb_env_create(&env), 0);
	assert_int_equal(mdb_env_open(env, test_path(state, "index"), 0, 0600), 0);
	assert_int_equal(mdb_txn_begin(env, NULL, 0, &txn), 0);
	assert_int_equal(mdb_dbi_open(txn, NULL, 0, &dbi), 0);
	assert_int_equal(mdb_put(txn, dbi, &key, &value, 0), 0);
	assert_int_equal(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
}

static void
another_schema_or_a_damaged_head_is_corrupt(void **state)
{
	struct row_head head = { .schema = ROW_SCHEMA + 1, .store = test_store, .seed = 1 };
	struct larder_err err = { 0 };

	index_close(test_index_open(state));
	env_trusts_blindly = true;
	write_head(state, &head, true);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_message(&err, "schema 2");
	head.schema = ROW_SCHEMA;
	write_head(state, &head, false);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_message(&err, "head");
	env_trusts_blindly = false;
}

/* ---- damage to whole files ---- */

static void
damage_file(void **state, const char *name, const void *bytes, size_t len)
{
	test_write(state, name, bytes, len);
}

static void
a_file_that_is_gone_empty_or_another_is_corrupt(void **state)
{
	static const char garbage[10000] = "not a database";
	struct larder_err err = { 0 };
	struct index *index = test_index_open(state);

	test_add_chunks(index, 0, 10);
	index_close(index);
	damage_file(state, "index/data.mdb", garbage, sizeof garbage);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_message(&err, "meta page 0");
	/* and stays so */
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_int_equal(unlink(test_path(state, "index/session")), 0);
	damage_file(state, "index/data.mdb", "", 0);
	assert_status(LARDER_ERR_NOT_FOUND, test_index_try(state, &err), &err);
	index_close(test_index_open(state));
	damage_file(state, "index/data.mdb", "", 0);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_int_equal(unlink(test_path(state, "index/data.mdb")), 0);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_message(&err, "gone");
	assert_int_equal(symlink("elsewhere", test_path(state, "index/data.mdb")), 0);
	assert_true(test_index_try(state, &err) < 0);
}

static void
a_truncated_file_is_corrupt(void **state)
{
	struct index *index = test_index_open(state);
	size_t len, tried = 0;
	char *bytes;

	for (uint64_t n = 0; n < 400; n += 100)
		test_add_chunks(index, n, 100);
	index_close(index);
	bytes = test_read(state, "index/data.mdb", &len);
	for (size_t cut = 0; cut < len; cut += 1021) {
		struct larder_err err = { 0 };

		assert_int_equal(unlink(test_path(state, "index/session")), 0);
		test_write(state, "index/data.mdb", bytes, cut);
		/* nothing at all looks like an index that was never finished */
		assert_status(cut == 0 ? LARDER_ERR_NOT_FOUND : LARDER_ERR_CORRUPT,
		    test_index_try(state, &err), &err);
		tried++;
	}
	assert_true(tried > 20);
	assert_int_equal(unlink(test_path(state, "index/session")), 0);
	test_write(state, "index/data.mdb", bytes, len);
	assert_ok(test_index_try(state, NULL), NULL);
	free(bytes);
}

static void
any_lock_file_will_do(void **state)
{
	static const size_t lengths[] = { 0, 1, 64, 4096, 65472, 65536, 100000, 3000000 };
	struct index *index = test_index_open(state);
	uint8_t *bytes = malloc(3000000);

	assert_non_null(bytes);
	test_fill(bytes, 3000000, 5);
	test_add_chunks(index, 0, 50);
	index_close(index);
	for (size_t i = 0; i < test_count(lengths); i++) {
		struct index_read *read;

		test_write(state, "index/lock.mdb", bytes, lengths[i]);
		index = test_index_open(state);
		read = test_begin(index);
		assert_chunk(read, 49);
		index_read_end(read);
		test_add_chunks(index, 50 + i, 1);
		index_close(index);
	}
	assert_int_equal(unlink(test_path(state, "index/lock.mdb")), 0);
	index = test_index_open(state);
	assert_sound(index);
	index_close(index);
	free(bytes);
}

static void
any_session_file_will_do(void **state)
{
	struct index *index = test_index_open(state);
	size_t len;
	char *bytes;

	test_add_chunks(index, 0, 50);
	index_close(index);
	bytes = test_read(state, "index/session", &len);
	assert_int_equal(len, 80);
	for (size_t at = 0; at < len; at++) {
		bytes[at] ^= 0x20;
		test_write(state, "index/session", bytes, len);
		/* the mark of doubt is the one byte that matters */
		assert_status(at == 8 ? LARDER_ERR_CORRUPT : 0, test_index_try(state, NULL), NULL);
		bytes[at] ^= 0x20;
	}
	for (size_t cut = 1; cut < len; cut++) {
		test_write(state, "index/session", bytes, cut);
		assert_ok(test_index_try(state, NULL), NULL);
	}
	free(bytes);
}

/* ---- the end ---- */

static enum session_end
look_at_end(void **state)
{
	int dir = openat(test_dir(state), "index", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int data = openat(dir, "data.mdb", O_RDONLY | O_CLOEXEC);
	enum session_end end;
	struct session session;
	bool alone;

	assert_true(dir >= 0 && data >= 0);
	assert_ok(session_open(&session, &alone, dir, NULL), NULL);
	assert_ok(session_look(&end, &session, data, NULL), NULL);
	session_close(&session);
	close(data);
	close(dir);
	return end;
}

static int
write_and_die(void *arg)
{
	struct test_chunks chunks = { 1000, 10 };
	struct index *index = child_open(arg);

	need(index_update(index, test_put_chunks, &chunks, NULL) == 0);
	_exit(0); /* without closing */
}

static int
read_and_close(void *arg)
{
	struct index *index = child_open(arg);

	need(child_has_chunk(index, 3));
	index_close(index);
	return 0;
}

static void
only_an_undisturbed_file_was_left_cleanly(void **state)
{
	struct index *index = test_index_open(state);
	struct index_read *read;
	size_t len;
	char *bytes;

	test_add_chunks(index, 0, 50);
	index_close(index);
	assert_int_equal(look_at_end(state), SESSION_CLEAN);
	assert_int_equal(in_child(read_and_close, state), 0);
	assert_int_equal(look_at_end(state), SESSION_CLEAN);
	assert_int_equal(in_child(write_and_die, state), 0);
	assert_int_equal(look_at_end(state), SESSION_UNCLEAN);
	/* who opens it next looks at everything, and notes that all is well */
	index = test_index_open(state);
	read = test_begin(index);
	assert_chunk(read, 1005);
	index_read_end(read);
	index_close(index);
	assert_int_equal(look_at_end(state), SESSION_CLEAN);

	/* touched */
	bytes = test_read(state, "index/data.mdb", &len);
	test_write(state, "index/data.mdb", bytes, len);
	assert_int_equal(look_at_end(state), SESSION_UNCLEAN);
	free(bytes);
	assert_ok(test_index_try(state, NULL), NULL);

	/* another boot */
	bytes = test_read(state, "index/session", &len);
	bytes[16] ^= 1;
	test_write(state, "index/session", bytes, len);
	free(bytes);
	assert_int_equal(look_at_end(state), SESSION_UNCLEAN);
	assert_ok(test_index_try(state, NULL), NULL);
	assert_int_equal(look_at_end(state), SESSION_CLEAN);
}

static int
open_doubted(void *arg)
{
	struct larder_err err = { 0 };

	return test_index_try(arg, &err) == LARDER_ERR_CORRUPT ? 0 : 1;
}

static void
a_doubtful_index_is_not_opened_again(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };
	struct index_read *read;

	test_add_chunks(index, 0, 50);
	assert_false(index_is_doubtful(index));
	index_mark_doubtful(index);
	assert_true(index_is_doubtful(index));
	/* who has it open goes on */
	test_add_chunks(index, 50, 50);
	read = test_begin(index);
	assert_chunk(read, 99);
	index_read_end(read);
	/* nobody else, here or elsewhere */
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_message(&err, "rebuilt");
	assert_int_equal(in_child(open_doubted, state), 0);
	index_close(index);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, &err), &err);
	assert_int_equal(look_at_end(state), SESSION_DOUBTED);
	index_mark_doubtful(NULL);
}

/* ---- sharing ---- */

static void
a_second_open_shares_the_first(void **state)
{
	struct index *one = test_index_open(state), *two = test_index_open(state);
	struct index_read *read = test_begin(two);

	assert_ptr_equal(one->env, two->env);
	test_add_chunks(one, 0, 10);
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_chunk(read, 9);
	index_close(one);
	assert_chunk(read, 9);
	test_add_chunks(two, 10, 10);
	index_read_end(read);
	index_close(two);
	one = test_index_open(state);
	assert_sound(one);
	index_close(one);
}

static void
a_folder_that_was_exchanged_is_another_index(void **state)
{
	struct index *old = test_index_open(state), *new;
	struct index_options options = test_index_options(state);
	struct index_read *read;

	test_add_chunks(old, 0, 10);
	options.dir = "index.new";
	options.scratch = true;
	assert_ok(index_open(&new, &options, NULL), NULL);
	test_add_chunks(new, 100, 10);
	assert_ok(index_sync(new, NULL), NULL);
	assert_int_equal(rename(test_path(state, "index"), test_path(state, "old")), 0);
	assert_int_equal(rename(test_path(state, "index.new"), test_path(state, "index")), 0);
	index_close(new);
	new = test_index_open(state);
	assert_ptr_not_equal(new->env, old->env);
	read = test_begin(new);
	assert_chunk(read, 105);
	index_read_end(read);
	index_close(old);
	assert_sound(new);
	index_close(new);
}

static void
more_environments_than_fit_are_a_limit(void **state)
{
	struct index *open[ENV_OPEN_MAX], *last = NULL;
	struct index_options options = test_index_options(state);
	struct larder_err err = { 0 };
	char name[16];

	env_map_len_start = 1024 * 1024; /* the sanitizers keep books about address space */
	options.dir = name;
	for (int i = 0; i < ENV_OPEN_MAX; i++) {
		snprintf(name, sizeof name, "%d", i);
		assert_ok(index_open(&open[i], &options, &err), &err);
	}
	snprintf(name, sizeof name, "last");
	assert_status(LARDER_ERR_LIMIT, index_open(&last, &options, &err), &err);
	index_close(open[0]);
	assert_ok(index_open(&open[0], &options, &err), &err);
	for (int i = 0; i < ENV_OPEN_MAX; i++)
		index_close(open[i]);
	env_map_len_start = 0;
}

struct forked {
	void **state;
	struct index *index;
	struct index_read *read;
};

static int
use_after_fork(void *arg)
{
	struct forked *f = arg;
	struct test_chunks chunks = { 500, 1 };
	struct larder_id id = test_id(1);
	struct larder_err err = { 0 };
	struct index_read *read = NULL;
	const struct env *parents = f->index->env;
	struct index_place place;
	struct index *own;

	need(index_read_begin(&read, f->index, &err) == LARDER_ERR_USAGE);
	need(strstr(err.message, "fork") != NULL);
	need(index_chunk_get(&place, f->read, &id, &err) == LARDER_ERR_USAGE);
	need(index_read_renew(f->read, &err) == LARDER_ERR_USAGE);
	need(index_update(f->index, test_put_chunks, &chunks, &err) == LARDER_ERR_USAGE);
	need(index_sync(f->index, &err) == LARDER_ERR_USAGE);
	need(index_verify(f->index, NULL, NULL, &err) == LARDER_ERR_USAGE);
	index_mark_doubtful(f->index);
	index_read_end(f->read);
	index_close(f->index);
	/* its own open works beside the parent's */
	own = child_open(f->state);
	need(own->env != parents);
	need(child_has_chunk(own, 1));
	need(index_update(own, test_put_chunks, &chunks, NULL) == 0);
	index_close(own);
	return 0;
}

static void
a_handle_does_not_survive_fork(void **state)
{
	struct forked f = { .state = state, .index = test_index_open(state) };

	test_add_chunks(f.index, 0, 10);
	f.read = test_begin(f.index);
	assert_int_equal(in_child(use_after_fork, &f), 0);
	assert_chunk(f.read, 1);
	assert_ok(index_read_renew(f.read, NULL), NULL);
	assert_chunk(f.read, 500);
	test_add_chunks(f.index, 10, 10);
	index_read_end(f.read);
	assert_false(index_is_doubtful(f.index));
	assert_sound(f.index);
	index_close(f.index);
}

struct share {
	void **state;
	uint64_t first;
};

static int
write_many(void *arg)
{
	const struct share *share = arg;
	struct index *index = child_open(share->state);

	for (uint64_t n = 0; n < 60; n++) {
		struct test_chunks chunks = { share->first + n * 10, 10 };

		need(index_update(index, test_put_chunks, &chunks, NULL) == 0);
		need(child_has_chunk(index, share->first + n * 10 + 9));
	}
	index_close(index);
	return 0;
}

static void
two_processes_write_beside_each_other(void **state)
{
	struct index *index = test_index_open(state);
	struct share share = { state, 0 };
	struct index_counts counts;
	struct index_read *read;
	pid_t pid[2];

	for (int i = 0; i < 2; i++) {
		share.first = (uint64_t)i * 100000;
		pid[i] = fork();
		assert_true(pid[i] >= 0);
		if (pid[i] == 0)
			_exit(write_many(&share));
	}
	for (uint64_t n = 0; n < 60; n++) {
		test_add_chunks(index, 200000 + n * 10, 10);
		assert_sound(index);
	}
	for (int i = 0; i < 2; i++) {
		int status;

		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	read = test_begin(index);
	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	assert_int_equal(counts.chunks, 1800);
	for (uint64_t n = 0; n < 600; n++) {
		assert_chunk(read, n);
		assert_chunk(read, 100000 + n);
		assert_chunk(read, 200000 + n);
	}
	index_read_end(read);
	assert_sound(index);
	index_close(index);
}

/* ---- growing ---- */

static void
a_full_map_grows(void **state)
{
	struct index *index;
	struct index_read *read;

	env_map_len_start = 128 * 1024;
	index = test_index_open(state);
	read = test_begin(index);
	index_read_end(read); /* leaves an idle handle, which must not be in the way */
	for (uint64_t n = 0; n < 20000; n += 1000) {
		test_add_chunks(index, n, 1000);
		read = test_begin(index);
		assert_chunk(read, n / 2);
		assert_chunk(read, n + 999);
		index_read_end(read);
	}
	assert_sound(index);
	assert_true(index->env->map_len > 128 * 1024);
	assert_true(index_fault(index->env->map + index->env->map_len - 1));
	assert_true(index_is_doubtful(index));
	index_close(index);
	env_map_len_start = 0;
}

static int
put_until_full(void *context, struct index_write *write, struct larder_err *err)
{
	int *runs = context;
	struct test_chunks chunks = { 0, 5000 };

	/* What fn answers to a full map does not matter: it is run again. */
	++*runs;
	return test_put_chunks(&chunks, write, err) < 0 ? 0 : 0;
}

static void
an_update_is_run_again_when_the_map_was_full(void **state)
{
	struct index *index;
	struct index_read *read;
	int runs = 0;

	env_map_len_start = 128 * 1024;
	index = test_index_open(state);
	assert_ok(index_update(index, put_until_full, &runs, NULL), NULL);
	assert_true(runs > 2);
	read = test_begin(index);
	assert_chunk(read, 4999);
	index_read_end(read);
	assert_sound(index);
	index_close(index);
	env_map_len_start = 0;
}

static void
the_map_does_not_grow_under_a_reader(void **state)
{
	struct index *index;
	struct larder_err err = { 0 };
	struct test_chunks chunks = { 10, 5000 };
	struct index_read *read;

	env_map_len_start = 128 * 1024;
	env_gate_wait_ms = 20;
	index = test_index_open(state);
	test_add_chunks(index, 0, 10);
	read = test_begin(index);
	assert_status(LARDER_ERR_BUSY, index_update(index, test_put_chunks, &chunks, &err), &err);
	assert_message(&err, "cannot grow");
	assert_chunk(read, 9);
	index_read_end(read);
	assert_ok(index_update(index, test_put_chunks, &chunks, &err), &err);
	assert_sound(index);
	index_close(index);
	env_gate_wait_ms = 5000;
	env_map_len_start = 0;
}

static int
write_much(void *arg)
{
	struct index *index = child_open(arg);

	for (uint64_t n = 0; n < 10000; n += 1000) {
		struct test_chunks chunks = { n, 1000 };

		need(index_update(index, test_put_chunks, &chunks, NULL) == 0);
	}
	index_close(index);
	return 0;
}

static void
what_another_process_grew_is_seen(void **state)
{
	struct index *index;
	struct index_read *read;

	env_map_len_start = 128 * 1024;
	index = test_index_open(state);
	read = test_begin(index);
	assert_int_equal(in_child(write_much, state), 0);
	assert_ok(index_read_renew(read, NULL), NULL);
	assert_chunk(read, 9999);
	index_read_end(read);
	test_add_chunks(index, 10000, 1000);
	assert_int_equal(in_child(write_much, state), 0);
	test_add_chunks(index, 11000, 1000);
	assert_sound(index);
	index_close(index);
	env_map_len_start = 0;
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
static int
open_with_limit(void *arg)
{
	struct rlimit limit = { 2 * GIB, 2 * GIB };
	struct index *index;

	need(setrlimit(RLIMIT_AS, &limit) == 0);
	index = child_open(arg);
	need(index->env->map_len == GIB);
	need(child_has_chunk(index, 5));
	index_close(index);
	return 0;
}

static size_t
address_space(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	need(file != NULL && fscanf(file, "%zu", &pages) == 1);
	fclose(file);
	return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static int
grow_beyond_limit(void *arg)
{
	struct index *index = child_open(arg);
	struct rlimit limit;
	int rc = 0;

	limit.rlim_cur = limit.rlim_max = address_space() + 6 * 1024 * 1024;
	need(setrlimit(RLIMIT_AS, &limit) == 0);
	for (uint64_t n = 0; rc == 0 && n < 1000000; n += 500) {
		struct test_chunks chunks = { n, 500 };

		rc = index_update(index, test_put_chunks, &chunks, NULL);
	}
	need(rc == LARDER_ERR_NOMEM);
	need(child_has_chunk(index, 400));
	index_close(index);
	return 0;
}

static void
a_map_that_cannot_grow_is_still_read(void **state)
{
	struct index *index;

	env_map_len_start = 8 * 1024 * 1024;
	index_close(test_index_open(state));
	assert_int_equal(in_child(grow_beyond_limit, state), 0);
	index = test_index_open(state);
	assert_sound(index);
	index_close(index);
	env_map_len_start = 0;
}

static void
limited_address_space_is_enough(void **state)
{
	struct index *index = test_index_open(state);

	assert_int_equal(index->env->map_len, 64 * GIB);
	test_add_chunks(index, 0, 10);
	index_close(index);
	assert_int_equal(in_child(open_with_limit, state), 0);
}
#endif

/* ---- readers that die ---- */

static uint64_t
bytes_of(struct index *index)
{
	struct index_read *read = test_begin(index);
	struct index_counts counts;

	assert_ok(index_counts_get(&counts, read, NULL), NULL);
	index_read_end(read);
	return counts.bytes;
}

static int
read_and_die(void *arg)
{
	struct index *index = child_open(arg);
	struct index_read *read = NULL;

	need(index_read_begin(&read, index, NULL) == 0);
	kill(getpid(), SIGKILL);
	return 1;
}

/* Each round changes every page. */
static int
rewrite(void *context, struct index_write *write, struct larder_err *err)
{
	uint8_t *value = context;

	value[0]++;
	for (uint8_t i = 0; i < 64; i++) {
		uint8_t key[16] = { i };
		int rc = index_seen_put(write, key, value, 16000, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}

static void
killed_readers_do_not_stop_writers(void **state)
{
	enum { ROUNDS = 120 };
	static uint8_t value[16000];
	struct index *index;
	struct larder_err err = { 0 };
	uint64_t live;

	env_map_len_start = 16 * 1024 * 1024;
	index = test_index_open(state);
	for (int i = 0; i < 8; i++)
		assert_ok(index_update(index, rewrite, value, &err), &err);
	live = bytes_of(index);
	for (int i = 0; i < ROUNDS; i++) {
		assert_int_equal(in_child(read_and_die, state), 1000 + SIGKILL);
		assert_ok(index_update(index, rewrite, value, &err), &err);
	}
	assert_int_equal(index->env->map_len, 16 * 1024 * 1024);
	/* two snapshots, and what is allowed to gather between two looks */
	assert_true(bytes_of(index) < 2 * live + 2 * 1024 * 1024);
	assert_sound(index);
	index_close(index);
	env_map_len_start = 0;
}

static int
write_and_be_killed(void *arg)
{
	struct index *index = child_open(arg);
	struct test_chunks chunks = { 5000, 100 };

	alarm(0);
	for (;;) {
		chunks.first += 100;
		if (index_update(index, test_put_chunks, &chunks, NULL) < 0)
			return 1;
	}
}

static void
a_writer_that_is_killed_leaves_a_sound_index(void **state)
{
	for (int round = 0; round < 12; round++) {
		struct index *index;
		pid_t pid = fork();
		int status;

		assert_true(pid >= 0);
		if (pid == 0)
			_exit(write_and_be_killed(state));
		usleep((useconds_t)(5000 + round * 1700));
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		index = test_index_open(state);
		assert_sound(index);
		test_add_chunks(index, (uint64_t)round, 1);
		index_close(index);
	}
}

/* ---- misuse ---- */

static int
update_inside(void *context, struct index_write *write, struct larder_err *err)
{
	struct test_chunks chunks = { 0, 1 };

	(void)write;
	return index_update(context, test_put_chunks, &chunks, err);
}

static void
an_update_inside_an_update_is_refused(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_USAGE, index_update(index, update_inside, index, &err), &err);
	assert_message(&err, "inside");
	test_add_chunks(index, 0, 1);
	index_close(index);
}

static int
put_too_much(void *context, struct index_write *write, struct larder_err *err)
{
	static const uint8_t value[ROW_SEEN_MAX];
	int rc = 0;

	(void)context;
	for (uint32_t i = 0; rc == 0; i++) {
		uint8_t key[16] = { (uint8_t)i, (uint8_t)(i >> 8) };

		rc = index_seen_put(write, key, value, sizeof value, err);
	}
	return rc;
}

static void
too_large_a_transaction_is_a_limit(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };

	assert_status(LARDER_ERR_LIMIT, index_update(index, put_too_much, NULL, &err), &err);
	assert_message(&err, "INDEX_DIRTY_PAGES_MAX");
	test_add_chunks(index, 0, 1);
	assert_sound(index);
	index_close(index);
}

/* ---- the disk says no ---- */

static void
a_failed_sync_poisons_until_reopened(void **state)
{
	struct index *index = test_index_open(state), *second;
	struct test_chunks chunks = { 100, 10 };
	struct larder_err err = { 0 };
	struct index_read *read;

	test_add_chunks(index, 0, 10);
	failing_syncs = 1;
	assert_status(LARDER_ERR_IO, index_update(index, test_put_chunks, &chunks, &err), &err);
	assert_message(&err, "commit");
	/* from now on all syncs would work */
	err = (struct larder_err){ 0 };
	assert_status(LARDER_ERR_IO, index_update(index, test_put_chunks, &chunks, &err), &err);
	assert_message(&err, "commit");
	assert_status(LARDER_ERR_IO, index_sync(index, &err), &err);
	second = test_index_open(state); /* shares it */
	assert_status(LARDER_ERR_IO, index_update(second, test_put_chunks, &chunks, &err), &err);
	index_close(second);
	read = test_begin(index); /* reading goes on */
	assert_chunk(read, 5);
	index_read_end(read);
	index_close(index);
	assert_int_equal(look_at_end(state), SESSION_FAILED);

	index = test_index_open(state);
	assert_sound(index);
	assert_ok(index_update(index, test_put_chunks, &chunks, &err), &err);
	failing_syncs = 1;
	assert_status(LARDER_ERR_IO, index_sync(index, &err), &err);
	assert_status(LARDER_ERR_IO, index_update(index, test_put_chunks, &chunks, &err), &err);
	index_close(index);
	failing_syncs = 0;
	assert_ok(test_index_try(state, NULL), NULL);
}

static int
fail_to_sync(void *arg)
{
	struct test_chunks chunks = { 100, 10 };
	struct index *index = child_open(arg);

	failing_syncs = 1;
	need(index_update(index, test_put_chunks, &chunks, NULL) == LARDER_ERR_IO);
	index_close(index);
	return 0;
}

static void
a_failed_sync_is_not_taken_back_by_another_process(void **state)
{
	struct index *index = test_index_open(state);

	test_add_chunks(index, 0, 10);
	assert_int_equal(in_child(fail_to_sync, state), 0);
	test_add_chunks(index, 10, 10);
	index_close(index);
	assert_int_equal(look_at_end(state), SESSION_FAILED);
	index = test_index_open(state);
	assert_sound(index);
	index_close(index);
	assert_int_equal(look_at_end(state), SESSION_CLEAN);
}

static int
fill_file(void *arg)
{
	struct rlimit limit = { 300 * 1024, 300 * 1024 };
	struct index *index = child_open(arg);
	struct larder_err err = { 0 };
	int rc = 0;

	signal(SIGXFSZ, SIG_IGN);
	need(setrlimit(RLIMIT_FSIZE, &limit) == 0);
	for (uint64_t n = 0; rc == 0 && n < 100000; n += 500) {
		struct test_chunks chunks = { n, 500 };

		rc = index_update(index, test_put_chunks, &chunks, &err);
	}
	if (rc != LARDER_ERR_NO_SPACE)
		fprintf(stderr, "# %d: %s\n", rc, err.message);
	need(rc == LARDER_ERR_NO_SPACE);
	need(child_has_chunk(index, 100));
	index_close(index);
	return 0;
}

static void
a_file_that_cannot_grow_is_a_full_disk(void **state)
{
	struct index *index;

	assert_int_equal(in_child(fill_file, state), 0);
	index = test_index_open(state);
	assert_sound(index);
	test_add_chunks(index, 200000, 1000);
	assert_sound(index);
	index_close(index);
}

static void
fill_with_zeros(int dir_fd)
{
	static const char zeros[4096];
	int fd = openat(dir_fd, "zeros", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	need(fd >= 0);
	while (write(fd, zeros, sizeof zeros) > 0)
		;
	close(fd);
}

static int
fill_disk(void *arg)
{
	void **state = arg;
	struct index_options options = test_index_options(state);
	struct larder_err err = { 0 };
	struct index *index = NULL;
	int rc = 0;

	if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", test_path(state, "disk"), "tmpfs", 0, "size=512k") < 0)
		return 77;
	options.dir_fd = open(test_path(state, "disk"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	need(index_open(&index, &options, &err) == 0);
	for (uint64_t n = 0; rc == 0 && n < 100000; n += 500) {
		struct test_chunks chunks = { n, 500 };

		rc = index_update(index, test_put_chunks, &chunks, &err);
	}
	if (rc != LARDER_ERR_NO_SPACE)
		fprintf(stderr, "# %d: %s\n", rc, err.message);
	need(rc == LARDER_ERR_NO_SPACE);
	index_close(index);
	options.create = false;
	need(index_open(&index, &options, &err) == 0);
	need(child_has_chunk(index, 100));
	need(index_verify(index, NULL, NULL, &err) == 0);
	index_close(index);

	/* not a byte left: what is there opens, after any end; what has to be made says why not */
	fill_with_zeros(options.dir_fd);
	need(index_open(&index, &options, &err) == 0);
	index_close(index);
	need(unlinkat(options.dir_fd, "index/session", 0) == 0);
	need(index_open(&index, &options, &err) == 0);
	need(child_has_chunk(index, 100));
	index_close(index);
	fill_with_zeros(options.dir_fd);
	need(unlinkat(options.dir_fd, "index/lock.mdb", 0) == 0);
	fill_with_zeros(options.dir_fd);
	need(index_open(&index, &options, &err) == LARDER_ERR_NO_SPACE);
	close(options.dir_fd);
	return 0;
}

static void
a_full_disk_leaves_a_sound_index(void **state)
{
	int rc;

	assert_int_equal(mkdirat(test_dir(state), "disk", 0700), 0);
	rc = in_child(fill_disk, state);
	if (rc == 77)
		test_skip("cannot mount");
	assert_int_equal(rc, 0);
}

/* ---- memory and files say no ---- */

/* One of everything: 0 or the first error. */
static int
use_a_little(void **state, struct larder_err *err)
{
	struct index_options options = test_index_options(state);
	struct test_chunks chunks = { 0, 20 };
	struct index *index = NULL;
	struct index_read *read = NULL;
	struct index_version_row row = { 0 };
	struct index_name_iter iter = { .at_ns = INT64_MAX };
	int rc;

	rc = index_open(&index, &options, err);
	if (rc == 0)
		rc = index_update(index, test_put_chunks, &chunks, err);
	if (rc == 0)
		rc = index_read_begin(&read, index, err);
	if (rc == 0)
		rc = index_name_next(&row, &iter, read, err);
	index_read_end(read);
	if (rc == 0)
		rc = index_verify(index, NULL, NULL, err);
	index_close(index);
	index_version_release(&row);
	buf_release(&iter.last);
	return rc;
}

static void
every_allocation_may_fail(void **state)
{
	int failed = 0;

	index_close(test_index_open(state));
	for (long n = 1;; n++) {
		struct larder_err err = { 0 };
		int rc;

		mem_faulty_set(n, false);
		rc = use_a_little(state, &err);
		if (!mem_faulty_failed()) {
			assert_ok(rc, &err);
			break;
		}
		assert_status(LARDER_ERR_NOMEM, rc, &err);
		assert_int_equal(mem_faulty_live(), 0);
		failed++;
	}
	larder_sys_set(NULL);
	assert_true(failed >= 5);
	assert_ok(use_a_little(state, NULL), NULL);
}

static void
every_file_call_may_fail(void **state)
{
	struct file_faulty_plan plan = { .ops = FILE_FAULTY_ALL };
	int failed = 0;

	for (plan.nth = 1;; plan.nth++) {
		struct larder_err err = { 0 };
		int rc;

		/* half of them while it is made, half while it is there */
		if (plan.nth % 2 == 0) {
			larder_sys_set(NULL);
			assert_true(test_index_try(state, NULL) <= 0);
			(void)!unlink(test_path(state, "index/data.mdb"));
			(void)!unlink(test_path(state, "index/lock.mdb"));
			(void)!unlink(test_path(state, "index/session"));
		}
		file_faulty_set(&plan);
		rc = use_a_little(state, &err);
		if (!file_faulty_failed()) {
			assert_ok(rc, &err);
			break;
		}
		if (rc != 0) {
			assert_status(LARDER_ERR_IO, rc, &err);
			assert_true(err.message[0] != '\0');
		}
		assert_int_equal(file_faulty_open(), 0);
		failed++;
		/* the next try succeeds */
		larder_sys_set(NULL);
		assert_ok(use_a_little(state, &err), &err);
	}
	larder_sys_set(NULL);
	assert_true(failed >= 10);
}

/* ---- faults ---- */

static struct index *handler_index;

static void
on_fault(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	_exit(index_fault(info->si_addr) ? 42 : 43);
}

static void
catch_faults(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

static int
read_what_is_gone(void *arg)
{
	void **state = arg;

	catch_faults();
	handler_index = child_open(state);
	need(truncate(test_path(state, "index/data.mdb"), 8192) == 0);
	child_has_chunk(handler_index, 5);
	return 0;
}

static int
read_nowhere(void *arg)
{
	struct index *index = child_open(arg);
	volatile uint8_t *nowhere = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)index;
	catch_faults();
	return nowhere[5];
}

static void
faults_in_the_map_are_recognised_and_others_not(void **state)
{
	struct index *index = test_index_open(state);
	const uint8_t *map;
	int here;

	test_add_chunks(index, 0, 2000);
	map = index->env->map;
	assert_false(index_fault(NULL));
	assert_false(index_fault(&here));
	assert_false(index_fault(map - 1));
	assert_false(index_fault(map + index->env->map_len));
	assert_false(index_is_doubtful(index));
	index_close(index);
	assert_false(index_fault(map));
	assert_int_equal(in_child(read_nowhere, state), 43);
	assert_ok(test_index_try(state, NULL), NULL);

	assert_int_equal(in_child(read_what_is_gone, state), 42);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, NULL), NULL);
	assert_int_equal(look_at_end(state), SESSION_DOUBTED);
}

/* ---- verify ---- */

struct findings {
	int count;
	char first[256];
};

static void
find(void *context, const char *sentence)
{
	struct findings *findings = context;

	if (findings->count++ == 0)
		snprintf(findings->first, sizeof findings->first, "%s", sentence);
}

/* A row written past the door: right as a row, but nobody counted it. */
static int
smuggle(void *context, struct index_write *write, struct larder_err *err)
{
	struct larder_id id = test_id(12345);
	uint8_t value[5 + 8] = { 1, 1, 1, 1, 0 };
	MDB_val k = { sizeof id, id.bytes }, v = { sizeof value, value };
	uint64_t check =
	    row_check(write->view.env->seed, TABLE_CHUNKS, id.bytes, sizeof id, value, 5);

	(void)err;
	for (size_t i = 0; i < 8; i++)
		value[5 + i] = (uint8_t)(check >> (8 * i));
	if (!*(bool *)context)
		value[12] ^= 1;
	write->changed = true;
	return mdb_put(write->view.txn, write->view.env->dbi[TABLE_CHUNKS], &k, &v, 0);
}

static void
verify_finds_what_no_single_row_shows(void **state)
{
	struct index *index = test_index_open(state);
	struct findings findings = { 0 };
	struct larder_err err = { 0 };
	bool right = true;

	test_add_chunks(index, 0, 300);
	assert_ok(index_verify(index, find, &findings, &err), &err);
	assert_int_equal(findings.count, 0);
	assert_ok(index_update(index, smuggle, &right, &err), &err);
	assert_status(LARDER_ERR_CORRUPT, index_verify(index, find, &findings, &err), &err);
	assert_int_equal(findings.count, 1);
	assert_string_equal(findings.first, "chunks: 301 rows, but 300 were written");
	assert_message(&err, "301 rows");
	assert_true(index_is_doubtful(index));
	index_close(index);
}

static void
verify_and_get_find_a_wrong_check(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_id id = test_id(12345);
	struct findings findings = { 0 };
	struct larder_err err = { 0 };
	struct index_place place;
	struct index_read *read;
	bool right = false;

	assert_ok(index_update(index, smuggle, &right, &err), &err);
	read = test_begin(index);
	assert_status(LARDER_ERR_CORRUPT, index_chunk_get(&place, read, &id, &err), &err);
	assert_message(&err, "damaged row in chunks");
	index_read_end(read);
	assert_true(index_is_doubtful(index));
	assert_status(LARDER_ERR_CORRUPT, index_verify(index, find, &findings, &err), &err);
	assert_message(&err, "its check is wrong");
	index_close(index);
	assert_status(LARDER_ERR_CORRUPT, test_index_try(state, NULL), NULL);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(an_index_that_is_not_there_is_not_found),
		test_case(closing_nothing_is_fine),
		test_case(nobody_else_may_read_it),
		test_case(no_descriptor_passes_an_exec),
		test_case(an_index_of_another_store_is_refused),
		test_case(another_schema_or_a_damaged_head_is_corrupt),
		test_case(a_file_that_is_gone_empty_or_another_is_corrupt),
		test_case(a_truncated_file_is_corrupt),
		test_case(any_lock_file_will_do),
		test_case(any_session_file_will_do),
		test_case(only_an_undisturbed_file_was_left_cleanly),
		test_case(a_doubtful_index_is_not_opened_again),
		test_case(a_second_open_shares_the_first),
		test_case(a_folder_that_was_exchanged_is_another_index),
		test_case(more_environments_than_fit_are_a_limit),
		test_case(a_handle_does_not_survive_fork),
		test_case(two_processes_write_beside_each_other),
		test_case(a_full_map_grows),
		test_case(an_update_is_run_again_when_the_map_was_full),
		test_case(the_map_does_not_grow_under_a_reader),
		test_case(what_another_process_grew_is_seen),
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
		test_case(limited_address_space_is_enough),
		test_case(a_map_that_cannot_grow_is_still_read),
#endif
		test_case(killed_readers_do_not_stop_writers),
		test_case(a_writer_that_is_killed_leaves_a_sound_index),
		test_case(an_update_inside_an_update_is_refused),
		test_case(too_large_a_transaction_is_a_limit),
		test_case(a_failed_sync_poisons_until_reopened),
		test_case(a_failed_sync_is_not_taken_back_by_another_process),
		test_case(a_file_that_cannot_grow_is_a_full_disk),
		test_case(a_full_disk_leaves_a_sound_index),
		test_case(every_allocation_may_fail),
		test_case(every_file_call_may_fail),
		test_case(faults_in_the_map_are_recognised_and_others_not),
		test_case(verify_finds_what_no_single_row_shows),
		test_case(verify_and_get_find_a_wrong_check),
	};

	return test_run(cases);
}
