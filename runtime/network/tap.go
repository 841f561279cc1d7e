// SPDX-License-Identifier: Apache-2.0

package network

import (
	"errors"
	"fmt"
	"os"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TapHeaderSize is the length of the header before every packet of a tap: struct
// virtio_net_hdr_v1.
const TapHeaderSize = 12

const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE

type tap struct {
	file *os.File
	link netlink.Link
}

// tapName is the tap's that belongs to an interface. As it is the same for all
// cells, an interface cannot be connected twice.
func tapName(l netlink.Link) string { return fmt.Sprintf("paracell%d", l.Attrs().Index) }

// newTap makes a tap in the namespace of the thread, as large as an interface,
// and switches it on.
func newTap(l netlink.Link) (_ *tap, err error) {
	name := tapName(l)
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun (it needs the host's module tun): %w", err)
	}
	defer func() {
		if err != nil {
			unix.Close(fd)
		}
	}()
	request, err := unix.NewIfreq(name)
	if err != nil {
		return nil, err
	}
	request.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR | unix.IFF_TUN_EXCL)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		if errors.Is(err, unix.EBUSY) {
			return nil, errors.New("it is connected with another cell: containers of different cells cannot share a network namespace")
		}
		return nil, fmt.Errorf("make tap %s: %w", name, err)
	}
	if err := unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, TapHeaderSize); err != nil {
		return nil, fmt.Errorf("header size of tap %s: %w", name, err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("tap %s: %w", name, err)
	}
	// The tap is a wire: the host is not to speak on it. A host without
	// version 6 does not anyway.
	if err := netlink.LinkSetIP6AddrGenMode(link, addrGenModeNone); err != nil && !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, fmt.Errorf("tap %s without address: %w", name, err)
	}
	if err := errors.Join(netlink.LinkSetMTU(link, l.Attrs().MTU), netlink.LinkSetUp(link)); err != nil {
		return nil, fmt.Errorf("switch tap %s on: %w", name, err)
	}
	return &tap{file: os.NewFile(uintptr(fd), name), link: link}, nil
}

// filterPriority marks the filters of ours, which have it for themselves.
const filterPriority = 0x7063

var ingress = netlink.MakeHandle(0xffff, 0)

// redirect passes on what comes in at each of two interfaces to the other.
func redirect(a, b netlink.Link) error {
	return errors.Join(redirectOne(a, b), redirectOne(b, a))
}

func redirectOne(from, to netlink.Link) error {
	q := &netlink.Ingress{QdiscAttrs: netlink.QdiscAttrs{
		LinkIndex: from.Attrs().Index, Parent: netlink.HANDLE_INGRESS, Handle: ingress,
	}}
	if err := netlink.QdiscAdd(q); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("queueing discipline of %s (it needs the host's sch_ingress): %w", from.Attrs().Name, err)
	}
	if err := removeFilters(from); err != nil {
		return err
	}
	f := &netlink.U32{
		FilterAttrs: netlink.FilterAttrs{
			LinkIndex: from.Attrs().Index, Parent: ingress, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
		},
		Actions: []netlink.Action{&netlink.MirredAction{
			ActionAttrs:  netlink.ActionAttrs{Action: netlink.TC_ACT_STOLEN},
			MirredAction: netlink.TCA_EGRESS_REDIR, Ifindex: to.Attrs().Index,
		}},
	}
	if err := netlink.FilterAdd(f); err != nil {
		return fmt.Errorf("redirect %s to %s (it needs the host's cls_u32 and act_mirred): %w", from.Attrs().Name, to.Attrs().Name, err)
	}
	return nil
}

// removeFilters removes ours, of a shim that was killed too.
func removeFilters(l netlink.Link) error {
	list, err := netlink.FilterList(l, ingress)
	if err != nil {
		return fmt.Errorf("filters of %s: %w", l.Attrs().Name, err)
	}
	for _, f := range list {
		if a := f.Attrs(); a.Priority == filterPriority && f.Type() == "u32" {
			// All of one priority go at once.
			err := netlink.FilterDel(&netlink.U32{FilterAttrs: netlink.FilterAttrs{
				LinkIndex: a.LinkIndex, Parent: ingress, Priority: filterPriority, Protocol: unix.ETH_P_ALL,
			}})
			if err != nil {
				return fmt.Errorf("remove the filter of %s: %w", l.Attrs().Name, err)
			}
			return nil
		}
	}
	return nil
}

// unredirect undoes redirect for an interface that stays: filters, and the
// queueing discipline unless somebody else uses it.
func unredirect(l netlink.Link) error {
	list, err := netlink.QdiscList(l)
	if err != nil {
		return fmt.Errorf("queueing disciplines of %s: %w", l.Attrs().Name, err)
	}
	for _, q := range list {
		if q.Type() != "ingress" {
			continue
		}
		if err := removeFilters(l); err != nil {
			return err
		}
		left, err := netlink.FilterList(l, ingress)
		if err != nil || len(left) > 0 {
			return err
		}
		if err := netlink.QdiscDel(q); err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("queueing discipline of %s: %w", l.Attrs().Name, err)
		}
	}
	return nil
}

// Disconnect undoes what Connect has done, also in a process that ended without.
// Taps go with their files.
func (n *Namespace) Disconnect() error { return n.disconnect(func(string) bool { return true }) }

func (n *Namespace) disconnect(these func(name string) bool) error {
	return n.Do(func() error {
		links, err := netlink.LinkList()
		if err != nil {
			return fmt.Errorf("interfaces of network namespace %s: %w", n, err)
		}
		var errs []error
		for _, l := range links {
			if a := l.Attrs(); a.EncapType == "ether" && l.Type() != "tuntap" && these(l.Attrs().Name) {
				errs = append(errs, unredirect(l))
			}
		}
		return errors.Join(errs...)
	})
}
