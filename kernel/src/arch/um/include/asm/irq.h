/* SPDX-License-Identifier: GPL-2.0 */
#ifndef __UM_IRQ_H
#define __UM_IRQ_H

/* One interrupt per bit of vcpu->pending. */
#define NR_IRQS		64

#include <asm-generic/irq.h>
#endif
