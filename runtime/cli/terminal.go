// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"
)

// rawTerminal puts a terminal into raw mode, in which the guest's terminal does
// the work, and returns its size and what puts it back.
func rawTerminal(f *os.File) (cols, rows uint16, restore func(), err error) {
	fd := int(f.Fd())
	old, err := unix.IoctlGetTermios(fd, unix.TCGETS)
	if err != nil {
		return 0, 0, nil, fmt.Errorf("--tty: standard input is not a terminal")
	}
	raw := *old
	raw.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	raw.Oflag &^= unix.OPOST
	raw.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	raw.Cflag = raw.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	raw.Cc[unix.VMIN], raw.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(fd, unix.TCSETS, &raw); err != nil {
		return 0, 0, nil, fmt.Errorf("--tty: %w", err)
	}
	restore = func() { _ = unix.IoctlSetTermios(fd, unix.TCSETS, old) }
	if ws, err := unix.IoctlGetWinsize(fd, unix.TIOCGWINSZ); err == nil {
		cols, rows = ws.Col, ws.Row
	}
	return cols, rows, restore, nil
}

// followSize passes changes of the size of a terminal on until stop is called.
func followSize(f *os.File, resize func(cols, rows uint16)) (stop func()) {
	changes := make(chan os.Signal, 1)
	signal.Notify(changes, unix.SIGWINCH)
	go func() {
		for range changes {
			if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil {
				resize(ws.Col, ws.Row)
			}
		}
	}()
	return func() {
		signal.Stop(changes)
		close(changes)
	}
}
