// SPDX-License-Identifier: Apache-2.0

package kvm_test

import (
	"context"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/vmm/platform/platformtest"
	"github.com/paracell/paracell/xgate/abi"
	monitor "github.com/paracell/paracell/xgate/monitor/kvm"
)

// Places of vmm/kvm/layout.go and of the monitor, as a guest kernel finds them.
const (
	aliasVA    = abi.MonitorBase + 0x1000_0000
	doorbellVA = abi.MonitorBase + 0x1000_1000
	poolVA     = abi.MonitorBase + 0x4000_0000
	vcpuGS     = abi.ControlBase
)

func kernel() *platformtest.Guest { return new(platformtest.Guest) }

// runKernel runs a hostile kernel and returns how it ended; nil if it did not
// end by itself. Closing has to work in every case.
func runKernel(t *testing.T, p platform.Platform, mode platform.Isolation, g *platformtest.Guest, wait time.Duration) *platform.Exit {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	m, err := p.Create(ctx, platform.Config{Name: "hostile", MemSize: 32 << 20, Vcpus: 1, Isolation: mode, Kernel: g.Image(), Devices: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		begin := time.Now()
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		if d := time.Since(begin); d > 10*time.Second {
			t.Errorf("Close took %v", d)
		}
	}()
	if err := m.Start(ctx); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithTimeout(ctx, wait)
	defer cancel()
	x, err := m.Wait(ctx)
	if err != nil {
		return nil
	}
	for _, c := range x.Message {
		if c < ' ' || c > '~' {
			t.Errorf("message %q", x.Message)
			break
		}
	}
	return &x
}

// modes runs a test with every isolation mode that the host has.
func modes(t *testing.T, f func(*testing.T, platform.Platform, platform.Isolation)) {
	for _, mode := range []platform.Isolation{platform.IsolationMPK, platform.IsolationPageTable, platform.IsolationNone} {
		if mode != platform.IsolationMPK && testenv.Emulated() {
			continue
		}
		t.Run(string(mode), func(t *testing.T) { f(t, testenv.KVMPlatform(t, mode), mode) })
	}
}

// TestUnexpectedExits: what a guest kernel does wrong ends the cell with the
// reason.
func TestUnexpectedExits(t *testing.T) {
	modes(t, func(t *testing.T, p platform.Platform, mode platform.Isolation) {
		for _, c := range []struct {
			name string
			g    *platformtest.Guest
			want string // part of the message
		}{
			{"read of the doorbell", kernel().SetReg(platformtest.RBX, doorbellVA).Raw(0x48, 0x8b, 0x03), "where there is no memory"},
			{"unknown word of the doorbell", kernel().Store(doorbellVA+8*100, 1), "where there is no memory"},
			{"a byte for the doorbell", kernel().SetReg(platformtest.RBX, doorbellVA+8).Raw(0xc6, 0x03, 0x01), "wrote 1 bytes"},
			{"beside the doorbell", kernel().Store(doorbellVA+9, 1), "no memory"},
			{"exit without a reason", kernel().Store(doorbellVA+8*3, 1), "without a reason"},
			{"port", kernel().Raw(0xe6, 0x80), "before CallVectors"}, // out %al, $0x80
			{"hlt", kernel().Raw(0xf4), "before CallVectors"},
			{"syscall", kernel().Raw(0x0f, 0x05), "before CallVectors"},
			{"no stack", kernel().SetReg(platformtest.RBX, 0).Raw(0x48, 0x89, 0xdc, 0x0f, 0x0b), "fault in the monitor"}, // mov %rbx, %rsp; ud2
			{"stack outside", kernel().SetReg(platformtest.RBX, 1<<63).Raw(0x48, 0x89, 0xdc, 0x0f, 0x0b), "fault in the monitor"},
		} {
			x := runKernel(t, p, mode, c.g, 10*time.Second)
			if x == nil {
				t.Errorf("%s: the cell did not end", c.name)
			} else if x.OK() || !strings.Contains(x.Message, c.want) {
				t.Errorf("%s: %+v; %q is expected", c.name, *x, c.want)
			}
		}
	})
}

// TestBrokenRing0: the guest kernel overwrites what ring 0 lives on, then has an
// exception. Triple faults, loops without interrupts and halts are all the
// guest's own trouble.
func TestBrokenRing0(t *testing.T) {
	modes(t, func(t *testing.T, p platform.Platform, mode platform.Isolation) {
		for name, g := range map[string]*platformtest.Guest{
			"data of ring 0": kernel().Fill(aliasVA, abi.PageSize, 0),
			"ones in it":     kernel().Fill(aliasVA, abi.PageSize, 0xff),
			"page tables":    kernel().Fill(poolVA, 64*abi.PageSize, 0),
			"loops in them":  kernel().Fill(poolVA, 64*abi.PageSize, 0x67),
		} {
			x := runKernel(t, p, mode, g.Raw(0x0f, 0x0b).Spin(), 2*time.Second)
			if x != nil && x.OK() {
				t.Errorf("%s: %+v", name, *x)
			}
		}
	})
}

// takeRing0 makes ring 0 run the code that follows: the frame by which every event
// goes on in ring 3 is data that the kernel can write. Nothing in ring 0 is there
// to be defended against the kernel; the virtual machine holds both.
func takeRing0(t *testing.T) *platformtest.Guest {
	t.Helper()
	m, err := monitor.Load()
	if err != nil {
		t.Fatal(err)
	}
	at := func(symbol string) uint64 {
		v, err := m.Symbol(symbol)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	frame := aliasVA + at("entry_frame") - at("__ring0_data")
	build := func(code uint64) *platformtest.Guest {
		return kernel().
			Store(frame, code).   // instruction pointer
			Store(frame+8, 0x10). // ring 0
			Store(frame+16, 2).   // interrupts off
			Store(frame+24, stackInScratch).
			Store(frame+32, 0x18).
			Raw(0x0f, 0x0b) // ud2
	}
	return build(platformtest.TextBase + uint64(build(0).Len()))
}

// stackInScratch is zeroed memory with some room on both sides.
const stackInScratch = abi.PhysBase + platformtest.ScratchGPA + 0x8000

// TestRing0 runs hostile code in ring 0: whatever leaves the virtual machine ends
// the cell and says why.
func TestRing0(t *testing.T) {
	modes(t, func(t *testing.T, p platform.Platform, mode platform.Isolation) {
		for _, c := range []struct {
			name string
			code []byte
			want string // part of the message; "": the cell may have to be ended
		}{
			{"halt, interrupts off", []byte{0xf4}, "halted"},
			{"halt, interrupts on", []byte{0xfb, 0xf4}, "halted"},
			{"write to a port", []byte{0xe6, 0x80}, "I/O port 0x80"},
			{"read of a port", []byte{0xe4, 0x60}, "I/O port 0x60"},
			{"words to a port", []byte{0x66, 0xba, 0xf8, 0x03, 0x66, 0xef}, "I/O port 0x3f8"},
			{"a string to a port", []byte{0x66, 0xba, 0xf8, 0x03, 0x48, 0x89, 0xe6, 0xb9, 9, 0, 0, 0, 0xf3, 0x6e}, "I/O port 0x3f8"},
			{"system management", []byte{0xe6, 0xb2}, "I/O port 0xb2"},
			{"no interrupt table", []byte{0x0f, 0x01, 0x1c, 0x24, 0x0f, 0x0b}, "triple fault"},  // lidt (%rsp); ud2
			{"no page table", []byte{0x31, 0xc0, 0x0f, 0x22, 0xd8, 0x0f, 0x0b}, "triple fault"}, // mov $0, %cr3
			{"hypercall", []byte{0xb8, 1, 0, 0, 0, 0x0f, 0x01, 0xc1}, ""},                       // vmcall: an error, or an exception
			{"loop, interrupts off", []byte{0xfa, 0xeb, 0xfe}, ""},
			{"loop of exceptions", []byte{0x0f, 0x0b}, ""}, // its handler is itself
		} {
			wait := 10 * time.Second
			if c.want == "" {
				wait = 200 * time.Millisecond
			}
			x := runKernel(t, p, mode, takeRing0(t).Raw(c.code...).Raw(0xfa, 0xeb, 0xfe), wait)
			switch {
			case c.want == "" && (x == nil || !x.OK()):
			case x == nil:
				t.Errorf("%s: the cell did not end", c.name)
			case x.OK() || !strings.Contains(x.Message, c.want):
				t.Errorf("%s: %+v; %q is expected", c.name, *x, c.want)
			default:
				t.Logf("%s: %s", c.name, x.Message)
			}
		}
	})
}

// TestRandomKernels runs kernels of random instructions, with the addresses that
// hurt in their registers. Nothing is expected of them but that they end, or can
// be ended.
func TestRandomKernels(t *testing.T) {
	p := testenv.KVMPlatform(t, platform.IsolationPageTable)
	rounds := 60
	if testing.Short() || testenv.Emulated() {
		rounds = 5
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	places := []uint64{aliasVA, aliasVA + 0x3e0, doorbellVA, poolVA, poolVA + 4096, vcpuGS, abi.MonitorBase, abi.PhysBase, abi.MonitorBase + abi.EntryEnter, 0, ^uint64(0)}
	for n := range rounds {
		g := kernel()
		if n%2 == 0 {
			g = takeRing0(t)
		}
		for _, r := range []platformtest.Reg{platformtest.RAX, platformtest.RCX, platformtest.RDX, platformtest.RBX, platformtest.RSI, platformtest.RDI} {
			g.SetReg(r, places[random.IntN(len(places))]+8*uint64(random.IntN(64)))
		}
		code := make([]byte, 200)
		for i := range code {
			code[i] = byte(random.Uint32())
		}
		mode := []platform.Isolation{platform.IsolationPageTable, platform.IsolationNone}[random.IntN(2)]
		runKernel(t, p, mode, g.Raw(code...).Spin(), 150*time.Millisecond)
	}
}
