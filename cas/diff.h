#ifndef LARDER_DIFF_H
#define LARDER_DIFF_H

/*
 * What becomes of one directory or file on the way to another. For larder_diff
 * and larder_similar. The rules stand at the head of diff.c.
 */
#include "cas/larder.h"
#include "cas/spec.h"

/*
 * fn's non-zero answer stops and is returned. Equal subtrees (and, with attributes on
 * both sides, equal attributes) are not opened. `contents`: attributes are not looked at.
 */
LARDER_MUST_USE int diff_targets(struct fetch_reader *reader, const struct spec_target *a,
    const struct spec_target *b, bool contents, larder_diff_fn fn, void *context,
    struct larder_err *err);

#endif
