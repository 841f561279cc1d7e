// SPDX-License-Identifier: Apache-2.0

package process

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/paracell/paracell/vmm/platform"
)

// The oldest host kernel: earlier ones write the signal frame with the user's
// protection-key rights, so that the monitor's stack could not be protected.
const minMajor, minMinor = 6, 12

var mpkOnly = []platform.Isolation{platform.IsolationMPK}

// probed is the host's report; hosts do not change while we run.
var probed = sync.OnceValue(probe)

// Probe implements platform.Platform.
func (p *Platform) Probe() platform.Report { return probed() }

func probe() platform.Report {
	r := platform.Report{Platform: "process"}
	add := func(name string, only []platform.Isolation, detail string, err error) {
		r.Checks = append(r.Checks, platform.Check{Name: name, For: only, Detail: detail, Err: err})
	}
	detail, err := checkKernel()
	add("host kernel", nil, detail, err)
	detail, err = checkProcessor()
	add("processor", nil, detail, err)
	detail, err = checkXSave()
	add("extended state", nil, detail, err)
	add("fsgsbase", nil, "", checkFSGSBase())
	add("syscall user dispatch", nil, "", checkDispatch())
	detail, err = checkPrivilege()
	add("privilege", nil, detail, err)
	detail, err = checkNamespaces()
	add("namespaces", nil, detail, err)
	detail, err = checkProtectionKeys()
	add("protection keys", mpkOnly, detail, err)
	return r
}

func checkKernel() (string, error) {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "", fmt.Errorf("uname: %w", err)
	}
	release := unix.ByteSliceToString(u.Release[:])
	return release, checkRelease(release)
}

func checkRelease(release string) error {
	major, minor, ok := parseRelease(release)
	if !ok {
		return fmt.Errorf("cannot read the version %q: Linux %d.%d or later is needed", release, minMajor, minMinor)
	}
	if major < minMajor || major == minMajor && minor < minMinor {
		return fmt.Errorf("kernel %s is too old: Linux %d.%d or later is needed: update the host's kernel", release, minMajor, minMinor)
	}
	return nil
}

func parseRelease(release string) (major, minor int, ok bool) {
	a, rest, ok := strings.Cut(release, ".")
	if !ok {
		return 0, 0, false
	}
	end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	major, err1 := strconv.Atoi(a)
	minor, err2 := strconv.Atoi(rest)
	return major, minor, err1 == nil && err2 == nil
}

func checkProcessor() (string, error) {
	_, b, c, d := cpuid(0, 0)
	var v []byte
	for _, w := range []uint32{b, d, c} {
		v = append(v, byte(w), byte(w>>8), byte(w>>16), byte(w>>24))
	}
	vendor := string(v)
	if vendor != "GenuineIntel" && vendor != "AuthenticAMD" {
		return vendor, fmt.Errorf("vendor %q is not supported: an Intel or AMD processor is needed", vendor)
	}
	return vendor, nil
}

// Bits of XCR0.
const (
	xcrX87SSEAVX = 0x7
	xcrAVX512    = 0xe0
)

func checkXSave() (string, error) {
	_, _, c, _ := cpuid(1, 0)
	if c&(1<<27) == 0 { // OSXSAVE
		return "", errors.New("the host kernel does not use XSAVE: remove noxsave from its command line")
	}
	have := xgetbv0()
	if have&xcrX87SSEAVX != xcrX87SSEAVX {
		return "", fmt.Errorf("XCR0 is %#x: AVX is needed: use a newer processor, or let the hypervisor pass AVX on", have)
	}
	if have&xcrAVX512 == xcrAVX512 {
		return "AVX-512", nil
	}
	return "AVX", nil
}

func checkFSGSBase() error {
	const atHwcap2, hwcap2FSGSBase = 26, 1 << 1
	v, err := auxv(atHwcap2)
	if err != nil {
		return err
	}
	if v&hwcap2FSGSBase == 0 {
		return errors.New("user code cannot set its segment bases: a processor with FSGSBASE is needed, and no nofsgsbase on the host's command line")
	}
	return nil
}

// auxv returns an entry of this process's auxiliary vector.
func auxv(tag uint64) (uint64, error) {
	v, err := unix.Auxv()
	if err != nil {
		return 0, fmt.Errorf("auxiliary vector: %w", err)
	}
	for _, e := range v {
		if uint64(e[0]) == tag {
			return uint64(e[1]), nil
		}
	}
	return 0, nil
}

// checkDispatch switches off what is off already: hosts without it say EINVAL.
func checkDispatch() error {
	if err := unix.Prctl(unix.PR_SET_SYSCALL_USER_DISPATCH, unix.PR_SYS_DISPATCH_OFF, 0, 0, 0); err != nil {
		return fmt.Errorf("prctl(PR_SET_SYSCALL_USER_DISPATCH): %w: the host kernel needs Syscall User Dispatch (x86 with CONFIG_GENERIC_ENTRY), and a sandbox around us must allow the call", err)
	}
	return nil
}

// checkPrivilege looks for the capabilities that building the jail takes.
func checkPrivilege() (string, error) {
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		return "", fmt.Errorf("capget: %w", err)
	}
	var missing []string
	for _, c := range []struct {
		bit  uint
		name string
	}{
		{unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}, {unix.CAP_SETUID, "CAP_SETUID"},
		{unix.CAP_SETGID, "CAP_SETGID"}, {unix.CAP_SETPCAP, "CAP_SETPCAP"},
	} {
		if data[c.bit/32].Effective&(1<<(c.bit%32)) == 0 {
			missing = append(missing, c.name)
		}
	}
	detail := fmt.Sprintf("uid %d", os.Geteuid())
	if missing != nil {
		return detail, fmt.Errorf("%s missing: run as root", strings.Join(missing, ", "))
	}
	return detail, nil
}

func checkNamespaces() (string, error) {
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts", "cgroup"} {
		if _, err := os.Lstat("/proc/self/ns/" + ns); err != nil {
			return "", fmt.Errorf("the host kernel has no %s namespaces (or /proc is not mounted): %w", ns, err)
		}
	}
	return "", nil
}

// checkProtectionKeys looks at the processor, then takes all keys that a cell
// needs and tries one on a page: offering keys and enforcing them are two things.
func checkProtectionKeys() (string, error) {
	_, _, c, _ := cpuid(7, 0)
	const pku, ospke = 1 << 3, 1 << 4
	switch {
	case c&pku == 0:
		return "", errors.New("the processor (or the hypervisor around this machine) does not offer them: use Intel Xeon from Skylake-SP on, AMD from Zen 3 on, or an instance type that passes PKU on")
	case c&ospke == 0:
		return "", errors.New("the host kernel does not use them: remove nopku from its command line")
	}
	const wanted = 3
	var got []int
	defer func() {
		for _, k := range got {
			_, _, _ = unix.Syscall(unix.SYS_PKEY_FREE, uintptr(k), 0, 0)
		}
	}()
	for range wanted {
		k, _, errno := unix.Syscall(unix.SYS_PKEY_ALLOC, 0, 0, 0)
		if errno != 0 {
			return "", fmt.Errorf("pkey_alloc gave %d of %d keys: %w", len(got), wanted, errno)
		}
		got = append(got, int(k))
	}
	return "", tryKey(got[0])
}
