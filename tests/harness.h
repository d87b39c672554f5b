#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

/*
 * What every test stands on: cmocka with the headers that it wants before
 * itself, an empty folder per case, and assertions about statuses.
 *
 *	static void
 *	a_sentence_about_the_product(void **state)
 *	{
 *		struct larder_err err = { 0 };
 *
 *		assert_status(LARDER_ERR_NOT_FOUND, thing_open(test_path(state, "x"), &err), &err);
 *		assert_message(&err, "x");
 *	}
 *
 *	int
 *	main(void)
 *	{
 *		static const struct CMUnitTest cases[] = {
 *			test_case(a_sentence_about_the_product),
 *		};
 *
 *		return test_run(cases);
 *	}
 *
 * A case that uses test_case() gets a folder of its own, which is removed when
 * it ends, and after it larder_sys_set(NULL) takes every double away. Failing
 * assertions jump: use them in the main thread only.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cas/types.h"

#define test_case(fn) cmocka_unit_test_setup_teardown(fn, test_setup, test_teardown)
#define test_run(cases) cmocka_run_group_tests_name(__FILE__, cases, NULL, NULL)
#define test_count(array) (sizeof(array) / sizeof(array)[0])

/* The case ends as skipped, with the reason in the output. */
#define test_skip(...)                                                                             \
	do {                                                                                       \
		print_message("# SKIP " __VA_ARGS__);                                              \
		print_message("\n");                                                               \
		skip();                                                                            \
	} while (0)

int test_setup(void **state);
int test_teardown(void **state);

/* The folder of the case: as a descriptor, as a path, and the path of a name in it. The latter are
 * lent until 16 more were asked for. */
int test_dir(void **state);
const char *test_folder(void **state);
const char *test_path(void **state, const char *name);

/* Whole files in the folder. test_read: caller frees with free(), NUL behind the bytes. */
void test_write(void **state, const char *name, const void *data, size_t len);
char *test_read(void **state, const char *name, size_t *len);
bool test_exists(void **state, const char *name);
size_t test_entries(void **state, const char *name); /* names in a directory, "." for the folder */

/* Reproducible bytes: the same seed gives the same bytes on every machine. */
void test_fill(void *out, size_t len, uint64_t seed);

/* rc is `code`; else the case fails and shows the message. err may be NULL. */
#define assert_status(code, rc, err) test_status(code, rc, err, #rc, __FILE__, __LINE__)
#define assert_ok(rc, err) assert_status(LARDER_OK, rc, err)
/* The sentence (message or hint) contains `part`. */
#define assert_message(err, part) test_message(err, part, __FILE__, __LINE__)

void test_status(int want, int got, const struct larder_err *err, const char *what,
    const char *file, int line);
void test_message(const struct larder_err *err, const char *part, const char *file, int line);

#endif
