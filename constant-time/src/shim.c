/* The client requests of valgrind as functions: they are macros, and so nothing that Rust could call. */

#include <stddef.h>
#include <valgrind/memcheck.h>

void moteseal_undefined(const void *start, size_t len) { (void)VALGRIND_MAKE_MEM_UNDEFINED(start, len); }

void moteseal_defined(const void *start, size_t len) { (void)VALGRIND_MAKE_MEM_DEFINED(start, len); }

unsigned moteseal_flagged(void) { return VALGRIND_COUNT_ERRORS; }

unsigned moteseal_is_watched(void) { return RUNNING_ON_VALGRIND; }
