// SPDX-License-Identifier: Apache-2.0

package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestLayer(t *testing.T) {
	root := t.TempDir()
	write := func(name string, mode os.FileMode) {
		t.Helper()
		p := filepath.Join(root, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o755), os.WriteFile(p, []byte(name), 0o600), os.Chmod(p, mode)); err != nil {
			t.Fatal(err)
		}
	}
	write("bin/a", 0o755|os.ModeSetuid)
	if err := errors.Join(os.Link(root+"/bin/a", root+"/bin/b"), os.Symlink("a", root+"/bin/c")); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := errors.Join(addTree(w, root), w.Close()); err != nil {
		t.Fatal(err)
	}
	type entry struct {
		kind    byte
		link    string
		content string
		mode    int64
	}
	want := map[string]entry{
		"bin/":  {kind: tar.TypeDir, mode: 0o755},
		"bin/a": {kind: tar.TypeReg, content: "bin/a", mode: 0o4755},
		"bin/b": {kind: tar.TypeLink, link: "bin/a", mode: 0o4755},
		"bin/c": {kind: tar.TypeSymlink, link: "a", mode: 0o777},
	}
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		content, rerr := io.ReadAll(r)
		if err := errors.Join(err, rerr); err != nil {
			t.Fatal(err)
		}
		if got := (entry{h.Typeflag, h.Linkname, string(content), h.Mode}); got != want[h.Name] {
			t.Errorf("%s: %+v, want %+v", h.Name, got, want[h.Name])
		}
		delete(want, h.Name)
	}
	for name := range want {
		t.Errorf("%s is missing", name)
	}
}

// Images that hold the same share their layer; others never do.
func TestImagesWithOtherContentHaveOtherLayers(t *testing.T) {
	seen := map[string]string{}
	for _, i := range table {
		l := layerOf(i)
		if seen[l] != "" && !(onBusybox(i.name) && onBusybox(seen[l])) {
			t.Errorf("%s and %s have the layer %s", i.name, seen[l], l)
		}
		seen[l] = i.name
	}
}
