/* The file config: its bytes, what is refused and how, and that its presence is the last step of
 * init. */
#include "cas/config.h"

#include "tests/harness.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>

#include "cas/base/sha256.h"
#include "cas/lines.h"
#include "tests/doubles/doubles.h"

#define ID "000102030405060708090a0b0c0d0e0f"
#define SEED "9b205ee4d71bc9a944966ea0d2de8bc56f6cb77e00b153177788dba613ab1ec2"
#define HEAD "larder store\nformat 1\n"
#define MODE "mode plain\nprotocol local\n"
#define REST "chunk-size 16384\nchunker-seed " SEED "\n"

/* Bytes of OBJECTS.md, 13. */
static const char pinned[] =
    HEAD "id " ID "\n" MODE REST
	 "sha256 233733b92ca55999e37619cc594b0981b14caf5ad0136aff6cf6a9d585647763\n";

static struct config
sample(void)
{
	struct config c = { .format = CONFIG_FORMAT, .chunk_size = 16384 };

	for (int i = 0; i < ID16_LEN; i++)
		c.id.bytes[i] = (uint8_t)i;
	assert_true(hex_decode(c.seed, CONFIG_SEED_LEN, SEED, 64));
	return c;
}

/* `text` with the last line that makes it whole. */
static struct buf
sealed(const char *text)
{
	struct buf bytes = { 0 };

	assert_int_equal(buf_append(&bytes, text, strlen(text)), 0);
	assert_int_equal(lines_seal(&bytes), 0);
	return bytes;
}

static void
bytes_are_the_ones_in_the_document(void **state)
{
	const struct config c = sample();
	struct config got;
	struct buf bytes = { 0 };
	struct larder_err err = { 0 };

	(void)state;
	assert_int_equal(config_encode(&bytes, &c), 0);
	assert_int_equal(bytes.len, sizeof pinned - 1);
	assert_memory_equal(bytes.data, pinned, bytes.len);
	assert_ok(config_decode(&got, bytes.data, bytes.len, &err), &err);
	assert_int_equal(got.format, 1);
	assert_int_equal(got.chunk_size, 16384);
	assert_false(got.prefix);
	assert_memory_equal(&got.id, &c.id, sizeof c.id);
	assert_memory_equal(got.seed, c.seed, sizeof c.seed);
	buf_release(&bytes);
}

static void
plain_stores_all_cut_alike(void **state)
{
	struct larder_id seed;
	struct config a, b;
	struct larder_err err = { 0 };

	assert_ok(config_create(&a, test_dir(state), 4096, &err), &err);
	assert_int_equal(mkdirat(test_dir(state), "other", 0700), 0);
	assert_int_equal(rename(test_path(state, "config"), test_path(state, "other/config")), 0);
	assert_ok(config_create(&b, test_dir(state), 65536, &err), &err);
	assert_memory_not_equal(&a.id, &b.id, sizeof a.id);
	assert_memory_equal(a.seed, b.seed, sizeof a.seed);
	sha256(&seed, "larder: where plain stores cut, 1", 33);
	assert_memory_equal(a.seed, seed.bytes, sizeof a.seed);
}

static void
what_was_written_is_read_and_never_replaced(void **state)
{
	struct config made, got, again;
	struct larder_err err = { 0 };
	struct stat st;

	assert_status(LARDER_ERR_NOT_FOUND, config_read(&got, test_dir(state), &err), &err);
	assert_ok(config_create(&made, test_dir(state), 32768, &err), &err);
	assert_ok(config_read(&got, test_dir(state), &err), &err);
	assert_memory_equal(&made.id, &got.id, sizeof got.id);
	assert_int_equal(got.chunk_size, 32768);
	assert_int_equal(fstatat(test_dir(state), "config", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_status(LARDER_ERR_EXISTS, config_create(&again, test_dir(state), 32768, &err), &err);
	assert_ok(config_read(&again, test_dir(state), &err), &err);
	assert_memory_equal(&again.id, &got.id, sizeof got.id);
	assert_int_equal(test_entries(state, "."), 1);
}

static void
chunk_sizes_that_cannot_be_are_refused(void **state)
{
	static const uint32_t sizes[] = { 0, 1, 2048, 4095, 4097, 10000, 65537, 131072,
		UINT32_MAX };
	struct config c;
	struct larder_err err = { 0 };

	for (size_t i = 0; i < test_count(sizes); i++) {
		assert_status(
		    LARDER_ERR_USAGE, config_create(&c, test_dir(state), sizes[i], &err), &err);
		assert_message(&err, "power of two");
	}
	assert_int_equal(test_entries(state, "."), 0);
}

static void
every_changed_cut_or_added_byte_is_damage(void **state)
{
	struct config got;
	struct larder_err err = { 0 };
	char bytes[sizeof pinned + 1];

	(void)state;
	for (size_t at = 0; at < sizeof pinned - 1; at++)
		for (int bit = 0; bit < 8; bit++) {
			memcpy(bytes, pinned, sizeof pinned);
			bytes[at] = (char)(bytes[at] ^ (1 << bit));
			assert_status(LARDER_ERR_CORRUPT,
			    config_decode(&got, bytes, sizeof pinned - 1, &err), &err);
		}
	for (size_t len = 0; len < sizeof pinned - 1; len++)
		assert_status(LARDER_ERR_CORRUPT, config_decode(&got, pinned, len, &err), &err);
	memcpy(bytes, pinned, sizeof pinned);
	bytes[sizeof pinned - 1] = '\n';
	assert_status(LARDER_ERR_CORRUPT, config_decode(&got, bytes, sizeof pinned, &err), &err);
	assert_message(&err, "checksum differs");
}

static void
what_is_whole_and_wrong_says_why(void **state)
{
	static const struct {
		const char *text;
		int status;
		const char *says;
	} rows[] = {
		{ "", LARDER_ERR_CORRUPT, "first line" },
		{ "larder writer\n", LARDER_ERR_CORRUPT, "first line" },
		{ "larder store 2\n", LARDER_ERR_CORRUPT, "first line" },
		{ "larder store\n", LARDER_ERR_CORRUPT, "no format" },
		{ "larder store\nformat one\n", LARDER_ERR_CORRUPT, "no format" },
		{ "larder store\nformat 0\n", LARDER_ERR_CORRUPT, "no format" },
		{ "larder store\nformat 01\n", LARDER_ERR_CORRUPT, "no format" },
		{ "larder store\nformat 18446744073709551616\n", LARDER_ERR_CORRUPT, "no format" },
		{ "larder store\nformat 2\nwhatever it says\n", LARDER_ERR_VERSION, "format 2" },
		{ "larder store\nformat 18446744073709551615\n", LARDER_ERR_VERSION, "format" },
		{ HEAD, LARDER_ERR_CORRUPT, "no id" },
		{ HEAD "id 00\n" MODE REST, LARDER_ERR_CORRUPT, "no id" },
		{ HEAD "id " ID "00\n" MODE REST, LARDER_ERR_CORRUPT, "no id" },
		{ HEAD "id " ID "\n", LARDER_ERR_CORRUPT, "no mode" },
		{ HEAD "id " ID "\nmode private\n", LARDER_ERR_VERSION, "\"private\"" },
		{ HEAD "id " ID "\nmode \n", LARDER_ERR_VERSION, "mode" },
		{ HEAD "id " ID "\nmode plain\n", LARDER_ERR_CORRUPT, "no protocol" },
		{ HEAD "id " ID "\nmode plain\nprotocol s3\n", LARDER_ERR_VERSION, "\"s3\"" },
		{ HEAD "id " ID "\n" MODE, LARDER_ERR_CORRUPT, "chunk size" },
		{ HEAD "id " ID "\n" MODE "chunk-size 1000\n", LARDER_ERR_CORRUPT, "chunk size" },
		{ HEAD "id " ID "\n" MODE "chunk-size 4294971392\n", LARDER_ERR_CORRUPT,
		    "chunk size" },
		{ HEAD "id " ID "\n" MODE "chunk-size 4096\n", LARDER_ERR_CORRUPT, "seed" },
		{ HEAD "id " ID "\n" MODE REST "requires keys\n", LARDER_ERR_VERSION, "\"keys\"" },
		{ HEAD "id " ID "\n" MODE REST "owner me\n", LARDER_ERR_CORRUPT, "no place" },
		{ HEAD "id " ID "\n" MODE REST "\n", LARDER_ERR_CORRUPT, "no place" },
		{ HEAD "id " ID "\n" MODE REST "note a\nrequires b\n", LARDER_ERR_CORRUPT,
		    "no place" },
	};

	(void)state;
	for (size_t i = 0; i < test_count(rows); i++) {
		struct buf bytes = sealed(rows[i].text);
		struct larder_err err = { 0 };
		struct config got;

		assert_status(
		    rows[i].status, config_decode(&got, bytes.data, bytes.len, &err), &err);
		assert_message(&err, rows[i].says);
		if (rows[i].status == LARDER_ERR_VERSION)
			assert_message(&err, "newer larder");
		buf_release(&bytes);
	}
}

static void
notes_are_left_alone_and_prefix_is_understood(void **state)
{
	struct buf bytes = sealed(
	    HEAD "id " ID "\nmode plain\nprotocol prefix\n" REST "note made by nobody\nnote\n");
	struct larder_err err = { 0 };
	struct config got;

	(void)state;
	assert_ok(config_decode(&got, bytes.data, bytes.len, &err), &err);
	assert_true(got.prefix);
	buf_release(&bytes);
}

static void
a_file_that_is_no_config_is_damage(void **state)
{
	struct config got;
	struct larder_err err = { 0 };
	char large[LINES_LEN_MAX + 1];

	memset(large, 'x', sizeof large);
	test_write(state, "config", "", 0);
	assert_status(LARDER_ERR_CORRUPT, config_read(&got, test_dir(state), &err), &err);
	test_write(state, "config", large, sizeof large);
	assert_status(LARDER_ERR_CORRUPT, config_read(&got, test_dir(state), &err), &err);
	assert_message(&err, "longer");
}

static void
every_call_that_fails_leaves_no_config_or_a_whole_one(void **state)
{
	for (long n = 1;; n++) {
		struct file_faulty_plan plan = { .ops = FILE_FAULTY_ALL, .nth = n };
		struct larder_err err = { 0 };
		struct config made, got;
		bool failed;
		int rc;

		file_faulty_set(&plan);
		rc = config_create(&made, test_dir(state), 4096, &err);
		failed = file_faulty_failed();
		assert_int_equal(file_faulty_open(), 0);
		larder_sys_set(NULL);
		if (!failed)
			assert_ok(rc, &err);
		if (rc == 0) /* a directory's close may fail: it wrote nothing */
			assert_ok(config_read(&got, test_dir(state), &err), &err);
		rc = config_read(&got, test_dir(state), &err);
		if (rc != 0)
			assert_status(LARDER_ERR_NOT_FOUND, rc, &err);
		remove(test_path(state, "config"));
		if (!failed)
			break;
	}
	for (long n = 1;; n++) {
		struct larder_err err = { 0 };
		struct config made;
		bool failed;
		int rc;

		mem_faulty_set(n, false);
		rc = config_create(&made, test_dir(state), 4096, &err);
		if (rc == 0)
			rc = config_read(&made, test_dir(state), &err);
		failed = mem_faulty_failed();
		assert_int_equal(mem_faulty_live(), 0);
		larder_sys_set(NULL);
		remove(test_path(state, "config"));
		if (!failed) {
			assert_ok(rc, &err);
			break;
		}
		assert_status(LARDER_ERR_NOMEM, rc, &err);
	}
}

int
main(void)
{
	static const struct CMUnitTest cases[] = {
		test_case(bytes_are_the_ones_in_the_document),
		test_case(plain_stores_all_cut_alike),
		test_case(what_was_written_is_read_and_never_replaced),
		test_case(chunk_sizes_that_cannot_be_are_refused),
		test_case(every_changed_cut_or_added_byte_is_damage),
		test_case(what_is_whole_and_wrong_says_why),
		test_case(notes_are_left_alone_and_prefix_is_understood),
		test_case(a_file_that_is_no_config_is_damage),
		test_case(every_call_that_fails_leaves_no_config_or_a_whole_one),
	};

	return test_run(cases);
}
