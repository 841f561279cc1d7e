// SPDX-License-Identifier: Apache-2.0

package platformtest

import (
	"unsafe"

	"github.com/paracell/paracell/xgate/abi"
)

// Addresses of fields of the control area, as guests see them.
const (
	cmdlineAddr   = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Boot)+unsafe.Offsetof(abi.BootParams{}.Cmdline))
	initrdAddr    = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Boot)+unsafe.Offsetof(abi.BootParams{}.InitrdGPA))
	seedAddr      = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Boot)+unsafe.Offsetof(abi.BootParams{}.RNGSeed))
	tscKHzAddr    = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Boot)+unsafe.Offsetof(abi.BootParams{}.TSCKHz))
	exitMsgAddr   = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.ExitMsg))
	exitClaimAddr = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.ExitClaim))
	pendingAddr   = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Vcpus)+unsafe.Offsetof(abi.Vcpu{}.Pending))
	devicesAddr   = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Devices))
	wardenAddr    = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.WardenWord))
	vcpusAddr     = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Vcpus))
	slotsAddr     = abi.ControlBase + uint64(unsafe.Offsetof(abi.Control{}.Slots))
	slotsSize     = uint64(unsafe.Sizeof(abi.Control{}.Slots))
	vcpuSize      = uint64(unsafe.Sizeof(abi.Vcpu{}))
	mailboxSize   = slotsAddr - wardenAddr
	notifyOffset  = uint64(unsafe.Offsetof(abi.VirtioDevice{}.NotifyQueues))
	fpAreaOffset  = uint64(unsafe.Offsetof(abi.Vcpu{}.FPArea))
	asOffset      = uint64(unsafe.Offsetof(abi.Vcpu{}.AS))
	liveOffset    = uint64(unsafe.Offsetof(abi.Vcpu{}.Live))
	opsOffset     = uint64(unsafe.Offsetof(abi.Vcpu{}.Ops))
	mapOpSize     = uint64(unsafe.Sizeof(abi.MapOp{}))
	deviceSize    = uint64(unsafe.Sizeof(abi.VirtioDevice{}))
)

// EnterFrom takes a slot to be of 16 bytes, and to begin with Cmd.
const (
	_ = -uint(unsafe.Sizeof(abi.Slot{}) - 16)
	_ = -uint(unsafe.Offsetof(abi.Slot{}.Cmd))
)

// Enter writes Live and NumOps as one word.
const _ = -uint(unsafe.Offsetof(abi.Vcpu{}.NumOps) - unsafe.Offsetof(abi.Vcpu{}.Live) - 4)
