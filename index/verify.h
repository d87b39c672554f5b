#ifndef LARDER_INDEX_VERIFY_H
#define LARDER_INDEX_VERIFY_H

/* Every page and every row of a data.mdb, by pread; for env.c and index_verify(). */
#include "index/index.h"

/*
 * The newest state of a file that nobody writes to. Findings go to `found` (may
 * be NULL), the first one to err. CORRUPT when there is any.
 */
LARDER_MUST_USE int verify_file(
    int data_fd, index_found_fn found, void *context, struct larder_err *err);

#endif
