/* A clock that stands still until the test moves it. */
#include <stdatomic.h>

#include "tests/doubles/doubles.h"

static _Atomic int64_t now, mono;

static int64_t
now_fixed(void)
{
	return atomic_load(&now);
}

static int64_t
mono_fixed(void)
{
	return atomic_load(&mono);
}

void
clock_fixed_into(struct larder_sys *sys, int64_t now_ns)
{
	atomic_store(&now, now_ns);
	atomic_store(&mono, 1000000000);
	sys->clock_now_ns = now_fixed;
	sys->clock_mono_ns = mono_fixed;
}

void
clock_fixed_set(int64_t now_ns)
{
	struct larder_sys sys = { .size = sizeof sys };

	clock_fixed_into(&sys, now_ns);
	larder_sys_set(&sys);
}

void
clock_fixed_advance(int64_t ns)
{
	atomic_fetch_add(&now, ns);
	atomic_fetch_add(&mono, ns);
}

void
clock_fixed_jump(int64_t now_ns)
{
	atomic_store(&now, now_ns);
}
