// SPDX-License-Identifier: Apache-2.0

package network

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/paracell/paracell/integration/containerd/daemon"
	"github.com/paracell/paracell/integration/network/testnet"
	"github.com/paracell/paracell/internal/testenv"
)

// private is a script that runs a command where the CNI plugins of Debian and a
// configuration of the test's stand where ctr looks for them, and where plugins
// leave nothing on the machine.
const private = `set -e
mount -t tmpfs tmpfs "$1/over"
for d in etc var/lib; do
	mkdir -p "$1/over/$d/upper" "$1/over/$d/work"
	mount -t overlay overlay -o "lowerdir=/$d,upperdir=$1/over/$d/upper,workdir=$1/over/$d/work" "/$d"
done
rm -rf /etc/cni
mkdir -p /etc/cni/net.d
cp "$1/10-test.conflist" /etc/cni/net.d/
mount -t tmpfs tmpfs /opt
mkdir -p /opt/cni
ln -s /usr/lib/cni /opt/cni/bin
shift
exec "$@"
`

const conflist = `{
	"cniVersion": "0.4.0", "name": "paracell-test",
	"plugins": [
		{
			"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": true, "hairpinMode": true, "mtu": 1420,
			"ipam": {
				"type": "host-local", "dataDir": %q,
				"ranges": [[{"subnet": "10.98.0.0/24"}], [{"subnet": "fd98::/64"}]],
				"routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]
			}
		},
		{"type": "portmap", "capabilities": {"portMappings": true}}
	]
}
`

// CNI makes the interface between the creation and the start of a container, in
// the namespace of the process that stands for the cell.
func TestCtrRunCNI(t *testing.T) {
	testenv.Program(t, "/usr/lib/cni/bridge", "containernetworking-plugins")
	testenv.Program(t, "iptables", "iptables")
	d := daemon.Start(t, daemon.Options{})
	n := testnet.New(t, 1500)
	dir := t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "over"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "10-test.conflist"), fmt.Appendf(nil, conflist, filepath.Join(dir, "addresses")), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(name, script string) string {
		ctr := d.Ctr(t.Context(), "run", "--rm", "--cni", "--runtime", daemon.Runtime, daemon.Image, name, "/bin/sh", "-c", script)
		cmd := exec.Command("nsenter", append([]string{"--net=" + n.HubPath, "unshare", "--mount", "--propagation", "slave",
			"sh", "-c", private, "sh", dir}, ctr.Args...)...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, out)
		}
		return string(out)
	}
	go echo(n.Listen("tcp", ":7"))
	for i := range 2 { // the second time the bridge is there
		out := run(fmt.Sprint("cni", i), "set -e; ip addr show eth0; cat /sys/class/net/eth0/mtu; ip route; ping -c 1 10.98.0.1; ping -c 1 fd98::1; echo hello | nc "+testnet.HubIP+" 7")
		for _, want := range []string{"inet 10.98.0.", "inet6 fd98::", "\n1420\n", "default via 10.98.0.1", "\nhello\n"} {
			if !strings.Contains(out, want) {
				t.Errorf("%q is missing in\n%s", want, out)
			}
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "addresses/paracell-test/1*"))
	if err != nil || len(left) > 0 {
		t.Errorf("addresses that were not given back: %v, %v", left, err)
	}
}
