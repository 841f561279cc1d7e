// SPDX-License-Identifier: Apache-2.0

package kvm

import (
	"strings"
	"testing"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/integration/images"
	"github.com/paracell/paracell/internal/testenv"
	"github.com/paracell/paracell/vmm/platform"
)

func TestCtrRun(t *testing.T) {
	testenv.KVMPlatform(t, platform.IsolationPageTable)
	d := daemon.Start(t, daemon.Options{
		Isolation: platform.IsolationPageTable, Config: "platform = \"kvm\"\n", Images: []string{"python3"},
	})
	t.Run("busybox", func(t *testing.T) {
		out, errOut, status := d.Run(t, "in\n", "busybox", "/bin/sh", "-c", "uname -r; cat; exit 3")
		if status != 3 || !strings.HasPrefix(out, "6.12.") || !strings.HasSuffix(out, "\nin\n") {
			t.Errorf("status %d: %q\n%s", status, out, errOut)
		}
	})
	t.Run("python", func(t *testing.T) {
		const program = "import hashlib, threading\n" +
			"t = [threading.Thread(target=lambda: print(hashlib.sha256(b'x' * 100000).hexdigest()[:8])) for _ in range(3)]\n" +
			"[x.start() for x in t]; [x.join() for x in t]"
		out, errOut, err := d.CTR(t, "", "run", "--rm", "--runtime", daemon.Runtime, images.Ref("python3"), "python", "python3", "-c", program)
		if err != nil || out != "d69e6898\nd69e6898\nd69e6898\n" {
			t.Errorf("%v: %q\n%s", err, out, errOut)
		}
	})
}
