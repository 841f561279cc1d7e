/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_VDSO_CLOCKSOURCE_H
#define __UM_VDSO_CLOCKSOURCE_H

#define VDSO_ARCH_CLOCKMODES	\
	VDSO_CLOCKMODE_TSC

#endif
