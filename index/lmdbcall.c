/*
 * LMDB's calls in traps.
 *
 * Those that jump leave nothing behind: a cursor on their stack, at most the
 * memory of one that was being opened. The others have pages half changed or
 * locks taken, and may not be left; then LMDB's assertion becomes a fault.
 */
#include "index/lmdbcall.h"

/* ---- without a way out ---- */

int
lmdb_open(struct env *env, const char *path, unsigned flags)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_env_open(env->lmdb, path, flags, 0600);
	trap_leave(&trap);
	return rc;
}

int
lmdb_sync(struct env *env)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_env_sync(env->lmdb, 1);
	trap_leave(&trap);
	return rc;
}

int
lmdb_begin(struct env *env, unsigned flags, MDB_txn **txn)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_txn_begin(env->lmdb, NULL, flags, txn);
	trap_leave(&trap);
	return rc;
}

int
lmdb_renew(struct env *env, MDB_txn *txn)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_txn_renew(txn);
	trap_leave(&trap);
	return rc;
}

int
lmdb_commit(struct env *env, MDB_txn *txn)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, env, false);
	rc = mdb_txn_commit(txn);
	trap_leave(&trap);
	return rc;
}

void
lmdb_abort(struct env *env, MDB_txn *txn)
{
	struct trap trap;

	trap_enter(&trap, env, false);
	mdb_txn_abort(txn);
	trap_leave(&trap);
}

int
lmdb_put(struct index_write *write, MDB_dbi dbi, MDB_val *key, MDB_val *value, unsigned flags)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, write->view.env, false);
	rc = mdb_put(write->view.txn, dbi, key, value, flags);
	trap_leave(&trap);
	return rc;
}

int
lmdb_del(struct index_write *write, MDB_dbi dbi, MDB_val *key)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, write->view.env, false);
	rc = mdb_del(write->view.txn, dbi, key, NULL);
	trap_leave(&trap);
	return rc;
}

int
lmdb_clear(struct index_write *write, MDB_dbi dbi)
{
	struct trap trap;
	int rc;

	trap_enter(&trap, write->view.env, false);
	rc = mdb_drop(write->view.txn, dbi, 0);
	trap_leave(&trap);
	return rc;
}

/* ---- with one ---- */

int
lmdb_table_open(struct index_read *read, const char *name, unsigned flags, MDB_dbi *dbi)
{
	struct trap trap;
	int rc;

	if (_setjmp(trap.at) != 0)
		return MDB_CORRUPTED;
	trap_enter(&trap, read->env, read->write == NULL);
	rc = mdb_dbi_open(read->txn, name, flags, dbi);
	trap_leave(&trap);
	return rc;
}

int
lmdb_stat(struct index_read *read, MDB_dbi dbi, MDB_stat *stat)
{
	struct trap trap;
	int rc;

	if (_setjmp(trap.at) != 0)
		return MDB_CORRUPTED;
	trap_enter(&trap, read->env, true);
	rc = mdb_stat(read->txn, dbi, stat);
	trap_leave(&trap);
	return rc;
}

int
lmdb_get(struct index_read *read, MDB_dbi dbi, MDB_val *key, MDB_val *value)
{
	struct trap trap;
	int rc;

	if (_setjmp(trap.at) != 0)
		return MDB_CORRUPTED;
	trap_enter(&trap, read->env, true);
	rc = mdb_get(read->txn, dbi, key, value);
	trap_leave(&trap);
	return rc;
}

int
lmdb_cursor_open(struct index_read *read, MDB_dbi dbi, MDB_cursor **cursor)
{
	struct trap trap;
	int rc;

	if (_setjmp(trap.at) != 0)
		return MDB_CORRUPTED;
	trap_enter(&trap, read->env, true);
	rc = mdb_cursor_open(read->txn, dbi, cursor);
	trap_leave(&trap);
	return rc;
}

int
lmdb_cursor_renew(struct index_read *read, MDB_cursor *cursor)
{
	struct trap trap;
	int rc;

	if (_setjmp(trap.at) != 0)
		return MDB_CORRUPTED;
	trap_enter(&trap, read->env, true);
	rc = mdb_cursor_renew(read->txn, cursor);
	trap_leave(&trap);
	return rc;
}

int
lmdb_cursor_get(
    struct index_read *read, MDB_cursor *cursor, MDB_val *key, MDB_val *value, MDB_cursor_op op)
{
	struct trap trap;
	int rc;

	if (_setjmp(trap.at) != 0)
		return MDB_CORRUPTED;
	trap_enter(&trap, read->env, true);
	rc = mdb_cursor_get(cursor, key, value, op);
	trap_leave(&trap);
	return rc;
}
