// SPDX-License-Identifier: Apache-2.0

package kvm

import "github.com/paracell/paracell/xgate/abi"

// Guest physical addresses. All are below 2^39, which every processor with
// hardware virtualisation has. The areas are far apart, so that none can grow
// into the next.
const (
	controlGPA  = 0x40_0000_0000 // abi.Control, behind the largest guest memory
	monitorGPA  = 0x41_0000_0000 // the monitor's image, then the pool of page tables
	doorbellGPA = 0x42_0000_0000 // no memory: a write there leaves the VM
)

// Virtual addresses of xgate/monitor/kvm/src/layout.h.
const (
	aliasVA    = abi.MonitorBase + 0x1000_0000
	doorbellVA = abi.MonitorBase + 0x1000_1000
	poolVA     = abi.MonitorBase + 0x4000_0000
)

// Words of the doorbell page.
const (
	bellNotify = iota
	bellTimer
	bellIdle
	bellExit
	bellConsole
)

// consoleSize is the size of the monitor's console buffer.
const consoleSize = 0x4000

// imageMax is where the pool begins behind the start of the image.
const imageMax = 1 << 20

// Isolation modes of the monitor; the first two are abi.IsolationNone and
// abi.IsolationMPK.
const isolationPageTable = 2

// Selectors, and the vector of interrupts.
const (
	userCS     = 0x33
	userSS     = 0x2b
	ring0CS    = 0x10
	tssSel     = 0x40
	irqVector  = 32
	numVectors = 33
	stubSize   = 64
)

// poolSize is the memory for page tables of a cell, bound as it is used. A cell
// whose tables do not fit drops them and fills them again by faults.
func poolSize(memSize uint64) uint64 {
	return max(16<<20, memSize/16&^(abi.PageSize-1))
}
