// SPDX-License-Identifier: Apache-2.0

package containerd

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
)

const (
	version = "v2.4.2"
	runtime = "io.containerd.paracell.v2"
	image   = "localhost/busybox:test"
	// No command of a healthy containerd takes as long.
	deadline = 60 * time.Second
)

// programs builds containerd and ctr once per machine and returns their folder.
func programs(t *testing.T) string {
	t.Helper()
	cache := os.Getenv("PARACELL_CACHE")
	if cache == "" {
		cache = "/var/cache/paracell"
	}
	dir := filepath.Join(cache, "containerd", version)
	for _, name := range []string{"containerd", "ctr"} {
		if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
			continue
		}
		t.Logf("building %s %s", name, version)
		cmd := exec.Command("go", "install", "github.com/containerd/containerd/v2/cmd/"+name+"@"+version)
		cmd.Dir = t.TempDir() // outside the module
		cmd.Env = append(os.Environ(), "GOBIN="+dir, "CGO_ENABLED=0", "GOFLAGS=-buildvcs=false")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("build %s: %v\n%s", name, err, out)
		}
	}
	return dir
}

// daemon is a private containerd.
type daemon struct {
	dir, bin string
}

func start(t *testing.T) *daemon {
	t.Helper()
	testenv.Root(t)
	testenv.ProcessPlatform(t, platform.IsolationNone)
	shim := testenv.Built(t, "containerd-shim-paracell-v2")
	for _, name := range []string{"paracell-kernel", "paracell-agent", "paracell-crun"} {
		testenv.Built(t, name)
	}
	busybox := testenv.Program(t, "busybox", "busybox-static")
	d := &daemon{bin: programs(t)}
	// Socket paths are short, so not t.TempDir.
	var err error
	if d.dir, err = os.MkdirTemp("/run", "paracell-test-"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(d.dir) })

	write(t, filepath.Join(d.dir, "paracell.toml"), fmt.Appendf(nil, "isolation = %q\n", testenv.Isolation()))
	write(t, filepath.Join(d.dir, "config.toml"), fmt.Appendf(nil, `version = 3
root = %q
state = %q
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.blockfile",
  "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime",
]
[grpc]
  address = %q
[ttrpc]
  address = %q
`, d.dir+"/root", d.dir+"/state", d.dir+"/c.sock", d.dir+"/t.sock"))
	log, err := os.Create(filepath.Join(d.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(filepath.Join(d.bin, "containerd"), "-c", filepath.Join(d.dir, "config.toml"))
	cmd.Env = append(os.Environ(), "PARACELL_CONFIG="+filepath.Join(d.dir, "paracell.toml"),
		"PATH="+filepath.Dir(shim)+":"+os.Getenv("PATH"))
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("containerd's log:\n%s", text)
		}
	})
	for end := time.Now().Add(deadline); ; time.Sleep(50 * time.Millisecond) {
		if _, _, err := d.ctr(t, "", "version"); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("containerd does not answer: %v", err)
		}
	}
	archive := filepath.Join(d.dir, "image.tar")
	write(t, archive, imageArchive(t, busybox))
	if _, out, err := d.ctr(t, "", "image", "import", archive); err != nil {
		t.Fatalf("import: %v\n%s", err, out)
	}
	return d
}

// ctr runs a command of ctr; KILL at the deadline, because ctr hands TERM on to
// its container.
func (d *daemon) ctr(t *testing.T, stdin string, args ...string) (stdout, stderr string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(d.bin, "ctr"),
		append([]string{"--address", d.dir + "/c.sock"}, args...)...)
	var out, errOut bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &errOut
	cmd.WaitDelay = time.Second
	err = cmd.Run()
	return out.String(), errOut.String(), err
}

func (d *daemon) run(t *testing.T, stdin, name string, command ...string) (stdout, stderr string, status int) {
	t.Helper()
	out, errOut, err := d.ctr(t, stdin, append([]string{"run", "--rm", "--runtime", runtime, image, name}, command...)...)
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Exited() {
		return out, errOut, exit.ExitCode()
	}
	if err != nil {
		t.Fatalf("ctr run %v: %v\n%s%s", command, err, out, errOut)
	}
	return out, errOut, 0
}

func TestCtrRun(t *testing.T) {
	d := start(t)
	t.Run("kernel", func(t *testing.T) {
		out, errOut, status := d.run(t, "", "kernel", "/bin/uname", "-sr")
		host, _ := exec.Command("uname", "-sr").Output()
		if status != 0 || !strings.HasPrefix(out, "Linux 6.12.") || out == string(host) {
			t.Errorf("status %d: %q, host %q\n%s", status, out, host, errOut)
		}
	})
	t.Run("status", func(t *testing.T) {
		for _, want := range []int{0, 1, 7, 255} {
			if _, _, status := d.run(t, "", fmt.Sprint("status", want), "/bin/sh", "-c", fmt.Sprint("exit ", want)); status != want {
				t.Errorf("status %d, want %d", status, want)
			}
		}
	})
	t.Run("output", func(t *testing.T) {
		out, _, status := d.run(t, "", "output", "/bin/sh", "-c", "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		if status != 0 || len(lines) != 20000 || lines[len(lines)-1] != "19999" {
			t.Errorf("status %d, %d lines", status, len(lines))
		}
	})
	t.Run("input", func(t *testing.T) {
		if out, _, status := d.run(t, "first\nlast\n", "input", "/bin/cat"); status != 0 || out != "first\nlast\n" {
			t.Errorf("status %d, %q", status, out)
		}
	})
	if out, _, err := d.ctr(t, "", "task", "ls", "-q"); err != nil || strings.TrimSpace(out) != "" {
		t.Errorf("tasks are left: %q, %v", out, err)
	}
	left, _ := filepath.Glob(d.dir + "/state/io.containerd.runtime.v2.task/default/*")
	if len(left) != 0 {
		t.Errorf("bundles are left: %v", left)
	}
}

// imageArchive is an OCI image layout with busybox, as a tar file.
func imageArchive(t *testing.T, busybox string) []byte {
	t.Helper()
	program, err := os.ReadFile(busybox)
	if err != nil {
		t.Fatal(err)
	}
	layer := archive(t, func(add func(tar.Header, []byte)) {
		for _, dir := range []string{"bin", "dev", "etc", "proc", "root", "sys", "tmp"} {
			add(tar.Header{Name: dir, Typeflag: tar.TypeDir, Mode: 0o755}, nil)
		}
		add(tar.Header{Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755}, program)
		for _, applet := range []string{"sh", "cat", "uname"} {
			add(tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox"}, nil)
		}
	})
	blobs := map[string][]byte{}
	type descriptor struct {
		MediaType   string            `json:"mediaType"`
		Digest      string            `json:"digest"`
		Size        int               `json:"size"`
		Annotations map[string]string `json:"annotations,omitempty"`
	}
	blob := func(mediaType string, content []byte) descriptor {
		sum := sha256.Sum256(content)
		digest := hex.EncodeToString(sum[:])
		blobs["blobs/sha256/"+digest] = content
		return descriptor{MediaType: "application/vnd.oci.image." + mediaType, Digest: "sha256:" + digest, Size: len(content)}
	}
	encode := func(v any) []byte {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	layerBlob := blob("layer.v1.tar", layer)
	config := blob("config.v1+json", encode(map[string]any{
		"architecture": "amd64", "os": "linux",
		"config": map[string]any{"Cmd": []string{"/bin/sh"}, "Env": []string{"PATH=/bin"}},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{layerBlob.Digest}},
	}))
	manifest := blob("manifest.v1+json", encode(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
		"config": config, "layers": []descriptor{layerBlob},
	}))
	manifest.Annotations = map[string]string{"io.containerd.image.name": image}
	return archive(t, func(add func(tar.Header, []byte)) {
		add(tar.Header{Name: "oci-layout", Typeflag: tar.TypeReg, Mode: 0o644}, []byte(`{"imageLayoutVersion":"1.0.0"}`))
		add(tar.Header{Name: "index.json", Typeflag: tar.TypeReg, Mode: 0o644},
			encode(map[string]any{"schemaVersion": 2, "manifests": []descriptor{manifest}}))
		for name, content := range blobs {
			add(tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644}, content)
		}
	})
}

func archive(t *testing.T, fill func(add func(tar.Header, []byte))) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	fill(func(h tar.Header, content []byte) {
		h.Size = int64(len(content))
		err := w.WriteHeader(&h)
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	})
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
