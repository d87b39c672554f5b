#ifndef LARDER_WRITEBACK_H
#define LARDER_WRITEBACK_H

/*
 * Asks the kernel to begin writing out what large files were given, while the
 * next bytes are still being decoded; else the disk would stand idle until the
 * page cache is full or somebody calls sync. Hints only: one thread makes the
 * calls, because they block when the disk's queue is full, and when it does not
 * keep up hints are dropped. Nothing waits for the disk.
 */
#include "cas/types.h"

struct writeback;

LARDER_MUST_USE int writeback_open(struct writeback **out, struct larder_err *err);
/* The thread starts with the first hint. The descriptor may be closed afterwards. */
void writeback_hint(struct writeback *writeback, int fd, uint64_t at, uint64_t len);
void writeback_close(struct writeback *writeback); /* drops what waits; NULL is fine */

#endif
