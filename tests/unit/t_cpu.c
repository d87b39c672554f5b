/* cas/base/cpu.c: one answer, narrowed and widened again. */
#include "cas/base/cpu.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static void
the_answer_is_the_same_every_time(void **state)
{
	unsigned sets = cpu_sets();

	(void)state;
	for (int i = 0; i < 10; i++)
		assert_int_equal(cpu_sets(), sets);
	assert_int_equal(sets & ~(unsigned)CPU_ALL, 0);
}

static void
having_two_sets_means_having_both(void **state)
{
	unsigned sets = cpu_sets();

	(void)state;
	assert_true(cpu_has(0));
	assert_true(cpu_has(sets));
	for (unsigned bit = 1; bit < CPU_ALL; bit <<= 1) {
		assert_int_equal(cpu_has(bit), (sets & bit) != 0);
		assert_int_equal(cpu_has(sets | bit), (sets & bit) != 0);
	}
}

static void
a_narrowed_machine_admits_to_no_more_than_the_mask(void **state)
{
	unsigned sets = cpu_sets();

	(void)state;
	for (unsigned mask = 0; mask <= CPU_ALL; mask++) {
		cpu_narrow(mask);
		assert_int_equal(cpu_sets(), sets & mask);
	}
	cpu_narrow(0);
	assert_false(cpu_has(CPU_AVX2));
	assert_false(cpu_has(CPU_NEON));
	cpu_narrow(CPU_ALL);
	assert_int_equal(cpu_sets(), sets);
}

static void
the_richer_sets_come_with_the_poorer_ones(void **state)
{
	unsigned sets = cpu_sets();

	(void)state;
	if (sets & CPU_AVX512VNNI)
		assert_true(cpu_has(CPU_AVX512BW));
	if (sets & (CPU_AVX512BW | CPU_AVX512VL))
		assert_true(cpu_has(CPU_AVX2));
	if (sets & CPU_NEON)
		assert_false(sets & CPU_AVX2);
}

#if defined(__x86_64__)
static void
the_compiler_sees_the_same_machine(void **state)
{
	(void)state;
	__builtin_cpu_init();
	assert_int_equal(cpu_has(CPU_AVX2), __builtin_cpu_supports("avx2") != 0);
	assert_int_equal(cpu_has(CPU_CRC32C), __builtin_cpu_supports("sse4.2") != 0);
	assert_int_equal(cpu_has(CPU_AVX512BW),
	    __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw"));
	assert_int_equal(cpu_has(CPU_AVX512VL),
	    __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl"));
	assert_int_equal(cpu_has(CPU_AVX512VNNI),
	    __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vnni"));
}
#endif

static void *
ask_often(void *arg)
{
	unsigned *answer = arg;

	*answer = cpu_sets();
	for (int i = 0; i < 10000; i++)
		if (cpu_sets() != *answer)
			*answer = ~0u;
	return NULL;
}

static void
threads_that_ask_together_hear_the_same(void **state)
{
	pthread_t threads[4];
	unsigned answers[4];

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, ask_often, &answers[i]), 0);
	for (size_t i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(answers[i], cpu_sets());
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
		/* first, so that the threads are the first to ask */
		cmocka_unit_test(threads_that_ask_together_hear_the_same),
		cmocka_unit_test(the_answer_is_the_same_every_time),
		cmocka_unit_test(having_two_sets_means_having_both),
		cmocka_unit_test(a_narrowed_machine_admits_to_no_more_than_the_mask),
		cmocka_unit_test(the_richer_sets_come_with_the_poorer_ones),
#if defined(__x86_64__)
		cmocka_unit_test(the_compiler_sees_the_same_machine),
#endif
	};

	return cmocka_run_group_tests_name("cpu", tests, NULL, NULL);
}
