/*
 * Every allocation and every file call fails once, or for ever, under each verb: the right status,
 * nothing leaked, nothing open; afterwards the store checks clean, has what was acknowledged, and
 * the same verb works. And a failed sync is never acknowledged.
 *
 * A sample of the calls; all of them with FAULT_FULL=1. FAULT_SEED=n repeats a sample.
 *
 * FLAVOURS: release asan
 * TIMEOUT: 7200
 */
#include <larder.h>
#include <larder/sys.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "tests/doubles/doubles.h"
#include "tests/harness.h"

enum { BIG_LEN = 300 * 1024, SAMPLE = 24 };

static uint64_t seed;
static bool full;

/* ---- a store with something in it ---- */

struct scene {
	void **state;
	char store[512], tree[512], back[512];
	uint64_t acknowledged; /* versions of "t" */
	unsigned turn;
	unsigned threads;
};

static void
scene_change(struct scene *s)
{
	uint8_t *bytes = malloc(BIG_LEN);
	char name[64];

	assert_non_null(bytes);
	s->turn++;
	test_fill(bytes, BIG_LEN, seed + s->turn);
	test_write(s->state, "tree/big", bytes, BIG_LEN);
	for (unsigned i = 0; i < 5; i++) {
		snprintf(name, sizeof name, "tree/sub/f%u", i);
		test_write(s->state, name, bytes + (size_t)i * 1000, 100 + i * 700 + s->turn % 50);
	}
	free(bytes);
}

static void
scene_begin(struct scene *s, void **state)
{
	const char *folder = test_folder(state);

	*s = (struct scene) { .state = state, .threads = 1 };
	snprintf(s->store, sizeof s->store, "%s/store", folder);
	snprintf(s->tree, sizeof s->tree, "%s/tree", folder);
	snprintf(s->back, sizeof s->back, "%s/back", folder);
	assert_int_equal(0, mkdir(s->tree, 0755));
	assert_int_equal(0, mkdir(test_path(state, "tree/sub"), 0750));
	assert_int_equal(0, symlink("sub/f1", test_path(state, "tree/link")));
	if (setxattr(s->tree, "user.larder", "value", 5, 0) < 0)
		print_message("# no xattrs here\n");
	scene_change(s);
}

static int
with_store(struct scene *s, struct larder_store **out, struct larder_err *err)
{
	struct larder_open_options options = LARDER_OPEN_OPTIONS_INIT;

	options.create = true;
	options.threads = s->threads;
	return larder_store_open(out, s->store, &options, err);
}

/* ---- verbs: each opens, does, closes ---- */

typedef int (*verb_fn)(struct scene *s, struct larder_err *err);

static int
verb_put(struct scene *s, struct larder_err *err)
{
	struct larder_put_result result = { 0 };
	struct larder_store *store;
	int rc;

	rc = with_store(s, &store, err);
	if (rc < 0)
		return rc;
	rc = larder_put(store, "t", s->tree, NULL, &result, err);
	larder_store_close(store);
	if (rc == 0 && result.version > s->acknowledged)
		s->acknowledged = result.version;
	return rc;
}

static int
verb_get(struct scene *s, struct larder_err *err)
{
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result;
	struct larder_store *store;
	int rc;

	options.overwrite = true;
	rc = with_store(s, &store, err);
	if (rc < 0)
		return rc;
	rc = larder_get(store, "t", s->back, &options, &result, err);
	larder_store_close(store);
	return rc;
}

static char damage_seen[600];

static void
show_damage(void *context, const struct larder_damage *damage)
{
	(void)context;
	snprintf(damage_seen, sizeof damage_seen, "%s", damage->what);
}

static int
verb_check(struct scene *s, struct larder_err *err)
{
	struct larder_check_options options = LARDER_CHECK_OPTIONS_INIT;
	struct larder_check_result result;
	struct larder_store *store;
	int rc;

	options.read = true;
	rc = with_store(s, &store, err);
	if (rc < 0)
		return rc;
	rc = larder_check(store, &options, show_damage, NULL, &result, err);
	larder_store_close(store);
	return rc;
}

static int
verb_reindex(struct scene *s, struct larder_err *err)
{
	struct larder_reindex_result result;
	struct larder_store *store;
	int rc;

	rc = with_store(s, &store, err);
	if (rc < 0)
		return rc;
	rc = larder_reindex(store, NULL, &result, err);
	larder_store_close(store);
	return rc;
}

static int
verb_rm(struct scene *s, struct larder_err *err)
{
	struct larder_store *store;
	uint64_t count = 0;
	int rc;

	rc = with_store(s, &store, err);
	if (rc < 0)
		return rc;
	rc = larder_rm(store, "victim", false, &count, err);
	larder_store_close(store);
	return rc;
}

static int
ignore_entry(void *context, const struct larder_entry *entry)
{
	(void)context;
	(void)entry;
	return 0;
}

static int
ignore_version(void *context, const struct larder_version_info *version)
{
	(void)context;
	(void)version;
	return 0;
}

static int
ignore_found(void *context, const struct larder_found *found)
{
	(void)context;
	(void)found;
	return 0;
}

static int
verb_look(struct scene *s, struct larder_err *err)
{
	struct larder_status_info info = LARDER_STATUS_INFO_INIT;
	struct larder_store *store;
	int rc;

	rc = with_store(s, &store, err);
	if (rc < 0)
		return rc;
	rc = larder_entries(store, "t//", 0, true, ignore_entry, NULL, err);
	if (rc == 0)
		rc = larder_log(store, "t", 0, ignore_version, NULL, err);
	if (rc == 0)
		rc = larder_find(store, "f*", "", NULL, 0, ignore_found, NULL, err);
	if (rc == 0)
		rc = larder_status(&info, store, err);
	larder_store_close(store);
	return rc;
}

/* ---- before and after ---- */

static void
nothing(struct scene *s)
{
	(void)s;
}

static void
need_victim(struct scene *s)
{
	const char *path = test_path(s->state, "tree/sub/f1");
	struct larder_put_result result;
	struct larder_err err = { 0 };
	struct larder_store *store;

	assert_ok(with_store(s, &store, &err), &err);
	assert_ok(larder_put(store, "victim", path, NULL, &result, &err), &err);
	larder_store_close(store);
}

static void
lose_index(struct scene *s)
{
	char path[600];

	snprintf(path, sizeof path, "%s/index/data.mdb", s->store);
	unlink(path);
}

static void
is_well(struct scene *s, const char *what, long n)
{
	struct larder_err err = { 0 };
	struct larder_get_options options = LARDER_GET_OPTIONS_INIT;
	struct larder_get_result result;
	struct larder_store *store;
	char spec[32];
	int rc;

	rc = verb_check(s, &err);
	if (rc != 0)
		print_message("# %s, call %ld (seed %llu): check afterwards\n", what, n,
		    (unsigned long long)seed);
	assert_ok(rc, &err);
	if (s->acknowledged == 0)
		return;
	options.verify_only = true;
	assert_ok(with_store(s, &store, &err), &err);
	snprintf(spec, sizeof spec, "t@%llu", (unsigned long long)s->acknowledged);
	assert_ok(larder_get(store, spec, "", &options, &result, &err), &err);
	larder_store_close(store);
}

struct torture {
	const char *what;
	verb_fn verb;
	void (*before)(struct scene *s);
	bool changes;     /* the tree must be another for each */
	bool damage_seen; /* CORRUPT is an answer to a file that cannot be read */
};

static const struct torture tortures[] = {
	{ "put", verb_put, nothing, true, false },
	{ "get", verb_get, nothing, false, true },
	{ "check", verb_check, nothing, false, true },
	{ "reindex", verb_reindex, nothing, false, true },
	{ "rm", verb_rm, need_victim, false, false },
	{ "look", verb_look, nothing, false, true },
	{ "rebuild", verb_look, lose_index, false, true },
};

struct how {
	const char *what;
	bool memory, for_ever, shorten, interrupt;
	int code;
};

static long
attempt(const struct torture *t, const struct how *how, struct scene *s, long nth, int *rc,
    struct larder_err *err, bool *failed)
{
	struct larder_sys sys = { .size = sizeof sys };
	struct file_faulty_plan plan = {
		.ops = FILE_FAULTY_ALL,
		.nth = how->memory ? 0 : nth,
		.for_ever = how->for_ever,
		.code = how->code,
		.shorten = how->shorten,
		.interrupt = how->interrupt,
	};
	long calls;

	if (how->shorten || how->interrupt)
		plan.ops = FILE_FAULTY_READ | FILE_FAULTY_WRITE;
	mem_faulty_into(&sys, how->memory ? nth : 0, how->for_ever);
	file_faulty_into(&sys, &plan);
	larder_sys_set(&sys);
	memset(err, 0, sizeof *err);
	*rc = t->verb(s, err);
	*failed = how->memory ? mem_faulty_failed() : file_faulty_failed();
	calls = how->memory ? mem_faulty_calls() : file_faulty_calls();
	if (mem_faulty_live() != 0 || file_faulty_open() != 0)
		fail_msg("%s, %s, call %ld (seed %llu): %ld allocations and %ld files left: %d %s",
		    t->what, how->what, nth, (unsigned long long)seed, mem_faulty_live(),
		    file_faulty_open(), *rc, err->message);
	larder_sys_set(NULL);
	return calls;
}

static bool
status_fits(const struct torture *t, const struct how *how, int rc, bool failed)
{
	if (rc == LARDER_OK)
		return true;
	if (!failed)
		return false;
	if (how->shorten || how->interrupt)
		return false;
	if (how->memory)
		return rc == LARDER_ERR_NOMEM;
	if (rc == (how->code == ENOSPC ? LARDER_ERR_NO_SPACE : LARDER_ERR_IO))
		return true;
	/* what of the tree cannot be read or written is named, and the rest is done */
	if (rc == LARDER_ERR_PARTIAL)
		return true;
	return t->damage_seen && rc == LARDER_ERR_CORRUPT;
}

static void
torture(void **state, const struct how *how, unsigned threads)
{
	uint64_t dice = seed;
	struct scene s;
	long points = 0, fails = 0;

	scene_begin(&s, state);
	for (size_t i = 0; i < test_count(tortures); i++) {
		const struct torture *t = &tortures[i];
		struct larder_err err;
		long calls;
		bool failed;
		int rc;

		s.threads = 1;
		verb_put(&s, NULL);
		s.threads = threads;
		t->before(&s);
		if (t->changes)
			scene_change(&s);
		calls = attempt(t, how, &s, 0, &rc, &err, &failed);
		assert_ok(rc, &err);
		for (long k = 1; k <= calls; k++) {
			dice = dice * 6364136223846793005u + 1442695040888963407u;
			if (!full && k > 4 && k < calls - 2 &&
			    (long)(dice >> 33) % calls >= (how->for_ever ? SAMPLE / 2 : SAMPLE))
				continue;
			t->before(&s);
			if (t->changes)
				scene_change(&s);
			(void)attempt(t, how, &s, k, &rc, &err, &failed);
			points++;
			fails += rc != 0;
			if (!status_fits(t, how, rc, failed))
				fail_msg("%s, %s, call %ld of %ld (seed %llu): status %d: %s (%s)", t->what,
				    how->what, k, calls, (unsigned long long)seed, rc, err.message,
				    damage_seen);
			is_well(&s, t->what, k);
		}
		t->before(&s);
		assert_ok(t->verb(&s, &err), &err);
	}
	print_message("# %s: %ld points, %ld with an error\n", how->what, points, fails);
}

static void
an_allocation_fails_once(void **state)
{
	torture(state, &(struct how) { .what = "an allocation fails", .memory = true }, 1);
}

static void
an_allocation_fails_once_with_workers(void **state)
{
	torture(state, &(struct how) { .what = "an allocation fails, two workers", .memory = true },
	    2);
}

static void
memory_runs_out_for_ever(void **state)
{
	torture(state,
	    &(struct how) { .what = "no memory from here", .memory = true, .for_ever = true }, 1);
}

static void
a_file_call_fails_once(void **state)
{
	torture(state, &(struct how) { .what = "a file call fails" }, 1);
}

static void
files_fail_for_ever(void **state)
{
	torture(state, &(struct how) { .what = "file calls fail from here", .for_ever = true }, 1);
}

static void
the_disk_is_full_from_here(void **state)
{
	torture(state,
	    &(struct how) { .what = "no space from here", .for_ever = true, .code = ENOSPC }, 1);
}

static void
reads_and_writes_are_short(void **state)
{
	torture(state, &(struct how) { .what = "a short read or write", .shorten = true }, 1);
}

static void
reads_and_writes_are_interrupted(void **state)
{
	torture(state, &(struct how) { .what = "an interrupted read or write", .interrupt = true }, 1);
}

/* ---- syncs ---- */

static struct {
	long calls, nth;
	bool for_ever, hit;
	bool redone; /* the directory whose sync failed was synced again, with other files in it */
	int fd; /* a second descriptor of the file whose sync failed */
	char path[512];
} syncs;

static int
judge_sync(int fd, bool data)
{
	bool bad;

	syncs.calls++;
	bad = syncs.nth > 0 && (syncs.calls == syncs.nth ||
				   (syncs.for_ever && syncs.calls > syncs.nth));
	if (!bad) {
		struct stat now, then;

		if (syncs.hit && syncs.fd >= 0 && fstat(fd, &now) == 0 &&
		    fstat(syncs.fd, &then) == 0 && S_ISDIR(now.st_mode) &&
		    now.st_ino == then.st_ino)
			syncs.redone = true;
		return data ? fdatasync(fd) : fsync(fd);
	}
	if (!syncs.hit) {
		char link[64];
		ssize_t len;

		syncs.hit = true;
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		len = readlink(link, syncs.path, sizeof syncs.path - 1);
		syncs.path[len > 0 ? len : 0] = '\0';
		syncs.fd = open(link, O_RDONLY | O_CLOEXEC);
	}
	errno = EIO;
	return -1;
}

static int
fsync_judged(int fd)
{
	return judge_sync(fd, false);
}

static int
fdatasync_judged(int fd)
{
	return judge_sync(fd, true);
}

static void
set_syncs(long nth, bool for_ever)
{
	struct larder_sys sys = { .size = sizeof sys };

	memset(&syncs, 0, sizeof syncs);
	syncs.nth = nth;
	syncs.for_ever = for_ever;
	syncs.fd = -1;
	sys.file_fsync = fsync_judged;
	sys.file_fdatasync = fdatasync_judged;
	larder_sys_set(&sys);
}

/* The nth sync fails; what then is acknowledged does not stand on that file. */
static void
sync_fails(struct scene *s, long nth, bool for_ever)
{
	struct larder_put_result result = { 0 };
	struct larder_err err = { 0 }, later = { 0 };
	struct larder_store *store = NULL;
	struct stat st;
	int rc, again;

	scene_change(s);
	set_syncs(nth, for_ever);
	rc = with_store(s, &store, &err);
	if (rc == 0)
		rc = larder_put(store, "t", s->tree, NULL, &result, &err);
	if (syncs.hit && rc == 0) {
		/* done anew in another file, or it was no matter of durability */
		assert_false(for_ever);
		assert_int_equal(0, fstat(syncs.fd, &st));
		if (st.st_nlink > 0 && S_ISREG(st.st_mode))
			fail_msg("sync %ld (%s) failed, and the put was acknowledged", nth, syncs.path);
		if (S_ISDIR(st.st_mode))
			fail_msg("sync %ld of directory %s failed, and the put was acknowledged", nth,
			    syncs.path);
	}
	if (syncs.hit && rc < 0 && store != NULL) {
		/* the handle stays poisoned although the disk works again */
		assert_status(LARDER_ERR_IO, rc, &err);
		syncs.nth = 0;
		scene_change(s);
		again = larder_put(store, "t", s->tree, NULL, &result, &later);
		/* but for what was dropped and never meant anything, such as a half-made file */
		if (again == 0 && !syncs.redone &&
		    (syncs.fd < 0 || fstat(syncs.fd, &st) < 0 || st.st_nlink > 0))
			fail_msg("sync %ld (%s) failed, and the next put on the handle was acknowledged",
			    nth, syncs.path);
	}
	larder_store_close(store);
	if (syncs.fd >= 0)
		close(syncs.fd);
	larder_sys_set(NULL);
	if (rc == 0 && result.version > s->acknowledged)
		s->acknowledged = result.version;
	is_well(s, "sync", nth);
	scene_change(s);
	memset(&err, 0, sizeof err);
	assert_ok(verb_put(s, &err), &err);
	is_well(s, "sync, and a put", nth);
}

static void
a_failed_sync_is_never_acknowledged(void **state)
{
	struct larder_err err = { 0 };
	struct scene s;
	long calls;

	scene_begin(&s, state);
	assert_ok(verb_put(&s, &err), &err);
	scene_change(&s);
	set_syncs(0, false);
	assert_ok(verb_put(&s, &err), &err);
	calls = syncs.calls;
	larder_sys_set(NULL);
	assert_true(calls >= 3); /* pack, its directory, journal */
	for (long k = 1; k <= calls; k++) {
		sync_fails(&s, k, false);
		sync_fails(&s, k, true);
	}
	print_message("# %ld syncs\n", calls);
}

static void
put_aside(void **state, const char *what, long k)
{
	char name[64];

	snprintf(name, sizeof name, "aside/%s.%ld", what, k);
	assert_int_equal(0, rename(test_path(state, what), test_path(state, name)));
}

static void
a_failed_sync_of_the_first_put_is_never_acknowledged(void **state)
{
	struct larder_err err = { 0 };
	long calls = 1;

	assert_int_equal(0, mkdir(test_path(state, "aside"), 0700));
	for (long k = 0; k <= calls; k += full || k < 8 || k > calls - 24 ? 1 : 17) {
		struct scene s;

		scene_begin(&s, state);
		if (k == 0) {
			set_syncs(0, false);
			assert_ok(verb_put(&s, &err), &err);
			calls = syncs.calls;
			larder_sys_set(NULL);
		} else {
			sync_fails(&s, k, k % 2 == 0);
		}
		put_aside(state, "store", k);
		put_aside(state, "tree", k);
	}
	print_message("# %ld syncs\n", calls);
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_failed_sync_is_never_acknowledged),
		test_case(a_failed_sync_of_the_first_put_is_never_acknowledged),
		test_case(an_allocation_fails_once),
		test_case(an_allocation_fails_once_with_workers),
		test_case(memory_runs_out_for_ever),
		test_case(a_file_call_fails_once),
		test_case(files_fail_for_ever),
		test_case(the_disk_is_full_from_here),
		test_case(reads_and_writes_are_short),
		test_case(reads_and_writes_are_interrupted),
	};
	const char *text = getenv("FAULT_SEED");

	seed = text != NULL ? strtoull(text, NULL, 10) : (uint64_t)time(NULL) * 48271 % 999983;
	full = getenv("FAULT_FULL") != NULL;
	print_message("# seed %llu\n", (unsigned long long)seed);
	/* Nobody cuts the power here: where syncs are cheap. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	return test_run(cases);
}
