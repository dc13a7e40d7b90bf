/* What the debugger does for the program, here QEMU: files of the host, its stdout, the command line, the end.
 * ARM's "Semihosting for AArch32 and AArch64". */

#ifndef SEMIHOSTING_H
#define SEMIHOSTING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A file of the host. */
typedef struct {
    int32_t handle;
} semihosting_file;

enum semihosting_mode {
    SEMIHOSTING_READ = 1,   /* "rb" */
    SEMIHOSTING_UPDATE = 3, /* "r+b" */
    SEMIHOSTING_WRITE = 5,  /* "wb" */
};

bool semihosting_open(semihosting_file *file, const char *path, enum semihosting_mode mode);

/* The length in bytes, negative if it has none. */
int32_t semihosting_len(semihosting_file file);

/* Both do the whole of it or fail. */
bool semihosting_read(semihosting_file file, void *bytes, size_t len);
bool semihosting_write_at(semihosting_file file, size_t offset, const void *bytes, size_t len);

/* Writes to stdout. What the host does not take is lost. */
void semihosting_say(const char *text, size_t len);

/* The command line, zero-terminated; fails if it does not fit. */
bool semihosting_command_line(char *line, size_t capacity);

_Noreturn void semihosting_exit(int status);

#endif
