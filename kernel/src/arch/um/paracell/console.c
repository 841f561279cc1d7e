// SPDX-License-Identifier: GPL-2.0
/*
 * The early console: bytes to the host, one monitor call a line. It is also
 * the first hypervisor console until a virtio console takes over.
 */
#include <linux/console.h>
#include <linux/init.h>
#include <linux/string.h>
#include "../../../drivers/tty/hvc/hvc_console.h"
#include "paracell.h"

void paracell_console_write(const char *s, unsigned int len)
{
	paracell_call(PARACELL_CALL_CONSOLE, (long)s, len, 0, 0);
}

static void boot_console_write(struct console *con, const char *s, unsigned int n)
{
	paracell_console_write(s, n);
}

static struct console boot_console = {
	.name	= "paracell",
	.write	= boot_console_write,
	.flags	= CON_PRINTBUFFER | CON_BOOT | CON_ANYTIME,
	.index	= -1,
};

void __init paracell_console_init(void)
{
	register_console(&boot_console);
}

static ssize_t hvc_put(uint32_t vtermno, const u8 *buf, size_t count)
{
	paracell_console_write(buf, count);
	return count;
}

static ssize_t hvc_get(uint32_t vtermno, u8 *buf, size_t count)
{
	return 0;
}

/* As if there were an interrupt: nothing is ever read here, so nothing is polled. */
static int hvc_opened(struct hvc_struct *hp, int irq)
{
	hp->irq_requested = 1;
	return 0;
}

static void hvc_closed(struct hvc_struct *hp, int irq)
{
	hp->irq_requested = 0;
}

static const struct hv_ops hvc_ops = {
	.get_chars = hvc_get,
	.put_chars = hvc_put,
	.notifier_add = hvc_opened,
	.notifier_del = hvc_closed,
	.notifier_hangup = hvc_closed,
};

static int __init hvc_paracell_console(void)
{
	hvc_instantiate(0, 0, &hvc_ops);
	return 0;
}
console_initcall(hvc_paracell_console);

static int __init hvc_paracell_init(void)
{
	return PTR_ERR_OR_ZERO(hvc_alloc(0, 1, &hvc_ops, 256));
}
device_initcall(hvc_paracell_init);
