#ifndef LARDER_CLOCK_H
#define LARDER_CLOCK_H

/*
 * Time through the seam. All times are int64 nanoseconds since
 * 1970-01-01T00:00:00Z (years 1678 to 2262).
 */
#include "cas/types.h"

int64_t clock_now_ns(void);
int64_t clock_mono_ns(void);

enum { CLOCK_TEXT_LEN = 31 }; /* "2026-11-20T17:55:45.123456789Z" and NUL */

/* RFC 3339 in UTC with nanoseconds (trailing zeros of the fraction cut; no fraction when zero). */
void clock_to_text(char out[CLOCK_TEXT_LEN], int64_t ns);
/* RFC 3339 (any offset, fraction up to 9 digits) or YYYY-MM-DD; false when it is neither. */
bool clock_from_text(int64_t *ns, const char *text);

#endif
