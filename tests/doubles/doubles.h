#ifndef TESTS_DOUBLES_H
#define TESTS_DOUBLES_H

/*
 * Stand-ins behind the seams. Each x_into() puts itself into a table, so that
 * several can be combined; x_set() sets a table with this one alone. All state
 * is the process's; test_teardown() takes the table away, and the next _into()
 * starts from zero. Counters may be read while threads run.
 *
 *	struct larder_sys sys = { .size = sizeof sys };
 *
 *	clock_fixed_into(&sys, T0);
 *	mem_faulty_into(&sys, 3, false);
 *	larder_sys_set(&sys);
 */
#include "cas/sys.h"

/*
 * Memory: the n-th allocation from now (1 = the next) fails, once or for ever;
 * 0 = none, only count. A realloc counts as an allocation.
 */
void mem_faulty_into(struct larder_sys *sys, long nth, bool for_ever);
void mem_faulty_set(long nth, bool for_ever);
long mem_faulty_calls(void); /* allocations asked for since */
bool mem_faulty_failed(void); /* did one fail? */
long mem_faulty_live(void); /* allocated and not freed since */

/* Files: which calls are counted, which one fails and how. */
enum file_faulty_op {
	FILE_FAULTY_OPEN = 1,
	FILE_FAULTY_CLOSE = 2,
	FILE_FAULTY_READ = 4,
	FILE_FAULTY_WRITE = 8,
	FILE_FAULTY_SYNC = 16, /* fsync and fdatasync */
	FILE_FAULTY_TRUNCATE = 32,
	FILE_FAULTY_RENAME = 64,
	FILE_FAULTY_UNLINK = 128,
	FILE_FAULTY_MKDIR = 256,
	FILE_FAULTY_CHANGES = 8 | 16 | 32 | 64 | 128 | 256, /* what changes a disk */
	FILE_FAULTY_ALL = 511,
};

struct file_faulty_plan {
	unsigned ops;   /* of these calls ... */
	long nth;       /* ... the n-th (1 = the next) fails; 0 = none, only count */
	bool for_ever;  /* and all of them after it */
	int code;       /* errno; 0 = EIO */
	bool shorten;   /* reads and writes do half (at least one byte) instead of failing */
	bool interrupt; /* the same calls fail once with EINTR and work when called again */
	bool has_space; /* writes beyond `space` bytes from now give ENOSPC, the last one short */
	uint64_t space;
};

void file_faulty_into(struct larder_sys *sys, const struct file_faulty_plan *plan);
void file_faulty_set(const struct file_faulty_plan *plan);
long file_faulty_calls(void); /* counted calls since */
bool file_faulty_failed(void);
long file_faulty_open(void); /* descriptors opened and not closed since */

/* Clock: stands still at `now` until it is moved; both clocks move together, mono from 1 s. */
void clock_fixed_into(struct larder_sys *sys, int64_t now_ns);
void clock_fixed_set(int64_t now_ns);
void clock_fixed_advance(int64_t ns);
void clock_fixed_jump(int64_t now_ns); /* only the wall clock, in either direction */

/* Random bytes that are the same in every run; fails once `calls_left` calls were made. */
void random_seeded_into(struct larder_sys *sys, uint64_t seed);
void random_seeded_set(uint64_t seed);
void random_seeded_fail_after(long calls);

#endif
