// SPDX-License-Identifier: Apache-2.0

package task

import (
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// podConfig is what is needed of the CRI's PodSandboxConfig, which containerd's
// CRI plugin passes as the options of a sandbox.
type podConfig struct {
	hostname     string
	annotations  map[string]string
	cgroupParent string
	sysctls      map[string]string
	resolv       []byte // content of resolv.conf; nil: the host's
	memory       int64  // limit in bytes, of all containers and the overhead; 0: none
}

// Numbers of fields (k8s.io/cri-api, runtime/v1/api.proto).
const (
	configHostname    = 2
	configDNS         = 4
	configAnnotations = 7
	configLinux       = 8

	dnsServers  = 1
	dnsSearches = 2
	dnsOptions  = 3

	linuxCgroupParent = 1
	linuxSysctls      = 3
	linuxOverhead     = 4
	linuxResources    = 5

	resourcesMemory = 4
)

// podConfigOf reads options of a sandbox; those of another type say nothing.
func podConfigOf(o *anypb.Any) (podConfig, error) {
	c := podConfig{annotations: map[string]string{}, sysctls: map[string]string{}}
	if o == nil || !strings.HasSuffix(o.TypeUrl, "PodSandboxConfig") {
		return c, nil
	}
	err := fields(o.Value, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case configHostname:
			c.hostname = string(value)
		case configDNS:
			return c.dns(value)
		case configAnnotations:
			return entry(value, c.annotations)
		case configLinux:
			return c.linux(value)
		}
		return nil
	})
	if err != nil {
		return c, fmt.Errorf("configuration of the pod: %w", err)
	}
	return c, nil
}

// dns makes a resolv.conf.
func (c *podConfig) dns(b []byte) error {
	var lists [4][]string
	err := fields(b, func(number protowire.Number, value []byte, _ uint64) error {
		if number < 4 {
			lists[number] = append(lists[number], string(value))
		}
		return nil
	})
	var text strings.Builder
	if s := lists[dnsSearches]; len(s) > 0 {
		fmt.Fprintf(&text, "search %s\n", strings.Join(s, " "))
	}
	for _, s := range lists[dnsServers] {
		fmt.Fprintf(&text, "nameserver %s\n", s)
	}
	if o := lists[dnsOptions]; len(o) > 0 {
		fmt.Fprintf(&text, "options %s\n", strings.Join(o, " "))
	}
	c.resolv = []byte(text.String())
	return err
}

// files are those that the CRI wants in every container of a pod.
func (c *podConfig) files() map[string][]byte {
	resolv := c.resolv
	if resolv == nil {
		resolv, _ = os.ReadFile("/etc/resolv.conf") // a host without has no servers
	}
	return map[string][]byte{"/etc/resolv.conf": resolv, "/etc/hostname": []byte(c.hostname + "\n")}
}

func (c *podConfig) linux(b []byte) error {
	return fields(b, func(number protowire.Number, value []byte, _ uint64) error {
		switch number {
		case linuxCgroupParent:
			c.cgroupParent = string(value)
		case linuxSysctls:
			return entry(value, c.sysctls)
		case linuxOverhead, linuxResources:
			return fields(value, func(number protowire.Number, _ []byte, v uint64) error {
				if number == resourcesMemory && int64(v) > 0 {
					c.memory += int64(v)
				}
				return nil
			})
		}
		return nil
	})
}

// entry is one of a map of strings.
func entry(b []byte, m map[string]string) error {
	var kv [3]string
	err := fields(b, func(number protowire.Number, value []byte, _ uint64) error {
		if number == 1 || number == 2 {
			kv[number] = string(value)
		}
		return nil
	})
	m[kv[1]] = kv[2]
	return err
}

// fields calls f with the fields of a message; numbers come as v, all else that
// is used as value.
func fields(b []byte, f func(number protowire.Number, value []byte, v uint64) error) error {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		var value []byte
		var v uint64
		switch kind {
		case protowire.BytesType:
			value, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			v, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(number, kind, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := f(number, value, v); err != nil {
			return err
		}
	}
	return nil
}
