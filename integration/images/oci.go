// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// descriptor is one of the OCI image specification.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

const mediaTypes = "application/vnd.oci.image."

func (d descriptor) file() string {
	return filepath.Join("blobs", "sha256", strings.TrimPrefix(d.Digest, "sha256:"))
}

// packLayer writes a folder as a layer into the blobs of dir.
func packLayer(dir, root string) (descriptor, error) {
	blobs := filepath.Join(dir, "blobs", "sha256")
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return descriptor{}, err
	}
	f, err := os.CreateTemp(blobs, "new-")
	if err != nil {
		return descriptor{}, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	hash := sha256.New()
	w := tar.NewWriter(io.MultiWriter(f, hash))
	if err := addTree(w, root); err != nil {
		return descriptor{}, err
	}
	if err := w.Close(); err != nil {
		return descriptor{}, err
	}
	size, err := f.Seek(0, io.SeekCurrent)
	if err != nil {
		return descriptor{}, err
	}
	d := descriptor{MediaType: mediaTypes + "layer.v1.tar", Digest: "sha256:" + hex.EncodeToString(hash.Sum(nil)), Size: size}
	return d, errors.Join(f.Chmod(0o644), os.Rename(f.Name(), filepath.Join(dir, d.file())))
}

// addTree adds what is below root. What overlayfs says about removed files
// becomes what a layer says.
func addTree(w *tar.Writer, root string) error {
	links := map[uint64]string{} // by inode: the first name
	return filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		if info.Mode()&fs.ModeCharDevice != 0 && st.Rdev == 0 {
			return w.WriteHeader(&tar.Header{Name: filepath.Join(filepath.Dir(name), ".wh."+filepath.Base(name)), Typeflag: tar.TypeReg, Mode: 0o600})
		}
		if info.Mode()&fs.ModeSocket != 0 {
			return nil
		}
		target := ""
		if info.Mode()&fs.ModeSymlink != 0 {
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		h.Name, h.Uname, h.Gname = name, "", ""
		if info.IsDir() {
			h.Name += "/"
		}
		if first, ok := links[st.Ino]; ok && info.Mode().IsRegular() {
			h.Typeflag, h.Linkname, h.Size = tar.TypeLink, first, 0
			return w.WriteHeader(h)
		}
		if st.Nlink > 1 && info.Mode().IsRegular() {
			links[st.Ino] = name
		}
		if err := attributes(path, h); err != nil {
			return err
		}
		if err := w.WriteHeader(h); err != nil {
			return err
		}
		if info.IsDir() && opaque(path) {
			return w.WriteHeader(&tar.Header{Name: filepath.Join(name, ".wh..wh..opq"), Typeflag: tar.TypeReg, Mode: 0o600})
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = io.Copy(w, f)
		return err
	})
}

// attributes adds file capabilities, the one attribute that Debian's packages set.
func attributes(path string, h *tar.Header) error {
	value := make([]byte, 256)
	n, err := unix.Lgetxattr(path, "security.capability", value)
	if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("capabilities of %s: %w", path, err)
	}
	h.PAXRecords = map[string]string{"SCHILY.xattr.security.capability": string(value[:n])}
	return nil
}

func opaque(path string) bool {
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(path, "trusted.overlay.opaque", value)
	return err == nil && n == 1 && value[0] == 'y'
}

// Write writes the images as an OCI image layout in a tar archive, as
// containerd's import wants it.
func (s *Set) Write(out io.Writer) error {
	w := tar.NewWriter(out)
	files := map[string][]byte{}
	blob := func(mediaType string, v any) (descriptor, error) {
		text, err := json.Marshal(v)
		sum := sha256.Sum256(text)
		d := descriptor{MediaType: mediaTypes + mediaType, Digest: "sha256:" + hex.EncodeToString(sum[:]), Size: int64(len(text))}
		files[d.file()] = text
		return d, err
	}
	layers := map[string]descriptor{}
	manifests := []descriptor{}
	for _, i := range s.images {
		var diffs []string
		for _, l := range i.layers {
			diffs = append(diffs, l.Digest)
			layers[l.file()] = l
		}
		config, err := blob("config.v1+json", map[string]any{
			"architecture": "amd64", "os": "linux",
			"config": map[string]any{"User": i.user, "Cmd": i.command, "Env": []string{"PATH=" + path}},
			"rootfs": map[string]any{"type": "layers", "diff_ids": diffs},
		})
		if err != nil {
			return err
		}
		m, err := blob("manifest.v1+json", map[string]any{
			"schemaVersion": 2, "mediaType": mediaTypes + "manifest.v1+json", "config": config, "layers": i.layers,
		})
		if err != nil {
			return err
		}
		m.Annotations = map[string]string{"io.containerd.image.name": Ref(i.name)}
		manifests = append(manifests, m)
	}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "manifests": manifests})
	if err != nil {
		return err
	}
	files["index.json"], files["oci-layout"] = index, []byte(`{"imageLayoutVersion":"1.0.0"}`)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return err
		}
		if _, err := w.Write(files[name]); err != nil {
			return err
		}
	}
	for name, l := range layers {
		if err := copyBlob(w, name, filepath.Join(s.dir, name), l.Size); err != nil {
			return err
		}
	}
	return w.Close()
}

func copyBlob(w *tar.Writer, name, path string, size int64) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := w.WriteHeader(&tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size}); err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	return err
}
