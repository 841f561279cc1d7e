// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"encoding/binary"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/paracell/paracell/xgate/abi"
)

// FuzzExits: whatever a vCPU leaves for, with whatever the guest chose of it,
// gets an answer or ends the cell with a reason.
func FuzzExits(f *testing.F) {
	mmio := func(gpa, value uint64, size uint32, write byte) []byte {
		b := binary.LittleEndian.AppendUint64(nil, gpa)
		b = binary.LittleEndian.AppendUint64(b, value)
		return append(binary.LittleEndian.AppendUint32(b, size), write)
	}
	for reason := range uint32(40) {
		f.Add(reason, []byte{})
	}
	for word := range uint64(8) {
		f.Add(uint32(exitMMIO), mmio(doorbellGPA+8*word, ^uint64(0), 8, 1))
	}
	f.Add(uint32(exitMMIO), mmio(doorbellGPA+4, 1, 8, 1))
	f.Add(uint32(exitMMIO), mmio(doorbellGPA+8*bellConsole, 1<<63, 8, 1))
	f.Add(uint32(exitMMIO), mmio(^uint64(0), 1, 0xffff_ffff, 0))
	f.Fuzz(func(t *testing.T, reason uint32, data []byte) {
		area := &kvmRun{exitReason: reason}
		copy(area.exit[:], data)
		v := &vm{area: runArea{kvmRun: area}, guest: &guest{console: make([]byte, consoleSize), timerArmed: make([]byte, 8)}}
		vcpu := &abi.Vcpu{Deadline: never, Pending: 1}
		said := 0
		r := &runner{
			vm: v, vcpu: vcpu, armed: never, kHz: 1, stop: new(atomic.Bool), kick: new(atomic.Bool), exits: new(atomic.Uint64),
			console: func(b []byte) { said += len(b) }, tsc: func() uint64 { return 1 },
		}
		end, err := r.doorbell()
		if err != nil {
			t.Fatal(err)
		}
		if said > consoleSize {
			t.Errorf("%d bytes of console", said)
		}
		texts := []string{v.unexpected()}
		if end != nil {
			texts = append(texts, end.text)
		}
		gpa, _, size, write := v.mmio()
		rung := write && size == 8 && gpa%8 == 0 && gpa >= doorbellGPA && gpa <= doorbellGPA+8*bellConsole && gpa != doorbellGPA+8*bellNotify
		if (end == nil || end.text == "") != rung {
			t.Errorf("%d bytes at %#x: end %v", size, gpa, end)
		}
		for _, text := range texts {
			if strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
				t.Errorf("text %q", text)
			}
		}
	})
}
