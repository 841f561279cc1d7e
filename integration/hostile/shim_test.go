// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/paracell/paracell/integration/containerd/daemon"
)

// reasons are those that the shim gives: a device, the pager or the monitor has
// found the kernel out, or the agent's answer makes no sense.
var reasons = []string{"broken by the guest", "corrupt pager ring", "fault in the monitor", "cell ended", "guest kernel", "proto", "UTF-8", "switched off", "was not asked"}

// TestShim runs containers whose cells have the hostile kernel, under containerd
// and its shim, which has to say why each has ended. The agent in them is as
// hostile. A container beside them goes on, and nothing is left (daemon.Start).
func TestShim(t *testing.T) {
	kernel, _ := build(t)
	d := daemon.Start(t, daemon.Options{Config: "annotations = [\"kernel\", \"kernel_args\"]\npager = \"page\"\ncold_cache = true\n"})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	const witness = "witness"
	do := func(args ...string) string {
		t.Helper()
		out, err := d.Do(ctx, args...)
		if err != nil {
			t.Fatalf("ctr %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	do("run", "-d", "--runtime", daemon.Runtime, daemon.Image, witness, "/bin/sh", "-c", "while :; do sleep 1; done")
	for seed := range 8 {
		id := fmt.Sprintf("hostile-%d", seed)
		begin := len(d.Log())
		out, err := d.Do(ctx, "run", "--rm", "--runtime", daemon.Runtime, "--annotation", "io.paracell.kernel="+kernel,
			"--annotation", fmt.Sprintf("io.paracell.kernel_args=hostile=%d end=500", seed), daemon.Image, id, "/bin/true")
		if err == nil {
			t.Errorf("%s ended well: %s", id, out)
			continue
		}
		_, said, _ := strings.Cut(err.Error(), "ctr: ")
		if said == "" { // it had begun
			said = d.Log()[begin:]
		}
		t.Logf("%s: %.300s", id, said)
		known := func(reason string) bool { return strings.Contains(said, reason) }
		if !slices.ContainsFunc(reasons, known) {
			t.Errorf("%s: nobody says why it has ended", id)
		}
		if got := do("task", "exec", "--exec-id", id, witness, "/bin/echo", "well"); !strings.Contains(got, "well") {
			t.Errorf("the container beside %s says %q", id, got)
		}
	}
	if strings.Contains(d.Log(), "Short read") {
		t.Error("requests of guests are in the log")
	}
	do("task", "kill", "--signal", "KILL", witness)
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := d.Do(ctx, "task", "delete", witness); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatal(err)
		}
	}
	do("container", "delete", witness)
}
