// SPDX-License-Identifier: Apache-2.0

// Package rules holds tests over the source tree itself.
package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/paracell/paracell/internal/testenv"
)

const module = "github.com/paracell/paracell/"

// imports says what the packages of a folder may import: packages of this
// module by folder, others by import path ("..." stands for everything below).
// The standard library is always allowed, and a folder may import itself.
var imports = []struct {
	folder  string
	allowed []string
}{
	// Folders are tried in order: the special ones stand first.
	{"xgate/abi/gen", nil},
	{"xgate/abi", nil},
	{"xgate/monitor/kvm", []string{"xgate/abi"}},
	{"xgate/monitor", nil},
	{"xgate/scrub", []string{"xgate/scan", "golang.org/x/arch/x86/..."}}, // runs while the kernel is built; nothing ships it
	{"xgate", []string{"xgate/..."}},
	{"pager/ring", nil},
	{"pager", []string{"pager/...", "vmm/memory", "golang.org/x/sys/..."}},
	{"protos/gen", []string{"google.golang.org/protobuf/...", "github.com/bufbuild/protocompile/..."}},
	{"protos", []string{"google.golang.org/protobuf/...", "github.com/containerd/ttrpc"}},
	{"vmm/memory", []string{"golang.org/x/sys/..."}},
	{"vmm/platform/platformtest", []string{"vmm/platform", "vmm/memory", "xgate/abi"}},
	{"vmm/platform", []string{"xgate/abi", "vmm/memory"}},
	{"vmm/boot", []string{"vmm/platform", "vmm/memory", "xgate/abi", "golang.org/x/sys/..."}},
	{"vmm/process", []string{"vmm/platform", "vmm/boot", "vmm/memory", "xgate/...", "golang.org/x/sys/..."}},
	{"vmm/kvm", []string{"vmm/platform", "vmm/boot", "vmm/memory", "xgate/...", "golang.org/x/sys/..."}},
	{"vmm/virtio/transport", []string{"vmm/memory", "vmm/virtio", "xgate/abi"}},
	{"vmm/virtio/virtiotest", []string{"vmm/memory", "vmm/virtio", "xgate/abi"}},
	{"vmm/virtio", []string{"vmm/memory", "golang.org/x/sys/..."}},
	// vmm/virtioblk, vmm/virtionet, ...
	{"vmm/virtio*", []string{"vmm/memory", "vmm/virtio/...", "golang.org/x/sys/...", "github.com/hanwen/go-fuse/..."}},
	{"vmm/machine", []string{"vmm/...", "xgate/abi", "golang.org/x/sys/..."}},
	{"runtime/cell", []string{"runtime/...", "vmm/...", "pager/...", "protos/...", "golang.org/x/sys/..."}},
	{"runtime/network", []string{"github.com/vishvananda/netlink/...", "golang.org/x/sys/..."}},
	{"runtime", []string{"runtime/...", "vmm/platform", "vmm/memory", "pager/...", "protos/...", "golang.org/x/sys/...", "github.com/opencontainers/runtime-spec/...", "github.com/pelletier/go-toml/..."}},
	{"shim", []string{"shim/...", "runtime/...", "protos/...", "github.com/...", "golang.org/x/...", "google.golang.org/protobuf/..."}},
	{"agent", []string{"agent/...", "protos/...", "github.com/containerd/...", "github.com/opencontainers/runtime-spec/...", "golang.org/x/sys/..."}},
	// Tests and tools of the project; nothing that is shipped imports them.
	{"internal", []string{"internal/...", "vmm/...", "xgate/...", "golang.org/x/sys/..."}},
	{"integration", []string{"..."}},
}

// testOnly folders may be imported by tests of any package only.
var testOnly = []string{"internal", "integration", "vmm/platform/platformtest", "vmm/virtio/virtiotest"}

type goPackage struct {
	ImportPath string
	ForTest    string
	Dir        string
	Standard   bool
	Imports    []string
	GoFiles    []string
	Module     *struct{ Main bool }
}

// list returns the packages of this module.
func list(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-deps", "-json=ImportPath,ForTest,Dir,Standard,Imports,GoFiles,Module", "./...")
	cmd.Dir = testenv.Top()
	cmd.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []goPackage
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// inFolder says whether a package path (without the module) is in a folder; a
// folder ending in * stands for all that start so.
func inFolder(pkg, folder string) bool {
	if prefix, ok := strings.CutSuffix(folder, "*"); ok {
		return strings.HasPrefix(pkg, prefix)
	}
	return pkg == folder || strings.HasPrefix(pkg, folder+"/")
}

func matches(pkg, pattern string) bool {
	if pattern == "..." {
		return true
	}
	if prefix, ok := strings.CutSuffix(pattern, "/..."); ok {
		return inFolder(pkg, prefix)
	}
	return pkg == pattern
}

func TestImports(t *testing.T) {
	standard := map[string]bool{}
	var own []goPackage
	for _, p := range list(t) {
		switch {
		case p.Standard:
			standard[p.ImportPath] = true
		case p.Module != nil && p.Module.Main:
			own = append(own, p)
		}
	}
	if len(own) == 0 {
		t.Fatal("go list found nothing")
	}
	for _, p := range own {
		checkImports(t, strings.TrimPrefix(p.ImportPath, module), p.Imports, standard)
	}
}

func checkImports(t *testing.T, pkg string, imported []string, standard map[string]bool) {
	t.Helper()
	for _, rule := range imports {
		if !inFolder(pkg, rule.folder) {
			continue
		}
	next:
		for _, path := range imported {
			if standard[path] || path == "C" {
				continue
			}
			path = strings.TrimPrefix(path, module)
			for _, only := range testOnly {
				if inFolder(path, only) && !inFolder(pkg, "internal") && !inFolder(pkg, "integration") {
					t.Errorf("%s imports %s, which is for tests", pkg, path)
				}
			}
			if path == rule.folder {
				continue
			}
			for _, pattern := range rule.allowed {
				if matches(path, pattern) {
					continue next
				}
			}
			// Siblings within the folder, but not across vmm/virtio*.
			if !strings.HasSuffix(rule.folder, "*") && strings.HasPrefix(path, rule.folder+"/") {
				continue
			}
			t.Errorf("%s may not import %s (rule for %s)", pkg, path, rule.folder)
		}
		return
	}
	t.Errorf("%s: no rule says what it may import; add its folder to the table", pkg)
}

// tracked returns the files under version control, or all where there is none.
func tracked(t *testing.T) []string {
	t.Helper()
	cmd := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	cmd.Dir = testenv.Top()
	out, err := cmd.Output()
	if err != nil {
		t.Skipf("not a git checkout: %v", err)
	}
	var files []string
	for _, f := range strings.Split(string(out), "\x00") {
		fi, err := os.Lstat(filepath.Join(testenv.Top(), f))
		if f != "" && err == nil && fi.Mode().IsRegular() {
			files = append(files, f)
		}
	}
	return files
}

// noSPDX are files that cannot or need not carry a licence line.
var noSPDX = regexp.MustCompile(`^(LICENSE|kernel/COPYING|kernel/patches/.*\.patch|go\.(mod|sum)|.*\.(json|txt|golden)|(.*/)?testdata/.*)$`)

func TestEveryFileNamesItsLicence(t *testing.T) {
	for _, f := range tracked(t) {
		if noSPDX.MatchString(f) {
			continue
		}
		b, err := os.ReadFile(filepath.Join(testenv.Top(), f))
		if err != nil {
			t.Fatal(err)
		}
		head := b[:min(len(b), 1000)]
		want := []string{"Apache-2.0"}
		if strings.HasPrefix(f, "kernel/") {
			want = []string{"GPL-2.0", "GPL-2.0-only"}
		}
		_, rest, ok := bytes.Cut(head, []byte("SPDX-License-"+"Identifier: "))
		if !ok {
			t.Errorf("%s: no SPDX line", f)
			continue
		}
		line, _, _ := bytes.Cut(rest, []byte("\n"))
		found := false
		for _, w := range want {
			found = found || strings.Contains(string(line), w)
		}
		if !found {
			t.Errorf("%s: licence %q; %s belongs there", f, line, want[0])
		}
	}
}

func TestUnsafeOnlyInFilesNamedSo(t *testing.T) {
	for _, f := range tracked(t) {
		if !strings.HasSuffix(f, ".go") || strings.HasSuffix(f, ".pb.go") || strings.HasPrefix(f, "kernel/") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), filepath.Join(testenv.Top(), f), nil, parser.ImportsOnly)
		if err != nil {
			t.Error(err)
			continue
		}
		named := strings.HasSuffix(f, "_unsafe.go") || strings.HasSuffix(f, "_unsafe_test.go")
		for _, i := range parsed.Imports {
			if i.Path.Value == `"unsafe"` && !named {
				t.Errorf("%s imports unsafe: such code belongs into a file named *_unsafe.go", f)
			}
		}
	}
}
