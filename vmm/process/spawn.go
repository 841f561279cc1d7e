// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/boot"
)

// cellNamespaces are those that the first process of a cell is born in. It has
// no user namespace: it gives up its user id and capabilities itself.
const cellNamespaces = unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET |
	unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWCGROUP

// spawnArgs is what the monitor's start protocol (docs/xgate.md) needs.
type spawnArgs struct {
	memory    *os.File   // fd 3
	console   *os.File   // fd 4, write end
	notify    *os.File   // fd 5
	filter    []byte     // content of fd 6
	kernel    boot.Image // fd 8, if it has a file
	memSize   uint64
	isolation uint32
	maxPid    uint64 // see pidLimit
	name      string
}

// host is the first process of a cell.
type host struct {
	proc *os.Process
	done chan struct{}
	// state is how it ended, valid when done is closed.
	state *os.ProcessState
	err   error
}

// kill ends the cell: with its first process the host ends all others in its
// PID namespace.
func (h *host) kill() { _ = h.proc.Kill() }

// waitStatus is the wait status of the ended process.
func (h *host) waitStatus() syscall.WaitStatus {
	if h.state != nil {
		if ws, ok := h.state.Sys().(syscall.WaitStatus); ok {
			return ws
		}
	}
	return syscall.WaitStatus(0)
}

// launch starts the first process of a cell from the monitor image at path and
// returns when its jail is complete.
func launch(path string, a spawnArgs, cancel <-chan struct{}) (*host, error) {
	root, err := os.MkdirTemp("", "paracell-root-")
	if err != nil {
		return nil, fmt.Errorf("directory for the cell's empty root: %w", err)
	}
	// Its mount lives on in the cell's namespace; the directory is needed
	// only until the cell has made it its root.
	defer os.Remove(root)
	filter, err := memFile("paracell-filter", a.filter, unix.MFD_NOEXEC_SEAL)
	if err != nil {
		return nil, err
	}
	defer filter.Close()
	statusR, statusW, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("status pipe: %w", err)
	}
	defer statusR.Close()

	argv := []string{
		"paracell:" + a.name, strconv.FormatUint(a.memSize, 10), root,
		strconv.FormatUint(uint64(a.isolation), 10), "0",
	}
	for _, n := range []uint64{a.kernel.Text.Offset, a.kernel.Text.Size, a.kernel.Rodata.Offset, a.kernel.Rodata.Size, a.maxPid} {
		argv = append(argv, strconv.FormatUint(n, 10))
	}
	attr := &os.ProcAttr{
		Env:   []string{},
		Files: []*os.File{nil, nil, nil, a.memory, a.console, a.notify, filter, statusW, a.kernel.File},
		Sys: &syscall.SysProcAttr{
			Cloneflags: cellNamespaces,
			Pdeathsig:  syscall.SIGKILL,
		},
	}
	h, err := startOnOwnThread(path, argv, attr)
	statusW.Close()
	if err != nil {
		return nil, err
	}
	stop := make(chan struct{})
	var guard sync.WaitGroup
	guard.Go(func() {
		select {
		case <-cancel:
			h.kill()
		case <-stop:
		}
	})
	err = readStatus(statusR)
	close(stop)
	guard.Wait()
	if err != nil {
		h.kill()
		<-h.done
		if errors.Is(err, io.EOF) {
			err = fmt.Errorf("monitor ended during set-up: %s", waitStatusText(h.waitStatus()))
		}
		return nil, err
	}
	return h, nil
}

// readStatus reads the outcome of the set-up: "ok", or a text that says what
// went wrong; io.EOF when the monitor died without a word.
func readStatus(r io.Reader) error {
	b, err := io.ReadAll(bufio.NewReader(io.LimitReader(r, 4096)))
	if err != nil {
		return fmt.Errorf("read the monitor's status: %w", err)
	}
	text := strings.TrimSpace(string(b))
	switch text {
	case "ok":
		return nil
	case "":
		return io.EOF
	default:
		return fmt.Errorf("monitor: %s", text)
	}
}

// startOnOwnThread starts a process and waits for it on a thread of its own:
// the death signal of the child fires when the thread that made it ends, so
// this one must live as long as the child does.
func startOnOwnThread(path string, argv []string, attr *os.ProcAttr) (*host, error) {
	h := &host{done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(h.done)
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		proc, err := os.StartProcess(path, argv, attr)
		if err != nil {
			started <- explainStart(err)
			return
		}
		h.proc = proc
		started <- nil
		h.state, h.err = proc.Wait()
	}()
	if err := <-started; err != nil {
		<-h.done
		return nil, err
	}
	return h, nil
}

// explainStart adds the usual cause to an error of clone or execve.
func explainStart(err error) error {
	switch {
	case errors.Is(err, unix.EPERM):
		return fmt.Errorf("start the cell's first process: %w: new namespaces need CAP_SYS_ADMIN: run as root", err)
	case errors.Is(err, unix.EACCES):
		return fmt.Errorf("start the cell's first process: %w: the host does not let a memfd be executed (sysctl vm.memfd_noexec must be below 2)", err)
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		return fmt.Errorf("start the cell's first process: %w: too many namespaces (sysctl user.max_*_namespaces)", err)
	default:
		return fmt.Errorf("start the cell's first process: %w", err)
	}
}

// memFile makes a sealed memfd with the given content, at offset 0.
func memFile(name string, content []byte, flags int) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING|flags)
	if err != nil {
		return nil, fmt.Errorf("%s: memfd_create: %w", name, err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err := io.Copy(f, bytes.NewReader(content)); err == nil {
		_, err = f.Seek(0, io.SeekStart)
		if err == nil {
			const seals = unix.F_SEAL_WRITE | unix.F_SEAL_GROW | unix.F_SEAL_SHRINK | unix.F_SEAL_SEAL
			_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
		}
		if err == nil {
			return f, nil
		}
	}
	f.Close()
	return nil, fmt.Errorf("%s: %w", name, err)
}

// monitorFile is an executable memfd with the monitor, made once per process
// and kept: cells are started from it by path.
type monitorFile struct {
	once sync.Once
	path string
	err  error
	file *os.File
}

// open returns a path that execve takes for the monitor. It goes through our
// own /proc entry, not the child's: the child's descriptors are being
// rearranged at that time.
func (m *monitorFile) open(image func() ([]byte, error)) (string, error) {
	m.once.Do(func() {
		code, err := image()
		if err != nil {
			m.err = err
			return
		}
		self, err := os.Readlink("/proc/self")
		if err != nil {
			m.err = fmt.Errorf("start the monitor: /proc has to be mounted: %w", err)
			return
		}
		m.file, m.err = memFile("paracell-monitor", code, unix.MFD_EXEC)
		if m.err == nil {
			m.path = fmt.Sprintf("/proc/%s/fd/%d", self, m.file.Fd())
		}
	})
	return m.path, m.err
}
