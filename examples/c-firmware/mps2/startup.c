/* From reset to main: the vector table, memory as C expects it, and an end for every exception.
 *
 * No interrupt is ever taken: PRIMASK stays set, and interrupts only end the sleep in clock.c. What arrives here is a
 * fault. */

#include <stdint.h>
#include <string.h>

#include "semihosting.h"

extern uint32_t stack_top;
extern uint8_t data_start, data_end, data_load, bss_start, bss_end;

int main(void);

_Noreturn void reset(void);
_Noreturn void tell_fault(void);

_Noreturn void reset(void)
{
    __asm volatile("cpsid i" ::: "memory");
    memcpy(&data_start, &data_load, (size_t)(&data_end - &data_start));
    memset(&bss_start, 0, (size_t)(&bss_end - &bss_start));
    semihosting_exit(main());
}

/* Named by the instructions below. */
__attribute__((used)) _Noreturn void tell_fault(void)
{
    static const char text[] = "stopped: fault of the processor\n";
    semihosting_say(text, sizeof text - 1);
    semihosting_exit(1);
}

/* The stack may be what is at fault: on one that has overflowed not even a message can be put together. What is on it is
 * of no use any more. */
__attribute__((naked)) static void fault(void)
{
    __asm volatile("ldr r0, =stack_top\n\tmov sp, r0\n\tb tell_fault");
}

/* The stack, reset, and the fourteen exceptions of the core; interrupts of the board are never taken. */
struct vectors {
    const uint32_t *stack;
    void (*handlers[15])(void);
};

__attribute__((section(".vectors"), used)) static const struct vectors vectors = {
    &stack_top,
    { reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, fault, 0, fault, fault },
};
