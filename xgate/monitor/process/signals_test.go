// SPDX-License-Identifier: Apache-2.0

package process_test

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
	"github.com/paracell/paracell/xgate/abi"
)

// TestSignals lets three signals come so close together that each meets the one
// before in the first instructions of the handler, at every one of them. To the
// monitor that must not look like the work of the user.
func TestSignals(t *testing.T) {
	testenv.Root(t)
	// Signals that the host side of a cell sends, and its timer.
	list := []unix.Signal{unix.SIGUSR1, unix.SIGALRM, unix.SIGUSR1}
	exit, text := runKernel(t, "signals", func(m platform.Machine) {
		// A tracer is a thread.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		for n := range 64 {
			if err := interrupt(t, list, n); err != nil {
				t.Errorf("%d instructions between the last two: %v", n, err)
				break
			}
		}
		if err := m.RaiseIRQ(abi.IRQConsole); err != nil {
			t.Error(err)
		}
	})
	if exit.Reason != abi.ReasonPowerOff || exit.Code != 0 {
		t.Errorf("cell ended: %+v", exit)
	}
	if !strings.Contains(text, "\ndone\n") {
		t.Error("the test kernel did not come to its end")
	}
}

// running is the host process that runs the cell's vCPU; the others wait.
func running(t *testing.T) int {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		for _, cell := range children(t, os.Getpid()) {
			for _, pid := range children(t, cell) {
				b, err := os.ReadFile(fmt.Sprintf("/proc/%d/syscall", pid))
				if err == nil && strings.HasPrefix(string(b), "running") {
					return pid
				}
			}
		}
	}
	return 0
}

// interrupt stops the cell in the user's code and sends it signals, the last one
// so many instructions after the one before.
func interrupt(t *testing.T, list []unix.Signal, after int) error {
	pid, err := stopUser(t)
	if err != nil {
		return err
	}
	last := len(list) - 1
	for _, s := range list[:last] {
		// It stops before the delivery, and again in the handler.
		if err := unix.Kill(pid, s); err != nil {
			return err
		}
		if err := step(pid, 0); err != nil {
			return err
		}
		if err := step(pid, s); err != nil {
			return err
		}
	}
	for range after {
		_, next, err := place(pid)
		if err != nil {
			return err
		}
		// It would load the flag of the step; the handler is past its first
		// instructions there.
		if next == popfq {
			break
		}
		if err := step(pid, 0); err != nil {
			return err
		}
	}
	if err := unix.Kill(pid, list[last]); err != nil {
		return err
	}
	return unix.PtraceDetach(pid)
}

// stopUser stops the process that runs the cell's vCPU while that runs the user.
func stopUser(t *testing.T) (pid int, err error) {
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); {
		pid = running(t)
		if err := unix.PtraceAttach(pid); err != nil {
			return 0, fmt.Errorf("attach to process %d: %w", pid, err)
		}
		if err := stopped(pid); err != nil {
			return 0, err
		}
		at, _, err := place(pid)
		if err != nil {
			return 0, err
		}
		if at >= abi.UserMin && at < userEnd {
			return pid, nil
		}
		if err := unix.PtraceDetach(pid); err != nil {
			return 0, fmt.Errorf("detach from process %d: %w", pid, err)
		}
	}
	return 0, errors.New("the cell does not get to its user")
}

// userEnd is above the code of the test kernel's users.
const userEnd = 0x1000000

const popfq = 0x9d

// place is where a process stands, and the first byte of its next instruction.
func place(pid int) (uint64, byte, error) {
	var regs unix.PtraceRegs
	if err := unix.PtraceGetRegs(pid, &regs); err != nil {
		return 0, 0, fmt.Errorf("registers: %w", err)
	}
	var b [1]byte
	if _, err := unix.PtracePeekText(pid, uintptr(regs.Rip), b[:]); err != nil {
		return 0, 0, fmt.Errorf("instruction at %#x: %w", regs.Rip, err)
	}
	return regs.Rip, b[0], nil
}

// step executes an instruction, or begins the handler of a signal.
func step(pid int, s unix.Signal) error {
	_, _, errno := unix.Syscall6(unix.SYS_PTRACE, unix.PTRACE_SINGLESTEP, uintptr(pid), 0, uintptr(s), 0, 0)
	if errno != 0 {
		return fmt.Errorf("step: %w", errno)
	}
	return stopped(pid)
}

// stopped waits until a process has stopped.
func stopped(pid int) error {
	var ws unix.WaitStatus
	for {
		_, err := unix.Wait4(pid, &ws, unix.WALL, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return fmt.Errorf("wait: %w", err)
		case !ws.Stopped():
			return fmt.Errorf("it has ended: %#x", ws)
		default:
			return nil
		}
	}
}
