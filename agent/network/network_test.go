// SPDX-License-Identifier: Apache-2.0

package network

import (
	"bytes"
	"errors"
	"net"
	"testing"

	"golang.org/x/sys/unix"

	agent "github.com/paracell/paracell/protos/agent/v1"
)

func TestMessages(t *testing.T) {
	ip, ip6 := net.IP{10, 0, 0, 2}, net.ParseIP("fd00::2")
	for name, c := range map[string]struct {
		got  *message
		want []byte
	}{
		"address": {address(3, &agent.Address{Ip: ip, Prefix: 24, Broadcast: net.IP{10, 0, 0, 255}}), []byte{
			44 + 8, 0, 0, 0, 20, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, // RTM_NEWADDR; request, ack, create, exclusive
			2, 24, 0, 0, 3, 0, 0, 0,
			8, 0, 2, 0, 10, 0, 0, 2, // IFA_LOCAL
			8, 0, 1, 0, 10, 0, 0, 2, // IFA_ADDRESS
			8, 0, 8, 0, 0x80, 0, 0, 0, // IFA_FLAGS: permanent
			8, 0, 4, 0, 10, 0, 0, 255, // IFA_BROADCAST
		}[:]},
		"neighbour": {neighbour(3, &agent.Neighbour{Ip: ip, Mac: []byte{1, 2, 3, 4, 5, 6}}), []byte{
			48, 0, 0, 0, 28, 0, 5, 5, 7, 0, 0, 0, 0, 0, 0, 0,
			2, 0, 0, 0, 3, 0, 0, 0, 0x80, 0, 0, 0,
			8, 0, 1, 0, 10, 0, 0, 2,
			10, 0, 2, 0, 1, 2, 3, 4, 5, 6, 0, 0, // padded
		}},
		"route": {route(3, &agent.Route{Gateway: ip, Priority: 9, Mtu: 1400, Protocol: 3, OnLink: true}), []byte{
			64, 0, 0, 0, 24, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0,
			2, 0, 0, 0, 254, 3, 0, 1, 4, 0, 0, 0,
			8, 0, 4, 0, 3, 0, 0, 0, // RTA_OIF
			8, 0, 5, 0, 10, 0, 0, 2, // RTA_GATEWAY
			8, 0, 6, 0, 9, 0, 0, 0, // RTA_PRIORITY
			12, 0, 8, 0, 8, 0, 2, 0, 0x78, 5, 0, 0, // RTA_METRICS: RTAX_MTU
		}},
	} {
		got := c.got.encode(7)
		c.want[0] = byte(len(c.want))
		if !bytes.Equal(got, c.want) {
			t.Errorf("%s:\n%v\nwant\n%v", name, got, c.want)
		}
	}
	if m := address(3, &agent.Address{Ip: ip6, Prefix: 64, NoPrefixRoute: true}); m.body[0] != unix.AF_INET6 ||
		!bytes.Contains(m.body, []byte{8, 0, 8, 0, unix.IFA_F_PERMANENT | unix.IFA_F_NODAD, 2, 0, 0}) {
		t.Errorf("address of version 6: %v", m.body)
	}
	if m := route(3, &agent.Route{Ipv6: true, Destination: ip6, Prefix: 128, Source: ip6}); m.body[0] != unix.AF_INET6 || m.body[1] != 128 || len(m.body) != 12+8+20+20 {
		t.Errorf("route of version 6: %v", m.body)
	}
}

func TestAcknowledgement(t *testing.T) {
	answer := func(kind uint16, seq uint32, code int32) []byte {
		m := message{kind: kind, body: le.AppendUint32(nil, uint32(code))}
		return m.encode(seq)
	}
	if err := acknowledgement(answer(unix.NLMSG_ERROR, 5, 0), 5); err != nil {
		t.Error(err)
	}
	if err := acknowledgement(answer(unix.NLMSG_ERROR, 5, -int32(unix.EEXIST)), 5); !errors.Is(err, unix.EEXIST) {
		t.Error(err)
	}
	for name, b := range map[string][]byte{
		"short":           {1, 2, 3},
		"another message": answer(unix.NLMSG_DONE, 5, 0),
		"another request": answer(unix.NLMSG_ERROR, 4, 0),
	} {
		if err := acknowledgement(b, 5); !errors.Is(err, errAnswer) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The kernel of the test's machine answers too.
func TestKernelAnswers(t *testing.T) {
	c, err := dial()
	if err != nil {
		t.Skip(err)
	}
	defer c.close()
	if err := c.do(link(1<<30, 0, 0)); !errors.Is(err, unix.ENODEV) && !errors.Is(err, unix.EPERM) {
		t.Errorf("interface that is not there: %v", err)
	}
}
