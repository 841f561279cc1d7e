/* SPDX-License-Identifier: GPL-2.0 */
#include "syscalls_64.h"
