/* Counters of the whole process. Nobody orders anything by them, hence relaxed. */
#include "cas/base/trace.h"

#include <assert.h>
#include <stdatomic.h>

static _Atomic uint64_t counters[TRACE_COUNT];

void
trace_add(enum trace_counter counter, uint64_t n)
{
	assert(counter < TRACE_COUNT);
	atomic_fetch_add_explicit(&counters[counter], n, memory_order_relaxed);
}

uint64_t
trace_get(enum trace_counter counter)
{
	assert(counter < TRACE_COUNT);
	return atomic_load_explicit(&counters[counter], memory_order_relaxed);
}

const char *
trace_name(enum trace_counter counter)
{
	static const char *const names[TRACE_COUNT] = {
#define NAME(name) #name,
		TRACE_LIST(NAME)
#undef NAME
	};

	assert(counter < TRACE_COUNT);
	return names[counter];
}
