// SPDX-License-Identifier: Apache-2.0

package service

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/containerd/errdefs"
)

// elfHeaderSize is as far as e_machine, in bytes; scripts name their
// interpreter in the first maxScriptLine.
const (
	elfHeaderSize = 20
	maxScriptLine = 256
)

// checkProgram says what an image for another architecture would fail with: the
// kernel only says "Exec format error". Whatever else is wrong with a program,
// or is mounted over the root, is left to crun.
func checkProgram(root string, p *specs.Process) error {
	if len(p.Args) == 0 {
		return nil
	}
	dir, err := os.OpenFile(root, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil
	}
	defer dir.Close()
	for _, name := range candidates(p) {
		head, err := readHead(dir, name)
		if err != nil {
			continue
		}
		// A script runs in its interpreter.
		if line, ok := bytes.CutPrefix(head, []byte("#!")); ok {
			line, _, _ = bytes.Cut(line, []byte("\n"))
			if fields := strings.Fields(string(line)); len(fields) > 0 {
				name = fields[0]
				if head, err = readHead(dir, name); err != nil {
					return nil
				}
			}
		}
		return checkHead(name, head)
	}
	return nil
}

// candidates are where the program of a process may be.
func candidates(p *specs.Process) []string {
	name := p.Args[0]
	if strings.Contains(name, "/") {
		if !path.IsAbs(name) {
			name = path.Join(p.Cwd, name)
		}
		return []string{name}
	}
	var list []string
	for _, e := range p.Env {
		if dirs, ok := strings.CutPrefix(e, "PATH="); ok {
			list = nil
			for d := range strings.SplitSeq(dirs, ":") {
				list = append(list, path.Join(p.Cwd, d, name))
				if path.IsAbs(d) {
					list[len(list)-1] = path.Join(d, name)
				}
			}
		}
	}
	return list
}

// readHead reads the beginning of a file below a root, which may be a link and is
// never outside.
func readHead(root *os.File, name string) ([]byte, error) {
	// Not opened for reading before it is known to be a file.
	fd, err := unix.Openat2(int(root.Fd()), name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return nil, err
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	if fi, err := f.Stat(); err != nil || !fi.Mode().IsRegular() {
		return nil, errors.Join(err, unix.EINVAL)
	}
	head := make([]byte, maxScriptLine)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, err
	}
	return head[:n], nil
}

func checkHead(name string, head []byte) error {
	if len(head) < elfHeaderSize || !bytes.HasPrefix(head, []byte(elf.ELFMAG)) {
		return nil
	}
	order := binary.ByteOrder(binary.LittleEndian)
	if head[elf.EI_DATA] == byte(elf.ELFDATA2MSB) {
		order = binary.BigEndian
	}
	machine := elf.Machine(order.Uint16(head[18:]))
	if machine == elf.EM_X86_64 {
		return nil
	}
	return fmt.Errorf("%s is a program for %s, and this machine runs those for x86-64: use the image for linux/amd64 (Exec format error): %w",
		name, strings.TrimPrefix(machine.String(), "EM_"), errdefs.ErrInvalidArgument)
}
