// SPDX-License-Identifier: Apache-2.0

package images

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// bareLayer makes a layer of packages that are unpacked and not installed: no
// script of theirs runs, and nothing that they depend on comes with them.
func (b *builder) bareLayer(ctx context.Context, i image) error {
	what := "making an image of " + strings.Join(i.packages, " ") + " alone"
	begin := time.Now()
	b.say("%s", what)
	dir, err := os.MkdirTemp(b.dir, "bare-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root := filepath.Join(dir, "root")
	for _, d := range []string{"dev", "etc", "proc", "root", "run", "sys", "tmp"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			return err
		}
	}
	for _, name := range i.packages {
		if err := unpack(ctx, dir, root, name); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
	}
	if err := os.RemoveAll(filepath.Join(root, "usr/share")); err != nil {
		return err
	}
	blob, err := packLayer(b.dir, root)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	b.say("%s: %.0f s, %d MB", what, time.Since(begin).Seconds(), blob.Size>>20)
	return b.record(layerOf(i), blob)
}

// unpack downloads a package to dir and unpacks it in root.
func unpack(ctx context.Context, dir, root, name string) error {
	for _, args := range [][]string{
		{"apt-get", "download", "-q", "-o", "APT::Sandbox::User=root", name},
		{"sh", "-c", `dpkg-deb -x "$0"_*.deb "$1"`, name, root},
	} {
		cmd := exec.CommandContext(ctx, args[0], args[1:]...)
		cmd.Dir = dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("package %s: %w\n%s", name, err, out)
		}
	}
	return nil
}
