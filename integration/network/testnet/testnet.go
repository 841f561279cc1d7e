// SPDX-License-Identifier: Apache-2.0

// Package testnet makes networks of network namespaces for tests: a hub with a
// bridge, and hosts on it. Nothing leaves the namespaces, and all goes with the
// test.
package testnet

import (
	"fmt"
	"net"
	"os"
	"path/filepath"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/runtime/network"
)

// T is what is needed of a testing.TB.
type T interface {
	Helper()
	Cleanup(func())
	Error(args ...any)
	Fatal(args ...any)
}

// Network is a hub with its bridge, at HubIP and HubIP6.
type Network struct {
	Hub     *network.Namespace
	HubPath string

	t     T
	dir   string
	mtu   int
	hosts int
}

// Addresses of the hub. Hosts follow.
const (
	HubIP  = "10.99.0.1"
	HubIP6 = "fd99::1"
)

// Host is a namespace with an interface eth0 on the bridge.
type Host struct {
	*network.Namespace
	// Path of the namespace.
	Path string
	// Addresses of eth0, with the lengths 24 and 64.
	IP, IP6 string
	MAC     net.HardwareAddr
}

// New makes a network; mtu is the longest packet of all its interfaces.
func New(t T, mtu int) *Network {
	t.Helper()
	dir, err := os.MkdirTemp("/run", "paracell-net-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	n := &Network{t: t, dir: dir, mtu: mtu}
	n.Hub, n.HubPath = n.namespace("hub")
	n.in(n.Hub, func() error {
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br0", mtu)}); err != nil {
			return err
		}
		return up("br0", HubIP+"/24", HubIP6+"/64")
	})
	return n
}

func attrs(name string, mtu int) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name, a.MTU = name, mtu
	return a
}

// namespace makes a namespace with a path, and its loopback interface.
func (n *Network) namespace(name string) (*network.Namespace, string) {
	n.t.Helper()
	made, err := network.New()
	if err != nil {
		n.t.Fatal(err)
	}
	path := filepath.Join(n.dir, name)
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		made.Close()
		if err := unix.Unmount(path, unix.MNT_DETACH); err != nil {
			n.t.Error(err)
		}
	})
	n.in(made, func() error {
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return err
		}
		return up("lo")
	})
	return made, path
}

// up switches an interface on, with addresses that can be used at once.
func up(name string, addresses ...string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	for _, text := range addresses {
		a, err := netlink.ParseAddr(text)
		if err != nil {
			return err
		}
		a.Flags = unix.IFA_F_NODAD
		if err := netlink.AddrAdd(link, a); err != nil {
			return fmt.Errorf("%s: %w", text, err)
		}
	}
	return netlink.LinkSetUp(link)
}

func (n *Network) in(ns *network.Namespace, f func() error) {
	n.t.Helper()
	if err := ns.Do(f); err != nil {
		n.t.Fatal(err)
	}
}

// Plug connects a namespace with the bridge by an interface eth0.
func (n *Network) Plug(ns *network.Namespace) *Host {
	n.t.Helper()
	n.hosts++
	h := &Host{
		Namespace: ns, IP: fmt.Sprintf("10.99.0.%d", 1+n.hosts), IP6: fmt.Sprintf("fd99::%d", 1+n.hosts),
		MAC: net.HardwareAddr{2, 0x99, 0, 0, 0, byte(n.hosts)},
	}
	port := fmt.Sprintf("port%d", n.hosts)
	n.in(n.Hub, func() error {
		bridge, err := netlink.LinkByName("br0")
		if err != nil {
			return err
		}
		a := attrs(port, n.mtu)
		a.MasterIndex = bridge.Attrs().Index
		veth := &netlink.Veth{
			LinkAttrs: a, PeerName: "peer", PeerHardwareAddr: h.MAC, PeerMTU: uint32(n.mtu),
		}
		if err := netlink.LinkAdd(veth); err != nil {
			return err
		}
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetNsFd(peer, ns.Fd()); err != nil {
			return err
		}
		return netlink.LinkSetUp(veth)
	})
	n.in(ns, func() error {
		peer, err := netlink.LinkByName("peer")
		if err != nil {
			return err
		}
		if err := netlink.LinkSetName(peer, "eth0"); err != nil {
			return err
		}
		if err := up("eth0", h.IP+"/24", h.IP6+"/64"); err != nil {
			return err
		}
		for _, gateway := range []string{HubIP, HubIP6} {
			if err := netlink.RouteAdd(&netlink.Route{LinkIndex: peer.Attrs().Index, Gw: net.ParseIP(gateway)}); err != nil {
				return fmt.Errorf("default route by %s: %w", gateway, err)
			}
		}
		return nil
	})
	return h
}

// Host makes a namespace on the bridge.
func (n *Network) Host() *Host {
	n.t.Helper()
	ns, path := n.namespace(fmt.Sprintf("host%d", n.hosts+1))
	h := n.Plug(ns)
	h.Path = path
	return h
}

// Listen is net.Listen in the hub.
func (n *Network) Listen(network, address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	n.in(n.Hub, func() (err error) {
		l, err = net.Listen(network, address)
		return err
	})
	n.t.Cleanup(func() { l.Close() })
	return l
}

// ListenPacket is net.ListenPacket in the hub.
func (n *Network) ListenPacket(network, address string) net.PacketConn {
	n.t.Helper()
	var c net.PacketConn
	n.in(n.Hub, func() (err error) {
		c, err = net.ListenPacket(network, address)
		return err
	})
	n.t.Cleanup(func() { c.Close() })
	return c
}

// Dial is net.Dial in the hub.
func (n *Network) Dial(network, address string) (net.Conn, error) {
	var c net.Conn
	err := n.Hub.Do(func() (err error) {
		c, err = net.Dial(network, address)
		return err
	})
	return c, err
}

// Leftovers describes what cells have left in a namespace.
func (h *Host) Leftovers() string {
	var left string
	err := h.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return err
		}
		for _, l := range links {
			if name := l.Attrs().Name; name != "lo" && name != "eth0" {
				left += "interface " + name + "\n"
			}
			queues, err := netlink.QdiscList(l)
			if err != nil {
				return err
			}
			for _, q := range queues {
				if q.Type() == "ingress" {
					left += "filter of " + l.Attrs().Name + "\n"
				}
			}
		}
		return nil
	})
	if err != nil {
		left += err.Error()
	}
	return left
}
