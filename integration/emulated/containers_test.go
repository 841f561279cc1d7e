// SPDX-License-Identifier: Apache-2.0

package emulated_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/emulated"
	"github.com/paracell/paracell/integration/images"
	"github.com/paracell/paracell/integration/tools"
	"github.com/paracell/paracell/internal/testenv"
)

// What containerd and the cells are told. The machine has no disk: layers are
// unpacked into its memory.
const (
	containerdConfig = `version = 3
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
`
	cellConfig = `platform = "kvm"
isolation = "mpk"
memory = "128M"
`
	pythonProgram = `import hashlib, threading
t = [threading.Thread(target=lambda: print(hashlib.sha256(b'x' * 100000).hexdigest()[:8])) for _ in range(3)]
[x.start() for x in t]; [x.join() for x in t]`
	containersScript = `set -e
export PATH=$PATH:/paracell/bin
paracell check
containerd --log-level warn -c /etc/containerd.toml >/tmp/log 2>&1 &
i=0
until ctr version >/dev/null 2>&1; do
	i=$((i + 1))
	[ $i -lt 120 ] || { cat /tmp/log; exit 1; }
	sleep 0.5
done
ctr image import --local /image.tar
rm /image.tar
run() {
	image=$1
	name=$2
	shift 2
	ctr run --rm --runtime io.containerd.paracell.v2 "$image" "$name" "$@"
}
status=0
echo in | run "$1" busybox /bin/sh -c "uname -r; cat; exit 3" || status=$?
echo "status $status"
[ $status = 3 ] || { cat /tmp/log; exit 1; }
run "$2" python python3.11 -c "$3" || { cat /tmp/log; exit 1; }
`
)

// TestKVMContainers runs containers through containerd in cells of platform
// kvm with protection keys.
func TestKVMContainers(t *testing.T) {
	need(t)
	testenv.Root(t) // images are made as root
	dir := t.TempDir()
	m := emulated.Machine{
		Files: map[string]string{}, Modules: []string{"kvm-amd", "overlay"}, CPUs: 1, Memory: 3072,
		Output: t.Output(), Timeout: 8 * time.Minute,
		Command: []string{"sh", "-c", containersScript, "sh", images.Ref("busybox"), images.Ref("python3-bare"), pythonProgram},
	}
	for _, name := range []string{"containerd", "ctr"} {
		p, err := tools.Build(t.Context(), t.Output(), name)
		if err != nil {
			t.Fatal(err)
		}
		m.Files["/paracell/bin/"+name] = p
	}
	for _, name := range []string{"containerd-shim-paracell-v2", "paracell", "paracell-kernel", "paracell-agent", "paracell-crun"} {
		m.Files["/paracell/bin/"+name] = testenv.Built(t, name)
	}
	set, err := images.Build(t.Context(), t.Output(), "busybox", "python3-bare")
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.Create(filepath.Join(dir, "image.tar"))
	if err != nil {
		t.Fatal(err)
	}
	err = set.Write(f)
	f.Close()
	if err != nil {
		t.Fatal(err)
	}
	m.Files["/image.tar"] = f.Name()
	for path, text := range map[string]string{"/etc/containerd.toml": containerdConfig, "/etc/paracell/config.toml": cellConfig} {
		name := filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		m.Files[path] = name
	}
	res := run(t, m)
	out := string(res.Output)
	if res.ExitCode != 0 || !strings.Contains(out, "\n6.12.") || !strings.Contains(out, "\nin\nstatus 3\n") {
		t.Errorf("status %d:\n%s", res.ExitCode, out)
	}
	if !strings.Contains(out, "\nd69e6898\nd69e6898\nd69e6898\n") {
		t.Error("python does not print what it computes")
	}
	if !strings.Contains(out, "auto: platform kvm with isolation mpk") {
		t.Error("paracell check does not choose protection keys in virtual machines")
	}
}
