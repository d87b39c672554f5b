/*
 * cpu.c asks the machine, once, which instruction sets it has.
 *
 * 1. The question is cheap and always has the same answer, so threads that
 *    arrive together may all ask; no lock, the last store changes nothing.
 * 2. A vector set counts only if the operating system saves its registers:
 *    on x86-64 CPUID alone would promise AVX-512 under a kernel that does not.
 * 3. Narrowing is kept apart from the answer, so that it can be taken back.
 */
#include "cas/base/cpu.h"

#include <stdatomic.h>
#include <stdint.h>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#elif defined(__aarch64__) && defined(__APPLE__)
#include <sys/sysctl.h>
#endif

enum { ASKED = 1 << 30 }; /* so that "has nothing" differs from "not asked yet" */

static atomic_uint answer;
static atomic_uint allowed = CPU_ALL;

#if defined(__x86_64__)

/* Bits of the CPUID leaves 1 and 7, by Intel's manual, volume 2, CPUID. */
enum {
	LEAF1_ECX_SSSE3 = 1 << 9,
	LEAF1_ECX_SSE41 = 1 << 19,
	LEAF1_ECX_SSE42 = 1 << 20,
	LEAF1_ECX_OSXSAVE = 1 << 27,
	LEAF7_EBX_AVX2 = 1 << 5,
	LEAF7_EBX_AVX512F = 1 << 16,
	LEAF7_EBX_SHA = 1 << 29,
	LEAF7_EBX_AVX512BW = 1 << 30,
	LEAF7_ECX_VNNI = 1 << 11,
};
#define LEAF7_EBX_AVX512VL (1u << 31)

/* XCR0: which registers the operating system saves. */
enum {
	XCR0_AVX = 0x06,    /* xmm, ymm */
	XCR0_AVX512 = 0xe6, /* and masks, the upper halves, the upper sixteen */
};

static uint64_t
saved_registers(void)
{
	uint32_t low, high;

	/* The mnemonic needs no -mxsave, unlike the intrinsic. */
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	return (uint64_t)high << 32 | low;
}

static bool
all_of(uint64_t word, uint64_t bits)
{
	return (word & bits) == bits;
}

static unsigned
ask(void)
{
	unsigned eax, ebx = 0, ecx = 0, edx, ecx7 = 0, sets = 0;
	uint64_t saved = 0;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		return 0;
	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx7, &edx))
		ebx = ecx7 = 0;
	if (all_of(ecx, LEAF1_ECX_OSXSAVE))
		saved = saved_registers();

	if (all_of(ebx, LEAF7_EBX_SHA) && all_of(ecx, LEAF1_ECX_SSE41 | LEAF1_ECX_SSSE3))
		sets |= CPU_SHA;
	if (all_of(ecx, LEAF1_ECX_SSE42))
		sets |= CPU_CRC32C;
	if (all_of(saved, XCR0_AVX) && all_of(ebx, LEAF7_EBX_AVX2))
		sets |= CPU_AVX2;
	/* gcc takes AVX2 for granted with -mavx512f, and so do the lane files. */
	if (!all_of(saved, XCR0_AVX512) || !all_of(ebx, LEAF7_EBX_AVX512F | LEAF7_EBX_AVX2))
		return sets;
	if (all_of(ebx, LEAF7_EBX_AVX512VL))
		sets |= CPU_AVX512VL;
	if (all_of(ebx, LEAF7_EBX_AVX512BW)) {
		sets |= CPU_AVX512BW;
		if (all_of(ecx7, LEAF7_ECX_VNNI))
			sets |= CPU_AVX512VNNI;
	}
	return sets;
}

#elif defined(__aarch64__) && defined(__linux__)

/* Promised bits of AT_HWCAP; named here because <asm/hwcap.h> is the kernel's. */
enum {
	ARM_HWCAP_ASIMD = 1 << 1,
	ARM_HWCAP_SHA2 = 1 << 6,
	ARM_HWCAP_CRC32 = 1 << 7,
};

static unsigned
ask(void)
{
	unsigned long caps = getauxval(AT_HWCAP);
	unsigned sets = 0;

	if (caps & ARM_HWCAP_ASIMD)
		sets |= CPU_NEON;
	if (caps & ARM_HWCAP_SHA2)
		sets |= CPU_SHA;
	if (caps & ARM_HWCAP_CRC32)
		sets |= CPU_CRC32C;
	return sets;
}

#elif defined(__aarch64__) && defined(__APPLE__)

static bool
kernel_says(const char *name)
{
	int value = 0;
	size_t len = sizeof value;

	return sysctlbyname(name, &value, &len, NULL, 0) == 0 && value != 0;
}

static unsigned
ask(void)
{
	unsigned sets = CPU_NEON;

	if (kernel_says("hw.optional.arm.FEAT_SHA256"))
		sets |= CPU_SHA;
	if (kernel_says("hw.optional.armv8_crc32"))
		sets |= CPU_CRC32C;
	return sets;
}

#else

static unsigned
ask(void)
{
	return 0;
}

#endif

unsigned
cpu_sets(void)
{
	unsigned sets = atomic_load_explicit(&answer, memory_order_relaxed);

	if (sets == 0) {
		sets = ask() | ASKED;
		atomic_store_explicit(&answer, sets, memory_order_relaxed);
	}
	return sets & CPU_ALL & atomic_load_explicit(&allowed, memory_order_relaxed);
}

bool
cpu_has(unsigned sets)
{
	return (cpu_sets() & sets) == sets;
}

void
cpu_narrow(unsigned mask)
{
	atomic_store_explicit(&allowed, mask, memory_order_relaxed);
}
