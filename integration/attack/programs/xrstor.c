// SPDX-License-Identifier: Apache-2.0
// Load PKRU from memory with all forms of XRSTOR (rule 6).
#include "code.h"

#define PKRU_BIT 9

static uint8_t image[8192] __attribute__((aligned(64)));

static void prepare(int compacted)
{
	uint32_t a, b, c, d;
	uint64_t *header = (uint64_t *)(image + 512);

	memset(image, 0, sizeof image);
	*(uint16_t *)image = 0x37f;
	*(uint32_t *)(image + 24) = 0x1f80;
	header[0] = 1 << PKRU_BIT; /* present, and 0 */
	if (compacted) {
		header[1] = 1ull << 63 | 1 << PKRU_BIT;
		return;
	}
	__cpuid_count(0xd, PKRU_BIT, a, b, c, d);
	if (b && b < sizeof image)
		*(uint32_t *)(image + b) = 0;
}

/* mov $mask, %eax; xor %edx, %edx; lea image, %rdi; what; ret */
static uint8_t *build(uint8_t *p, const char *what, size_t len)
{
	uint8_t *at = p;
	uint64_t address = (uint64_t)image;

	memcpy(at, "\xb8\x00\x02\x00\x00\x31\xd2\x48\xbf", 9);
	memcpy(at + 9, &address, 8);
	memcpy(at + 17, what, len);
	at[17 + len] = 0xc3;
	return p;
}

int attack(void)
{
	static const struct {
		const char *code;
		size_t len;
		const char *name;
	} forms[] = {
		{ "\x0f\xae\x2f", 3, "xrstor (%rdi)" },
		{ "\x48\x0f\xae\x2f", 4, "xrstor64 (%rdi)" },
		{ "\x0f\xae\x6f\x00", 4, "xrstor 0(%rdi), 8-bit displacement" },
		{ "\x0f\xae\xaf\x00\x00\x00\x00", 7, "xrstor 0(%rdi), 32-bit displacement" },
		{ "\x31\xf6\x0f\xae\x2c\x37", 6, "xrstor (%rdi,%rsi)" },
		{ "\x49\x89\xff\x41\x0f\xae\x2f", 7, "xrstor (%r15)" },
		{ "\x2e\x0f\xae\x2f", 4, "xrstor with a prefix" },
		{ "\x0f\xc7\x1f", 3, "xrstors (%rdi)" },
		{ "\x48\x0f\xc7\x1f", 4, "xrstors64 (%rdi)" },
	};
	uint8_t *p = pages(2, PROT_READ | PROT_WRITE | PROT_EXEC);

	for (int compacted = 0; compacted < 2; compacted++) {
		prepare(compacted);
		for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
			memset(p, 0x90, 2 * PAGE);
			OPEN_WITH(build(p + 32, forms[i].code, forms[i].len), "%s", forms[i].name);
			/* Over the edge, at every split. */
			for (size_t in_first = 1; in_first <= forms[i].len; in_first++) {
				memset(p, 0x90, 2 * PAGE);
				OPEN_WITH(build(p + PAGE - 17 - in_first, forms[i].code, forms[i].len),
					  "%s, over the edge", forms[i].name);
			}
		}
	}
	return STOPPED;
}
