// SPDX-License-Identifier: GPL-2.0
/* Offsets for assembly come with the monitor ABI; kbuild wants the file. */
#include <linux/kbuild.h>

int main(void);
int main(void)
{
	return 0;
}
