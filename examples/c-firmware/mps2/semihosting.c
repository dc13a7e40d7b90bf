/* Semihosting calls: a breakpoint with the number of the operation and a block of arguments. */

#include "semihosting.h"

#include <string.h>

enum operation {
    SYS_OPEN = 0x01,
    SYS_WRITE = 0x05,
    SYS_READ = 0x06,
    SYS_SEEK = 0x0A,
    SYS_FLEN = 0x0C,
    SYS_GET_CMDLINE = 0x15,
    SYS_EXIT_EXTENDED = 0x20,
};

/* The reason that SYS_EXIT_EXTENDED gives: the program has ended by itself. */
#define APPLICATION_EXIT 0x20026u

static int32_t call(enum operation operation, void *arguments)
{
    register uint32_t r0 __asm("r0") = (uint32_t)operation;
    register void *r1 __asm("r1") = arguments;
    __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return (int32_t)r0;
}

static uint32_t address(const void *pointer)
{
    return (uint32_t)(uintptr_t)pointer;
}

bool semihosting_open(semihosting_file *file, const char *path, enum semihosting_mode mode)
{
    uint32_t block[] = { address(path), (uint32_t)mode, strlen(path) };
    file->handle = call(SYS_OPEN, block);
    return file->handle >= 0;
}

int32_t semihosting_len(semihosting_file file)
{
    uint32_t block[] = { (uint32_t)file.handle };
    return call(SYS_FLEN, block);
}

/* Reading and writing answer how many bytes were left over. */
bool semihosting_read(semihosting_file file, void *bytes, size_t len)
{
    uint32_t block[] = { (uint32_t)file.handle, address(bytes), len };
    return call(SYS_READ, block) == 0;
}

bool semihosting_write_at(semihosting_file file, size_t offset, const void *bytes, size_t len)
{
    uint32_t seek[] = { (uint32_t)file.handle, offset };
    uint32_t write[] = { (uint32_t)file.handle, address(bytes), len };
    return call(SYS_SEEK, seek) == 0 && call(SYS_WRITE, write) == 0;
}

void semihosting_say(const char *text, size_t len)
{
    static semihosting_file out;
    static bool is_open;
    /* The host's console opened for writing is its stdout. */
    is_open = is_open || semihosting_open(&out, ":tt", SEMIHOSTING_WRITE);
    if (is_open) {
        uint32_t block[] = { (uint32_t)out.handle, address(text), len };
        call(SYS_WRITE, block);
    }
}

bool semihosting_command_line(char *line, size_t capacity)
{
    uint32_t block[] = { address(line), capacity };
    return call(SYS_GET_CMDLINE, block) == 0;
}

_Noreturn void semihosting_exit(int status)
{
    uint32_t block[] = { APPLICATION_EXIT, (uint32_t)status };
    for (;;) {
        call(SYS_EXIT_EXTENDED, block);
    }
}
