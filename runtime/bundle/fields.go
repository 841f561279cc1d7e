// SPDX-License-Identifier: Apache-2.0

package bundle

import (
	"fmt"
	"reflect"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
)

// Fate is what becomes of a field of the specification.
type Fate string

// Fates.
const (
	// Guest: carried out in the guest, as it is or in other words.
	Guest Fate = "guest"
	// Host: honoured on the host; the guest does not see it.
	Host Fate = "host"
	// Both: carried out in the guest and honoured on the host.
	Both Fate = "both"
	// Ignored: dropped, because it means nothing in a cell; logged.
	Ignored Fate = "ignored"
	// Refused: the container is not made.
	Refused Fate = "refused"
)

// Field is a field of the specification, or several that are one thing.
type Field struct {
	// Path is the JSON name. Elements of lists have [], those of maps {}.
	Path string
	// Leaves are the names below Path, separated by spaces. Empty: Path is
	// the only one.
	Leaves string
	Fate   Fate
	// How says who carries it out and how, or why nobody does.
	How string
}

// foreign are subtrees of other operating systems.
const foreign = "..."

const (
	noVersion1   = "the guest has control groups of version 2, which do not have it"
	noHugePages  = "the guest has no huge pages"
	noRDMA       = "the guest has no RDMA devices"
	noNodes      = "the guest has one memory node"
	noRDT        = "the processor's cache is not divided between cells"
	noLSM        = "the guest has no such security module; what protects the host is the cell"
	foreignHooks = "the program of such a hook is on the host and the namespaces that it belongs into are in the guest: use createRuntime (host) or startContainer (guest)"
	hostBlockIO  = "control group of the cell: the shim reads and writes the files of the container in it"
	hookLeaves   = "path args env timeout"
	rateLeaves   = "major minor rate"
	idLeaves     = "containerID hostID size"
)

// fields is what becomes of every field of the specification (runtime-spec
// 1.3.0), in its order. Load acts on it: what is Ignored or Refused is so by
// this table alone.
var fields = []Field{
	{"ociVersion", "", Guest, "1.x; the guest's crun is told 1.0.2, which it knows"},
	{"process.terminal", "", Guest, "crun; the shim copies from and to the terminal"},
	{"process.consoleSize", "height width", Guest, "crun"},
	{"process.user", "uid gid umask additionalGids", Guest, "crun"},
	{"process.user.username", "", Ignored, "of Windows"},
	{"process.args", "", Guest, "crun"},
	{"process.commandLine", "", Ignored, "of Windows"},
	{"process.env", "", Guest, "crun"},
	{"process.cwd", "", Guest, "crun"},
	{"process.capabilities", "bounding effective inheritable permitted ambient", Guest, "crun; against the guest's kernel only"},
	{"process.rlimits[]", "type hard soft", Guest, "crun; never needs a privilege of the host"},
	{"process.noNewPrivileges", "", Guest, "crun"},
	{"process.apparmorProfile", "", Ignored, noLSM},
	{"process.oomScoreAdj", "", Both, "crun; on the host for the processes of the cell, where the shim may (lowering needs CAP_SYS_RESOURCE)"},
	{"process.scheduler", "policy nice priority flags runtime deadline period", Guest, "agent, before the program starts; of an added process just after"},
	{"process.selinuxLabel", "", Ignored, noLSM},
	{"process.ioPriority", "class priority", Guest, "agent, as the scheduler"},
	{"process.execCPUAffinity", "initial final", Ignored, "the guest has one vCPU"},

	{"root.path", "", Host, "virtio-fs gives the guest this directory and nothing above it"},
	{"root.readonly", "", Guest, "crun"},
	{"hostname", "", Guest, "crun; without one it is the host's, as in a new namespace of the host"},
	{"domainname", "", Guest, "crun"},
	{"mounts[]", "destination type source options", Both, "crun; what a bind mount names on the host comes by virtio-fs. Types that need a device or files of the host are refused"},
	{"mounts[].uidMappings[]", idLeaves, Refused, "the guest's crun cannot map the owners of virtio-fs: change them on the host, or use a user namespace"},
	{"mounts[].gidMappings[]", idLeaves, Refused, "the guest's crun cannot map the owners of virtio-fs: change them on the host, or use a user namespace"},

	{"hooks.prestart[]", hookLeaves, Host, "shim, as createRuntime and before it"},
	{"hooks.createRuntime[]", hookLeaves, Host, "shim, in Create before the container is made in its cell, in the host's namespaces with the state on standard input; an error ends Create"},
	{"hooks.createContainer[]", hookLeaves, Refused, foreignHooks},
	{"hooks.startContainer[]", hookLeaves, Guest, "crun; the program is the container's"},
	{"hooks.poststart[]", hookLeaves, Host, "shim, in Start after the program has started; an error ends the container"},
	{"hooks.poststop[]", hookLeaves, Host, "shim, in Delete, also after its death; errors are logged"},
	{"annotations", "", Host, "io.paracell.* configure the cell, io.kubernetes.cri.* size and group it; the guest gets none"},

	{"linux.uidMappings[]", idLeaves, Guest, "crun"},
	{"linux.gidMappings[]", idLeaves, Guest, "crun"},
	{"linux.sysctl", "", Guest, "crun what belongs to a namespace that it makes; the agent all others: they are the cell's"},

	{"linux.resources.devices[]", "allow type major minor access", Guest, "crun"},
	{"linux.resources.memory.limit", "", Both, "crun; sizes the cell, whose control group is limited to that"},
	{"linux.resources.memory.reservation", "", Guest, "crun, memory.low"},
	{"linux.resources.memory.swap", "", Guest, "crun, memory.swap.max"},
	{"linux.resources.memory.kernel", "", Ignored, noVersion1},
	{"linux.resources.memory.kernelTCP", "", Ignored, noVersion1},
	{"linux.resources.memory.swappiness", "", Ignored, noVersion1},
	{"linux.resources.memory.disableOOMKiller", "", Ignored, noVersion1},
	{"linux.resources.memory.useHierarchy", "", Ignored, noVersion1},
	{"linux.resources.memory.checkBeforeUpdate", "", Guest, "crun"},
	{"linux.resources.cpu.shares", "", Both, "crun, cpu.weight; control group of the cell"},
	{"linux.resources.cpu.quota", "", Both, "crun, cpu.max; control group of the cell"},
	{"linux.resources.cpu.burst", "", Guest, "crun, cpu.max.burst"},
	{"linux.resources.cpu.period", "", Both, "crun, cpu.max; control group of the cell"},
	{"linux.resources.cpu.realtimeRuntime", "", Ignored, noVersion1},
	{"linux.resources.cpu.realtimePeriod", "", Ignored, noVersion1},
	{"linux.resources.cpu.cpus", "", Host, "control group of the cell: they are the host's processors"},
	{"linux.resources.cpu.mems", "", Host, "control group of the cell: they are the host's memory nodes"},
	{"linux.resources.cpu.idle", "", Guest, "crun, cpu.idle"},
	{"linux.resources.pids.limit", "", Guest, "crun, pids.max"},
	{"linux.resources.blockIO.weight", "", Host, hostBlockIO},
	{"linux.resources.blockIO.leafWeight", "", Host, hostBlockIO},
	{"linux.resources.blockIO.weightDevice[]", "major minor weight leafWeight", Host, hostBlockIO},
	{"linux.resources.blockIO.throttleReadBpsDevice[]", rateLeaves, Host, hostBlockIO},
	{"linux.resources.blockIO.throttleWriteBpsDevice[]", rateLeaves, Host, hostBlockIO},
	{"linux.resources.blockIO.throttleReadIOPSDevice[]", rateLeaves, Host, hostBlockIO},
	{"linux.resources.blockIO.throttleWriteIOPSDevice[]", rateLeaves, Host, hostBlockIO},
	{"linux.resources.hugepageLimits[]", "pageSize limit", Ignored, noHugePages},
	{"linux.resources.network", "classID priorities[].name priorities[].priority", Ignored, noVersion1},
	{"linux.resources.rdma{}", "hcaHandles hcaObjects", Ignored, noRDMA},
	{"linux.resources.unified", "", Guest, "crun; names are files of the guest's control group"},
	{"linux.cgroupsPath", "", Host, "the shim and the cell are in this control group; in the guest the container's is named after it"},
	{"linux.namespaces[].type", "", Both, "crun; network is the cell's and comes from the host (docs/network.md): it has to be listed; time without offsets is the cell's. Any other that is not listed is shared with the cell, never with the host"},
	{"linux.namespaces[].path", "", Both, "network: the namespace whose interfaces the cell gets. Others: that of the cell's first container, as in a Kubernetes pod"},
	{"linux.devices[]", "path type major minor fileMode uid gid", Guest, "crun, where the numbers name a device that every kernel has (null, zero, full, random, urandom, tty, ptmx, console, fuse, net/tun); others are of the host and ignored"},
	{"linux.netDevices{}", "name", Refused, "a device of the host cannot be moved into a cell: put it into the network namespace of the container"},
	{"linux.seccomp", "defaultAction defaultErrnoRet architectures flags syscalls[].names syscalls[].action syscalls[].errnoRet syscalls[].args[].index syscalls[].args[].value syscalls[].args[].valueTwo syscalls[].args[].op", Guest, "crun; against the guest's kernel. Gate calls are filtered as system-call instructions are"},
	{"linux.seccomp.listenerPath", "", Refused, "the notifications would have to leave the cell: use another action"},
	{"linux.seccomp.listenerMetadata", "", Refused, "as listenerPath"},
	{"linux.rootfsPropagation", "", Guest, "crun; within the cell"},
	{"linux.maskedPaths", "", Guest, "crun"},
	{"linux.readonlyPaths", "", Guest, "crun"},
	{"linux.mountLabel", "", Ignored, noLSM},
	{"linux.intelRdt", "closID schemata l3CacheSchema memBwSchema enableMonitoring", Ignored, noRDT},
	{"linux.memoryPolicy", "mode nodes flags", Ignored, noNodes},
	{"linux.personality", "domain flags", Guest, "crun"},
	{"linux.timeOffsets{}", "secs nanosecs", Refused, "the guest's crun (1.8.1) loses a container whose time namespace is made with its process namespace"},

	{"solaris", foreign, Refused, "of another operating system"},
	{"windows", foreign, Refused, "of another operating system"},
	{"vm", foreign, Refused, "the kernel and memory of a cell are configured by annotations and the configuration file"},
	{"zos", foreign, Refused, "of another operating system"},
	{"freebsd", foreign, Refused, "of another operating system"},
}

var fieldOf = func() map[string]*Field {
	m := map[string]*Field{}
	for i := range fields {
		// Lists and maps are acted upon as a whole.
		m[strings.TrimRight(fields[i].Path, "[]{}")] = &fields[i]
	}
	return m
}()

// apply takes the fields of v that are set and are Ignored, Refused or only the
// host's out of it.
func (b *Bundle) apply(v reflect.Value, path string) error {
	f := fieldOf[path]
	if f != nil && !v.IsZero() {
		switch f.Fate {
		case Refused:
			if isSet(v) {
				return fmt.Errorf("%s cannot be carried out: %s", path, f.How)
			}
			v.SetZero()
			return nil
		case Ignored:
			if isSet(v) {
				b.ignore(path + ": " + f.How)
			}
			v.SetZero()
			return nil
		case Host:
			v.SetZero()
			return nil
		}
	}
	switch v.Kind() {
	case reflect.Pointer:
		if v.IsNil() || v.Elem().IsZero() {
			return nil
		}
		if err := b.apply(v.Elem(), path); err != nil {
			return err
		}
		if v.Elem().IsZero() {
			v.SetZero() // all that was in it is gone
		}
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if err := b.apply(v.Field(i), join(path, field)); err != nil {
				return err
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			if err := b.apply(v.Index(i), path+"[]"); err != nil {
				return err
			}
		}
	}
	return nil
}

// isSet says whether a field asks for something: an empty list or a switch that
// is off does not.
func isSet(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map:
		return v.Len() > 0
	case reflect.Pointer:
		return !v.IsNil() && (v.Elem().Kind() != reflect.Bool || v.Elem().Bool())
	}
	return !v.IsZero()
}

// join is the path of a field in a struct; fields of embedded structs are the
// outer one's.
func join(path string, f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case name == "":
		return path
	case path == "":
		return name
	}
	return path + "." + name
}

// leaves calls do for every field of the specification that has none below it.
func leaves(t reflect.Type, path string, do func(path string)) {
	switch t.Kind() {
	case reflect.Pointer:
		leaves(t.Elem(), path, do)
		return
	case reflect.Slice, reflect.Map:
		if t.Elem().Kind() == reflect.Struct {
			mark := "[]"
			if t.Kind() == reflect.Map {
				mark = "{}"
			}
			leaves(t.Elem(), path+mark, do)
			return
		}
	case reflect.Struct:
		for i := range t.NumField() {
			leaves(t.Field(i).Type, join(path, t.Field(i)), do)
		}
		return
	}
	do(path)
}

// specType is what fields describes.
var specType = reflect.TypeFor[specs.Spec]()
