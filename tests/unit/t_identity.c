/*
 * The file writer: kept while the store stays where it is, drawn anew when it was
 * copied, moved to another machine or damaged, and one for all who ask at once.
 */
#include "cas/identity.h"

#include "tests/harness.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cas/base/buf.h"
#include "cas/base/sha256.h"
#include "cas/lines.h"
#include "cas/sys.h"
#include "tests/doubles/doubles.h"

static const char *machine_path; /* read instead of /etc/machine-id */

static int
open_here(int dirfd, const char *path, int flags, mode_t mode)
{
	if (strcmp(path, "/etc/machine-id") == 0)
		path = machine_path;
	if (strcmp(path, "/var/lib/dbus/machine-id") == 0) {
		errno = ENOENT;
		return -1;
	}
	return openat(dirfd, path, flags, mode);
}

static void
set_machine(const char *path)
{
	static const struct larder_sys sys = { .size = sizeof sys, .file_openat = open_here };

	machine_path = path;
	larder_sys_set(&sys);
}

static struct identity
claim(void **state, bool want_changed)
{
	struct identity identity, read;
	struct larder_err err = { 0 };
	bool changed;

	assert_ok(identity_claim(&identity, &changed, test_dir(state), &err), &err);
	assert_int_equal(changed, want_changed);
	assert_true(identity.known);
	assert_ok(identity_read(&read, test_dir(state), &err), &err);
	assert_true(read.known);
	assert_memory_equal(&read.writer, &identity.writer, sizeof read.writer);
	return identity;
}

static void
bytes_are_the_ones_in_the_document(void **state)
{
	struct buf want = { 0 };
	struct larder_id machine;
	struct identity identity;
	struct stat st;
	char number[32];
	size_t len;
	char *have;

	test_write(state, "machine-id", "0123456789abcdef0123456789abcdef\n", 33);
	set_machine(test_path(state, "machine-id"));
	random_seeded_set(1);
	set_machine(test_path(state, "machine-id"));
	identity = claim(state, true);
	sha256(&machine,
	    "larder: machine\0"
	    "0123456789abcdef0123456789abcdef",
	    48);
	assert_memory_equal(&identity.machine, &machine, sizeof machine);
	assert_int_equal(fstat(test_dir(state), &st), 0);

	assert_int_equal(lines_put(&want, "larder writer", NULL), 0);
	assert_int_equal(lines_put_hex(&want, "id", identity.writer.bytes, ID16_LEN), 0);
	snprintf(number, sizeof number, "%llu", (unsigned long long)st.st_dev);
	assert_int_equal(lines_put(&want, "device", number), 0);
	snprintf(number, sizeof number, "%llu", (unsigned long long)st.st_ino);
	assert_int_equal(lines_put(&want, "inode", number), 0);
	assert_int_equal(lines_put_hex(&want, "machine", machine.bytes, LARDER_ID_LEN), 0);
	assert_int_equal(lines_seal(&want), 0);
	have = test_read(state, "writer", &len);
	assert_int_equal(len, want.len);
	assert_memory_equal(have, want.data, len);
	free(have);
	buf_release(&want);
	assert_int_equal(fstatat(test_dir(state), "writer", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void
an_identity_is_kept_where_the_store_stays(void **state)
{
	struct identity first = claim(state, true), again = claim(state, false);

	assert_memory_equal(&first.writer, &again.writer, sizeof first.writer);
}

static void
a_copied_store_draws_a_new_id_and_the_original_keeps_its_own(void **state)
{
	struct identity first = claim(state, true), copy, again;
	struct larder_err err = { 0 };
	char *bytes;
	bool changed;
	size_t len;
	int fd;

	assert_int_equal(mkdirat(test_dir(state), "copy", 0700), 0);
	bytes = test_read(state, "writer", &len);
	test_write(state, "copy/writer", bytes, len);
	free(bytes);
	fd = open(test_path(state, "copy"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_ok(identity_read(&copy, fd, &err), &err);
	assert_memory_equal(&copy.writer, &first.writer, sizeof copy.writer);
	assert_ok(identity_claim(&copy, &changed, fd, &err), &err);
	assert_true(changed);
	assert_memory_not_equal(&copy.writer, &first.writer, sizeof copy.writer);
	assert_ok(identity_claim(&again, &changed, fd, &err), &err);
	assert_false(changed);
	assert_memory_equal(&copy.writer, &again.writer, sizeof copy.writer);
	close(fd);
	again = claim(state, false);
	assert_memory_equal(&first.writer, &again.writer, sizeof first.writer);
}

static void
a_disk_in_another_machine_draws_a_new_id(void **state)
{
	struct identity here, there;

	test_write(state, "here", "a\n", 2);
	test_write(state, "there", "b\n", 2);
	set_machine(test_path(state, "here"));
	here = claim(state, true);
	set_machine(test_path(state, "there"));
	there = claim(state, true);
	assert_memory_not_equal(&here.writer, &there.writer, sizeof here.writer);
	set_machine(test_path(state, "nowhere"));
	claim(state, true);
	claim(state, false);
}

static void
a_damaged_file_counts_as_none(void **state)
{
	struct identity before = claim(state, true), now, read;
	struct larder_err err = { 0 };
	char *bytes, large[LINES_LEN_MAX + 1] = { 'x' };
	size_t len;

	for (size_t at = 0; at < 150; at += 7) {
		bytes = test_read(state, "writer", &len);
		bytes[at] ^= 4;
		test_write(state, "writer", bytes, at % 2 ? len : at);
		free(bytes);
		assert_ok(identity_read(&read, test_dir(state), &err), &err);
		assert_false(read.known);
		now = claim(state, true);
		assert_memory_not_equal(&before.writer, &now.writer, sizeof now.writer);
		before = now;
	}
	test_write(state, "writer", large, sizeof large);
	assert_ok(identity_read(&read, test_dir(state), &err), &err);
	assert_false(read.known);
	claim(state, true);

	assert_int_equal(remove(test_path(state, "writer")), 0);
	assert_ok(identity_read(&read, test_dir(state), &err), &err);
	assert_false(read.known);
}

static void
what_was_forgotten_is_drawn_anew(void **state)
{
	struct identity before = claim(state, true), now = before;
	struct larder_err err = { 0 };

	assert_ok(identity_forget(&now, test_dir(state), &err), &err);
	assert_false(now.known);
	assert_ok(identity_forget(&now, test_dir(state), &err), &err); /* there is none */
	now = claim(state, true);
	assert_memory_not_equal(&before.writer, &now.writer, sizeof now.writer);
}

static void
processes_that_claim_at_once_get_one_id(void **state)
{
	enum { PROCESSES = 8 };
	int ends[2], status;
	struct id16 first, other;
	pid_t pids[PROCESSES];

	for (int round = 0; round < 10; round++) {
		assert_int_equal(pipe(ends), 0);
		for (int i = 0; i < PROCESSES; i++) {
			pids[i] = fork();
			assert_true(pids[i] >= 0);
			if (pids[i] == 0) {
				struct identity identity;
				bool changed;

				if (identity_claim(&identity, &changed, test_dir(state), NULL) <
					0 ||
				    write(ends[1], &identity.writer, ID16_LEN) != ID16_LEN)
					_exit(1);
				_exit(0);
			}
		}
		for (int i = 0; i < PROCESSES; i++) {
			assert_int_equal(waitpid(pids[i], &status, 0), pids[i]);
			assert_int_equal(status, 0);
			assert_int_equal(
			    read(ends[0], i == 0 ? &first : &other, ID16_LEN), ID16_LEN);
			if (i > 0)
				assert_memory_equal(&first, &other, ID16_LEN);
		}
		close(ends[0]);
		close(ends[1]);
		assert_int_equal(remove(test_path(state, "writer")), 0);
		assert_int_equal(test_entries(state, "."), 0);
	}
}

static void
every_failure_is_told_and_the_next_claim_succeeds(void **state)
{
	for (int kind = 0; kind < 2; kind++)
		for (long n = 1;; n++) {
			struct file_faulty_plan plan = { .ops = FILE_FAULTY_ALL, .nth = n };
			struct larder_err err = { 0 };
			struct identity identity;
			bool changed, failed;
			int rc;

			if (kind == 0)
				file_faulty_set(&plan);
			else
				mem_faulty_set(n, false);
			rc = identity_claim(&identity, &changed, test_dir(state), &err);
			failed = kind == 0 ? file_faulty_failed() : mem_faulty_failed();
			if (kind == 0)
				assert_int_equal(file_faulty_open(), 0);
			else
				assert_int_equal(mem_faulty_live(), 0);
			larder_sys_set(NULL);
			if (!failed)
				assert_ok(rc, &err);
			if (rc != 0)
				assert_message(&err, "writer");
			assert_ok(identity_claim(&identity, &changed, test_dir(state), &err), &err);
			assert_int_equal(remove(test_path(state, "writer")), 0);
			assert_int_equal(test_entries(state, "."), 0);
			if (!failed)
				break;
		}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(bytes_are_the_ones_in_the_document),
		test_case(an_identity_is_kept_where_the_store_stays),
		test_case(a_copied_store_draws_a_new_id_and_the_original_keeps_its_own),
		test_case(a_disk_in_another_machine_draws_a_new_id),
		test_case(a_damaged_file_counts_as_none),
		test_case(what_was_forgotten_is_drawn_anew),
		test_case(processes_that_claim_at_once_get_one_id),
		test_case(every_failure_is_told_and_the_next_claim_succeeds),
	};

	return test_run(cases);
}
