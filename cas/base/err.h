#ifndef LARDER_ERR_H
#define LARDER_ERR_H

/*
 * Filling the caller's struct larder_err (which may be NULL everywhere).
 * The place that detects says what is wrong (err_set, err_sys) and, if it
 * knows, what to do (err_hint); a place that knows what was being done puts it
 * in front (err_prefix: "prefix: message"). Nobody overwrites.
 */
#include "cas/types.h"

/* All return the status, so that `return err_set(...)` is one line. */
int err_set(struct larder_err *err, enum larder_status status, const char *fmt, ...)
    LARDER_PRINTF(3, 4);
/*
 * From errno as it stands: IO, or NO_SPACE for ENOSPC, EDQUOT and EFBIG, NOMEM
 * for ENOMEM, NOT_FOUND for ENOENT; "message: strerror" and sys_errno.
 */
int err_sys(struct larder_err *err, const char *fmt, ...) LARDER_PRINTF(2, 3);
int err_nomem(struct larder_err *err);
void err_prefix(struct larder_err *err, const char *fmt, ...) LARDER_PRINTF(2, 3);
void err_hint(struct larder_err *err, const char *fmt, ...) LARDER_PRINTF(2, 3);

const char *err_code(enum larder_status status); /* "not_found": the code in JSON; "ok" for 0 */
const char *err_text(enum larder_status status);

#endif
