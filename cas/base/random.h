#ifndef LARDER_RANDOM_H
#define LARDER_RANDOM_H

/* Unpredictable bytes through the seam (getrandom by default). */
#include "cas/types.h"

LARDER_MUST_USE int random_bytes(void *buf, size_t len, struct larder_err *err);

#endif
