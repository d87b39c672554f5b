#ifndef LARDER_TYPES_H
#define LARDER_TYPES_H

/*
 * The words that everybody uses: status codes, the error value, ids.
 * C standard headers only, no functions. Folded into <larder.h> when installed.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define LARDER_API __attribute__((visibility("default")))
#define LARDER_MUST_USE __attribute__((warn_unused_result))
#define LARDER_PRINTF(fmt, args) __attribute__((format(printf, fmt, args)))
#else
#define LARDER_API
#define LARDER_MUST_USE
#define LARDER_PRINTF(fmt, args)
#endif

/*
 * What can go wrong, as far as a caller reacts differently.
 * X(name, value, code in JSON, text). Values are promised and never reused.
 */
#define LARDER_STATUS_LIST(X)                                                                      \
	X(NOT_FOUND, -2, "not_found", "not found")                                                 \
	X(EXISTS, -3, "exists", "exists already")                                                  \
	X(CORRUPT, -4, "corrupt", "damaged")                                                       \
	X(VERSION, -5, "version", "needs a newer larder")                                          \
	X(BUSY, -6, "busy", "held by another")                                                     \
	X(IO, -7, "io", "input or output failed")                                                  \
	X(NO_SPACE, -8, "no_space", "no space left")                                               \
	X(NOMEM, -9, "nomem", "out of memory")                                                     \
	X(LIMIT, -10, "limit", "beyond a limit")                                                   \
	X(REMOTE, -11, "remote", "the remote failed")                                              \
	X(REFUSED, -12, "refused", "refused")                                                      \
	X(USAGE, -13, "usage", "wrong usage")                                                      \
	X(PARTIAL, -14, "partial", "partly done")                                                  \
	X(CANCELLED, -15, "cancelled", "interrupted")

enum larder_status {
	LARDER_OK = 0,
#define LARDER_STATUS_ENUM(name, value, code, text) LARDER_ERR_##name = value,
	LARDER_STATUS_LIST(LARDER_STATUS_ENUM)
#undef LARDER_STATUS_ENUM
};

/*
 * An error is a value with a sentence in it. Caller's storage; every function
 * that takes one accepts NULL. `message` says what was being done and what is
 * wrong; `hint` (may be empty) says what to do. sys_errno is 0 or an errno.
 */
struct larder_err {
	enum larder_status status;
	int sys_errno;
	char message[512];
	char hint[160];
};

#define LARDER_ID_LEN 32

/* The name of an object: SHA-256 of its plain bytes. */
struct larder_id {
	uint8_t bytes[LARDER_ID_LEN];
};

#endif
