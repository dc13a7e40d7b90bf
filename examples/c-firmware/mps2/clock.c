/* Time from a free-running 32-bit timer, and sleep that SysTick ends.
 *
 * SysTick alone would do, with an interrupt at each tick that counts. Where a debugger, or an emulator that writes a
 * file, holds the core for a while, ticks are lost and that clock is slow: commands would look younger than they are
 * (SPEC 9.6). The difference between two readings of a timer of 171 seconds loses nothing.
 *
 * Interrupts are masked for good (startup.c). A masked interrupt that is pending still ends WFI, so nothing is missed
 * between looking and sleeping, and no handler runs beside the program. */

#include "clock.h"

#define REGISTER(address) (*(volatile uint32_t *)(address))

/* CMSDK APB timer 0 counts down at the board's 25 MHz. */
#define TIMER_CTRL REGISTER(0x40000000u)
#define TIMER_VALUE REGISTER(0x40000004u)
#define TIMER_RELOAD REGISTER(0x40000008u)
#define TIMER_ENABLE 1u

#define SYSTICK_CTRL REGISTER(0xE000E010u)
#define SYSTICK_RELOAD REGISTER(0xE000E014u)
#define SYSTICK_VALUE REGISTER(0xE000E018u)
#define SYSTICK_START 7u /* the core's clock, pends its exception, runs */

#define INTERRUPT_CONTROL REGISTER(0xE000ED04u)
#define CLEAR_PENDING_SYSTICK (1u << 25)

#define TICKS_PER_MS 25000u
#define SYSTICK_MAX_MS (0xFFFFFFu / TICKS_PER_MS)

void clock_start(void)
{
    TIMER_CTRL = 0;
    TIMER_RELOAD = UINT32_MAX;
    TIMER_VALUE = UINT32_MAX;
    TIMER_CTRL = TIMER_ENABLE;
}

/* The device looks at the clock at least as often as SysTick ends its sleep. */
uint64_t clock_now(void)
{
    static uint64_t ticks;
    static uint32_t before = UINT32_MAX;
    uint32_t value = TIMER_VALUE;
    ticks += before - value; /* modulo 2^32, as the timer goes round */
    before = value;
    return ticks / TICKS_PER_MS;
}

static void sleep_at_most(uint64_t ms)
{
    uint32_t wait = ms < SYSTICK_MAX_MS ? (uint32_t)ms : SYSTICK_MAX_MS;
    SYSTICK_RELOAD = wait * TICKS_PER_MS - 1;
    SYSTICK_VALUE = 0; /* any value: counts from the reload value on */
    SYSTICK_CTRL = SYSTICK_START;
    __asm volatile("dsb\n\twfi" ::: "memory");
    SYSTICK_CTRL = 0;
    INTERRUPT_CONTROL = CLEAR_PENDING_SYSTICK;
}

void clock_wait(uint64_t deadline, bool (*ready)(void))
{
    while (!ready()) {
        uint64_t now = clock_now();
        if (now >= deadline) {
            return;
        }
        sleep_at_most(deadline - now);
    }
}
