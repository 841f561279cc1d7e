/* SPDX-License-Identifier: GPL-2.0 */
/* Data is not executable unless the program's personality asks for it. */
#ifndef __VM_FLAGS_X86_H
#define __VM_FLAGS_X86_H

#define VM_DATA_DEFAULT_FLAGS	VM_DATA_FLAGS_TSK_EXEC

#endif
