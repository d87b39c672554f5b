#ifndef LARDER_INDEX_ENV_H
#define LARDER_INDEX_ENV_H

/*
 * What the files of this room share: the open environment, transactions, and
 * the trap around every call into LMDB. Nobody else includes this.
 */
#include <lmdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <sys/types.h>

#include "cas/base/err.h"
#include "index/index.h"
#include "index/row.h"
#include "index/session.h"

enum {
	ENV_OPEN_MAX = 64, /* environments open in one process: what index_fault() looks through */
	ENV_READERS_MAX = 1022, /* read transactions of all processes at a time */
	ENV_IDLE_MAX = 64,      /* ended read handles kept for the next index_read_begin() */
	ENV_CHECK_S = 60,       /* between looks for readers that died */
};

/* One open data.mdb; all handles of the process share it. */
struct env {
	/* fixed once it is open */
	pid_t pid;
	dev_t dev;
	ino_t ino;
	bool scratch;
	struct id16 store;
	uint64_t seed;
	int dir_fd;
	struct session session;
	MDB_env *lmdb;
	MDB_dbi main, dbi[TABLE_COUNT];
	unsigned slot; /* in damage.c's table of maps */

	/* the lock of the registry */
	struct env *next;
	unsigned handles;

	/* changes only behind the closed gate */
	const uint8_t *map; /* NULL: lost, nothing begins any more */
	size_t map_len;
	size_t page_size;

	/* The gate: transactions pass it; the map changes while it is closed and nobody is inside.
	 */
	atomic_uint inside;
	atomic_bool closed;
	pthread_mutex_t gate_lock; /* closed's changes, and waiting */
	pthread_cond_t gate_moved;

	/* lock */
	pthread_mutex_t lock;
	struct index_read *idle; /* transactions reset, slots in LMDB's reader table kept */
	unsigned idle_count;
	int64_t checked_ns;       /* last look for dead readers ... */
	size_t checked_pages;     /* ... and how long the file was then */
	struct larder_err poison; /* status 0: healthy */

	atomic_bool wrote;  /* a commit succeeded: note the end */
	atomic_bool failed; /* a commit or sync failed: do not */
};

struct index {
	struct env *env;
};

struct index_read {
	struct env *env;
	MDB_txn *txn;
	struct index_write *write;        /* NULL: a transaction of its own */
	bool begun;                       /* txn is live, and inside the gate */
	const uint8_t *end;               /* of what this snapshot can have mapped */
	MDB_cursor *cursors[TABLE_COUNT]; /* kept for the next use; not for write transactions */
	unsigned cursors_busy, cursors_stale; /* bits */
	struct index_read *next;
};

struct index_write {
	struct index_read view;
	struct row_sums sums;
	bool changed;
	bool map_full;
	int failed;       /* the first failure inside LMDB: the transaction is lost */
	uint64_t touched; /* an upper estimate of changed pages, in 1/64 */
	struct buf value; /* scratch for encoders */
};

/*
 * Around each call into LMDB, and each look at mapped bytes. LMDB asserts what
 * it reads from the file; an assertion that fails inside a trap that jumps ends
 * the call as MDB_CORRUPTED. Only calls that change nothing may be left by a
 * jump; from the others it becomes a fault (index_fault).
 */
struct trap {
	struct env *env;
	struct trap *outer;
	bool jumps;
	jmp_buf at;
};
extern _Thread_local struct trap *env_trap;

static inline void
trap_enter(struct trap *trap, struct env *env, bool jumps)
{
	trap->env = env;
	trap->outer = env_trap;
	trap->jumps = jumps;
	env_trap = trap;
}

static inline void
trap_leave(const struct trap *trap)
{
	env_trap = trap->outer;
}

#define ENV_DATA "data.mdb"
#define ENV_LOCK "lock.mdb"

/* ---- env.c ---- */

/* USAGE in a forked child. */
LARDER_MUST_USE int env_is_ours(const struct env *env, struct larder_err *err);
/* The same by asking the system, for a process made without libc's fork: once per transaction. */
LARDER_MUST_USE int env_is_this_process(const struct env *env, struct larder_err *err);

/* ---- opening.c ---- */

/* env->dir_fd is open. After an error the environment is half open, and good for closing. */
LARDER_MUST_USE int env_open(struct env *env, bool create, struct larder_err *err);

/* ---- gate.c ---- */

LARDER_MUST_USE int gate_init(struct env *env, struct larder_err *err);
void gate_release(struct env *env);
void gate_enter(struct env *env);
void gate_leave(struct env *env);
/*
 * A larger map, from outside the gate: twice what it was when this process
 * filled it, or as large as another process made the file. `seen` is how long
 * it was for the caller, in case somebody was faster. BUSY, LIMIT, NOMEM.
 */
LARDER_MUST_USE int gate_grow_map(struct env *env, size_t seen, struct larder_err *err);
size_t gate_map_len(void); /* of a new map */
/* The head, in a transaction of its own; finds out where the map lies. */
LARDER_MUST_USE int env_read_head(struct row_head *head, struct env *env, struct larder_err *err);

/* ---- txn.c ---- */

void env_check_readers(struct env *env);
void env_free_idle(struct env *env);

/* ---- damage.c ---- */

LARDER_MUST_USE int env_take_slot(struct env *env, struct larder_err *err); /* LIMIT */
void env_give_slot(struct env *env);
void env_note_map(struct env *env, const uint8_t *start, size_t len); /* len 0: there is none */
void env_on_assert(MDB_env *lmdb, const char *message);
/* LMDB's code as a status and a sentence; damage is doubted. NOT_FOUND leaves err alone. */
int env_err(struct env *env, int code, struct larder_err *err, const char *what);
/* A value that its check or its decoder refuses: counted, doubted, CORRUPT. */
int env_bad_value(struct env *env, enum index_table table, struct larder_err *err);

/* For tests: the size of maps that are opened from now on; 0 = the default. */
extern size_t env_map_len_start;
/* For tests: how long the map waits for reads of this process to end before it gives up growing. */
extern unsigned env_gate_wait_ms;
/* For tests: take every end for a clean one, as if the disk had changed bytes without a trace. */
extern bool env_trusts_blindly;

#endif
