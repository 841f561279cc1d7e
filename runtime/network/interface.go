// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Interface is one of a namespace, connected with a tap.
type Interface struct {
	Name string
	MAC  net.HardwareAddr
	// MTU in bytes.
	MTU        int
	Addresses  []Address
	Routes     []Route
	Neighbours []Neighbour
	// Tap has the packets, with headers of TapHeaderSize bytes. It goes with
	// its file. The user has to close it.
	Tap *os.File
}

// Address is an address of an interface.
type Address struct {
	IP        net.IP // 4 or 16 bytes
	Prefix    int
	Broadcast net.IP // nil: none
	Scope     int    // unix.RT_SCOPE_*
	// NoPrefixRoute keeps the kernel from making the route to its network.
	NoPrefixRoute bool
}

// Route is one of the main table.
type Route struct {
	IPv6     bool
	Dest     net.IP // nil: the default route
	Prefix   int
	Gateway  net.IP // nil: none
	Source   net.IP // nil: any
	Scope    int
	Priority int
	MTU      int // 0: the interface's
	OnLink   bool
	Protocol int
}

// Neighbour is an entry that somebody has set.
type Neighbour struct {
	IP  net.IP
	MAC net.HardwareAddr
}

// wanted says whether an interface is one that a container would use: an
// Ethernet that is on and is no part of another.
func wanted(l netlink.Link) bool {
	a := l.Attrs()
	return a.EncapType == "ether" && a.Flags&net.FlagLoopback == 0 && a.Flags&net.FlagUp != 0 &&
		a.MasterIndex == 0 && len(a.HardwareAddr) == 6 && !slices.Contains([]string{"tuntap", "bridge", "bond", "dummy", "ifb"}, l.Type())
}

// Connect makes a tap for every interface of the namespace that has none, and
// reads how it is configured. After an error nothing is left.
func (n *Namespace) Connect(known map[string]bool) (_ []*Interface, err error) {
	var list []*Interface
	err = n.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("interfaces of network namespace %s: %w", n, err)
		}
		for _, l := range links {
			if !wanted(l) || known[l.Attrs().Name] {
				continue
			}
			i, err := connect(l)
			if err != nil {
				return fmt.Errorf("interface %s of network namespace %s: %w", l.Attrs().Name, n, err)
			}
			list = append(list, i)
		}
		return nil
	})
	if err != nil {
		for _, i := range list {
			i.Tap.Close()
		}
		return nil, errors.Join(err, n.disconnect(func(name string) bool {
			return slices.ContainsFunc(list, func(i *Interface) bool { return i.Name == name })
		}))
	}
	return list, nil
}

// connect runs in the namespace.
func connect(l netlink.Link) (_ *Interface, err error) {
	a := l.Attrs()
	i := &Interface{Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU}
	if err := i.read(l); err != nil {
		return nil, err
	}
	tap, err := newTap(l)
	if err != nil {
		return nil, err
	}
	i.Tap = tap.file
	if err = redirect(l, tap.link); err != nil {
		tap.file.Close()
		return nil, errors.Join(err, unredirect(l))
	}
	return i, nil
}

// read fills in how an interface is configured.
func (i *Interface) read(l netlink.Link) error {
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		if err := errors.Join(i.readAddresses(l, family), i.readRoutes(l, family), i.readNeighbours(l, family)); err != nil {
			return err
		}
	}
	return nil
}

// bytes is an address in its shortest form.
func short(ip net.IP) net.IP {
	if v4 := ip.To4(); v4 != nil {
		return v4
	}
	return ip
}

func (i *Interface) readAddresses(l netlink.Link, family int) error {
	list, err := netlink.AddrList(l, family)
	if err != nil {
		return fmt.Errorf("addresses: %w", err)
	}
	for _, a := range list {
		if a.Flags&unix.IFA_F_TEMPORARY != 0 {
			continue // the guest makes its own
		}
		prefix, _ := a.Mask.Size()
		i.Addresses = append(i.Addresses, Address{
			IP: short(a.IP), Prefix: prefix, Broadcast: short(a.Broadcast), Scope: a.Scope,
			NoPrefixRoute: a.Flags&unix.IFA_F_NOPREFIXROUTE != 0,
		})
	}
	return nil
}

func (i *Interface) readRoutes(l netlink.Link, family int) error {
	list, err := netlink.RouteListFiltered(family, &netlink.Route{LinkIndex: l.Attrs().Index, Table: unix.RT_TABLE_MAIN},
		netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	if err != nil {
		return fmt.Errorf("routes: %w", err)
	}
	for _, r := range list {
		// The kernel makes those of protocol "kernel" from the addresses.
		if r.Protocol == unix.RTPROT_KERNEL || r.Type != unix.RTN_UNICAST {
			continue
		}
		if len(r.MultiPath) > 0 || r.Encap != nil || r.Via != nil {
			return fmt.Errorf("route %s: routes over several hops, tunnels and other families cannot be given to a cell", r)
		}
		route := Route{
			IPv6: family == unix.AF_INET6, Gateway: short(r.Gw), Source: short(r.Src), Scope: int(r.Scope),
			Priority: r.Priority, MTU: r.MTU, OnLink: r.Flags&unix.RTNH_F_ONLINK != 0, Protocol: int(r.Protocol),
		}
		if r.Dst != nil {
			route.Prefix, _ = r.Dst.Mask.Size()
			if route.Prefix > 0 {
				route.Dest = short(r.Dst.IP)
			}
		}
		i.Routes = append(i.Routes, route)
	}
	// A gateway has to be within reach before a route through it is made.
	slices.SortStableFunc(i.Routes, func(a, b Route) int {
		return order(a) - order(b)
	})
	return nil
}

func order(r Route) int {
	if r.Gateway != nil {
		return 1
	}
	return 0
}

func (i *Interface) readNeighbours(l netlink.Link, family int) error {
	list, err := netlink.NeighList(l.Attrs().Index, family)
	if err != nil {
		return fmt.Errorf("neighbours: %w", err)
	}
	for _, n := range list {
		if n.State&unix.NUD_PERMANENT != 0 && len(n.HardwareAddr) == 6 {
			i.Neighbours = append(i.Neighbours, Neighbour{IP: short(n.IP), MAC: n.HardwareAddr})
		}
	}
	return nil
}
