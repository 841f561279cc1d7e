// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"errors"
	"path"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

// ErrHostNetwork is what a container gets that is to use the host's network.
var ErrHostNetwork = errors.New("linux.namespaces has no network: a cell cannot use the host's network, as its kernel has one of its own. " +
	"Give the container a network (Kubernetes: hostNetwork: false; ctr: --cni instead of --net-host) or none")

// namespaces are made in the guest. A path names one of the host: the network
// of such a namespace is connected with the cell's (NetworkPath); of the other
// kinds it can only be one that another container of the cell has, which is
// what Kubernetes asks for in a pod.
func (b *Bundle) namespaces(l, host *specs.Linux) {
	b.HostNetwork = true
	for i, n := range host.Namespaces {
		switch {
		case n.Type == specs.NetworkNamespace:
			b.HostNetwork = false
			b.NetworkPath, l.Namespaces[i].Path = n.Path, ""
		case n.Path != "":
			l.Namespaces[i].Path = path.Join(agent.PodNamespaces, path.Base(n.Path))
		}
	}
}

// ShareNetwork puts the container into the network of the cell.
func (b *Bundle) ShareNetwork() {
	l := b.Spec.Linux
	l.Namespaces = slices.DeleteFunc(slices.Clone(l.Namespaces), func(n specs.LinuxNamespace) bool {
		return n.Type == specs.NetworkNamespace
	})
}
