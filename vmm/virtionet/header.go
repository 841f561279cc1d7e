// SPDX-License-Identifier: Apache-2.0

package virtionet

import "encoding/binary"

// HeaderSize is the length of the header before each packet, in bytes: struct
// virtio_net_hdr_v1.
const HeaderSize = 12

// Fields of a header.
const (
	needsCsum = 1 // of flags: the checksum has to be finished

	gsoNone  = 0
	gsoTCPv4 = 1
	gsoTCPv6 = 4
	gsoUDP   = 5 // UDP_L4
	gsoECN   = 0x80
)

// header is struct virtio_net_hdr_v1 (virtio 1.2, section 5.1.6).
type header struct {
	flags, gsoType        uint8
	hdrLen, gsoSize       uint16
	csumStart, csumOffset uint16
	numBuffers            uint16
}

func (h *header) decode(b *[HeaderSize]byte) {
	le := binary.LittleEndian
	h.flags, h.gsoType = b[0], b[1]
	h.hdrLen, h.gsoSize = le.Uint16(b[2:]), le.Uint16(b[4:])
	h.csumStart, h.csumOffset = le.Uint16(b[6:]), le.Uint16(b[8:])
	h.numBuffers = le.Uint16(b[10:])
}

func (h *header) encode(b *[HeaderSize]byte) {
	le := binary.LittleEndian
	b[0], b[1] = h.flags, h.gsoType
	le.PutUint16(b[2:], h.hdrLen)
	le.PutUint16(b[4:], h.gsoSize)
	le.PutUint16(b[6:], h.csumStart)
	le.PutUint16(b[8:], h.csumOffset)
	le.PutUint16(b[10:], h.numBuffers)
}

// valid says whether the host may be asked to finish a packet of n bytes as the
// header says. A process of the guest that writes raw packets can have its
// kernel send odd ones, so they are dropped and the device goes on.
func (h *header) valid(accepted uint64, n int) bool {
	if n < minPacket || n > maxPacket || h.flags&^needsCsum != 0 {
		return false
	}
	if h.flags&needsCsum != 0 {
		if accepted&featureCsum == 0 || int(h.csumStart)+int(h.csumOffset)+2 > n {
			return false
		}
	}
	if h.gsoType == gsoNone {
		return true
	}
	var feature uint64
	switch h.gsoType &^ gsoECN {
	case gsoTCPv4:
		feature = featureHostTSO4
	case gsoTCPv6:
		feature = featureHostTSO6
	case gsoUDP:
		feature = featureHostUSO
	default:
		return false
	}
	if h.gsoType&gsoECN != 0 {
		if feature == featureHostUSO {
			return false
		}
		feature |= featureHostECN
	}
	return accepted&feature == feature && h.flags&needsCsum != 0 && h.gsoSize != 0 && int(h.hdrLen) <= n
}

// clean makes what the host is told of a header: unused fields are 0.
func (h *header) clean() {
	h.numBuffers = 0
	if h.flags&needsCsum == 0 {
		h.csumStart, h.csumOffset = 0, 0
	}
	if h.gsoType == gsoNone {
		h.hdrLen, h.gsoSize = 0, 0
	}
}
