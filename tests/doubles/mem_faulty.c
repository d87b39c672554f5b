/* Memory that runs out when the test says so. */
#include <stdatomic.h>
#include <stdlib.h>

#include "tests/doubles/doubles.h"

static atomic_long calls, live, fail_at;
static atomic_bool fail_for_ever, failed;

static bool
fails(void)
{
	long n = atomic_fetch_add(&calls, 1) + 1, at = atomic_load(&fail_at);
	bool bad = at > 0 && (n == at || (n > at && atomic_load(&fail_for_ever)));

	if (bad)
		atomic_store(&failed, true);
	return bad;
}

static void *
alloc_faulty(size_t size)
{
	void *p = fails() ? NULL : malloc(size);

	if (p != NULL)
		atomic_fetch_add(&live, 1);
	return p;
}

static void *
realloc_faulty(void *ptr, size_t size)
{
	void *p = fails() ? NULL : realloc(ptr, size);

	if (p != NULL && ptr == NULL)
		atomic_fetch_add(&live, 1);
	return p;
}

static void
free_counted(void *ptr)
{
	if (ptr != NULL)
		atomic_fetch_sub(&live, 1);
	free(ptr);
}

void
mem_faulty_into(struct larder_sys *sys, long nth, bool for_ever)
{
	atomic_store(&calls, 0);
	atomic_store(&live, 0);
	atomic_store(&fail_at, nth);
	atomic_store(&fail_for_ever, for_ever);
	atomic_store(&failed, false);
	sys->mem_alloc = alloc_faulty;
	sys->mem_realloc = realloc_faulty;
	sys->mem_free = free_counted;
}

void
mem_faulty_set(long nth, bool for_ever)
{
	struct larder_sys sys = { .size = sizeof sys };

	mem_faulty_into(&sys, nth, for_ever);
	larder_sys_set(&sys);
}

long
mem_faulty_calls(void)
{
	return atomic_load(&calls);
}

bool
mem_faulty_failed(void)
{
	return atomic_load(&failed);
}

long
mem_faulty_live(void)
{
	return atomic_load(&live);
}
