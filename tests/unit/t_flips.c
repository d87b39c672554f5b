/*
 * A byte changed while nobody looks (TRUST.md, I2): opening says CORRUPT, or a
 * look-up does, or the fault is one that index_fault() knows, or the answer is
 * right. Never a wrong answer, another fault, an abort or a hang.
 *
 * Twice: as a change that left a trace in the file's times, which is found
 * before anything is answered; and as one that left none (`blind`), when only
 * what look-ups themselves check stands between the damage and the answer.
 * Then a row may be hidden: NOT_FOUND is the one wrong answer that is allowed.
 *
 * LARDER_FLIPS=n tries n bits of every byte, each of which takes minutes.
 */
#include "tests/unit/t_index.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum {
	CHUNKS = 150,
	PACKS = 6,
	SEEN = 4,
	SKETCHES = 60,
	WRITERS = 2,
	VERSIONS = 3,

	/* how a child ends */
	ENDED = 0,
	FAULT_KNOWN = 42,
	FAULT_UNKNOWN = 43,
	WRONG_ANSWER = 44,

/* the first DENSE bytes one by one, then every STEP-th */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	DENSE = 0,
	STEP = 61,
#else
	DENSE = 3 * 4096,
	STEP = 31,
#endif
};

static const char *const names[] = { "a", "cookbooks/nginx", "z" };
static char long_name[701];

/* Shared with the children. */
static struct progress {
	volatile uint64_t at; /* the flip being tried */
	volatile uint64_t refused, found, right, hidden, sketches;
	volatile char wrong[128];
} * progress;

static void
wrong(const char *what, uint64_t n)
{
	snprintf((char *)(uintptr_t)progress->wrong, sizeof progress->wrong, "%s %d", what, (int)n);
	_exit(WRONG_ANSWER);
}

/* ---- the index that is damaged ---- */

static struct larder_id ids[CHUNKS + 50]; /* test_id() takes its time */

static const char *
name_of(size_t i)
{
	return i < test_count(names) ? names[i] : long_name;
}

static size_t
seen_len(uint64_t n)
{
	return (size_t)(n * 3000 + 10);
}

static int
fill(void *context, struct index_write *write, struct larder_err *err)
{
	static uint8_t value[ROW_SEEN_MAX];
	uint64_t step = *(uint64_t *)context, number;
	struct test_chunks chunks = { step * CHUNKS / 3, CHUNKS / 3 };
	int rc = test_put_chunks(&chunks, write, err);

	for (uint64_t n = step; rc >= 0 && n < SKETCHES; n += 3)
		rc = index_sketch_put(write, n * 0x9e3779b97f4a7c15, n, err);
	for (uint64_t n = 0; rc >= 0 && n < PACKS; n++) {
		struct index_pack pack = { .id = test_id16(n), .file_len = n + step };
		uint32_t pack_number;

		rc = index_pack_put(&pack_number, write, &pack, err);
	}
	for (size_t i = 0; rc >= 0 && i <= test_count(names); i++) {
		struct index_version version = {
			.name = name_of(i),
			.gid = test_id16(step),
			.created_ns = (int64_t)step,
			.id = test_id(step),
			.bytes = step,
		};

		rc = index_version_put(&number, write, &version, err);
	}
	for (uint8_t n = 0; rc >= 0 && n < SEEN; n++) {
		uint8_t key[16] = { n };

		test_fill(value, seen_len(n), n + step);
		rc = index_seen_put(write, key, value, seen_len(n), err);
	}
	for (uint64_t n = 0; rc >= 0 && n < WRITERS; n++) {
		struct index_position position = { .writer = test_id16(n), .sequence = n + step };

		rc = index_position_put(write, &position, err);
	}
	return rc;
}

static void
make_index(void **state)
{
	struct index *index = test_index_open(state);
	struct larder_err err = { 0 };

	memset(long_name, 'l', sizeof long_name - 1);
	for (uint64_t n = 0; n < test_count(ids); n++)
		ids[n] = test_id(n);
	env_map_len_start = 4 * 1024 * 1024;
	for (uint64_t step = 0; step < 3; step++)
		assert_ok(index_update(index, fill, &step, &err), &err);
	assert_sound(index);
	index_close(index);
}

/* ---- looking at it ---- */

/* What one look-up answered; true when there is something to compare. */
static bool
answered(int rc)
{
	if (rc == 0 || rc == 1)
		return true;
	if (rc == LARDER_ERR_NOT_FOUND)
		progress->hidden++;
	else if (rc == LARDER_ERR_CORRUPT)
		progress->found++;
	else
		wrong("status", (uint64_t)-rc);
	return false;
}

static void
look_at_chunks(struct index_read *read)
{
	for (uint64_t n = 0; n < CHUNKS + 50; n++) {
		struct index_place place;
		int rc = index_chunk_get(&place, read, &ids[n], NULL);

		if (n >= CHUNKS && rc == 0)
			wrong("chunk that was never put", n);
		if (n < CHUNKS && answered(rc) && !is_place(&place, n))
			wrong("chunk", n);
	}
}

static int
visit_chunk(void *context, const struct larder_id *id, const struct index_place *place,
    struct larder_err *err)
{
	uint64_t n = 0;

	(void)err;
	while (n < CHUNKS && !id_equal(id, &ids[n]))
		n++;
	if (n == CHUNKS || !is_place(place, n))
		wrong("visited chunk", n);
	++*(uint64_t *)context;
	return 0;
}

static void
walk_chunks(struct index_read *read)
{
	struct larder_id lowest = { { 0 } }, highest;
	uint64_t count = 0;

	memset(highest.bytes, 0xff, sizeof highest.bytes);
	if (answered(index_chunk_each(read, &lowest, &highest, visit_chunk, &count, NULL)) &&
	    count != CHUNKS)
		progress->hidden++;
}

static void
look_at_packs(struct index_read *read)
{
	for (uint32_t n = 0; n < PACKS; n++) {
		struct id16 id = test_id16(n);
		struct index_pack pack;
		uint32_t number;

		if (answered(index_pack_get(&pack, read, n + 1, NULL)) &&
		    (memcmp(&pack.id, &id, sizeof id) != 0 || pack.file_len != n + 2))
			wrong("pack", n);
		if (answered(index_pack_find(&number, read, &id, NULL)) && number != n + 1)
			wrong("number of pack", n);
	}
}

static void
look_at_version(const struct index_version *version, size_t i, uint64_t step)
{
	struct id16 gid = test_id16(step);
	struct larder_id id = test_id(step);

	if (strcmp(version->name, name_of(i)) != 0 || version->number != step + 1 ||
	    version->bytes != step || !id_equal(&version->id, &id) ||
	    memcmp(&version->gid, &gid, sizeof gid) != 0 || version->ended_ns != 0)
		wrong("version", i * 10 + step);
}

static void
look_at_names(struct index_read *read)
{
	struct index_version_row row = { 0 };

	for (size_t i = 0; i <= test_count(names); i++) {
		if (answered(index_version_get(&row, read, name_of(i), 0, INT64_MAX, NULL)))
			look_at_version(&row.version, i, VERSIONS - 1);
		for (uint64_t step = 0; step < VERSIONS; step++) {
			int64_t at = (int64_t)step;

			if (answered(index_version_get(
				&row, read, name_of(i), step + 1, INT64_MAX, NULL)))
				look_at_version(&row.version, i, step);
			/* An older one as of then is right about itself, but hides one. */
			if (answered(index_version_get(&row, read, name_of(i), 0, at, NULL))) {
				if (row.version.bytes < step)
					progress->hidden++;
				else
					look_at_version(&row.version, i, step);
			}
		}
	}
	index_version_release(&row);
}

/* In bytewise order: long_name comes after "cookbooks/nginx" and before "z". */
static void
walk_names(struct index_read *read)
{
	static const size_t order[] = { 0, 1, 3, 2 };
	struct index_name_iter iter = { .at_ns = INT64_MAX };
	struct index_version_row row = { 0 };
	size_t i = 0;
	int rc;

	while ((rc = index_name_next(&row, &iter, read, NULL)) == 1) {
		while (i < test_count(order) && strcmp(row.version.name, name_of(order[i])) != 0) {
			i++;
			progress->hidden++;
		}
		if (i == test_count(order))
			wrong("name", i);
		look_at_version(&row.version, order[i++], VERSIONS - 1);
	}
	(void)answered(rc);
	if (rc == 0 && i < test_count(order))
		progress->hidden++;
	index_version_release(&row);
	buf_release(&iter.last);
}

static void
look_at_hints(struct index_read *read)
{
	static uint8_t want[ROW_SEEN_MAX];
	struct buf out = { 0 };

	for (uint8_t n = 0; n < SEEN; n++) {
		uint8_t key[16] = { n };

		test_fill(want, seen_len(n), n + 2u);
		if (answered(index_seen_get(&out, read, key, NULL)) &&
		    (out.len != seen_len(n) || memcmp(out.data, want, out.len) != 0))
			wrong("hint", n);
	}
	buf_release(&out);
	/* These have no check; whoever follows one compares. */
	for (uint64_t n = 0; n < SKETCHES; n++) {
		uint64_t prefix;

		int rc = index_sketch_get(&prefix, read, n * 0x9e3779b97f4a7c15, NULL);

		if (rc == LARDER_ERR_NOT_FOUND || (rc == 0 && prefix != n))
			progress->sketches++;
		else
			(void)answered(rc);
	}
}

static int
visit_position(void *context, const struct index_position *position, struct larder_err *err)
{
	(void)context, (void)err;
	for (uint64_t n = 0; n < WRITERS; n++) {
		struct id16 writer = test_id16(n);

		if (memcmp(&writer, &position->writer, sizeof writer) == 0 &&
		    position->sequence == n + 2)
			return 0;
	}
	wrong("position", position->sequence);
	return 0;
}

static void
look_at_positions(struct index_read *read)
{
	for (uint64_t n = 0; n < WRITERS; n++) {
		struct id16 writer = test_id16(n);
		struct index_position position;

		if (answered(index_position_get(&position, read, &writer, NULL)) &&
		    position.sequence != n + 2)
			wrong("position", n);
	}
	(void)answered(index_position_each(read, visit_position, NULL, NULL));
}

/* Opens, looks at everything, closes. */
static void
look(void **state)
{
	struct index_options options = test_index_options(state);
	struct larder_err err = { 0 };
	struct index_read *read = NULL;
	struct index *index = NULL;
	struct index_counts counts;
	uint64_t before = progress->found + progress->hidden;
	int rc;

	options.create = false;
	rc = index_open(&index, &options, &err);
	if (rc == LARDER_ERR_CORRUPT) {
		progress->refused++;
		return;
	}
	if (rc != 0)
		wrong("open", (uint64_t)-rc);
	rc = index_read_begin(&read, index, NULL);
	if (answered(rc)) {
		look_at_chunks(read);
		walk_chunks(read);
		look_at_packs(read);
		look_at_names(read);
		walk_names(read);
		look_at_hints(read);
		look_at_positions(read);
		if (answered(index_counts_get(&counts, read, NULL)) &&
		    (counts.chunks != CHUNKS || counts.packs != PACKS))
			wrong("counts", counts.chunks);
		index_read_end(read);
	}
	index_close(index);
	if (progress->found + progress->hidden == before)
		progress->right++;
}

/* ---- flipping ---- */

static void
on_fault(int number, siginfo_t *info, void *context)
{
	(void)number, (void)context;
	_exit(index_fault(info->si_addr) ? FAULT_KNOWN : FAULT_UNKNOWN);
}

static void
catch_faults(void)
{
	static uint8_t stack[65536];
	stack_t alternate = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction action = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO | SA_ONSTACK,
	};

	sigaltstack(&alternate, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
}

struct flips {
	const char *file;
	uint64_t len;   /* of the file */
	uint64_t dense; /* so many bytes at the start: every one; then every step-th */
	uint64_t step;
	uint64_t bits; /* 1 .. 8: so many of every byte instead */
};

static uint64_t
flip_count(const struct flips *f)
{
	return f->bits ? f->len * f->bits : f->dense + (f->len - f->dense + f->step - 1) / f->step;
}

static uint64_t
flip_at(const struct flips *f, uint64_t i, uint8_t *mask)
{
	uint64_t at = i < f->dense ? i : f->dense + (i - f->dense) * f->step;

	if (f->bits > 0) {
		at = i / f->bits;
		*mask = (uint8_t)(1 << (at * 3 + i % f->bits) % 8);
		return at;
	}
	*mask = (uint8_t)(1 << (at * 5 + at / 8) % 8);
	return at;
}

static void
flip(int fd, uint64_t at, uint8_t mask)
{
	uint8_t byte;

	if (pread(fd, &byte, 1, (off_t)at) != 1)
		wrong("pread", at);
	byte ^= mask;
	if (pwrite(fd, &byte, 1, (off_t)at) != 1)
		wrong("pwrite", at);
}

/* In a child: every flip from progress->at on, until it dies. */
static void
try_flips(void **state, const struct flips *f)
{
	int fd = open(test_path(state, f->file), O_RDWR | O_CLOEXEC);
	uint64_t count = flip_count(f);

	catch_faults();
	for (; progress->at < count; progress->at++) {
		uint8_t mask;
		uint64_t at = flip_at(f, progress->at, &mask);

		alarm(20);
		unlink(test_path(state, "index/session"));
		flip(fd, at, mask);
		look(state);
		flip(fd, at, mask);
	}
	_exit(ENDED);
}

static void
undo(void **state, const struct flips *f)
{
	int fd = open(test_path(state, f->file), O_RDWR | O_CLOEXEC);
	uint8_t mask;
	uint64_t at = flip_at(f, progress->at, &mask);

	flip(fd, at, mask);
	close(fd);
}

/* How many faults there were, all of them known. */
static uint64_t
flip_all(void **state, struct flips *f)
{
	uint64_t faults = 0;

	memset((void *)(uintptr_t)progress, 0, sizeof *progress);
	f->bits =
	    getenv("LARDER_FLIPS") != NULL ? strtoull(getenv("LARDER_FLIPS"), NULL, 10) % 9 : 0;
	for (;;) {
		uint8_t mask;
		int status;
		pid_t pid;

		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			try_flips(state, f);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == ENDED)
			return faults;
		if (!WIFEXITED(status) || WEXITSTATUS(status) != FAULT_KNOWN)
			fail_msg("%s, byte %d, mask %02x: status %x %s", f->file,
			    (int)flip_at(f, progress->at, &mask), mask, (unsigned)status,
			    (char *)(uintptr_t)progress->wrong);
		faults++;
		undo(state, f);
		progress->at++;
	}
}

static void
report(const char *what, const struct flips *f, uint64_t faults)
{
	print_message("# %s: %llu flips: %llu refused at open, %llu right, %llu rows found "
		      "damaged, %llu hidden, %llu sketches wrong, %llu faults\n",
	    what, (unsigned long long)flip_count(f), (unsigned long long)progress->refused,
	    (unsigned long long)progress->right, (unsigned long long)progress->found,
	    (unsigned long long)progress->hidden, (unsigned long long)progress->sketches,
	    (unsigned long long)faults);
}

static struct flips
of_file(void **state, const char *file, uint64_t dense, uint64_t step)
{
	size_t len;

	free(test_read(state, file, &len));
	return (struct flips){ .file = file, .len = len, .dense = dense, .step = step };
}

static void
a_change_that_left_a_trace_is_found_at_open(void **state)
{
	struct flips f;
	uint64_t faults;

	make_index(state);
	f = of_file(state, "index/data.mdb", DENSE, STEP);
	faults = flip_all(state, &f);
	report("traced", &f, faults);
	assert_int_equal(faults, 0);
	assert_int_equal(progress->found, 0);
	assert_int_equal(progress->hidden, 0);
	assert_int_equal(progress->refused + progress->right, flip_count(&f));
}

static void
a_change_without_a_trace_is_never_a_wrong_answer(void **state)
{
	struct flips f;
	uint64_t faults;

	make_index(state);
	env_trusts_blindly = true;
	f = of_file(state, "index/data.mdb", DENSE, STEP);
	faults = flip_all(state, &f);
	env_trusts_blindly = false;
	report("blind", &f, faults);
	assert_true(progress->found > 0);
}

static void
the_lock_file_decides_nothing(void **state)
{
	struct flips f;
	uint64_t faults;

	make_index(state);
	f = of_file(state, "index/lock.mdb", 512, 509);
	env_trusts_blindly = true; /* or it would be made anew */
	faults = flip_all(state, &f);
	env_trusts_blindly = false;
	report("lock", &f, faults);
	assert_int_equal(faults, 0);
	assert_int_equal(progress->right, flip_count(&f));
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(a_change_that_left_a_trace_is_found_at_open),
		test_case(a_change_without_a_trace_is_never_a_wrong_answer),
		test_case(the_lock_file_decides_nothing),
	};

	progress =
	    mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (progress == MAP_FAILED)
		return 1;
	return test_run(cases);
}
