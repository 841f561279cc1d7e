// SPDX-License-Identifier: GPL-2.0
/*
 * Programs of the host in the initial root. "paracell.programs=TAG" mounts a
 * virtio file system before the first process starts, which is then one of its
 * programs: it takes memory for the pages that are used, not for a copy of all.
 */
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/initrd.h>
#include <linux/printk.h>
#include <linux/stat.h>
#include <linux/string.h>
#include <linux/time64.h>
#include <linux/init_syscalls.h>

static char tag[36] __initdata;

static int __init programs_setup(char *arg)
{
	strscpy(tag, arg);
	return 1;
}
__setup("paracell.programs=", programs_setup);

static int __init programs_mount(void)
{
	static const char top[] __initconst = "/.paracell";
	static const char dir[] __initconst = "/.paracell/host";
	int err;

	if (!*tag)
		return 0;
	wait_for_initramfs();
	init_mkdir(top, 0755);
	init_mkdir(dir, 0755);
	err = init_mount(tag, dir, "virtiofs", 0, NULL);
	if (err)
		pr_err("paracell.programs: mount %s: error %d\n", tag, err);
	return 0;
}
late_initcall_sync(programs_mount);
