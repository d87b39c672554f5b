#ifndef LARDER_CPU_H
#define LARDER_CPU_H

/*
 * Which instruction sets this machine has: asked once per process, by any
 * thread, and from then on one relaxed load. A bit is set only when processor
 * and operating system both support it and everything one lane file needs is
 * there, so that one question is enough before calling into that file.
 */
#include <stdbool.h>

enum cpu_set {
	CPU_SHA = 1 << 0,        /* SHA-256 instructions: x86-64 (and SSE4.1) or arm64 */
	CPU_CRC32C = 1 << 1,     /* CRC-32C instruction: SSE4.2 or arm64 */
	CPU_NEON = 1 << 2,       /* arm64: 4 lanes */
	CPU_AVX2 = 1 << 3,       /* 8 lanes of 32 bits */
	CPU_AVX512VL = 1 << 4,   /* AVX-512 F and VL: 256-bit forms with VPROR and VPTERNLOG */
	CPU_AVX512BW = 1 << 5,   /* AVX-512 F and BW: 16 lanes, shuffles of bytes */
	CPU_AVX512VNNI = 1 << 6, /* AVX-512 F, BW and VNNI: VPDPWSSD on 512 bits */
	CPU_ALL = (1 << 7) - 1,
};

/* The sets this machine has, less those that cpu_narrow() took away. */
unsigned cpu_sets(void);

/* Does the machine have all of `sets`? */
bool cpu_has(unsigned sets);

/*
 * For tests: from now on only the sets in `mask` are admitted to, so that one
 * machine can try the code of poorer ones. cpu_narrow(CPU_ALL) takes it back.
 * It never adds a set that the machine does not have.
 */
void cpu_narrow(unsigned mask);

#endif
