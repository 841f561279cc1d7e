/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Generated from xgate/abi by go generate ./xgate/abi; do not edit. */
#ifndef PARACELL_ABI_H
#define PARACELL_ABI_H

/* Of these definitions and of those of the pager: see Identity in Go. */
#define PARACELL_IDENTITY 0xf00286ad104cd479
#define PARACELL_NOTE \
	".pushsection .note.paracell, \"a\", @note\n" \
	".balign 4\n.long 9, 8, 1\n.asciz \"ParaCell\"\n.balign 4\n" \
	".quad 0xf00286ad104cd479\n.popsection\n"

#define PARACELL_VERSION 1
#define PARACELL_PAGE_SIZE 0x1000
#define PARACELL_USER_MIN 0x10000
#define PARACELL_USER_MAX 0x7efffffff000
#define PARACELL_WINDOW_BASE 0x7f0000000000
#define PARACELL_WINDOW_END 0x7ffffffff000
#define PARACELL_PHYS_BASE 0x7f0000000000
#define PARACELL_PHYS_MAX_SIZE 0x4000000000
#define PARACELL_KERNEL_GPA 0x200000
#define PARACELL_VMALLOC_BASE 0x7f4000000000
#define PARACELL_VMALLOC_END 0x7f7f00000000
#define PARACELL_CONTROL_BASE 0x7f8000000000
#define PARACELL_CONTROL_SIZE 0x1000000
#define PARACELL_MONITOR_BASE 0x7f9000000000
#define PARACELL_ENTRY_CALL 0
#define PARACELL_ENTRY_ENTER 64
#define PARACELL_ENTRY_FP_SAVE 128
#define PARACELL_ENTRY_FP_RESTORE 192
#define PARACELL_ENTRY_GATE 0x1000
#define PARACELL_KEY_USER 0
#define PARACELL_KEY_KERNEL 1
#define PARACELL_KEY_READ 2
#define PARACELL_KEY_SCRATCH 3
#define PARACELL_USER_PKRU 44
#define PARACELL_KERNEL_PKRU 1
#define PARACELL_XSTATE_MASK 231
#define PARACELL_XSTATE_SIZE 0xa80
#define PARACELL_CALL_CONSOLE 0
#define PARACELL_CALL_EXIT 1
#define PARACELL_CALL_VECTORS 2
#define PARACELL_CALL_AS_CREATE 3
#define PARACELL_CALL_AS_DESTROY 4
#define PARACELL_CALL_KMAP 5
#define PARACELL_CALL_KUNMAP 6
#define PARACELL_CALL_TIMER 7
#define PARACELL_CALL_IDLE 8
#define PARACELL_CALL_NOTIFY 9
#define PARACELL_CALL_AS_FLUSH 10
#define PARACELL_EXIT_GATE 0
#define PARACELL_EXIT_SYSCALL 1
#define PARACELL_EXIT_FAULT 2
#define PARACELL_EXIT_IRQ 3
#define PARACELL_EXIT_FLUSHED 4
#define PARACELL_EXIT_ATTACK 5
#define PARACELL_EXIT_ERROR 6
#define PARACELL_IRQ_TIMER 0
#define PARACELL_IRQ_CONSOLE 1
#define PARACELL_IRQ_POWER 2
#define PARACELL_IRQ_DEVICE0 8
#define PARACELL_MAX_DEVICES 24
#define PARACELL_MAX_VCPUS 16
#define PARACELL_MAX_SLOTS 0x2000
#define PARACELL_MAX_MAP_OPS 256
#define PARACELL_CMDLINE_SIZE 0x1000
#define PARACELL_EXIT_MSG_SIZE 232
#define PARACELL_NOTIFY_STATUS 0xffffffff
#define PARACELL_MAX_QUEUES 8
#define PARACELL_CONFIG_SIZE 256
#define PARACELL_ISR_USED 1
#define PARACELL_ISR_CONFIG 2
#define PARACELL_OP_MAP 1
#define PARACELL_OP_UNMAP 2
#define PARACELL_OP_PROTECT 3
#define PARACELL_PROT_READ 1
#define PARACELL_PROT_WRITE 2
#define PARACELL_PROT_EXEC 4
#define PARACELL_VCPU_RUNNING 0
#define PARACELL_VCPU_IDLE 1
#define PARACELL_VCPU_PARKED 2
#define PARACELL_VCPU_USER 3
#define PARACELL_SLOT_UNUSED 0
#define PARACELL_SLOT_STARTING 1
#define PARACELL_SLOT_FREE 2
#define PARACELL_SLOT_TAKEN 3
#define PARACELL_SLOT_VACATED 4
#define PARACELL_SLOT_DYING 5
#define PARACELL_REASON_NONE 0
#define PARACELL_REASON_POWER_OFF 1
#define PARACELL_REASON_REBOOT 2
#define PARACELL_REASON_PANIC 3
#define PARACELL_REASON_DENIED 4
#define PARACELL_REASON_CHILD_DIED 5
#define PARACELL_REASON_MONITOR 6
#define PARACELL_REASON_ABI 7
#define PARACELL_REASON_HOST_CALL 8
#define PARACELL_ISOLATION_NONE 0
#define PARACELL_ISOLATION_MPK 1
#define PARACELL_REG_R15 0
#define PARACELL_REG_R14 1
#define PARACELL_REG_R13 2
#define PARACELL_REG_R12 3
#define PARACELL_REG_BP 4
#define PARACELL_REG_BX 5
#define PARACELL_REG_R11 6
#define PARACELL_REG_R10 7
#define PARACELL_REG_R9 8
#define PARACELL_REG_R8 9
#define PARACELL_REG_AX 10
#define PARACELL_REG_CX 11
#define PARACELL_REG_DX 12
#define PARACELL_REG_SI 13
#define PARACELL_REG_DI 14
#define PARACELL_REG_ORIG_AX 15
#define PARACELL_REG_IP 16
#define PARACELL_REG_CS 17
#define PARACELL_REG_FLAGS 18
#define PARACELL_REG_SP 19
#define PARACELL_REG_SS 20
#define PARACELL_REG_FS_BASE 21
#define PARACELL_REG_GS_BASE 22
#define PARACELL_REG_DS 23
#define PARACELL_REG_ES 24
#define PARACELL_REG_FS 25
#define PARACELL_REG_GS 26
#define PARACELL_NUM_REGS 27
#define PARACELL_KFRAME_IRQ 256

/* Sizes and offsets in bytes, for C and assembly. */
#define PARACELL_REGS_SIZEOF 240
#define PARACELL_REGS_GP_OFFSET 0
#define PARACELL_REGS_TRAP_NO_OFFSET 216
#define PARACELL_REGS_ERROR_CODE_OFFSET 224
#define PARACELL_REGS_CR2_OFFSET 232
#define PARACELL_KFRAME_SIZEOF 240
#define PARACELL_KFRAME_GP_OFFSET 0
#define PARACELL_KFRAME_TRAP_NO_OFFSET 216
#define PARACELL_KFRAME_ERROR_CODE_OFFSET 224
#define PARACELL_KFRAME_CR2_OFFSET 232
#define PARACELL_MAPOP_SIZEOF 32
#define PARACELL_MAPOP_OP_OFFSET 0
#define PARACELL_MAPOP_PROT_OFFSET 4
#define PARACELL_MAPOP_VA_OFFSET 8
#define PARACELL_MAPOP_LEN_OFFSET 16
#define PARACELL_MAPOP_GPA_OFFSET 24
#define PARACELL_BOOT_PARAMS_SIZEOF 4608
#define PARACELL_BOOT_PARAMS_VERSION_OFFSET 0
#define PARACELL_BOOT_PARAMS_ISOLATION_OFFSET 4
#define PARACELL_BOOT_PARAMS_NUM_VCPUS_OFFSET 8
#define PARACELL_BOOT_PARAMS_MAX_SLOTS_OFFSET 12
#define PARACELL_BOOT_PARAMS_MEM_SIZE_OFFSET 16
#define PARACELL_BOOT_PARAMS_KERNEL_ENTRY_OFFSET 24
#define PARACELL_BOOT_PARAMS_KERNEL_END_OFFSET 32
#define PARACELL_BOOT_PARAMS_INITRD_GPA_OFFSET 40
#define PARACELL_BOOT_PARAMS_INITRD_SIZE_OFFSET 48
#define PARACELL_BOOT_PARAMS_TSC_KHZ_OFFSET 56
#define PARACELL_BOOT_PARAMS_BOOT_TSC_OFFSET 64
#define PARACELL_BOOT_PARAMS_BOOT_REAL_NS_OFFSET 72
#define PARACELL_BOOT_PARAMS_BOOT_MONO_NS_OFFSET 80
#define PARACELL_BOOT_PARAMS_NUM_DEVICES_OFFSET 88
#define PARACELL_BOOT_PARAMS_KERNEL_TEXT_START_OFFSET 96
#define PARACELL_BOOT_PARAMS_KERNEL_TEXT_END_OFFSET 104
#define PARACELL_BOOT_PARAMS_KERNEL_RODATA_END_OFFSET 112
#define PARACELL_BOOT_PARAMS_RNG_SEED_OFFSET 120
#define PARACELL_BOOT_PARAMS_CMDLINE_OFFSET 184
#define PARACELL_BOOT_PARAMS_IDENTITY_OFFSET 4280
#define PARACELL_VCPU_SIZEOF 8448
#define PARACELL_VCPU_PENDING_OFFSET 0
#define PARACELL_VCPU_STATE_OFFSET 64
#define PARACELL_VCPU_ACTIVE_SLOT_OFFSET 68
#define PARACELL_VCPU_KSP_OFFSET 72
#define PARACELL_VCPU_CUR_REGS_OFFSET 80
#define PARACELL_VCPU_DEADLINE_OFFSET 88
#define PARACELL_VCPU_ERROR_OFFSET 96
#define PARACELL_VCPU_GATE_CALLS_OFFSET 104
#define PARACELL_VCPU_RAW_CALLS_OFFSET 112
#define PARACELL_VCPU_FAULTS_OFFSET 120
#define PARACELL_VCPU_IRQ_ENABLED_OFFSET 128
#define PARACELL_VCPU_AS_OFFSET 132
#define PARACELL_VCPU_LIVE_OFFSET 136
#define PARACELL_VCPU_NUM_OPS_OFFSET 140
#define PARACELL_VCPU_FP_AREA_OFFSET 144
#define PARACELL_VCPU_HOST_CALLS_OFFSET 192
#define PARACELL_VCPU_MAP_CALLS_OFFSET 200
#define PARACELL_VCPU_HANDOVERS_OFFSET 208
#define PARACELL_VCPU_OPS_OFFSET 256
#define PARACELL_SLOT_SIZEOF 16
#define PARACELL_SLOT_CMD_OFFSET 0
#define PARACELL_SLOT_STATE_OFFSET 4
#define PARACELL_SLOT_PID_OFFSET 8
#define PARACELL_SLOT_NEXT_OFFSET 12
#define PARACELL_VIRTIO_QUEUE_SIZEOF 64
#define PARACELL_VIRTIO_QUEUE_SIZE_OFFSET 0
#define PARACELL_VIRTIO_QUEUE_SIZE_MAX_OFFSET 4
#define PARACELL_VIRTIO_QUEUE_READY_OFFSET 8
#define PARACELL_VIRTIO_QUEUE_DESC_OFFSET 16
#define PARACELL_VIRTIO_QUEUE_DRIVER_OFFSET 24
#define PARACELL_VIRTIO_QUEUE_DEVICE_OFFSET 32
#define PARACELL_VIRTIO_DEVICE_SIZEOF 896
#define PARACELL_VIRTIO_DEVICE_DEVICE_ID_OFFSET 0
#define PARACELL_VIRTIO_DEVICE_NUM_QUEUES_OFFSET 4
#define PARACELL_VIRTIO_DEVICE_DEVICE_FEATURES_OFFSET 8
#define PARACELL_VIRTIO_DEVICE_DEVICE_STATUS_OFFSET 16
#define PARACELL_VIRTIO_DEVICE_CONFIG_GEN_OFFSET 20
#define PARACELL_VIRTIO_DEVICE_ISR_OFFSET 24
#define PARACELL_VIRTIO_DEVICE_CONFIG_SIZE_OFFSET 28
#define PARACELL_VIRTIO_DEVICE_RESET_ACK_OFFSET 32
#define PARACELL_VIRTIO_DEVICE_DRIVER_FEATURES_OFFSET 64
#define PARACELL_VIRTIO_DEVICE_DRIVER_STATUS_OFFSET 72
#define PARACELL_VIRTIO_DEVICE_RESET_SEQ_OFFSET 76
#define PARACELL_VIRTIO_DEVICE_NOTIFY_QUEUES_OFFSET 80
#define PARACELL_VIRTIO_DEVICE_QUEUES_OFFSET 128
#define PARACELL_VIRTIO_DEVICE_CONFIG_OFFSET 640
#define PARACELL_CONTROL_SIZEOF 335744
#define PARACELL_CONTROL_BOOT_OFFSET 0
#define PARACELL_CONTROL_EXIT_REASON_OFFSET 4608
#define PARACELL_CONTROL_EXIT_CODE_OFFSET 4612
#define PARACELL_CONTROL_EXIT_DETAIL_OFFSET 4616
#define PARACELL_CONTROL_EXIT_MSG_OFFSET 4624
#define PARACELL_CONTROL_EXIT_CLAIM_OFFSET 4856
#define PARACELL_CONTROL_WARDEN_WORD_OFFSET 4864
#define PARACELL_CONTROL_SPAWN_WANT_OFFSET 4868
#define PARACELL_CONTROL_KICK_MASK_OFFSET 4872
#define PARACELL_CONTROL_FREE_HEAD_OFFSET 4880
#define PARACELL_CONTROL_FREE_COUNT_OFFSET 4884
#define PARACELL_CONTROL_NUM_SLOTS_OFFSET 4888
#define PARACELL_CONTROL_KERNEL_GEN_OFFSET 4892
#define PARACELL_CONTROL_LOCK_OFFSET 4896
#define PARACELL_CONTROL_SPAWN_SEQ_OFFSET 4900
#define PARACELL_CONTROL_SPAWN_ERROR_OFFSET 4904
#define PARACELL_CONTROL_FREE_OPS_OFFSET 4908
#define PARACELL_CONTROL_WARDEN_IDLE_OFFSET 4912
#define PARACELL_CONTROL_VECTOR_OFFSET 4920
#define PARACELL_CONTROL_SLOTS_OFFSET 4992
#define PARACELL_CONTROL_VCPUS_OFFSET 136064
#define PARACELL_CONTROL_DEVICES_OFFSET 271232
#define PARACELL_CONTROL_SPILL_OFFSET 292736

#ifndef __ASSEMBLER__

struct paracell_regs {
	unsigned long long gp[27];
	unsigned long long trap_no;
	unsigned long long error_code;
	unsigned long long cr2;
};

struct paracell_kframe {
	unsigned long long gp[27];
	unsigned long long trap_no;
	unsigned long long error_code;
	unsigned long long cr2;
};

struct paracell_mapop {
	unsigned int op;
	unsigned int prot;
	unsigned long long va;
	unsigned long long len;
	unsigned long long gpa;
};

struct paracell_boot_params {
	unsigned int version;
	unsigned int isolation;
	unsigned int num_vcpus;
	unsigned int max_slots;
	unsigned long long mem_size;
	unsigned long long kernel_entry;
	unsigned long long kernel_end;
	unsigned long long initrd_gpa;
	unsigned long long initrd_size;
	unsigned long long tsc_khz;
	unsigned long long boot_tsc;
	unsigned long long boot_real_ns;
	unsigned long long boot_mono_ns;
	unsigned long long num_devices;
	unsigned long long kernel_text_start;
	unsigned long long kernel_text_end;
	unsigned long long kernel_rodata_end;
	unsigned char rng_seed[64];
	unsigned char cmdline[4096];
	unsigned long long identity;
	unsigned long long __pad0[40];
};

struct paracell_vcpu {
	unsigned long long pending;
	unsigned long long __pad0[7];
	unsigned int state;
	unsigned int active_slot;
	unsigned long long ksp;
	unsigned long long cur_regs;
	unsigned long long deadline;
	long long error;
	unsigned long long gate_calls;
	unsigned long long raw_calls;
	unsigned long long faults;
	unsigned int irq_enabled;
	unsigned int as;
	unsigned int live;
	unsigned int num_ops;
	unsigned long long fp_area;
	unsigned long long __pad1[5];
	unsigned long long host_calls;
	unsigned long long map_calls;
	unsigned long long handovers;
	unsigned long long __pad2[5];
	struct paracell_mapop ops[256];
};

struct paracell_slot {
	unsigned int cmd;
	unsigned int state;
	int pid;
	unsigned int next;
};

struct paracell_virtio_queue {
	unsigned int size;
	unsigned int size_max;
	unsigned int ready;
	unsigned int __pad0;
	unsigned long long desc;
	unsigned long long driver;
	unsigned long long device;
	unsigned long long __pad1[3];
};

struct paracell_virtio_device {
	unsigned int device_id;
	unsigned int num_queues;
	unsigned long long device_features;
	unsigned int device_status;
	unsigned int config_gen;
	unsigned int isr;
	unsigned int config_size;
	unsigned int reset_ack;
	unsigned int __pad0;
	unsigned long long __pad1[3];
	unsigned long long driver_features;
	unsigned int driver_status;
	unsigned int reset_seq;
	unsigned long long notify_queues;
	unsigned long long __pad2[5];
	struct paracell_virtio_queue queues[8];
	unsigned char config[256];
};

struct paracell_control {
	struct paracell_boot_params boot;
	unsigned int exit_reason;
	int exit_code;
	long long exit_detail;
	unsigned char exit_msg[232];
	unsigned int exit_claim;
	unsigned int __pad0;
	unsigned int warden_word;
	unsigned int spawn_want;
	unsigned long long kick_mask;
	unsigned int free_head;
	unsigned int free_count;
	unsigned int num_slots;
	unsigned int kernel_gen;
	unsigned int lock;
	unsigned int spawn_seq;
	int spawn_error;
	unsigned int free_ops;
	unsigned int warden_idle;
	unsigned int __pad1;
	unsigned long long vector;
	unsigned int __pad2[16];
	struct paracell_slot slots[8192];
	struct paracell_vcpu vcpus[16];
	struct paracell_virtio_device devices[24];
	unsigned char spill[16][2688];
};

_Static_assert(sizeof(struct paracell_regs) == PARACELL_REGS_SIZEOF, "size of paracell_regs");
_Static_assert(__builtin_offsetof(struct paracell_regs, gp) == PARACELL_REGS_GP_OFFSET, "offset of paracell_regs.gp");
_Static_assert(__builtin_offsetof(struct paracell_regs, trap_no) == PARACELL_REGS_TRAP_NO_OFFSET, "offset of paracell_regs.trap_no");
_Static_assert(__builtin_offsetof(struct paracell_regs, error_code) == PARACELL_REGS_ERROR_CODE_OFFSET, "offset of paracell_regs.error_code");
_Static_assert(__builtin_offsetof(struct paracell_regs, cr2) == PARACELL_REGS_CR2_OFFSET, "offset of paracell_regs.cr2");

_Static_assert(sizeof(struct paracell_kframe) == PARACELL_KFRAME_SIZEOF, "size of paracell_kframe");
_Static_assert(__builtin_offsetof(struct paracell_kframe, gp) == PARACELL_KFRAME_GP_OFFSET, "offset of paracell_kframe.gp");
_Static_assert(__builtin_offsetof(struct paracell_kframe, trap_no) == PARACELL_KFRAME_TRAP_NO_OFFSET, "offset of paracell_kframe.trap_no");
_Static_assert(__builtin_offsetof(struct paracell_kframe, error_code) == PARACELL_KFRAME_ERROR_CODE_OFFSET, "offset of paracell_kframe.error_code");
_Static_assert(__builtin_offsetof(struct paracell_kframe, cr2) == PARACELL_KFRAME_CR2_OFFSET, "offset of paracell_kframe.cr2");

_Static_assert(sizeof(struct paracell_mapop) == PARACELL_MAPOP_SIZEOF, "size of paracell_mapop");
_Static_assert(__builtin_offsetof(struct paracell_mapop, op) == PARACELL_MAPOP_OP_OFFSET, "offset of paracell_mapop.op");
_Static_assert(__builtin_offsetof(struct paracell_mapop, prot) == PARACELL_MAPOP_PROT_OFFSET, "offset of paracell_mapop.prot");
_Static_assert(__builtin_offsetof(struct paracell_mapop, va) == PARACELL_MAPOP_VA_OFFSET, "offset of paracell_mapop.va");
_Static_assert(__builtin_offsetof(struct paracell_mapop, len) == PARACELL_MAPOP_LEN_OFFSET, "offset of paracell_mapop.len");
_Static_assert(__builtin_offsetof(struct paracell_mapop, gpa) == PARACELL_MAPOP_GPA_OFFSET, "offset of paracell_mapop.gpa");

_Static_assert(sizeof(struct paracell_boot_params) == PARACELL_BOOT_PARAMS_SIZEOF, "size of paracell_boot_params");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, version) == PARACELL_BOOT_PARAMS_VERSION_OFFSET, "offset of paracell_boot_params.version");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, isolation) == PARACELL_BOOT_PARAMS_ISOLATION_OFFSET, "offset of paracell_boot_params.isolation");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, num_vcpus) == PARACELL_BOOT_PARAMS_NUM_VCPUS_OFFSET, "offset of paracell_boot_params.num_vcpus");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, max_slots) == PARACELL_BOOT_PARAMS_MAX_SLOTS_OFFSET, "offset of paracell_boot_params.max_slots");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, mem_size) == PARACELL_BOOT_PARAMS_MEM_SIZE_OFFSET, "offset of paracell_boot_params.mem_size");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, kernel_entry) == PARACELL_BOOT_PARAMS_KERNEL_ENTRY_OFFSET, "offset of paracell_boot_params.kernel_entry");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, kernel_end) == PARACELL_BOOT_PARAMS_KERNEL_END_OFFSET, "offset of paracell_boot_params.kernel_end");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, initrd_gpa) == PARACELL_BOOT_PARAMS_INITRD_GPA_OFFSET, "offset of paracell_boot_params.initrd_gpa");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, initrd_size) == PARACELL_BOOT_PARAMS_INITRD_SIZE_OFFSET, "offset of paracell_boot_params.initrd_size");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, tsc_khz) == PARACELL_BOOT_PARAMS_TSC_KHZ_OFFSET, "offset of paracell_boot_params.tsc_khz");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, boot_tsc) == PARACELL_BOOT_PARAMS_BOOT_TSC_OFFSET, "offset of paracell_boot_params.boot_tsc");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, boot_real_ns) == PARACELL_BOOT_PARAMS_BOOT_REAL_NS_OFFSET, "offset of paracell_boot_params.boot_real_ns");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, boot_mono_ns) == PARACELL_BOOT_PARAMS_BOOT_MONO_NS_OFFSET, "offset of paracell_boot_params.boot_mono_ns");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, num_devices) == PARACELL_BOOT_PARAMS_NUM_DEVICES_OFFSET, "offset of paracell_boot_params.num_devices");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, kernel_text_start) == PARACELL_BOOT_PARAMS_KERNEL_TEXT_START_OFFSET, "offset of paracell_boot_params.kernel_text_start");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, kernel_text_end) == PARACELL_BOOT_PARAMS_KERNEL_TEXT_END_OFFSET, "offset of paracell_boot_params.kernel_text_end");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, kernel_rodata_end) == PARACELL_BOOT_PARAMS_KERNEL_RODATA_END_OFFSET, "offset of paracell_boot_params.kernel_rodata_end");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, rng_seed) == PARACELL_BOOT_PARAMS_RNG_SEED_OFFSET, "offset of paracell_boot_params.rng_seed");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, cmdline) == PARACELL_BOOT_PARAMS_CMDLINE_OFFSET, "offset of paracell_boot_params.cmdline");
_Static_assert(__builtin_offsetof(struct paracell_boot_params, identity) == PARACELL_BOOT_PARAMS_IDENTITY_OFFSET, "offset of paracell_boot_params.identity");

_Static_assert(sizeof(struct paracell_vcpu) == PARACELL_VCPU_SIZEOF, "size of paracell_vcpu");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, pending) == PARACELL_VCPU_PENDING_OFFSET, "offset of paracell_vcpu.pending");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, state) == PARACELL_VCPU_STATE_OFFSET, "offset of paracell_vcpu.state");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, active_slot) == PARACELL_VCPU_ACTIVE_SLOT_OFFSET, "offset of paracell_vcpu.active_slot");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, ksp) == PARACELL_VCPU_KSP_OFFSET, "offset of paracell_vcpu.ksp");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, cur_regs) == PARACELL_VCPU_CUR_REGS_OFFSET, "offset of paracell_vcpu.cur_regs");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, deadline) == PARACELL_VCPU_DEADLINE_OFFSET, "offset of paracell_vcpu.deadline");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, error) == PARACELL_VCPU_ERROR_OFFSET, "offset of paracell_vcpu.error");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, gate_calls) == PARACELL_VCPU_GATE_CALLS_OFFSET, "offset of paracell_vcpu.gate_calls");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, raw_calls) == PARACELL_VCPU_RAW_CALLS_OFFSET, "offset of paracell_vcpu.raw_calls");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, faults) == PARACELL_VCPU_FAULTS_OFFSET, "offset of paracell_vcpu.faults");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, irq_enabled) == PARACELL_VCPU_IRQ_ENABLED_OFFSET, "offset of paracell_vcpu.irq_enabled");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, as) == PARACELL_VCPU_AS_OFFSET, "offset of paracell_vcpu.as");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, live) == PARACELL_VCPU_LIVE_OFFSET, "offset of paracell_vcpu.live");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, num_ops) == PARACELL_VCPU_NUM_OPS_OFFSET, "offset of paracell_vcpu.num_ops");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, fp_area) == PARACELL_VCPU_FP_AREA_OFFSET, "offset of paracell_vcpu.fp_area");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, host_calls) == PARACELL_VCPU_HOST_CALLS_OFFSET, "offset of paracell_vcpu.host_calls");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, map_calls) == PARACELL_VCPU_MAP_CALLS_OFFSET, "offset of paracell_vcpu.map_calls");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, handovers) == PARACELL_VCPU_HANDOVERS_OFFSET, "offset of paracell_vcpu.handovers");
_Static_assert(__builtin_offsetof(struct paracell_vcpu, ops) == PARACELL_VCPU_OPS_OFFSET, "offset of paracell_vcpu.ops");

_Static_assert(sizeof(struct paracell_slot) == PARACELL_SLOT_SIZEOF, "size of paracell_slot");
_Static_assert(__builtin_offsetof(struct paracell_slot, cmd) == PARACELL_SLOT_CMD_OFFSET, "offset of paracell_slot.cmd");
_Static_assert(__builtin_offsetof(struct paracell_slot, state) == PARACELL_SLOT_STATE_OFFSET, "offset of paracell_slot.state");
_Static_assert(__builtin_offsetof(struct paracell_slot, pid) == PARACELL_SLOT_PID_OFFSET, "offset of paracell_slot.pid");
_Static_assert(__builtin_offsetof(struct paracell_slot, next) == PARACELL_SLOT_NEXT_OFFSET, "offset of paracell_slot.next");

_Static_assert(sizeof(struct paracell_virtio_queue) == PARACELL_VIRTIO_QUEUE_SIZEOF, "size of paracell_virtio_queue");
_Static_assert(__builtin_offsetof(struct paracell_virtio_queue, size) == PARACELL_VIRTIO_QUEUE_SIZE_OFFSET, "offset of paracell_virtio_queue.size");
_Static_assert(__builtin_offsetof(struct paracell_virtio_queue, size_max) == PARACELL_VIRTIO_QUEUE_SIZE_MAX_OFFSET, "offset of paracell_virtio_queue.size_max");
_Static_assert(__builtin_offsetof(struct paracell_virtio_queue, ready) == PARACELL_VIRTIO_QUEUE_READY_OFFSET, "offset of paracell_virtio_queue.ready");
_Static_assert(__builtin_offsetof(struct paracell_virtio_queue, desc) == PARACELL_VIRTIO_QUEUE_DESC_OFFSET, "offset of paracell_virtio_queue.desc");
_Static_assert(__builtin_offsetof(struct paracell_virtio_queue, driver) == PARACELL_VIRTIO_QUEUE_DRIVER_OFFSET, "offset of paracell_virtio_queue.driver");
_Static_assert(__builtin_offsetof(struct paracell_virtio_queue, device) == PARACELL_VIRTIO_QUEUE_DEVICE_OFFSET, "offset of paracell_virtio_queue.device");

_Static_assert(sizeof(struct paracell_virtio_device) == PARACELL_VIRTIO_DEVICE_SIZEOF, "size of paracell_virtio_device");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, device_id) == PARACELL_VIRTIO_DEVICE_DEVICE_ID_OFFSET, "offset of paracell_virtio_device.device_id");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, num_queues) == PARACELL_VIRTIO_DEVICE_NUM_QUEUES_OFFSET, "offset of paracell_virtio_device.num_queues");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, device_features) == PARACELL_VIRTIO_DEVICE_DEVICE_FEATURES_OFFSET, "offset of paracell_virtio_device.device_features");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, device_status) == PARACELL_VIRTIO_DEVICE_DEVICE_STATUS_OFFSET, "offset of paracell_virtio_device.device_status");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, config_gen) == PARACELL_VIRTIO_DEVICE_CONFIG_GEN_OFFSET, "offset of paracell_virtio_device.config_gen");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, isr) == PARACELL_VIRTIO_DEVICE_ISR_OFFSET, "offset of paracell_virtio_device.isr");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, config_size) == PARACELL_VIRTIO_DEVICE_CONFIG_SIZE_OFFSET, "offset of paracell_virtio_device.config_size");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, reset_ack) == PARACELL_VIRTIO_DEVICE_RESET_ACK_OFFSET, "offset of paracell_virtio_device.reset_ack");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, driver_features) == PARACELL_VIRTIO_DEVICE_DRIVER_FEATURES_OFFSET, "offset of paracell_virtio_device.driver_features");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, driver_status) == PARACELL_VIRTIO_DEVICE_DRIVER_STATUS_OFFSET, "offset of paracell_virtio_device.driver_status");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, reset_seq) == PARACELL_VIRTIO_DEVICE_RESET_SEQ_OFFSET, "offset of paracell_virtio_device.reset_seq");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, notify_queues) == PARACELL_VIRTIO_DEVICE_NOTIFY_QUEUES_OFFSET, "offset of paracell_virtio_device.notify_queues");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, queues) == PARACELL_VIRTIO_DEVICE_QUEUES_OFFSET, "offset of paracell_virtio_device.queues");
_Static_assert(__builtin_offsetof(struct paracell_virtio_device, config) == PARACELL_VIRTIO_DEVICE_CONFIG_OFFSET, "offset of paracell_virtio_device.config");

_Static_assert(sizeof(struct paracell_control) == PARACELL_CONTROL_SIZEOF, "size of paracell_control");
_Static_assert(__builtin_offsetof(struct paracell_control, boot) == PARACELL_CONTROL_BOOT_OFFSET, "offset of paracell_control.boot");
_Static_assert(__builtin_offsetof(struct paracell_control, exit_reason) == PARACELL_CONTROL_EXIT_REASON_OFFSET, "offset of paracell_control.exit_reason");
_Static_assert(__builtin_offsetof(struct paracell_control, exit_code) == PARACELL_CONTROL_EXIT_CODE_OFFSET, "offset of paracell_control.exit_code");
_Static_assert(__builtin_offsetof(struct paracell_control, exit_detail) == PARACELL_CONTROL_EXIT_DETAIL_OFFSET, "offset of paracell_control.exit_detail");
_Static_assert(__builtin_offsetof(struct paracell_control, exit_msg) == PARACELL_CONTROL_EXIT_MSG_OFFSET, "offset of paracell_control.exit_msg");
_Static_assert(__builtin_offsetof(struct paracell_control, exit_claim) == PARACELL_CONTROL_EXIT_CLAIM_OFFSET, "offset of paracell_control.exit_claim");
_Static_assert(__builtin_offsetof(struct paracell_control, warden_word) == PARACELL_CONTROL_WARDEN_WORD_OFFSET, "offset of paracell_control.warden_word");
_Static_assert(__builtin_offsetof(struct paracell_control, spawn_want) == PARACELL_CONTROL_SPAWN_WANT_OFFSET, "offset of paracell_control.spawn_want");
_Static_assert(__builtin_offsetof(struct paracell_control, kick_mask) == PARACELL_CONTROL_KICK_MASK_OFFSET, "offset of paracell_control.kick_mask");
_Static_assert(__builtin_offsetof(struct paracell_control, free_head) == PARACELL_CONTROL_FREE_HEAD_OFFSET, "offset of paracell_control.free_head");
_Static_assert(__builtin_offsetof(struct paracell_control, free_count) == PARACELL_CONTROL_FREE_COUNT_OFFSET, "offset of paracell_control.free_count");
_Static_assert(__builtin_offsetof(struct paracell_control, num_slots) == PARACELL_CONTROL_NUM_SLOTS_OFFSET, "offset of paracell_control.num_slots");
_Static_assert(__builtin_offsetof(struct paracell_control, kernel_gen) == PARACELL_CONTROL_KERNEL_GEN_OFFSET, "offset of paracell_control.kernel_gen");
_Static_assert(__builtin_offsetof(struct paracell_control, lock) == PARACELL_CONTROL_LOCK_OFFSET, "offset of paracell_control.lock");
_Static_assert(__builtin_offsetof(struct paracell_control, spawn_seq) == PARACELL_CONTROL_SPAWN_SEQ_OFFSET, "offset of paracell_control.spawn_seq");
_Static_assert(__builtin_offsetof(struct paracell_control, spawn_error) == PARACELL_CONTROL_SPAWN_ERROR_OFFSET, "offset of paracell_control.spawn_error");
_Static_assert(__builtin_offsetof(struct paracell_control, free_ops) == PARACELL_CONTROL_FREE_OPS_OFFSET, "offset of paracell_control.free_ops");
_Static_assert(__builtin_offsetof(struct paracell_control, warden_idle) == PARACELL_CONTROL_WARDEN_IDLE_OFFSET, "offset of paracell_control.warden_idle");
_Static_assert(__builtin_offsetof(struct paracell_control, vector) == PARACELL_CONTROL_VECTOR_OFFSET, "offset of paracell_control.vector");
_Static_assert(__builtin_offsetof(struct paracell_control, slots) == PARACELL_CONTROL_SLOTS_OFFSET, "offset of paracell_control.slots");
_Static_assert(__builtin_offsetof(struct paracell_control, vcpus) == PARACELL_CONTROL_VCPUS_OFFSET, "offset of paracell_control.vcpus");
_Static_assert(__builtin_offsetof(struct paracell_control, devices) == PARACELL_CONTROL_DEVICES_OFFSET, "offset of paracell_control.devices");
_Static_assert(__builtin_offsetof(struct paracell_control, spill) == PARACELL_CONTROL_SPILL_OFFSET, "offset of paracell_control.spill");
#endif /* __ASSEMBLER__ */

#endif /* PARACELL_ABI_H */
