// SPDX-License-Identifier: Apache-2.0

package passthrough

import (
	"strings"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// allowedXattr says which extended attributes a client may see and set. The
// trusted namespace steers file systems of the host (overlayfs), and security
// labels its security modules; neither is the guest's to touch.
func allowedXattr(name string) bool {
	return strings.HasPrefix(name, "user.") || name == "security.capability" ||
		strings.HasPrefix(name, "system.posix_acl_")
}

// xattrPath returns a path that names the file itself and the descriptor that
// keeps it valid, which the caller puts. The calls for extended attributes do
// not take O_PATH descriptors.
func (fs *FS) xattrPath(n *inode) (string, *desc, error) {
	d, err := fs.path(n)
	if err != nil {
		return "", nil, err
	}
	return procPath(d.fd), d, nil
}

// GetXAttr implements fuse.RawFileSystem.
func (fs *FS) GetXAttr(_ <-chan struct{}, h *fuse.InHeader, name string, dest []byte) (uint32, fuse.Status) {
	if n, err := fs.node(h.NodeId); err == nil && n.share == nil {
		// The root of all shares. The client looks for an access control list
		// when others than the owner use it.
		return 0, fuse.ENODATA
	}
	n, err := fs.real(h.NodeId)
	if err != nil {
		return 0, status(err)
	}
	if !allowedXattr(name) {
		return 0, fuse.ENODATA
	}
	path, d, err := fs.xattrPath(n)
	if err != nil {
		return 0, status(err)
	}
	defer d.put()
	k, err := unix.Getxattr(path, name, dest)
	if err == unix.ERANGE {
		k, _ = unix.Getxattr(path, name, nil)
	}
	return uint32(max(k, 0)), status(err)
}

// ListXAttr implements fuse.RawFileSystem.
func (fs *FS) ListXAttr(_ <-chan struct{}, h *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n, err := fs.real(h.NodeId)
	if err != nil {
		return 0, status(err)
	}
	path, d, err := fs.xattrPath(n)
	if err != nil {
		return 0, status(err)
	}
	defer d.put()
	buf := make([]byte, 64<<10) // the host's limit
	k, err := unix.Listxattr(path, buf)
	if err != nil {
		return 0, status(err)
	}
	var names []byte
	for name := range strings.SplitAfterSeq(string(buf[:k]), "\x00") {
		if allowedXattr(strings.TrimSuffix(name, "\x00")) {
			names = append(names, name...)
		}
	}
	if len(dest) < len(names) {
		return uint32(len(names)), fuse.ERANGE
	}
	return uint32(copy(dest, names)), fuse.OK
}

// SetXAttr implements fuse.RawFileSystem.
func (fs *FS) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, name string, data []byte) fuse.Status {
	n, err := fs.writable(in.NodeId)
	if err != nil {
		return status(err)
	}
	if !allowedXattr(name) {
		return fuse.ENOTSUP
	}
	if int(in.Size) > len(data) {
		return fuse.EINVAL
	}
	path, d, err := fs.xattrPath(n)
	if err != nil {
		return status(err)
	}
	defer d.put()
	return status(unix.Setxattr(path, name, data[:in.Size], int(in.Flags)))
}

// RemoveXAttr implements fuse.RawFileSystem.
func (fs *FS) RemoveXAttr(_ <-chan struct{}, h *fuse.InHeader, name string) fuse.Status {
	n, err := fs.writable(h.NodeId)
	if err != nil {
		return status(err)
	}
	if !allowedXattr(name) {
		return fuse.ENODATA
	}
	path, d, err := fs.xattrPath(n)
	if err != nil {
		return status(err)
	}
	defer d.put()
	return status(unix.Removexattr(path, name))
}
