// SPDX-License-Identifier: Apache-2.0

package manager

import (
	"flag"
	"fmt"
	"io"

	"github.com/containerd/containerd/v2/version"
)

// Describe makes -help and -version speak of this program.
func Describe() {
	flag.Usage = func() { usage(flag.CommandLine.Output()) }
	version.Package = "github.com/paracell/paracell"
	version.Version, version.Revision = Version()
}

func usage(w io.Writer) {
	fmt.Fprint(w, `NAME
  containerd-shim-paracell-v2 - run containers of containerd in cells

SYNOPSIS
  containerd-shim-paracell-v2 -namespace NAME -id ID -address SOCKET [-debug] start
  containerd-shim-paracell-v2 -namespace NAME -id ID -address SOCKET -bundle DIR [-debug] delete
  containerd-shim-paracell-v2 -info
  containerd-shim-paracell-v2 -v
  containerd-shim-paracell-v2 -help

DESCRIPTION
  containerd runs this program; users do not. A container whose runtime is
  io.containerd.paracell.v2 gets a shim, and the shim a cell: a guest kernel of
  its own. Containers with the same annotation io.containerd.paracell.v2.group,
  or of the same Kubernetes pod, share a shim and a cell.

  It has to be on containerd's PATH, with paracell-kernel, paracell-agent and
  paracell-crun beside it. Try it with

    ctr run --rm --runtime io.containerd.paracell.v2 IMAGE NAME COMMAND

COMMANDS
  start    read containerd's bootstrap parameters from standard input, start the
           daemon of a container in the current directory, its bundle, or find
           that of its group, and write where it listens to standard output
  delete   end a shim that does not answer, with its cell, and remove its mounts
           and its socket; write the exit status of the container to standard
           output. Nothing happens after a regular end.
  none     be the daemon: serve the task service (version 3) on file 3

OPTIONS
  -namespace NAME   namespace of containerd
  -id ID            container
  -address SOCKET   socket of containerd
  -bundle DIR       bundle of the container
  -debug            say more
  -socket PATH      where the daemon listens, instead of file 3
  -info             read runtime options from standard input and write what the
                    runtime is to standard output, as containerd's protobuf
  -v, -version      print the version
  -publish-binary   is accepted and ignored

ENVIRONMENT
  PARACELL_CONFIG   configuration file, instead of /etc/paracell/config.toml
  TTRPC_ADDRESS     containerd's socket for events
  GOMAXPROCS        threads of the daemon that run Go code; containerd's shims have 4

FILES
  /etc/paracell/config.toml
        isolation = "auto"      protection between a cell's processes and its kernel:
                                auto, mpk, pagetable or none
        and more; unknown keys are errors
  address, paracell.json, log
        in the bundle: the socket of the shim, how to clean up after it, its log

SIGNALS
  TERM, INT   end the cell and the daemon
  USR1        write the stacks of all goroutines to the log

EXIT STATUS
  0 on success, 1 with a message on standard error, 2 for wrong options.
`)
}
