#ifndef LARDER_TRACE_H
#define LARDER_TRACE_H

/* Counters that -v, status and bench read; relaxed atomics; no output. */
#include <stdint.h>

#define TRACE_LIST(X)                                                                              \
	X(files_read) X(bytes_read) X(bytes_hashed) X(chunks_known) X(chunks_new) X(deltas_tried)  \
	X(deltas_kept) X(segments_written) X(packs_sealed) X(syncs) X(index_commits)               \
	X(segments_decoded) X(segments_cached) X(index_bad_values)

enum trace_counter {
#define TRACE_ENUM(name) TRACE_##name,
	TRACE_LIST(TRACE_ENUM)
#undef TRACE_ENUM
	TRACE_COUNT
};

void trace_add(enum trace_counter counter, uint64_t n);
uint64_t trace_get(enum trace_counter counter);
const char *trace_name(enum trace_counter counter);

#endif
