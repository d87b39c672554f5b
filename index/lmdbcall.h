#ifndef LARDER_INDEX_LMDBCALL_H
#define LARDER_INDEX_LMDBCALL_H

/*
 * LMDB's calls that look at pages, each in a trap (env.h); same arguments, same
 * answers. An assertion of LMDB is MDB_CORRUPTED from those that change nothing,
 * and a fault from the others.
 */
#include "index/env.h"

LARDER_MUST_USE int lmdb_open(struct env *env, const char *path, unsigned flags);
LARDER_MUST_USE int lmdb_sync(struct env *env);
LARDER_MUST_USE int lmdb_begin(struct env *env, unsigned flags, MDB_txn **txn);
LARDER_MUST_USE int lmdb_renew(struct env *env, MDB_txn *txn);
LARDER_MUST_USE int lmdb_commit(struct env *env, MDB_txn *txn);
void lmdb_abort(struct env *env, MDB_txn *txn);

/* By the transaction of the handle. */
LARDER_MUST_USE int lmdb_table_open(
    struct index_read *read, const char *name, unsigned flags, MDB_dbi *dbi);
LARDER_MUST_USE int lmdb_stat(struct index_read *read, MDB_dbi dbi, MDB_stat *stat);
LARDER_MUST_USE int lmdb_get(struct index_read *read, MDB_dbi dbi, MDB_val *key, MDB_val *value);
LARDER_MUST_USE int lmdb_cursor_open(struct index_read *read, MDB_dbi dbi, MDB_cursor **cursor);
LARDER_MUST_USE int lmdb_cursor_renew(struct index_read *read, MDB_cursor *cursor);
LARDER_MUST_USE int lmdb_cursor_get(
    struct index_read *read, MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op);

LARDER_MUST_USE int lmdb_put(
    struct index_write *write, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags);
LARDER_MUST_USE int lmdb_del(struct index_write *write, MDB_dbi dbi, MDB_val *key);
LARDER_MUST_USE int lmdb_clear(struct index_write *write, MDB_dbi dbi);

#endif
