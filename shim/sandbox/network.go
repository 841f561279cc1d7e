// SPDX-License-Identifier: Apache-2.0

package sandbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"

	agent "github.com/paracell/paracell/protos/agent/v1"
	"github.com/paracell/paracell/runtime/bundle"
	"github.com/paracell/paracell/runtime/network"
)

// cellNetwork is the network namespace of the host that belongs to the cell.
// Guarded by Sandbox.netMu.
type cellNetwork struct {
	ns    *network.Namespace
	known map[string]bool // interfaces that are connected
}

// join gives a container its network. The first one decides on the cell's: the
// namespace that its specification names, or that of the process that stands for
// the cell, in which tools may make interfaces until the container starts.
// Another one shares it, or gets a network of its own in the guest, which is
// connected with nothing.
func (s *Sandbox) join(b *bundle.Bundle) error {
	s.netMu.Lock()
	defer s.netMu.Unlock()
	if b.HostNetwork {
		return fmt.Errorf("%w: %w", bundle.ErrHostNetwork, errdefs.ErrInvalidArgument)
	}
	if s.net.ns == nil {
		if err := s.joinFirstLocked(b.NetworkPath); err != nil {
			return err
		}
		b.ShareNetwork()
		return nil
	}
	if b.NetworkPath == "" {
		return nil
	}
	ns, err := network.Open(b.NetworkPath)
	if err != nil {
		return err
	}
	defer ns.Close()
	own, err := s.ofProcess()
	if err != nil {
		return err
	}
	defer own.Close()
	if !ns.Same(s.net.ns) && !ns.Same(own) {
		return fmt.Errorf("network namespace %s is not that of the cell, %s, and a cell has one: %w", ns, s.net.ns, errdefs.ErrInvalidArgument)
	}
	b.ShareNetwork()
	return nil
}

// joinFirstLocked decides on the cell's network.
func (s *Sandbox) joinFirstLocked(path string) error {
	ns, err := s.open(path)
	if err != nil {
		return err
	}
	s.net.ns, s.net.known = ns, map[string]bool{}
	if path == "" {
		return nil
	}
	if err := s.connectLocked(s.ctx); err != nil {
		s.net.ns = nil
		return errors.Join(err, ns.Close())
	}
	return nil
}

// Hold makes the cell a sandbox without a container that stands for it.
func (s *Sandbox) Hold(ctx context.Context, path string, pod *agent.PodRequest) error {
	s.netMu.Lock()
	err := s.joinFirstLocked(path)
	s.netMu.Unlock()
	if err != nil {
		return err
	}
	if _, err := s.agent.Pod(ctx, pod); err != nil {
		return errgrpc.ToNative(err)
	}
	return nil
}

// ofProcess opens the network namespace of the process that stands for the cell.
func (s *Sandbox) ofProcess() (*network.Namespace, error) {
	return network.Open(fmt.Sprintf("/proc/%d/ns/net", s.Pid()))
}

// open opens the namespace that is to be the cell's.
func (s *Sandbox) open(path string) (*network.Namespace, error) {
	var ns *network.Namespace
	var err error
	if path == "" {
		ns, err = s.ofProcess()
	} else {
		ns, err = network.Open(path)
	}
	if err != nil {
		return nil, err
	}
	host, err := network.Current()
	if err != nil {
		ns.Close()
		return nil, err
	}
	defer host.Close()
	if !ns.Same(host) {
		return ns, nil
	}
	ns.Close()
	if path == "" {
		// The process is not in a namespace of its own, so nobody can find the
		// cell's by it.
		return network.New()
	}
	return nil, fmt.Errorf("network namespace %s is the host's: a cell cannot use it, as its kernel has a network of its own: %w",
		path, errdefs.ErrInvalidArgument)
}

// Connect gives the cell the interfaces that have come into its namespace. The
// first container has to have been added.
func (s *Sandbox) Connect(ctx context.Context) error {
	s.netMu.Lock()
	defer s.netMu.Unlock()
	if s.net.ns == nil {
		return nil
	}
	return s.connectLocked(ctx)
}

func (s *Sandbox) connectLocked(ctx context.Context) error {
	list, err := s.net.ns.Connect(s.net.known)
	if err != nil || len(list) == 0 {
		return err
	}
	request := &agent.NetworkRequest{}
	var errs []error
	for _, i := range list {
		if err := s.cell.AddNIC(i.Tap, i.MAC, i.MTU); err != nil {
			errs = append(errs, fmt.Errorf("network interface %s: %w", i.Name, err))
			continue
		}
		s.net.known[i.Name] = true
		request.Interfaces = append(request.Interfaces, message(i))
		log.G(ctx).WithField("interface", i.Name).WithField("mac", i.MAC).Debug("network interface is connected")
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err = s.agent.Network(ctx, request)
	if err != nil {
		return errgrpc.ToNative(err)
	}
	return nil
}

// message is an interface as the agent is told.
func message(i *network.Interface) *agent.Interface {
	m := &agent.Interface{Mac: i.MAC, Name: i.Name, Mtu: uint32(i.MTU)}
	for _, a := range i.Addresses {
		m.Addresses = append(m.Addresses, &agent.Address{
			Ip: a.IP, Prefix: uint32(a.Prefix), Broadcast: a.Broadcast, Scope: uint32(a.Scope), NoPrefixRoute: a.NoPrefixRoute,
		})
	}
	for _, r := range i.Routes {
		m.Routes = append(m.Routes, &agent.Route{
			Ipv6: r.IPv6, Destination: r.Dest, Prefix: uint32(r.Prefix), Gateway: r.Gateway, Source: r.Source,
			Scope: uint32(r.Scope), Protocol: uint32(r.Protocol), Priority: uint32(r.Priority), Mtu: uint32(r.MTU), OnLink: r.OnLink,
		})
	}
	for _, n := range i.Neighbours {
		m.Neighbours = append(m.Neighbours, &agent.Neighbour{Ip: n.IP, Mac: n.MAC})
	}
	return m
}

// disconnect leaves the namespace as it was found.
func (s *Sandbox) disconnect() {
	s.netMu.Lock()
	defer s.netMu.Unlock()
	if s.net.ns == nil {
		return
	}
	if len(s.net.known) > 0 {
		if err := s.net.ns.Disconnect(); err != nil {
			log.L.WithError(err).Warn("the network namespace keeps a filter")
		}
	}
	s.net.ns.Close()
	s.net.ns = nil
}

// Disconnect undoes what a shim that was killed has left in the network
// namespace of a bundle.
func Disconnect(path string) error {
	if path == "" {
		return nil // it went with the shim
	}
	ns, err := network.Open(path)
	if err != nil {
		return nil // it is gone too
	}
	defer ns.Close()
	return ns.Disconnect()
}
