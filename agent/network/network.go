// SPDX-License-Identifier: Apache-2.0

// Package network configures the network interfaces of the cell as the host
// says.
package network

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

const (
	// rescan makes the kernel look for devices that the host has added.
	rescan = "/sys/module/virtio_paracell/parameters/rescan"
	// found bounds the wait for an interface.
	found = 10 * time.Second

	addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE
	inet6AddrGen    = 8 // IFLA_INET6_ADDR_GEN_MODE
)

// Configure finds new interfaces and makes them as described.
func Configure(list []*agent.Interface) error {
	if len(list) == 0 {
		return nil
	}
	if err := os.WriteFile(rescan, []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("look for new network devices: %w", err)
	}
	c, err := dial()
	if err != nil {
		return err
	}
	defer c.close()
	indices, err := c.name(list)
	if err != nil {
		return err
	}
	for n, i := range list {
		if err := c.configure(indices[n], i); err != nil {
			return fmt.Errorf("network interface %s: %w", i.Name, err)
		}
	}
	return nil
}

// name gives the interfaces their names, and returns their numbers.
func (c *conn) name(list []*agent.Interface) ([]uint32, error) {
	indices := make([]uint32, len(list))
	for n, i := range list {
		link, err := find(i.Mac)
		if err != nil {
			return nil, fmt.Errorf("network interface %s: %w", i.Name, err)
		}
		indices[n] = uint32(link.Index)
		if link.Name == i.Name {
			continue
		}
		// The name it is to have may be another's, for the moment.
		if err := c.rename(indices[n], fmt.Sprintf("new%d", link.Index)); err != nil {
			return nil, fmt.Errorf("network interface %s: %w", i.Name, err)
		}
	}
	for n, i := range list {
		if err := c.rename(indices[n], i.Name); err != nil {
			return nil, fmt.Errorf("name a network interface %s: %w", i.Name, err)
		}
	}
	return indices, nil
}

// find waits for the interface with a hardware address.
func find(mac []byte) (*net.Interface, error) {
	for end := time.Now().Add(found); ; time.Sleep(time.Millisecond) {
		links, err := net.Interfaces()
		if err != nil {
			return nil, err
		}
		for _, l := range links {
			if bytes.Equal(l.HardwareAddr, mac) {
				return &l, nil
			}
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("there is no device with address %s", net.HardwareAddr(mac))
		}
	}
}

// link starts a change of an interface: a struct ifinfomsg.
func link(index, flags, change uint32) *message {
	b := make([]byte, unix.SizeofIfInfomsg)
	le.PutUint32(b[4:], index)
	le.PutUint32(b[8:], flags)
	le.PutUint32(b[12:], change)
	return newMessage(unix.RTM_NEWLINK, 0, b...)
}

func (c *conn) rename(index uint32, name string) error {
	return c.do(link(index, 0, 0).attr(unix.IFLA_IFNAME, append([]byte(name), 0)))
}

// configure does all the rest.
func (c *conn) configure(index uint32, i *agent.Interface) error {
	// All addresses come from the host, also those that the kernel would make.
	generate := new(message).attr(inet6AddrGen, []byte{addrGenModeNone}).body
	err := c.do(link(index, 0, 0).attr(unix.IFLA_AF_SPEC, nested(unix.AF_INET6, generate)))
	if err != nil && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("switch addresses of its own off: %w", err)
	}
	if err := c.do(link(index, unix.IFF_UP, unix.IFF_UP).attr32(unix.IFLA_MTU, i.Mtu)); err != nil {
		return fmt.Errorf("switch on, with MTU %d: %w", i.Mtu, err)
	}
	for _, a := range i.Addresses {
		if err := c.do(address(index, a)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("address %s/%d: %w", net.IP(a.Ip), a.Prefix, err)
		}
	}
	for _, n := range i.Neighbours {
		if err := c.do(neighbour(index, n)); err != nil {
			return fmt.Errorf("neighbour %s: %w", net.IP(n.Ip), err)
		}
	}
	for _, r := range i.Routes {
		if err := c.do(route(index, r)); err != nil && !errors.Is(err, unix.EEXIST) {
			return fmt.Errorf("route to %s/%d by %s: %w", net.IP(r.Destination), r.Prefix, net.IP(r.Gateway), err)
		}
	}
	return nil
}

func family(ip []byte) byte {
	if len(ip) == net.IPv6len {
		return unix.AF_INET6
	}
	return unix.AF_INET
}

// address is a struct ifaddrmsg and its attributes. The host's kernel has made
// sure that nobody else has the address.
func address(index uint32, a *agent.Address) *message {
	flags := uint32(unix.IFA_F_PERMANENT)
	if len(a.Ip) == net.IPv6len {
		flags |= unix.IFA_F_NODAD
	}
	if a.NoPrefixRoute {
		flags |= unix.IFA_F_NOPREFIXROUTE
	}
	m := newMessage(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL,
		le.AppendUint32([]byte{family(a.Ip), byte(a.Prefix), 0, byte(a.Scope)}, index)...)
	m.attr(unix.IFA_LOCAL, a.Ip).attr(unix.IFA_ADDRESS, a.Ip).attr32(unix.IFA_FLAGS, flags)
	if len(a.Broadcast) > 0 {
		m.attr(unix.IFA_BROADCAST, a.Broadcast)
	}
	return m
}

// neighbour is a struct ndmsg and its attributes.
func neighbour(index uint32, n *agent.Neighbour) *message {
	b := make([]byte, unix.SizeofNdMsg)
	b[0] = family(n.Ip)
	le.PutUint32(b[4:], index)
	le.PutUint16(b[8:], unix.NUD_PERMANENT)
	return newMessage(unix.RTM_NEWNEIGH, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, b...).
		attr(unix.NDA_DST, n.Ip).attr(unix.NDA_LLADDR, n.Mac)
}

// route is a struct rtmsg and its attributes.
func route(index uint32, r *agent.Route) *message {
	b := make([]byte, unix.SizeofRtMsg)
	b[0] = unix.AF_INET
	if r.Ipv6 {
		b[0] = unix.AF_INET6
	}
	b[1] = byte(r.Prefix)
	b[4], b[5], b[6], b[7] = unix.RT_TABLE_MAIN, byte(r.Protocol), byte(r.Scope), unix.RTN_UNICAST
	if r.OnLink {
		le.PutUint32(b[8:], unix.RTNH_F_ONLINK)
	}
	m := newMessage(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, b...).attr32(unix.RTA_OIF, index)
	for kind, ip := range map[int][]byte{unix.RTA_DST: r.Destination, unix.RTA_GATEWAY: r.Gateway, unix.RTA_PREFSRC: r.Source} {
		if len(ip) > 0 {
			m.attr(kind, ip)
		}
	}
	if r.Priority != 0 {
		m.attr32(unix.RTA_PRIORITY, r.Priority)
	}
	if r.Mtu != 0 {
		m.attr(unix.RTA_METRICS, new(message).attr32(unix.RTAX_MTU, r.Mtu).body)
	}
	return m
}
