// SPDX-License-Identifier: Apache-2.0

// Package process carries the monitor of the process platform: a freestanding
// static ELF image, built by "make monitor" into image/monitor and embedded
// here. docs/xgate.md says what it does and how it is started.
package process

import (
	"embed"
	"errors"
	"io/fs"
)

// A directory is embedded, so that the package also compiles before the image
// is there.
//
//go:embed all:image
var files embed.FS

// ErrNoImage says that the program was built without the monitor.
var ErrNoImage = errors.New("this program was built without the monitor: build it with make")

// Image returns the ELF image. The caller must not change it.
func Image() ([]byte, error) {
	b, err := files.ReadFile("image/monitor")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoImage
	}
	return b, err
}
