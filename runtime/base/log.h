/* log: writes one line per event to stderr or a file, from any thread or process, as
 * logfmt or JSON.
 *
 *   ts=2026-11-23T06:17:30.123Z level=info who=worker:3 pid=4711 msg="..." key=value …
 *
 * Logging never blocks. A line is lost if a pipe or the disk has no room for it; a later
 * line says how many were lost. A line is one write(2) of at most 4096 bytes to a
 * descriptor opened with O_APPEND, so lines of several processes never mix. There is one
 * log per process tree. It is opened before the forks, and each process reopens it on its
 * own. */
#ifndef DIRTY_LOG_H
#define DIRTY_LOG_H

#include <stdbool.h>
#include <stddef.h>

typedef enum dirty_log_level {
    DIRTY_LOG_DEBUG,
    DIRTY_LOG_INFO,
    DIRTY_LOG_WARN,
    DIRTY_LOG_ERROR
} dirty_log_level;

/* Log to `path` (copied; NULL: stderr), from `level` up. The file is opened by the rules
 * of base/safe_file.h: a new file belongs to the user set there, and a FIFO or a device
 * is accepted if the path is ours. Returns 0, or a negative code of that header with the
 * log unchanged. Before the first call, lines from level info up go to stderr. */
int dirty_log_open(const char *path, dirty_log_level level);

/* Log to `fd` (owned), a pipe to the process that has the file and writes our lines with
 * dirty_log_pass. Reopening is then a no-op here. Closes the previous log. */
void dirty_log_relay(int fd);

/* Copy errors to stderr too, if the log is elsewhere. Used during a start, which somebody
 * watches. Applies to this process and the ones it forks. */
void dirty_log_echo(bool on);

/* Set the descriptor of the real stderr, for dirty_log_echo, while descriptor 2 is
 * redirected. */
void dirty_log_stderr(int fd);

/* Log an error that was already written to stderr. Written only if the log is elsewhere,
 * and not copied to stderr or the tap. */
void dirty_log_told(const char *msg);

/* Write a line that another process has made: `len` bytes without control characters and
 * without the newline. */
void dirty_log_pass(const char *line, size_t len);

/* Write lines from `level` up from now on, in this process and those it forks. */
void dirty_log_set_level(dirty_log_level level);

/* The same by the name of the level. Ignores others, and NULL. */
void dirty_log_set_level_name(const char *name);

/* Write lines in this format from now on. TEXT is for people: a text with newlines, such
 * as a traceback, gets lines of its own. */
typedef enum dirty_log_format {
    DIRTY_LOG_LOGFMT,
    DIRTY_LOG_JSON,
    DIRTY_LOG_TEXT
} dirty_log_format;
void dirty_log_as(dirty_log_format format);

/* Open the file by its path again, after it was rotated. Returns 0, or a negative code of
 * base/safe_file.h with the old file kept. */
int dirty_log_reopen(void);

/* The file's path. NULL: stderr, or a pipe to another process. */
const char *dirty_log_path(void);

/* Keep logging to the current stderr, though descriptor 2 is about to be replaced in this
 * process. No-op if the log is a file. */
void dirty_log_keep(void);

/* The descriptor of the log, for a child that keeps it. 2 if it is stderr. */
int dirty_log_fd(void);

/* Set the field `who` of this process: "arbiter", "worker:3". Copied, cut at 31 bytes. */
void dirty_log_who(const char *who);

/* Pass a copy of each error to `tap`: message and fields as logfmt, without time and
 * sender. NULL: no tap. */
void dirty_log_tap(void (*tap)(const char *text, size_t len));

/* Whether lines of this level are written. */
bool dirty_log_takes(dirty_log_level level);

/* Parse "debug", "info", "warn" or "error". Returns the level, or -1 for anything
 * else. */
int dirty_log_level_parse(const char *name);

/* Log `msg` and fields. `format` makes the fields as logfmt text; "" for none. Pass
 * values that may hold spaces or quotes through DIRTY_LOG_QUOTE and %s. Controls
 * (base/utf8.h) and invalid UTF-8 become '?'. */
void dirty_log(dirty_log_level level, const char *msg, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Log `msg` without fields. */
void dirty_log_msg(dirty_log_level level, const char *msg);

/* Advice for the field "remedy" if the negative errno means that a resource ran out. ""
 * for others. */
const char *dirty_log_remedy(int negative_errno);

/* Room for one quoted value, on the caller's stack:
 *
 *   dirty_log(DIRTY_LOG_WARN, "app failed", "reason=%s", DIRTY_LOG_QUOTE(reason)); */
typedef struct dirty_log_quoted {
    char text[1024];
} dirty_log_quoted;
const char *dirty_log_quote(dirty_log_quoted *room, const char *text);
#define DIRTY_LOG_QUOTE(text) dirty_log_quote(&(dirty_log_quoted){{0}}, (text))

#endif
