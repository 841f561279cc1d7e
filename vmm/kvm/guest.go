// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"encoding/binary"
	"fmt"

	"github.com/paracell/paracell/vmm/memory"
	"github.com/paracell/paracell/xgate/abi"
	monitor "github.com/paracell/paracell/xgate/monitor/kvm"
)

// guest is what is in the monitor's memory when the vCPU starts.
type guest struct {
	mem       *memory.Memory // the monitor's memory: image and pool
	isolation uint32

	kernelTable uint64 // GPA
	symbols     map[string]uint64
	// Code ranges in which the VMM may not interrupt the vCPU.
	windowStart, windowEnd uint64
	// timerArmed is the monitor's copy of the deadline that we have armed.
	timerArmed []byte
	console    []byte
}

// Symbols of the image that are used here.
var wanted = []string{
	"__text_end", "__gate_call_page", "__ring0_text", "__ring0_text_end", "__rodata_start", "__rodata_end",
	"__gate_page", "__scratch_page", "__ring0_data", "__idt", "__idt_kernel", "__ring0_data_end", "__data_start", "__image_end",
	"__wrpkru_sites", "__wrpkru_sites_end",
	"stubs_pt", "stubs_mk", "stub_go", "lstar_pt", "lstar_mk", "cstar_pt", "cstar_mk",
	"ring0_tss", "ring0_gdt", "ring0_gdt_end", "kernel_cr3", "user_cr3",
	"handoff", "monitor_start", "trap_entry", "trap_window_end", "console_buffer", "timer_armed",
}

// newGuest makes the monitor's memory for a cell with this guest memory.
// A probe ends after the monitor's self-test.
func newGuest(name string, b *abi.BootParams, isolation uint32, probe bool) (_ *guest, err error) {
	m, err := monitor.Load()
	if err != nil {
		return nil, err
	}
	g := &guest{isolation: isolation, symbols: map[string]uint64{}}
	for _, s := range wanted {
		if g.symbols[s], err = m.Symbol(s); err != nil {
			return nil, err
		}
	}
	if len(m.Memory) > imageMax || g.symbols["timer_armed"]%8 != 0 {
		return nil, fmt.Errorf("monitor image of %d bytes does not fit", len(m.Memory))
	}
	g.mem, err = memory.New("paracell-monitor:"+name, imageMax+poolSize(b.MemSize), 0)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			g.mem.Close()
		}
	}()
	if err := g.mem.Write(0, m.Memory); err != nil {
		return nil, err
	}
	t := &tables{mem: g.mem}
	userWindow, err := g.mapAll(t, b)
	if err != nil {
		return nil, err
	}
	g.descriptors()
	if isolation != abi.IsolationMPK {
		if err := g.withoutKeys(); err != nil {
			return nil, err
		}
	}
	g.windowStart = abi.MonitorBase + g.symbols["trap_entry"]
	g.windowEnd = abi.MonitorBase + g.symbols["trap_window_end"]
	if g.console, err = g.mem.Slice(g.symbols["console_buffer"], consoleSize); err != nil {
		return nil, err
	}
	if g.timerArmed, err = g.mem.Slice(g.symbols["timer_armed"], 8); err != nil {
		return nil, err
	}
	g.put("kernel_cr3", 0, g.kernelTable)
	g.put("user_cr3", 0, g.kernelTable)
	probed := uint64(0)
	if probe {
		probed = 1
	}
	// struct handoff of the monitor.
	for i, v := range []uint64{
		uint64(isolation), g.kernelTable, userWindow, poolGPA, (g.mem.Size() - imageMax) / abi.PageSize, t.used,
		g.syscallEntry(), probed,
	} {
		g.put("handoff", uint64(8*i), v)
	}
	return g, nil
}

func (g *guest) close() error { return g.mem.Close() }

// va is the address of a symbol.
func (g *guest) va(symbol string) uint64 { return abi.MonitorBase + g.symbols[symbol] }

// put writes a word behind a symbol; the offsets are those of a checked image.
func (g *guest) put(symbol string, off, v uint64) {
	_ = g.mem.StoreUint64(g.symbols[symbol]+off, v)
}

func (g *guest) pageTable() bool { return g.isolation == isolationPageTable }

func (g *guest) syscallEntry() uint64 {
	if g.pageTable() {
		return g.va("lstar_pt")
	}
	return g.va("lstar_mk")
}

func (g *guest) syscallEntry32() uint64 {
	if g.pageTable() {
		return g.va("cstar_pt")
	}
	return g.va("cstar_mk")
}

// key returns a mapping with a protection key, where there are any.
func (g *guest) key(flags, key uint64) uint64 {
	if g.isolation == abi.IsolationMPK {
		flags |= pteKey(key)
	}
	return flags
}

// mapAll builds the kernel's page table, and with two tables also what all
// users have in the window: the entry of their top tables for it is returned.
func (g *guest) mapAll(t *tables, b *abi.BootParams) (userWindow uint64, err error) {
	if _, err = t.alloc(); err != nil { // the pool's page 0 stays unused
		return 0, err
	}
	if g.kernelTable, err = t.alloc(); err != nil {
		return 0, err
	}
	s := g.symbols
	k := func(flags uint64) uint64 { return g.key(flags, abi.KeyKernel) }
	idt := "__idt"
	if g.pageTable() {
		idt = "__idt_kernel"
	}
	type mapping struct{ va, gpa, n, flags uint64 }
	image := func(from, to string, flags uint64) mapping {
		start, end := uint64(0), s[to]
		if from != "" {
			start = s[from]
		}
		return mapping{abi.MonitorBase + start, monitorGPA + start, end - start, flags}
	}
	for _, m := range []mapping{
		{abi.PhysBase, 0, b.KernelTextStart, k(mapData)},
		{abi.PhysBase + b.KernelTextStart, b.KernelTextStart, b.KernelTextEnd - b.KernelTextStart, k(mapText)},
		{abi.PhysBase + b.KernelTextEnd, b.KernelTextEnd, b.KernelRodataEnd - b.KernelTextEnd, k(mapRead)},
		{abi.PhysBase + b.KernelRodataEnd, b.KernelRodataEnd, b.MemSize - b.KernelRodataEnd, k(mapData)},
		{abi.ControlBase, controlGPA, abi.ControlSize, k(mapData)},
		image("", "__text_end", k(mapText)),
		image("__gate_call_page", "__ring0_text", k(mapRead)),
		image("__ring0_text", "__ring0_text_end", mapRing0Text),
		image("__rodata_start", "__rodata_end", k(mapRead)),
		image("__gate_page", "__scratch_page", g.key(mapData, abi.KeyRead)),
		image("__scratch_page", "__ring0_data", g.key(mapData, abi.KeyScratch)),
		image("__ring0_data", "__idt", mapRing0Data),
		{g.va("__idt"), monitorGPA + s[idt], abi.PageSize, mapRing0Data},
		image("__data_start", "__image_end", k(mapData)),
		{aliasVA, monitorGPA + s["__ring0_data"], abi.PageSize, k(mapData)},
		{doorbellVA, doorbellGPA, abi.PageSize, k(mapData)},
		{poolVA, poolGPA, g.mem.Size() - imageMax, k(mapData)},
	} {
		if err := t.add(g.kernelTable, m.va, m.gpa, m.n, m.flags); err != nil {
			return 0, err
		}
	}
	// The vmalloc area is in a table that all address spaces share.
	if _, err := t.walk(g.kernelTable, abi.VmallocBase, 3); err != nil {
		return 0, err
	}
	if !g.pageTable() {
		return 0, nil
	}
	top, err := t.alloc()
	if err != nil {
		return 0, err
	}
	for _, m := range []mapping{
		{abi.MonitorBase + abi.EntryGate, monitorGPA + s["__gate_call_page"], abi.PageSize, mapText},
		image("__scratch_page", "__ring0_data", mapData),
		image("__ring0_text", "__ring0_text_end", mapRing0Text),
		image("__ring0_data", "__idt_kernel", mapRing0Data),
	} {
		if err := t.add(top, m.va, m.gpa, m.n, m.flags); err != nil {
			return 0, err
		}
	}
	e, err := t.entry(top, abi.MonitorBase>>39&511)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(e), nil
}

// descriptors writes the interrupt tables and the task state's descriptor.
func (g *guest) descriptors() {
	stubs, breakpoint := "stubs_mk", ""
	if g.pageTable() {
		stubs, breakpoint = "stubs_pt", "stub_go"
	}
	for vec := uint64(0); vec < numVectors; vec++ {
		entry := g.va(stubs) + vec*stubSize
		g.gate("__idt", vec, entry)
		if vec == 3 && breakpoint != "" {
			entry = g.va(breakpoint)
		}
		g.gate("__idt_kernel", vec, entry)
	}
	tss := g.va("ring0_tss")
	g.put("ring0_gdt", tssSel, 0x67|tss&0xff_ffff<<16|0x8b<<40|tss>>24&0xff<<56)
	g.put("ring0_gdt", tssSel+8, tss>>32)
}

// gate writes an interrupt gate to ring 0 (SDM volume 3, 6.14.1). Ring 3 may
// use the one of the breakpoint by instruction.
func (g *guest) gate(table string, vec, entry uint64) {
	const present, interruptGate, ring3 = 1 << 47, 0xe << 40, 3 << 45
	low := entry&0xffff | ring0CS<<16 | present | interruptGate | entry>>16&0xffff<<48
	if vec == 3 {
		low |= ring3
	}
	g.put(table, 16*vec, low)
	g.put(table, 16*vec+8, entry>>32)
}

// withoutKeys makes a no-op of every wrpkru; no other code has one.
func (g *guest) withoutKeys() error {
	for off := g.symbols["__wrpkru_sites"]; off < g.symbols["__wrpkru_sites_end"]; off += 8 {
		site, err := g.mem.LoadUint64(off)
		if err != nil {
			return err
		}
		if err := g.mem.Write(site-abi.MonitorBase, []byte{0x0f, 0x1f, 0x00}); err != nil {
			return err
		}
	}
	return nil
}
