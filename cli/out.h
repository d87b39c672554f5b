#ifndef CLI_OUT_H
#define CLI_OUT_H

/*
 * The only place that prints.
 *
 * 1. With --json a result is one object a line, and the last line is the one of
 *    out_done() or out_error(). Nothing else is on that stream.
 * 2. A string that is not UTF-8 appears in JSON with U+FFFD in place of each wrong
 *    byte, and beside it a field <key>_hex has all its bytes.
 * 3. Text is for people: what comes from outside (names, paths, messages) is
 *    printed with control bytes, wrong bytes and direction marks as \xHH, since a
 *    name must not be able to drive a terminal. In names a backslash is \\.
 * 4. Lines leave whole: a run that dies between two of them leaves no half line.
 */
#include "cas/larder.h"
#include "cli/cmd.h"

enum out_paint { OUT_PLAIN = 0, OUT_BOLD, OUT_RED, OUT_GREEN, OUT_YELLOW, OUT_BLUE, OUT_CYAN };

/* `color` is auto, always or never. */
void out_setup(bool json, const char *color);
bool out_is_json(void);
/* The result is bytes, written by somebody else: JSON goes to stderr. */
void out_json_to_stderr(void);
bool out_json_on_stderr(void);

/* ---- JSON; calls do nothing in text mode ---- */
void out_begin(void);
void out_text(const char *key, const char *value); /* NULL: null */
void out_number(const char *key, uint64_t value);
void out_signed(const char *key, int64_t value);
void out_real(const char *key, double value); /* three decimals */
void out_bool(const char *key, bool value);
void out_id(const char *key, const struct larder_id *id); /* NULL or all zero: null */
void out_time(const char *key, int64_t ns);               /* 0: null */
void out_list(const char *key, const char *const *values, size_t count);
void out_tags(const char *key, const struct larder_tag *tags, size_t count);
void out_options(const char *key, const struct opt *options);
void out_end(void);
/* Begin the last line; fields may follow, out_end() ends it. */
void out_done(enum cli_exit code);

/* ---- text; calls do nothing in JSON mode ---- */
void out_print(const char *fmt, ...) LARDER_PRINTF(1, 2);
/* Something from outside, escaped. */
void out_name(const char *name);
/* A sentence that may quote something from outside: the same, but a backslash stays one. */
void out_message(const char *text);
/* What follows, until OUT_PLAIN. Nothing when there is no colour. */
void out_paint(enum out_paint paint);
/* A script or a page: printed as it is, in either mode. */
void out_verbatim(const char *text);

/* Let the reader have it now. */
void out_flush(void);
/* True when nobody can read what is printed: full disk, closed pipe. */
bool out_broken(void);
/* At the end: the exit code, unless printing failed. */
enum cli_exit out_finish(const struct cli *cli, enum cli_exit code);

/* ---- stderr ---- */
/* "larder: COMMAND: message; hint", and with --json the error object. */
void out_error(
    const struct cmd *cmd, int status, enum cli_exit code, const char *message, const char *hint);
/* "larder: COMMAND: path: message" */
void out_item(const struct cmd *cmd, const char *path, const char *message);
/* "larder: line" */
void out_notice(const char *line);
/* One line that is overwritten by what comes next; NULL takes it away. */
void out_progress(const char *line);
bool out_stderr_is_terminal(void);
unsigned out_stderr_columns(void);

/* ---- words for numbers; into the caller's buffer, which is returned ---- */
enum { OUT_WORD = 48 };
const char *out_word_bytes(char word[OUT_WORD], uint64_t bytes); /* "1.5 MiB" */
const char *out_word_count(char word[OUT_WORD], uint64_t count); /* "1,234,567" */
const char *out_word_rate(char word[OUT_WORD], uint64_t bytes, double seconds);
const char *out_word_time(char word[OUT_WORD], int64_t ns); /* RFC 3339, seconds, UTC */
const char *out_word_id(char word[OUT_WORD], const struct larder_id *id); /* 12 digits */

#endif
