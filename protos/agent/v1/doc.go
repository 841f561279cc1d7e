// SPDX-License-Identifier: Apache-2.0

// Package agent is the protocol between the host side of a cell and the agent
// in its guest; agent.proto describes it.
package agent

//go:generate go run github.com/paracell/paracell/protos/gen ../.. agent/v1/agent.proto

// PortAgent is the port of the host's side (CID 2) that the agent connects to.
const PortAgent = 1024

// FirstStreamPort is the first port that the host uses for streams.
const FirstStreamPort = 2048

// Names in a cell with an agent.
const (
	// TagRoots has a directory per container that holds its root.
	TagRoots = "roots"
	// Programs in it has the agent and what it makes containers with, by these
	// names. No container has such a name.
	Programs     = ".programs"
	AgentProgram = "paracell-agent"
	CrunProgram  = "paracell-crun"
	// TagVolumes has an entry per mount of host files.
	TagVolumes = "volumes"
	// VolumesDir is where the agent mounts TagVolumes.
	VolumesDir = "/run/paracell/volumes"
	// PodNamespaces stands before the name of a namespace (as in /proc/PID/ns) in
	// the path of one that is that of the cell's first container.
	PodNamespaces = "/paracell/pod/ns"
)
