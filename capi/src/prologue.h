// moteseal.h: the device half of Moteseal for C. Authenticated, replay-protected datagrams for a small device with one
// symmetric key. The device half and nothing else: servers and provisioning are the business of the program
// `moteseal`. The protocol is SPEC.md beside this directory.
//
// This file is made from the comments in capi/src: change them there, and run the test that compares.
//
// THE MEMORY IS YOURS. No heap, no globals: a device lives in a `moteseal_device` that you provide, as many as you like.
// It must be zero before its first boot, and must stay where it is from `moteseal_boot` to `moteseal_wipe`: it holds
// the counters of nonces, and two copies would send different payloads under the same nonce, which gives both away.
// A copy at another address is refused (`MOTESEAL_COPIED`). What no library can see: memory that is put back to an earlier
// state, or exists twice, at the same address (a restored snapshot, hibernation to disk, the child of a `fork`). Wipe
// and boot anew there, before anything is sent.
//
// THE FLASH is a partition of five erase pages, yours to read and write through three callbacks:
//     page 0, 1, 2   the factory image as `moteseal provision` makes it: identity, key slot A, key slot B
//     page 3, 4      the boot counter
// Devices write it once a boot, and when a key is rotated. Each device has its own.
//
// TIME is a number of milliseconds that never runs backwards and goes on while the device sleeps, from any start. If
// your clock can fail, do not hand its error on as a time; hand on the time before.
//
// ONE AT A TIME. Calls with the same device must come one after the other, and none from an interrupt that may strike
// within another; different devices are independent. A callback that calls back with its own device is refused.
// A call that never returned (a `longjmp` out of a callback, a reset that keeps memory) leaves a device that is in use
// for good: zero the whole `moteseal_device`, and boot.
//
// WHAT IS CHECKED, at every call: NULL, alignment, lengths, overlaps, a device that was not booted, was wiped, copied
// or is in use. The answer is an error, and nothing happened. Results then say that there is nothing, unless it is the
// pointer to the result that is wrong. WHAT C CANNOT CHECK: a pointer to memory that is not yours or shorter than you
// say, a device on a stack that has returned, a function pointer that is none, two threads at the same instant,
// callbacks that lie.
//
// A whole device:
//
//     #include "moteseal.h"
//
//     // Yours. The first four return 0 for success; offsets count from the start of the partition.
//     int flash_read(void *context, uint32_t offset, uint8_t *bytes, size_t len);
//     int flash_write(void *context, uint32_t offset, const uint8_t *bytes, size_t len);
//     int flash_erase(void *context, uint32_t offset, size_t len);
//     int random_bytes(void *context, uint8_t *bytes, size_t len);
//     uint64_t clock_ms(void);
//     void radio_send(const uint8_t *datagram, size_t len);
//     // The length of the next datagram, or 0 once the deadline has passed.
//     size_t radio_wait(uint8_t *datagram, size_t size, uint64_t deadline_ms);
//     void obey(const uint8_t *command, size_t len);
//     void settle(uint16_t ticket, moteseal_outcome outcome);
//     void stop(const char *why);
//
//     static moteseal_device device; // static memory is zero
//
//     void run(void) {
//         static uint8_t out[MOTESEAL_DATAGRAM_MAX];
//         static uint8_t in[MOTESEAL_INPUT_MIN + 100]; // commands of up to 134 bytes
//         moteseal_config config = MOTESEAL_CONFIG_INIT;
//         config.flash_read = flash_read;
//         config.flash_write = flash_write;
//         config.flash_erase = flash_erase;
//         config.random = random_bytes;
//         moteseal_error error = moteseal_boot(&device, &config);
//         if (error != MOTESEAL_OK) {
//             stop(moteseal_error_text(error)); // and send nothing
//             return;
//         }
//         moteseal_sent sent;
//         const uint8_t payload[] = {'2', '1', '.', '5', ' ', 'C'};
//         error = moteseal_send(&device, clock_ms(), payload, sizeof payload, 1, out, sizeof out, &sent);
//         if (error == MOTESEAL_OK && sent.datagram_len != 0) {
//             radio_send(out, sent.datagram_len);
//         }
//         for (;;) {
//             // Whatever is due: acknowledgements, repeats, a new Hello. An error is a fault of flash or generator:
//             // log it; the device tries again by itself.
//             size_t len;
//             while (moteseal_poll(&device, clock_ms(), out, sizeof out, &len) == MOTESEAL_OK && len != 0) {
//                 radio_send(out, len);
//             }
//             uint64_t deadline;
//             if (moteseal_deadline(&device, &deadline) != MOTESEAL_OK) {
//                 return;
//             }
//             len = radio_wait(in, sizeof in, deadline);
//             if (len == 0) {
//                 continue;
//             }
//             // What is not authentic is an error: drop it in silence. The time is that after the wait.
//             moteseal_received received;
//             (void)moteseal_receive(&device, clock_ms(), in, len, &received);
//             for (uint8_t i = 0; i < received.settled_count; i++) {
//                 settle(received.settled[i].ticket, received.settled[i].outcome);
//             }
//             if (received.payload != NULL) {
//                 obey(received.payload, received.payload_len);
//             }
//         }
//     }
