#ifndef CLI_OPT_H
#define CLI_OPT_H

/*
 * Options by table. SIZE, TIME, AGE and the other kinds of values are parsed
 * here only, while the command line is read: a command sees values that are right.
 */
#include "cas/larder.h"

enum opt_kind {
	OPT_FLAG = 0, /* no value */
	OPT_TEXT,     /* anything */
	OPT_FILE,     /* a path; completion offers files */
	OPT_COUNT,    /* 1 and more */
	OPT_SIZE,     /* bytes: digits, then nothing or K M G T */
	OPT_TIME,     /* RFC 3339, YYYY-MM-DD, or an AGE before now */
	OPT_PERCENT,  /* more than 0, at most 100 */
	OPT_ID,       /* 64 hex digits */
	OPT_PAIR,     /* K=V */
	OPT_CHOICE,   /* one of the words in `value` */
	OPT_LATER     /* of the contract, but not in this version: refused, not shown */
};

struct opt {
	char letter;      /* 0 = none */
	const char *name; /* NULL ends a table */
	enum opt_kind kind;
	const char *value; /* how help calls it; for a choice "auto|always|never" */
	const char *help;  /* NULL: there, but not shown */
};

/* An option that was given, with its value read. */
struct opt_given {
	const struct opt *opt;
	const char *text;
	union {
		uint64_t number; /* COUNT, SIZE */
		int64_t time_ns;
		double percent;
		struct larder_id id;
	} value;
};

/* All that was given, in order. Zeroed is empty; opts_release() frees. */
struct opts {
	struct opt_given *given;
	size_t count;
	char **operands; /* the rest, in order; lent by argv */
	int operand_count;
};

/*
 * Read argv from argv[*at] on. Options may stand among the operands; "--" ends
 * them. With `first_only` reading stops at the first operand, which is left.
 * Options are looked for in both tables (the second may be NULL).
 */
int opts_parse(struct opts *out, int argc, char *argv[], int *at, bool first_only,
    const struct opt *globals, const struct opt *options, struct larder_err *err);
void opts_release(struct opts *opts);

/* Asked by name. The last one given counts; NULL or false when there is none. */
const struct opt_given *opts_find(const struct opts *opts, const char *name);
bool opts_has(const struct opts *opts, const char *name);
const char *opts_text(const struct opts *opts, const char *name);
size_t opts_count(const struct opts *opts, const char *name);

/* Values, also for settings.c. 0 or USAGE with the reason in *err. */
int opt_parse_count(uint64_t *out, const char *text, struct larder_err *err);
int opt_parse_size(uint64_t *out, const char *text, struct larder_err *err);
int opt_parse_age(int64_t *out_ns, const char *text, struct larder_err *err);
int opt_parse_time(int64_t *out_ns, const char *text, int64_t now_ns, struct larder_err *err);
int opt_parse_percent(double *out, const char *text, struct larder_err *err);
int opt_parse_id(struct larder_id *out, const char *text, struct larder_err *err);
/* One of the words in "a|b|c". */
int opt_parse_choice(const char *text, const char *choices, struct larder_err *err);

/*
 * A NAME as CLI.md allows it, looked at before a store is made for it: a wrong
 * name must change nothing.
 */
int opt_check_name(const char *name, struct larder_err *err);

/* How many edits turn a into b; for "did you mean". */
unsigned opt_distance(const char *a, const char *b);

#endif
