// SPDX-License-Identifier: Apache-2.0

package pid1

import (
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/protos/boot"
)

// enterRoot makes a virtio file system the root. The initramfs stays below it,
// out of reach: the kernel cannot free it.
func enterRoot(root string, spec *boot.Spec) error {
	dir := filepath.Join(root, boot.Dir, "root")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	var flags uintptr
	if spec.RootReadOnly {
		flags = unix.MS_RDONLY
	}
	if err := unix.Mount(spec.RootTag, dir, "virtiofs", flags, ""); err != nil {
		return fmt.Errorf("mount the root file system %q: %w", spec.RootTag, err)
	}
	if err := unix.Chdir(dir); err != nil {
		return err
	}
	if err := unix.Mount(".", "/", "", unix.MS_MOVE, ""); err != nil {
		return fmt.Errorf("move the root file system into place: %w", err)
	}
	if err := unix.Chroot("."); err != nil {
		return err
	}
	return unix.Chdir("/")
}
